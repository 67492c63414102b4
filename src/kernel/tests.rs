//! The simulated kernel's own rules. What it has in common with Linux is compared in
//! `link/tests.rs`.

use std::io::{self, Read, Write};

use super::link::THERE;
use super::*;
use crate::net::driver::Driver;
use crate::net::socket::{Acceptor, Socket};

const DOOR: Token = Token(crate::base::id::LISTENER_BASE as usize);

struct Nobody;

impl Actor for Nobody {
    fn act(&mut self, _net: &mut State, _link: u32) {}
}

/// A world with a listener and, first of all, no peer in it.
struct World {
    kernel: Kernel,
    driver: Driver,
    door: Acceptor,
    to: Address,
}

impl World {
    fn new(seed: u64, profile: Profile, to: &str, backlog: usize) -> Self {
        let kernel = Kernel::new(seed, profile);
        kernel.state().horizon = Horizon::Idle;
        let driver = Driver::simulated(&kernel);
        let to: Address = to.parse().unwrap();
        let mut door = Acceptor::Sim(kernel.listen(to.clone(), backlog, false).unwrap());
        driver.register_acceptor(&mut door, DOOR).unwrap();
        World { kernel, driver, door, to }
    }

    fn tcp(profile: Profile) -> Self {
        World::new(1, profile, "10.0.0.1:80", 16)
    }

    fn connect(&self) -> u32 {
        self.kernel.state().connect(self.to.clone(), Box::new(Nobody))
    }

    /// A peer connects, is accepted, registered and polled.
    fn open(&mut self) -> (Socket, u32) {
        let link = self.connect();
        self.pass(1_000_000);
        let socket = self.accept(Token(1)).unwrap();
        self.poll();
        (socket, link)
    }

    fn accept(&mut self, token: Token) -> io::Result<Socket> {
        let (mut socket, _) = self.door.accept()?;
        self.driver.register(&mut socket, token)?;
        Ok(socket)
    }

    fn pass(&self, time: u64) {
        let mut state = self.kernel.state();
        let until = state.now + time;
        state.pass(until);
    }

    /// What is there to be told now.
    fn poll(&mut self) -> Vec<(Token, Readiness)> {
        self.poll_for(Some(Duration::ZERO))
    }

    /// What will be told, if anything ever.
    fn wait(&mut self) -> Vec<(Token, Readiness)> {
        self.poll_for(None)
    }

    fn poll_for(&mut self, timeout: Option<Duration>) -> Vec<(Token, Readiness)> {
        let mut told = Vec::new();
        self.driver.poll(timeout).unwrap();
        self.driver.for_each_event(|token, news| told.push((token, news)));
        told
    }

    fn send(&self, link: u32, n: usize) {
        assert_eq!(self.kernel.state().peer_write(link, &vec![0; n]), Ok(n));
        self.pass(1_000_000);
    }
}

fn would_block<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn without_flags_a_direction_is_told_once_until_it_would_block() {
    let mut world = World::tcp(Profile::calm().flags(false));
    let (mut socket, link) = world.open();
    world.send(link, 5);
    assert_eq!(world.poll(), [(Token(1), Readiness::READABLE)]);
    world.send(link, 5);
    world.kernel.state().peer_finish(link);
    world.pass(1_000_000);
    assert_eq!(world.poll(), []);
    assert_eq!(socket.read(&mut [0; 99]).unwrap(), 10);
    assert_eq!(socket.read(&mut [0; 99]).unwrap(), 0);
    assert_eq!(world.wait(), []);

    // What is so when it is asked for again is told at once, as by level.
    let mut world = World::tcp(Profile::calm().flags(false));
    let (mut socket, link) = world.open();
    assert!(would_block(socket.read(&mut [0; 9])));
    world.send(link, 5);
    assert_eq!(world.poll(), [(Token(1), Readiness::READABLE)]);
    while socket.write(&[0; 4096]).is_ok() {}
    assert_eq!(world.poll(), []);
    world.pass(1_000_000);
    assert_eq!(world.poll(), [(Token(1), Readiness::WRITABLE)]);
    assert_eq!(world.poll(), []);
}

