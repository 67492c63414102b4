//! An admin port for any server on its reactor: a service that reads lines and knows nothing of the others.
//!
//! Who may connect is for the path of its socket to say: give it a directory of your own. Read next:
//! `admin.rs`, which has it beside an echo.

use std::io;
use std::time::Duration;

use wouldblock::bytes::Bytes;
use wouldblock::frame::{Lines, MessageError};
use wouldblock::{Caps, Conn, Context, Framed, Handler, Messages, Origin, chunks, framed};

const HELP: &str = "\
stats      counters of each service
list       every connection: id, service, peer, what it waits for
close ID   closes one
limit N    the most connections of service 0
shutdown   ends the server once all is answered
quit       ends this connection
";

/// The most bytes of a line.
const LINE_MAX: usize = 256;

pub(crate) struct Admin;

/// The service, to stand beside others in a tuple.
pub(crate) fn admin() -> Framed<Lines, Admin> {
    framed(Lines::new().max(LINE_MAX), Admin)
}

/// What the port needs: a few places that no client of another service can take, and no haste.
pub(crate) fn caps() -> Caps {
    Caps::default()
        .reserve(4)
        .connections(4)
        .first_byte(None)
        .min_rate(0, Duration::ZERO)
        .idle(None)
}

impl Handler for Admin {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        conn.send("hello; help says what there is\n");
        Ok(())
    }
}

impl Messages<Lines> for Admin {
    fn on_message(&mut self, conn: &mut Conn<'_>, (): &mut (), line: &[u8]) -> io::Result<()> {
        let line = String::from_utf8_lossy(line);
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            ["help"] => conn.send(HELP),
            ["stats"] => {
                let text = stats(conn.cx());
                conn.send(text);
            }
            ["list"] => {
                // As the client takes it: of a full server it may be more than a connection may be owed.
                let lines = list(conn.cx())?;
                conn.send_from(chunks(lines));
            }
            ["close", id] => {
                let found =
                    conn.cx().all_connections().into_iter().find(|one| one.to_string() == id);
                match found.and_then(|id| conn.cx().conn(id)) {
                    Some(mut other) => {
                        other.close();
                        conn.send("ok\n");
                    }
                    None => conn.send(format!("error: no connection {id}\n")),
                }
            }
            ["limit", number] => {
                let set = match number.parse() {
                    Ok(most) => conn.cx().service(0).set_caps(Caps::default().connections(most)),
                    Err(error) => Err(io::Error::new(io::ErrorKind::InvalidInput, error)),
                };
                match set {
                    Ok(()) => conn.send("ok\n"),
                    Err(error) => conn.send(format!("error: {error}\n")),
                }
            }
            ["shutdown"] => {
                conn.send("ok\n");
                conn.cx().shutdown();
            }
            ["quit"] => conn.close(),
            _ => conn.send("error: help says what there is\n"),
        }
        Ok(())
    }

    fn on_bad_message(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        error: MessageError,
    ) -> io::Result<()> {
        conn.send(format!("error: {error}\n"));
        Err(error.into())
    }
}

fn list(cx: &mut Context) -> io::Result<Vec<Bytes>> {
    let mut lines = Vec::new();
    for id in cx.present_connections() {
        let Some(conn) = cx.conn(id) else { continue };
        let (service, peer, explained) = (conn.service(), conn.peer_addr()?, conn.explain());
        lines.push(format!("{id} service {service} {peer}: {explained}\n").into());
    }
    Ok(lines)
}

fn stats(cx: &mut Context) -> String {
    let mut lines = Vec::new();
    for n in 0..cx.services() {
        let number = u8::try_from(n).expect("there are 256 services at most");
        let stats = cx.service(number).service_stats();
        lines.push(format!(
            "service {n}: {} open, {} accepted, {} connected, {} closed, {} refused\n",
            stats.open,
            stats.accepted,
            stats.connected,
            stats.closed.total(),
            stats.refused + stats.refused_address
        ));
    }
    let (all, buffered) = (cx.stats(), cx.buffered());
    let (bytes_in, bytes_out, turns) = (all.bytes_in, all.bytes_out, all.turns);
    lines.push(format!(
        "all: {bytes_in} bytes in, {bytes_out} bytes out, {buffered} bytes buffered, {turns} turns\n"
    ));
    let load = &all.load;
    let (awake, asleep, lag) = (load.awake(), load.asleep(), load.lag());
    lines.push(format!("loop: awake {awake:.1?}, asleep {asleep:.1?}, longest turn {lag:.1?}\n"));
    lines.concat()
}
