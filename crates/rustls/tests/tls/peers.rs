//! A reactor with TLS over loopback, and peers that do as they should, or not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use wouldblock::{
    CloseReason, Closed, Config, Conn, ConnId, Connect, Context, Handler, Input, Listen, Origin,
    Reactor,
};
use wouldblock_rustls::{Cause, Client, Error, Server, Tls};

use crate::served::*;
use crate::support::*;

const MIB: usize = 1 << 20;

/// Ten mebibytes each way at once, in both versions, and an end that is one.
#[test]
fn ten_mebibytes_go_both_ways_at_once() {
    for (version, name) in [(&TLS12, "TLS 1.2"), (&TLS13, "TLS 1.3")] {
        let served = Served::start(&server(), Config::default());
        let peer = Peer::connect(&served, &Arc::new(rustls_config(&[version])));
        let sent = random(1, 10 * MIB);
        let opened = served.opened();
        assert_eq!((opened.version, opened.name.as_deref()), (name, Some("localhost")));
        let sending = {
            let (peer, sent) = (peer.clone(), sent.clone());
            thread::spawn(move || {
                peer.send(&sent);
                peer.send(b"quit\n");
            })
        };
        let got = peer.receive_all().unwrap();
        sending.join().unwrap();
        assert!(got == [&sent[..], b"quit\n"].concat(), "{} bytes came back", got.len());
        peer.say_end();
        peer.end_stream();
        let (story, closed) = served.closed();
        assert_eq!(story, "open data");
        assert!(closed.clean && matches!(closed.reason, CloseReason::Local), "{closed}");
        served.end();
    }
}

/// A client that says its end, then ends the stream, is told by `on_eof`, and what is sent to that arrives,
/// with our end behind it.
#[test]
fn an_end_that_is_said_is_an_end() {
    for version in [&TLS12, &TLS13] {
        let served = Served::saying(&server(), Config::default(), Vec::new(), "good bye");
        let peer = Peer::connect(&served, &Arc::new(rustls_config(&[version])));
        served.opened();
        peer.send(b"hello");
        peer.say_end();
        assert_eq!(peer.receive_all().unwrap(), b"hellogood bye");
        peer.end_stream();
        let (story, closed) = served.closed();
        assert_eq!(story, "open data eof");
        assert!(closed.clean, "{closed}");
        served.end();
    }
}

/// A stream that ends without is told as truncated, and never by `on_eof`.
#[test]
fn a_stream_that_just_ends_is_truncated() {
    let served = Served::start(&server(), Config::default());
    let peer = Peer::connect(&served, &Arc::new(rustls_config(&[&TLS13])));
    served.opened();
    peer.send(b"half of a mess");
    peer.end_stream();
    let (story, closed) = served.closed();
    assert_eq!(story, "open data");
    assert!(matches!(closed.reason, CloseReason::Truncated) && !closed.clean, "{closed}");
    served.end();
}

/// The layer of a client over a `std` socket, to send what rustls' own would not.
fn shake(stream: &mut TcpStream, client: &Client) -> End {
    let mut end = End::new(client.connect("localhost").unwrap());
    let mut buf = vec![0; 16 << 10];
    loop {
        stream.write_all(&end.take_wire()).unwrap();
        let n = stream.read(&mut buf).unwrap();
        assert!(n > 0, "{end:?}");
        end.receive(&buf[..n]);
        if wouldblock::Layer::is_ready(&end.tls) {
            return end;
        }
        assert!(end.error.is_none(), "{end:?}");
    }
}

