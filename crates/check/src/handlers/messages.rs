//! A handler of messages, behind `framed` as any: the worlds of messages. What is to come, it knows from
//! what the peer sends.

use std::io;
use std::time::Duration;

use super::{Session, TestHandler};
use crate::base::id::Origin;
use crate::client::byte;
use crate::conn::input::Input;
use crate::context::Conn;
use crate::frame::{Decode, LengthPrefixed, Lines, MessageError};
use crate::framed::{FramedSession, Messages, framed};
use crate::handler::Handler;
use crate::oracle::{Word, planned};

/// What the messages of a world are: the most bytes of one, and whether a length comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) max: usize,
    pub(crate) has_length: bool,
}

impl Decode for Wire {
    type Message<'a> = &'a [u8];

    fn decode<'a>(&mut self, input: &mut Input<'a>) -> Result<Option<&'a [u8]>, MessageError> {
        if self.has_length {
            LengthPrefixed::new(1).max(self.max).decode(input)
        } else {
            Lines::new().max(self.max).decode(input)
        }
    }
}

impl Wire {
    /// The message at this place of what a peer sends, and where the next one begins.
    fn message(self, link: u32, at: u64) -> (Vec<u8>, u64) {
        if self.has_length {
            let end = at + 1 + u64::from(byte(link, at));
            return ((at + 1..end).map(|at| byte(link, at)).collect(), end);
        }
        let mut end = at;
        while byte(link, end) != b'\n' {
            end += 1;
        }
        ((at..end).map(|at| byte(link, at)).collect(), end + 1)
    }

    /// The fewest bytes, from the begin of a message on, that tell that it is too long.
    fn too_long_at(self) -> u64 {
        if self.has_length { 1 } else { self.max as u64 + 1 }
    }
}

/// What is known of one connection.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Where the next message begins, of all that the peer sends.
    at: u64,
    /// In `on_eof`: how many bytes are left.
    left: Option<usize>,
    /// The end of it was told, or that there is no message.
    is_over: bool,
}

pub(super) type Framing = FramedSession<Wire, Told>;

/// The handler for one callback of one connection.
struct Courier<'s> {
    handler: &'s mut TestHandler,
    link: u32,
    wire: Wire,
}

impl Courier<'_> {
    fn complain(&mut self, what: &str) {
        let link = self.link;
        self.handler.oracle.complain(format!("messages: #{link} {what}"));
    }
}

impl Handler for Courier<'_> {
    type Session = Told;

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<Told> {
        Ok(Told::default())
    }
}

impl Messages<Wire> for Courier<'_> {
    fn on_message(
        &mut self,
        conn: &mut Conn<'_>,
        told: &mut Told,
        message: &[u8],
    ) -> io::Result<()> {
        let (wanted, end) = self.wire.message(self.link, told.at);
        if message != wanted {
            self.complain(&format!("is handed {message:?} where {wanted:?} is next"));
        }
        told.at = end;
        if message.len() > self.wire.max {
            self.complain("is handed a message that is too long");
        }
        if told.is_over {
            self.complain("is handed a message after its end");
        }
        if told.left.is_some() {
            self.complain("is handed a message at its end that was there before");
        } else if !conn.is_reading() {
            self.complain("is handed a message while it is paused, rests or has ended");
        }
        let link = self.link;
        let handler = &mut *self.handler;
        let answer = [message, &vec![b'.'; handler.more], b"\n"].concat();
        handler.send(conn, link, &answer);
        if handler.rng.chance(100) {
            let wait = Duration::from_micros(handler.rng.within(0, 50_000));
            conn.pause();
            handler.oracle.reads(conn.cx(), link, false);
            conn.set_timeout(wait); // which resumes
            handler.oracle.sets_timeout(link, Some(wait));
        } else if handler.rng.chance(10) {
            handler.oracle.ends(conn.cx(), link, false);
            conn.close();
        }
        Ok(())
    }

    fn on_bad_message(
        &mut self,
        conn: &mut Conn<'_>,
        told: &mut Told,
        error: MessageError,
    ) -> io::Result<()> {
        let (message, _) = self.wire.message(self.link, told.at);
        let is_so = match error {
            MessageError::TooLong { max, .. } => max == self.wire.max && message.len() > max,
            MessageError::CutOff { left } => left > 0 && told.left == Some(left),
            MessageError::Invalid(_) | MessageError::Stuck => false,
        };
        if !is_so || told.is_over {
            self.complain(&format!("is told {error}, where {message:?} is next"));
        }
        told.is_over = true;
        let link = self.link;
        self.handler.send(conn, link, b"what?");
        if self.handler.rng.chance(500) {
            return Err(planned());
        }
        self.handler.oracle.ends(conn.cx(), link, false); // `framed` closes
        Ok(())
    }

    fn on_end(&mut self, conn: &mut Conn<'_>, told: &mut Told) -> io::Result<()> {
        if told.is_over || told.left != Some(0) {
            self.complain("is told a good end");
        }
        told.is_over = true;
        self.handler.oracle.ends(conn.cx(), self.link, false);
        conn.close();
        Ok(())
    }
}

impl TestHandler {
    pub(super) fn open_messages(
        &mut self,
        wire: Wire,
        conn: &mut Conn<'_>,
        link: u32,
        origin: Origin,
    ) -> Framing {
        let session = framed(wire, Courier { handler: self, link, wire }).on_open(conn, origin);
        let mut session = session.expect("it never fails");
        session.at = self.oracle.consumed_of(link);
        session
    }

    /// Serves a call of `on_data`. Returns its last word.
    pub(super) fn messages(
        &mut self,
        wire: Wire,
        conn: &mut Conn<'_>,
        session: &mut Session,
        input: &mut Input<'_>,
    ) -> io::Result<Word> {
        let link = session.link;
        let told = session.messages.as_mut().expect("the connection was opened");
        let (before, at) = (input.len(), told.at);
        framed(wire, Courier { handler: self, link, wire }).on_data(conn, told, input)?;
        let consumed = (before - input.len()) as u64;
        if at + consumed != told.at {
            self.oracle.complain(format!("messages: #{link} lost {consumed} bytes from {at} on"));
        }
        if told.is_over || !conn.is_reading() {
            return Ok(Word::None);
        }
        let (message, end) = wire.message(link, told.at);
        let left = input.len() as u64;
        let is_too_long = message.len() > wire.max && left >= wire.too_long_at();
        if told.at + left >= end || is_too_long {
            self.oracle
                .complain(format!("messages: #{link} is not told of {message:?}, which is there"));
        }
        Ok(match (wire.has_length, left) {
            (false, _) => Word::Line,
            (true, 0) => Word::None,
            (true, _) => Word::Bytes(message.len() + 1),
        })
    }

    pub(super) fn messages_end(
        &mut self,
        wire: Wire,
        conn: &mut Conn<'_>,
        session: &mut Session,
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        let link = session.link;
        let told = session.messages.as_mut().expect("the connection was opened");
        told.left = Some(rest.len());
        let result = framed(wire, Courier { handler: self, link, wire }).on_eof(conn, told, rest);
        if !told.is_over {
            self.oracle.complain(format!("messages: #{link} is not told its end"));
        }
        result
    }
}
