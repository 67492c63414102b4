//! Several reactors, each on a thread, behind one face.
//!
//! Nothing is shared on the way of a message: each reactor has its own poll, slab, limits and
//! handler. What they have in common is how they are reached (`ServerHandle`), and their end. Read
//! next: `reactor.rs`.

use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::config::Config;
use crate::base::id::CONNECTIONS_CEILING;
use crate::base::report::ShutdownReport;
use crate::base::spread::Spread;
use crate::base::stats::Stats;
use crate::handler::Handler;
use crate::net::driver::{self, Driver, Wake};
use crate::net::intake::{Intake, Spreader};
use crate::net::listen::{Listen, Opened};
use crate::reactor::Reactor;
use crate::reactor::prepared::Prepared;
use crate::server::handle::ServerHandle;
use crate::server::restart::{Past, Restart};

pub(crate) mod handle;
mod restart;

/// The most reactors of one server: the number of a reactor in a [`ConnId`] repeats after 256.
const REACTORS_MAX: usize = 128;

/// How a reactor's thread has ended: its result, or its panic.
pub(crate) type End = thread::Result<io::Result<()>>;

/// The same handler on several reactors, each on a thread of its own: for a program that needs more
/// than one core.
///
/// Each reactor has a handler, which is called with `&mut self` by its thread alone, and
/// connections, which stay with it unless they are [moved](ServerHandle::move_to). What one reactor
/// wants of another it posts: [`ServerHandle`]. There is no lock in the way of a message.
///
/// # Limits
///
/// What the [`Config`] says holds for each reactor: with four of them `buffered_max` is there four
/// times, and an address may have four times `connections_per_address`. Descriptors are the
/// process's, so a reactor has at most its share of them, whatever
/// [`connections`](Config::connections) says (a warning tells): soft `RLIMIT_NOFILE` − 32 by the
/// number of reactors. Where it is not set, that share, at most 65,536.
///
/// # Who gets a connection
///
/// A TCP port has a listening socket in each reactor (`SO_REUSEPORT`, socket(7)), and the kernel
/// chooses one by a hash of both addresses. So a few connections may share one reactor while
/// another has none; many are spread evenly, whatever they have to do. Of a Unix socket, or an
/// existing listener, reactor 0 accepts, and hands each connection to the reactor that has the
/// fewest: left to the kernel, one of them is given all, now and then. Each of these can be had for
/// the other: [`Listen::spread`].
///
/// Where reactor 0 accepts for all, it has one more listener than the others: the socket itself.
///
/// # Not guaranteed
///
/// That two connections are served by different reactors. That a connection which reaches the kernel while
/// a shutdown closes the listeners is accepted: Linux resets what is in the middle of its handshake there.
///
/// # Examples
///
/// ```no_run
/// use std::thread;
/// use wouldblock::{Server, handler_fn};
///
/// fn main() -> std::io::Result<()> {
///     let cores = thread::available_parallelism()?.get();
///     let mut server = Server::new(cores, |_number, _server| {
///         Ok(handler_fn(|conn, input| {
///             conn.send(input.take_all());
///             Ok(())
///         }))
///     })?;
///     server.listen("127.0.0.1:6666")?;
///     server.run() // returns when all reactors have ended
/// }
/// ```
pub struct Server<H: Handler> {
    reactors: Vec<Reactor<H>>,
    handle: ServerHandle<H>,
    restart: Option<Restart<H>>,
    /// Of each reactor.
    past: Vec<Past>,
    /// Where the reactors run, one after the other; empty: anywhere.
    cores: Vec<usize>,
}

impl<H: Handler> Server<H> {
    /// So many reactors with the default [`Config`]. `make` is called for each of them, from 0 on,
    /// with its number and a handle of the server, which the handler may [clone](Clone::clone) and
    /// keep.
    ///
    /// # Errors
    ///
    /// The first error of `make`; otherwise as [`with_config`](Self::with_config).
    pub fn new(
        reactors: usize,
        make: impl FnMut(usize, &ServerHandle<H>) -> io::Result<H>,
    ) -> io::Result<Self> {
        Self::with_config(reactors, Config::default(), make)
    }

    /// So many reactors with limits of your own, each with these.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `reactors` is not 1 to 128, or for a contradiction in `config`; the first
    /// error of `make`; otherwise as [`Reactor::new`].
    pub fn with_config(
        reactors: usize,
        config: Config,
        make: impl FnMut(usize, &ServerHandle<H>) -> io::Result<H>,
    ) -> io::Result<Self> {
        Self::with_drivers(reactors, &config, Driver::new, make)
    }