/// What follows the handshake in the same packet is data, however much, and counts for no limit of the
/// handshake.
#[test]
fn data_behind_the_handshake_may_come_at_once() {
    let served = Served::start(&server(), Config::default());
    let mut stream = served.connect();
    let mut end = shake(&mut stream, &client());
    let sent = random(3, 200_000);
    end.send(&sent);
    end.send(b"quit\n");
    stream.write_all(&end.take_wire()).unwrap();
    let mut buf = vec![0; 64 << 10];
    while !end.ended {
        let n = stream.read(&mut buf).unwrap();
        assert!(n > 0 && end.error.is_none(), "{end:?}");
        end.receive(&buf[..n]);
    }
    assert!(end.plain == [&sent[..], b"quit\n"].concat());
    end.end();
    stream.write_all(&end.take_wire()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(served.closed().1.clean);
    served.opened();
    served.end();
}

/// Wherever it is cut off behind the handshake, a connection ends as truncated; before, it was none.
#[test]
fn a_connection_cut_off_in_any_record_is_never_clean() {
    let served = Served::start(&server(), Config::default());
    let connector = client();
    let mut cut_offs = 0;
    for cut in (0..).map(|n| n * 7) {
        let mut stream = served.connect();
        let mut end = shake(&mut stream, &connector);
        let finished = end.wire.len();
        end.send(b"all that there is to say");
        end.end();
        let wire = end.take_wire();
        if cut >= wire.len() {
            break;
        }
        stream.write_all(&wire[..cut]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // Whatever the server has to say to that.
        let _ = stream.read_to_end(&mut Vec::new());
        cut_offs += 1;
        if cut >= finished {
            let (story, closed) = served.closed();
            let is_truncated = matches!(closed.reason, CloseReason::Truncated);
            assert!(is_truncated && !closed.clean, "{closed} at {cut}");
            assert!(!story.contains("eof"), "{story} at {cut}");
            served.opened();
        }
    }
    assert!(cut_offs > 10, "{cut_offs}");
    served.end();
}

/// What is no TLS gets an alert and an end; no callback tells of it, and the count does.
#[test]
fn plain_http_gets_an_alert_and_no_callback() {
    let served = Served::start(&server(), Config::default());
    let mut stream = served.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&21), "no alert: {answer:?}");
    drop(stream);
    let stats = served.end();
    assert_eq!((stats.accepted, stats.handshakes_failed), (1, 1));
}

/// A client that begins and then says nothing is ended by the handshake's timeout, and one that says
/// nothing at all.
#[test]
fn half_a_handshake_has_its_time() {
    let config = Config::default().handshake(Duration::from_millis(50));
    let served = Served::start(&server(), config);
    let hello = End::new(client().connect("localhost").unwrap()).take_wire();
    for len in [0, 1, 5, hello.len() / 2, hello.len()] {
        let mut stream = served.connect();
        stream.write_all(&hello[..len]).unwrap();
        // An end or a reset, and not the deadline of the test.
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        }
    }
    let stats = served.end();
    assert_eq!((stats.accepted, stats.handshakes_failed), (5, 5));
}

/// The other limits leave a handshake to its own: a peer that rests in it is neither idle, nor too
/// slow, nor late with its first byte.
#[test]
fn a_handshake_is_held_to_its_own_limit_alone() {
    let brief = Duration::from_millis(20);
    let config = Config::default().handshake(Duration::from_millis(200));
    let config = config.first_byte(Some(brief)).idle(Some(brief)).min_rate(1000, brief);
    let served = Served::start(&server(), config);
    let hello = End::new(client().connect("localhost").unwrap()).take_wire();
    for len in [0, 7, hello.len()] {
        let mut stream = served.connect();
        stream.write_all(&hello[..len]).unwrap();
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        }
    }
    let stats = served.end();
    assert_eq!((stats.handshakes_failed, stats.closed.handshake), (3, 3), "{stats:?}");
}

/// What the server has is also what a client must show: refused, it is told why.
#[test]
fn a_client_without_a_certificate_is_told_why() {
    let strict = Server::builder().certificate_pem(&*LOCALHOST.chain, &*LOCALHOST.key);
    let served =
        Served::start(&strict.client_roots_pem(&*CA.pem).build().unwrap(), Config::default());
    let peer = Peer::connect(&served, &Arc::new(rustls_config(&[&TLS13])));
    let error = peer.receive_all().unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    assert_eq!(served.end().handshakes_failed, 1);
}

// ---- connections that are made -----------------------------------------------------------------

/// Asks one question of a server, and keeps what came of it.
struct Asks {
    connect: Option<Connect>,
    question: Vec<u8>,
    answer: Vec<u8>,
    told: Sender<Result<(Vec<u8>, Closed), io::Error>>,
}

