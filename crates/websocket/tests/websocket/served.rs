//! A server on a thread of its own, and a client that is none of ours.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wouldblock::{
    CloseReason, Config, Conn, ConnId, Context, Handle, Input, Listen, Origin, Reactor, Stats,
};
use wouldblock_websocket::{
    Chunk, Closed, Endpoint, Head, Message, Protocol, Response, Upgrade, WebSocket, Ws,
};

/// How long a test waits for a fact before it fails. Nothing is expected to take this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What a callback was told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Open(String),
    Text(String),
    Binary(Vec<u8>),
    Chunk(String, bool, bool),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Drain,
    Closing(String),
    Close(String),
}

type Act = Box<dyn FnMut(&mut Ws<'_>, Message<'_>) -> io::Result<()> + Send>;

/// Tells all that it is told, and does with a message what a test wants.
pub(crate) struct Recorder {
    tells: Sender<Event>,
    act: Act,
}

impl Recorder {
    fn tell(&self, event: Event) {
        let _ = self.tells.send(event);
    }
}

pub(crate) type Served = WebSocket<Recorder>;

impl Endpoint for Recorder {
    /// How many messages came.
    type Session = u64;

    fn on_open(&mut self, ws: &mut Ws<'_>, head: &Head<'_>) -> io::Result<u64> {
        self.tell(Event::Open(format!("{} {}", head.path(), head.protocol().unwrap_or("-"))));
        match head.path() {
            "/greeted" => ws.send("welcome"),
            "/refused" => return Err(io::Error::other("not this one")),
            _ => {}
        }
        Ok(0)
    }

    fn on_message(&mut self, ws: &mut Ws<'_>, n: &mut u64, message: Message<'_>) -> io::Result<()> {
        *n += 1;
        self.tell(match message {
            Message::Text(text) => Event::Text(text.to_owned()),
            Message::Binary(bytes) => Event::Binary(bytes.to_vec()),
        });
        (self.act)(ws, message)
    }

    fn on_chunk(&mut self, _: &mut Ws<'_>, _: &mut u64, chunk: Chunk<'_>) -> io::Result<()> {
        let text = String::from_utf8_lossy(chunk.data.bytes()).into_owned();
        self.tell(Event::Chunk(text, chunk.first, chunk.last));
        Ok(())
    }

    fn on_ping(&mut self, _: &mut Ws<'_>, _: &mut u64, payload: &[u8]) -> io::Result<()> {
        self.tell(Event::Ping(payload.to_vec()));
        Ok(())
    }

    fn on_pong(&mut self, _: &mut Ws<'_>, _: &mut u64, payload: &[u8]) -> io::Result<()> {
        self.tell(Event::Pong(payload.to_vec()));
        Ok(())
    }

    fn on_drain(&mut self, _: &mut Ws<'_>, _: &mut u64) -> io::Result<()> {
        self.tell(Event::Drain);
        Ok(())
    }

    fn on_closing(&mut self, ws: &mut Ws<'_>, _: &mut u64, reason: &CloseReason) {
        self.tell(Event::Closing(reason.to_string()));
        ws.send("bye");
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, n: u64, closed: Closed) {
        self.tell(Event::Close(format!("{closed}, {n} messages")));
    }

