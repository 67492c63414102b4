//! Several services on the reactor of some worlds: a listener, caps and a share of places for each,
//! and connections that go from one to another.
//!
//! A world is run once more with these: as it was without them, it stays. Its handler is the same,
//! behind a door for each service. Read next: `handlers/doors.rs`, then `oracle/services.rs`.

use std::time::Duration;

use super::{Play, World};
use crate::base::caps::Caps;
use crate::base::config::Config;
use crate::base::id::ListenerId;
use crate::handlers::doors::{Hands, Rig};
use crate::kernel::rng::Rng;
use crate::net::listen::Listen;
use crate::reactor::Reactor;

/// What services there are.
#[derive(Clone, Debug)]
pub(super) struct Services {
    rng: Rng,
    is_tuple: bool,
    caps: Vec<Caps>,
    /// In so many of a thousand callbacks a connection is handed over; of those, to nobody.
    hands: (u32, u32),
    unix: bool,
}

impl Services {
    pub(super) fn draw(seed: u64, world: &World) -> (Self, Config) {
        let mut rng = Rng::new(seed ^ 0x05E4_71CE_5014);
        let (peers, tidy) = (world.peers, world.tidy);
        let is_tuple = rng.chance(500);
        let count = if is_tuple { 3 } else { rng.size(2, 3) };
        let mut config = world.config.clone();
        if rng.chance(500) {
            config = config.connections(rng.size(count, peers.max(count)));
        }
        let caps = (0..count).map(|_| Self::draw_caps(&mut rng, peers, tidy)).collect();
        let often = *rng.pick(&[0, 30, 200]);
        let astray = if tidy { 0 } else { *rng.pick(&[0, 50]) };
        (Services { rng, is_tuple, caps, hands: (often, astray), unix: world.unix }, config)
    }

    fn draw_caps(rng: &mut Rng, peers: usize, tidy: bool) -> Caps {
        let mut caps = Caps::default();
        let reserve = if rng.chance(400) { rng.size(1, 3) } else { 0 };
        caps = caps.reserve(reserve);
        if rng.chance(400) {
            caps = caps.connections(rng.size(reserve.max(1), peers.max(reserve)));
        }
        if tidy {
            return caps;
        }
        let ms = |rng: &mut Rng| Duration::from_millis(rng.within(5, 500));
        if rng.chance(200) {
            let idle = rng.chance(700).then(|| ms(rng));
            caps = caps.idle(idle);
        }
        if rng.chance(200) {
            let first_byte = rng.chance(700).then(|| ms(rng));
            caps = caps.first_byte(first_byte);
        }
        if rng.chance(200) {
            caps = caps.buffered_max(rng.size(1, 1000 * peers));
        }
        caps
    }

    pub(super) fn is_tuple(&self) -> bool {
        self.is_tuple
    }

    pub(super) fn count(&self) -> u8 {
        u8::try_from(self.caps.len()).expect("they are few")
    }

    pub(super) fn hands(&self) -> Hands {
        let (often, astray) = self.hands;
        Hands::new(self.rng.clone().fork(), self.count(), often, astray)
    }

    /// Where a service listens: the first is where the handler alone would.
    fn address(&self, service: usize) -> String {
        match (self.unix, service) {
            (true, 0) => "unix:/run/sim".into(),
            (true, n) => format!("unix:/run/sim{n}"),
            (false, n) => format!("10.0.0.1:{}", 7777 + 1000 * n),
        }
    }

    /// Where the next peer comes to.
    pub(super) fn door(&mut self) -> String {
        let at = self.rng.size(0, self.caps.len() - 1);
        self.address(at)
    }
}

impl Play {
    /// The services listen, and have their caps. The first listens already.
    pub(super) fn open_doors<H: Rig>(
        &mut self,
        reactor: &mut Reactor<H>,
        first: ListenerId,
    ) -> Result<(), String> {
        let Some(services) = self.world.services.clone() else {
            reactor.handler.rig().oracle.services(vec![(Caps::default(), first)]);
            return Ok(());
        };
        let mut parts = Vec::new();
        for (n, caps) in services.caps.iter().enumerate() {
            let mut service = reactor.service(u8::try_from(n).expect("they are few"));
            // More places may be kept back than there are: nothing is changed then.
            let is_set = service.set_caps(caps.clone()).is_ok();
            let listener = if n == 0 {
                first
            } else {
                let listen = Listen::from(services.address(n));
                service.listen(listen).map_err(|error| error.to_string())?
            };
            parts.push((if is_set { caps.clone() } else { Caps::default() }, listener));
        }
        reactor.handler.rig().oracle.services(parts);
        Ok(())
    }
}
