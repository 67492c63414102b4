//! A chat in one page: what `docs/guide/from_python.md` ends with, word for word (a test holds that).
//!
//! ```sh
//! cargo run --example chat -- 127.0.0.1:6666
//! nc 127.0.0.1 6666
//! ```

use std::{env, io};
use wouldblock::frame::Delimited;
use wouldblock::{Closed, Conn, ConnId, ConnMap, Context, Handler, Input, Origin, Reactor};

const LINES: Delimited<'_> = Delimited::new(b"\n").max(1000); // a longer one ends its connection

#[derive(Default)]
struct Chat {
    names: ConnMap<String>, // who is in the room: a dict from connection to name
}

impl Chat {
    /// To all in the room but one.
    fn tell(&self, cx: &mut Context, but: ConnId, line: &str) {
        let others = self.names.iter().map(|(id, _)| id).filter(|id| *id != but);
        cx.broadcast_to(others, format!("{line}\n").into());
    }

    fn enter(&mut self, conn: &mut Conn<'_>, name: &str) {
        if name.is_empty() || self.names.iter().any(|(_, taken)| taken == name) {
            return conn.send("another name?\n");
        }
        let here: Vec<&str> = self.names.iter().map(|(_, name)| &name[..]).collect();
        conn.send(format!("* here: {}\n", here.join(", ")));
        self.names.insert(conn.id(), name.to_string());
        let me = conn.id();
        self.tell(conn.cx(), me, &format!("* {name} has come"));
    }
}

impl Handler for Chat {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        conn.send("name?\n");
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        _session: &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        while let Some(line) = LINES.next(input)? {
            let line = String::from_utf8_lossy(line);
            let (me, line) = (conn.id(), line.trim());
            match self.names.get(me) {
                Some(name) => self.tell(conn.cx(), me, &format!("{name}: {line}")),
                None => self.enter(conn, line),
            }
        }
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, _session: (), _closed: Closed) {
        if let Some(name) = self.names.remove(id) {
            self.tell(cx, id, &format!("* {name} has left"));
        }
    }
}

fn main() -> io::Result<()> {
    let mut reactor = Reactor::new(Chat::default())?;
    let listen = env::args().nth(1).unwrap_or("127.0.0.1:6666".to_string());
    let listener = reactor.listen(listen)?;
    println!("listening on {}", reactor.local_addr(listener)?);
    reactor.run()
}
