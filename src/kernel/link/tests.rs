//! The same steps on the simulated kernel and on Linux, one after the other, and what our side and
//! the peer see of them compared: counts, errors, and the bits of every edge.
//!
//! The steps go through the driver and the sockets that production uses. After each step of the
//! peer the real side waits until its socket shows what the simulated one shows, so that nothing
//! depends on how fast the loopback is; where nothing may come it waits a few milliseconds. A table
//! of scripts names what the crate relies on; behind it, scripts that a seed draws look for what the
//! table forgot.

use std::fmt::Write as _;
use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown};
use rustix::time::Timespec;
use socket2::SockRef;

mod table;

use super::{HERE, THERE, Transport};
use crate::base::address::Address;
use crate::base::id::{LISTENER_BASE, Token};
use crate::base::readiness::Readiness;
use crate::kernel::profile::Profile;
use crate::kernel::rng::Rng;
use crate::kernel::{Actor, Kernel, State};
use crate::net::driver::Driver;
use crate::net::socket::{Acceptor, Socket};

/// One step of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A peer connects; what the peer does from now on, it does.
    Connect,
    /// We close the listener.
    DoorCloses,
    /// We accept, and register what came.
    Accept,
    /// What edges are there since the last poll?
    Poll,
    PeerSends(usize),
    /// Sends a byte of urgent data.
    PeerMarks,
    /// Sends a byte with a descriptor.
    PeerPasses,
    PeerFinishes,
    PeerCloses,
    PeerResets,
    PeerReads(usize),
    /// Reads all that we have written.
    PeerReadsAll,
    Reads(usize),
    Writes(usize),
    /// Writes until that would block.
    Fills,
    /// Asks for the address of the peer.
    Names,
    /// Asks for the error that waits, which is told once.
    Errors,
    /// Asks whether a read would bring bytes: of a socket that has failed.
    Peeks,
    ShutsDown,
    Closes,
    /// Closes by reset.
    Aborts,
}
use Step::*;

/// What a step showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Done,
    Count(usize),
    Fails(Errno),
    /// Of the listener, of the connection.
    Edges(Readiness, Readiness),
    /// There is no such end (any more).
    Nothing,
}

const DOOR: Token = Token(LISTENER_BASE as usize);
const CONN: Token = Token(1);
/// Rounds of a millisecond in which what is expected of the real kernel must come.
const PATIENCE: usize = 1000;
/// And in which what must not come would have come.
const WINDOW: usize = 3;

/// A peer that does nothing of itself.
struct Nobody;

impl Actor for Nobody {
    fn act(&mut self, _net: &mut State, _link: u32) {}
}

/// Our side, on either kernel.
struct Side {
    driver: Driver,
    door: Option<Acceptor>,
    ours: Option<Socket>,
    /// What the kernel took of us, and what the peer has read of that.
    written: usize,
    peer_read: usize,
    world: World,
}

enum World {
    Sim {
        kernel: Kernel,
        peer: Option<u32>,
    },
    /// And the peers that connected before.
    Real {
        peer: Option<OwnedFd>,
        others: Vec<OwnedFd>,
    },
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or_else(|| panic!("an error of the system: {error}"))
}

fn seen(result: io::Result<usize>) -> Seen {
    result.map_or_else(|error| Seen::Fails(errno(error)), Seen::Count)
}

impl Side {
    fn simulated(transport: Transport) -> Self {
        let kernel = Kernel::new(1, Profile::calm());
        let address = match transport {
            Transport::Tcp => "10.0.0.1:80".parse().unwrap(),
            Transport::Unix => Address::Unix(std::path::Path::new("/run/x").into()),
        };
        let door = Acceptor::Sim(kernel.listen(address, 16, false).unwrap());
        let driver = Driver::simulated(&kernel);
        Side::new(driver, door, World::Sim { kernel, peer: None })
    }

