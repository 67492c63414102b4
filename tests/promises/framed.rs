//! Handlers of messages, promises 1, 3, 5 and 7: `framed` calls with each message, once, in order,
//! whole, and passes on everything else.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wouldblock::frame::{Decode, Delimited, LengthPrefixed, Lines, MessageError};
use wouldblock::{
    CloseReason, Closed, Config, Conn, ConnId, Context, Datagram, Framed, Handle, Handler, Input,
    Messages, Origin, Reactor, Timer, framed,
};

use crate::support::*;

/// What happened, told as text.
type Log = Sender<String>;

type OnLine = dyn FnMut(&mut Conn<'_>, &[u8]) -> io::Result<()> + Send;

/// A handler of any messages of bytes. It tells every callback.
struct Teller {
    log: Log,
    /// What it makes of a message.
    answer: Box<OnLine>,
    /// Returns what is no message, in the place of the default.
    answers_bad: bool,
    starts: Vec<SocketAddr>,
}

impl Teller {
    fn tell(&self, what: impl Into<String>) {
        // The test may have seen enough.
        let _ = self.log.send(what.into());
    }
}

impl Handler for Teller {
    type Session = u32;

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        self.tell("start");
        for to in &self.starts {
            cx.connect(*to, 7)?;
        }
        Ok(())
    }

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<u32> {
        self.tell("open");
        Ok(0)
    }

    fn on_data(&mut self, _: &mut Conn<'_>, _: &mut u32, _: &mut Input<'_>) -> io::Result<()> {
        panic!("bytes came to a handler of messages");
    }

    fn on_eof(&mut self, _: &mut Conn<'_>, _: &mut u32, _: &mut Input<'_>) -> io::Result<()> {
        panic!("an end came to a handler of messages");
    }

    fn on_drain(&mut self, _conn: &mut Conn<'_>, session: &mut u32) -> io::Result<()> {
        self.tell(format!("drain {session}"));
        Ok(())
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut u32) -> io::Result<()> {
        self.tell(format!("timeout {session}"));
        conn.resume();
        Ok(())
    }

    fn on_closing(
        &mut self,
        _conn: &mut Conn<'_>,
        session: &mut u32,
        reason: &CloseReason,
    ) -> io::Result<()> {
        self.tell(format!("closing {session} {reason}"));
        Ok(())
    }

    fn on_timer(&mut self, _cx: &mut Context, _timer: Timer) {
        self.tell("timer");
    }

    fn on_datagram(&mut self, _cx: &mut Context, datagram: &Datagram<'_>) {
        self.tell(format!("datagram {}", String::from_utf8_lossy(datagram.payload)));
    }

    fn on_close(&mut self, _cx: &mut Context, _id: ConnId, session: u32, closed: Closed) {
        match closed.reason {
            CloseReason::Handler(error) => {
                self.tell(format!("close {session} {:?}: {error}", error.kind()));
            }
            _ => self.tell(format!("close {session}")),
        }
    }

    fn on_connect_failed(&mut self, _cx: &mut Context, _id: ConnId, tag: u64, _: io::Error) {
        self.tell(format!("failed {tag}"));
    }

    fn on_shutdown(&mut self, _cx: &mut Context) {
        self.tell("shutdown");
    }
}

impl<D: Decode> Messages<D> for Teller
where
    for<'a> D::Message<'a>: AsRef<[u8]>,
{
    fn on_message(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut u32,
        message: D::Message<'_>,
    ) -> io::Result<()> {
        let message = message.as_ref();
        *session += 1;
        self.tell(format!("message {}", String::from_utf8_lossy(message)));
        (self.answer)(conn, message)
    }

    fn on_bad_message(
        &mut self,
        conn: &mut Conn<'_>,
        _session: &mut u32,
        error: MessageError,
    ) -> io::Result<()> {
        self.tell(format!("bad {error}"));
        conn.send("what?");
        if self.answers_bad { Ok(()) } else { Err(error.into()) }
    }

    fn on_end(&mut self, conn: &mut Conn<'_>, session: &mut u32) -> io::Result<()> {
        self.tell(format!("end {session}"));
        conn.close();
        Ok(())
    }
}

