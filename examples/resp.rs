//! A small cache that speaks RESP, the protocol of Redis: a decoder of one's own, and pipelining
//! for nothing.
//!
//! ```sh
//! cargo run --release --example resp
//! redis-cli -p 6379 set colour green
//! redis-benchmark -t ping,set,get,incr -P 100 -q
//! printf 'INCR visits\r\nGET colour\r\n' | nc -N 127.0.0.1 6379
//! ```
//!
//! It never forgets a key: a cache for more than friends bounds its memory.

mod common;

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;

use wouldblock::frame::{Decode, Lines, MessageError};
use wouldblock::{CloseReason, Conn, Handler, Input, Messages, Origin, Reactor, framed};

/// A small cache that speaks RESP: PING, ECHO, GET, SET, DEL, INCR, QUIT.
#[derive(clap::Parser)]
#[command(name = "resp", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6379", value_parser = common::stream_address)]
    listen: String,
}

const LINES: Lines = Lines::new().max(64 << 10);
const WORDS_MAX: usize = 1000;
const WORD_MAX: usize = 512 << 10;

/// Commands: an array of strings with their lengths, or a line of words (an "inline command").
#[derive(Clone)]
struct Commands;

impl Decode for Commands {
    type Message<'a> = Vec<&'a [u8]>; // words, where they were received

    fn decode<'a>(&mut self, input: &mut Input<'a>) -> Result<Option<Vec<&'a [u8]>>, MessageError> {
        // Reads ahead; nothing of `input` is consumed before the whole command is there.
        let mut ahead = Input::from(input.bytes());
        let Some(line) = LINES.next(&mut ahead)? else { return Ok(None) };
        let mut words = Vec::new();
        if let Some(count) = line.strip_prefix(b"*") {
            for _ in 0..number(count, WORDS_MAX)? {
                let Some(line) = LINES.next(&mut ahead)? else { return Ok(None) };
                let Some(len) = line.strip_prefix(b"$") else {
                    return Err(MessageError::invalid("expected '$'"));
                };
                let len = number(len, WORD_MAX)?;
                let Some(word) = ahead.take(len + 2) else {
                    // Not to be asked again for each piece of a long value.
                    input.wait_for(input.len() - ahead.len() + len + 2);
                    return Ok(None);
                };
                words.push(&word[..len]); // without its \r\n
            }
        } else {
            words.extend(line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()));
        }
        input.consume(input.len() - ahead.len());
        Ok(Some(words))
    }
}

fn number(text: &[u8], max: usize) -> Result<usize, MessageError> {
    let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.filter(|number| *number <= max).ok_or_else(|| MessageError::invalid("invalid length"))
}

#[derive(Default)]
struct Cache {
    values: HashMap<Vec<u8>, Vec<u8>>,
}

impl Handler for Cache {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_closing(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        why: &CloseReason,
    ) -> io::Result<()> {
        conn.send(format!("-ERR {why}\r\n"));
        Ok(())
    }
}

impl Messages<Commands> for Cache {
    fn on_message(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        words: Vec<&[u8]>,
    ) -> io::Result<()> {
        let Some((name, arguments)) = words.split_first() else { return Ok(()) };
        match (&name.to_ascii_uppercase()[..], arguments) {
            (b"PING", []) => conn.send("+PONG\r\n"),
            (b"PING" | b"ECHO", [text]) => send_bulk(conn, text),
            (b"GET", [key]) => match self.values.get(*key) {
                Some(value) => send_bulk(conn, value),
                None => conn.send("$-1\r\n"),
            },
            (b"SET", [key, value]) => {
                self.values.insert(key.to_vec(), value.to_vec());
                conn.send("+OK\r\n");
            }
            (b"DEL", keys @ [_, ..]) => {
                let gone = keys.iter().filter(|key| self.values.remove(**key).is_some()).count();
                conn.send(format!(":{gone}\r\n"));
            }
            (b"INCR", [key]) => {
                let old = self.values.get(*key).map_or(&b"0"[..], Vec::as_slice);
                let old: Option<i64> = str::from_utf8(old).ok().and_then(|old| old.parse().ok());
                match old.and_then(|old| old.checked_add(1)) {
                    Some(new) => {
                        self.values.insert(key.to_vec(), new.to_string().into());
                        conn.send(format!(":{new}\r\n"));
                    }
                    None => conn.send("-ERR value is not an integer or out of range\r\n"),
                }
            }
            (b"QUIT", []) => {
                conn.send("+OK\r\n");
                conn.close();
            }
            _ => conn.send("-ERR unknown command, or wrong number of arguments\r\n"),
        }
        Ok(())
    }

    fn on_bad_message(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        error: MessageError,
    ) -> io::Result<()> {
        conn.send(format!("-ERR Protocol error: {error}\r\n")); // goes out before the close
        Err(error.into())
    }
}

fn send_bulk(conn: &mut Conn<'_>, value: &[u8]) {
    conn.send(format!("${}\r\n", value.len()));
    conn.send(value);
    conn.send("\r\n");
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    common::raise_descriptor_limit();
    let mut reactor = Reactor::new(framed(Commands, Cache::default()))?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    reactor.run()
}
