//! An echo server as an event source of a calloop loop, beside a timer of calloop's.
//!
//! ```sh
//! cargo run --release -p wouldblock-in-calloop --example calloop
//! nc 127.0.0.1 6666
//! ```

#[path = "../../../examples/common/mod.rs"]
mod common;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use calloop::EventLoop;
use calloop::timer::{TimeoutAction, Timer};
use wouldblock::{Handler, Reactor, handler_fn};
use wouldblock_in_calloop::Source;

/// What all sources of the loop share.
#[derive(Default)]
struct State {
    seconds: u32,
    end: Option<io::Result<()>>,
}

/// An echo server as an event source of a calloop loop.
#[derive(clap::Parser)]
#[command(name = "calloop", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(default_value = "127.0.0.1:6666", value_name = "ADDR", value_parser = common::stream_address)]
    listen: String,
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    let mut reactor = Reactor::new(handler_fn(|conn, input| {
        if input.bytes().starts_with(b"shutdown") {
            conn.cx().shutdown();
        }
        conn.send(input.take_all());
        Ok(())
    }))?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    let mut state = State::default();
    run(reactor, &mut state).map_err(io::Error::other)?;
    state.end.expect("it has ended")?;
    common::say(format_args!("ended after {} seconds", state.seconds));
    Ok(())
}

/// Until the reactor has ended.
fn run<H: Handler + 'static>(reactor: Reactor<H>, state: &mut State) -> calloop::Result<()> {
    let mut events: EventLoop<'_, State> = EventLoop::try_new()?;
    let handle = events.handle();
    handle.insert_source(Source::new(reactor)?, |end, (), state| state.end = Some(end))?;
    handle.insert_source(Timer::from_duration(Duration::from_secs(1)), |_, (), state| {
        state.seconds += 1;
        if state.seconds % 10 == 0 {
            common::say(format_args!("{} seconds, by calloop's clock", state.seconds));
        }
        TimeoutAction::ToDuration(Duration::from_secs(1))
    })?;
    let signal = events.get_signal();
    events.run(None, state, |state| {
        if state.end.is_some() {
            signal.stop();
        }
    })
}