/// Nothing but readable and writable is told there.
#[test]
fn without_flags_an_end_and_a_reset_are_readable_and_no_more() {
    for reset in [false, true] {
        let mut world = World::tcp(Profile::calm().flags(false));
        let (mut socket, link) = world.open();
        assert!(would_block(socket.read(&mut [0; 9])));
        world.kernel.state().peer_close(link, reset);
        assert_eq!(world.wait(), [(Token(1), Readiness::READABLE)]);
        assert!(!socket.short_read_is_proof() && !socket.short_write_is_proof());
    }
}

#[test]
fn a_would_block_that_is_not_true_is_followed_by_an_edge() {
    for flags in [true, false] {
        let mut world = World::tcp(Profile::calm().would_block(1000).flags(flags));
        let (mut socket, link) = world.open();
        assert!(would_block(socket.write(b"hello")));
        assert!(world.wait().iter().any(|(_, news)| news.is_writable()));
        world.send(link, 5);
        assert!(world.poll().iter().any(|(_, news)| news.is_readable()));
        assert!(would_block(socket.read(&mut [0; 9])));
        assert!(world.wait().iter().any(|(_, news)| news.is_readable()));
        assert_eq!(world.wait(), []);
    }
}

#[test]
fn a_short_count_that_is_not_true_is_followed_by_an_edge_where_it_is_a_proof() {
    let mut cut = 0;
    for seed in 0..100 {
        let profile = Profile::calm().short_read(1000).short_write(1000);
        let mut world = World::new(seed, profile, "10.0.0.1:80", 16);
        let (mut socket, link) = world.open();
        assert!(socket.short_read_is_proof());
        world.send(link, 9);
        world.poll();
        // A read that fills its buffer proves nothing, and one that brings all is the truth.
        let n = socket.read(&mut [0; 99]).unwrap();
        assert_eq!(world.wait().is_empty(), n == 9, "of 9 bytes {n} were read");
        cut += usize::from(n < 9);
        let n = socket.write(&[0; 9]).unwrap();
        assert_eq!(world.wait().is_empty(), n == 9, "of 9 bytes {n} were written");
    }
    assert!((50..100).contains(&cut));
}

#[test]
fn a_late_edge_comes_and_a_split_one_comes_whole() {
    let mut world = World::tcp(Profile::calm());
    let (_socket, link) = world.open();
    world.kernel.state().profile.late = 1000;
    world.send(link, 5);
    let both = Readiness::READABLE | Readiness::WRITABLE;
    assert_eq!(world.wait(), [(Token(1), both)]);
    let state = world.kernel.state();
    assert!(state.now < 10_000_000);
    drop(state);

    let mut world = World::tcp(Profile::calm().split(1000));
    let (_socket, link) = world.open();
    world.send(link, 5);
    let halves = [(Token(1), Readiness::WRITABLE), (Token(1), Readiness::READABLE)];
    assert_eq!(world.poll(), halves);
    assert_eq!(world.poll(), []);
}

#[test]
fn a_spurious_event_is_of_somebody_who_is_or_was() {
    let mut world = World::tcp(Profile::calm().spurious(1000));
    let (socket, _) = world.open();
    drop(socket);
    let told: Vec<_> = (0..50).flat_map(|_| world.poll()).map(|(token, _)| token).collect();
    assert!(told.contains(&DOOR) && told.contains(&Token(1)));
    assert!(told.iter().all(|token| [DOOR, Token(1)].contains(token)));
}

#[test]
fn who_gets_the_number_of_a_closed_file_gets_nothing_of_its_events() {
    for late in [0, 1000] {
        let mut world = World::tcp(Profile::calm());
        let (socket, link) = world.open();
        world.connect();
        world.pass(1_000_000);
        world.poll();
        world.kernel.state().profile.late = late;
        world.kernel.state().peer_write(link, b"x").unwrap();
        world.pass(11_000);
        drop(socket);
        world.kernel.state().profile.late = 0;
        let _second = world.accept(Token(2)).unwrap();
        assert_eq!(world.poll(), [(Token(2), Readiness::WRITABLE)]);
        assert_eq!(world.wait(), []);
    }
}

