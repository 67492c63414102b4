//! A server that answers a request, all up to an empty line, by what it knows of the client and the
//! request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wouldblock::{
    Address, Closed, Config, Conn, ConnId, Context, Handle, Handler, Input, Listen, Origin,
    Reactor, Stats,
};
use wouldblock_proxy_protocol::{Accept, Proxied};

/// How long a test waits for a fact before it fails. Nothing is expected to take this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// What is known of a client, in lines.
pub(crate) fn describe(conn: &Conn<'_>) -> io::Result<String> {
    let peer = conn.peer_addr()?;
    let Some(proxied) = conn.layer::<Proxied>() else { return Ok(format!("peer {peer}\n")) };
    let destination = proxied.destination().map(Address::from);
    let destination = destination.map_or("-".into(), |address| address.to_string());
    let version = proxied.version().map_or("-".into(), |version| format!("{version:?}"));
    let text = |bytes: Option<&[u8]>| bytes.map_or("-".into(), |it| it.escape_ascii().to_string());
    let tls = proxied.tls();
    let tls = tls.as_ref().map_or("-".into(), |tls| {
        let name = tls.common_name().unwrap_or("-");
        let (version, cipher) = (tls.version().unwrap_or("-"), tls.cipher().unwrap_or("-"));
        format!("{version} {cipher} {name} {}", tls.is_verified())
    });
    Ok(format!(
        "peer {peer}\nto {destination}\nversion {version}\nlocal {}\nname {}\nalpn {}\nid {}\ntls {tls}\n",
        proxied.is_local(),
        proxied.authority().unwrap_or("-"),
        text(proxied.alpn()),
        text(proxied.unique_id()),
    ))
}

struct Describe {
    closed: Sender<Closed>,
}

impl Handler for Describe {
    type Session = String;

    fn on_open(&mut self, conn: &mut Conn<'_>, _: Origin) -> io::Result<String> {
        describe(conn)
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        known: &mut String,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        if input.bytes().ends_with(b"\r\n\r\n") {
            conn.send(format!("HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n{known}"));
            conn.send(input.take_all());
            conn.close();
        }
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, _: String, closed: Closed) {
        let _ = self.closed.send(closed);
    }
}

/// A reactor on a thread.
pub(crate) struct Served {
    pub(crate) at: Address,
    closed: Receiver<Closed>,
    end: Box<dyn Fn() + Send>,
    thread: JoinHandle<Stats>,
}

impl Served {
    /// For peers on loopback.
    pub(crate) fn start() -> Self {
        Self::of(&Accept::trusting(["127.0.0.0/8"]).unwrap(), Config::default())
    }

    pub(crate) fn of(accept: &Accept, config: Config) -> Self {
        Self::on(Listen::from("127.0.0.1:0").layer(accept.layer()), config)
    }

    pub(crate) fn on(listen: Listen, config: Config) -> Self {
        let (sender, closed) = mpsc::channel();
        let mut reactor = Reactor::with_config(Describe { closed: sender }, config).unwrap();
        let listener = reactor.listen(listen).unwrap();
        let at = reactor.listener_addr(listener).unwrap();
        let handle: Handle<Describe> = reactor.handle();
        let thread = thread::spawn(move || {
            reactor.run().unwrap();
            reactor.stats().clone()
        });
        Served { at, closed, end: Box::new(move || handle.shutdown()), thread }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.at.socket_addr().unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.addr().port())).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    #[track_caller]
    pub(crate) fn closed(&self) -> Closed {
        self.closed.recv_timeout(DEADLINE).unwrap()
    }

    /// Ends it. No connection has ended of which a test has not asked.
    pub(crate) fn end(self) -> Stats {
        (self.end)();
        let stats = self.thread.join().unwrap();
        assert!(self.closed.try_recv().is_err());
        stats
    }
}

/// Sends the bytes and returns what is said of the client and the request.
#[track_caller]
pub(crate) fn ask(mut stream: impl Read + Write, bytes: &[u8]) -> String {
    stream.write_all(bytes).unwrap();
    rest(stream)
}

/// The answer.
#[track_caller]
pub(crate) fn rest(mut stream: impl Read) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// What the answer says of one thing.
#[track_caller]
pub(crate) fn line<'a>(answer: &'a str, name: &str) -> &'a str {
    let found = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {name} in {answer}"))
}
