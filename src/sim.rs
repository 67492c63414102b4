//! The same reactor on a simulated kernel and clock, driven by a seed: for tests of handlers.
//!
//! A test on real sockets meets one order of events, the one that the machine's mood gave it. Here
//! the order comes from a seed: which bytes arrive together, when, which call is cut short, who
//! resets in between. Your handler runs untouched, on the very code that runs in production; the
//! sockets, the network, the peers and the clock are simulated. Nothing is random but the seed: the
//! same seed and the same [`Profile`] give the same trace, and a failure prints both. All time is
//! virtual: a day of timeouts takes milliseconds.
//!
//! Needs the feature `sim`, best as a dev-dependency:
//!
//! ```toml
//! [dev-dependencies]
//! wouldblock = { version = "0.1", features = ["sim"] }
//! ```
//!
//! # A first test
//!
//! [`check`] runs a test for many seeds. A [`Peer`] does one thing after the other: what it is told
//! to [`send`](Peer::send) goes out as the network takes it, [`expect`](Peer::expect) waits for an
//! answer, and an answer that does not come, or is another, is a failure.
//!
//! ```
//! use std::time::Duration;
//! use wouldblock::sim::{Profile, check};
//! use wouldblock::{Config, handler_fn};
//!
//! // Answers each line with the line in capitals.
//! fn shout() -> impl wouldblock::Handler {
//!     handler_fn(|conn, input| {
//!         while let Some(line) = input.line() {
//!             conn.send(line.to_ascii_uppercase());
//!             conn.send(b"\n");
//!         }
//!         Ok(())
//!     })
//! }
//!
//! check(0..100, Profile::default(), |sim| {
//!     let mut reactor = sim.reactor(shout(), Config::default())?;
//!     reactor.listen("10.0.0.1:7777")?;
//!
//!     let peer = sim.connect("10.0.0.1:7777");
//!     peer.send(b"hello\nwor"); // however it is cut on the way
//!     peer.expect(b"HELLO\n");
//!     peer.wait(Duration::from_secs(3600)); // costs nothing
//!     peer.send(b"ld\n");
//!     peer.expect(b"WORLD\n");
//!     peer.finish();
//!     peer.expect_end();
//!     sim.run_until_idle(&mut reactor)
//! });
//! ```
//!
//! A handler that keeps half a line and forgets it fails this test, whichever way it forgets: try
//! it. The failure says with which seed; the environment variable `WOULDBLOCK_SEED` runs that one
//! alone, and the failure then tells its whole trace.
//!
//! Small messages often come whole: a bug may need dozens of seeds to show. Use a hundred or more,
//! and send several messages at once. Bytes that no expectation has claimed are no failure: end with
//! [`expect_end`](Peer::expect_end), or look at [`recv`](Peer::recv). Only
//! [`run_until_idle`](Sim::run_until_idle) says that something did not come. And a test that expects
//! a failure does well to say which (`#[should_panic(expected = "still expects")]`): a refused
//! [`Config`] panics, too.
//!
//! # Timeouts
//!
//! [`advance`](Sim::advance) lets time pass:
//!
//! ```
//! # use std::time::Duration;
//! # use wouldblock::sim::{Profile, check};
//! # use wouldblock::{Config, handler_fn};
//! check(0..20, Profile::default(), |sim| {
//!     let config = Config::default().idle(Some(Duration::from_secs(60)));
//!     let mut reactor = sim.reactor(handler_fn(|_, _| Ok(())), config)?;
//!     reactor.listen("10.0.0.1:7777")?;
//!     let silent = sim.connect("10.0.0.1:7777");
//!     sim.advance(&mut reactor, Duration::from_secs(59))?;
//!     assert!(!silent.is_ended());
//!     sim.advance(&mut reactor, Duration::from_secs(2))?;
//!     assert!(silent.is_ended());
//!     Ok(())
//! });
//! ```
//!
//! # Slow peers, slow handlers
//!
//! A peer that [reads slowly](Peer::read_slowly) takes something all the while, and the kernel's buffer
//! stands between it and the reactor. A handler that works makes all connections wait: with a clone of the
//! [`Sim`] it says for [how long](Sim::work). Here a client reads 16 kB a second, and another is
//! answered after 3 s of work:
//!
//! ```
//! # use std::time::Duration;
//! # use wouldblock::sim::{Profile, check};
//! # use wouldblock::{Config, handler_fn};
//! check(0..5, Profile::calm().buffer_max(1 << 20), |sim| {
//!     let world = sim.clone();
//!     let handler = handler_fn(move |conn, input| {
//!         match input.take_all() {
//!             b"all" => conn.send(vec![7; 200_000]),
//!             _ => {
//!                 world.work(Duration::from_secs(3));
//!                 conn.send(b"done");
//!             }
//!         }
//!         Ok(())
//!     });
//!     let mut reactor = sim.reactor(handler, Config::default())?;
//!     reactor.listen("10.0.0.1:7777")?;
//!     let (slow, other) = (sim.connect("10.0.0.1:7777"), sim.connect("10.0.0.1:7777"));
//!     slow.read_slowly(1600, Duration::from_millis(100));
//!     slow.send("all");
//!     slow.expect(vec![7; 200_000]);
//!     other.wait(Duration::from_secs(1));
//!     other.send("work");
//!     other.expect("done");
//!     sim.run_until_idle(&mut reactor)?;
//!     assert!(sim.now() > Duration::from_secs(12));
//!     Ok(())
//! });
//! ```
//!
//! # Datagrams
//!
//! A [`DatagramPeer`] sends to the sockets of the reactor, and answers them. The network loses,
//! duplicates and reorders what UDP sends, as the [`Profile`] says: here is a client that asks again
//! until it is answered.
//!
//! ```
//! # use std::time::Duration;
//! use wouldblock::sim::{Profile, check};
//! use wouldblock::{Address, Config, Context, Conn, Datagram, Handler, Input, Origin, DatagramId, Timer};
//! # use std::io;
//!
//! struct Asks {
//!     from: Option<DatagramId>,
//!     to: Address,
//!     answer: Option<Vec<u8>>,
//! }
//!
//! impl Asks {
//!     fn ask(&mut self, cx: &mut Context) {
//!         let Some(socket) = self.from.filter(|_| self.answer.is_none()) else { return };
//!         // What cannot be sent now is as good as lost.
//!         let _ = cx.send_to(socket, &self.to, "what time is it?");
//!         cx.set_timer(Duration::from_millis(200), 0);
//!     }
//! }
//!
//! impl Handler for Asks {
//!     type Session = ();
//! #   fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> { Ok(()) }
//! #   fn on_data(&mut self, _: &mut Conn<'_>, _: &mut (), _: &mut Input<'_>) -> io::Result<()> { Ok(()) }
//!     fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
//!         self.from = Some(cx.bind_datagram("10.0.0.1:0")?);
//!         self.ask(cx);
//!         Ok(())
//!     }
//!     fn on_timer(&mut self, cx: &mut Context, _: Timer) {
//!         self.ask(cx);
//!     }
//!     fn on_datagram(&mut self, _: &mut Context, datagram: &Datagram<'_>) {
//!         self.answer = Some(datagram.payload.to_vec());
//!     }
//! }
//!
//! check(0..50, Profile::default().lost(300), |sim| {
//!     let clock = sim.bind("10.0.0.9:123");
//!     clock.answer(|_| Some(b"noon".to_vec()));
//!     let asks = Asks { from: None, to: clock.addr(), answer: None };
//!     let mut reactor = sim.reactor(asks, Config::default())?;
//!     sim.advance(&mut reactor, Duration::from_secs(10))?;
//!     assert_eq!(reactor.handler().answer.as_deref(), Some(&b"noon"[..]));
//!     Ok(())
//! });
//! ```
//!
//! # Several reactors
//!
//! A [`Server`](crate::Server) is made by [`Sim::server`], and driven as a reactor is: its reactors
//! have their turns as the seed draws them, and posts between them come late.
//!
//! # Work on threads
//!
//! No seed drives a thread. Let the handler be given what does the work: in production a queue to
//! threads; here a closure that does it at once and [posts](Handle::post_to) what came of it, as a
//! callback may.
//!
//! # Why a connection ended
//!
//! The trace has the calls of the reactor, not its reasons. Those are told to `on_close`, and to
//! the log: with `env_logger::builder().is_test(true).try_init()` in the test, `RUST_LOG=debug`
//! shows a stall or a limit.
//!
//! # What is simulated
//!
//! TCP and Unix streams: listeners with a backlog, buffers that fill, half-close, resets that
//! overtake data, urgent data and passed descriptors, and the errors that Linux gives. Where the
//! real kernel can be seen to do a thing, a test of this crate does it on both and compares. The
//! poll is as stingy as the real one: an edge when something changed, once. See [`Profile`] for
//! what can be made to go wrong and how often.
//!
//! Connects of the reactor go to peers that [`serve`](Sim::serve), into a [black
//! hole](Sim::black_hole), or are refused.
//!
//! Datagram sockets, UDP and Unix, connected or not: queues that fill, what ICMP tells, a receiver
//! that does not read.
//!
//! Not simulated: broadcast and multicast, names (a listener and a peer give an address,
//! `"IP:PORT"` or `"unix:PATH"`), socket options ([`Conn::fd`](crate::Conn::fd) answers `None`),
//! other threads (a [`Handle`] works, but a wake from another thread comes when it comes). A
//! callback takes no time, unless it says how much.

