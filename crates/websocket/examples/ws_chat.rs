//! A chat: browsers by WebSocket, with the page from the same port, and plain `nc` users beside them.
//!
//! ```sh
//! cargo run --release -p wouldblock-websocket --example ws_chat
//! xdg-open http://127.0.0.1:9001/     # in two tabs
//! nc 127.0.0.1 9002
//! ```
//!
//! `/name NAME`, `/join ROOM`, `/quit`; all else is said to the room, whose last lines a newcomer is told. A member
//! that does not read is dropped, and hinders no other: what waits for it is bounded by `BEHIND`.

mod common;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::process::ExitCode;

use wouldblock::{Config, Conn, ConnId, Context, Input, ListenerId, Origin, Reactor};
use wouldblock_websocket::{
    Closed, Endpoint, Head, Message, Prepared, Protocol, Response, WebSocket, Ws, code,
};

/// Lines that a newcomer is told.
const HISTORY: usize = 20;
/// Bytes that may wait for a member before it is dropped.
const BEHIND: usize = 64 << 10;
/// Bytes of a line, and of a name.
const LINE: usize = 1000;
const NAME: usize = 20;

/// A chat: browsers by WebSocket, with the page from the same port, and plain nc users beside them.
#[derive(clap::Parser)]
#[command(name = "ws_chat", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where browsers come, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001", value_parser = common::stream_address)]
    listen: String,
    /// Where plain lines come
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9002", value_parser = common::stream_address)]
    lines: String,
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

struct Member {
    name: String,
    room: String,
    /// By lines, and not by WebSocket.
    is_plain: bool,
}

#[derive(Default)]
struct Room {
    members: Vec<ConnId>,
    history: VecDeque<String>,
}

#[derive(Default)]
struct Chat {
    /// Its connections are plain.
    lines: Option<ListenerId>,
    members: HashMap<ConnId, Member>,
    rooms: BTreeMap<String, Room>,
    /// How many came so far: for names.
    came: u64,
}

impl Chat {
    fn come(&mut self, cx: &mut Context, id: ConnId, is_plain: bool) {
        self.came += 1;
        let name = format!("guest{}", self.came);
        self.members.insert(id, Member { name, room: String::new(), is_plain });
        self.join(cx, id, "lobby");
    }

    fn join(&mut self, cx: &mut Context, id: ConnId, room: &str) {
        self.leave_room(cx, id);
        let Some(member) = self.members.get_mut(&id) else { return };
        room.clone_into(&mut member.room);
        let (line, is_plain) = (format!("* {} comes to {room}", member.name), member.is_plain);
        let entered = self.rooms.entry(room.to_owned()).or_default();
        for line in &entered.history {
            tell(cx, id, is_plain, line);
        }
        entered.members.push(id);
        self.say(cx, room, line);
    }

    fn leave_room(&mut self, cx: &mut Context, id: ConnId) {
        let Some(member) = self.members.get(&id) else { return };
        let (room, line) = (member.room.clone(), format!("* {} leaves", member.name));
        let Some(left) = self.rooms.get_mut(&room) else { return };
        left.members.retain(|it| *it != id);
        if left.members.is_empty() {
            self.rooms.remove(&room);
        } else {
            self.say(cx, &room, line);
        }
    }

    fn leave(&mut self, cx: &mut Context, id: ConnId) {
        self.leave_room(cx, id);
        self.members.remove(&id);
    }

    /// Says a line to a room: encoded once, for either kind of member.
    fn say(&mut self, cx: &mut Context, room: &str, line: String) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        let (mut plain, mut browsers) = (Vec::new(), Vec::new());
        for id in &room.members {
            let Some(mut conn) = cx.conn(*id) else { continue };
            if conn.queued() > BEHIND {
                // Told by its reset; its `on_close` takes it out of the room.
                log::info!("{id} does not read, and is dropped");
                conn.abort();
                continue;
            }
            let is_plain = self.members.get(id).is_some_and(|member| member.is_plain);
            if is_plain { plain.push(*id) } else { browsers.push(*id) }
        }
        Prepared::new(&line).send_to(cx, browsers);
        cx.broadcast_to(plain, format!("{line}\n").into());
        room.history.push_back(line);
        if room.history.len() > HISTORY {
            room.history.pop_front();
        }
    }

    /// What a member has said. Returns whether it stays.
    fn hear(&mut self, cx: &mut Context, id: ConnId, line: &str) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return true };
        // One line each, whatever it holds.
        let line: String = line.chars().filter(|c| !c.is_control()).take(LINE).collect();
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let rest: String = rest.trim().chars().take(NAME).collect();
        match word {
            "" => {}
            "/quit" => return false,
            "/name" | "/join" if rest.is_empty() => tell(cx, id, member.is_plain, "* which?"),
            "/name" => {
                let told = format!("* {} is now {rest}", member.name);
                let room = member.room.clone();
                member.name = rest;
                self.say(cx, &room, told);
            }
            "/join" => self.join(cx, id, &rest),
            _ => {
                let (told, room) = (format!("{}: {line}", member.name), member.room.clone());
                self.say(cx, &room, told);
            }
        }
        true
    }
}

/// Says a line to one.
fn tell(cx: &mut Context, id: ConnId, is_plain: bool, line: &str) {
    if is_plain {
        cx.broadcast_to([id], format!("{line}\n").into());
    } else {
        Prepared::new(line).send_to(cx, [id]);
    }
}

impl Endpoint for Chat {
    type Session = ();

    fn on_connection(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Protocol<()>> {
        if self.lines.is_none_or(|lines| origin != Origin::Accepted(lines)) {
            return Ok(Protocol::Server);
        }
        let id = conn.id();
        self.come(conn.cx(), id, true);
        Ok(Protocol::Plain(()))
    }

    fn on_request(&mut self, _: &mut Conn<'_>, head: &Head<'_>) -> Response {
        match head.path() {
            "/" => {
                Response::new(200).body("text/html; charset=utf-8", include_str!("ws_chat.html"))
            }
            _ => Response::new(404),
        }
    }

    fn on_open(&mut self, ws: &mut Ws<'_>, _: &Head<'_>) -> io::Result<()> {
        let id = ws.id();
        self.come(ws.cx(), id, false);
        Ok(())
    }

    fn on_message(&mut self, ws: &mut Ws<'_>, (): &mut (), message: Message<'_>) -> io::Result<()> {
        let id = ws.id();
        match message {
            Message::Text(line) if self.hear(ws.cx(), id, line) => {}
            Message::Text(_) => ws.close(code::NORMAL, "bye"),
            Message::Binary(_) => ws.close(code::UNSUPPORTED, "text, please"),
        }
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, (): (), _: Closed) {
        self.leave(cx, id);
    }

    fn on_plain(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let id = conn.id();
        while let Some(line) = input.line() {
            if !self.hear(conn.cx(), id, &String::from_utf8_lossy(line)) {
                conn.close();
                break;
            }
        }
        Ok(())
    }

    fn on_plain_close(&mut self, cx: &mut Context, id: ConnId, (): (), _: wouldblock::Closed) {
        self.leave(cx, id);
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    common::raise_descriptor_limit();

    let chat = WebSocket::new(Chat::default()).message_max(4 * LINE);
    let mut reactor = Reactor::with_config(chat, Config::default())?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let browsers = reactor.listen(&arguments.listen)?;
    let lines = reactor.listen(&arguments.lines)?;
    reactor.handler_mut().lines = Some(lines);
    for listener in [browsers, lines] {
        common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    }
    reactor.run()
}
