//! The server of `hello.rs` by hand: non-blocking `std` sockets, `attempt`, and no reactor.
//!
//! Accept or WouldBlock, receive or WouldBlock, nap, and again. This is what one writes on the day
//! after `setblocking(False)`, and it works: no client waits for a silent one. What it costs stands
//! at the nap, at the end of `serve`; curing that is what the rest of the crate is for.

#![allow(clippy::disallowed_methods, reason = "only the library leaves the clock to one place")]

mod common;

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wouldblock::{Attempt, attempt};

const ANSWER: &[u8] = b"hello, i am the server";
/// How long the loop sleeps when no socket had anything to do.
const NAP: Duration = Duration::from_millis(10);
/// How long a client may take from its message to its end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Accepted in one pass at most, so that a storm of newcomers does not starve the clients that are here.
const ACCEPTS: usize = 64;

/// Receives one message from each client, logs it, answers "hello, i am the server" and closes,
/// with a hand-written loop.
#[derive(clap::Parser)]
#[command(name = "setblocking", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::address)]
    listen: String,
}

/// One client, and how far we are with it. A blocking server keeps this in the line of code it
/// sleeps in; a loop that serves many has to write it down.
struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    stage: Stage,
}

enum Stage {
    Receive,
    /// So many bytes of the answer are sent; all the rest until when.
    Answer(usize, Instant),
    /// All is said and our side closed: read on until the client's end, or this time. A socket
    /// closed with unread input sends a reset, and that may destroy the answer on its way.
    Linger(Instant),
}

/// What one look at a client came to.
enum Look {
    Moved,
    WouldBlock,
    Done,
}

impl Client {
    /// One non-blocking call, whichever is next for this client.
    fn look(&mut self, buffer: &mut [u8], ending: bool) -> io::Result<Look> {
        match self.stage {
            Stage::Receive => match attempt(|| self.stream.read(buffer))? {
                Attempt::Ready(0) => return Ok(Look::Done),
                Attempt::Ready(n) => {
                    log::info!("{} says {}", self.peer, common::quote(&buffer[..n]));
                    self.stage = Stage::Answer(0, Instant::now() + PATIENCE);
                }
                // Silent. When we are asked to end, that is the moment to let it go.
                Attempt::WouldBlock if ending => return Ok(Look::Done),
                Attempt::WouldBlock => return Ok(Look::WouldBlock),
            },
            Stage::Answer(sent, until) => match attempt(|| self.stream.write(&ANSWER[sent..]))? {
                // The kernel takes what it has room for, which may be a part: note where we are.
                Attempt::Ready(n) if sent + n < ANSWER.len() => {
                    self.stage = Stage::Answer(sent + n, until);
                }
                Attempt::Ready(_) => {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.stage = Stage::Linger(until);
                }
                Attempt::WouldBlock => return Ok(self.wait_until(until)),
            },
            Stage::Linger(until) => match attempt(|| self.stream.read(buffer))? {
                Attempt::Ready(0) => return Ok(Look::Done),
                Attempt::Ready(_) if Instant::now() < until => {}
                Attempt::Ready(_) | Attempt::WouldBlock => return Ok(self.wait_until(until)),
            },
        }
        Ok(Look::Moved)
    }

    fn wait_until(&self, until: Instant) -> Look {
        if Instant::now() < until {
            return Look::WouldBlock;
        }
        log::info!("{} is too slow, given up", self.peer);
        Look::Done
    }
}

/// Accepts the clients that wait; true if there was one. `trouble` keeps one trouble from filling the log.
fn accept(listener: &TcpListener, clients: &mut Vec<Client>, trouble: &mut bool) -> bool {
    let before = clients.len();
    for _ in 0..ACCEPTS {
        // An accepted socket blocks, though its listener does not.
        let accepted = attempt(|| listener.accept()).and_then(|accepted| {
            if let Attempt::Ready((stream, _)) = &accepted {
                stream.set_nonblocking(true)?;
            }
            Ok(accepted)
        });
        match accepted {
            Ok(Attempt::Ready((stream, peer))) => {
                clients.push(Client { stream, peer, stage: Stage::Receive });
            }
            Ok(Attempt::WouldBlock) => {
                *trouble = false;
                break;
            }
            // That one client was gone already, or we are out of descriptors. Neither is a reason
            // to die; and after a nap some client may have left us a descriptor.
            Err(error) => {
                if !*trouble {
                    log::warn!("accept: {error}; trying again");
                }
                *trouble = true;
                break;
            }
        }
    }
    clients.len() > before
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    let signals = Arc::new(AtomicUsize::new(0));
    let (first, again) = (Arc::clone(&signals), Arc::clone(&signals));
    common::on_signals(
        move || first.store(1, Ordering::Relaxed),
        move || again.store(2, Ordering::Relaxed),
    )?;

    let address = &arguments.listen;
    let listener = TcpListener::bind(address).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })?;
    listener.set_nonblocking(true)?;
    common::say(format_args!("listening on {}", listener.local_addr()?));

    let mut listener = Some(listener);
    let mut clients = Vec::new();
    let mut trouble = false;
    // One buffer for all: between two looks nothing stays in it.
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let signals = signals.load(Ordering::Relaxed);
        if signals > 1 {
            return Ok(());
        }
        let ending = signals == 1;
        let mut moved = false;

        if let Some(open) = &listener {
            moved |= accept(open, &mut clients, &mut trouble);
            if ending {
                listener = None; // Whoever got in before the signal is served.
            }
        }
        clients.retain_mut(|client| match client.look(&mut buffer, ending) {
            Ok(Look::Moved) => {
                moved = true;
                true
            }
            Ok(Look::WouldBlock) => true,
            Ok(Look::Done) => false,
            Err(error) => {
                log::debug!("{} is gone: {error}", client.peer);
                false
            }
        });

        if ending && clients.is_empty() {
            return Ok(());
        }
        // Why a poll beats a nap. A nap is too long: a client that speaks just after we fell asleep
        // waits for its end, at every message. And it is too short: with no client speaking we
        // still wake a hundred times a second, and ask each of a thousand silent clients with a
        // system call of its own. No length is right. Only the kernel knows which client has
        // something to say; a poll asks it that, sleeps exactly until then, and costs nothing for
        // the silent ones.
        if !moved {
            thread::sleep(NAP);
        }
    }
}
