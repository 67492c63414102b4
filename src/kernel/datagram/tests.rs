//! Datagrams on the simulated kernel and on Linux: the same steps on both, and what our side sees of
//! them compared. Behind that, what only the simulated network does.
//!
//! As in `kernel/link/tests.rs`: the steps go through the driver and the sockets that production
//! uses, and the real side is given time to show what the simulated one has shown.

use std::fmt::Write as _;
use std::io;
use std::net::UdpSocket;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::base::id::{DATAGRAM_BASE, Token};
use crate::kernel::profile::Profile;
use crate::kernel::{Horizon, Kernel};
use crate::net::driver::Driver;
use crate::net::socket::Datagrams;

/// One step of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// What edges are there since the last poll?
    Poll,
    /// The peer sends us so many bytes.
    PeerSends(usize),
    /// Receives the first, with room for so many.
    PeerReceives,
    PeerCloses,
    /// Another socket sends to us: one that we are not connected to.
    StrangerSends(usize),
    /// We receive, with room for so many bytes.
    Receives(usize),
    /// We send to the peer, by its name.
    Sends(usize),
    /// Where we are connected to.
    SendsThere(usize),
    /// To where no socket was ever bound.
    SendsToNobody,
    /// To the peer, until it would block.
    Fills,
}
use Step::*;

/// What a step showed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Done,
    /// Bytes received, of so many, and whether from the peer.
    Got(usize, usize, bool),
    Fails(Errno),
    Edges(Readiness),
    /// So many were taken.
    Took(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Udp,
    UdpConnected,
    Unix,
    UnixConnected,
}

const ALL: &[Sort] = &[Sort::Udp, Sort::UdpConnected, Sort::Unix, Sort::UnixConnected];
const UDP: &[Sort] = &[Sort::Udp, Sort::UdpConnected];
const UNIX: &[Sort] = &[Sort::Unix, Sort::UnixConnected];

const TOKEN: Token = Token(DATAGRAM_BASE as usize);
/// Rounds of a millisecond in which what is expected of the real kernel must come.
const PATIENCE: usize = 1000;
/// And in which what must not come would have come.
const WINDOW: usize = 3;

/// A peer that does nothing of itself.
struct Nobody;

impl Actor for Nobody {
    fn act(&mut self, _net: &mut State, _port: u32) {}
}

/// A peer's socket on the real kernel.
enum Other {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

enum World {
    Sim { kernel: Kernel, peer: u32, stranger: u32 },
    Real { peer: Option<Other>, stranger: Other },
}

struct Side {
    driver: Driver,
    ours: Datagrams,
    own: Address,
    peer_at: Address,
    world: World,
}

fn is_unix(sort: Sort) -> bool {
    UNIX.contains(&sort)
}

fn is_connected(sort: Sort) -> bool {
    matches!(sort, Sort::UdpConnected | Sort::UnixConnected)
}

/// A name in the abstract namespace that no other socket has.
fn name() -> Vec<u8> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("wouldblock-datagrams-{}-{count}", std::process::id()).into_bytes()
}

fn bound(unix: bool) -> (Other, Address) {
    if unix {
        let name = name();
        let socket = UnixDatagram::bind_addr(&UnixAddr::from_abstract_name(&name).unwrap());
        let socket = socket.unwrap();
        socket.set_nonblocking(true).unwrap();
        (Other::Unix(socket), Address::Abstract(name.into()))
    } else {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let at = Address::Ip(socket.local_addr().unwrap());
        (Other::Udp(socket), at)
    }
}

fn abstract_addr(address: &Address) -> UnixAddr {
    let Address::Abstract(name) = address else { panic!("{address} is no abstract name") };
    UnixAddr::from_abstract_name(name).unwrap()
}

impl Other {
    fn send_to(&self, payload: &[u8], to: &Address) -> io::Result<()> {
        match self {
            Other::Udp(socket) => socket.send_to(payload, to.socket_addr().unwrap()).map(drop),
            Other::Unix(socket) => socket.send_to_addr(payload, &abstract_addr(to)).map(drop),
        }
    }

