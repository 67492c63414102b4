//! `Input` against a model: a position in a stream that is known beforehand.
//!
//! A reader does anything a handler may do with its input, in any order, and looks after each step
//! whether the window is what the model says: each byte once and in order, `seen` true, nothing
//! waited for that is there. First over `Input` and a leftover alone, then as the handler of a reactor
//! in a simulated world. Read next: `frames.rs`.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::Source;
use super::marks::{Marks, Next};
use crate::base::close::{CloseReason, Closed};
use crate::base::config::Config;
use crate::base::id::{ConnId, Origin};
use crate::conn::buffer::Leftover;
use crate::conn::input::{AWAKE, Input, Wait};
use crate::context::{Conn, Context};
use crate::handler::Handler;
use crate::sim::{Profile, Sim};

/// What a handler said last, as the documentation of [`Input`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Nothing,
    /// A line or a delimiter: any new byte will do.
    More,
    Bytes(usize),
}

impl From<Wait> for Word {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Nothing | Wait::NotNow => Word::Nothing,
            Wait::Line | Wait::Delimiter(_) => Word::More,
            Wait::Bytes(n) => Word::Bytes(n),
        }
    }
}

/// Reads a stream as its bytes arrive, in ways drawn from a source.
#[derive(Debug)]
struct Reader<'s> {
    stream: Rc<[u8]>,
    source: Source<'s>,
    /// How much of the stream is consumed.
    position: usize,
    /// How much a call has been shown.
    shown: usize,
    /// What the last call came to: what it consumed, and its last word.
    consumed: usize,
    word: Word,
    calls: usize,
}

impl<'s> Reader<'s> {
    /// A stream, and what is done with it.
    fn new(source: Source<'s>, stream: Vec<u8>) -> Self {
        Reader {
            stream: stream.into(),
            source,
            position: 0,
            shown: 0,
            consumed: 0,
            word: Word::Nothing,
            calls: 0,
        }
    }

    /// Whether a call with so many bytes in its window is due. `end`: no more will come.
    fn is_due(&self, window: usize, end: bool) -> bool {
        let new = self.position + window > self.shown;
        let repeat = self.consumed > 0 && window > 0 && self.word == Word::Nothing;
        let enough = match self.word {
            Word::Nothing | Word::More => true,
            Word::Bytes(n) => window >= n,
        };
        end || repeat || (new && enough)
    }

    /// One call of a handler.
    fn call(&mut self, input: &mut Input<'_>, end: bool) {
        let len = input.len();
        assert!(self.is_due(len, end), "a call that is not due: {len} bytes, {self:?}");
        assert!(self.position + len >= self.shown, "bytes are gone: {len} of {self:?}");
        self.calls += 1;
        let arrived = self.position + len;
        let stream = Rc::clone(&self.stream);
        let stream = &stream[..arrived];
        let (first, shown) = (self.position, self.shown);
        self.word = Word::Nothing;
        for _ in 0..=self.source.below(6) {
            let window = &stream[self.position..];
            assert_eq!(input.bytes(), window, "after {} bytes", self.position);
            assert_eq!((input.len(), input.is_empty()), (window.len(), window.is_empty()));
            assert_eq!(input.seen(), shown.saturating_sub(self.position), "{self:?}");
            self.step(input, window);
        }
        assert_eq!(input.bytes(), &stream[self.position..]);
        self.shown = arrived;
        self.consumed = self.position - first;
    }

    fn consume(&mut self, n: usize) {
        self.position += n;
        self.word = Word::Nothing;
    }

    /// Waits for so many, if they are not there.
    fn wait_for(&mut self, n: usize, window: &[u8]) {
        self.word = if n > window.len() { Word::Bytes(n) } else { Word::Nothing };
    }

