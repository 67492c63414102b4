//! Rooms of several processes joined by Redis: each room is a channel, and a process subscribes to
//! those in which it has members.
//!
//! One connection of the chat's own reactor, which speaks RESP3: there a client that has subscribed
//! may publish as well (Redis 6 and later). It comes back by itself, each time after a longer wait,
//! and subscribes again. What is published meanwhile is lost for the others: this is no queue. Read
//! next: `main.rs`, which says what a line is.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::time::Duration;

use wouldblock::frame::{Decode, Lines, MessageError};
use wouldblock::{Address, Conn, ConnId, Context, Input};

/// The tag of the connect, and of the timer of the next one.
pub(crate) const TAG: u64 = 1;
/// Before the name of a room.
const PREFIX: &[u8] = b"wouldblock-chat:";
/// Waits between two connects.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether Redis is there; one that is silent for so long is given up.
const LOOK: Duration = Duration::from_secs(5);
/// Bytes of a line of the protocol, and of a string in it.
const LINE_MAX: usize = 1000;
const STRING_MAX: usize = 16 << 10;

/// What the chat is told.
pub(crate) enum News<'a> {
    /// Subscribed to all rooms; those of other processes hear us, and we them.
    Joined,
    /// A line that another process has said to a room.
    Said { room: &'a str, line: &'a str },
}

pub(crate) struct Redis {
    addresses: Vec<Address>,
    /// Leads each message of ours. Redis sends us our own, too, and they were said already.
    ours: String,
    conn: Option<ConnId>,
    /// It has confirmed what was subscribed to.
    is_joined: bool,
    /// A ping was sent, and nothing came since.
    is_pinged: bool,
    wait: Duration,
}

impl Redis {
    pub(crate) fn new(address: &str) -> io::Result<Self> {
        Ok(Redis {
            addresses: Address::resolve(address)?,
            ours: format!("{:016x}", random()),
            conn: None,
            is_joined: false,
            is_pinged: false,
            wait: WAIT_MIN,
        })
    }

    /// A few characters that are no other process's: what tells its guests apart.
    pub(crate) fn mark(&self) -> &str {
        &self.ours[..4]
    }

    pub(crate) fn connect(&mut self, cx: &mut Context) {
        if let Err(error) = cx.connect(&self.addresses, TAG) {
            self.again(cx, &error);
        }
    }

    /// The connect came through: subscribes to these rooms.
    pub(crate) fn open<'a>(
        &mut self,
        conn: &mut Conn<'_>,
        rooms: impl Iterator<Item = &'a String>,
    ) {
        self.conn = Some(conn.id());
        self.is_pinged = true;
        conn.set_timeout(LOOK);
        command(conn, &[b"HELLO", b"3"]);
        for room in rooms {
            command(conn, &[b"SUBSCRIBE", &channel(room)]);
        }
        // Its answer comes behind all others.
        command(conn, &[b"PING"]);
    }

    /// A member has come to a room that was empty.
    pub(crate) fn subscribe(&mut self, cx: &mut Context, room: &str) {
        self.command(cx, &[b"SUBSCRIBE", &channel(room)]);
    }

    /// The last member has left it.
    pub(crate) fn unsubscribe(&mut self, cx: &mut Context, room: &str) {
        self.command(cx, &[b"UNSUBSCRIBE", &channel(room)]);
    }

    /// Tells the other processes a line. If Redis is away, it does nothing.
    pub(crate) fn publish(&mut self, cx: &mut Context, room: &str, line: &str) {
        let message = format!("{} {line}", self.ours);
        self.command(cx, &[b"PUBLISH", &channel(room), message.as_bytes()]);
    }

    fn command(&mut self, cx: &mut Context, words: &[&[u8]]) {
        if let Some(mut conn) = self.conn.and_then(|id| cx.conn(id)) {
            command(&mut conn, words);
        }
    }

    /// Reads what Redis has sent, and hands out what the chat is to know.
    pub(crate) fn read<'a>(
        &mut self,
        input: &mut Input<'a>,
        mut tell: impl FnMut(News<'a>),
    ) -> io::Result<()> {
        self.is_pinged &= input.is_empty();
        while let Some(reply) = Replies.decode(input)? {
            match reply {
                Reply::Message(channel, message) => {
                    let room = channel.strip_prefix(PREFIX).and_then(|it| str::from_utf8(it).ok());
                    let said = str::from_utf8(message).ok().and_then(|it| it.split_once(' '));
                    if let (Some(room), Some((from, line))) = (room, said)
                        && from != self.ours
                        && !line.contains(char::is_control)
                    {
                        tell(News::Said { room, line });
                    }
                }
                Reply::Pong => {
                    if !self.is_joined {
                        tell(News::Joined);
                    }
                    self.is_joined = true;
                    self.wait = WAIT_MIN;
                }
                Reply::Error(error) => {
                    return Err(io::Error::other(String::from_utf8_lossy(error)));
                }
                Reply::Other => {}
            }
        }
        Ok(())
    }

    /// The time has come to look whether Redis is there.
    pub(crate) fn look(&mut self, conn: &mut Conn<'_>) {
        if self.is_pinged {
            log::warn!("redis is silent, and is given up");
            return conn.abort();
        }
        self.is_pinged = true;
        command(conn, &[b"PING"]);
        conn.set_timeout(LOOK);
    }

    /// It is gone, or did not come to be: connects again in a while. Returns whether rooms were joined.
    pub(crate) fn again(&mut self, cx: &mut Context, why: &dyn std::fmt::Display) -> bool {
        // Not all processes at the same moment.
        let half = self.wait / 2;
        let wait = half + half * random().to_be_bytes()[0].into() / 255;
        log::warn!("redis: {why}; again in {} ms", wait.as_millis());
        cx.set_timer(wait, TAG);
        self.wait = (self.wait * 2).min(WAIT_MAX);
        self.conn = None;
        std::mem::take(&mut self.is_joined)
    }

    /// Nothing more will be published.
    pub(crate) fn close(&mut self, cx: &mut Context) {
        if let Some(mut conn) = self.conn.and_then(|id| cx.conn(id)) {
            conn.close();
        }
    }
}

