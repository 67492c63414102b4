//! An echo server as an event source of a calloop loop, beside a timer of calloop's.
//!
//! ```sh
//! cargo run --release -p wouldblock-in-calloop --example calloop
//! nc 127.0.0.1 6666
//! ```

use std::error::Error;
use std::io;
use std::time::Duration;

use calloop::EventLoop;
use calloop::timer::{TimeoutAction, Timer};
use wouldblock::{Reactor, handler_fn};
use wouldblock_in_calloop::Source;

/// What all sources of the loop share.
#[derive(Default)]
struct State {
    seconds: u32,
    end: Option<io::Result<()>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:6666".into());

    let mut reactor = Reactor::new(handler_fn(|conn, input| {
        if input.bytes().starts_with(b"shutdown") {
            conn.cx().shutdown();
        }
        conn.send(input.take_all());
        Ok(())
    }))?;
    let listener = reactor.listen(&*address)?;
    println!("listening on {}", reactor.listener_addr(listener)?);

    let mut events: EventLoop<'_, State> = EventLoop::try_new()?;
    let handle = events.handle();
    handle.insert_source(Source::new(reactor)?, |end, (), state| state.end = Some(end))?;
    handle.insert_source(Timer::from_duration(Duration::from_secs(1)), |_, (), state| {
        state.seconds += 1;
        if state.seconds % 10 == 0 {
            println!("{} seconds, by calloop's clock", state.seconds);
        }
        TimeoutAction::ToDuration(Duration::from_secs(1))
    })?;

    let mut state = State::default();
    let signal = events.get_signal();
    events.run(None, &mut state, |state| {
        if state.end.is_some() {
            signal.stop();
        }
    })?;
    state.end.expect("it has ended")?;
    println!("ended after {} seconds", state.seconds);
    Ok(())
}