/// `inet_shutdown` wakes our own poll, and so does the acknowledgement (`tcp_rcv_state_process`, in
/// FIN-WAIT-1): on a loopback the two come as one.
#[test]
fn our_end_is_an_edge_and_its_acknowledgement_another() {
    let mut world = World::tcp(Profile::calm().latency_micros(500..=500));
    let (socket, _) = world.open();
    socket.shutdown_write().unwrap();
    let edge = [(Token(1), Readiness::WRITABLE)];
    assert_eq!(world.poll(), edge);
    assert_eq!(world.poll(), []);
    assert_eq!(world.wait(), edge);
    assert_eq!(world.wait(), []);
}

/// `tcp_poll` sets `SOCK_NOSPACE`, as a write does that meets a full buffer.
#[test]
fn who_hears_that_there_is_no_room_is_told_when_there_is() {
    for asks in [true, false] {
        let mut world = World::tcp(Profile::calm().buffer(100..=100));
        let (mut socket, link) = world.open();
        assert_eq!(socket.write(&[0; 100]).unwrap(), 100);
        world.pass(1_000_000);
        // All of it is taken, and what is free is less than half of that.
        assert_eq!(socket.write(&[0; 80]).unwrap(), 80);
        if asks {
            world.send(link, 1);
            assert_eq!(world.poll(), [(Token(1), Readiness::READABLE)]);
        }
        for _ in 0..2 {
            world.kernel.state().peer_read(link, &mut [0; 100]).unwrap();
            world.pass(1_000_000);
        }
        let told = world.wait();
        assert_eq!(told.iter().any(|(_, news)| news.is_writable()), asks, "{told:?}");
        assert_eq!(world.wait(), []);
    }
}

/// Trap 23: at the limit an accept fails even if no connection waits.
#[test]
fn descriptors_run_out_and_come_back() {
    let mut world = World::tcp(Profile::calm().descriptors(2));
    let errno = |world: &World| Errno::from_io_error(&world.door.accept().unwrap_err()).unwrap();
    assert_eq!(errno(&world), Errno::AGAIN);
    let (socket, _) = world.open();
    assert_eq!(errno(&world), Errno::MFILE);
    world.connect();
    world.pass(1_000_000);
    assert_eq!(world.poll(), [(DOOR, Readiness::READABLE)]);
    assert_eq!(errno(&world), Errno::MFILE);
    // No edge for a descriptor that came free.
    drop(socket);
    assert_eq!(world.poll(), []);
    let _second = world.accept(Token(2)).unwrap();
    assert_eq!(world.kernel.state().open_files(), 2);
}

#[test]
fn who_comes_to_a_full_backlog_comes_again_after_a_second() {
    let mut world = World::new(1, Profile::calm(), "10.0.0.1:80", 1);
    for _ in 0..3 {
        world.connect();
    }
    world.pass(999_000_000);
    assert_eq!(world.kernel.state().waiting(), 2);
    let _first = world.accept(Token(1)).unwrap();
    world.poll();
    assert_eq!(world.kernel.state().waiting(), 1);
    assert_eq!(world.wait(), [(DOOR, Readiness::READABLE)]);
    assert!(world.kernel.state().now > SYN_RETRY);
    assert_eq!(world.kernel.state().waiting(), 2);
}

/// A peer that sends and expects what an echo sends back.
struct Counting {
    sent: usize,
    received: usize,
    all: usize,
}

/// The byte at an offset.
fn byte(at: usize) -> u8 {
    u8::try_from(at % 251).unwrap()
}

impl Actor for Counting {
    fn act(&mut self, net: &mut State, link: u32) {
        while self.sent < self.all {
            let some: Vec<u8> = (self.sent..self.all.min(self.sent + 97)).map(byte).collect();
            match net.peer_write(link, &some) {
                Ok(n) => self.sent += n,
                Err(error) => {
                    assert_eq!(error, Errno::AGAIN);
                    break;
                }
            }
            if self.sent.is_multiple_of(3) {
                let _ = net.peer_mark(link);
            }
        }
        if self.sent == self.all {
            net.peer_finish(link);
        }
        let mut buf = [0; 61];
        while let Ok(n) = net.peer_read(link, &mut buf)
            && n > 0
        {
            for byte_here in &buf[..n] {
                assert_eq!(*byte_here, byte(self.received));
                self.received += 1;
            }
        }
    }
}