/// From the keys that `std` draws for its maps: enough for what need not be secret.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

fn channel(room: &str) -> Vec<u8> {
    [PREFIX, room.as_bytes()].concat()
}

fn command(conn: &mut Conn<'_>, words: &[&[u8]]) {
    conn.send(format!("*{}\r\n", words.len()));
    for word in words {
        conn.send(format!("${}\r\n", word.len()));
        conn.send(word);
        conn.send("\r\n");
    }
}

/// What Redis says, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Reply<'a> {
    /// Published to a channel.
    Message(&'a [u8], &'a [u8]),
    Pong,
    Error(&'a [u8]),
    /// Anything else; of an array or a map each element by itself.
    Other,
}

/// Decodes RESP3.
#[derive(Clone)]
struct Replies;

const LINES: Lines = Lines::new().max(LINE_MAX);

impl Decode for Replies {
    type Message<'a> = Reply<'a>;

    fn decode<'a>(&mut self, input: &mut Input<'a>) -> Result<Option<Reply<'a>>, MessageError> {
        // Nothing of `input` is consumed before the whole reply is there.
        let mut ahead = Input::from(input.bytes());
        let Some(line) = LINES.next(&mut ahead)? else { return Ok(None) };
        let reply = match line {
            b"+PONG" => Reply::Pong,
            [b'-', error @ ..] => Reply::Error(error),
            [b'$', len @ ..] => match string(len, &mut ahead, input)? {
                Some(_) => Reply::Other,
                None => return Ok(None),
            },
            b">3" => {
                let mut words = [&b""[..]; 3];
                for word in &mut words {
                    let Some(line) = LINES.next(&mut ahead)? else { return Ok(None) };
                    *word = match line.strip_prefix(b"$") {
                        Some(len) => match string(len, &mut ahead, input)? {
                            Some(string) => string,
                            None => return Ok(None),
                        },
                        None => line,
                    };
                }
                match words {
                    [b"message", channel, message] => Reply::Message(channel, message),
                    _ => Reply::Other, // subscribed, unsubscribed
                }
            }
            _ => Reply::Other,
        };
        input.consume(input.len() - ahead.len());
        Ok(Some(reply))
    }
}

/// A string whose length was read. `None` if it is not whole: then `input` waits for it.
fn string<'a>(
    len: &[u8],
    ahead: &mut Input<'a>,
    input: &mut Input<'a>,
) -> Result<Option<&'a [u8]>, MessageError> {
    let len: Option<usize> = str::from_utf8(len).ok().and_then(|len| len.parse().ok());
    let Some(len) = len.filter(|len| *len <= STRING_MAX) else {
        return Err(MessageError::invalid("a string of an invalid length"));
    };
    let Some(string) = ahead.take(len + 2) else {
        input.wait_for(input.len() - ahead.len() + len + 2);
        return Ok(None);
    };
    Ok(Some(&string[..len])) // without its \r\n
}