    /// One thing that a handler may do.
    fn step(&mut self, input: &mut Input<'_>, window: &[u8]) {
        let source = &mut self.source;
        match source.below(8) {
            0 => {
                let n = source.below(20).min(window.len());
                input.consume(n);
                self.consume(n);
            }
            1 => {
                let n = source.below(20);
                assert_eq!(input.take(n), window.get(..n));
                if n <= window.len() { self.consume(n) } else { self.wait_for(n, window) }
            }
            2 => {
                assert_eq!(input.take_all(), window);
                self.consume(window.len());
            }
            3 => {
                let line = window.split(|byte| *byte == b'\n').next();
                if let Some(line) = line.filter(|line| line.len() < window.len()) {
                    assert_eq!(input.line(), Some(line.strip_suffix(b"\r").unwrap_or(line)));
                    self.consume(line.len() + 1);
                } else {
                    assert_eq!(input.line(), None);
                    self.word = Word::More;
                }
            }
            4 => {
                let n = source.below(40);
                input.wait_for(n);
                self.wait_for(n, window);
            }
            5 => {
                let large = source.below(300);
                input.wait_for(large);
                self.wait_for(large, window);
            }
            _ => {
                let max = source.pick(&[usize::MAX, 0, 3, 20]);
                let delimited = |delimiter| Marks::Delimiter { delimiter, max };
                let length = |header, little| {
                    let includes = false;
                    Marks::Length { header, little, includes, max }
                };
                let marks = match source.below(8) {
                    0 => delimited(b"\n"),
                    1 => delimited(b";"),
                    2 => delimited(b"\r\n"),
                    3 => delimited(b"aab"),
                    4 => length(1, false),
                    5 => length(2, true),
                    6 => Marks::Varint { max },
                    _ => Marks::Size(1 + source.below(9)),
                };
                self.decode(marks, input, window);
            }
        }
    }

    fn decode(&mut self, marks: Marks<'_>, input: &mut Input<'_>, window: &[u8]) {
        let next = marks.codec().next(input);
        match marks.first(window) {
            Next::Frame(payload, whole) => {
                assert_eq!(next, Ok(Some(payload)), "{marks:?}");
                self.consume(whole);
            }
            Next::Waits(wait) => {
                assert_eq!(next, Ok(None), "{marks:?}");
                match wait {
                    None => self.word = Word::More,
                    // Between two frames nothing is asked for.
                    Some(_) if window.is_empty() => {}
                    Some(n) => self.word = Word::Bytes(n),
                }
            }
            Next::Wrong(error) => assert_eq!(next, Err(error), "{marks:?}"),
        }
    }
}

/// A stream: some bytes, so many times.
fn stream(source: &mut Source<'_>) -> Vec<u8> {
    let (len, times) = (source.below(200), source.pick(&[1, 1, 1, 2, 30, 300]));
    source.take(len).repeat(times)
}

/// The length of the next piece of so many bytes; all, when there is nothing left to draw from.
fn cut(source: &mut Source<'_>, of: usize) -> usize {
    let most = source.pick(&[5000, 3, 1, 20]);
    if source.is_empty() { of } else { (1 + source.below(most)).min(of) }
}

/// `Input` and a leftover, with no reactor around them: called as a reactor would, whatever a handler
/// takes it gets each byte once, and a call that waits comes when it has what it waits for.
pub fn input(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let stream = stream(&mut source);
    let mut cuts = Source::new(source.take(30));
    let mut reader = Reader::new(source, stream);
    let stream = Rc::clone(&reader.stream);
    let mut leftover = Leftover::new(b"", Wait::Nothing);
    let mut arrived = 0;
    while arrived < stream.len() {
        let chunk = cut(&mut cuts, stream.len() - arrived);
        leftover.append(&stream[arrived..arrived + chunk]);
        arrived += chunk;
        assert_eq!(leftover.bytes(), &stream[reader.position..arrived]);
        while leftover.is_enough(leftover.len()) && reader.is_due(leftover.len(), false) {
            let window = leftover.bytes().to_vec();
            let mut input = Input::new(&window, leftover.seen, leftover.wait, &AWAKE);
            reader.call(&mut input, false);
            let (consumed, wait) = input.finish();
            assert_eq!((consumed, Word::from(wait)), (reader.consumed, reader.word));
            leftover.consume(consumed, wait);
        }
        let kept = leftover.len();
        assert!(!reader.is_due(kept, false), "a call was due and did not come: {kept}, {reader:?}");
    }
    // A call for each piece and one for each byte consumed is the most there can be.
    assert!(reader.calls <= 2 * stream.len(), "{} calls for {} bytes", reader.calls, stream.len());
}

