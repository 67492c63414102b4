//! The crate's own schedules: a world, a handler and its peers, all drawn from one number.
//!
//! A schedule plays three acts: peers come and go until the world is at rest; time passes, with a few
//! stragglers; the reactor shuts down. An oracle watches every callback, every turn and every rest,
//! and the end. What it says goes wrong is told with the seed, which is all it takes to see it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::base::address::Address;
use crate::base::config::Config;
use crate::client::{Client, Logs, Reads, Temper};
use crate::datagrams::DatagramWorld;
use crate::handle::Handle;
use crate::handlers::doors::{Door, Rig, Three};
use crate::handlers::{Kind, OUTSIDE, TestHandler};
use crate::kernel::rng::Rng;
use crate::kernel::{Actor, Answers, Horizon, Kernel, nanos};
use crate::layering::Layering;
use crate::net::driver::Driver;
use crate::net::listen::Listen;
use crate::oracle::Oracle;
use crate::reactor::Reactor;
use crate::sim::{Failure, Profile, Quiet, panic_text};

mod handed;
mod services;
pub(crate) mod twist;

use handed::Handed;
use services::Services;
use twist::{Toil, Twist};

/// Turns of the loop before a schedule that does not come to rest is given up.
const TURNS_MAX: u64 = 2_000_000;
/// Turns in a row in which nothing is done before that is called spinning.
const QUIET_TURNS: u32 = 256;
/// What a tidy peer may take, and for how long the peers go on after the end of the reactor: one that reads
/// two bytes in two seconds is done by then.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a schedule that held came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// A number for all that happened: equal for equal seeds.
    pub hash: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Calls of the handler.
    pub callbacks: u64,
    /// Calls of sockets.
    pub calls: u64,
    /// Turns of the loop.
    pub turns: u64,
}

/// What a seed comes to mean.
#[derive(Debug)]
struct World {
    profile: Profile,
    config: Config,
    kind: Kind,
    /// Nothing goes wrong that may cost a byte, and nobody is impatient.
    tidy: bool,
    peers: usize,
    /// The most bytes a peer sends, and the longest it pauses between two pieces.
    total: u64,
    slow: u64,
    /// For the random handler.
    size: usize,
    wild: u32,
    /// An answer is so much longer than the line.
    answers: usize,
    /// In so many of a thousand callbacks the handler panics.
    panics: u32,
    /// The handler sends some things from sources, of which so many in a thousand fail.
    sources: Option<(Rng, u32)>,
    unix: bool,
    /// Datagrams, too.
    mail: Option<DatagramWorld>,
    /// What it has besides.
    toil: Option<Toil>,
    /// The handler asks for the descriptors of its connections; duplicates of them may live on.
    lends: bool,
    twist: Option<(Twist, Rng)>,
    /// All connections have a layer.
    layering: Option<Layering>,
    /// What was there before the reactor.
    handed: Option<Handed>,
    /// The reactor has several services.
    services: Option<Services>,
}

impl World {
    /// In some worlds the handler keeps duplicates of its connections' descriptors.
    fn lend(&mut self, rng: &mut Rng) {
        if rng.chance(60) {
            self.lends = true;
            self.profile = self.profile.clone().duplicates(*rng.pick(&[300, 1000]));
        }
    }

