//! Several reactors in one simulated world: the seed draws which of them has the processor next.
//!
//! Each has a poll of its own on the one kernel. They take turns, a whole turn of the loop at a
//! time, and one that has nothing to do waits as its poll would: for news, or for the timeout that
//! it went to wait with. So a post whose wake is lost is not found by chance. Read next:
//! `server.rs`, whose reactors run here as they run on threads there.

use std::io;
use std::panic;
use std::time::Duration;

use super::{Driven, Failure, QUIET_TURNS, Quiet, Sealed, Sim, TURNS_MAX};
use crate::base::config::Config;
use crate::handler::Handler;
use crate::kernel::{Horizon, nanos};
use crate::net::driver::Driver;
use crate::reactor::Reactor;
use crate::server::handle::ServerHandle;
use crate::server::{End, Server};

/// The longest time for which a reactor's thread is without the processor, in nanoseconds.
const PREEMPTED_MAX: u64 = 10_000_000;

impl Sim {
    /// Makes a server of `reactors` reactors in this world, as [`Server::with_config`] makes one in
    /// the real one: with [`listen`](Server::listen), [`ServerHandle`], moves from one reactor to
    /// another, and their end together. Drive it with [`run_until_idle`](Self::run_until_idle) and
    /// [`advance`](Self::advance); [`Server::run`] is refused here.
    ///
    /// The seed draws which reactor has its turn next, which of them a connection comes to, and how
    /// late a post is seen ([`Profile::preempted`](super::Profile::preempted)). A panic of a
    /// handler passes through once the others have ended, or come to rest.
    ///
    /// Simplified: they run as threads do on one processor. No two callbacks run at a time, and while one
    /// [works](Self::work) the others wait.
    ///
    /// # Errors
    ///
    /// As [`Server::with_config`].
    ///
    /// # Examples
    ///
    /// A line goes to the clients of all reactors, whichever serves them:
    ///
    /// ```
    /// use std::io;
    /// use wouldblock::sim::{Profile, check};
    /// use wouldblock::{Config, Conn, Handler, Input, Origin, ServerHandle};
    ///
    /// struct Shout(ServerHandle<Shout>);
    ///
    /// impl Handler for Shout {
    ///     type Session = ();
    ///
    ///     fn on_data(
    ///         &mut self,
    ///         _conn: &mut Conn<'_>,
    ///         _session: &mut (),
    ///         input: &mut Input<'_>,
    ///     ) -> io::Result<()> {
    ///         while let Some(line) = input.line() {
    ///             self.0.broadcast([line, b"\n"].concat());
    ///         }
    ///         Ok(())
    ///     }
    ///     fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// check(0..100, Profile::default(), |sim| {
    ///     let mut server = sim.server(3, Config::default(), |_, all| Ok(Shout(all.clone())))?;
    ///     server.listen("10.0.0.1:7777")?;
    ///     let peers = [(); 5].map(|()| sim.connect("10.0.0.1:7777"));
    ///     sim.run_until_idle(&mut server)?; // all are accepted
    ///     peers[0].send(b"one\ntwo\n");
    ///     for peer in &peers {
    ///         peer.expect(b"one\ntwo\n");
    ///     }
    ///     sim.run_until_idle(&mut server)?;
    ///     server.handle().shutdown();
    ///     peers.iter().for_each(|peer| peer.expect_end());
    ///     sim.run_until_idle(&mut server)
    /// });
    /// ```
    pub fn server<H: Handler>(
        &self,
        reactors: usize,
        config: Config,
        make: impl FnMut(usize, &ServerHandle<H>) -> io::Result<H>,
    ) -> Result<Server<H>, Failure> {
        let driver = || Ok(Driver::simulated(&self.kernel));
        Ok(Server::with_drivers(reactors, &config, driver, make)?)
    }