/// How a connection went.
#[derive(Debug, Default)]
struct Told {
    eof: u32,
    ends: Vec<Closed>,
    /// Whether the last call was one that `input_max` ends.
    too_much: bool,
    position: usize,
}

/// The reader as a handler.
struct Reads<'s> {
    reader: Reader<'s>,
    input_max: usize,
    told: Rc<RefCell<Told>>,
}

impl Reads<'_> {
    fn call(&mut self, input: &mut Input<'_>, end: bool) {
        self.reader.call(input, end);
        let Reader { position, consumed, word, .. } = self.reader;
        let waits = matches!(word, Word::Bytes(n) if n > self.input_max);
        let full = input.len() >= self.input_max && (consumed == 0 || word != Word::Nothing);
        let mut told = self.told.borrow_mut();
        told.too_much = waits || full;
        told.position = position;
    }
}

impl Handler for Reads<'_> {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        _conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        self.call(input, false);
        Ok(())
    }

    fn on_eof(&mut self, conn: &mut Conn<'_>, (): &mut (), rest: &mut Input<'_>) -> io::Result<()> {
        self.told.borrow_mut().eof += 1;
        let whole = self.reader.position + rest.len();
        assert_eq!(whole, self.reader.stream.len(), "the end before the last byte");
        let Reader { shown, word, .. } = self.reader;
        assert!(
            whole == shown || matches!(word, Word::Bytes(_)),
            "on_eof shows what on_data was due for: {:?}",
            self.reader
        );
        self.call(rest, true);
        conn.close();
        Ok(())
    }

    fn on_close(&mut self, _cx: &mut Context, _id: ConnId, (): (), closed: Closed) {
        self.told.borrow_mut().ends.push(closed);
    }
}

/// The same reader as the handler of a reactor, in a simulated world: what it is offered, when it is
/// called again, and that the end comes once and last.
pub fn offers(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let seed = source.byte();
    let profile = source.pick(&[Profile::calm, Profile::everyday, Profile::everyday])();
    // Only TCP resets, and no profile here does.
    let profile =
        profile.flags(source.byte().is_multiple_of(2)).would_block(u32::from(source.byte()));
    let input_max = source.pick(&[1 << 20, 1 << 20, 64, 5000]);
    let config = Config::default()
        .read_buffer(source.pick(&[256 << 10, 1, 7, 100, 5000]))
        .input_max(input_max);
    let to = source.pick(&["10.0.0.1:7777", "unix:/run/fuzz"]);
    let stream = stream(&mut source);
    let mut cuts = Source::new(source.take(30));

    let sim = Sim::new(u64::from(seed), profile);
    let told = Rc::<RefCell<Told>>::default();
    let reader = Reader::new(source, stream);
    let stream = Rc::clone(&reader.stream);
    let handler = Reads { reader, input_max, told: Rc::clone(&told) };
    let mut reactor = sim.reactor(handler, config).expect("the limits do not contradict");
    reactor.listen(to).expect("nobody else listens there");
    let peer = sim.connect(to);
    let mut rest = &stream[..];
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(cut(&mut cuts, rest.len()));
        peer.send(piece);
        if !cuts.byte().is_multiple_of(2) {
            peer.wait(Duration::from_millis(5));
        }
        rest = others;
    }
    peer.finish();
    if let Err(failure) = sim.run_until_idle(&mut reactor) {
        panic!("{failure}");
    }
    let told = told.borrow();
    let [closed] = &told.ends[..] else { panic!("not one end: {told:?}\n{}", sim.trace()) };
    match closed.reason {
        CloseReason::PeerEnd | CloseReason::Local => {
            assert!(closed.clean, "{told:?}");
            assert_eq!(told.eof, 1, "{told:?}");
        }
        CloseReason::InputLimit => assert!(told.too_much && told.eof == 0, "{told:?}"),
        _ => panic!("a reader that does nothing wrong: {told:?}\n{}", sim.trace()),
    }
}