    fn real(transport: Transport) -> Self {
        let door = match transport {
            Transport::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                listener.set_nonblocking(true).unwrap();
                Acceptor::tcp(listener, true, false)
            }
            Transport::Unix => {
                // A name of the kernel's choice, in the abstract namespace (unix(7), autobind).
                let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
                let family = rustix::net::AddressFamily::UNIX;
                let stream = rustix::net::SocketType::STREAM;
                let fd = rustix::net::socket_with(family, stream, flags, None).unwrap();
                rustix::net::bind(&fd, &rustix::net::SocketAddrUnix::new_unnamed()).unwrap();
                rustix::net::listen(&fd, 16).unwrap();
                Acceptor::unix(UnixListener::from(fd))
            }
        };
        Side::new(Driver::new().unwrap(), door, World::Real { peer: None, others: Vec::new() })
    }

    fn new(driver: Driver, mut door: Acceptor, world: World) -> Self {
        driver.register_acceptor(&mut door, DOOR).unwrap();
        Side { driver, door: Some(door), ours: None, written: 0, peer_read: 0, world }
    }

    /// Does a step. `wanted`: what it showed on the other kernel.
    fn step(&mut self, step: Step, wanted: Option<Seen>) -> Seen {
        match step {
            Poll => return self.poll(wanted),
            Connect => {
                self.connect();
                return Seen::Done;
            }
            Accept => return self.accept(),
            DoorCloses => {
                self.door = None;
                return Seen::Done;
            }
            PeerSends(_) | PeerMarks | PeerPasses | PeerFinishes | PeerCloses | PeerResets
            | PeerReads(_) | PeerReadsAll => return self.step_of_peer(step, wanted),
            Reads(_) | Writes(_) | Fills | Names | Errors | Peeks | ShutsDown | Closes | Aborts => {
            }
        }
        let Some(ours) = &mut self.ours else { return Seen::Nothing };
        match step {
            Reads(n) => seen(ours.read(&mut vec![0; n])),
            Writes(n) => {
                let result = ours.write(&vec![1; n]);
                self.written += result.as_ref().unwrap_or(&0);
                seen(result)
            }
            Fills => self.fill(),
            Names => seen(ours.peer_addr().map(|_| 0)),
            Errors => seen(ours.take_error().and_then(|error| error.map_or(Ok(0), Err))),
            Peeks => Seen::Count(usize::from(ours.has_unread())),
            ShutsDown => {
                let result = seen(ours.shutdown_write().map(|()| 0));
                self.await_acknowledgement();
                result
            }
            Closes | Aborts => {
                if step == Aborts {
                    ours.reset_on_close();
                }
                self.ours = None;
                Seen::Done
            }
            _ => unreachable!("done above"),
        }
    }

    /// Writes until that would block, and goes on as what was sent moves on and makes room.
    fn fill(&mut self) -> Seen {
        let mut still = 0;
        while still < 5 {
            match self.ours.as_mut().map(|ours| ours.write(&[1; 4096])) {
                Some(Ok(n)) => {
                    self.written += n;
                    still = 0;
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    still += 1;
                    match &self.world {
                        World::Sim { kernel, .. } => pass(&mut kernel.state()),
                        World::Real { .. } => nap(),
                    }
                }
                Some(Err(error)) => return Seen::Fails(errno(error)),
                None => return Seen::Nothing,
            }
        }
        Seen::Fails(Errno::AGAIN)
    }

    fn accept(&mut self) -> Seen {
        let Some(door) = &self.door else { return Seen::Nothing };
        match door.accept() {
            Ok((mut socket, _)) => {
                self.driver.register(&mut socket, CONN).unwrap();
                self.ours = Some(socket);
                Seen::Done
            }
            Err(error) => Seen::Fails(errno(error)),
        }
    }

    fn poll(&mut self, wanted: Option<Seen>) -> Seen {
        let (mut door, mut conn) = (Readiness::EMPTY, Readiness::EMPTY);
        let (mut round, mut window) = (0, 0);
        while window < WINDOW && round < PATIENCE {
            let real = matches!(self.world, World::Real { .. });
            let wait = if real { Duration::from_millis(1) } else { Duration::ZERO };
            self.driver.poll(Some(wait)).unwrap();
            self.driver.for_each_event(|token, news| match token {
                DOOR => door = door | news,
                CONN => conn = conn | news,
                _ => panic!("an event of {token:?}"),
            });
            let has = |have: Readiness, want: Readiness| have.0 & want.0 == want.0;
            let came = match wanted {
                Some(Seen::Edges(a, b)) => has(door, a) && has(conn, b),
                _ => true,
            };
            window += usize::from(came);
            round += 1;
        }
        Seen::Edges(door, conn)
    }
}

