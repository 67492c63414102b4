//! A chat in one page: what `docs/guide/from_python.md` ends with. All above the line is on that page
//! word for word (a test holds that); below it are the arguments and manners of the other examples.
//!
//! ```sh
//! cargo run --example chat -- 127.0.0.1:6666
//! nc 127.0.0.1 6666
//! ```

use std::io;
use std::time::Duration;
use wouldblock::frame::Lines;
use wouldblock::{
    Closed, Conn, ConnId, ConnMap, Context, Handler, Messages, Origin, Reactor, framed,
};

const LINES: Lines = Lines::new().max(1000); // a longer one ends its connection

/// How much one member may have the others be sent in a second: more of it is read later.
const PACE: usize = 4000;

#[derive(Default)]
struct Chat {
    names: ConnMap<String>, // who is in the room: a dict from connection to name
}

impl Chat {
    /// To all in the room but one. Returns how many bytes each of them is sent.
    fn tell(&self, cx: &mut Context, but: ConnId, line: &str) -> usize {
        let others = self.names.iter().map(|(id, _)| id).filter(|id| *id != but);
        cx.broadcast_to(others, format!("{line}\n").into());
        line.len() + 1
    }

    fn enter(&mut self, conn: &mut Conn<'_>, name: &str) -> usize {
        if name.is_empty() || self.names.iter().any(|(_, taken)| taken == name) {
            conn.send("another name?\n");
            return 0;
        }
        let here: Vec<&str> = self.names.iter().map(|(_, name)| &name[..]).collect();
        conn.send(format!("* here: {}\n", here.join(", ")));
        self.names.insert(conn.id(), name.to_string());
        let me = conn.id();
        self.tell(conn.cx(), me, &format!("* {name} has come"))
    }
}

impl Handler for Chat {
    type Session = usize; // bytes that it has had each of the others be sent in this second

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<usize> {
        conn.send("name?\n");
        Ok(0)
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, told: &mut usize) -> io::Result<()> {
        *told = 0;
        conn.resume();
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, _told: usize, _closed: Closed) {
        if let Some(name) = self.names.remove(id) {
            self.tell(cx, id, &format!("* {name} has left"));
        }
    }
}

impl Messages<Lines> for Chat {
    fn on_message(&mut self, conn: &mut Conn<'_>, told: &mut usize, line: &[u8]) -> io::Result<()> {
        if *told == 0 {
            conn.set_timeout(Duration::from_secs(1)); // a second begins
        }
        // Without what would act on the others' terminals, or forge a line of another member.
        let line = String::from_utf8_lossy(line).replace(char::is_control, "");
        let (me, line) = (conn.id(), line.trim());
        *told += match self.names.get(me) {
            Some(name) => self.tell(conn.cx(), me, &format!("{name}: {line}")),
            None => self.enter(conn, line),
        };
        if *told >= PACE {
            conn.pause(); // what it says next stays in the kernel, and in the end on its own machine
        }
        Ok(())
    }
}

// ------------------------------------------------------------------------------------------------

mod common;

use std::process::ExitCode;

/// A chat: who says a name is in the room, and hears what the others say.
#[derive(clap::Parser)]
#[command(name = "chat", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: String,
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    let mut reactor = Reactor::new(framed(LINES, Chat::default()))?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    reactor.run()
}
