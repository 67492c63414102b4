//! What some worlds have besides: handlers that work, readers that are slow for ever, floods, deaths.
//!
//! Drawn from streams of their own: a seed without a twist has the world that it had before there
//! were any. Handlers of their own are in `handlers/twists.rs`.

use std::time::Duration;

use super::{WEEK, World};
use crate::client::{Ends, Reads, Sends, Temper};
use crate::handlers::Kind;
use crate::handlers::messages::Wire;
use crate::kernel::rng::Rng;

/// How often a world has each, in a thousand.
const TOIL: u32 = 100;
const TWISTS: [(Twist, u64); 11] = [
    (Twist::Slow, 40),
    (Twist::Flood, 20),
    (Twist::Blocks, 40),
    (Twist::Crowd, 30),
    (Twist::Keeper, 40),
    (Twist::Relay, 60),
    (Twist::Slicer, 30),
    (Twist::Names, 30),
    (Twist::Messages, 40),
    (Twist::Detacher, 40),
    (Twist::Pauser, 30),
];

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twist {
    /// Large send buffers that grow, and peers that read a few bytes in each period, for ever.
    Slow,
    /// Peers that send for long, while output stands between the watermarks.
    Flood,
    /// Input that is left, and limits of it, around 4096 bytes.
    Blocks,
    /// Peers of few addresses, and a limit for each.
    Crowd,
    /// A handler that keeps connections through a shutdown, and lets them go one by one.
    Keeper,
    /// A handler that passes on to another connection what comes, both ways.
    Relay,
    /// A handler that sends a slice of its input and aborts.
    Slicer,
    /// Peers on Unix sockets that have names of all kinds.
    Names,
    /// A handler of messages: lines or with a length, most of them too long in some worlds.
    Messages,
    /// A handler that detaches connections in the middle of what they do.
    Detacher,
    /// A handler that accepts nobody for a while, again and again.
    Pauser,
}

/// How long callbacks take: in so many of a thousand, up to so many nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Toil {
    rng: Rng,
    often: u32,
    most: u64,
}

impl Toil {
    pub(super) fn draw(seed: u64) -> Option<Self> {
        let mut rng = Rng::new(seed ^ 0x0707_0170_0000_7011);
        rng.chance(TOIL).then(|| Toil {
            often: *rng.pick(&[5, 100, 500]),
            most: *rng.pick(&[1_000_000, 30_000_000, 300_000_000]),
            rng,
        })
    }

    /// How long the next stretch of work takes.
    pub(crate) fn span(&mut self) -> Option<u64> {
        self.rng.chance(self.often).then(|| self.rng.within(1, self.most))
    }
}

impl Twist {
    /// Gives some worlds one, in which they are another. The stream draws what the peers do.
    pub(super) fn draw(seed: u64, world: &mut World, peers: Option<usize>) -> Option<(Self, Rng)> {
        let mut rng = Rng::new(seed ^ 0x7157_ED00_0B07_7DE7);
        let mut left = rng.below(1000);
        let twist = TWISTS.iter().find(|(_, often)| {
            let is_it = left < *often;
            left = left.saturating_sub(*often);
            is_it
        });
        let (twist, _) = *twist?;
        twist.shape(world, &mut rng, peers);
        Some((twist, rng))
    }