/// What an end shows to a poll that does not wait: bits but for writable, and bytes unread.
type Level = Option<(Readiness, usize)>;

impl Side {
    fn connect(&mut self) {
        let to = self.door.as_ref().unwrap().local_addr().unwrap();
        match &mut self.world {
            World::Sim { kernel, peer } => {
                let mut state = kernel.state();
                *peer = Some(state.connect(to, Box::new(Nobody)));
                pass(&mut state);
            }
            World::Real { peer, others } => {
                let fd: OwnedFd = match &to {
                    Address::Ip(addr) => {
                        let stream = TcpStream::connect(addr).unwrap();
                        stream.set_nodelay(true).unwrap();
                        stream.into()
                    }
                    Address::Abstract(name) => {
                        use std::os::linux::net::SocketAddrExt;
                        let addr = std::os::unix::net::SocketAddr::from_abstract_name(name);
                        UnixStream::connect_addr(&addr.unwrap()).unwrap().into()
                    }
                    other => panic!("a listener at {other}"),
                };
                rustix::io::ioctl_fionbio(&fd, true).unwrap();
                others.extend(peer.replace(fd));
            }
        }
        (self.written, self.peer_read) = (0, 0);
    }

    fn step_of_peer(&mut self, step: Step, wanted: Option<Seen>) -> Seen {
        if step == PeerReadsAll {
            return self.peer_reads_all(wanted);
        }
        let result = match &mut self.world {
            World::Sim { kernel, peer } => {
                let Some(link) = *peer else { return Seen::Nothing };
                let mut state = kernel.state();
                let result = step_of_sim(&mut state, link, step);
                pass(&mut state);
                if matches!(step, PeerCloses | PeerResets) {
                    *peer = None;
                }
                result
            }
            World::Real { peer, .. } => {
                let Some(fd) = peer else { return Seen::Nothing };
                let result = step_of_real(fd, step);
                if matches!(step, PeerCloses | PeerResets) {
                    *peer = None;
                }
                result
            }
        };
        if let (PeerReads(_), Ok(n)) = (step, result) {
            self.peer_read += n;
        }
        result.map_or_else(Seen::Fails, Seen::Count)
    }

    /// An acknowledgement that waits for company would be an edge that comes late (tcp(7)).
    fn hurry(&self) {
        let World::Real { peer, .. } = &self.world else { return };
        let ours = self.ours.as_ref().and_then(Socket::fd);
        for fd in [ours, peer.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
            // Not of a Unix socket.
            let _ = rustix::net::sockopt::set_tcp_quickack(fd, true);
        }
    }

    /// Until our end is acknowledged, which is an edge and may take 40 ms (tcp(7), `TCP_QUICKACK`).
    fn await_acknowledgement(&self) {
        let (World::Real { .. }, Some(ours)) = (&self.world, &self.ours) else { return };
        let ports = [ours.local_addr(), ours.peer_addr()].map(|addr| addr.ok()?.port());
        let [Some(own), Some(peer)] = ports else { return };
        let row = format!(":{own:04X} 0100007F:{peer:04X} ");
        for _ in 0..PATIENCE {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let state = table.split_once(&row).map(|(_, rest)| &rest[..2]);
            // FIN-WAIT-1, LAST-ACK, CLOSING: see proc_pid_net(5).
            if !matches!(state, Some("04" | "09" | "0B")) {
                return;
            }
            nap();
        }
    }