    fn recv(&self) -> io::Result<usize> {
        let mut buf = [0; 9000];
        match self {
            Other::Udp(socket) => socket.recv(&mut buf),
            Other::Unix(socket) => socket.recv(&mut buf),
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or_else(|| panic!("an error of the system: {error}"))
}

fn seen(result: io::Result<()>) -> Seen {
    result.map_or_else(|error| Seen::Fails(errno(error)), |()| Seen::Done)
}

/// How many datagrams wait in a Unix socket: the kernel's setting, and one more.
fn queue_len() -> usize {
    let text = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    text.trim().parse::<usize>().unwrap() + 1
}

impl Side {
    fn simulated(sort: Sort) -> Self {
        let len = queue_len();
        let kernel = Kernel::new(1, Profile::calm().mailbox(len..=len));
        kernel.state().horizon = Horizon::Idle;
        let at = |n: u8| {
            if is_unix(sort) {
                Address::Abstract(Box::new([n]))
            } else {
                Address::Ip(([10, 0, 0, n], 4000).into())
            }
        };
        let bind = |n| kernel.state().peer_binds(at(n), None, Box::new(Nobody)).unwrap();
        let (peer, stranger) = (bind(1), bind(2));
        let to = is_connected(sort).then(|| at(1));
        let ours = Datagrams::Sim(kernel.bind_datagram(at(3), to).unwrap());
        let driver = Driver::simulated(&kernel);
        Side::new(driver, ours, at(1), World::Sim { kernel, peer, stranger })
    }

    fn real(sort: Sort) -> Self {
        let unix = is_unix(sort);
        let ((peer, peer_at), (stranger, _), (ours, _)) = (bound(unix), bound(unix), bound(unix));
        let ours = match ours {
            Other::Udp(socket) => {
                if is_connected(sort) {
                    socket.connect(peer_at.socket_addr().unwrap()).unwrap();
                }
                Datagrams::udp(socket)
            }
            Other::Unix(socket) => {
                if is_connected(sort) {
                    socket.connect_addr(&abstract_addr(&peer_at)).unwrap();
                }
                Datagrams::unix(socket)
            }
        };
        let world = World::Real { peer: Some(peer), stranger };
        Side::new(Driver::new().unwrap(), ours, peer_at, world)
    }

    fn new(driver: Driver, mut ours: Datagrams, peer_at: Address, world: World) -> Self {
        driver.register_datagrams(&mut ours, TOKEN).unwrap();
        driver.watch_room(&mut ours, TOKEN, true).unwrap();
        let own = ours.local_addr().unwrap();
        Side { driver, ours, own, peer_at, world }
    }

    /// Does a step. `wanted`: what it showed on the other kernel.
    fn step(&mut self, step: Step, wanted: Option<&Seen>) -> Seen {
        let seen = match step {
            Poll => return self.poll(wanted),
            Receives(room) => return self.receive(room, wanted),
            PeerReceives => return self.peer_receives(wanted),
            PeerSends(n) => {
                let own = self.own.clone();
                match &self.world {
                    World::Sim { kernel, peer, .. } => {
                        let mut state = kernel.state();
                        if !state.mail.ports[*peer as usize].open {
                            return Seen::Done;
                        }
                        let sent = state.peer_sends_to(*peer, &vec![2; n], &own);
                        drop(state);
                        seen(sent.map_err(Into::into))
                    }
                    World::Real { peer: Some(peer), .. } => seen(peer.send_to(&vec![2; n], &own)),
                    World::Real { peer: None, .. } => Seen::Done,
                }
            }
            StrangerSends(n) => {
                let own = self.own.clone();
                match &self.world {
                    World::Sim { kernel, stranger, .. } => {
                        let sent = kernel.state().peer_sends_to(*stranger, &vec![3; n], &own);
                        seen(sent.map_err(Into::into))
                    }
                    World::Real { stranger, .. } => seen(stranger.send_to(&vec![3; n], &own)),
                }
            }
            PeerCloses => {
                match &mut self.world {
                    World::Sim { kernel, peer, .. } => kernel.state().peer_unbinds(*peer),
                    World::Real { peer, .. } => *peer = None,
                }
                Seen::Done
            }
            Sends(n) => seen(self.ours.send_to(&vec![1; n], Some(&self.peer_at))),
            SendsThere(n) => seen(self.ours.send_to(&vec![1; n], None)),
            SendsToNobody => {
                let nobody = match (&self.world, self.own.ip()) {
                    (_, None) => Address::Abstract(Box::new(*b"wouldblock-nobody")),
                    (World::Sim { .. }, Some(_)) => Address::Ip(([10, 0, 0, 9], 9).into()),
                    (World::Real { .. }, Some(_)) => bound(false).1,
                };
                seen(self.ours.send_to(&[1], Some(&nobody)))
            }
            Fills => {
                let mut count = 0;
                loop {
                    match self.ours.send_to(&[1], Some(&self.peer_at)) {
                        Ok(()) => count += 1,
                        Err(error) => {
                            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                            break Seen::Took(count);
                        }
                    }
                }
            }
        };
        self.pass();
        seen
    }

    /// Long enough for all that is under way.
    fn pass(&self) {
        if let World::Sim { kernel, .. } = &self.world {
            let mut state = kernel.state();
            let until = state.now + 1_000_000;
            state.pass(until);
        }
    }

    fn receive(&mut self, room: usize, wanted: Option<&Seen>) -> Seen {
        let mut buf = vec![0; room];
        for round in 0.. {
            match self.ours.recv_from(&mut buf) {
                Ok((copied, len, from)) => {
                    return Seen::Got(copied, len, from == self.peer_at);
                }
                Err(error) => {
                    let error = errno(error);
                    if wanted.is_none_or(|seen| *seen == Seen::Fails(error)) || round == PATIENCE {
                        return Seen::Fails(error);
                    }
                }
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        unreachable!("it ran out of patience")
    }

    fn peer_receives(&mut self, wanted: Option<&Seen>) -> Seen {
        match &self.world {
            World::Sim { kernel, peer, .. } => {
                let got = kernel.state().peer_receives(*peer);
                got.map_or(Seen::Fails(Errno::AGAIN), |packet| Seen::Took(packet.payload.len()))
            }
            World::Real { peer, .. } => {
                let Some(peer) = peer else { return Seen::Fails(Errno::AGAIN) };
                for round in 0.. {
                    match peer.recv() {
                        Ok(n) => return Seen::Took(n),
                        Err(error) => {
                            let error = errno(error);
                            if wanted == Some(&Seen::Fails(error)) || round == PATIENCE {
                                return Seen::Fails(error);
                            }
                        }
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
                unreachable!("it ran out of patience")
            }
        }
    }

    fn poll(&mut self, wanted: Option<&Seen>) -> Seen {
        let mut edges = Readiness::EMPTY;
        let (mut round, mut window) = (0, 0);
        while window < WINDOW && round < PATIENCE {
            let real = matches!(self.world, World::Real { .. });
            let wait = if real { Duration::from_millis(1) } else { Duration::ZERO };
            self.driver.poll(Some(wait)).unwrap();
            self.driver.for_each_event(|token, news| {
                assert_eq!(token, TOKEN);
                edges = edges | news;
            });
            let came = match wanted {
                Some(Seen::Edges(wanted)) => edges.0 & wanted.0 == wanted.0,
                _ => true,
            };
            window += usize::from(came);
            round += 1;
        }
        Seen::Edges(edges)
    }
}

fn show(seen: &Seen) -> String {
    match seen {
        Seen::Edges(edges) => format!("edges [{edges}]"),
        other => format!("{other:?}"),
    }
}

/// Runs a script on both. Returns where they part.
fn compare(sort: Sort, script: &[Step]) -> Result<(), String> {
    let (mut sim, mut real) = (Side::simulated(sort), Side::real(sort));
    let mut told = String::new();
    for step in script {
        let wanted = sim.step(*step, None);
        let got = real.step(*step, Some(&wanted));
        let _ = writeln!(told, "{step:?}: {}", show(&got));
        if got != wanted {
            return Err(format!("{sort:?} {script:?}\n{told}  but simulated {}\n", show(&wanted)));
        }
    }
    Ok(())
}

type Script = (&'static str, &'static [Sort], &'static [Step]);

const TABLE: &[Script] = &[
    ("an edge tells of what arrives", ALL, &[Poll, PeerSends(5), Poll, Poll, Receives(9)]),
    ("an edge for each", ALL, &[Poll, PeerSends(5), Poll, PeerSends(6), Poll, Poll]),
    (
        "what is left is not told again",
        ALL,
        &[Poll, PeerSends(5), PeerSends(6), Poll, Receives(9), Poll, Receives(9), Receives(9)],
    ),
    ("nothing would block", ALL, &[Poll, Receives(9), Poll, PeerSends(1), Poll, Receives(9)]),
    ("an empty one is one", ALL, &[Poll, PeerSends(0), Poll, Receives(9), Receives(9), Poll]),
    ("an empty one behind another", ALL, &[PeerSends(3), PeerSends(0), Receives(9), Receives(9)]),
    ("no room for it", ALL, &[PeerSends(10), PeerSends(2), Receives(4), Receives(4), Receives(4)]),
    ("no room at all", ALL, &[PeerSends(10), Receives(0), Receives(4)]),
    ("what is sent is an edge", ALL, &[Poll, Sends(5), Poll, PeerReceives, Poll]),
    ("an empty one is sent", ALL, &[Poll, Sends(0), PeerReceives, PeerReceives]),
    ("sent and received", ALL, &[Poll, Sends(5), PeerSends(7), Poll, Receives(9), PeerReceives]),
    ("too long", UDP, &[Poll, Sends(65_508), Sends(65_507), Poll]),
    ("too long", UNIX, &[Poll, Sends(212_961), Poll]),
    ("a stranger", ALL, &[Poll, StrangerSends(5), Poll, PeerSends(6), Receives(9), Receives(9)]),
    ("nobody is connected to", &[Sort::Udp, Sort::Unix], &[Poll, SendsThere(5), Poll]),
    ("sent to where it is connected", ALL, &[Poll, SendsThere(5), PeerReceives, PeerReceives]),
    ("nobody is there", ALL, &[Poll, SendsToNobody, Poll, Receives(9), Sends(3), PeerReceives]),
    (
        "refused: the next call tells it, once",
        &[Sort::UdpConnected],
        &[Poll, PeerCloses, SendsThere(5), Poll, Receives(9), Receives(9), Poll],
    ),
    (
        "refused: a send tells it, and does not send",
        &[Sort::UdpConnected],
        &[Poll, PeerCloses, SendsThere(5), Poll, SendsThere(5), Receives(9), Poll],
    ),
    (
        "refused, by name",
        ALL,
        &[Poll, PeerCloses, Sends(5), Poll, Receives(9), Sends(5), Sends(5), Poll],
    ),
    (
        "what lay there when it was refused is received",
        &[Sort::UdpConnected],
        &[Poll, PeerSends(4), PeerCloses, SendsThere(5), Poll, Receives(9), Receives(9)],
    ),
    ("a receiver is full", UNIX, &[Poll, Fills, Poll, Poll, Sends(1), Poll]),
    ("a full receiver takes one", UNIX, &[Poll, Fills, Poll, PeerReceives, Poll, Sends(1), Poll]),
    (
        "a full receiver, met where it is connected",
        &[Sort::UnixConnected],
        &[Poll, Fills, SendsThere(1), Poll, PeerReceives, Poll, SendsThere(1), SendsThere(1), Poll],
    ),
    (
        "whom it was connected to is gone, and with it what lay here unread",
        &[Sort::UnixConnected],
        &[Poll, PeerSends(5), PeerCloses, SendsThere(1), Receives(9), SendsThere(1), Poll],
    ),
    ("a full receiver goes", UNIX, &[Poll, Fills, Poll, PeerCloses, Poll, Sends(1), Sends(1)]),
];

/// Whether a datagram sent is an edge: mio's poll(2) is a kind of its own.
fn is_epoll() -> bool {
    let mut side = Side::real(Sort::Udp);
    let edge = Seen::Edges(Readiness::WRITABLE);
    side.poll(Some(&edge));
    side.step(Sends(1), None);
    side.poll(None) == edge
}

#[test]
fn a_datagram_socket_shows_the_same_on_both_kernels() {
    if !is_epoll() {
        return;
    }
    let mut parted = String::new();
    for (name, sorts, script) in TABLE {
        for sort in *sorts {
            if let Err(how) = compare(*sort, script) {
                let _ = writeln!(parted, "{name}: {how}");
            }
        }
    }
    assert!(parted.is_empty(), "{parted}");
}

/// Ours at 10.0.0.3:4000 and a peer that does nothing at 10.0.0.1:4000, in a world of this profile.
fn world(seed: u64, profile: Profile) -> (Side, Kernel, u32) {
    let kernel = Kernel::new(seed, profile);
    kernel.state().horizon = Horizon::Idle;
    let at = |n| Address::Ip(([10, 0, 0, n], 4000).into());
    let peer = kernel.state().peer_binds(at(1), None, Box::new(Nobody)).unwrap();
    let ours = Datagrams::Sim(kernel.bind_datagram(at(3), None).unwrap());
    let driver = Driver::simulated(&kernel);
    let world = World::Sim { kernel: kernel.clone(), peer, stranger: peer };
    (Side::new(driver, ours, at(1), world), kernel, peer)
}

impl Side {
    /// All that lies with us: the lengths.
    fn receive_all(&mut self) -> Vec<usize> {
        let mut got = Vec::new();
        loop {
            match self.ours.recv_from(&mut [0; 9000]) {
                Ok((copied, ..)) => got.push(copied),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return got,
            }
        }
    }
}

#[test]
fn the_network_does_what_its_profile_says_and_nothing_else() {
    let send = |profile: Profile| {
        let (mut side, kernel, peer) = world(7, profile.mailbox(2000..=2000));
        let own = side.own.clone();
        for n in 0..1000 {
            kernel.state().peer_sends_to(peer, &vec![1; n], &own).unwrap();
        }
        let later = kernel.now() + 1_000_000_000;
        kernel.state().pass(later);
        side.receive_all()
    };
    let profile = Profile::calm().latency_micros(1..=1000);
    let all: Vec<usize> = (0..1000).collect();
    assert_eq!(send(profile.clone()), all);

    let lost = send(profile.clone().lost(300));
    assert!(lost.is_sorted() && (600..800).contains(&lost.len()), "{}", lost.len());

    let mut twice = send(profile.clone().duplicated(300));
    assert!(twice.is_sorted() && (1200..1400).contains(&twice.len()), "{}", twice.len());
    twice.dedup();
    assert_eq!(twice, all);

    let mut mixed = send(profile.datagrams_reordered(300));
    assert!(!mixed.is_sorted());
    mixed.sort_unstable();
    assert_eq!(mixed, all);
}

#[test]
fn what_finds_no_room_is_lost_and_it_is_the_newest() {
    let (mut side, kernel, peer) = world(1, Profile::calm().mailbox(3..=3));
    let own = side.own.clone();
    for n in 1..=3 {
        kernel.state().peer_sends_to(peer, &vec![1; n], &own).unwrap();
    }
    side.pass();
    kernel.state().peer_sends_to(peer, &[1; 4], &own).unwrap();
    side.pass();
    assert_eq!(side.receive_all(), [1, 2, 3]);
}

/// As on a slow line: too much under way, then an edge when there is room.
#[test]
fn who_has_too_much_under_way_waits_for_an_edge() {
    let (mut side, _kernel, _) = world(1, Profile::calm().mailbox(8..=8));
    side.poll(None);
    assert_eq!(side.step(Fills, None), Seen::Took(8));
    assert_eq!(side.poll(None), Seen::Edges(Readiness::WRITABLE));
    assert_eq!(side.step(Sends(1), None), Seen::Done);
}

/// Trap 49: nothing tells when it is over.
#[test]
fn a_shortage_is_told_and_its_end_is_not() {
    let (mut side, kernel, _) = world(1, Profile::calm().shortage(1000));
    side.poll(None);
    assert_eq!(side.step(Sends(1), None), Seen::Fails(Errno::NOBUFS));
    kernel.state().profile.shortage = 0;
    side.driver.poll(None).unwrap();
    side.driver.for_each_event(|token, news| panic!("an event of {token:?}: {news}"));
    let later = kernel.now() + 60_000_000;
    kernel.state().pass(later);
    assert_eq!(side.step(Sends(1), None), Seen::Done);
}

/// On a kernel of either kind. Without flags a direction is told again only after WouldBlock.
#[test]
fn a_call_that_would_block_without_need_is_followed_by_an_edge() {
    for flags in [true, false] {
        let (mut side, kernel, peer) = world(3, Profile::calm().flags(flags).would_block(500));
        let own = side.own.clone();
        let mut denied = 0;
        for n in 0..50 {
            kernel.state().peer_sends_to(peer, &[1], &own).unwrap();
            let mut got = 0;
            while got == 0 {
                side.driver.poll(None).unwrap();
                let mut readable = false;
                side.driver.for_each_event(|_, news| readable |= news.has(Readiness::READABLE));
                assert!(!kernel.state().idle || readable, "{n}: nothing more is told");
                let before = kernel.state().mail.ports[1].queue.len();
                if readable {
                    got = side.receive_all().len();
                    denied += usize::from(got < before);
                }
            }
            // Or the next is not told.
            side.receive_all();
        }
        assert!(denied > 5, "{denied}");
    }
}

/// Scripts of a seed.
fn draw(rng: &mut Rng, sort: Sort) -> Vec<Step> {
    let mut script = Vec::new();
    for _ in 0..rng.size(3, 14) {
        script.push(match rng.below(14) {
            0..=2 => PeerSends(rng.size(0, 12)),
            3 => StrangerSends(rng.size(0, 12)),
            4 | 5 => Receives(rng.size(0, 12)),
            6 => Sends(rng.size(0, 12)),
            7 => SendsThere(rng.size(0, 12)),
            8 => SendsToNobody,
            9 if rng.chance(200) => PeerCloses,
            10 if is_unix(sort) => Fills,
            11 | 12 => PeerReceives,
            _ => Poll,
        });
        // A socket that has gone cannot be filled.
        if script.contains(&PeerCloses) {
            script.retain(|step| *step != Fills);
        }
    }
    script
}

/// As many as the environment variable `WOULDBLOCK_SCRIPTS` says, else 50.
#[test]
fn scripts_that_a_seed_draws_show_the_same_on_both_kernels() {
    if !is_epoll() {
        return;
    }
    let many = std::env::var("WOULDBLOCK_SCRIPTS").map_or(50, |many| many.parse().unwrap());
    let mut parted = String::new();
    for seed in 0..many {
        for sort in ALL {
            let script = draw(&mut Rng::new(seed), *sort);
            if let Err(how) = compare(*sort, &script) {
                let _ = writeln!(parted, "seed {seed}: {how}");
            }
        }
    }
    assert!(parted.is_empty(), "{parted}");
}