impl Handler for Asks {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        let id = cx.connect(self.connect.take().unwrap(), 0)?;
        // Sent before there is a connection: it goes out when the handshake is over.
        cx.conn(id).unwrap().send(&self.question[..]);
        Ok(())
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<()> {
        assert_eq!(origin, Origin::Connected(0));
        assert!(conn.layer::<Tls>().unwrap().peer_certificates().count() == 1);
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), input: &mut Input<'_>) -> io::Result<()> {
        self.answer.extend_from_slice(input.take_all());
        Ok(())
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _: ConnId, _: u64, error: io::Error) {
        let _ = self.told.send(Err(error));
        cx.shutdown();
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, (): (), closed: Closed) {
        let _ = self.told.send(Ok((std::mem::take(&mut self.answer), closed)));
        cx.shutdown();
    }
}

fn ask(connect: Connect, question: &[u8]) -> Result<(Vec<u8>, Closed), io::Error> {
    let (told, answers): (_, Receiver<_>) = mpsc::channel();
    let asks =
        Asks { connect: Some(connect), question: question.to_vec(), answer: Vec::new(), told };
    thread::spawn(move || Reactor::new(asks).unwrap().run());
    answers.recv_timeout(DEADLINE).unwrap()
}

/// A connection that we make, to a server of ours: megabytes there and back, and both ends said.
#[test]
fn a_connect_over_tls_asks_and_is_answered() {
    let served = Served::start(&server(), Config::default());
    let mut question = random(5, 3 * MIB);
    question.extend_from_slice(b"quit\n");
    let connect = Connect::from(served.addr).layer(client().connect("localhost").unwrap());
    let (answer, closed) = ask(connect, &question).unwrap();
    assert!(answer == question, "{} bytes came back", answer.len());
    assert!(closed.clean && matches!(closed.reason, CloseReason::PeerEnd), "{closed}");
    assert!(served.closed().1.clean);
    served.opened();
    served.end();
}

/// A server that is not who it should be is a failed connect, with the cause.
#[test]
fn a_server_of_another_name_is_a_failed_connect() {
    let served = Served::start(&server(), Config::default());
    let connect = Connect::from(served.addr).layer(client().connect("example.com").unwrap());
    let error = ask(connect, b"a secret").unwrap_err();
    let found = Error::of(&error).unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(found.cause(), Cause::WrongName);
    assert!(error.to_string().contains("wanted example.com"), "{error}");
    assert_eq!(served.end().handshakes_failed, 1);
}

/// A server that speaks HTTP is a failed connect that says so.
#[test]
fn a_plain_server_is_a_failed_connect() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1000]);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // The alert, then the end.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let error = ask(Connect::from(addr).layer(client().connect("localhost").unwrap()), b"");
    let error = error.unwrap_err();
    assert_eq!(Error::of(&error).map(Error::cause), Some(Cause::PlainHttp), "{error}");
    server.join().unwrap();
}

// ---- STARTTLS ----------------------------------------------------------------------------------

/// Speaks in the clear until the client asks for TLS.
struct Starts {
    tls: Server,
}

impl Handler for Starts {
    type Session = ();

    fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        while let Some(line) = input.line() {
            match line {
                b"STARTTLS" => {
                    conn.send("go ahead\n");
                    conn.upgrade(self.tls.accept()?);
                }
                line => {
                    let how = conn.layer::<Tls>().map_or("in the clear", Tls::version);
                    conn.send(format!("{} {how}\n", String::from_utf8_lossy(line)));
                }
            }
        }
        Ok(())
    }
}

/// A connection begins in the clear, and goes on over TLS when the protocol says so.
#[test]
fn a_connection_is_upgraded() {
    let mut reactor = Reactor::new(Starts { tls: server() }).unwrap();
    let listener = reactor.listen(Listen::from("127.0.0.1:0")).unwrap();
    let addr = reactor.listener_addr(listener).unwrap().socket_addr().unwrap();
    let handle = reactor.handle();
    let thread = thread::spawn(move || reactor.run());

    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = [0; 13 + 5];
    stream.write_all(b"NOOP\n").unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"NOOP in the clear\n");
    stream.write_all(b"STARTTLS\n").unwrap();
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"go ahead\n");

    let mut end = shake(&mut stream, &client());
    end.send(b"NOOP\n");
    stream.write_all(&end.take_wire()).unwrap();
    let mut buf = [0; 4096];
    while end.plain.is_empty() {
        let n = stream.read(&mut buf).unwrap();
        assert!(n > 0 && end.error.is_none(), "{end:?}");
        end.receive(&buf[..n]);
    }
    assert_eq!(end.plain, b"NOOP TLS 1.3\n");
    handle.shutdown_now();
    thread.join().unwrap().unwrap();
}