    /// How it ended: all was read, or the end, or an error came first.
    fn peer_reads_all(&mut self, wanted: Option<Seen>) -> Seen {
        let mut round = 0;
        while self.peer_read < self.written {
            match self.step_of_peer(PeerReads(1 << 20), wanted) {
                Seen::Count(n) if n > 0 => continue,
                Seen::Fails(Errno::AGAIN) if round < PATIENCE => {}
                other => return other,
            }
            round += 1;
            nap();
        }
        Seen::Done
    }

    /// Of our end and of the peer's.
    fn levels(&mut self) -> [Level; 2] {
        match &mut self.world {
            World::Sim { kernel, peer } => {
                let ours = self.ours.as_ref().map(|socket| match socket {
                    Socket::Sim(stream) => stream.link(),
                    Socket::Tcp(_) | Socket::Unix(_) => panic!("a real socket"),
                });
                let mut state = kernel.state();
                pass(&mut state);
                [(ours, HERE), (*peer, THERE)].map(|(link, side)| {
                    let link = &mut state.links[link? as usize].link;
                    let bits = link.mask(side);
                    let bits = Readiness(bits.0 & !Readiness::WRITABLE.0);
                    Some((bits, link.halves[1 - side].arrived.len()))
                })
            }
            World::Real { peer, .. } => {
                let ours = self.ours.as_ref().and_then(Socket::fd);
                [ours, peer.as_ref().map(AsFd::as_fd)].map(|fd| Some(level(fd?)))
            }
        }
    }
}

/// Long enough for all that is under way.
fn pass(state: &mut State) {
    let until = state.now + 1_000_000;
    state.pass(until);
}

fn nap() {
    let moment = Timespec { tv_sec: 0, tv_nsec: 200_000 };
    rustix::event::poll(&mut [], Some(&moment)).unwrap();
}

fn level(fd: impl AsFd) -> (Readiness, usize) {
    let asked = PollFlags::IN | PollFlags::PRI | PollFlags::RDHUP;
    let mut polled = [PollFd::new(&fd, asked)];
    rustix::event::poll(&mut polled, Some(&Timespec::default())).unwrap();
    let said = polled[0].revents();
    let mut bits = Readiness::EMPTY;
    // As mio reads them.
    for (flags, bit) in [
        (PollFlags::IN | PollFlags::PRI, Readiness::READABLE),
        (PollFlags::PRI, Readiness::URGENT),
        (PollFlags::RDHUP | PollFlags::HUP, Readiness::READ_CLOSED),
        (PollFlags::ERR, Readiness::ERROR),
    ] {
        if said.intersects(flags) {
            bits = bits | bit;
        }
    }
    let unread = rustix::io::ioctl_fionread(&fd).unwrap();
    (bits, usize::try_from(unread).unwrap())
}

fn step_of_sim(state: &mut State, link: u32, step: Step) -> Result<usize, Errno> {
    match step {
        PeerSends(n) => state.peer_write(link, &vec![2; n]),
        PeerMarks => state.peer_mark(link).map(|()| 1),
        PeerPasses => {
            let n = state.peer_write(link, &[2])?;
            state.peer_mark(link)?;
            Ok(n)
        }
        PeerFinishes => {
            state.peer_finish(link);
            Ok(0)
        }
        PeerCloses | PeerResets => {
            state.peer_close(link, step == PeerResets);
            Ok(0)
        }
        PeerReads(n) => state.peer_read(link, &mut vec![0; n]),
        _ => unreachable!("ours"),
    }
}