    fn shape(self, world: &mut World, rng: &mut Rng, peers: Option<usize>) {
        let few = |rng: &mut Rng, most| peers.unwrap_or_else(|| rng.size(1, most));
        let ms = |rng: &mut Rng, low, high| Duration::from_millis(rng.within(low, high));
        let config = world.config.clone();
        match self {
            Twist::Slow => {
                world.peers = few(rng, 4);
                world.total = 50;
                world.size = rng.size(50, 9000);
                let most = *rng.pick(&[20_000, 200_000]);
                let total = rng.size(2000, most);
                let at_once = rng.chance(300);
                world.kind = if at_once { Kind::Burst(total) } else { Kind::Streamer(total) };
                world.unix = rng.chance(200);
                let most = *rng.pick(&[100, 2000, 20_000]);
                let grown = rng.size(most, 120_000);
                let profile = world.profile.clone();
                world.profile = profile.buffer(1..=most).buffer_max(grown).piece(1..=20_000);
                let config = config.output_max(total + 100_000);
                world.config = if world.tidy {
                    config.write_stall(WEEK).linger(WEEK).close_max(WEEK).shutdown_max(WEEK)
                } else {
                    config.linger(ms(rng, 1, 20_000))
                };
            }
            Twist::Flood => {
                world.tidy = false;
                world.peers = few(rng, 4);
                world.kind = Kind::Echo(usize::MAX);
                let (low, high) = (rng.size(10, 200), rng.size(400, 3000));
                let profile = world.profile.clone();
                world.profile = profile.buffer(1..=rng.size(20, 600)).piece(1..=400);
                world.config = config.output_low(low).output_high(high).output_max(1 << 20);
                if rng.chance(700) {
                    let config = world.config.clone();
                    world.config = config.min_rate(rng.size(1, 200), ms(rng, 1, 100));
                }
            }
            Twist::Blocks => {
                world.peers = few(rng, 4);
                world.total = 20_000;
                let at = rng.size(3900, 4300);
                let input_max = *rng.pick(&[at, at, 8192, 20_000, 4096, 4097]);
                let read_buffer = *rng.pick(&[at, 4096, 300, 9000]);
                let n = rng.size(1, input_max);
                let n = *rng.pick(&[n, input_max, input_max.min(4096), input_max.min(4097)]);
                world.kind = if rng.chance(500) { Kind::Blocks(n) } else { Kind::Leaves(n - 1) };
                let profile = world.profile.clone();
                world.profile = profile.buffer(500..=20_000).piece(1..=9000);
                world.config = config
                    .read_buffer(read_buffer)
                    .input_max(input_max)
                    .output_high(1 << 16)
                    .output_max(1 << 22);
            }
            Twist::Crowd => {
                world.tidy = false;
                world.unix = false;
                let most = rng.size(1, 3);
                let addresses = rng.size(1, 4);
                let profile = world.profile.clone();
                world.profile = profile.addresses(addresses).watch_error(0).accept_error(0);
                world.config = config.connections_per_address(Some(most));
            }
            Twist::Keeper => {
                world.kind = Kind::Keeper;
                world.config = config.shutdown_max(Duration::from_secs(3600));
            }
            Twist::Relay => {
                world.tidy = false;
                world.peers = few(rng, 6);
                world.total = *rng.pick(&[50, 500, 3000]);
                world.kind = Kind::Relay(rng.chance(600));
                let most = *rng.pick(&[20, 200, 1000]);
                world.profile = world.profile.clone().buffer(1..=most);
                world.config = config.output_max(1 << 20);
            }
            Twist::Slicer => {
                world.tidy = false;
                world.kind = Kind::Slicer(rng.size(1, 40));
            }
            Twist::Messages => {
                world.total = *rng.pick(&[50, 500, 3000]);
                let max = *rng.pick(&[10, 20, 28, 110, 255]);
                world.kind = Kind::Messages(Wire { max, has_length: rng.chance(500) });
                world.config = config.input_max(rng.size(256, 1000));
            }
            Twist::Detacher => {
                world.tidy = false;
                world.total = *rng.pick(&[50, 500, 3000]);
                world.kind = Kind::Detacher(*rng.pick(&[20, 100, 500]));
            }
            Twist::Pauser => world.kind = Kind::Pauser,
            Twist::Names => {
                world.unix = true;
                world.profile = world.profile.clone().unix_names(*rng.pick(&[300, 1000]));
            }
        }
    }

    /// What a peer is like in such a world.
    pub(super) fn temper(self, temper: &mut Temper, rng: &mut Rng, kind: Kind) {
        match self {
            Twist::Slow => {
                temper.total = temper.total.max(1);
                temper.again = 0;
                let (Kind::Streamer(total) | Kind::Burst(total)) = kind else { return };
                let periods = rng.size(2, 300);
                let period = *rng.pick(&[1_000_000, 100_000_000, 2_000_000_000]);
                temper.reads =
                    Reads::Slowly((total / periods).max(1), rng.within(period / 4, period));
                temper.sends = Sends::AtOnce;
            }
            Twist::Flood => {
                temper.total = rng.within(1000, 30_000);
                temper.again = 0;
                let pause = *rng.pick(&[100_000, 3_000_000]);
                temper.sends = Sends::Pieces(rng.size(10, 500), pause);
                temper.reads = if rng.chance(300) {
                    Reads::All
                } else {
                    Reads::Slowly(rng.size(1, 300), rng.within(1, pause))
                };
            }
            Twist::Blocks => {
                if rng.chance(500) {
                    temper.sends = Sends::AtOnce;
                }
                if let Reads::Slowly(n, pause) = temper.reads {
                    temper.reads = Reads::Slowly(n * 50, pause);
                }
            }
            Twist::Relay => {
                if rng.chance(400) {
                    temper.ends = Ends::ResetsLater(rng.within(1, 100_000_000));
                    temper.again = 0;
                }
                if rng.chance(300) {
                    temper.reads = Reads::Never;
                }
            }
            Twist::Crowd
            | Twist::Keeper
            | Twist::Slicer
            | Twist::Names
            | Twist::Messages
            | Twist::Detacher
            | Twist::Pauser => {}
        }
    }
}