use std::any::Any;
use std::fmt;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::address::Address;
use crate::base::config::Config;
use crate::handle::Handle;
use crate::handler::Handler;
use crate::kernel::{Answers, END, Horizon, Kernel, nanos};
use crate::net::driver::Driver;
use crate::net::socket::Stream;
use crate::reactor::Reactor;

mod datagram;
mod peer;
mod server;

pub use crate::kernel::profile::Profile;
pub use datagram::DatagramPeer;
pub use peer::Peer;
use peer::Script;

/// Turns of the loop without a call of a socket and without an event before that is called spinning.
/// A handler that takes its input in small bites has as many of them as bites.
const QUIET_TURNS: u32 = 100_000;
/// Turns of the loop before a world that does not come to rest is given up.
const TURNS_MAX: u32 = 10_000_000;
/// Lines of the trace in a failure.
const TAIL: usize = 60;

/// A simulated world: a kernel, a network, peers, a clock.
///
/// Cloning it gives another name for the same world.
#[derive(Clone, Debug)]
pub struct Sim {
    kernel: Kernel,
    seed: u64,
    profile: Profile,
    scripts: Arc<Mutex<Vec<Arc<Mutex<Script>>>>>,
    correspondents: Arc<Mutex<Vec<Correspondent>>>,
}

