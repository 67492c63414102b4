//! Datagrams in the schedules: which sockets there are, and peers that write to them.
//!
//! All of it is drawn from a stream of its own, so that a world without datagrams is what it was.

use std::time::Duration;

use rustix::io::Errno;

use crate::base::address::Address;
use crate::base::config::Config;
use crate::kernel::profile::Profile;
use crate::kernel::rng::Rng;
use crate::kernel::{Actor, Kernel, State};
use crate::net::bind::Bind;

/// Where our sockets may be.
const OURS: [&str; 3] = ["10.0.0.1:4000", "unix:/run/mail", "10.0.0.1:4001"];

/// Datagrams of a world.
#[derive(Debug)]
pub(crate) struct DatagramWorld {
    rng: Rng,
    tidy: bool,
    unix: bool,
    /// Peers of each family, the datagrams of each, and how long they are.
    peers: usize,
    datagrams: u64,
    longest: usize,
    /// How long a datagram of ours may wait, if not as long as by default.
    wait: Option<Duration>,
    /// The peers' sockets.
    ports: Vec<u32>,
}

impl DatagramWorld {
    /// Some worlds have none.
    pub(crate) fn draw(seed: u64, tidy: bool) -> Option<Self> {
        let mut rng = Rng::new(seed ^ 0x0DA7_A62A_07E5_8DBF);
        let mut waits = Rng::new(seed ^ 0x0DA7_A62A_0000_3A17);
        let most = *waits.pick(&[0, 50, 3000]);
        let wait = (most > 0).then(|| Duration::from_millis(waits.within(1, most)));
        rng.chance(300).then(|| DatagramWorld {
            wait,
            tidy,
            unix: rng.chance(600),
            peers: rng.size(1, 4),
            datagrams: *rng.pick(&[5, 30, 30, 200]),
            longest: *rng.pick(&[8, 60, 700]),
            ports: Vec::new(),
            rng,
        })
    }

    /// How the network is, and what it has to do with our limits.
    pub(crate) fn shape(&mut self, profile: Profile, config: Config) -> (Profile, Config) {
        let rng = &mut self.rng;
        let sometimes = |rng: &mut Rng, most| {
            let often = rng.within(1, most);
            if rng.chance(400) { u32::try_from(often).unwrap_or(0) } else { 0 }
        };
        let most = *rng.pick(&[2, 20, 300]);
        let profile = profile
            .mailbox(1..=most)
            .lost(sometimes(rng, 300))
            .duplicated(sometimes(rng, 300))
            .datagrams_reordered(sometimes(rng, 500))
            .shortage(sometimes(rng, 300));
        let most = *rng.pick(&[3, 64]);
        let config = config.datagrams_per_turn(rng.size(1, most)).datagrams_queued(*rng.pick(&[
            0,
            300,
            3000,
            3000,
            256 << 10,
        ]));
        match self.wait {
            Some(wait) => (profile, config.datagram_wait(wait)),
            None => (profile, config),
        }
    }

    /// Peers bind their sockets. Returns where.
    pub(crate) fn peers(&mut self, kernel: &Kernel) -> Vec<Address> {
        let mut all = Vec::new();
        for unix in [false, true] {
            if unix && !self.unix {
                break;
            }
            for number in 0..self.peers {
                let at: Address = if unix {
                    Address::unix(format!("/run/peer{number}"))
                } else {
                    let number = u8::try_from(number).unwrap_or(0);
                    Address::Ip(([10, 0, 1, number], 5000).into())
                };
                let writer = self.writer(unix);
                let mut state = kernel.state();
                let bound = state.peer_binds(at.clone(), None, Box::new(writer));
                self.ports.push(bound.expect("the name is its own"));
                all.push(at);
            }
        }
        all
    }