fn teller(
    answer: impl FnMut(&mut Conn<'_>, &[u8]) -> io::Result<()> + Send + 'static,
) -> (Teller, Receiver<String>) {
    let (log, told) = mpsc::channel();
    (Teller { log, answer: Box::new(answer), answers_bad: false, starts: Vec::new() }, told)
}

/// A reactor with messages on a thread of its own.
struct Serving<H: Handler> {
    addr: SocketAddr,
    handle: Handle<H>,
    /// Ends with how many connections an error of the handler closed.
    thread: JoinHandle<u64>,
}

fn serve<H: Handler + Send + 'static>(handler: H, config: Config) -> Serving<H> {
    let (ready, started) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut reactor = Reactor::with_config(handler, config).unwrap();
        let id = reactor.listen("127.0.0.1:0").unwrap();
        let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
        ready.send((addr, reactor.handle())).unwrap();
        reactor.run().unwrap();
        reactor.stats().closed.handler
    });
    let (addr, handle) = started.recv_timeout(DEADLINE).expect("the server starts");
    Serving { addr, handle, thread }
}

impl<H: Handler> Serving<H> {
    #[track_caller]
    fn end(self) -> u64 {
        self.handle.shutdown();
        wait_until("the server has ended", || self.thread.is_finished());
        self.thread.join().unwrap()
    }
}

#[track_caller]
fn next(told: &Receiver<String>) -> String {
    told.recv_timeout(DEADLINE).expect("something more is told")
}

/// What is told from here to the close of one connection.
#[track_caller]
fn until_close(told: &Receiver<String>) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let what = next(told);
        let is_close = what.starts_with("close");
        all.push(what);
        if is_close {
            return all;
        }
    }
}

/// Serves one client that sends `stream` and ends; returns what was told of it, and what it got.
fn visit<D>(decoder: D, stream: &[u8]) -> (Vec<String>, String)
where
    D: for<'a> Decode<Message<'a> = &'a [u8]> + Clone + Send + 'static,
{
    let (teller, told) = teller(|_, _| Ok(()));
    let server = serve(framed(decoder, teller), Config::default());
    let mut client = connect(server.addr);
    client.write_all(stream).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).unwrap();
    assert_eq!((next(&told), next(&told)), ("start".into(), "open".into()));
    let all = until_close(&told);
    server.end();
    (all, got)
}

/// Promise 3: each message comes once, in order, whole, however the bytes come.
#[test]
fn a_message_comes_once_whole_and_in_order_however_its_bytes_are_split() {
    let stream = b"\0\x03one\0\0\0\x05three\0\x01x";
    for size in 1..=stream.len() {
        let (teller, told) = teller(|_, _| Ok(()));
        let server = serve(framed(LengthPrefixed::new(2), teller), Config::default());
        let mut client = connect(server.addr);
        client.set_nodelay(true).unwrap();
        for piece in stream.chunks(size) {
            client.write_all(piece).unwrap();
            // The piece has been read before the next one comes, as far as one outside can see to it.
            thread::yield_now();
        }
        client.shutdown(Shutdown::Write).unwrap();
        let told: Vec<String> = until_close(&told).into_iter().skip(2).collect();
        let all = ["message one", "message ", "message three", "message x", "end 4", "close 4"];
        assert_eq!(told, all, "{size}");
        drop(client);
        server.end();
    }
}

