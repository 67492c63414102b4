//! Compression of messages: permessage-deflate (RFC 7692), by flate2.
//!
//! Without *context takeover* each message is compressed by itself, and all connections share one
//! compressor and one decompressor: a connection has no memory of its own for it. With takeover a
//! message may refer to those before it, so that each connection keeps both. What is inflated is
//! bounded while it is inflated.

#![allow(clippy::cast_possible_truncation, reason = "counts of bytes that lie in memory")]

use std::fmt::Write as _;
use std::mem;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::close::Violation;
use crate::http::Head;
use crate::websocket::Shared;

/// The name of the extension.
const NAME: &str = "permessage-deflate";
/// What an empty block at the end of each message is, which is not sent (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// The largest window, as an exponent of two; the only one that our own memory is for.
pub(crate) const BITS_MAX: u8 = 15;
/// The smallest window that a message can be compressed for; 8 is allowed, and zlib has none.
const BITS_MIN: u8 = 9;

/// How messages are compressed, where the peer wants that, too (RFC 7692).
///
/// It costs time: an order of magnitude more than the message itself. It is worth it where the
/// network is slow, or is paid for, and what is sent is text.
///
/// # Examples
///
/// ```
/// use wouldblock_websocket::Deflate;
///
/// let deflate = Deflate::new().level(1).threshold(200).contexts_max(100);
/// ```
#[derive(Clone, Debug)]
pub struct Deflate {
    level: u32,
    threshold: usize,
    contexts_max: usize,
}

impl Deflate {
    /// With the values that its setters name as defaults.
    #[must_use]
    pub fn new() -> Self {
        Deflate { level: 6, threshold: 64, contexts_max: 0 }
    }

    /// From 1, the fastest, to 9; 6 unless said otherwise.
    ///
    /// # Panics
    ///
    /// If it is none of them.
    #[must_use]
    pub fn level(mut self, level: u32) -> Self {
        assert!((1..=9).contains(&level), "{level} is no level of compression");
        self.level = level;
        self
    }

    /// Messages of fewer bytes are sent as they are; 64 unless said otherwise.
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// How many connections may keep contexts from one message to the next; none unless said
    /// otherwise. What comes after them has no takeover: its messages are each compressed by
    /// itself.
    ///
    /// With takeover small messages that resemble each other become much smaller, for some 420 KiB
    /// of memory for each connection, from its first message on. That memory is not counted in
    /// [`buffered_max`](wouldblock::Config::buffered_max). And a [`Prepared`](crate::Prepared)
    /// message goes to such a connection as it is, not compressed.
    #[must_use]
    pub fn contexts_max(mut self, connections: usize) -> Self {
        self.contexts_max = connections;
        self
    }
}

impl Default for Deflate {
    fn default() -> Self {
        Deflate::new()
    }
}

/// What both sides have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// The window of what is sent.
    pub(crate) bits: u8,
    /// What is sent may refer to messages before.
    pub(crate) sends_takeover: bool,
    /// So may what comes.
    pub(crate) comes_takeover: bool,
}

impl Agreed {
    /// Whether a connection keeps anything from one message to the next.
    pub(crate) fn has_contexts(self) -> bool {
        self.sends_takeover || self.comes_takeover
    }
}

/// The parameters of an offer, or of an answer.
#[derive(Default)]
struct Parameters {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    /// 0 if it has no value.
    client_bits: Option<u8>,
}

impl Parameters {
    /// Reads an element of the list of extensions. `None` if it is of another, or has a parameter
    /// that is none.
    fn read(element: &str) -> Option<Parameters> {
        let mut parts = element.split(';').map(str::trim);
        if parts.next() != Some(NAME) {
            return None;
        }
        let mut read = Parameters::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => {
                    (name.trim_end(), Some(value.trim_start().trim_matches('"')))
                }
                None => (part, None),
            };
            let bits = match value {
                Some(value) if value.starts_with('0') || value.starts_with('+') => return None,
                Some(value) => {
                    Some(value.parse().ok().filter(|bits| (8..=BITS_MAX).contains(bits))?)
                }
                None => None,
            };
            // None of them may come twice.
            match (name, bits) {
                ("server_no_context_takeover", None) if !read.server_no_takeover => {
                    read.server_no_takeover = true;
                }
                ("client_no_context_takeover", None) if !read.client_no_takeover => {
                    read.client_no_takeover = true;
                }
                ("server_max_window_bits", Some(bits)) if read.server_bits.is_none() => {
                    read.server_bits = Some(bits);
                }
                ("client_max_window_bits", bits) if read.client_bits.is_none() => {
                    read.client_bits = Some(bits.unwrap_or_default());
                }
                _ => return None,
            }
        }
        Some(read)
    }
}

