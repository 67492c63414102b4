//! What the tests share: a server on a thread of its own whose callbacks are closures and leave a
//! record, plain clients, and children for what belongs to a process.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;
use wouldblock::{
    CloseReason, Closed, Config, Conn, ConnId, Context, Handle, Handler, Input, Listen, Origin,
    Reactor, Stats, Timer,
};

#[path = "support/toy.rs"]
pub(crate) mod toy;
#[path = "support/toy_client.rs"]
pub(crate) mod toy_client;

/// How long a test waits for a fact before it fails. Nothing is expected to take this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * KIB;

/// Waits for a fact; naps of a millisecond keep the other core free.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Lets time pass in which nothing should happen. Never a way to wait for something.
pub(crate) fn watch(window: Duration) {
    thread::sleep(window);
}

// ---- the record -----------------------------------------------------------------------------

/// One callback, as it was called.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Start,
    Open(ConnId, Origin),
    /// A connect that failed: under this tag, for this reason.
    Failed(ConnId, u64, Arc<io::Error>),
    Data(ConnId),
    Eof(ConnId),
    Drain(ConnId),
    Timeout(ConnId),
    Timer(Timer),
    Close(ConnId, Arc<Closed>),
    Shutdown,
}

/// Every callback of a `Script` in order, readable from the test's thread.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Event>>>);