    pub(crate) fn with_drivers(
        reactors: usize,
        config: &Config,
        driver: impl Fn() -> io::Result<Driver>,
        mut make: impl FnMut(usize, &ServerHandle<H>) -> io::Result<H>,
    ) -> io::Result<Self> {
        if !(1..=REACTORS_MAX).contains(&reactors) {
            let what = format!("{reactors} reactors: a server has 1 to {REACTORS_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        // As it is: a share of a number that is too large may not be.
        config.check(CONNECTIONS_CEILING)?;
        let drivers: Vec<_> = (0..reactors).map(|_| driver()).collect::<io::Result<_>>()?;
        let config = config.share(drivers[0].descriptors(), reactors);
        let prepared = drivers.into_iter().map(|driver| Prepared::new(&config, driver));
        let prepared: Vec<_> = prepared.collect::<io::Result<_>>()?;
        let handle = ServerHandle::new(prepared.iter().map(|it| (it.handle(), it.number())));
        let numbered = prepared.into_iter().enumerate();
        let reactors = numbered.map(|(number, it)| Ok(it.with(make(number, &handle)?)));
        let reactors = reactors.collect::<io::Result<Vec<_>>>()?;
        let past = vec![Past::default(); reactors.len()];
        Ok(Server { reactors, handle, restart: None, past, cores: Vec::new() })
    }

    /// Listens in every reactor; see [above](#who-gets-a-connection) for which of them gets a
    /// connection. Returns the address, with the port that was given for port 0.
    ///
    /// To listen in one of them alone, [`Reactor::listen`] on it.
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen`]; no reactor listens there then. A TCP port is refused (`AddrInUse`)
    /// while another server listens on it, a second one of this program too, unless both set
    /// [`reuse_port`](Listen::reuse_port): then the kernel shares connections out among the
    /// reactors of both.
    pub fn listen(&mut self, listen: impl Into<Listen>) -> io::Result<Address> {
        let (listen, reactors) = (listen.into(), self.reactors.len());
        let kernel = self.reactors[0].cx.core.driver.kernel();
        let opened: Vec<(usize, Opened)> = match listen.hands_over(reactors) {
            None => listen.open_for(kernel, reactors)?.into_iter().enumerate().collect(),
            Some(by) => self.intakes(by, listen.open_on(kernel)?)?,
        };
        let address = opened[0].1.local_addr()?;
        let mut listeners = Vec::with_capacity(opened.len());
        for (number, opened) in opened {
            match self.reactors[number].listen_opened(opened) {
                Ok(id) => listeners.push((number, id)),
                Err(error) => {
                    for (number, id) in listeners {
                        self.reactors[number].close_listener(id);
                    }
                    return Err(error);
                }
            }
        }
        Ok(address)
    }

    /// A socket for reactor 0, which accepts for all, and what each of them accepts from.
    fn intakes(&self, by: Spread, mut opened: Opened) -> io::Result<Vec<(usize, Opened)>> {
        let address = opened.local_addr()?;
        let mut all = Vec::with_capacity(self.reactors.len());
        let mut queues = Vec::with_capacity(self.reactors.len());
        for (number, reactor) in self.reactors.iter().enumerate() {
            let core = &reactor.cx.core;
            // Reactor 0 sees what it gave itself before its next poll.
            let wake = (number > 0).then(|| core.driver.wake());
            let wake = move || wake.iter().for_each(Wake::wake);
            let most = core.limits.connections;
            let intake = Intake::new(address.clone(), core.conns.crowd(), most, wake);
            queues.push(intake.queue());
            all.push((number, opened.intake(intake)));
        }
        opened.spreader = Some(Spreader::new(by, queues));
        // First: in a shutdown it accepts what waits before its own intake closes.
        all.insert(0, (0, opened));
        Ok(all)
    }

    /// Has a reactor whose handler panics go on by itself with another handler, which `make` makes,
    /// while the others go on as if nothing had happened; without it a panic ends the server, in
    /// order.
    ///
    /// Its connections end without a callback, with a reset where something is owed; its timers are
    /// cancelled. What listens and what is bound goes on, so a handler that listens in
    /// [`on_start`](Handler::on_start), which is called again, first looks whether it does already
    /// ([`Context::listeners`](crate::Context::listeners)). Posts that wait run with the new
    /// handler. [`Stats::restarts`] counts, and the log tells, at error.
    ///
    /// After `most` restarts in the time `within` the next panic ends the server after all, as it
    /// does in a shutdown, and where `make` fails. A panic costs all clients of its reactor their
    /// connections: where one connection is to blame, [`isolate_panics`](Config::isolate_panics)
    /// ends that alone, if the handler can be left as the panic leaves it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wouldblock::{Server, handler_fn};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// fn echo() -> impl wouldblock::Handler<Session = ()> + Send {
    ///     handler_fn(|conn, input| {
    ///         conn.send(input.take_all());
    ///         Ok(())
    ///     })
    /// }
    /// let mut server = Server::new(2, |_, _| Ok(echo()))?;
    /// server.restart(5, Duration::from_secs(60), |_, _| Ok(echo()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn restart(
        &mut self,
        most: usize,
        within: Duration,
        make: impl FnMut(usize, &ServerHandle<H>) -> io::Result<H> + Send + 'static,
    ) {
        self.restart = Some(Restart::new(most, within, Box::new(make)));
    }

    /// Has each reactor's thread [run](Self::run) on one core alone (`sched_setaffinity(2)`):
    /// reactor 0 on the first of those that the calling thread may run on, and so on, from the
    /// first again where there are fewer than reactors. Which those are is for the operator to say,
    /// by taskset(1) or a cpuset.
    ///
    /// It keeps a reactor's memory in its core's caches, and keeps the reactor there where
    /// something else wants that core: on a machine with other work it may cost more than it
    /// brings, so measure. Threads that a handler starts inherit it. Where it is refused later, the
    /// log warns and the reactor runs anywhere. The simulator has no cores.
    ///
    /// # Errors
    ///
    /// `Unsupported` where a thread cannot be pinned: elsewhere than on Linux.
    pub fn pin(&mut self) -> io::Result<()> {
        self.cores = driver::cores()?;
        Ok(())
    }

    /// A way to the reactors from other threads, and from each other.
    #[must_use]
    pub fn handle(&self) -> ServerHandle<H> {
        self.handle.clone()
    }

    /// What all reactors have counted together, while they do not run. While they do:
    /// [`ServerHandle::stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.reactors.iter().map(Reactor::stats).sum()
    }

    /// How the shutdown went, over all reactors that have ended: as [`Reactor::shutdown_report`] of
    /// each. It took as long as the longest. A reactor that a panic has ended has none. `None` if
    /// no reactor has one.
    #[must_use]
    pub fn shutdown_report(&self) -> Option<ShutdownReport> {
        let mut reports = self.reactors.iter().filter_map(Reactor::shutdown_report);
        let mut all = reports.next()?.clone();
        reports.for_each(|report| all.join(report));
        Some(all)
    }

    /// The reactors by number, for their statistics, their handlers and the report of a shutdown.
    #[must_use]
    pub fn reactors(&self) -> &[Reactor<H>] {
        &self.reactors
    }

    /// The same, to bind datagram sockets, connect or adopt in one of them before they [run](Self::run).
    pub fn reactors_mut(&mut self) -> &mut [Reactor<H>] {
        &mut self.reactors
    }

    /// For the simulator: has one of them turn, as its thread would.
    #[allow(dead_code, reason = "called by `sim/server.rs` alone")]
    pub(crate) fn turn_in(
        &mut self,
        number: usize,
        by: impl FnOnce(&mut Reactor<H>) -> io::Result<bool>,
    ) -> Option<End> {
        let Server { reactors, handle, restart, past, .. } = self;
        let (reactor, past) = (&mut reactors[number], &mut past[number]);
        Running { number, reactor, past, all: handle, restart: restart.as_ref() }.turn(by)
    }

    /// Serves with each reactor on a thread of its own, until all of them have ended. Afterwards
    /// they are here again: [`reactors`](Self::reactors).
    ///
    /// All end together: when one has ended, after a [shutdown](crate::Context::shutdown) of its
    /// own, by an error or by a panic (unless it is [restarted](Self::restart)), the others are
    /// told to [shut down](crate::Context::shutdown) in order. What a panic has ended closes its
    /// listeners and its connections at once, those without a callback, with a reset where
    /// something is owed.
    ///
    /// # Panics
    ///
    /// With the first panic of a handler that passed through [`Reactor::run`], once the others have ended.
    ///
    /// # Errors
    ///
    /// The first error of a reactor, as [`Reactor::run`], or that a thread cannot be had; once the
    /// others have ended.
    pub fn run(&mut self) -> io::Result<()>
    where
        H: Send,
        H::Session: Send,
    {
        if self.reactors[0].cx.core.driver.kernel().is_some() {
            let what = "a server in a simulated world is driven by `Sim::run_until_idle` and `Sim::advance`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let (handle, restart, cores) = (&self.handle, self.restart.as_ref(), &self.cores);
        let ends: Vec<io::Result<End>> = thread::scope(|scope| {
            let mut threads = Vec::with_capacity(self.reactors.len());
            let all = self.reactors.iter_mut().zip(&mut self.past).enumerate();
            for (number, (reactor, past)) in all {
                let mut running = Running { number, reactor, past, all: handle, restart };
                let core = cores.get(number % cores.len().max(1)).copied();
                let thread = thread::Builder::new().name(format!("reactor {number}"));
                let started = thread.spawn_scoped(scope, move || {
                    if let Some(Err(error)) = core.map(driver::pin_to) {
                        log::warn!("reactor {number} runs anywhere: it cannot be pinned: {error}");
                    }
                    loop {
                        if let Some(end) = running.turn(|reactor| reactor.run().map(|()| false)) {
                            break end;
                        }
                    }
                });
                threads.push(started.map_err(|error| {
                    handle.shutdown();
                    // Its kind may be `WouldBlock` (`EAGAIN`, pthread_create(3)), and it is none.
                    io::Error::other(format!("no thread for reactor {number}: {error}"))
                }));
            }
            threads.into_iter().map(|thread| Ok(thread?.join().unwrap_or_else(Err))).collect()
        });
        let mut result = Ok(());
        let mut panicked = None;
        for end in ends {
            match end {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) | Err(error) => result = result.and(Err(error)),
                Ok(Err(payload)) => panicked = panicked.or(Some(payload)),
            }
        }
        if let Some(payload) = panicked {
            panic::resume_unwind(payload);
        }
        result
    }
}

/// A reactor that runs.
struct Running<'a, H: Handler> {
    number: usize,
    reactor: &'a mut Reactor<H>,
    past: &'a mut Past,
    all: &'a ServerHandle<H>,
    restart: Option<&'a Restart<H>>,
}