/// Promise 7: whatever is not bytes is passed on, with the handler's own session.
#[test]
fn every_other_callback_comes_through() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut teller, told) = teller(|conn, message| {
        conn.send(message);
        conn.want_drain();
        conn.set_timeout(Duration::ZERO);
        conn.cx().set_timer(Duration::ZERO, 0);
        Ok(())
    });
    teller.starts.push(nobody);
    let server = serve(framed(Lines::new(), teller), Config::default());
    let (bound, binds) = mpsc::channel();
    let bind = move |teller: &mut Framed<Lines, Teller>, cx: &mut Context| {
        teller.tell("posted"); // the handler in it, as itself
        let socket = cx.bind_datagram("127.0.0.1:0").unwrap();
        bound.send(cx.datagram_addr(socket).unwrap().socket_addr().unwrap()).unwrap();
    };
    server.handle.post(bind).unwrap();
    let to = binds.recv_timeout(DEADLINE).unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hello", to).unwrap();
    let mut client = connect(server.addr);
    client.write_all(b"line\n").unwrap();
    let mut all = Vec::new();
    let awaited = ["start", "failed 7", "posted", "datagram hello", "open", "message line"];
    let awaited = [&awaited[..], &["drain 1", "timeout 1", "timer"]].concat();
    while !awaited.iter().all(|what| all.iter().any(|told| told == what)) {
        all.push(next(&told));
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(until_close(&told), ["end 1", "close 1"]);
    let mut last = connect(server.addr);
    server.handle.shutdown();
    assert_eq!(read_to_end(&mut last), b"");
    drop(last);
    server.end();
    let rest: Vec<_> = told.iter().collect();
    assert_eq!(rest, ["open", "shutdown", "closing 0 shutdown", "close 0"]);
}