    fn draw(rng: &mut Rng, peers: Option<usize>) -> World {
        let tidy = rng.chance(400);
        let bulk = peers.is_none() && rng.chance(40);
        let size = match rng.below(3) {
            _ if bulk && rng.chance(500) => 60_000..=200_000,
            _ if bulk => 1..=20_000,
            0 => 1..=32,
            1 => 16..=200,
            _ => 100..=2000,
        };
        let piece = *rng.pick(&[4, 50, 1000]);
        let mut profile = Profile::calm()
            .flags(rng.chance(650))
            .buffer(size)
            .piece(1..=if bulk { 20_000 } else { piece })
            .latency_micros(1..=*rng.pick(&[1, 50, 2000]));
        let sometimes = |rng: &mut Rng, often: u32| {
            let most = u64::from(often);
            if rng.chance(500) { u32::try_from(rng.within(1, most)).unwrap_or(0) } else { 0 }
        };
        profile = profile
            .short_read(sometimes(rng, 400))
            .short_write(sometimes(rng, 400))
            .would_block(sometimes(rng, 200))
            .interrupted(sometimes(rng, 60))
            .spurious(sometimes(rng, 300))
            .split(sometimes(rng, 500))
            .events_shuffled(sometimes(rng, 500))
            .late(sometimes(rng, 300))
            .blind(sometimes(rng, 500));
        if rng.chance(200) {
            profile = profile.events_max(rng.size(1, 8));
        }
        if rng.chance(300) {
            profile = profile.backlog_max(rng.size(1, 8));
        }
        if !tidy {
            profile = profile
                .stopped(sometimes(rng, 30))
                .accept_error(sometimes(rng, 300))
                .watch_error(sometimes(rng, 100));
        }
        let kind = match rng.below(if tidy { 7 } else { 10 }) {
            0 | 1 => Kind::Echo(if rng.chance(500) { usize::MAX } else { rng.size(1, 20) }),
            2 | 3 => Kind::Lines(if rng.chance(500) { usize::MAX } else { rng.size(1, 3) }),
            4 | 5 => Kind::Broadcaster(if bulk { 600 } else { 0 }),
            6 => Kind::Streamer(rng.size(1, if bulk { 200_000 } else { 2000 })),
            _ => Kind::Random,
        };
        let peers = peers.unwrap_or_else(|| if bulk { rng.size(1, 4) } else { rng.size(1, 25) });
        // Many peers say little each, or what they say to each other would be all there is time for.
        let most = match kind {
            Kind::Broadcaster(_) => 20_000 / (peers * peers) as u64,
            _ => 8000 / peers as u64,
        };
        let total = if bulk { 5000 } else { *rng.pick(&[20, 150, 500]) }.min(most.max(5));
        if rng.chance(250) {
            profile = profile.descriptors(rng.size(34, 34 + peers));
        }
        let mut world = World {
            profile,
            config: Config::default(),
            kind,
            tidy,
            peers,
            total,
            slow: *rng.pick(&[10_000, 1_000_000, 20_000_000]),
            size: if bulk { 9000 } else { rng.size(1, 120) },
            wild: if rng.chance(300) { 0 } else { *rng.pick(&[20, 100, 400]) },
            answers: 0,
            panics: 0,
            sources: None,
            unix: rng.chance(200),
            mail: None,
            toil: None,
            lends: false,
            twist: None,
            layering: None,
            handed: None,
            services: None,
        };
        world.config = world.limits(rng, bulk);
        world
    }

    /// Limits of the whole house, in some worlds.
    fn house(&mut self, rng: &mut Rng) {
        if self.tidy {
            return;
        }
        let mut config = self.config.clone();
        if rng.chance(200) {
            config = config.buffered_max(rng.size(1, 1000 * self.peers));
        }
        if rng.chance(300) {
            config = config
                .connections(rng.size(1, self.peers))
                .reclaim_idle(Some(Duration::from_micros(rng.within(1, 50_000))));
        }
        let ms = |rng: &mut Rng, low, high| Duration::from_millis(rng.within(low, high));
        if rng.chance(200) {
            config = config.first_byte(Some(ms(rng, 1, 200)));
        }
        if rng.chance(200) {
            config = config.min_rate(rng.size(1, 50), ms(rng, 1, 200));
        }
        self.config = config;
    }