/// Where a peer with a datagram socket is, and its script.
type Correspondent = (Address, Arc<Mutex<datagram::Script>>);

impl Sim {
    /// A world that differs from others by its seed and its profile, and by nothing else.
    #[must_use]
    pub fn new(seed: u64, profile: Profile) -> Self {
        Sim {
            kernel: Kernel::new(seed, profile.clone()),
            seed,
            profile,
            scripts: Arc::default(),
            correspondents: Arc::default(),
        }
    }

    /// A reactor in this world, as [`Reactor::with_config`] makes one in the real one.
    ///
    /// Drive it with [`run_until_idle`](Self::run_until_idle) and [`advance`](Self::advance), or
    /// with [`Reactor::run`] if the handler or a peer brings it to its end: there a wait that would
    /// never end is an error.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a contradiction in `config`, which it names.
    pub fn reactor<H: Handler>(&self, handler: H, config: Config) -> Result<Reactor<H>, Failure> {
        let driver = Driver::simulated(&self.kernel);
        Ok(Reactor::with_driver(handler, &config, driver)?)
    }

    /// A reactor in this world whose handler keeps a [`Handle`], as [`Reactor::build`] makes one in
    /// the real one. Otherwise as [`reactor`](Self::reactor).
    ///
    /// # Errors
    ///
    /// As [`reactor`](Self::reactor).
    pub fn build<H: Handler>(
        &self,
        config: Config,
        make: impl FnOnce(Handle<H>) -> H,
    ) -> Result<Reactor<H>, Failure> {
        let driver = Driver::simulated(&self.kernel);
        Ok(Reactor::build_with_driver(&config, driver, make)?)
    }

