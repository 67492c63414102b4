//! What no bytes may bring about: properties, each a function of any bytes, that panics if it fails.
//!
//! A fuzzer calls them (`fuzz/` at the root, for cargo-fuzz), and so does an ordinary test
//! (`tests/fuzz.rs`), with numbers from a seed: every machine runs the same checks, one with a
//! fuzzer runs more of them. Read next: `fuzz/window.rs`, `fuzz/frames.rs`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::base::address::Address;
use crate::kernel::Rng;
use crate::net::socket::name;

mod frames;
#[path = "../../../src/frame/tests/marks.rs"]
mod marks;
mod window;

pub use self::window::{input, offers};

/// Bytes to draw choices from. When they are used up, all choices are the first.
#[derive(Debug)]
pub(crate) struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Source(bytes)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Less than `end`, which is at most 65,536.
    fn below(&mut self, end: usize) -> usize {
        let high = if end > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (high + usize::from(self.byte())) % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// The next bytes, at most `most`.
    fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Any decoder of `frame`, over any stream: see `fuzz/frames.rs`.
pub fn frames(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    frames::any(&mut source);
}

/// What is read as an [`Address`] prints as something that is read as the same, and so does any path,
/// and any name of the abstract namespace. No name prints as a control character.
pub fn address(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for text in [text.clone(), format!("unix:{text}").into(), format!("unix:@{text}").into()] {
        if let Ok(read) = text.parse::<Address>() {
            is_read_back(&read);
        }
    }
    is_read_back(&Address::abstract_name(bytes));
    if !bytes.is_empty() {
        is_read_back(&Address::unix(OsStr::from_bytes(bytes)));
    }
}

/// What prints is one line, and is read as the same address, byte by byte.
fn is_read_back(address: &Address) {
    let printed = address.to_string();
    assert!(!printed.contains(|c: char| c.is_control()), "{printed:?}");
    let read: Address = printed.parse().expect("what is printed is an address");
    let (Address::Unix(path), Address::Unix(again)) = (address, &read) else {
        return assert_eq!(read, *address, "{printed:?}");
    };
    let (path, again) = (path.as_os_str().as_bytes(), again.as_os_str().as_bytes());
    // The same file, where its name alone would mean something else.
    let is_taken = path.starts_with(b"@") || path == b"(unnamed)";
    let again = if is_taken { again.strip_prefix(b"./").unwrap_or(again) } else { again };
    assert_eq!(again, path, "{printed:?}");
}

/// Any bytes are some name of a socket, to be read back where it is one that a peer can have; and what
/// is read of a Unix socket is written as the same.
pub fn name(bytes: &[u8]) {
    let address = name::read(bytes);
    is_read_back(&address);
    if matches!(address, Address::Unix(_) | Address::Abstract(_)) {
        match name::unix(&address) {
            Ok(written) => assert_eq!(name::told(Some(written.into())), address),
            Err(_) => assert!(bytes.len() > 2 + 108, "{address} cannot be written"),
        }
    }
}

/// A schedule of the simulator, whose first draws are these bytes: see `kernel/rng.rs`.
#[cfg(fuzzing)]
pub fn schedule(bytes: &[u8]) {
    let (seed, tape) = bytes.split_at(bytes.len().min(1));
    crate::kernel::rng::tape::lay(tape);
    let seed = seed.first().copied().unwrap_or(0);
    let result = crate::schedule::Schedule::new(u64::from(seed)).run();
    crate::kernel::rng::tape::lay(&[]);
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// Bytes as a fuzzer would think of them: of an alphabet of a few, or any; at most `most`.
fn any(rng: &mut Rng, most: usize) -> Vec<u8> {
    let alphabet: &[u8] = match rng.below(3) {
        0 => b"\r\n;aab\0\x01\x02\x03\x80\xff",
        1 => b"unix:@\\x0a/\n[]127.0",
        _ => &[],
    };
    let byte = |rng: &mut Rng| match alphabet {
        [] => u8::try_from(rng.below(256)).expect("it is less than 256"),
        some => *rng.pick(some),
    };
    (0..rng.size(0, most)).map(|_| byte(rng)).collect()
}

/// Asks so much of a property, of bytes from a seed: `begin`, then at most `most` others. Under Miri,
/// where each takes a thousand times as long, it is a 200th.
pub fn draw(seed: u64, times: usize, begin: &[u8], most: usize, property: fn(&[u8])) {
    let times = if cfg!(miri) { times.div_ceil(200) } else { times };
    let mut rng = Rng::new(seed);
    for _ in 0..times {
        property(&[begin, &any(&mut rng, most)].concat());
    }
}
