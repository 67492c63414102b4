//! A toy protocol as a layer, for tests: everything that a layer can have, and nothing secret.
//!
//! A record is a kind, a length of two bytes, and so many bytes. `H` is the handshake: one from
//! each side, with the key by which that side will xor. `D` is data, `K` another key for all that
//! follows, `E` the end, `A` an alert, which tells the peer why this side gives up.

use std::io;

use wouldblock::{Layer, Received};

/// A record carries at most so many bytes.
pub(crate) const RECORD: usize = 1000;
/// Records of data until the next key.
const PER_KEY: usize = 7;

/// One side of the toy protocol; both sides are the same.
#[derive(Debug)]
pub(crate) struct Toy {
    key: u8,
    theirs: Option<u8>,
    said_hello: bool,
    /// Does not speak before the peer has.
    waits: bool,
    since_key: usize,
    pub(crate) peer_key: u8,
    pub(crate) alert: Option<String>,
    /// One record a call, as a lazy layer does.
    pub(crate) lazy: bool,
}

impl Toy {
    pub(crate) fn new(key: u8) -> Self {
        Toy {
            key,
            theirs: None,
            said_hello: false,
            waits: false,
            since_key: 0,
            peer_key: 0,
            alert: None,
            lazy: false,
        }
    }

    /// One that lets the peer speak first.
    pub(crate) fn server(key: u8) -> Self {
        Toy { waits: true, ..Toy::new(key) }
    }

    fn hello(&mut self, wire: &mut Vec<u8>) {
        if !self.said_hello {
            self.said_hello = true;
            record(b'H', &[self.key], wire);
        }
    }
}

fn fail(what: &str, wire: &mut Vec<u8>) -> io::Error {
    record(b'A', what.as_bytes(), wire);
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub(crate) fn record(kind: u8, bytes: &[u8], wire: &mut Vec<u8>) {
    wire.push(kind);
    wire.extend_from_slice(&u16::try_from(bytes.len()).unwrap().to_be_bytes());
    wire.extend_from_slice(bytes);
}

impl Layer for Toy {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> io::Result<Received> {
        if !self.waits {
            self.hello(wire);
        }
        let mut done = 0;
        while let Some([kind, high, low, rest @ ..]) = bytes.get_mut(done..) {
            let (kind, len) = (*kind, usize::from(u16::from_be_bytes([*high, *low])));
            if len > RECORD {
                return Err(fail("a record too long", wire));
            }
            let Some(body) = rest.get_mut(..len) else { break };
            done += 3 + len;
            match (kind, self.theirs) {
                (b'H', None) if len == 1 => {
                    (self.theirs, self.peer_key) = (Some(body[0]), body[0]);
                    self.hello(wire);
                }
                (b'D', Some(key)) => plain.extend(body.iter().map(|byte| byte ^ key)),
                (b'K', Some(_)) if len == 1 => self.theirs = Some(body[0]),
                (b'E', Some(_)) => return Ok(Received::consumed(done).ended()),
                (b'A', _) => {
                    let text = String::from_utf8_lossy(body).into_owned();
                    self.alert = Some(text.clone());
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
                }
                _ => return Err(fail("no record of this protocol", wire)),
            }
            if self.lazy {
                break;
            }
        }
        Ok(Received::consumed(done))
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        assert!(self.is_ready(), "sent before the handshake was over");
        assert!(!plain.is_empty(), "sent nothing");
        for chunk in plain.chunks(RECORD) {
            if self.since_key == PER_KEY {
                self.since_key = 0;
                self.key = self.key.wrapping_add(31);
                record(b'K', &[self.key], wire);
            }
            self.since_key += 1;
            let xored: Vec<u8> = chunk.iter().map(|byte| byte ^ self.key).collect();
            record(b'D', &xored, wire);
        }
        Ok(())
    }

    fn end(&mut self, wire: &mut Vec<u8>) {
        if self.is_ready() {
            record(b'E', &[], wire);
        }
    }

    fn is_ready(&self) -> bool {
        self.theirs.is_some() && self.said_hello
    }
}