    /// A peer that connects to `"IP:PORT"` or `"unix:PATH"`, from now on. If there is no listener
    /// when it arrives it is [refused](Peer::is_refused).
    ///
    /// # Panics
    ///
    /// If `to` is neither.
    #[must_use]
    #[track_caller]
    pub fn connect(&self, to: &str) -> Peer {
        let to: Address = to.parse().unwrap_or_else(|error| panic!("{error}"));
        self.connect_to(to)
    }

    /// A peer that connects to an address, such as [`Reactor::listener_addr`] answers.
    #[must_use]
    pub fn connect_to(&self, to: Address) -> Peer {
        let script = self.script();
        let actor = peer::Player(Arc::clone(&script));
        let link = self.kernel.state().connect(to, Box::new(actor));
        Peer::new(self.kernel.clone(), Some(link), script)
    }

    /// A peer that connects to an address, from an address of its own: for a handler, or a limit
    /// ([`Config::connections_per_address`]), that goes by where a connection comes from. Otherwise
    /// each peer has an IPv4 address of its own, or on a Unix socket no name.
    ///
    /// # Panics
    ///
    /// If either is no address, or they are of two families.
    #[must_use]
    #[track_caller]
    pub fn connect_from(&self, from: &str, to: &str) -> Peer {
        let [from, to] = [from, to]
            .map(|text| -> Address { text.parse().unwrap_or_else(|error| panic!("{error}")) });
        assert!(from.ip().is_some() == to.ip().is_some(), "{from} and {to} are of two families");
        let script = self.script();
        let actor = peer::Player(Arc::clone(&script));
        let link = self.kernel.state().connect_from(from, to, Box::new(actor));
        Peer::new(self.kernel.clone(), Some(link), script)
    }

    /// One end of a connected pair, to be [adopted](Reactor::adopt), and the peer at the other.
    ///
    /// # Errors
    ///
    /// If descriptors have run out.
    pub fn pair(&self) -> io::Result<(Stream, Peer)> {
        let script = self.script();
        let actor = peer::Player(Arc::clone(&script));
        let (stream, link) = self.kernel.pair(Box::new(actor))?;
        Ok((stream.into(), Peer::new(self.kernel.clone(), Some(link), script)))
    }

    /// A peer that waits at `"IP:PORT"` or `"unix:PATH"` for the next connect of the reactor
    /// ([`Context::connect`](crate::Context::connect)). Each serves one connection; a connect that
    /// finds none is refused.
    ///
    /// # Panics
    ///
    /// If `at` is neither.
    #[must_use]
    #[track_caller]
    pub fn serve(&self, at: &str) -> Peer {
        let at: Address = at.parse().unwrap_or_else(|error| panic!("{error}"));
        let script = self.script();
        let actor = peer::Player(Arc::clone(&script));
        self.kernel.state().serve_once(at, Box::new(actor));
        Peer::new(self.kernel.clone(), None, script)
    }

    /// From now on nothing answers a connect of the reactor to this address: a network that swallows
    /// everything.
    ///
    /// # Panics
    ///
    /// If `at` is no address.
    #[track_caller]
    pub fn black_hole(&self, at: &str) {
        let at = at.parse().unwrap_or_else(|error| panic!("{error}"));
        self.kernel.state().serve(at, Answers::Never);
    }

    /// A peer with a datagram socket at `"IP:PORT"` or `"unix:PATH"`.
    ///
    /// # Panics
    ///
    /// If `at` is neither, or another socket is bound to it.
    #[must_use]
    #[track_caller]
    pub fn bind(&self, at: &str) -> DatagramPeer {
        let script = Arc::default();
        let peer =
            DatagramPeer::new(self.kernel.clone(), datagram::address(at), Arc::clone(&script));
        let mut all = self.correspondents.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((peer.addr(), script));
        drop(all);
        peer
    }