/// Promise 7: a message that is too long, none, or cut off is told, once, as what it is, and what was
/// said to it goes out before the close.
#[test]
fn what_is_no_message_is_told_as_what_it_is() {
    let lines = Lines::new().max(4);
    let (all, got) = visit(lines, b"one\n12345\ntwo\n");
    let why = "a message that does not end within 4 bytes, the maximum";
    let [bad, close] = [format!("bad {why}"), format!("close 1 InvalidData: {why}")];
    assert_eq!((all, &got[..]), (vec!["message one".into(), bad, close], "what?"));

    let (all, got) = visit(lines, b"one\ntw");
    let why = "the peer ended within a message, after 2 bytes of it";
    let [bad, close] = [format!("bad {why}"), format!("close 1 UnexpectedEof: {why}")];
    assert_eq!((all, &got[..]), (vec!["message one".into(), bad, close], "what?"));

    let (all, _) = visit(LengthPrefixed::new(4).max(100), b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(all[0], "bad a message of 1195725856 bytes; the maximum is 100");
}

/// Promise 7: a handler may take the error for its own, and the connection is closed all the same.
#[test]
fn nothing_comes_after_what_is_no_message() {
    let (mut teller, told) = teller(|_, _| Ok(()));
    teller.answers_bad = true;
    let server = serve(framed(Lines::new().max(4), teller), Config::default());
    let mut client = connect(server.addr);
    client.write_all(b"one\n12345\ntwo\n").unwrap();
    assert_eq!(read_to_end(&mut client), b"what?");
    drop(client);
    let told: Vec<String> = until_close(&told).into_iter().skip(2).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!((&told[0][..], &told[2][..]), ("message one", "close 1"));
    server.end();
}

/// Promise 5: after a pause no message comes, not even one that is there, until it is resumed: then
/// the next.
#[test]
fn a_pause_holds_the_next_message_back() {
    let (teller, told) = teller(|conn, _| {
        conn.pause(); // the timer resumes
        conn.set_timeout(Duration::ZERO);
        Ok(())
    });
    let server = serve(framed(Lines::new(), teller), Config::default());
    let mut client = connect(server.addr);
    client.write_all(b"a\nb\nc\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let told: Vec<String> = until_close(&told).into_iter().skip(2).collect();
    let all =
        ["message a", "timeout 1", "message b", "timeout 2", "message c", "timeout 3", "end 3"];
    assert_eq!(told[..7], all);
    drop(client);
    server.end();
}

/// Promise 5: answers of any size to messages that come all at once: the next is answered when the peer
/// has read, each once.
#[test]
fn a_peer_that_does_not_read_gets_its_answers_when_it_does() {
    let answer = vec![b'x'; 300_000];
    let (teller, told) = teller(move |conn, message| {
        conn.send(&answer);
        conn.send(message);
        Ok(())
    });
    // Each answer alone is above high, all together far above the most that may be queued.
    let config = Config::default().output_max(1 << 20);
    let server = serve(framed(Lines::new(), teller), config);
    let mut client = connect(server.addr);
    let numbers = 0..100;
    let lines: Vec<String> = numbers.clone().map(|n| format!("{n:04}\n")).collect();
    client.write_all(lines.concat().as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut got = vec![0; 300_004];
    for n in numbers {
        client.read_exact(&mut got).unwrap();
        assert_eq!(got[300_000..], *format!("{n:04}").as_bytes());
    }
    assert_eq!(client.read(&mut got).unwrap(), 0);
    drop(client);
    assert!(until_close(&told).contains(&"end 100".to_owned()));
    server.end();
}

/// Promise 3: no message comes after a close in the middle of what had come.
#[test]
fn a_close_is_the_last_of_the_messages() {
    for abort in [false, true] {
        let (teller, told) = teller(move |conn, message| {
            match (message, abort) {
                (b"quit", false) => conn.close(),
                (b"quit", true) => conn.abort(),
                _ => {}
            }
            Ok(())
        });
        let server = serve(framed(Lines::new(), teller), Config::default());
        let mut client = connect(server.addr);
        client.write_all(b"one\nquit\ntwo\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let told: Vec<String> = until_close(&told).into_iter().skip(2).collect();
        assert_eq!(told, ["message one", "message quit", "close 2"]);
        server.end();
    }
}

/// Promise 7: an error of a message is the reason of the close, as of any callback.
#[test]
fn an_error_of_a_message_closes() {
    let (teller, told) = teller(|_, _| Err(io::Error::other("no more")));
    let server = serve(framed(Lines::new(), teller), Config::default());
    let mut client = connect(server.addr);
    client.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(read_to_end(&mut client), b"");
    drop(client);
    let told: Vec<String> = until_close(&told).into_iter().skip(2).collect();
    assert_eq!(told, ["message one", "close 1 Other: no more"]);
    server.end();
}

/// Bodies of lines: a header that says how many, then those; the decoder keeps what it has. And the end
/// of the peer ends a last line.
#[derive(Clone, Default)]
struct Counted {
    missing: usize,
}

impl Decode for Counted {
    type Message<'a> = &'a [u8];

    fn decode<'a>(&mut self, input: &mut Input<'a>) -> Result<Option<&'a [u8]>, MessageError> {
        while let Some(line) = input.line() {
            if self.missing > 0 {
                self.missing -= 1;
                return Ok(Some(line));
            }
            let count = str::from_utf8(line).map_err(MessageError::invalid)?;
            self.missing = count.parse().map_err(MessageError::invalid)?;
        }
        if input.is_final() && self.missing == 1 && !input.is_empty() {
            self.missing = 0;
            return Ok(Some(input.take_all()));
        }
        if input.is_final() && self.missing > 0 {
            return Err(MessageError::CutOff { left: input.len() });
        }
        Ok(None)
    }
}

/// Promise 3: a decoder keeps state for each connection, and is asked once more at the end.
#[test]
fn each_connection_has_a_decoder_of_its_own() {
    let (teller, told) = teller(|_, _| Ok(()));
    let server = serve(framed(Counted::default(), teller), Config::default());
    let mut clients: Vec<TcpStream> = (0..2).map(|_| connect(server.addr)).collect();
    for line in ["2\n", "a\n", "b"] {
        for client in &mut clients {
            client.write_all(line.as_bytes()).unwrap();
        }
    }
    for client in clients {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let mut all = [until_close(&told), until_close(&told)].concat();
    server.end();
    all.sort_unstable();
    let each = ["close 2", "end 2", "message a", "message b", "open"];
    let twice: Vec<&str> = each.into_iter().flat_map(|told| [told; 2]).collect();
    assert_eq!(all[..10], twice);
    let (all, _) = visit(Counted::default(), b"2\na\n");
    assert_eq!(all[1], "bad the peer ended within a message, after 0 bytes of it");
    let (all, _) = visit(Counted::default(), b"two\n");
    assert_eq!(all[0], "bad invalid digit found in string");
}

/// Lines inside of records of two bytes of length, each bit turned: the record comes whole and holds many
/// lines, or ends within one.
#[derive(Clone, Default)]
struct Sealed {
    /// What is open and was not handed out.
    open: Vec<u8>,
    /// Bytes of the record that `open` ends with, not consumed yet.
    record: usize,
}

impl Decode for Sealed {
    type Message<'a> = Vec<u8>;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Vec<u8>>, MessageError> {
        loop {
            let mut open = Input::from(&self.open);
            let line = open.line().map(<[u8]>::to_vec);
            let left = open.len();
            self.open.drain(..self.open.len() - left);
            // A byte of the record stays for each that is still to be handed out.
            let kept = if line.is_some() { left } else { 0 };
            input.consume(self.record - kept);
            self.record = kept;
            if line.is_some() {
                return Ok(line);
            }
            let mut rest = Input::from(input.bytes());
            let Some(record) = LengthPrefixed::new(2).next(&mut rest)? else { return Ok(None) };
            self.open.extend(record.iter().map(|byte| !byte));
            self.record = input.len() - rest.len();
        }
    }
}

/// Promises 1 and 5: a decoder that opens a record whole hands out one line of it at a time, through each
/// pause, and does not wait for new bytes to hand out the next.
#[test]
fn many_messages_of_one_record_come_one_at_a_time_and_none_waits_for_new_bytes() {
    let (teller, told) = teller(|conn, _| {
        conn.pause();
        conn.set_timeout(Duration::from_millis(1)); // resumes
        Ok(())
    });
    let server = serve(framed(Sealed::default(), teller), Config::default());
    let mut client = connect(server.addr);
    for record in ["one\ntwo\nthr", "ee\n"] {
        let sealed: Vec<u8> = record.bytes().map(|byte| !byte).collect();
        LengthPrefixed::new(2).encode(&sealed, &mut client).unwrap();
    }
    for wanted in ["message one", "message two", "message three"] {
        while next(&told) != wanted {} // what else is told: the timeout
    }
    drop(client);
    server.end();
}

/// A decoder that never ends.
#[derive(Clone)]
struct Endless;

impl Decode for Endless {
    type Message<'a> = &'a [u8];

    fn decode<'a>(&mut self, input: &mut Input<'a>) -> Result<Option<&'a [u8]>, MessageError> {
        Ok(Some(&input.bytes()[..0]))
    }
}

