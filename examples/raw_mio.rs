//! The baseline: an echo server written by hand on mio, to hold `examples/echo` against.
//!
//! It is what a careful engineer writes without this crate, with the same knowledge of the kernel:
//! one thread, one poll, a slab; every socket registered once, edge-triggered; one page-aligned
//! read buffer of 256 KiB for all; a short read taken for "drained" where that is proven; what the
//! kernel does not take is queued, and until it is gone nothing more is read from that peer;
//! `TCP_NODELAY` and keepalive on, a backlog of 1024.
//!
//! It makes none of the library's promises, and so pays for none: a peer that sends without a pause
//! is served without a pause while the others wait, nothing has a deadline or a limit, a process
//! out of descriptors leaves waiting clients until the next one connects, nothing tells how a
//! connection ended, and SIGTERM just ends the process.
//!
//! `benches/compare.rs` measures both as processes; `benches/concurrent_clients.rs` runs [`serve`]
//! on a thread.

mod common;

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

const LISTENER: Token = Token(usize::MAX);
const BACKLOG: i32 = 1024;
const EVENTS: usize = 1024;
const READ_BUFFER: usize = 256 * 1024;
const PAGE: usize = 4096;

/// An echo server by hand on mio: the baseline that `echo` is measured against.
#[derive(clap::Parser)]
#[command(name = "raw_mio", version)]
struct Arguments {
    /// Where to listen, HOST:PORT; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::address)]
    listen: String,
}

fn main() -> ExitCode {
    let arguments = match common::arguments::<Arguments>() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match run(&arguments.listen) {
        Ok(never) => match never {},
        Err(error) => {
            common::complain(format_args!("error: cannot listen on {}: {error}", arguments.listen));
            ExitCode::FAILURE
        }
    }
}

fn run(listen: &str) -> io::Result<Infallible> {
    let listener = bind(listen)?;
    common::say(format_args!("listening on {}", listener.local_addr()?));
    serve(listener)
}

/// Listens on the first address of `"host:port"` that binds.
pub(crate) fn bind(listen: &str) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for addr in listen.to_socket_addrs()? {
        match bind_addr(addr) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// By way of socket2, since mio's own `bind` has a backlog of 128. Accepted sockets inherit the
/// options (Linux).
fn bind_addr(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Echoes for whoever connects, until the poll itself fails.
pub(crate) fn serve(mut listener: TcpListener) -> io::Result<Infallible> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(EVENTS);
    let mut conns: Slab<Conn> = Slab::new();
    // On a page of its own: the kernel copies to an unaligned destination far slower.
    let mut memory = vec![0; READ_BUFFER + PAGE];
    let start = memory.as_ptr().align_offset(PAGE);
    let buf = &mut memory[start..start + READ_BUFFER];

    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    loop {
        match poll.poll(&mut events, None) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut conns);
                continue;
            }
            // A slot freed here is safe to reuse at once: epoll reports a socket once a poll, and
            // only its own event closes a connection, so no older event of this list can meet the
            // new tenant.
            let key = event.token().0;
            let Some(conn) = conns.get_mut(key) else {
                continue;
            };
            if !matches!(conn.handle(event, buf), Ok(Peer::Here)) {
                conns.remove(key);
            }
        }
    }
}

/// Accepts all connections that wait: there is no further edge for those left behind.
fn accept(listener: &TcpListener, poll: &Poll, conns: &mut Slab<Conn>) {
    loop {
        match listener.accept() {
            Ok((mut stream, _peer)) => {
                let entry = conns.vacant_entry();
                let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
                match poll.registry().register(&mut stream, Token(entry.key()), all) {
                    Ok(()) => drop(entry.insert(Conn::new(stream))),
                    Err(error) => common::complain(format_args!("register: {error}")),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => {
                // One caller's bad luck is skipped. Out of descriptors, the rest wait until
                // another client connects.
                common::complain(format_args!("accept: {error}"));
                if !matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) {
                    return;
                }
            }
        }
    }
}

/// One client.
struct Conn {
    stream: TcpStream,
    /// Bytes the kernel has not taken yet, at most one read. While there are any, nothing is read.
    unsent: Vec<u8>,
    /// There may be something to read: set by an edge, cleared by `WouldBlock` or its proof.
    readable: bool,
    /// Since the last `WouldBlock` came an end, an error or an urgent byte: a short read proves
    /// nothing.
    suspect: bool,
}

/// Whether the peer is still there.
enum Peer {
    Here,
    Gone,
}

impl Conn {
    fn new(stream: TcpStream) -> Self {
        Self { stream, unsent: Vec::new(), readable: false, suspect: false }
    }

    /// Does what an event makes possible: sends what is owed, then reads and echoes until there is
    /// no more.
    fn handle(&mut self, event: &Event, buf: &mut [u8]) -> io::Result<Peer> {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.suspect |= event.is_read_closed() || event.is_error() || event.is_priority();
        if event.is_writable() && !self.unsent.is_empty() {
            self.flush()?;
        }
        while self.readable && self.unsent.is_empty() {
            match self.stream.read(buf) {
                Ok(0) => return Ok(Peer::Gone),
                Ok(n) => {
                    // A short read proves that the socket is drained, unless something cut it
                    // short.
                    self.readable = n == buf.len() || self.suspect;
                    let sent = offer(&mut self.stream, &buf[..n])?;
                    self.unsent.extend_from_slice(&buf[sent..n]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    self.suspect = false;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Peer::Here)
    }

    /// Offers the kernel what it did not take before; when all is gone, so is its memory.
    fn flush(&mut self) -> io::Result<()> {
        let sent = offer(&mut self.stream, &self.unsent)?;
        if sent == self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..sent);
        }
        Ok(())
    }
}

/// One write: how much of `bytes` the kernel took, less than all if it is full. An edge follows
/// when it has room again.
fn offer(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