    fn script(&self) -> Arc<Mutex<Script>> {
        let script = Arc::new(Mutex::new(Script::default()));
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&script));
        script
    }

    /// Lets time pass inside a callback, as if the handler worked for so long: the peers and the
    /// network go on meanwhile, and the reactor finds out when the callback returns. For a handler that
    /// has a clone of the `Sim`; outside of callbacks [`advance`](Self::advance) is what a test wants.
    pub fn work(&self, time: Duration) {
        self.kernel.state().work(nanos(time));
    }

    /// Interrupts the reactor by a signal after so long, if it waits then (signal(7)).
    pub fn interrupt_after(&self, wait: Duration) {
        self.kernel.interrupt_after(wait);
    }

    /// Runs a reactor, or a [server](Self::server), until nothing more happens: nothing is under
    /// way, no peer has anything to do, and only a deadline could wake it. Time passes as the
    /// network and the peers need it; a deadline that comes meanwhile is met.
    ///
    /// # Errors
    ///
    /// A peer expects what did not come, or met something else; the reactor failed, or spins; it
    /// does not come to rest within ten million turns.
    pub fn run_until_idle(&self, what: &mut impl Driven) -> Result<(), Failure> {
        self.run(what, Horizon::Idle)?;
        self.unmet(true)
    }

    /// Runs a reactor, or a server, for so long, whatever happens or does not: to see what a
    /// timeout does. The world ends after 292 years: it does not go beyond.
    ///
    /// # Errors
    ///
    /// As [`run_until_idle`](Self::run_until_idle), but what a peer expects may still come.
    pub fn advance(&self, what: &mut impl Driven, time: Duration) -> Result<(), Failure> {
        let end = self.kernel.now().saturating_add(nanos(time)).min(END);
        self.run(what, Horizon::Until(end))?;
        self.unmet(false)
    }

    fn run(&self, what: &mut impl Driven, horizon: Horizon) -> Result<(), Failure> {
        self.kernel.state().horizon = horizon;
        let result = what.drive(self);
        self.kernel.state().horizon = Horizon::Never;
        result
    }

    fn turns<H: Handler>(&self, reactor: &mut Reactor<H>) -> Result<(), Failure> {
        let mut quiet = Quiet::default();
        for _ in 0..TURNS_MAX {
            let goes_on = match reactor.turn(None) {
                Ok(goes_on) => goes_on,
                Err(error) => return Err(self.failure(format!("the reactor failed: {error}"))),
            };
            if !goes_on || self.kernel.state().idle {
                return Ok(());
            }
            if quiet.after_turn(&self.kernel, 0) > QUIET_TURNS {
                let what = "the reactor spins: it polls again and again and does nothing";
                return Err(self.failure(what));
            }
        }
        Err(self.failure(format!("after {TURNS_MAX} turns the world has not come to rest")))
    }

    /// What a peer met instead of what it expects, or (`at_rest`) still expects.
    fn unmet(&self, at_rest: bool) -> Result<(), Failure> {
        let scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, script) in scripts.iter().enumerate() {
            let script = script.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(what) = script.complaint(at_rest) {
                return Err(self.failure(format!("peer {number} {what}")));
            }
        }
        let all = self.correspondents.lock().unwrap_or_else(PoisonError::into_inner);
        for (address, script) in all.iter().filter(|_| at_rest) {
            let script = script.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(what) = script.complaint() {
                return Err(self.failure(format!("the peer at {address} {what}")));
            }
        }
        Ok(())
    }

    /// A failure of this world, for a check of your own: it tells the seed, the profile, and the
    /// end of the trace.
    #[must_use]
    pub fn failure(&self, what: impl Into<String>) -> Failure {
        let trace = self.kernel.state().trace.text(TAIL);
        Failure::new(what, self.seed, Some(self.profile.clone()), trace)
    }

    /// The seed it was made from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time since the world was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.kernel.now())
    }

    /// What happened, a line for each call of the reactor, each event, and each thing that a peer
    /// did; the last 100,000 of them. `#3` is the fourth peer.
    #[must_use]
    pub fn trace(&self) -> String {
        self.kernel.state().trace.text(usize::MAX)
    }

    /// A number for all that happened: equal for equal seeds and profiles, unless a handler draws
    /// from elsewhere (a clock, a random hasher).
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.kernel.state().trace.hash()
    }
}

