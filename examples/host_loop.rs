//! An echo server inside a loop that is not ours: an epoll with a clock and the terminal in it.
//!
//! Everything happens on one thread: what you type goes to every client, and the clock makes a line
//! in the log. The guide tells more (`docs/guide/other_loops.md`). For Linux; try it:
//!
//! ```sh
//! cargo run --release --example host_loop
//! nc 127.0.0.1 6666
//! ```
//!
//! In the background give it no terminal to read from: `host_loop < /dev/null &`.

mod common;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use wouldblock::bytes::Bytes;
use wouldblock::{Conn, Handler, Input, Origin, Reactor};

/// An echo server inside another loop: what you type goes to every client.
#[derive(clap::Parser)]
#[command(name = "host_loop", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: String,
    /// How often the log tells who is there, such as 10 or 0.5
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true,
          value_parser = common::seconds)]
    report: Duration,
    /// Watch the reactor edge-triggered
    #[arg(long)]
    edge: bool,
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

struct Echo;

impl Handler for Echo {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        _session: &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        conn.send(input.take_all());
        Ok(())
    }
}

/// What our epoll tells of.
#[cfg_attr(
    mio_unsupported_force_poll_poll,
    allow(dead_code, reason = "it has no descriptor there")
)]
const REACTOR: u64 = 0;
const CLOCK: u64 = 1;
const TERMINAL: u64 = 2;

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    common::raise_descriptor_limit();
    let mut reactor = Reactor::new(Echo)?;
    // A signal reaches the reactor as any other thread does: its descriptor becomes readable.
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    let listener = reactor.listen(&arguments.listen)?;

    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let edge = if arguments.edge { epoll::EventFlags::ET } else { epoll::EventFlags::empty() };
    watch_reactor(&epoll, &reactor, edge)?;
    let clock = clock(arguments.report)?;
    watch(&epoll, &clock, CLOCK, epoll::EventFlags::empty())?;
    let terminal = io::stdin();
    if let Err(error) = watch(&epoll, &terminal, TERMINAL, epoll::EventFlags::empty()) {
        // A file and /dev/null are never waited for (epoll_ctl(2), EPERM): nothing is typed there.
        log::info!("stdin is not listened to: {error}");
    }
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));

    let mut events = Vec::with_capacity(16);
    loop {
        // As long as the reactor allows, asked each time. Rustix rounds up to the kernel's
        // milliseconds; rounded down, the last of them would be spent in a spin.
        let limit = reactor.next_timeout().and_then(|wait| Timespec::try_from(wait).ok());
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), limit.as_ref()) {
            Err(Errno::INTR) => {}
            waited => _ = waited?,
        }
        for event in &events {
            match event.data.u64() {
                CLOCK => report(&clock, &reactor)?,
                // Its end would be told of for ever.
                TERMINAL if !pass_on(&terminal, &reactor)? => epoll::delete(&epoll, &terminal)?,
                // Passed on; or the reactor, whose turn comes anyhow.
                _ => {}
            }
        }
        // One turn, whatever ended the wait. If it leaves something to do, `next_timeout` is zero.
        if !reactor.turn(Some(Duration::ZERO))? {
            break;
        }
    }

    let stats = reactor.stats();
    common::say(format_args!(
        "served {} connections, {} bytes in, {} bytes out",
        stats.accepted, stats.bytes_in, stats.bytes_out
    ));
    Ok(())
}

fn watch(epoll: &OwnedFd, fd: impl AsFd, name: u64, how: epoll::EventFlags) -> io::Result<()> {
    let data = epoll::EventData::new_u64(name);
    Ok(epoll::add(epoll, fd, data, epoll::EventFlags::IN | how)?)
}

/// The one descriptor that all connections share.
#[cfg(not(mio_unsupported_force_poll_poll))]
fn watch_reactor(
    epoll: &OwnedFd,
    reactor: &Reactor<Echo>,
    how: epoll::EventFlags,
) -> io::Result<()> {
    watch(epoll, reactor, REACTOR, how)
}

#[cfg(mio_unsupported_force_poll_poll)]
fn watch_reactor(_: &OwnedFd, _: &Reactor<Echo>, _: epoll::EventFlags) -> io::Result<()> {
    let what = "mio's poll(2) backend has no descriptor";
    Err(io::Error::new(io::ErrorKind::Unsupported, what))
}

/// A descriptor that becomes readable each period (`timerfd_create(2)`).
fn clock(period: Duration) -> io::Result<OwnedFd> {
    let clock = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let period = Timespec::try_from(period).map_err(io::Error::other)?;
    let each = Itimerspec { it_interval: period, it_value: period };
    timerfd_settime(&clock, TimerfdTimerFlags::empty(), &each)?;
    Ok(clock)
}

fn report(clock: &OwnedFd, reactor: &Reactor<Echo>) -> io::Result<()> {
    // How many periods have passed; read, so that it falls silent until the next.
    rustix::io::read(clock, &mut [0; 8])?;
    let stats = reactor.stats();
    let open = stats.accepted.saturating_sub(stats.closed.total());
    log::info!("{open} connected, {} bytes in, {} bytes out", stats.bytes_in, stats.bytes_out);
    Ok(())
}

/// What was typed goes to everybody. Returns whether more may come.
fn pass_on(terminal: &io::Stdin, reactor: &Reactor<Echo>) -> io::Result<bool> {
    let mut typed = [0; 4096];
    // Not by way of `Stdin` itself: what that keeps in its buffer, epoll does not know of.
    let n = match rustix::io::read(terminal, &mut typed) {
        // The end, or a terminal that was hung up.
        Ok(0) | Err(Errno::IO) => return Ok(false),
        Ok(n) => n,
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let typed = Bytes::copy_from_slice(&typed[..n]);
    // Between turns there is no `Context`; a post brings one, in the turn that comes next.
    if reactor.handle().post(move |_, cx| cx.broadcast(typed)).is_err() {
        log::warn!("too much is waiting already: {n} bytes from the terminal were dropped");
    }
    Ok(true)
}
