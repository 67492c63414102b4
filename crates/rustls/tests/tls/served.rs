//! A reactor with TLS on a thread of its own, and a blocking client by rustls on a `std` socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use wouldblock::{
    Closed, Config, Conn, ConnId, Context, Handle, Handler, Input, Listen, Origin, Reactor, Stats,
};
use wouldblock_rustls::{Server, Tls};

use crate::support::*;

/// How long a test waits for a fact before it fails. Nothing is expected to take this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What `on_open` learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) name: Option<String>,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) version: &'static str,
    pub(crate) resumed: bool,
    pub(crate) certificates: usize,
}

impl Opened {
    fn of(conn: &Conn<'_>) -> Self {
        let tls = conn.layer::<Tls>().unwrap();
        Opened {
            name: tls.server_name().map(str::to_owned),
            alpn: tls.alpn().map(<[u8]>::to_vec),
            version: tls.version(),
            resumed: tls.is_resumed(),
            certificates: tls.peer_certificates().count(),
        }
    }
}

/// Sends back what comes, and closes behind `quit\n`.
struct Echo {
    opened: Sender<Opened>,
    closed: Sender<(Vec<&'static str>, Closed)>,
    greeting: Vec<u8>,
    /// What it sends to a client that has ended.
    farewell: &'static str,
}

impl Handler for Echo {
    /// The callbacks that came, each once.
    type Session = Vec<&'static str>;

    fn on_open(&mut self, conn: &mut Conn<'_>, _: Origin) -> io::Result<Self::Session> {
        let _ = self.opened.send(Opened::of(conn));
        conn.send(&self.greeting[..]);
        Ok(vec!["open"])
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        story: &mut Self::Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        story.push("data");
        story.dedup();
        let bytes = input.take_all();
        conn.send(bytes);
        if bytes.ends_with(b"quit\n") {
            conn.close();
        }
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        story: &mut Self::Session,
        _: &mut Input<'_>,
    ) -> io::Result<()> {
        story.push("eof");
        conn.send(self.farewell);
        conn.close();
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, story: Self::Session, closed: Closed) {
        let _ = self.closed.send((story, closed));
    }
}

/// A reactor that echoes over TLS.
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    opened: Receiver<Opened>,
    closed: Receiver<(Vec<&'static str>, Closed)>,
    end: Box<dyn Fn() + Send>,
    thread: JoinHandle<Stats>,
}

impl Served {
    pub(crate) fn start(server: &Server, config: Config) -> Self {
        Self::saying(server, config, Vec::new(), "")
    }

    /// One that sends this first to each client.
    pub(crate) fn greeting(server: &Server, config: Config, greeting: Vec<u8>) -> Self {
        Self::saying(server, config, greeting, "")
    }

    /// And this to one that has ended.
    pub(crate) fn saying(
        server: &Server,
        config: Config,
        greeting: Vec<u8>,
        farewell: &'static str,
    ) -> Self {
        let ((opened_tx, opened), (closed_tx, closed)) = (mpsc::channel(), mpsc::channel());
        let echo = Echo { opened: opened_tx, closed: closed_tx, greeting, farewell };
        let mut reactor = Reactor::with_config(echo, config).unwrap();
        let listen = Listen::from("127.0.0.1:0").layer(server.layer());
        let listener = reactor.listen(listen).unwrap();
        let addr = reactor.listener_addr(listener).unwrap().socket_addr().unwrap();
        let handle: Handle<Echo> = reactor.handle();
        let thread = thread::spawn(move || {
            reactor.run().unwrap();
            reactor.stats().clone()
        });
        Served { addr, opened, closed, end: Box::new(move || handle.shutdown()), thread }
    }

    #[track_caller]
    pub(crate) fn opened(&self) -> Opened {
        self.opened.recv_timeout(DEADLINE).unwrap()
    }

    /// The callbacks of the connection that ended next, and how it ended.
    #[track_caller]
    pub(crate) fn closed(&self) -> (String, Closed) {
        let (story, closed) = self.closed.recv_timeout(DEADLINE).unwrap();
        (story.join(" "), closed)
    }

    /// Shuts down. No other connection may have been opened than those asked for.
    #[track_caller]
    pub(crate) fn end(self) -> Stats {
        (self.end)();
        let stats = self.thread.join().unwrap();
        assert_eq!(self.opened.try_iter().count(), 0, "more connections than the test knows of");
        stats
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }
}

pub(crate) fn rustls_config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CA.pem.as_bytes()).unwrap()).unwrap();
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// rustls' own client, blocking. Its two directions may be two threads.
#[derive(Clone)]
pub(crate) struct Peer {
    stream: Arc<TcpStream>,
    tls: Arc<Mutex<ClientConnection>>,
}

impl Peer {
    pub(crate) fn connect(served: &Served, config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut stream = served.connect();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).unwrap();
        }
        Peer { stream: Arc::new(stream), tls: Arc::new(Mutex::new(tls)) }
    }

    fn flush(&self) {
        let mut wire = Vec::new();
        let mut tls = self.tls.lock().unwrap();
        while tls.wants_write() {
            tls.write_tls(&mut wire).unwrap();
        }
        drop(tls);
        (&*self.stream).write_all(&wire).unwrap();
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        for piece in bytes.chunks(30_000) {
            self.tls.lock().unwrap().writer().write_all(piece).unwrap();
            self.flush();
        }
    }

    /// Says `close_notify`, and leaves the stream open.
    pub(crate) fn say_end(&self) {
        self.tls.lock().unwrap().send_close_notify();
        self.flush();
    }

    /// Ends the stream, with or without having said so.
    pub(crate) fn end_stream(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// All that comes, up to the server's `close_notify`; an error if the stream ends without.
    pub(crate) fn receive_all(&self) -> io::Result<Vec<u8>> {
        let (mut buf, mut all) = (vec![0; 64 << 10], Vec::new());
        loop {
            let n = (&*self.stream).read(&mut buf)?;
            let mut tls = self.tls.lock().unwrap();
            let mut wire = &buf[..n];
            loop {
                tls.read_tls(&mut wire)?;
                tls.process_new_packets().map_err(io::Error::other)?;
                match tls.reader().read_to_end(&mut all) {
                    Ok(_) => return Ok(all),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
                if wire.is_empty() {
                    break;
                }
            }
        }
    }
}