impl<H: Handler> Running<'_, H> {
    /// Has the reactor turn. Returns its end, if that was it: the others are told to shut down
    /// then. After a panic it may go on with another handler.
    fn turn(&mut self, turn: impl FnOnce(&mut Reactor<H>) -> io::Result<bool>) -> Option<End> {
        let Running { number, reactor, past, all, restart } = self;
        // What a panic leaves behind is made good, or seen by the caller, which it is passed on to.
        let end = match panic::catch_unwind(AssertUnwindSafe(|| turn(reactor))) {
            Ok(Ok(true)) => return None,
            Ok(end) => Ok(end.map(|_| ())),
            Err(payload) => {
                if restart.is_some_and(|it| it.again(*number, reactor, past, all, &*payload)) {
                    return None;
                }
                Err(payload)
            }
        };
        reactor.leave_nothing();
        all.shutdown();
        Some(end)
    }
}

impl<H: Handler> fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("reactors", &self.reactors.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Profile, Sim};
    use crate::{Conn, Input, Origin};

    struct Panics;

    impl Handler for Panics {
        type Session = ();

        fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
            panic!("as it was told to");
        }

        fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
            Ok(())
        }
    }

    /// Promise 6: a reactor that a panic has ended is handed nothing any more, and keeps no client.
    #[test]
    fn a_reactor_that_does_not_run_any_more_is_handed_nothing() {
        for seed in 0..20 {
            let sim = Sim::new(seed, Profile::everyday());
            let mut server = sim.server(2, Config::default(), |_, _| Ok(Panics)).unwrap();
            server.listen(Listen::from("10.0.0.1:1").spread(Spread::RoundRobin)).unwrap();
            let _peer = sim.connect("10.0.0.1:1");
            let run = AssertUnwindSafe(|| sim.run_until_idle(&mut server));
            panic::catch_unwind(run).unwrap_err();
            let core = |it: &Reactor<_>| (it.cx.core.listener_ids().len(), it.cx.core.conns.len());
            assert!(server.reactors.iter().map(core).all(|left| left == (0, 0)));
        }
    }
}