    fn on_upgrade(
        &mut self,
        _: &mut Conn<'_>,
        head: &Head<'_>,
        it: &mut Upgrade,
    ) -> Result<(), Response> {
        match head.path() {
            "/secret" if head.header("authorization").is_none() => {
                Err(Response::new(401).header("WWW-Authenticate", "Basic"))
            }
            "/cookie" => {
                it.header("Set-Cookie", "a=b");
                it.protocol("chosen");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_request(&mut self, _: &mut Conn<'_>, head: &Head<'_>) -> Response {
        match head.path() {
            "/" => Response::new(200).body("text/html", "<h1>the page</h1>"),
            _ => Response::new(404),
        }
    }

    /// On a Unix socket there are lines.
    fn on_connection(&mut self, conn: &mut Conn<'_>, _: Origin) -> io::Result<Protocol<u64>> {
        let is_unix = conn.peer_addr()?.socket_addr().is_none();
        Ok(if is_unix { Protocol::Plain(0) } else { Protocol::Server })
    }

    fn on_plain(
        &mut self,
        conn: &mut Conn<'_>,
        n: &mut u64,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        while let Some(line) = input.line() {
            *n += 1;
            self.tell(Event::Text(String::from_utf8_lossy(line).into_owned()));
            conn.send([line, b", too\n"].concat());
        }
        Ok(())
    }

    fn on_plain_close(&mut self, _: &mut Context, _: ConnId, n: u64, closed: wouldblock::Closed) {
        self.tell(Event::Close(format!("{closed}, {n} lines")));
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) handle: Handle<Served>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<Stats>>,
}

impl Server {
    /// Does with each message what `act` does.
    pub(crate) fn with(
        act: impl FnMut(&mut Ws<'_>, Message<'_>) -> io::Result<()> + Send + 'static,
        config: Config,
        set: impl FnOnce(Served) -> Served,
        also: Option<&str>,
    ) -> Self {
        let (tells, events) = mpsc::channel();
        let served = set(WebSocket::new(Recorder { tells, act: Box::new(act) }));
        let mut reactor = Reactor::with_config(served, config).unwrap();
        let listener = reactor.listen("127.0.0.1:0").unwrap();
        if let Some(also) = also {
            reactor.listen(Listen::from(also)).unwrap();
        }
        let addr = reactor.listener_addr(listener).unwrap().socket_addr().unwrap();
        let handle = reactor.handle();
        let thread = thread::spawn(move || {
            reactor.run().unwrap();
            reactor.stats().clone()
        });
        Server { addr, handle, events, thread: Some(thread) }
    }

    pub(crate) fn echo() -> Self {
        Self::echo_with(|it| it)
    }

    pub(crate) fn echo_with(set: impl FnOnce(Served) -> Served) -> Self {
        let echo = |ws: &mut Ws<'_>, message: Message<'_>| {
            ws.send(message);
            Ok(())
        };
        Server::with(echo, Config::default(), set, None)
    }

    pub(crate) fn event(&self) -> Event {
        self.events.recv_timeout(DEADLINE).unwrap()
    }

    /// The next event that is no ping, pong or drain.
    pub(crate) fn closed(&self) -> String {
        loop {
            if let Event::Close(closed) = self.event() {
                return closed;
            }
        }
    }

    /// What it has counted, after an orderly end. No event is left.
    pub(crate) fn end(mut self) -> Stats {
        self.handle.shutdown();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown_now();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request for a WebSocket, with these lines in addition.
pub(crate) fn request(path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
}

/// A frame as a client sends it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x00, 0xFF, 0x80];
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..126 => frame.push(0x80 | n as u8),
        n @ 126..65536 => {
            frame.push(0x80 | 0x7E);
            frame.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            frame.push(0x80 | 0x7F);
            frame.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// The payload of a close frame.
pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A client of plain bytes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) fn connect(server: &Server) -> Self {
        Client::at(server.addr)
    }

    pub(crate) fn at(address: impl ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    /// With the handshake done.
    pub(crate) fn open(server: &Server, path: &str) -> Self {
        let mut client = Client::connect(server);
        client.send(request(path, ""));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(server.event(), Event::Open(format!("{path} -")));
        client
    }

    /// The same, where other events may come before.
    pub(crate) fn open_after(server: &Server) -> Self {
        let mut client = Client::connect(server);
        client.send(request("/", ""));
        client.head();
        client
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The head of the answer.
    pub(crate) fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.exactly(1)[0]);
        }
        String::from_utf8(head).unwrap()
    }

    pub(crate) fn exactly(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The next frame: its first byte, and its payload.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.exactly(2);
        let len = match head[1] {
            126 => u16::from_be_bytes(self.exactly(2).try_into().unwrap()).into(),
            127 => u64::from_be_bytes(self.exactly(8).try_into().unwrap()),
            n => u64::from(n),
        };
        (head[0], self.exactly(len as usize))
    }

    pub(crate) fn text(&mut self) -> String {
        let (first, payload) = self.frame();
        assert_eq!(first, 0x81);
        String::from_utf8(payload).unwrap()
    }

    /// The next frame, which is a close: its code and reason.
    pub(crate) fn closed(&mut self) -> (u16, String) {
        let (first, payload) = self.frame();
        assert_eq!(first, 0x88, "{}", String::from_utf8_lossy(&payload));
        match payload[..] {
            [high, low, ref reason @ ..] => {
                (u16::from_be_bytes([high, low]), String::from_utf8(reason.to_vec()).unwrap())
            }
            _ => (1005, String::new()),
        }
    }

    /// All until the server's end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }
}