fn step_of_real(fd: &OwnedFd, step: Step) -> Result<usize, Errno> {
    match step {
        PeerSends(n) => rustix::net::send(fd, &vec![2; n], SendFlags::NOSIGNAL),
        PeerMarks => rustix::net::send(fd, b"!", SendFlags::NOSIGNAL | SendFlags::OOB),
        PeerPasses => {
            let null = std::fs::File::open("/dev/null").unwrap();
            let passed = [null.as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); 64];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&passed)));
            rustix::net::sendmsg(fd, &[IoSlice::new(&[2])], &mut ancillary, SendFlags::NOSIGNAL)
        }
        PeerFinishes => {
            let _ = rustix::net::shutdown(fd, Shutdown::Write);
            Ok(0)
        }
        PeerCloses => Ok(0),
        PeerResets => {
            let _ = SockRef::from(fd).set_linger(Some(Duration::ZERO));
            Ok(0)
        }
        PeerReads(n) => {
            rustix::net::recv(fd, vec![0; n].as_mut_slice(), RecvFlags::empty()).map(|(n, _)| n)
        }
        _ => unreachable!("ours"),
    }
}

/// Runs a script on both. Returns where they part.
fn compare(transport: Transport, script: &[Step]) -> Result<(), String> {
    let (mut sim, mut real) = (Side::simulated(transport), Side::real(transport));
    let mut told = String::new();
    let (mut counted, mut full) = (true, false);
    for step in script {
        let wanted = sim.step(*step, None);
        let wanted_level = sim.levels();
        let got = real.step(*step, Some(wanted));
        real.hurry();
        counted &= !matches!(step, PeerMarks | Fills);
        if *step == Fills {
            // Some room may have been told of and filled, or not.
            full = true;
            sim.poll(None);
            real.poll(None);
        }
        full &= *step != PeerReadsAll;
        // Where a buffer ends is each kernel's own affair.
        let either = |seen| matches!(seen, Seen::Count(_) | Seen::Fails(Errno::AGAIN));
        let loose = full && matches!(step, Writes(_)) && either(got) && either(wanted);
        let as_wanted = |levels: [Level; 2]| {
            levels.iter().zip(wanted_level).all(|(a, b)| match (a, b) {
                (Some(a), Some(b)) => a.0 == b.0 && (a.1 == b.1 || !counted),
                (a, b) => a.is_none() && b.is_none(),
            })
        };
        let mut levels = real.levels();
        for _ in 0..PATIENCE {
            if as_wanted(levels) {
                break;
            }
            nap();
            real.hurry();
            levels = real.levels();
        }
        real.hurry();
        let _ = writeln!(told, "{step:?}: {}", show(got));
        if (got != wanted && !loose) || !as_wanted(levels) {
            return Err(format!(
                "{transport:?} {script:?}\n{told}  but simulated {}\n  here, there: {}\n  simulated:   {}\n",
                show(wanted),
                show_levels(levels),
                show_levels(wanted_level),
            ));
        }
    }
    Ok(())
}

fn show(seen: Seen) -> String {
    match seen {
        Seen::Edges(door, conn) => format!("edges [{door}] [{conn}]"),
        other => format!("{other:?}"),
    }
}

fn show_levels(levels: [Level; 2]) -> String {
    levels
        .map(|level| level.map_or("-".into(), |(bits, unread)| format!("[{bits}] {unread} unread")))
        .join(", ")
}

/// Whether edges of the real kernel come with flags: by epoll. mio's poll(2) is a kind of its own.
fn is_epoll() -> bool {
    let mut side = Side::real(Transport::Tcp);
    side.connect();
    side.accept();
    side.ours.is_some_and(|socket| socket.short_read_is_proof())
}

fn compare_table(scripts: &[table::Script], before: &[Step]) {
    if !is_epoll() {
        return;
    }
    let mut parted = String::new();
    for (name, transports, script) in scripts {
        for transport in *transports {
            if let Err(how) = compare(*transport, &[before, script].concat()) {
                let _ = writeln!(parted, "{name}: {how}");
            }
        }
    }
    assert!(parted.is_empty(), "{parted}");
}

/// Traps 2, 7, 42 and 71: what the kernel does there, the simulated one does.
#[test]
fn a_connection_shows_the_same_on_both_kernels() {
    compare_table(table::CONNECTION, &OPEN);
}

