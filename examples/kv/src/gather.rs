//! One answer made of what several shards have answered.
//!
//! Parts are answers as the shards wrote them: what is needed of their form is read here. Read
//! next: `turn.rs`, which splits commands and asks all shards.

use crate::info;
use crate::reply::{Protocol, Reply};

/// Parts of an answer, and how they become one.
#[derive(Debug)]
pub struct Gather {
    parts: Vec<Option<Vec<u8>>>,
    combine: Combine,
    protocol: Protocol,
}

/// How parts become an answer. Where one of them is an error, that is the answer, whichever way.
#[derive(Debug)]
pub enum Combine {
    /// They are the same: the first.
    First,
    /// Numbers, added.
    Sum,
    /// Arrays, one behind the other.
    Concat,
    /// Arrays, whose elements take turns: which part each is of.
    Elements(Vec<u8>),
    /// Arrays of names and numbers: numbers of one name are added, names come in the order of the first.
    SumByName,
    /// Arrays, one behind the other, each element once.
    Union,
    /// Arrays: how many elements there are, each counted once.
    CountUnion,
    /// Any that is not nil; this one first.
    Any(usize),
    /// Strings, one behind the other.
    Text,
    /// The numbers of `INFO`, for sections of it.
    Info(Box<info::Request>),
    /// One of them, whose cursor becomes one that names the part.
    Cursor {
        /// The only part that was asked.
        part: usize,
        /// How many there are.
        of: usize,
    },
    /// Numbers, added; an error if that is none.
    Found(&'static str),
}

impl Gather {
    /// Nothing has come of so many parts.
    #[must_use]
    pub fn new(parts: usize, combine: Combine, protocol: Protocol) -> Self {
        Gather { parts: vec![None; parts], combine, protocol }
    }

    /// A part has come.
    pub fn fill(&mut self, part: usize, bytes: &[u8]) {
        self.parts[part] = Some(bytes.to_vec());
    }

    /// The bytes of those that have come.
    #[must_use]
    pub fn held(&self) -> usize {
        self.parts.iter().flatten().map(Vec::len).sum()
    }

    /// Whether all have come.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.parts.iter().all(Option::is_some)
    }

    /// Writes the answer. All parts have come.
    pub fn write(&self, reply: &mut Reply) {
        reply.protocol = self.protocol;
        let parts: Vec<&[u8]> = self.parts.iter().flatten().map(Vec::as_slice).collect();
        if let Some(error) = parts.iter().find(|part| part.starts_with(b"-")) {
            reply.bytes.extend_from_slice(error);
            return;
        }
        let numbers = || parts.iter().map(|part| number(part)).sum::<i64>();
        match &self.combine {
            Combine::First => reply.bytes.extend_from_slice(parts[0]),
            Combine::Sum => reply.integer(numbers()),
            Combine::Found(error) => match numbers() {
                0 => reply.error(error),
                _ => reply.simple("OK"),
            },
            Combine::Concat => {
                reply.array(parts.iter().map(|part| elements(part).0).sum());
                for part in &parts {
                    reply.bytes.extend_from_slice(elements(part).1);
                }
            }
            Combine::Elements(order) => {
                let mut rests: Vec<_> = parts.iter().map(|part| elements(part).1).collect();
                reply.array(order.len());
                for part in order {
                    reply.bytes.extend_from_slice(element(&mut rests[usize::from(*part)]));
                }
            }
            Combine::Union => {
                let mut all: Vec<&[u8]> = parts.iter().flat_map(|part| each(part)).collect();
                all.sort_unstable();
                all.dedup();
                reply.array(all.len());
                for element in all {
                    reply.bytes.extend_from_slice(element);
                }
            }
            Combine::SumByName => sum_by_name(&parts, reply),
            Combine::CountUnion => {
                let mut all: Vec<&[u8]> = parts.iter().flat_map(|part| each(part)).collect();
                all.sort_unstable();
                all.dedup();
                reply.integer(i64::try_from(all.len()).unwrap_or(i64::MAX));
            }
            Combine::Any(first) => {
                let is_nil = |part: &&[u8]| part.starts_with(b"$-1") || part.starts_with(b"_");
                let (before, from) = parts.split_at(first % parts.len());
                let found = from.iter().chain(before).find(|part| !is_nil(part));
                reply.bytes.extend_from_slice(found.unwrap_or(&parts[0]));
            }
            Combine::Text => {
                let text: Vec<_> = parts.iter().map(|part| body(part)).collect();
                reply.text(&String::from_utf8_lossy(&text.concat()));
            }
            Combine::Info(request) => request.write(parts.iter().map(|part| body(part)), reply),
            Combine::Cursor { part, of } => cursor(parts[0], *part, *of, reply),
        }
    }
}

/// A cursor of one shard and which one it is are one number: 0 is the end of the last.
fn cursor(part: &[u8], shard: usize, of: usize, reply: &mut Reply) {
    let (_, mut rest) = elements(part);
    let inner: u64 = text(body(element(&mut rest)));
    let next = match inner {
        0 if shard + 1 == of => 0,
        // The next shard from its beginning, which no inner cursor but 0 means.
        0 => shard as u64 + 1,
        inner => inner * of as u64 + shard as u64,
    };
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.bytes.extend_from_slice(rest);
}

fn sum_by_name(parts: &[&[u8]], reply: &mut Reply) {
    let mut lists: Vec<Vec<&[u8]>> = parts.iter().map(|part| each(part)).collect();
    let first = lists.pop().unwrap_or_default();
    reply.array(first.len());
    for (at, pair) in first.chunks_exact(2).enumerate() {
        let others: i64 = lists.iter().map(|list| number(list[2 * at + 1])).sum();
        reply.bytes.extend_from_slice(pair[0]);
        reply.integer(number(pair[1]) + others);
    }
}

/// The number of an answer that is one: `:12`.
fn number(answer: &[u8]) -> i64 {
    text(line(answer).0.get(1..).unwrap_or_default())
}

fn text<T: std::str::FromStr + Default>(text: &[u8]) -> T {
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// A line, and what is behind it.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
    let (line, rest) = bytes.split_at(end);
    (line.strip_suffix(b"\r\n").unwrap_or(line), rest)
}

/// How many elements an array has, and their bytes.
fn elements(array: &[u8]) -> (usize, &[u8]) {
    let (head, rest) = line(array);
    (text(head.get(1..).unwrap_or_default()), rest)
}

/// The elements of an array one by one.
fn each(array: &[u8]) -> Vec<&[u8]> {
    let (count, mut rest) = elements(array);
    (0..count).map(|_| element(&mut rest)).collect()
}

/// Takes one element, which is no array.
fn element<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (head, behind) = line(rest);
    let body = match head {
        [b'$', len @ ..] if !len.starts_with(b"-") => text::<usize>(len) + 2,
        _ => 0,
    };
    let (element, left) = rest.split_at((rest.len() - behind.len() + body).min(rest.len()));
    *rest = left;
    element
}

/// What a string holds.
fn body(bulk: &[u8]) -> &[u8] {
    let (_, body) = line(bulk);
    let body = body.strip_suffix(b"\r\n").unwrap_or(body);
    if bulk.starts_with(b"=") { body.strip_prefix(b"txt:").unwrap_or(body) } else { body }
}