    fn limits(&self, rng: &mut Rng, bulk: bool) -> Config {
        let ms = |rng: &mut Rng, low, high| Duration::from_millis(rng.within(low, high));
        let most = *rng.pick(&[8, 64, 600]);
        let read_buffer = if bulk { 20_000 } else { rng.size(1, most) };
        let most = *rng.pick(&[20, 200, 1000]);
        let high = if bulk { rng.size(1, 60_000) } else { rng.size(1, most) };
        let high =
            if self.tidy { high.max(usize::try_from(self.total).unwrap_or(0)) } else { high };
        let low = rng.size(0, high - 1);
        let room = if self.tidy { 1 << 24 } else { *rng.pick(&[0, 100, 5000, 1 << 20]) };
        // A line of the peers is 30 bytes at most; the random one waits for a few more.
        let input_max = if self.tidy { rng.size(64, 1000) } else { rng.size(1, 300) };
        let mut config = Config::default()
            .read_buffer(read_buffer)
            .input_max(input_max)
            .output_low(low)
            .output_high(high)
            .output_max(high + read_buffer + room)
            .accepts_per_turn(rng.size(1, 8))
            .shutdown_max(ms(rng, 100, 10_000));
        if rng.chance(300) {
            config = config.connections(rng.size(1, self.peers));
        }
        if self.tidy && bulk {
            // A peer that reads a byte in 20 ms takes hours for what it is sent.
            return config.write_stall(WEEK).close_max(WEEK).shutdown_max(WEEK).linger(WEEK);
        }
        if self.tidy {
            return config
                .shutdown_max(Duration::from_secs(3600))
                .linger(Duration::from_secs(3600));
        }
        if rng.chance(300) {
            let most = *rng.pick(&[30, 2000]);
            config = config.idle(Some(ms(rng, 5, most)));
        }
        if rng.chance(700) {
            config = config.connect(ms(rng, 1, 2000));
        }
        if rng.chance(500) {
            config = config.write_stall(ms(rng, 5, 2000));
        }
        if rng.chance(500) {
            // Half of them shorter than a flood lasts.
            let linger = ms(rng, 1, 2000);
            let short = linger.as_millis().is_multiple_of(2);
            config = config.linger(if short { linger / 100 } else { linger });
        }
        if rng.chance(300) {
            config = config.close_max(ms(rng, 1, 2000));
        }
        config
    }
}

/// Lines of the trace in a failure.
const TAIL: usize = 60;

/// A schedule, by its seed.
#[derive(Clone, Debug)]
pub struct Schedule {
    seed: u64,
    peers: Option<usize>,
    at_most: Option<usize>,
    layered: bool,
    handed: bool,
    serving: bool,
}

impl Schedule {
    /// The schedule of this seed, with 1 to 25 peers as the seed has it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (peers, at_most) = (None, None);
        Schedule { seed, peers, at_most, layered: false, handed: false, serving: false }
    }

    /// With so many peers instead: another schedule.
    #[must_use]
    pub fn peers(mut self, peers: usize) -> Self {
        self.peers = Some(peers);
        self
    }

    /// With layers between its connections and its handler: another schedule.
    #[must_use]
    pub fn layered(mut self, layered: bool) -> Self {
        self.layered = layered;
        self
    }

    /// With sockets that are handed in: another schedule.
    #[must_use]
    pub fn handed(mut self, handed: bool) -> Self {
        self.handed = handed;
        self
    }

    /// With several services on the reactor: another schedule.
    #[must_use]
    pub fn services(mut self, serving: bool) -> Self {
        self.serving = serving;
        self
    }

    /// Whether the world of a seed is run once more with several services: 8 in a hundred are.
    #[must_use]
    pub fn is_served_too(seed: u64) -> bool {
        Rng::new(seed ^ 0x005E_441C_E500_0001).chance(80)
    }

    /// Whether the world of a seed is run once more with sockets handed in: 8 in a hundred are.
    #[must_use]
    pub fn is_handed_too(seed: u64) -> bool {
        Rng::new(seed ^ 0x004A_4DED_0200_0000).chance(80)
    }

    /// Whether the world of a seed is run once more with layers: 8 in a hundred are.
    #[must_use]
    pub fn is_layered_too(seed: u64) -> bool {
        Rng::new(seed ^ 0x00A1_5070_1A7E_2500).chance(80)
    }

    /// In the same world, but without the peers beyond so many: to make a failure smaller.
    #[must_use]
    pub fn at_most(mut self, peers: usize) -> Self {
        self.at_most = Some(peers);
        self
    }

    /// Plays it.
    ///
    /// # Errors
    ///
    /// What the oracle found wrong: a defect of the library, or of the simulator.
    pub fn run(&self) -> Result<Report, Failure> {
        Play::new(self).play(TAIL)
    }

    /// Plays it, and tells all that happened: with the report, or in the failure.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn replay(&self) -> Result<(Report, String), Failure> {
        let mut play = Play::new(self);
        let kernel = play.kernel.clone();
        let report = play.play(usize::MAX)?;
        let trace = kernel.state().trace.text(usize::MAX);
        Ok((report, trace))
    }

    /// A schedule that fails in the same world with fewer peers, and how; `None` if none was found.
    #[must_use]
    pub fn shrink(&self) -> Option<(usize, Failure)> {
        let peers = Play::new(self).world.peers;
        let mut smaller = (1..peers).map(|fewer| (fewer, self.clone().at_most(fewer).run()));
        smaller.find_map(|(fewer, result)| Some((fewer, result.err()?)))
    }
}