/// The elements of the list of extensions.
fn extensions<'a>(head: &Head<'a>) -> impl Iterator<Item = Option<&'a str>> {
    head.list("Sec-WebSocket-Extensions").map(|element| str::from_utf8(element).ok())
}

/// What a server answers to a client's offers: the first that it can meet. `takeover`: there is
/// memory for it.
pub(crate) fn accept(head: &Head<'_>, takeover: bool) -> Option<(Agreed, String)> {
    let offer = extensions(head).flatten().find_map(Parameters::read)?;
    let agreed = Agreed {
        bits: offer.server_bits.unwrap_or(BITS_MAX),
        sends_takeover: takeover && !offer.server_no_takeover,
        comes_takeover: takeover && !offer.client_no_takeover,
    };
    let mut answer = NAME.to_owned();
    if !agreed.sends_takeover {
        answer.push_str("; server_no_context_takeover");
    }
    if !agreed.comes_takeover {
        answer.push_str("; client_no_context_takeover");
    }
    if let Some(bits) = offer.server_bits {
        write!(answer, "; server_max_window_bits={bits}").expect("a string takes all");
    }
    // The client's window may be the largest: ours always is.
    Some((agreed, answer))
}

/// What a client offers, the best first.
pub(crate) fn offer(takeover: bool) -> String {
    let offer = format!("{NAME}; client_max_window_bits");
    if takeover {
        // Some servers ask for no takeover only of a client that has said that it can do without.
        format!("{offer}, {offer}; client_no_context_takeover")
    } else {
        format!("{offer}; server_no_context_takeover; client_no_context_takeover")
    }
}

/// What a server has answered to our offer, if it has chosen anything.
///
/// # Errors
///
/// If it is no answer to that.
pub(crate) fn confirm(head: &Head<'_>, takeover: Option<bool>) -> Result<Option<Agreed>, String> {
    let mut elements = extensions(head);
    let Some(chosen) = elements.next() else { return Ok(None) };
    let answer = chosen.and_then(Parameters::read).filter(|_| elements.next().is_none());
    let (Some(takeover), Some(answer)) = (takeover, answer) else {
        return Err("the server chose an extension that was not offered".into());
    };
    // What it refers to we would have forgotten.
    if (!takeover && !answer.server_no_takeover) || answer.client_bits == Some(0) {
        return Err("the server chose parameters of compression that were not offered".into());
    }
    Ok(Some(Agreed {
        bits: answer.client_bits.unwrap_or(BITS_MAX),
        sends_takeover: takeover && !answer.client_no_takeover,
        comes_takeover: !answer.server_no_takeover,
    }))
}

/// What one connection with takeover keeps, from its first message on.
#[derive(Debug)]
pub(crate) struct Contexts {
    pub(crate) agreed: Agreed,
    compress: Option<Compress>,
    decompress: Option<Decompress>,
}

