//! What the reactor of some worlds is handed in: a listener that was there before it, at which
//! peers wait already, and connected sockets. The program that made them may have set them to
//! linger, and its handler does it again.
//!
//! A world is run a second time with these: as it was without them, it stays. Read next:
//! `kernel/outside.rs`.

use super::Play;
use crate::base::address::Address;
use crate::handlers::Kind;
use crate::handlers::doors::Rig;
use crate::kernel::rng::Rng;
use crate::net::listen::Listen;
use crate::reactor::Reactor;
use crate::sim::Profile;

/// What is handed in.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    rng: Rng,
    lingers: bool,
    /// Peers that come before the reactor, and for how long the listener is left to itself with them.
    before: usize,
    wait: u64,
    /// What the listener is told when it is handed in.
    backlog: Option<u32>,
    /// The handler asks for descriptors.
    pub(super) lends: bool,
    /// Connected sockets.
    pub(super) streams: u64,
}

impl Handed {
    pub(super) fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x0004_A4DE_D014);
        Handed {
            lingers: rng.chance(700),
            before: rng.size(0, 6),
            wait: *rng.pick(&[1_000, 1_000_000, 100_000_000]),
            backlog: if rng.chance(500) { Some(*rng.pick(&[1, 2, 128])) } else { None },
            lends: rng.chance(500),
            streams: rng.within(0, 3),
            rng,
        }
    }

    /// The handler sets some to linger of the descriptors that it asks for. Not where it detaches:
    /// the close is its own there.
    pub(super) fn shape(&mut self, profile: Profile, kind: Kind) -> Profile {
        let often = *self.rng.pick(&[0, 300, 1000]);
        if matches!(kind, Kind::Detacher(_)) { profile } else { profile.lingers(often) }
    }
}

impl Play {
    /// A listener that was there before the reactor, when some peers have come to it.
    pub(super) fn listener_from_before(
        &mut self,
        to: &str,
        handed: &Handed,
    ) -> Result<Listen, String> {
        let address: Address = to.parse().expect("it is an address");
        let listener = self.kernel.listen(address, 4096, false);
        let listener = listener.map_err(|error| error.to_string())?;
        if handed.lingers {
            listener.linger();
        }
        for _ in 0..handed.before {
            self.peer(to, handed.wait);
        }
        let until = self.kernel.now() + handed.wait;
        self.kernel.state().pass(until);
        let listen = Listen::from(listener);
        Ok(match handed.backlog {
            Some(backlog) => listen.backlog(backlog),
            None => listen,
        })
    }

    /// Connected sockets, each of a peer of its own.
    pub(super) fn hand_in<H: Rig>(&mut self, reactor: &mut Reactor<H>, to: &str, streams: u64) {
        for tag in 0..streams {
            let client = self.client(to);
            let at = "10.0.0.1:7778".parse().expect("it is an address");
            // There may be no descriptor, no place, or no watch for it: its peer sees that.
            if let Ok(stream) = self.kernel.lingering_pair(at, Box::new(client)) {
                let _ = reactor.adopt(stream, tag);
            }
        }
    }
}