/// A schedule under way.
struct Play {
    seed: u64,
    rng: Rng,
    world: World,
    kernel: Kernel,
    logs: Logs,
    turns: u64,
}

impl Play {
    fn new(schedule: &Schedule) -> Self {
        let seed = schedule.seed;
        // Another stream than the kernel's.
        let mut rng = Rng::new(seed ^ 0x5EED_5EED_5EED_5EED);
        let mut world = World::draw(&mut rng, schedule.peers);
        // A stream of its own: the seeds of old keep the worlds they had.
        world.house(&mut Rng::new(seed ^ 0x0005_E1F1_5000));
        // Each from a stream of its own: worlds without them are what they were.
        world.toil = Toil::draw(seed);
        world.twist = Twist::draw(seed, &mut world, schedule.peers);
        if world.tidy && world.toil.is_some() {
            // A peer that reads when it has sent all may come to that late, since callbacks work.
            world.config = world.config.write_stall(WEEK).close_max(WEEK);
        }
        world.lend(&mut Rng::new(seed ^ 0xD0_0B1E));
        world.peers = world.peers.min(schedule.at_most.unwrap_or(usize::MAX));
        // A stream of its own, too: the worlds without panics are as they were without this.
        let mut panics = Rng::new(seed ^ 0xBAD_BAD_BAD_BAD);
        if !world.tidy && panics.chance(150) {
            world.panics = *panics.pick(&[3, 30, 200]);
            world.config = world.config.isolate_panics(true);
        }
        // And another.
        let mut answers = Rng::new(seed ^ 0xA115_3E55);
        if answers.chance(500) {
            world.answers = *answers.pick(&[10, 100, 400]);
        }
        // And another.
        let mut sources = Rng::new(seed ^ 0x0050_0BCE);
        // What is detached has no source: that would be ignored.
        if sources.chance(120) && !matches!(world.kind, Kind::Detacher(_)) {
            let fails = if world.tidy { 0 } else { *sources.pick(&[0, 20, 200]) };
            world.sources = Some((sources, fails));
        }
        // Last, and from a stream of its own: worlds without datagrams are what they were.
        world.mail = DatagramWorld::draw(seed, world.tidy);
        if let Some(mail) = &mut world.mail {
            (world.profile, world.config) = mail.shape(world.profile, world.config);
        }
        // What is detached has no layer: that would be ignored.
        if schedule.layered && !matches!(world.kind, Kind::Detacher(_)) {
            let (layering, config) = Layering::draw(seed, world.tidy, world.config.clone());
            (world.layering, world.config) = (Some(layering), config);
        }
        if schedule.handed {
            let mut handed = Handed::draw(seed);
            world.profile = handed.shape(world.profile, world.kind);
            (world.lends, world.handed) = (handed.lends, Some(handed));
        }
        if schedule.serving {
            let (services, config) = Services::draw(seed, &world);
            (world.services, world.config) = (Some(services), config);
        }
        let kernel = Kernel::new(seed, world.profile.clone());
        Play { seed, rng, world, kernel, logs: Logs::default(), turns: 0 }
    }

    fn play(&mut self, lines: usize) -> Result<Report, Failure> {
        let acts = catch_unwind(AssertUnwindSafe(|| match &self.world.services {
            None => self.acts::<TestHandler>(),
            Some(services) if services.is_tuple() => self.acts::<Three>(),
            Some(_) => self.acts::<Vec<Door>>(),
        }));
        acts.unwrap_or_else(|panic| Err(panic_text(&*panic))).map_err(|what| {
            let what = format!("{what}\n{:?}", self.world);
            Failure::new(what, self.seed, None, self.kernel.state().trace.text(lines))
        })
    }