/// Trap 27: so it is with a peer that left before it was accepted.
#[test]
fn a_listener_shows_the_same_on_both_kernels() {
    compare_table(table::LISTENER, &[]);
}

const OPEN: [Step; 3] = [Connect, Accept, Poll];

/// Scripts of a seed.
fn draw(rng: &mut Rng, transport: Transport) -> Vec<Step> {
    let mut script = OPEN.to_vec();
    if rng.chance(100) {
        script = vec![Connect];
    }
    for _ in 0..rng.size(3, 14) {
        let step = match rng.below(22) {
            5 | 6 => PeerSends(rng.size(1, 20)),
            7 if rng.chance(500) => match transport {
                Transport::Tcp => PeerMarks,
                Transport::Unix => PeerPasses,
            },
            8 => PeerFinishes,
            9 if rng.chance(600) => PeerCloses,
            10 if rng.chance(600) => PeerResets,
            11 | 12 => PeerReads(rng.size(1, 30)),
            13..16 => Reads(rng.size(1, 30)),
            16..18 => Writes(rng.size(1, 20)),
            18 => ShutsDown,
            19 if rng.chance(600) => Closes,
            20 if rng.chance(600) => Aborts,
            21 if rng.chance(500) => Fills,
            21 => PeerReadsAll,
            9 => Names,
            10 => Errors,
            19 => Peeks,
            _ => Poll,
        };
        script.push(step);
        if script[0] == Connect && script.len() > 2 && !script.contains(&Accept) {
            script.push(Accept);
        }
    }
    script
}

/// A backlog holds one more than it was asked for, on both.
#[test]
fn a_backlog_is_full_at_the_same_number_on_both_kernels() {
    let count = |door: &Acceptor| {
        let accepted = std::iter::from_fn(|| door.accept().ok());
        accepted.collect::<Vec<_>>().len()
    };
    for backlog in [1, 3] {
        let kernel = Kernel::new(1, Profile::calm());
        let to: Address = "10.0.0.1:80".parse().unwrap();
        let door = Acceptor::Sim(kernel.listen(to.clone(), backlog, false).unwrap());
        for _ in 0..6 {
            kernel.state().connect(to.clone(), Box::new(Nobody));
        }
        pass(&mut kernel.state());
        assert_eq!(count(&door), backlog + 1);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        rustix::net::listen(&listener, i32::try_from(backlog).unwrap()).unwrap();
        let to = listener.local_addr().unwrap().into();
        let peers: Vec<_> = (0..6)
            .map(|_| {
                let kind = socket2::Type::STREAM.nonblocking();
                let peer = socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
                let under_way = peer.connect(&to).map_err(errno);
                assert!(matches!(under_way, Ok(()) | Err(Errno::INPROGRESS)));
                peer
            })
            .collect();
        // A peer that comes too late tries again after a second, and that is not waited for.
        for peer in &peers[..=backlog] {
            let mut polled = [PollFd::new(peer, PollFlags::OUT)];
            rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 9, tv_nsec: 0 })).unwrap();
            assert!(polled[0].revents().contains(PollFlags::OUT), "not connected");
        }
        assert_eq!(count(&Acceptor::tcp(listener, true, false)), backlog + 1);
    }
}

/// As many as the environment variable `WOULDBLOCK_SCRIPTS` says, else 20.
#[test]
fn scripts_that_a_seed_draws_show_the_same_on_both_kernels() {
    if !is_epoll() {
        return;
    }
    let many = std::env::var("WOULDBLOCK_SCRIPTS").map_or(20, |many| many.parse().unwrap());
    let mut parted = String::new();
    for seed in 0..many {
        for transport in [Transport::Tcp, Transport::Unix] {
            let script = draw(&mut Rng::new(seed), transport);
            if let Err(how) = compare(transport, &script) {
                let _ = writeln!(parted, "seed {seed}: {how}");
            }
        }
    }
    assert!(parted.is_empty(), "{parted}");
}