impl Contexts {
    /// None if what was agreed on needs none.
    pub(crate) fn new(agreed: Agreed) -> Option<Self> {
        agreed.has_contexts().then_some(Contexts { agreed, compress: None, decompress: None })
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Deflater {
    pub(crate) settings: Deflate,
    /// For each window, from the smallest on.
    compress: [Option<Compress>; (BITS_MAX - BITS_MIN + 1) as usize],
    decompress: Option<Decompress>,
    /// How many connections may have contexts at present.
    contexts: usize,
    /// What was compressed last.
    packed: Vec<u8>,
}

impl Deflater {
    pub(crate) fn new(settings: Deflate) -> Self {
        Deflater {
            settings,
            compress: Default::default(),
            decompress: None,
            contexts: 0,
            packed: Vec::new(),
        }
    }

    /// Takes a place for one more connection with contexts. Returns whether there was one.
    pub(crate) fn take_place(&mut self) -> bool {
        let has_place = self.contexts < self.settings.contexts_max;
        self.contexts += usize::from(has_place);
        has_place
    }

    /// A connection that had a place is gone, or needs none.
    pub(crate) fn leave_place(&mut self) {
        self.contexts -= 1;
    }

    /// Compresses a message, into a buffer that is to be [put back](Self::put_back). `None`: it is
    /// to be sent as it is.
    pub(crate) fn pack(
        &mut self,
        payload: &[u8],
        bits: u8,
        contexts: Option<&mut Contexts>,
    ) -> Option<Vec<u8>> {
        if payload.is_empty() || payload.len() < self.settings.threshold || bits < BITS_MIN {
            return None;
        }
        let level = Compression::new(self.settings.level);
        let make = || Compress::new_with_window_bits(level, false, bits);
        let own = contexts.filter(|contexts| contexts.agreed.sends_takeover);
        let compress = if let Some(contexts) = own {
            contexts.compress.get_or_insert_with(make)
        } else {
            let shared = self.compress[usize::from(bits - BITS_MIN)].get_or_insert_with(make);
            shared.reset();
            shared
        };
        self.packed.clear();
        compress_to(compress, payload, &mut self.packed);
        Some(mem::take(&mut self.packed))
    }

    pub(crate) fn put_back(&mut self, mut packed: Vec<u8>) {
        packed.shrink_to(Shared::SCRATCH_MAX);
        self.packed = packed;
    }

    /// Inflates a message, `packed`, which is appended to.
    ///
    /// # Errors
    ///
    /// If it is none, or of more than `max` bytes.
    pub(crate) fn unpack(
        &mut self,
        packed: &mut Vec<u8>,
        to: &mut Vec<u8>,
        max: u32,
        contexts: Option<&mut Contexts>,
    ) -> Result<(), Violation> {
        let make = || Decompress::new(false);
        let own = contexts.filter(|contexts| contexts.agreed.comes_takeover);
        let decompress = if let Some(contexts) = own {
            contexts.decompress.get_or_insert_with(make)
        } else {
            let shared = self.decompress.get_or_insert_with(make);
            shared.reset(false);
            shared
        };
        packed.extend_from_slice(&TAIL);
        inflate_to(decompress, packed, to, max as usize)
    }
}

/// A message compressed by itself, for all that have the largest window.
pub(crate) fn pack_alone(payload: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut compress = Compress::new(Compression::default(), false);
    compress_to(&mut compress, payload, &mut packed);
    packed
}

fn compress_to(compress: &mut Compress, payload: &[u8], to: &mut Vec<u8>) {
    let begin = compress.total_in();
    loop {
        to.reserve((payload.len() / 2).max(128));
        let done = (compress.total_in() - begin) as usize;
        let status = compress.compress_vec(&payload[done..], to, FlushCompress::Sync);
        status.expect("a compressor takes all bytes");
        // Where there is room left, all is out (deflate in zlib's manual).
        if compress.total_in() - begin == payload.len() as u64 && to.len() < to.capacity() {
            break;
        }
    }
    debug_assert!(to.ends_with(&TAIL), "a sync flush ends with an empty block");
    to.truncate(to.len() - TAIL.len());
}

fn inflate_to(
    decompress: &mut Decompress,
    packed: &[u8],
    to: &mut Vec<u8>,
    max: usize,
) -> Result<(), Violation> {
    let wrong = Violation::protocol("a message that is not compressed as agreed");
    let mut rest = packed;
    to.clear();
    loop {
        // As much as is likely, and never much more than is allowed.
        let likely = to.len().max(packed.len()).max(256).saturating_mul(2);
        to.reserve(likely.min(max - to.len() + 1));
        let before = (decompress.total_in(), to.len());
        let status = decompress.decompress_vec(rest, to, FlushDecompress::Sync);
        rest = &rest[(decompress.total_in() - before.0) as usize..];
        if to.len() > max {
            return Err(Violation::too_big());
        }
        match status {
            // The last block of a stream, and more behind it (RFC 7692, section 7.2.3.4).
            Ok(Status::StreamEnd) if !rest.is_empty() => decompress.reset(false),
            Ok(Status::StreamEnd) => {
                decompress.reset(false);
                return Ok(());
            }
            Ok(_) if rest.is_empty() && to.len() < to.capacity() => return Ok(()),
            Ok(_) if before != (decompress.total_in(), to.len()) => {}
            Ok(_) | Err(_) => return Err(wrong),
        }
    }
}