    fn acts<H: Rig>(&mut self) -> Result<Report, String> {
        let driver = Driver::simulated(&self.kernel);
        let limits = self.world.config.limits(driver.descriptors());
        let logs = self.logs.clone();
        let oracle = Oracle::new(self.kernel.clone(), limits, logs, self.world.tidy);
        let World { kind, size, wild, .. } = self.world;
        let rng = self.rng.fork();
        let sources = self.world.sources.clone();
        let services = self.world.services.clone();
        let make = |handle: Handle<H>| {
            let handler = TestHandler::new(Box::new(handle), oracle, kind, rng, size, wild)
                .answers(self.world.answers)
                .panics(Rng::new(self.seed), self.world.panics)
                .lends(self.world.lends)
                .toils(&self.kernel, self.world.toil.clone())
                .layered(&self.kernel, self.world.layering.clone())
                .sources(sources)
                .hands(services.as_ref().map(Services::hands));
            // A stream of its own, too.
            let rash = Rng::new(self.seed ^ 0x00AB_0127);
            let handler = if self.world.tidy { handler } else { handler.rash(rash) };
            H::of(handler, services.as_ref().map_or(1, Services::count))
        };
        let mut reactor = Reactor::build_with_driver(&self.world.config, driver, make)
            .map_err(|error| error.to_string())?;
        let to = if self.world.unix { "unix:/run/sim" } else { "10.0.0.1:7777" };
        self.outside();
        let handed = self.world.handed.clone();
        let mut listen = match &handed {
            Some(handed) => self.listener_from_before(to, handed)?,
            None => Listen::from(to),
        };
        if let Some(layering) = self.world.layering.clone().filter(|of| !of.upgrades) {
            let kernel = self.kernel.clone();
            listen = listen.layer(move |_| Ok(layering.accepted(&kernel)));
        }
        let listener = reactor.listen(listen).map_err(|error| error.to_string())?;
        self.open_doors(&mut reactor, listener)?;
        self.mail(&mut reactor);
        if let Some(handed) = &handed {
            self.hand_in(&mut reactor, to, handed.streams);
        }

        // 1. Peers come, over some time.
        let span = *self.rng.pick(&[1, 1_000_000, 100_000_000]);
        for _ in 0..self.world.peers {
            self.peer(to, span);
        }
        // Perhaps shutdown comes among them.
        if self.rng.chance(300) {
            let wait = self.rng.within(0, 50_000_000);
            self.run(&mut reactor, Horizon::Until(self.kernel.now() + wait))?;
        } else {
            self.rest(&mut reactor)?;
            // 2. Time passes, and a few more come.
            for _ in 0..self.rng.below(3) {
                let wait = nanos(Duration::from_millis(self.rng.within(1, 4000)));
                self.run(&mut reactor, Horizon::Until(self.kernel.now() + wait))?;
                if self.rng.chance(500) {
                    self.peer(to, span);
                }
                self.rest(&mut reactor)?;
            }
        }
        // 3. The end.
        if let Some(mail) = &mut self.world.mail {
            mail.last_datagrams(&self.kernel);
        }
        let at_once = self.rng.chance(150);
        let ended = reactor.stats().closed.total();
        reactor.handler.rig().oracle.shutdown(at_once, ended);
        if at_once {
            reactor.shutdown_now();
        } else {
            reactor.shutdown();
        }
        self.run(&mut reactor, Horizon::Never)?;
        let ended = self.kernel.now();
        // What is under way arrives, so that the peers know how it ended.
        let later = self.kernel.now() + nanos(WEEK);
        self.kernel.state().pass(later);
        let Reactor { handler, cx, .. } = &mut reactor;
        let mut handler = handler.rig();
        handler.oracle.at_end(cx, ended);
        handler.oracle.check_report(cx);
        if let Some(what) = handler.oracle.wrong() {
            return Err(what);
        }
        let oracle = &handler.oracle;
        let (connections, callbacks) = (oracle.opened, oracle.callbacks);
        let state = self.kernel.state();
        Ok(Report {
            hash: state.trace.hash(),
            connections,
            callbacks,
            calls: state.calls,
            turns: self.turns,
        })
    }

    /// Servers that a handler may connect to; there, our peers take our place.
    fn outside(&mut self) {
        let mut state = self.kernel.state();
        for to in &OUTSIDE[..2] {
            let address: Address = to.parse().expect("it is an address");
            let (mut rng, logs) = (self.rng.fork(), self.logs.clone());
            let World { total, slow, .. } = self.world;
            let (own, layering) = (address.clone(), self.world.layering.clone());
            let make = move || -> Box<dyn Actor> {
                let mut temper = Temper::any(&mut rng, total, slow);
                temper.again = 0;
                let voice = layering.as_ref().and_then(|of| of.answer(&mut rng));
                let client = Client::new(temper, rng.fork(), own.clone(), logs.clone());
                Box::new(client.speaks(voice))
            };
            state.serve(address, Answers::With(Box::new(make)));
        }
        state.serve(OUTSIDE[2].parse().expect("it is an address"), Answers::Never);
    }

