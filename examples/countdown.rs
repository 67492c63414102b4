//! A countdown for each client, and a clock that all of them hear.
//!
//! A timer of the connection counts down from what the client says, one line a second; one
//! periodic timer of the reactor tells all clients how many are there. Try it:
//!
//! ```sh
//! cargo run --release --example countdown
//! nc 127.0.0.1 6666
//! 5
//! ```

mod common;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use wouldblock::frame::Lines;
use wouldblock::{Conn, Context, Handler, Messages, Origin, Reactor, Timer, TimerId, framed};

/// Counts down for each client: send a number and see. `stop` stops it, `quit` ends.
#[derive(clap::Parser)]
#[command(name = "countdown", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: String,
    /// How long one step takes, such as 1 or 0.2
    #[arg(long, value_name = "SECONDS", default_value = "1", allow_negative_numbers = true,
          value_parser = common::seconds)]
    step: Duration,
    /// How often everybody is told how many are there
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true,
          value_parser = common::seconds)]
    news: Duration,
    /// How long a client may take to say its first number
    #[arg(long, value_name = "SECONDS", default_value = "30", allow_negative_numbers = true,
          value_parser = common::seconds)]
    patience: Duration,
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

struct Countdown {
    step: Duration,
    news: Duration,
    patience: Duration,
    /// The timer that tells the news.
    clock: Option<TimerId>,
}

/// What we know of one client.
struct Counter {
    /// `None`: it does not count now.
    left: Option<u32>,
    /// When the next step is due, by the reactor's clock.
    next: Duration,
    has_spoken: bool,
}

impl Countdown {
    /// Sets the timer for the next step: a step after the last was due, not after it came. So ten
    /// steps take ten seconds, however late each call is.
    fn next_step(&self, conn: &mut Conn<'_>, counter: &mut Counter) {
        counter.next += self.step;
        let wait = counter.next.saturating_sub(conn.cx().now());
        conn.set_timeout(wait);
    }
}

impl Handler for Countdown {
    type Session = Counter;

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        self.clock = Some(cx.set_periodic_timer(self.news, 0));
        Ok(())
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<Counter> {
        conn.send("a number, please\n");
        conn.set_timeout(self.patience);
        Ok(Counter { left: None, next: Duration::ZERO, has_spoken: false })
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, counter: &mut Counter) -> io::Result<()> {
        match counter.left {
            // 0 was said, or nothing ever.
            None if !counter.has_spoken => {
                conn.send("nobody there? goodbye\n");
                conn.close();
            }
            None => {}
            Some(0 | 1) => {
                counter.left = None;
                conn.send("lift-off\n");
            }
            Some(left) => {
                counter.left = Some(left - 1);
                conn.send(format!("{}\n", left - 1));
                self.next_step(conn, counter);
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        let count = cx.connections().len();
        cx.broadcast(format!("({count} here)\n").into());
        if timer.missed > 0 {
            log::warn!("the news was late: {} times it was not told", timer.missed);
        }
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        if let Some(clock) = self.clock.take() {
            cx.cancel_timer(clock);
        }
        cx.broadcast("the server ends\n".into());
    }
}

impl Messages<Lines> for Countdown {
    fn on_message(
        &mut self,
        conn: &mut Conn<'_>,
        counter: &mut Counter,
        line: &[u8],
    ) -> io::Result<()> {
        match line {
            b"stop" => {
                let was_counting = conn.cancel_timeout() && counter.left.take().is_some();
                conn.send(if was_counting { "stopped\n" } else { "nothing to stop\n" });
            }
            b"quit" => conn.close(),
            _ => match str::from_utf8(line).ok().and_then(|line| line.trim().parse().ok()) {
                Some(from) => {
                    counter.has_spoken = true;
                    counter.left = Some(from);
                    counter.next = conn.cx().now();
                    conn.send(format!("{from}\n"));
                    // Whatever was set before is replaced.
                    self.next_step(conn, counter);
                }
                None => conn.send("a number, stop or quit\n"),
            },
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    let countdown = Countdown {
        step: arguments.step,
        news: arguments.news,
        patience: arguments.patience,
        clock: None,
    };
    // A line is a number or a word.
    let mut reactor = Reactor::new(framed(Lines::new().max(100), countdown))?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    reactor.run()
}