    fn writer(&mut self, unix: bool) -> Writer {
        let rng = &mut self.rng;
        let to = OURS.iter().filter(|at| at.starts_with("unix:") == unix);
        let quits =
            if !self.tidy && rng.chance(200) { rng.within(0, self.datagrams) } else { u64::MAX };
        Writer {
            to: to.map(|at| at.parse().expect("an address")).collect(),
            datagrams: rng.within(0, self.datagrams),
            longest: self.longest,
            burst: *rng.pick(&[1, 5, 400]),
            pause: *rng.pick(&[1000, 100_000, 5_000_000]),
            reads: match rng.below(10) {
                0..=5 => Reads::All,
                6 | 7 => Reads::Slowly(rng.within(10_000, 20_000_000)),
                _ => Reads::Never,
            },
            quits,
            sent: 0,
            send_from: 0,
            read_from: 0,
            rng: rng.fork(),
        }
    }

    /// Our sockets, and which of them are connected to one of these peers.
    pub(crate) fn sockets(&mut self, peers: &[Address]) -> Vec<(Bind, bool)> {
        let mut all = vec![(OURS[0].into(), false)];
        if self.unix {
            all.push((OURS[1].into(), false));
            let unix = peers.iter().find(|at| at.ip().is_none());
            if let (Some(to), true) = (unix, self.rng.chance(400)) {
                all.push((Bind::from("unix:/run/tied").connect(to.clone()), true));
            }
        }
        if self.rng.chance(500) {
            all.push((Bind::from(OURS[2]).connect(peers[0].clone()), true));
        }
        all
    }

    /// A few datagrams that come before we have turned to them: perhaps just before shutdown.
    pub(crate) fn last_datagrams(&mut self, kernel: &Kernel) {
        if self.rng.chance(500) {
            return;
        }
        let mut net = kernel.state();
        for number in 0..self.rng.within(1, 30) {
            let port = *self.rng.pick(&self.ports);
            let unix = net.mail.ports[port as usize].address.ip().is_none();
            let to = OURS[usize::from(unix)].parse().expect("an address");
            if net.mail.ports[port as usize].open {
                // What finds no room is not sent.
                let _ = net.peer_sends_to(port, &number.to_be_bytes(), &to);
            }
        }
        let later = net.now + 2_000_000;
        net.pass(later);
    }

    /// For the handler.
    pub(crate) fn fork(&mut self) -> Rng {
        self.rng.fork()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    All,
    /// One, then none for so many nanoseconds.
    Slowly(u64),
    Never,
}

/// A peer that writes datagrams, and reads the answers or does not.
struct Writer {
    to: Vec<Address>,
    datagrams: u64,
    longest: usize,
    /// So many at once at most, then a pause of so many nanoseconds.
    burst: u64,
    pause: u64,
    reads: Reads,
    /// Closes its socket when it has sent so many.
    quits: u64,
    sent: u64,
    send_from: u64,
    read_from: u64,
    rng: Rng,
}

impl Writer {
    fn read(&mut self, net: &mut State, port: u32) {
        while self.reads != Reads::Never && net.now >= self.read_from {
            if net.peer_receives(port).is_none() {
                return;
            }
            if let Reads::Slowly(pause) = self.reads {
                self.read_from = net.now + pause;
                net.act_port_after(port, pause);
            }
        }
    }

    fn write(&mut self, net: &mut State, port: u32) {
        let mut burst = self.rng.within(1, self.burst);
        while self.sent < self.datagrams && net.now >= self.send_from {
            // Empty ones, small ones, some that are too long for the reader.
            let len = if self.rng.chance(100) { 0 } else { self.rng.size(0, self.longest) };
            let mut datagram = (u64::from(port) << 32 | self.sent).to_be_bytes().to_vec();
            datagram.resize(len, u8::try_from(self.sent % 256).unwrap_or(0));
            let to = self.rng.pick(&self.to).clone();
            if net.peer_sends_to(port, &datagram, &to) == Err(Errno::AGAIN) {
                // By UDP it is told when there is room, on a Unix socket too.
                return;
            }
            self.sent += 1;
            burst -= 1;
            if burst == 0 {
                let pause = self.rng.within(1, self.pause);
                self.send_from = net.now + pause;
                return net.act_port_after(port, pause);
            }
        }
    }
}

impl Actor for Writer {
    fn act(&mut self, net: &mut State, port: u32) {
        if !net.mail.ports[port as usize].open {
            return;
        }
        self.read(net, port);
        self.write(net, port);
        if self.sent >= self.quits {
            net.peer_unbinds(port);
        }
    }
}