/// What a [`Sim`] drives: a [`Reactor`], or a [`Server`](crate::Server).
#[allow(private_bounds, reason = "nothing else can be driven")]
pub trait Driven: Sealed {
    /// Gives it turns up to the horizon.
    #[doc(hidden)]
    fn drive(&mut self, sim: &Sim) -> Result<(), Failure>;
}

trait Sealed {}

impl<H: Handler> Sealed for Reactor<H> {}

impl<H: Handler> Driven for Reactor<H> {
    fn drive(&mut self, sim: &Sim) -> Result<(), Failure> {
        sim.turns(self)
    }
}

/// Counts turns in which nothing is done.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    calls: u64,
    eventful: u64,
    callbacks: u64,
    turns: u32,
}

impl Quiet {
    /// How many there were in a row. `callbacks`: how often the handler was called so far.
    pub(crate) fn after_turn(&mut self, kernel: &Kernel, callbacks: u64) -> u32 {
        let state = kernel.state();
        let done = (state.calls, state.eventful, callbacks);
        if done == (self.calls, self.eventful, self.callbacks) {
            self.turns += 1;
        } else {
            (self.calls, self.eventful, self.callbacks) = done;
            self.turns = 0;
        }
        self.turns
    }
}

/// What went wrong in a simulated world, and how to see it again.
#[derive(Clone)]
pub struct Failure(Box<Told>);

#[derive(Clone)]
struct Told {
    what: String,
    seed: u64,
    /// `None`: drawn from the seed, too.
    profile: Option<Profile>,
    trace: String,
}

impl Failure {
    pub(crate) fn new(
        what: impl Into<String>,
        seed: u64,
        profile: Option<Profile>,
        trace: String,
    ) -> Self {
        Failure(Box::new(Told { what: what.into(), seed, profile, trace }))
    }

    /// The seed of the world.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// What went wrong, without the trace.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// The last lines of the trace.
    #[must_use]
    pub fn trace(&self) -> &str {
        &self.0.trace
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { what, seed, profile, trace } = &*self.0;
        write!(f, "{trace}seed {seed}: {what}")?;
        if let Some(profile) = profile {
            write!(f, "\n{profile:?}")?;
        }
        Ok(())
    }
}

/// As it is displayed: what a test's `unwrap` prints.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

/// For `?` after calls of the reactor.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::new(error.to_string(), 0, None, String::new())
    }
}

/// Runs `test` in a world for each of these seeds, with this profile.
///
/// A seed whose test answers an error or panics ends it with a panic that tells the seed, the
/// profile and the end of the trace. If the environment variable `WOULDBLOCK_SEED` is set, only
/// that seed is run, and its failure tells the whole trace.
///
/// # Panics
///
/// If a test fails, or `WOULDBLOCK_SEED` is no number.
///
/// # Examples
///
/// See [the module](self#a-first-test).
#[track_caller]
pub fn check(
    seeds: Range<u64>,
    profile: Profile,
    mut test: impl FnMut(&Sim) -> Result<(), Failure>,
) {
    let wanted = std::env::var("WOULDBLOCK_SEED").ok();
    let only: Option<u64> = wanted.map(|seed| {
        let number = seed.parse();
        number.unwrap_or_else(|_| panic!("WOULDBLOCK_SEED is to be a decimal number, not {seed}"))
    });
    // The test's thread bears its name.
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main").unwrap_or_default();
    let seeds = only.map_or(seeds, |seed| seed..seed + 1);
    for seed in seeds {
        let sim = Sim::new(seed, profile.clone());
        let lines = if only.is_some() { usize::MAX } else { TAIL };
        let trace = || sim.kernel.state().trace.text(lines);
        let again = format!("again, alone: WOULDBLOCK_SEED={seed} cargo test {name}");
        match catch_unwind(AssertUnwindSafe(|| test(&sim))) {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                let what = failure.what();
                panic!("{}seed {seed}: {what}\n{profile:?}\n{again}", trace());
            }
            Err(panic) => {
                let what = panic_text(&*panic);
                panic!("{}seed {seed}: {what}\n{profile:?}\n{again}", trace());
            }
        }
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "without words".into()))
}

#[cfg(test)]
mod tests;
