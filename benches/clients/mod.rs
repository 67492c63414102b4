//! The other side of every comparison: many echo clients on one thread.
//!
//! One small poll loop drives N non-blocking sockets in rounds, so that the client is the same for
//! every server and costs the same. It knows nothing of servers, processes or clocks:
//! [`Clients::exchange`] is one round, and what it takes is for the caller to measure. Next:
//! `concurrent_clients.rs` (time) and `compare.rs` (CPU time, calls, memory).

use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// A server that moves nothing for so long is taken for dead; a slow machine is not.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a broadcasting server says to each newcomer: the message of [`Clients`] of 64 bytes.
#[allow(dead_code)] // Not in every bench.
pub(crate) const GREETING: [u8; 64] = {
    let mut bytes = [0; 64];
    let mut byte = 0;
    while byte < 64 {
        bytes[byte as usize] = byte;
        byte += 1;
    }
    bytes
};

/// N connected echo clients.
pub(crate) struct Clients {
    poll: Poll,
    events: Events,
    each: Vec<Client>,
    /// What each client sends in each round.
    message: Vec<u8>,
    /// Where replies are read to: longer than a message, so that a read that ends the reply is a
    /// short one.
    reply: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    /// Bytes of this round's message that the kernel took.
    sent: usize,
    /// Bytes of it that came back.
    received: usize,
}

impl Clients {
    /// Connects `count` clients, one after the other, which then exchange messages of `size` bytes.
    pub(crate) fn connect(server: SocketAddr, count: usize, size: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut each = Vec::with_capacity(count);
        for index in 0..count {
            let mut stream = TcpStream::from_std(connect(server)?.into());
            let all = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(index), all)?;
            each.push(Client { stream, sent: 0, received: 0 });
        }
        let message = (0..=250).cycle().take(size).collect();
        let events = Events::with_capacity(1024);
        Ok(Self { poll, events, each, message, reply: vec![0; size + 1] })
    }

    /// How many they are.
    #[allow(dead_code)] // Not in every bench.
    pub(crate) fn count(&self) -> usize {
        self.each.len()
    }

    /// One round: every client sends its message, and receives and checks the whole echo.
    pub(crate) fn exchange(&mut self) -> io::Result<()> {
        self.send()?;
        self.receive()
    }

    /// Receives the [`GREETING`] of every client.
    #[allow(dead_code)] // Not in every bench.
    pub(crate) fn receive_greeting(&mut self) -> io::Result<()> {
        for client in &mut self.each {
            (client.sent, client.received) = (self.message.len(), 0);
        }
        self.receive()
    }

    /// One round of a broadcast: the first client sends its message, and everybody receives it.
    #[allow(dead_code)] // Not in every bench.
    pub(crate) fn broadcast(&mut self) -> io::Result<()> {
        for client in &mut self.each {
            (client.sent, client.received) = (self.message.len(), 0);
        }
        self.each[0].sent = 0;
        self.each[0].send(&self.message)?;
        self.receive()
    }

    /// The first half of a round: every client sends, as far as the kernel takes it.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        for client in &mut self.each {
            (client.sent, client.received) = (0, 0);
            client.send(&self.message)?;
        }
        Ok(())
    }

    /// The second: sends the rest, and receives and checks the whole echo of every client.
    pub(crate) fn receive(&mut self) -> io::Result<()> {
        let mut waiting = self.each.len();
        while waiting > 0 {
            match self.poll.poll(&mut self.events, Some(PATIENCE)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            if self.events.is_empty() {
                let text = format!("{waiting} replies are missing after {PATIENCE:?} of silence");
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
            for event in &self.events {
                let client = &mut self.each[event.token().0];
                if client.received == self.message.len() {
                    continue;
                }
                if event.is_writable() {
                    client.send(&self.message)?;
                }
                client.receive(&self.message, &mut self.reply)?;
                if client.received == self.message.len() {
                    waiting -= 1;
                }
            }
        }
        Ok(())
    }
}

impl Client {
    /// Sends what is left of the message, as far as the kernel takes it.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        while self.sent < message.len() {
            match self.stream.write(&message[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives what there is of the reply, and compares it.
    fn receive(&mut self, message: &[u8], reply: &mut [u8]) -> io::Result<()> {
        while self.received < message.len() {
            match self.stream.read(reply) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    let echoed = message.get(self.received..self.received + n);
                    if echoed != Some(&reply[..n]) {
                        let text = "the reply is not what was sent";
                        return Err(io::Error::new(ErrorKind::InvalidData, text));
                    }
                    self.received += n;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A client's whole life: connects, sends a message, receives the echo, and closes.
#[allow(dead_code)] // Not in every bench.
pub(crate) fn visit(server: SocketAddr, message: &[u8]) -> io::Result<()> {
    let mut stream = std::net::TcpStream::from(connect(server)?);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(message)?;
    let mut reply = vec![0; message.len()];
    stream.read_exact(&mut reply)?;
    if reply == message { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

/// One client's socket. It ends with a reset, so that thousands of them leave no port in
/// `TIME_WAIT` behind.
fn connect(server: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    socket.connect(&server.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Raises the soft descriptor limit to the hard one and says what it is now.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where it may not be raised, the benches make do with what there is.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// One line on stdout. Where nobody reads it any more, as behind `head`, that is no failure.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// How a bench ends: a failure is told in one line.
pub(crate) fn end(bench: &str, done: io::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{bench}: {error}");
            ExitCode::FAILURE
        }
    }
}