/// Promise 6: a decoder that returns messages of nothing does not hold the server up.
#[test]
fn a_decoder_that_consumes_nothing_is_an_error_and_no_endless_loop() {
    let (all, got) = visit(Endless, b"x");
    assert_eq!(all[0], "bad the decoder returned a message and consumed nothing of the input");
    assert_eq!((all.len(), &got[..]), (2, "what?"));
    assert_eq!(visit(Endless, b"").0.len(), 2);
}

struct Nothing;

impl Handler for Nothing {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }
}

impl Messages<Delimited<'static>> for Nothing {
    fn on_message(&mut self, conn: &mut Conn<'_>, (): &mut (), _: &[u8]) -> io::Result<()> {
        conn.send("heard");
        Ok(())
    }
}

/// Promise 7: who forgets `framed` is told so; the defaults of the rest close.
#[test]
fn a_handler_of_messages_without_framed_says_what_is_missing() {
    fn visit<H: Handler + Send + 'static>(handler: H, stream: &[u8]) -> (Vec<u8>, u64) {
        let server = serve(handler, Config::default());
        let mut client = connect(server.addr);
        client.write_all(stream).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let got = read_to_end(&mut client);
        drop(client);
        (got, server.end())
    }
    let lines = Delimited::new(b"\n");
    assert_eq!(visit(framed(lines, Nothing), b"a\n"), (b"heard".to_vec(), 0));
    assert_eq!(visit(framed(lines, Nothing), b"a\nb"), (b"heard".to_vec(), 1));
    assert_eq!(visit(Nothing, b"a\n"), (Vec::new(), 1));
}