/// Reads and writes back as the bits allow it, and forgets them as the crate does.
#[derive(Default)]
struct Echo {
    readiness: Readiness,
    held: Vec<u8>,
    seen: usize,
    ended: bool,
    shut: bool,
}

impl Echo {
    fn serve(&mut self, socket: &mut Socket) {
        let proof = socket.short_read_is_proof();
        let mut buf = [0; 113];
        while self.readiness.is_readable() && self.held.len() < 200 && !self.ended {
            match socket.read(&mut buf) {
                Ok(0) => self.ended = true,
                Ok(n) => {
                    self.held.extend(&buf[..n]);
                    self.seen += n;
                    if n < buf.len() && proof && self.readiness.trusts_short_read() {
                        self.readiness.forget_readable();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readiness.forget_readable();
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
            }
        }
        while self.readiness.is_writable() && !self.held.is_empty() {
            match socket.write(&self.held) {
                Ok(n) => {
                    if n < self.held.len() && proof {
                        self.readiness.forget_writable();
                    }
                    self.held.drain(..n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readiness.forget_writable();
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
            }
        }
        if self.ended && self.held.is_empty() && !self.shut {
            socket.shutdown_write().unwrap();
            self.shut = true;
        }
    }

    fn is_idle(&self) -> bool {
        let reads = self.readiness.is_readable() && self.held.len() < 200 && !self.ended;
        let writes = self.readiness.is_writable() && !self.held.is_empty();
        !(reads || writes)
    }
}

/// One world; answers the hash of its trace.
fn echo_in_a_world(seed: u64) -> u64 {
    const ALL: usize = 1500;
    let mut profile = if seed.is_multiple_of(2) { Profile::rough() } else { Profile::everyday() };
    profile = profile.flags(seed % 4 < 2).accept_error(0).watch_error(0).buffer(1..=300);
    let to = if seed % 8 < 4 { "10.0.0.1:80" } else { "unix:/run/x" };
    let mut world = World::new(seed, profile, to, 16);
    let actor = Counting { sent: 0, received: 0, all: ALL };
    let link = world.kernel.state().connect(world.to.clone(), Box::new(actor));
    let (mut served, mut door) = (None, false);
    let mut echo = Echo { readiness: Readiness::WRITABLE, ..Echo::default() };
    loop {
        let idle = served.as_ref().map_or(!door, |_| echo.is_idle());
        let timeout = if idle { None } else { Some(Duration::ZERO) };
        match world.driver.poll(timeout) {
            Ok(()) => {
                world.driver.for_each_event(|token, news| match token {
                    DOOR => door = true,
                    _ => echo.readiness.merge(news),
                });
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
        }
        if idle && world.kernel.state().idle {
            break;
        }
        if let Some(socket) = &mut served {
            echo.serve(socket);
        } else if door {
            match world.accept(Token(1)) {
                Ok(socket) => served = Some(socket),
                Err(error) => door = error.kind() == io::ErrorKind::Interrupted,
            }
        }
    }
    let state = world.kernel.state();
    let place = &state.links[link as usize].link;
    assert_eq!(echo.seen, ALL, "seed {seed}\n{}", state.trace.text(60));
    assert_eq!(place.halves[THERE].read, ALL as u64, "seed {seed}");
    assert_eq!(place.halves[1 - THERE].read, ALL as u64, "seed {seed}\n{}", state.trace.text(60));
    assert!(place.halves[1 - THERE].fin_arrived, "seed {seed}\n{}", state.trace.text(60));
    state.trace.hash()
}

/// Promise 1, as far as it is the kernel's: a loop that obeys the rules of readiness is told all it needs.
#[test]
fn nothing_is_lost_in_a_thousand_worlds() {
    for seed in 0..1000 {
        echo_in_a_world(seed);
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 0..40 {
        assert_eq!(echo_in_a_world(seed), echo_in_a_world(seed));
    }
    assert_ne!(echo_in_a_world(1), echo_in_a_world(9));
}