    /// Gives turns to the reactors that have something to do, up to the horizon that is set, and
    /// lets time pass where none has.
    fn take_turns<H: Handler>(&self, server: &mut Server<H>) -> Result<(), Failure> {
        let mut waits: Vec<Wait> = server.reactors().iter().map(|it| self.wait(it)).collect();
        let mut quiet = Quiet::default();
        let mut ends: Vec<(usize, End)> = Vec::new();
        for _ in 0..TURNS_MAX {
            let now = self.let_peers_act();
            let has_work = |reactor: &Reactor<H>, wait: &Wait| {
                !wait.ended && (wait.until <= now || has_news(reactor))
            };
            let all = server.reactors().iter().zip(&waits).enumerate();
            let wanting: Vec<usize> = all
                .filter(|(_, (it, wait))| has_work(it, wait))
                .map(|(number, _)| number)
                .collect();
            let ready: Vec<usize> =
                wanting.iter().copied().filter(|number| waits[*number].from <= now).collect();
            let number = if ready.is_empty() {
                let held_up = wanting.iter().map(|number| waits[*number].from).min();
                if !self.pass_time(&waits, held_up) {
                    break;
                }
                let Some(number) = self.interrupted(&waits) else { continue };
                number
            } else {
                *self.kernel.state().rng.pick(&ready)
            };
            self.kernel.state().note_reactor(number);
            let end = server.turn_in(number, |reactor| reactor.turn(Some(Duration::ZERO)));
            waits[number] = self.wait(&server.reactors()[number]);
            self.preempt(&mut waits[number]);
            if let Some(end) = end {
                waits[number].ended = true;
                ends.push((number, end));
                if waits.iter().all(|wait| wait.ended) {
                    break;
                }
            }
            if quiet.after_turn(&self.kernel, 0) > QUIET_TURNS {
                let what = "a reactor spins: it polls again and again and does nothing";
                return Err(self.failure(what));
            }
        }
        self.settle(ends)
    }

    /// Calls the peers that were told of something, and returns the moment.
    fn let_peers_act(&self) -> u64 {
        let mut state = self.kernel.state();
        let now = state.now;
        state.pass(now);
        now
    }

    /// A reactor that goes to wait now.
    fn wait<H: Handler>(&self, reactor: &Reactor<H>) -> Wait {
        let now = self.kernel.now();
        let until = reactor.next_timeout().map_or(u64::MAX, |wait| now.saturating_add(nanos(wait)));
        Wait { from: now, until, ended: false }
    }

    /// Perhaps its thread loses the processor.
    fn preempt(&self, wait: &mut Wait) {
        let mut state = self.kernel.state();
        let chance = state.profile.preempted;
        if state.rng.chance(chance) {
            wait.from += state.rng.within(0, PREEMPTED_MAX);
        }
    }

    /// Nothing can be done now: lets time pass up to the next moment at which something may.
    /// Returns whether there is one within the horizon. `held_up`: when the first reactor that has
    /// something to do has the processor again.
    fn pass_time(&self, waits: &[Wait], held_up: Option<u64>) -> bool {
        let mut state = self.kernel.state();
        let happens = state.next_event().into_iter().chain(held_up).min();
        let waits = waits.iter().filter(|wait| !wait.ended);
        let due = waits.map(|wait| wait.until.max(wait.from)).min().unwrap_or(u64::MAX);
        let wanted = happens.unwrap_or(u64::MAX).min(due);
        match state.horizon {
            // Deadlines are no happening.
            Horizon::Idle if happens.is_none() => return false,
            Horizon::Until(end) if end < wanted => {
                let end = state.now.max(end);
                state.pass(end);
                return false;
            }
            Horizon::Never if wanted == u64::MAX => return false,
            Horizon::Idle | Horizon::Until(_) | Horizon::Never => {}
        }
        state.pass(wanted);
        true
    }

    /// The reactor whose poll a signal interrupts, if one came.
    fn interrupted(&self, waits: &[Wait]) -> Option<usize> {
        let mut state = self.kernel.state();
        if !state.take_signal() {
            return None;
        }
        let waiting = (0..waits.len()).filter(|number| !waits[*number].ended).collect::<Vec<_>>();
        Some(*state.rng.pick(&waiting))
    }

    /// Tells how reactors have ended as [`Server::run`] does: the first panic passes through,
    /// otherwise the first error is returned.
    fn settle(&self, ends: Vec<(usize, End)>) -> Result<(), Failure> {
        let mut failed = Ok(());
        for (number, end) in ends {
            match end {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let what = || self.failure(format!("reactor {number} failed: {error}"));
                    failed = failed.and_then(|()| Err(what()));
                }
                Err(payload) => panic::resume_unwind(payload),
            }
        }
        failed
    }
}

/// How a reactor waits between its turns.
struct Wait {
    /// It has the processor from then on.
    from: u64,
    /// Then its poll returns without news; `u64::MAX`: never.
    until: u64,
    ended: bool,
}

fn has_news<H: Handler>(reactor: &Reactor<H>) -> bool {
    reactor.cx.core.driver.kernel().is_some_and(crate::kernel::Kernel::has_news)
}

impl<H: Handler> Sealed for Server<H> {}

impl<H: Handler> Driven for Server<H> {
    fn drive(&mut self, sim: &Sim) -> Result<(), Failure> {
        sim.take_turns(self)
    }
}