    /// Datagram sockets, ours and those of peers.
    fn mail<H: Rig>(&mut self, reactor: &mut Reactor<H>) {
        let Some(mail) = &mut self.world.mail else { return };
        let peers = mail.peers(&self.kernel);
        reactor.handler.rig().sends_datagrams(mail.fork(), peers.clone());
        let services = self.world.services.as_ref().map_or(1, Services::count);
        for ((bind, connected), of) in mail.sockets(&peers).into_iter().zip((0..services).cycle()) {
            let Reactor { handler, cx, .. } = reactor;
            let (mut handler, mut cx) = (handler.rig(), cx.service(of));
            handler.oracle.serves(of, &cx);
            // The kernel may refuse to watch it.
            if let Ok(id) = cx.bind_datagram(bind) {
                handler.bound(&cx, id, connected);
            }
        }
    }

    /// A peer that comes within this time.
    fn peer(&mut self, to: &str, span: u64) {
        let to = self.world.services.as_mut().map_or(to.into(), Services::door);
        let client = self.client(&to);
        let wait = self.rng.within(0, span);
        let to = to.parse().expect("it is an address");
        self.kernel.state().connect_after(to, Box::new(client), wait);
    }

    fn client(&mut self, to: &str) -> Client {
        let World { total, slow, tidy, .. } = self.world;
        let mut temper = if tidy {
            Temper::patient(&mut self.rng, total, slow)
        } else {
            Temper::any(&mut self.rng, total, slow)
        };
        // More comes to it than it sends: what others are sent, or an answer that fills all room.
        let much = match self.world.kind {
            Kind::Broadcaster(_)
            | Kind::Streamer(_)
            | Kind::Messages(_)
            | Kind::Keeper
            | Kind::Pauser => true,
            Kind::Lines(_) if self.world.answers > 0 => true,
            // A source is above high until its end, and a layer adds to what it sends.
            _ => self.world.sources.is_some() || self.world.layering.is_some(),
        };
        if tidy && much && temper.reads == Reads::AfterSending {
            // It would stop itself, by design.
            temper.reads = Reads::All;
        }
        if let Some((twist, rng)) = &mut self.world.twist {
            twist.temper(&mut temper, rng, self.world.kind);
        }
        let to: Address = to.parse().expect("it is an address");
        let client = Client::new(temper, self.rng.fork(), to, self.logs.clone());
        let layering = self.world.layering.as_ref();
        client.speaks(layering.map(|of| of.voice(&mut self.rng)))
    }

    /// Runs until nothing moves but by a deadline, and looks whether that is right.
    fn rest<H: Rig>(&mut self, reactor: &mut Reactor<H>) -> Result<(), String> {
        self.run(reactor, Horizon::Idle)?;
        let Reactor { handler, cx, .. } = reactor;
        let mut handler = handler.rig();
        handler.oracle.at_rest(cx);
        handler.oracle.wrong().map_or(Ok(()), Err)
    }

    fn run<H: Rig>(&mut self, reactor: &mut Reactor<H>, horizon: Horizon) -> Result<(), String> {
        self.kernel.state().horizon = horizon;
        let mut quiet = Quiet::default();
        // While somebody knocks it looks every second whether there is an idle one now.
        let looks = self.world.config.reclaim_idle.is_some();
        let most = if looks { 100 * QUIET_TURNS } else { QUIET_TURNS };
        for _ in 0..TURNS_MAX {
            self.turns += 1;
            let goes_on = reactor.turn(None).map_err(|error| format!("run() ends: {error}"))?;
            let Reactor { handler, cx, .. } = reactor;
            let mut handler = handler.rig();
            handler.oracle.after_turn(cx);
            if let Some(what) = handler.oracle.wrong() {
                return Err(what);
            }
            if !goes_on || self.kernel.state().idle {
                return Ok(());
            }
            // That one has waited for too long is told to nobody.
            let done = handler.oracle.callbacks + cx.stats().datagrams_dropped;
            if quiet.after_turn(&self.kernel, done) > most {
                return Err("promise 6: it polls again and again and does nothing".into());
            }
        }
        Err(format!("promise 6: it has not come to rest after {TURNS_MAX} turns"))
    }
}
