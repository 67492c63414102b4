//! A chat: browsers by WebSocket, with the page from the same port, and plain `nc` users beside them.
//!
//! ```sh
//! cargo run --release -p wouldblock-websocket --example ws_chat
//! xdg-open http://127.0.0.1:9001/     # in two tabs
//! nc 127.0.0.1 9002
//! ```
//!
//! `/name NAME`, `/join ROOM`, `/quit`; all else is said to the room, whose last lines a newcomer
//! is told. A member that does not read is dropped, and hinders no other: what waits for it is
//! bounded by `BEHIND`. Each room is a topic. Not here: a member that floods is not slowed down,
//! and may have others dropped for what it says; the example `chat` does that, by `PACE`.
//!
//! With `--redis ADDR` the rooms of all processes that are given the same Redis are one. While it
//! is away, the members of each process talk on, and are told; it is joined again by itself.
//!
//! ```sh
//! ws_chat --redis 127.0.0.1:6379 &
//! ws_chat --redis 127.0.0.1:6379 --listen 127.0.0.1:9003 --lines 127.0.0.1:9004
//! ```

#[path = "../common/mod.rs"]
mod common;
mod redis;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::process::ExitCode;

use wouldblock::{
    CloseReason, Config, Conn, ConnId, Context, Input, ListenerId, Origin, Reactor, Timer,
};
use wouldblock_websocket::{
    Closed, Endpoint, Head, Message, Prepared, Protocol, Response, Subscriber, Topics, WebSocket,
    Ws, code,
};

use crate::redis::{News, Redis};

/// Lines that a newcomer is told.
const HISTORY: usize = 20;
/// Bytes that may wait for a member before it is dropped, and for Redis before it is given up: more
/// than the history.
const BEHIND: usize = 512 << 10;
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
    /// A Redis, 6 or later, that joins the rooms of several processes
    #[arg(long, value_name = "ADDR", value_parser = common::stream_address)]
    redis: Option<String>,
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

struct Member {
    name: String,
    room: String,
    subscriber: Subscriber,
}

#[derive(Default)]
struct Chat {
    /// Its connections are plain.
    lines: Option<ListenerId>,
    members: HashMap<ConnId, Member>,
    /// The last lines of each room in which there are members.
    rooms: BTreeMap<String, VecDeque<String>>,
    topics: Topics,
    /// How many came so far: for names.
    came: u64,
    redis: Option<Redis>,
    is_ending: bool,
}

/// What a connection is.
enum Session {
    Browser,
    Lines,
    Redis,
}

impl Chat {
    fn come(&mut self, cx: &mut Context, subscriber: Subscriber) {
        self.came += 1;
        let mut name = format!("guest{}", self.came);
        if let Some(redis) = &self.redis {
            name = format!("{name}-{}", redis.mark());
        }
        let member = Member { name, room: String::new(), subscriber };
        self.members.insert(subscriber.id(), member);
        self.join(cx, subscriber.id(), "lobby");
    }

    fn join(&mut self, cx: &mut Context, id: ConnId, room: &str) {
        self.leave_room(cx, id);
        let Some(member) = self.members.get_mut(&id) else { return };
        room.clone_into(&mut member.room);
        let (line, subscriber) = (format!("* {} comes to {room}", member.name), member.subscriber);
        if !self.rooms.contains_key(room)
            && let Some(redis) = &mut self.redis
        {
            redis.subscribe(cx, room);
        }
        for line in self.rooms.entry(room.to_owned()).or_default() {
            subscriber.send(cx, &prepared(line));
        }
        self.topics.subscribe_as(cx, subscriber, room.to_owned());
        self.say(cx, room, line);
    }

    fn leave_room(&mut self, cx: &mut Context, id: ConnId) {
        let Some(member) = self.members.get(&id) else { return };
        let (room, line) = (member.room.clone(), format!("* {} leaves", member.name));
        if room.is_empty() {
            return;
        }
        self.topics.unsubscribe(id, &room);
        // To those of other processes as well.
        self.say(cx, &room, line);
        if self.topics.subscribers(&room).next().is_none() {
            self.rooms.remove(&room);
            if let Some(redis) = &mut self.redis {
                redis.unsubscribe(cx, &room);
            }
        }
    }

    fn leave(&mut self, cx: &mut Context, id: ConnId) {
        self.leave_room(cx, id);
        self.members.remove(&id);
        self.end_redis(cx);
    }

    /// In a shutdown Redis is there until all members have left, and the others have been told.
    fn end_redis(&mut self, cx: &mut Context) {
        if let Some(redis) = &mut self.redis
            && self.is_ending
            && self.members.is_empty()
        {
            redis.close(cx);
        }
    }

    /// Says a line to a room, in all processes. Our own members do not wait for Redis.
    fn say(&mut self, cx: &mut Context, room: &str, line: String) {
        if let Some(redis) = &mut self.redis {
            redis.publish(cx, room, &line);
        }
        self.say_here(cx, room, line);
    }

    /// Redis is gone, or did not come to be.
    fn redis_is_away(&mut self, cx: &mut Context, why: &dyn std::fmt::Display) {
        let Some(redis) = self.redis.as_mut().filter(|_| !self.is_ending) else { return };
        if redis.again(cx, why) {
            self.say_to_all(cx, "* out of reach of the other servers");
        }
    }

    fn say_to_all(&mut self, cx: &mut Context, line: &str) {
        let rooms: Vec<_> = self.rooms.keys().cloned().collect();
        for room in rooms {
            self.say_here(cx, &room, line.to_owned());
        }
    }