impl Record {
    fn push(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, is_counted: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| is_counted(event)).count()
    }

    pub(crate) fn opens(&self) -> Vec<ConnId> {
        let open = |event: &Event| if let Event::Open(id, _) = event { Some(*id) } else { None };
        self.0.lock().unwrap().iter().filter_map(open).collect()
    }

    /// Where the connections came from, in the order in which they were opened.
    pub(crate) fn origins(&self) -> Vec<Origin> {
        let origin =
            |event: &Event| if let Event::Open(_, origin) = event { Some(*origin) } else { None };
        self.0.lock().unwrap().iter().filter_map(origin).collect()
    }

    /// The connects that failed.
    pub(crate) fn failures(&self) -> Vec<(ConnId, u64, Arc<io::Error>)> {
        let failure = |event: &Event| match event {
            Event::Failed(id, tag, error) => Some((*id, *tag, Arc::clone(error))),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(failure).collect()
    }

    pub(crate) fn closes(&self) -> Vec<(ConnId, Arc<Closed>)> {
        let close = |event: &Event| match event {
            Event::Close(id, closed) => Some((*id, Arc::clone(closed))),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(close).collect()
    }

    /// The callbacks of one connection by name, in order: `"open data eof close"`.
    pub(crate) fn story(&self, of: ConnId) -> String {
        let events = self.0.lock().unwrap();
        let names = events.iter().filter_map(|event| match event {
            Event::Open(id, _) if *id == of => Some("open"),
            Event::Failed(id, ..) if *id == of => Some("failed"),
            Event::Data(id) if *id == of => Some("data"),
            Event::Eof(id) if *id == of => Some("eof"),
            Event::Drain(id) if *id == of => Some("drain"),
            Event::Timeout(id) if *id == of => Some("timeout"),
            Event::Close(id, _) if *id == of => Some("close"),
            _ => None,
        });
        names.collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn timers(&self) -> Vec<Timer> {
        let timer =
            |event: &Event| if let Event::Timer(timer) = event { Some(*timer) } else { None };
        self.0.lock().unwrap().iter().filter_map(timer).collect()
    }

    #[track_caller]
    pub(crate) fn wait_opens(&self, n: usize) -> Vec<ConnId> {
        wait_until(&format!("{n} connections are open"), || self.opens().len() >= n);
        self.opens()
    }

    #[track_caller]
    pub(crate) fn wait_closes(&self, n: usize) -> Vec<(ConnId, Arc<Closed>)> {
        wait_until(&format!("{n} connections are closed"), || self.closes().len() >= n);
        self.closes()
    }

    #[track_caller]
    pub(crate) fn wait_failures(&self, n: usize) -> Vec<(ConnId, u64, Arc<io::Error>)> {
        wait_until(&format!("{n} connects have failed"), || self.failures().len() >= n);
        self.failures()
    }

    /// How the one connection that closed ended.
    #[track_caller]
    pub(crate) fn wait_close(&self) -> Arc<Closed> {
        Arc::clone(&self.wait_closes(1)[0].1)
    }

    /// How this connection ended.
    #[track_caller]
    pub(crate) fn wait_close_of(&self, of: ConnId) -> Arc<Closed> {
        let find = || self.closes().into_iter().find(|(id, _)| *id == of);
        wait_until("that connection is closed", || find().is_some());
        find().unwrap().1
    }
}

// ---- the handler ----------------------------------------------------------------------------

type OnStart = dyn FnMut(&mut Context) -> io::Result<()> + Send;
type OnConn = dyn FnMut(&mut Conn<'_>) -> io::Result<()> + Send;
type OnClosing = dyn FnMut(&mut Conn<'_>, &CloseReason) -> io::Result<()> + Send;
type OnInput = dyn FnMut(&mut Conn<'_>, &mut Input<'_>) -> io::Result<()> + Send;
type OnTimer = dyn FnMut(&mut Context, Timer) + Send;
type OnClose = dyn FnMut(&mut Context, ConnId, &Closed) + Send;
type OnFailed = dyn FnMut(&mut Context, ConnId, u64) + Send;
type OnShutdown = dyn FnMut(&mut Context) + Send;

/// A handler made of closures. It echoes unless told otherwise, leaves a record, and holds promise
/// 3 in every test: sessions belong to their connection, nothing comes after `on_eof` but drains
/// and the close.
pub(crate) struct Script {
    record: Record,
    start: Box<OnStart>,
    open: Box<OnConn>,
    data: Box<OnInput>,
    eof: Box<OnInput>,
    drain: Box<OnConn>,
    timeout: Box<OnConn>,
    closing: Box<OnClosing>,
    timer: Box<OnTimer>,
    close: Box<OnClose>,
    failed: Box<OnFailed>,
    shutdown: Box<OnShutdown>,
}

/// What a `Script` keeps per connection, to check who is served.
pub(crate) struct Session {
    id: ConnId,
    ended: bool,
}

impl Session {
    pub(crate) fn is_of(&self, id: ConnId) -> bool {
        self.id == id
    }
}

/// A script that echoes, and closes at the peer's end.
pub(crate) fn echo() -> Script {
    Script {
        record: Record::default(),
        start: Box::new(|_| Ok(())),
        open: Box::new(|_| Ok(())),
        data: Box::new(|conn, input| {
            conn.send(input.take_all());
            Ok(())
        }),
        eof: Box::new(|conn, _| {
            conn.close();
            Ok(())
        }),
        drain: Box::new(|_| Ok(())),
        timeout: Box::new(|_| Ok(())),
        closing: Box::new(|_, _| Ok(())),
        timer: Box::new(|_, _| ()),
        close: Box::new(|_, _, _| ()),
        failed: Box::new(|_, _, _| ()),
        shutdown: Box::new(|_| ()),
    }
}

/// An echo whose kernel takes next to nothing at a time.
pub(crate) fn narrow_echo() -> Script {
    echo().on_open(|conn| {
        narrow_sending(conn);
        Ok(())
    })
}

impl Script {
    pub(crate) fn on_start(
        mut self,
        f: impl FnMut(&mut Context) -> io::Result<()> + Send + 'static,
    ) -> Self {
        self.start = Box::new(f);
        self
    }

    pub(crate) fn on_open(
        mut self,
        f: impl FnMut(&mut Conn<'_>) -> io::Result<()> + Send + 'static,
    ) -> Self {
        self.open = Box::new(f);
        self
    }

    pub(crate) fn on_data(
        mut self,
        f: impl FnMut(&mut Conn<'_>, &mut Input<'_>) -> io::Result<()> + Send + 'static,
    ) -> Self {
        self.data = Box::new(f);
        self
    }

    pub(crate) fn on_eof(
        mut self,
        f: impl FnMut(&mut Conn<'_>, &mut Input<'_>) -> io::Result<()> + Send + 'static,
    ) -> Self {
        self.eof = Box::new(f);
        self
    }

    pub(crate) fn on_drain(
        mut self,
        f: impl FnMut(&mut Conn<'_>) -> io::Result<()> + Send + 'static,
    ) -> Self {
        self.drain = Box::new(f);
        self
    }

    pub(crate) fn on_timeout(
        mut self,
        f: impl FnMut(&mut Conn<'_>) -> io::Result<()> + Send + 'static,
    ) -> Self {
        self.timeout = Box::new(f);
        self
    }

    pub(crate) fn on_closing(
        mut self,
        f: impl FnMut(&mut Conn<'_>, &CloseReason) -> io::Result<()> + Send + 'static,
    ) -> Self {
        self.closing = Box::new(f);
        self
    }

    pub(crate) fn on_timer(mut self, f: impl FnMut(&mut Context, Timer) + Send + 'static) -> Self {
        self.timer = Box::new(f);
        self
    }

    pub(crate) fn on_close(
        mut self,
        f: impl FnMut(&mut Context, ConnId, &Closed) + Send + 'static,
    ) -> Self {
        self.close = Box::new(f);
        self
    }

    pub(crate) fn on_connect_failed(
        mut self,
        f: impl FnMut(&mut Context, ConnId, u64) + Send + 'static,
    ) -> Self {
        self.failed = Box::new(f);
        self
    }

    pub(crate) fn on_shutdown(mut self, f: impl FnMut(&mut Context) + Send + 'static) -> Self {
        self.shutdown = Box::new(f);
        self
    }

    pub(crate) fn record(&self) -> Record {
        self.record.clone()
    }
}

impl Handler for Script {
    type Session = Session;

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        self.record.push(Event::Start);
        (self.start)(cx)
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Session> {
        self.record.push(Event::Open(conn.id(), origin));
        (self.open)(conn)?;
        Ok(Session { id: conn.id(), ended: false })
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        assert_eq!(session.id, conn.id(), "a session was lent to another connection");
        assert!(!session.ended, "data came after on_eof");
        assert!(!input.is_empty(), "on_data was called with nothing to show");
        self.record.push(Event::Data(conn.id()));
        (self.data)(conn, input)
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        assert_eq!(session.id, conn.id(), "a session was lent to another connection");
        assert!(!session.ended, "on_eof came twice");
        session.ended = true;
        self.record.push(Event::Eof(conn.id()));
        (self.eof)(conn, rest)
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, session: &mut Session) -> io::Result<()> {
        assert_eq!(session.id, conn.id(), "a session was lent to another connection");
        self.record.push(Event::Drain(conn.id()));
        (self.drain)(conn)
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut Session) -> io::Result<()> {
        assert_eq!(session.id, conn.id(), "a session was lent to another connection");
        self.record.push(Event::Timeout(conn.id()));
        (self.timeout)(conn)
    }

    fn on_closing(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        reason: &CloseReason,
    ) -> io::Result<()> {
        assert_eq!(session.id, conn.id(), "a session was lent to another connection");
        (self.closing)(conn, reason)
    }

    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        self.record.push(Event::Timer(timer));
        (self.timer)(cx, timer);
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, session: Session, closed: Closed) {
        assert_eq!(session.id, id, "a session was handed over under another name");
        (self.close)(cx, id, &closed);
        self.record.push(Event::Close(id, Arc::new(closed)));
    }

    fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, tag: u64, error: io::Error) {
        (self.failed)(cx, id, tag);
        self.record.push(Event::Failed(id, tag, Arc::new(error)));
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        self.record.push(Event::Shutdown);
        (self.shutdown)(cx);
    }
}

// ---- the server -----------------------------------------------------------------------------

/// A reactor on a thread of its own.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) handle: Handle<Script>,
    pub(crate) record: Record,
    thread: JoinHandle<(io::Result<()>, Stats)>,
}

impl Server {
    /// Runs this on the reactor's thread and returns what it says.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Context) -> T + Send + 'static,
    ) -> T {
        let (says, told) = std::sync::mpsc::channel();
        self.handle.post(move |_, cx| drop(says.send(question(cx)))).unwrap();
        told.recv_timeout(DEADLINE).unwrap()
    }

    /// Serves the script on a free port of 127.0.0.1.
    pub(crate) fn start(script: Script, config: Config) -> Server {
        Server::start_on("127.0.0.1:0", script, config)
    }

    /// The same on a listener that may have clients waiting already.
    pub(crate) fn start_on(
        listen: impl Into<Listen> + Send + 'static,
        script: Script,
        config: Config,
    ) -> Server {
        Server::start_with(listen, script, config, |_| ())
    }

    /// The same, with something to do before it runs.
    pub(crate) fn start_with(
        listen: impl Into<Listen> + Send + 'static,
        script: Script,
        config: Config,
        prepare: impl FnOnce(&mut Reactor<Script>) + Send + 'static,
    ) -> Server {
        let record = script.record();
        let (ready, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut reactor = Reactor::with_config(script, config).unwrap();
            prepare(&mut reactor);
            let id = reactor.listen(listen).unwrap();
            let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
            ready.send((addr, reactor.handle())).unwrap();
            let result = reactor.run();
            (result, reactor.stats().clone())
        });
        let (addr, handle) = started.recv_timeout(DEADLINE).expect("the server starts");
        Server { addr, handle, record, thread }
    }

    /// Shuts down, and waits for the end.
    #[track_caller]
    pub(crate) fn end(self) -> Stats {
        self.handle.shutdown();
        self.join()
    }

    /// Shuts down the hard way, and waits for the end.
    #[track_caller]
    pub(crate) fn end_now(self) -> Stats {
        self.handle.shutdown_now();
        self.join()
    }

    /// Waits until `run` returned, which must be without an error.
    #[track_caller]
    pub(crate) fn join(self) -> Stats {
        wait_until("the server has ended", || self.thread.is_finished());
        match self.thread.join() {
            Ok((result, stats)) => {
                result.expect("run ends well");
                stats
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.addr)
    }
}

/// A callback that waits until the test lets it go, with the whole reactor standing still.
pub(crate) fn stall() -> (Stall, Stalled) {
    let (entered, enters) = mpsc::channel();
    let (go, goes) = mpsc::channel();
    (Stall { enters, go }, Stalled { entered, goes })
}

/// The test's end of `stall`.
pub(crate) struct Stall {
    enters: Receiver<()>,
    go: Sender<()>,
}

/// The callback's end of `stall`.
pub(crate) struct Stalled {
    entered: Sender<()>,
    goes: Receiver<()>,
}

impl Stall {
    pub(crate) fn wait_entered(&self) {
        self.enters.recv_timeout(DEADLINE).expect("the callback that stalls is called");
    }

    pub(crate) fn release(&self) {
        self.go.send(()).unwrap();
    }
}

impl Stalled {
    pub(crate) fn stand_still(&self) {
        self.entered.send(()).unwrap();
        self.goes.recv_timeout(DEADLINE).expect("the test lets go");
    }
}

// ---- clients --------------------------------------------------------------------------------

/// A listener of `std`, with the backlog of 128 that it always has.
pub(crate) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A listener whose backlog takes more, as far as `somaxconn` allows.
pub(crate) fn deep_listener(backlog: i32) -> TcpListener {
    let addr: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&addr.into()).unwrap();
    socket.listen(backlog).unwrap();
    socket.into()
}

/// A listener that answers nobody: its backlog is full, so the kernel drops what knocks until
/// somebody is accepted.
pub(crate) struct Silent {
    pub(crate) listener: TcpListener,
    pub(crate) addr: SocketAddr,
    filler: TcpStream,
}

impl Silent {
    pub(crate) fn new() -> Silent {
        // Linux lets one more wait than it was told.
        let listener = deep_listener(0);
        let addr = listener.local_addr().unwrap();
        Silent { filler: connect(addr), listener, addr }
    }

    /// Accepts who comes behind the one that was in the way; it knocks again within a second.
    #[track_caller]
    pub(crate) fn answer(&self) -> TcpStream {
        let own = self.filler.local_addr().unwrap();
        self.listener.set_nonblocking(true).unwrap();
        let mut next = None;
        wait_until("the connect knocks again", || {
            next = self.listener.accept().ok().filter(|(_, peer)| *peer != own);
            next.is_some()
        });
        let (stream, _) = next.unwrap();
        stream.set_nonblocking(false).unwrap();
        bounded(stream)
    }
}

#[track_caller]
pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    bounded(TcpStream::connect_timeout(&addr, DEADLINE).unwrap())
}

/// The same to a server that may abort a connection before the connect has returned.
pub(crate) fn try_connect(addr: SocketAddr) -> Option<TcpStream> {
    match TcpStream::connect_timeout(&addr, DEADLINE) {
        Ok(stream) => Some(bounded(stream)),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
    }
}

/// A client whose kernel takes next to nothing that it does not read.
#[track_caller]
pub(crate) fn connect_narrow(addr: SocketAddr) -> TcpStream {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)
            .unwrap();
    socket.set_recv_buffer_size(4 * KIB).unwrap();
    socket.connect(&addr.into()).unwrap();
    bounded(socket.into())
}

/// Bounds every wait of a client, so that a broken promise fails instead of hanging.
pub(crate) fn bounded(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Makes the kernel take next to nothing at a time.
pub(crate) fn narrow_sending(conn: &Conn<'_>) {
    let fd = conn.fd().expect("a TCP connection has a descriptor");
    SockRef::from(&fd).set_send_buffer_size(1).unwrap();
}

/// Leaves with a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Sends, and expects the same bytes back.
#[track_caller]
pub(crate) fn ping(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_n(client, bytes.len()), bytes);
}

#[track_caller]
pub(crate) fn read_n(client: &mut TcpStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads to the end, which must be an orderly one.
#[track_caller]
pub(crate) fn read_to_end(client: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Reads until the end or an error, whichever comes first; the end is told.
pub(crate) fn read_until_gone(client: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    let result = client.read_to_end(&mut bytes).map(drop);
    (bytes, result)
}

/// Sends all of it on one thread while this one reads to the end.
#[track_caller]
pub(crate) fn exchange(client: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = client;
            writer.write_all(bytes).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::with_capacity(bytes.len());
        let mut reader = client;
        reader.read_to_end(&mut back).unwrap();
        back
    })
}

/// Compares without printing megabytes.
#[track_caller]
pub(crate) fn assert_same(got: &[u8], expected: &[u8]) {
    let differs = got.iter().zip(expected).position(|(a, b)| a != b);
    assert!(
        differs.is_none() && got.len() == expected.len(),
        "{} bytes came, {} were expected, the first difference is at {differs:?}",
        got.len(),
        expected.len(),
    );
}

/// Asks a server whose `on_data` calls `tell_turns` how many turns its reactor has made.
#[track_caller]
pub(crate) fn ask_turns(client: &mut TcpStream) -> u64 {
    client.write_all(b"?").unwrap();
    u64::from_be_bytes(read_n(client, 8).try_into().unwrap())
}

/// Answers `ask_turns`.
pub(crate) fn tell_turns(conn: &mut Conn<'_>, input: &mut Input<'_>) {
    input.take_all();
    let turns = conn.cx().stats().turns;
    conn.send(turns.to_be_bytes());
}

/// Fails if the reactor behind `probe` takes turns though nothing happens.
#[track_caller]
pub(crate) fn assert_at_rest(probe: &mut TcpStream) {
    let before = ask_turns(probe);
    watch(Duration::from_millis(300));
    let turns = ask_turns(probe) - before;
    assert!(turns < 30, "{turns} turns were taken in 300 ms in which nothing happened");
}

// ---- chance ---------------------------------------------------------------------------------

/// Numbers that look random, the same for the same seed (xorshift64*).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }

    /// A size from 1 to `max`, small ones as likely as large ones.
    pub(crate) fn size(&mut self, max: usize) -> usize {
        let bits = self.below(max.ilog2() as usize + 1);
        (self.below(1 << (bits + 1)) + 1).min(max)
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(n + 8);
        while bytes.len() < n {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(n);
        bytes
    }
}

/// Data that no shift or swap leaves unnoticed.
pub(crate) fn random(seed: u64, n: usize) -> Vec<u8> {
    Chance::new(seed).bytes(n)
}

// ---- children -------------------------------------------------------------------------------

/// What belongs to a process is tested on a child: this binary runs one of its own ignored tests
/// again.
pub(crate) mod child {
    use super::*;

    const NAME: &str = "WOULDBLOCK_TEST_CHILD";

    /// True in the child that `run` or `Child::serve` started for this test; a plain `--ignored`
    /// run skips it.
    pub(crate) fn is_running(test: &str) -> bool {
        std::env::var(NAME).is_ok_and(|name| name == test)
    }

    pub(crate) fn command(test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(NAME, test);
        // Freed memory goes back at once, so that resident memory shows what is held.
        command.env("MALLOC_MMAP_THRESHOLD_", "65536").env("MALLOC_TRIM_THRESHOLD_", "65536");
        command
    }

    /// Runs an ignored test of this binary in a process of its own; it must pass.
    #[track_caller]
    pub(crate) fn run(test: &str) {
        let ended = command(test).stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8_lossy(&ended.stdout);
        assert!(
            ended.status.success() && told.contains("1 passed"),
            "the child failed ({}):\n{told}\n{}",
            ended.status,
            String::from_utf8_lossy(&ended.stderr),
        );
    }

    /// The child's part of `Child::serve`: tells the address, and serves until stdin ends.
    pub(crate) fn serve<H: Handler + 'static>(mut reactor: Reactor<H>) {
        let id = reactor.listen("127.0.0.1:0").unwrap();
        let addr = reactor.listener_addr(id).unwrap();
        let handle = reactor.handle();
        thread::spawn(move || {
            io::stdin().read_to_end(&mut Vec::new()).unwrap();
            handle.shutdown();
        });
        println!("\nlistening on {addr}");
        io::stdout().flush().unwrap();
        reactor.run().unwrap();
    }

    /// A process that serves: this binary again, or an example. It is killed when dropped.
    pub(crate) struct Child {
        pub(crate) addr: SocketAddr,
        stdout: Arc<Mutex<String>>,
        pub(crate) process: std::process::Child,
        stderr: Arc<Mutex<String>>,
    }

    impl Child {
        /// Starts an ignored test of this binary that ends in `child::serve`.
        pub(crate) fn serve(test: &str) -> Child {
            Child::start(command(test))
        }

        /// The same, run by another program: `strace`, say.
        pub(crate) fn serve_under(runner: &[&str], test: &str) -> Child {
            let inner = command(test);
            let mut outer = Command::new(runner[0]);
            outer.args(&runner[1..]).arg(inner.get_program()).args(inner.get_args());
            outer.env(NAME, test);
            Child::start(outer)
        }

        /// Starts an example found beside this binary, on a free port.
        pub(crate) fn example(name: &str, args: &[&str]) -> Child {
            let mut command = Command::new(example(name));
            command.args(["--listen", "127.0.0.1:0"]).args(args);
            Child::start(command)
        }

        /// Starts a program that prints `listening on ADDR`.
        pub(crate) fn start(mut command: Command) -> Child {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut process = command.spawn().unwrap();
            let stderr = Arc::new(Mutex::new(String::new()));
            let (log, kept) = (process.stderr.take().unwrap(), Arc::clone(&stderr));
            thread::spawn(move || {
                for line in BufReader::new(log).lines().map_while(Result::ok) {
                    let mut kept = kept.lock().unwrap();
                    kept.push_str(&line);
                    kept.push('\n');
                }
            });
            let (told, tells) = mpsc::channel();
            let stdout = Arc::new(Mutex::new(String::new()));
            let (lines, said) =
                (BufReader::new(process.stdout.take().unwrap()), Arc::clone(&stdout));
            thread::spawn(move || {
                for line in lines.lines().map_while(Result::ok) {
                    said.lock().unwrap().extend([&line, "\n"]);
                    // A path is known to whoever chose it.
                    if let Some((_, addr)) = line.split_once("listening on ")
                        && let Ok(addr) = addr.trim().parse()
                    {
                        let _ = told.send(addr);
                    }
                }
            });
            let addr = tells.recv_timeout(DEADLINE);
            let addr = addr.unwrap_or_else(|_| {
                let _ = process.kill();
                panic!("the child does not listen:\n{}", stderr.lock().unwrap())
            });
            Child { addr, stdout, process, stderr }
        }

        pub(crate) fn connect(&self) -> TcpStream {
            connect(self.addr)
        }

        /// What it wrote to stdout so far.
        #[cfg_attr(
            mio_unsupported_force_poll_poll,
            allow(dead_code, reason = "its tests need examples")
        )]
        pub(crate) fn stdout(&self) -> String {
            self.stdout.lock().unwrap().clone()
        }

        /// Types into its stdin.
        pub(crate) fn type_in(&mut self, bytes: &[u8]) {
            self.process.stdin.as_mut().unwrap().write_all(bytes).unwrap();
        }

        /// Ends its stdin.
        pub(crate) fn hang_up(&mut self) {
            drop(self.process.stdin.take());
        }

        /// What it wrote to stderr so far.
        pub(crate) fn stderr(&self) -> String {
            self.stderr.lock().unwrap().clone()
        }

        pub(crate) fn signal(&self, signal: rustix::process::Signal) {
            let pid = rustix::process::Pid::from_child(&self.process);
            rustix::process::kill_process(pid, signal).unwrap();
        }

        /// Stops it as a debugger would, and waits until it stands.
        pub(crate) fn stop(&self) {
            self.signal(rustix::process::Signal::STOP);
            wait_until("the child is stopped", || self.stat_field(0) == "T");
        }

        pub(crate) fn go_on(&self) {
            self.signal(rustix::process::Signal::CONT);
        }

        /// CPU time used so far, in the kernel's ticks of ten milliseconds.
        pub(crate) fn cpu_ticks(&self) -> u64 {
            let ticks = |n| self.stat_field(n).parse::<u64>().unwrap();
            ticks(11) + ticks(12)
        }

        /// A field of `/proc/PID/stat`, counted from the state (proc(5)).
        fn stat_field(&self, n: usize) -> String {
            let stat =
                std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
            let (_, fields) = stat.rsplit_once(") ").unwrap();
            fields.split(' ').nth(n).unwrap().to_owned()
        }

        /// The most resident memory that it ever had, in bytes.
        #[cfg_attr(
            mio_unsupported_force_poll_poll,
            allow(dead_code, reason = "its test is about epoll")
        )]
        pub(crate) fn peak_memory(&self) -> usize {
            let path = format!("/proc/{}/status", self.process.id());
            let status = std::fs::read_to_string(path).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
        }

        /// Descriptors open in it.
        pub(crate) fn descriptors(&self) -> usize {
            std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
        }

        pub(crate) fn has_exited(&mut self) -> Option<ExitStatus> {
            self.process.try_wait().unwrap()
        }

        /// Waits for its end by itself.
        #[track_caller]
        pub(crate) fn wait(&mut self) -> ExitStatus {
            wait_until("the child has exited", || self.has_exited().is_some());
            self.has_exited().unwrap()
        }

        /// Lets a child of `Child::serve` shut down; it must end well.
        #[track_caller]
        pub(crate) fn end(mut self) {
            drop(self.process.stdin.take());
            let status = self.wait();
            assert!(status.success(), "the child failed:\n{}", self.stderr());
        }
    }

    impl Drop for Child {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    /// The path of an example built beside this binary.
    #[track_caller]
    pub(crate) fn example(name: &str) -> std::path::PathBuf {
        let exe = std::env::current_exe().unwrap();
        let profile = exe.parent().and_then(|deps| deps.parent()).unwrap();
        let path = profile.join("examples").join(name);
        assert!(path.exists(), "{} is missing; build it: cargo build --examples", path.display());
        path
    }

    /// Sets the soft descriptor limit of this process. Only for children.
    pub(crate) fn limit_descriptors(soft: u64) {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum }).unwrap();
    }

    /// Raises the soft descriptor limit as far as it goes, and answers how many client-and-server
    /// pairs fit.
    pub(crate) fn room_for_pairs() -> usize {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
        maximum.map_or(100_000, |limit| (limit as usize).saturating_sub(64) / 2)
    }

    /// Descriptors open in this process.
    pub(crate) fn own_descriptors() -> usize {
        // The iterator itself holds one.
        std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
    }

    /// Resident memory of this process in bytes, but for files: of these the kernel maps 64 KiB whenever
    /// code runs for the first time.
    pub(crate) fn own_memory() -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let resident = maps.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }
}

/// Bytes that this end has sent and the other's kernel has not acknowledged, as `/proc/net/tcp` has
/// them (proc(5)).
pub(crate) fn unacknowledged(stream: &TcpStream) -> u64 {
    let end = |addr: io::Result<SocketAddr>| format!(":{:04X} ", addr.unwrap().port());
    let ends = format!("{}0100007F{}", end(stream.local_addr()), end(stream.peer_addr()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| line.contains(&ends)).expect("it is in the table");
    let (queued, _) = line.split_once(&ends).unwrap().1[3..].split_once(':').unwrap();
    u64::from_str_radix(queued, 16).unwrap()
}