    /// Says a line to the room's members of this process: encoded once, for either kind.
    fn say_here(&mut self, cx: &mut Context, room: &str, line: String) {
        self.topics.publish(cx, room, &prepared(&line));
        if let Some(history) = self.rooms.get_mut(room) {
            history.push_back(line);
            if history.len() > HISTORY {
                history.pop_front();
            }
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
            "/name" | "/join" if rest.is_empty() => {
                member.subscriber.send(cx, &prepared("* which?"));
            }
            "/name" => {
                let told = format!("* {} is now {rest}", member.name);
                let room = member.room.clone();
                member.name = rest;
                self.say(cx, &room, told);
            }
            "/join" if member.room == rest => {} // it is there
            "/join" => self.join(cx, id, &rest),
            _ => {
                let (told, room) = (format!("{}: {line}", member.name), member.room.clone());
                self.say(cx, &room, told);
            }
        }
        true
    }

    fn read_redis(&mut self, cx: &mut Context, input: &mut Input<'_>) -> io::Result<()> {
        let Some(mut redis) = self.redis.take() else { return Ok(()) };
        let read = redis.read(input, |news| match news {
            News::Joined => self.say_to_all(cx, "* joined with the other servers"),
            News::Said { room, line } => self.say_here(cx, room, line.to_owned()),
        });
        self.redis = Some(redis);
        read
    }
}

/// A line, for browsers and for members that have but lines.
fn prepared(line: &str) -> Prepared {
    Prepared::new(line).plain(format!("{line}\n"))
}

impl Endpoint for Chat {
    type Session = Session;

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        if let Some(redis) = &mut self.redis {
            redis.connect(cx);
        }
        Ok(())
    }

    fn on_connection(
        &mut self,
        conn: &mut Conn<'_>,
        origin: Origin,
    ) -> io::Result<Protocol<Session>> {
        if origin == Origin::Connected(redis::TAG)
            && let Some(redis) = &mut self.redis
        {
            conn.hold(!self.is_ending); // until all members have left
            redis.open(conn, self.rooms.keys());
            return Ok(Protocol::Plain(Session::Redis));
        }
        if self.lines.is_none_or(|lines| origin != Origin::Accepted(lines)) {
            return Ok(Protocol::Server);
        }
        let id = conn.id();
        self.come(conn.cx(), Subscriber::plain(id));
        Ok(Protocol::Plain(Session::Lines))
    }

    fn on_request(&mut self, _: &mut Conn<'_>, head: &Head<'_>) -> Response {
        match head.path() {
            "/" => Response::new(200).body("text/html; charset=utf-8", include_str!("page.html")),
            _ => Response::new(404),
        }
    }

    fn on_open(&mut self, ws: &mut Ws<'_>, _: &Head<'_>) -> io::Result<Session> {
        let subscriber = ws.subscriber();
        self.come(ws.cx(), subscriber);
        Ok(Session::Browser)
    }

    fn on_message(
        &mut self,
        ws: &mut Ws<'_>,
        _: &mut Session,
        message: Message<'_>,
    ) -> io::Result<()> {
        let id = ws.id();
        match message {
            Message::Text(line) if self.hear(ws.cx(), id, line) => {}
            Message::Text(_) => ws.close(code::NORMAL, "bye"),
            Message::Binary(_) => ws.close(code::UNSUPPORTED, "text, please"),
        }
        Ok(())
    }

    /// It leaves now, and not when its browser has answered the close.
    fn on_closing(&mut self, ws: &mut Ws<'_>, _: &mut Session, _: &CloseReason) {
        let id = ws.id();
        self.leave(ws.cx(), id);
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, _: Session, closed: Closed) {
        log::info!("{id}: {closed}");
        self.leave(cx, id);
    }

    fn on_plain(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        if matches!(session, Session::Redis) {
            return self.read_redis(conn.cx(), input);
        }
        let id = conn.id();
        while let Some(line) = input.line() {
            if !self.hear(conn.cx(), id, &String::from_utf8_lossy(line)) {
                conn.close();
                break;
            }
        }
        Ok(())
    }

    fn on_plain_timeout(&mut self, conn: &mut Conn<'_>, _: &mut Session) -> io::Result<()> {
        if let Some(redis) = &mut self.redis {
            redis.look(conn);
        }
        Ok(())
    }

    fn on_plain_close(
        &mut self,
        cx: &mut Context,
        id: ConnId,
        session: Session,
        closed: wouldblock::Closed,
    ) {
        match session {
            Session::Redis => self.redis_is_away(cx, &closed),
            Session::Lines | Session::Browser => {
                log::info!("{id}: {closed}");
                self.leave(cx, id);
            }
        }
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _: ConnId, _: u64, error: io::Error) {
        self.redis_is_away(cx, &error);
    }

    fn on_timer(&mut self, cx: &mut Context, _: Timer) {
        if let Some(redis) = self.redis.as_mut().filter(|_| !self.is_ending) {
            redis.connect(cx);
        }
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        self.is_ending = true;
        self.end_redis(cx);
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    common::raise_descriptor_limit();

    let redis = arguments.redis.as_deref().map(Redis::new).transpose()?;
    let chat = Chat { redis, ..Chat::default() };
    let chat = WebSocket::new(chat).message_max(4 * LINE);
    let mut reactor = Reactor::with_config(chat, Config::default().output_max(BEHIND))?;
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
