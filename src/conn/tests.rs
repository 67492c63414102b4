//! A connection against a scripted stream: give, take, block, interrupt, end, fail.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::base::close::Closed;
use crate::base::config::Config;

mod flow;

/// What the stream does at the next call.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A read brings these bytes, as many as fit.
    Give(&'static [u8]),
    /// A read says 0.
    End,
    /// A write takes at most so many bytes.
    Take(usize),
    /// Either call would block.
    Block,
    /// Either call is interrupted.
    Interrupt,
    /// Either call fails.
    Fail(io::ErrorKind),
}

#[derive(Debug, Default)]
struct Script {
    steps: VecDeque<Step>,
    taken: Vec<u8>,
}

impl Script {
    fn new(steps: &[Step]) -> Self {
        Script { steps: steps.iter().copied().collect(), taken: Vec::new() }
    }

    fn next(&mut self) -> Step {
        self.steps.pop_front().expect("no call beyond the script")
    }
}

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.next() {
            Step::Give(bytes) => {
                let n = bytes.len().min(buf.len());
                buf[..n].copy_from_slice(&bytes[..n]);
                Ok(n)
            }
            Step::End => Ok(0),
            Step::Block => Err(io::ErrorKind::WouldBlock.into()),
            Step::Interrupt => Err(io::ErrorKind::Interrupted.into()),
            Step::Fail(kind) => Err(kind.into()),
            Step::Take(_) => panic!("a read where a write was scripted"),
        }
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.next() {
            Step::Take(most) => {
                let n = bytes.len().min(most);
                self.taken.extend_from_slice(&bytes[..n]);
                Ok(n)
            }
            Step::Block => Err(io::ErrorKind::WouldBlock.into()),
            Step::Interrupt => Err(io::ErrorKind::Interrupted.into()),
            Step::Fail(kind) => Err(kind.into()),
            Step::Give(_) | Step::End => panic!("a write where a read was scripted"),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.write(&all)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const START: Stamp = Stamp::ZERO;

fn limits() -> Limits {
    let config = Config::default()
        .input_max(100)
        .output_low(10)
        .output_high(20)
        .output_max(100)
        .read_buffer(50)
        .idle(Some(Duration::from_secs(30)));
    config.check(1).unwrap();
    config.limits(None)
}

fn later(seconds: u64) -> Stamp {
    START.after(Duration::from_secs(seconds))
}

/// A connection that has heard an edge for reading.
fn readable() -> Connection {
    let mut conn = Connection::new(START);
    conn.readiness.merge(Readiness::READABLE);
    conn
}

fn read(conn: &mut Connection, room: usize, short_is_proof: bool, steps: &[Step]) -> News {
    let mut script = Script::new(steps);
    let news = conn.read(&mut script, &mut vec![0; room], START, short_is_proof);
    assert!(script.steps.is_empty(), "calls not made: {:?}", script.steps);
    news
}

fn flush(conn: &mut Connection, short_is_proof: bool, steps: &[Step]) -> Vec<u8> {
    let mut script = Script::new(steps);
    let before = conn.output.len();
    let n = conn.flush(&mut script, START, short_is_proof);
    conn.handle_level(before, &limits());
    assert!(script.steps.is_empty(), "calls not made: {:?}", script.steps);
    assert_eq!(n, script.taken.len());
    script.taken
}

/// Leaves `bytes` behind as a call of `on_data` would, which consumed `consumed` before them.
fn leave(conn: &mut Connection, bytes: &[u8], consumed: usize, wait: Wait) {
    conn.leftover = Some(Box::new(Leftover::new(bytes, wait)));
    conn.handle_left(consumed, START, &limits());
}

// --- Promise 1: readiness is remembered ---------------------------------------------------------

/// Trap 1: a full read proves nothing, so the connection stays runnable.
#[test]
fn a_full_read_keeps_readiness() {
    let mut conn = readable();
    assert_eq!(read(&mut conn, 4, true, &[Step::Give(b"abcd")]), News::Data(4));
    assert!(conn.is_runnable(&limits()));
    assert_eq!(read(&mut conn, 4, true, &[Step::Block]), News::Nothing);
    assert!(!conn.is_runnable(&limits()));
}

#[test]
fn a_short_read_is_trusted_only_where_it_is_a_proof() {
    for short_is_proof in [true, false] {
        let mut conn = readable();
        assert_eq!(read(&mut conn, 9, short_is_proof, &[Step::Give(b"abcd")]), News::Data(4));
        assert_eq!(conn.is_runnable(&limits()), !short_is_proof);
    }
}

/// Trap 2, trap 71: what came with the end, with urgent data or with an error is no proof.
#[test]
fn a_short_read_in_doubt_is_read_on_until_it_would_block() {
    for doubt in [Readiness::READ_CLOSED, Readiness::URGENT, Readiness::ERROR] {
        let mut conn = readable();
        conn.readiness.merge(doubt);
        assert_eq!(read(&mut conn, 9, true, &[Step::Give(b"ab")]), News::Data(2));
        assert!(conn.is_runnable(&limits()), "{doubt:?}");
        assert_eq!(read(&mut conn, 9, true, &[Step::Block]), News::Nothing);
        assert!(!conn.readiness.is_readable());
        // And the doubt is over.
        conn.readiness.merge(Readiness::READABLE);
        read(&mut conn, 9, true, &[Step::Give(b"cd")]);
        assert!(!conn.readiness.is_readable());
    }
}

/// Trap 58: a storm of signals keeps the bit, so the connection comes round again.
#[test]
fn an_interrupted_call_keeps_readiness() {
    let mut conn = readable();
    assert_eq!(read(&mut conn, 9, true, &[Step::Interrupt; 17]), News::Nothing);
    assert!(conn.readiness.is_readable());
    conn.output.push(b"abc");
    assert_eq!(flush(&mut conn, true, &[Step::Interrupt; 17]), b"");
    assert!(conn.wants_flush());
    assert_eq!(conn.phase(), Phase::Open);
}

/// Trap 31: the rest of a short write follows in order.
#[test]
fn a_short_write_is_continued_where_it_stopped() {
    let mut conn = Connection::new(START);
    conn.output.push(b"abcdef");
    assert_eq!(flush(&mut conn, true, &[Step::Take(2)]), b"ab");
    assert!(!conn.wants_flush(), "full: proven by the short write");
    conn.readiness.merge(Readiness::WRITABLE);
    assert_eq!(flush(&mut conn, true, &[Step::Take(9)]), b"cdef");
    assert!(conn.readiness.is_writable(), "all was taken, so there may be room");
}

/// Trap 3: where a short write proves nothing, it is tried until WouldBlock.
#[test]
fn a_short_write_without_proof_keeps_readiness() {
    let mut conn = Connection::new(START);
    conn.output.push(b"abcdef");
    flush(&mut conn, false, &[Step::Take(2)]);
    assert!(conn.wants_flush());
    flush(&mut conn, false, &[Step::Block]);
    assert!(!conn.wants_flush() && !conn.output.is_empty());
}

/// Promise 4: a piece of a source is no longer than what all that is queued, behind it too, leaves of
/// `output_max`; but for one byte, or it would never go on.
#[test]
fn a_piece_of_a_source_is_bounded_by_what_waits_behind_it() {
    let (mut conn, limits) = (readable(), limits());
    conn.push_source(crate::base::source::Source::new(io::empty()));
    assert!(conn.piece(&limits) > 3);
    conn.output.push(&vec![0; limits.output_max - 3]);
    assert_eq!(conn.piece(&limits), 3);
    conn.output.push(&[0; 3]);
    assert_eq!(conn.piece(&limits), 1);
}

/// Trap 5: a writable edge with nothing owed makes no connection runnable.
#[test]
fn a_writable_edge_with_nothing_owed_is_nothing() {
    let mut conn = Connection::new(START);
    conn.readiness.merge(Readiness::WRITABLE);
    assert!(!conn.is_runnable(&limits()));
}

// --- How a connection ends ----------------------------------------------------------------------

/// Walks a closing connection until it is over, and tells how it ended.
fn walk(conn: &mut Connection, mut script: Script) -> Closed {
    for _ in 0..20 {
        conn.advance(START, &limits());
        if conn.phase() == Phase::Closed {
            assert!(script.steps.is_empty(), "calls not made: {:?}", script.steps);
            return conn.closed();
        }
        if conn.wants_fin() {
            conn.handle_fin_sent(START);
        } else if conn.wants_flush() {
            conn.flush(&mut script, START, true);
        } else if conn.wants_read() {
            conn.read(&mut script, &mut [0; 9], START, true);
        } else {
            conn.readiness.merge(Readiness::READABLE | Readiness::WRITABLE);
        }
    }
    panic!("it does not end: {conn:?}");
}

/// Promise 2, traps 36 and 37: what is queued goes out, then our FIN, then the peer's end.
#[test]
fn close_flushes_then_lingers_until_the_peer_ends() {
    let mut conn = readable();
    conn.output.push(b"reply");
    conn.close(START, &limits());
    let steps = [Step::Take(2), Step::Take(3), Step::Give(b"late"), Step::End];
    // The short write is a proof, so input is discarded in between.
    let steps = [&steps[..1], &[Step::Give(b"more")], &steps[1..]].concat();
    let closed = walk(&mut conn, Script::new(&steps));
    assert!(matches!(closed.reason, CloseReason::Local));
    assert_eq!((closed.unsent, closed.clean), (0, true));
}

/// Trap 72: from close on, input is read and discarded even while output is owed.
#[test]
fn a_closing_connection_reads_on() {
    let mut conn = readable();
    conn.output.push(b"reply");
    conn.pause();
    conn.close(START, &limits());
    conn.readiness.forget_writable();
    assert!(conn.is_runnable(&limits()));
}

/// Trap 38: the peer's end is told, and replies still go out.
#[test]
fn a_peer_that_ended_still_gets_what_is_queued() {
    let mut conn = readable();
    conn.output.push(b"reply");
    assert_eq!(read(&mut conn, 9, true, &[Step::End]), News::End);
    assert!(conn.wants_eof(&limits()));
    conn.flags.set(Flags::EOF_TOLD);
    conn.close(START, &limits());
    let closed = walk(&mut conn, Script::new(&[Step::Take(5)]));
    assert!(matches!(closed.reason, CloseReason::PeerEnd));
    assert!(closed.clean);
}

#[test]
fn the_end_is_not_told_while_reading_is_paused_or_resting() {
    let mut conn = readable();
    read(&mut conn, 9, true, &[Step::End]);
    conn.pause();
    assert!(!conn.wants_eof(&limits()));
    conn.resume();
    assert!(conn.wants_eof(&limits()));
    conn.output.push(&[7; 21]);
    conn.handle_level(0, &limits());
    assert!(!conn.wants_eof(&limits()));
}

/// Traps 7 and 42: a failed write drops what is queued, but what came in before goes first.
#[test]
fn a_failed_write_ends_only_after_the_input_before_it() {
    let mut conn = Connection::new(START);
    conn.output.push(b"reply");
    flush(&mut conn, true, &[Step::Fail(io::ErrorKind::BrokenPipe)]);
    assert_eq!(conn.phase(), Phase::Open);
    assert!(!conn.takes_sends() && conn.is_runnable(&limits()));
    assert_eq!(read(&mut conn, 9, true, &[Step::Give(b"tail")]), News::Data(4));
    assert!(conn.is_runnable(&limits()), "a short read of a dead socket proves nothing");
    assert_eq!(read(&mut conn, 9, true, &[Step::End]), News::End);
    let closed = conn.closed();
    let CloseReason::Io(error) = closed.reason else { panic!("{closed:?}") };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!((closed.unsent, closed.clean), (5, false));
}

#[test]
fn a_failed_read_ends_at_once_and_counts_what_was_owed() {
    let mut conn = readable();
    conn.output.push(b"reply");
    read(&mut conn, 9, true, &[Step::Fail(io::ErrorKind::ConnectionReset)]);
    let closed = conn.closed();
    assert!(matches!(closed.reason, CloseReason::Io(_)));
    assert_eq!((closed.unsent, closed.clean), (5, false));
}

#[test]
fn a_write_that_takes_nothing_is_a_failure_not_a_loop() {
    let mut conn = Connection::new(START);
    conn.output.push(b"reply");
    flush(&mut conn, true, &[Step::Take(0)]);
    assert!(conn.has_failed());
}

#[test]
fn the_first_reason_stays() {
    let mut conn = readable();
    conn.output.push(b"reply");
    conn.end(CloseReason::Handler(io::Error::other("bad request")), START, &limits());
    conn.close(START, &limits());
    conn.cut(CloseReason::Shutdown);
    let closed = conn.closed();
    assert!(matches!(closed.reason, CloseReason::Handler(_)));
    assert_eq!((closed.unsent, closed.clean), (5, false));
    assert!(conn.flags.has(Flags::RESET));
}

#[test]
fn finish_ends_our_side_and_reads_on_until_the_peer_ends() {
    let mut conn = readable();
    conn.output.push(b"reply");
    conn.finish(START, &limits());
    assert!(!conn.takes_sends() && conn.is_reading() && !conn.wants_fin());
    flush(&mut conn, true, &[Step::Take(5)]);
    assert!(conn.wants_fin());
    conn.handle_fin_sent(START);
    assert!(!conn.wants_fin());
    assert_eq!(read(&mut conn, 4, true, &[Step::Give(b"more")]), News::Data(4));
    read(&mut conn, 9, true, &[Step::End]);
    conn.flags.set(Flags::EOF_TOLD);
    let closed = walk(&mut conn, Script::default());
    assert!(matches!(closed.reason, CloseReason::Local));
    assert!(closed.clean);
}

#[test]
fn an_error_after_the_peers_end_is_met_by_a_read() {
    let mut conn = readable();
    read(&mut conn, 9, true, &[Step::End]);
    conn.flags.set(Flags::EOF_TOLD);
    conn.readiness.merge(Readiness::READABLE);
    assert!(!conn.is_runnable(&limits()), "nothing but an error can follow");
    conn.readiness.merge(Readiness::ERROR);
    assert!(conn.is_runnable(&limits()));
    read(&mut conn, 9, true, &[Step::Fail(io::ErrorKind::ConnectionReset)]);
    assert_eq!(conn.phase(), Phase::Closed);
}

// --- Promise 4: every wait has a limit ----------------------------------------------------------

#[test]
fn idle_counts_from_the_last_byte_either_way() {
    let mut conn = readable();
    assert_eq!(conn.deadline(&limits()), later(30));
    let mut script = Script::new(&[Step::Give(b"x"), Step::Take(1)]);
    conn.read(&mut script, &mut [0; 9], later(10), true);
    assert_eq!(conn.deadline(&limits()), later(40));
    conn.write(&mut script, b"x", later(20), true);
    assert_eq!(conn.deadline(&limits()), later(50));
    {
        let at = later(49);
        conn.expire(at, at, &limits());
    };
    assert_eq!(conn.phase(), Phase::Open);
    {
        let at = later(50);
        conn.expire(at, at, &limits());
    };
    // The handler has the last word, and then it is closed.
    assert_eq!((conn.phase(), conn.deadline(&limits())), (Phase::Open, Stamp::NEVER));
    let reason = conn.take_retiring(&limits());
    assert!(matches!(reason, Some(CloseReason::Idle)));
    assert!(conn.take_retiring(&limits()).is_none());
}

#[test]
fn owed_output_that_does_not_move_is_a_stall() {
    let mut limits = limits();
    (limits.config.idle, limits.config.write_stall) = (None, Duration::from_secs(60));
    let mut conn = Connection::new(START);
    assert_eq!(conn.deadline(&limits), Stamp::NEVER);
    conn.handle_owed(later(10));
    conn.output.push(b"reply");
    assert_eq!(conn.deadline(&limits), later(70));
    let mut script = Script::new(&[Step::Take(1)]);
    conn.flush(&mut script, later(60), true);
    assert_eq!(conn.deadline(&limits), later(120), "progress is progress");
    {
        let at = later(120);
        conn.expire(at, at, &limits);
    };
    let closed = conn.closed();
    assert!(matches!(closed.reason, CloseReason::WriteStall));
    assert_eq!((closed.unsent, closed.clean), (4, false));
}

/// Trap 39: a peer that never ends is waited for no longer than linger.
#[test]
fn a_linger_that_expires_is_local_and_not_clean() {
    let mut conn = readable();
    conn.close(START, &limits());
    conn.advance(START, &limits());
    conn.handle_fin_sent(later(1));
    assert_eq!(conn.deadline(&limits()), later(6));
    assert!(conn.is_overdue(later(6), &limits()), "however much it sends");
    {
        let at = later(6);
        conn.expire(at, at, &limits());
    };
    let closed = conn.closed();
    assert!(matches!(closed.reason, CloseReason::Local));
    assert_eq!((closed.unsent, closed.clean), (0, false));
    assert!(!conn.flags.has(Flags::RESET), "all was sent: the kernel may still deliver it");
}

#[test]
fn a_close_takes_no_longer_than_close_max() {
    let mut conn = Connection::new(START);
    conn.output.push(&[7; 50]);
    conn.close(START, &limits());
    assert!(conn.is_overdue(later(600), &limits()), "however much it sends");
    let mut seconds = 0;
    while conn.phase() != Phase::Closed {
        seconds += 30;
        {
            let at = later(seconds);
            conn.expire(at, at, &limits());
        };
        if conn.phase() == Phase::Draining {
            conn.readiness.merge(Readiness::WRITABLE);
            conn.flush(&mut Script::new(&[Step::Take(1)]), later(seconds), true);
        }
    }
    assert_eq!(seconds, 600);
    assert_eq!(conn.closed().unsent, 31);
}

// --- Shutdown -----------------------------------------------------------------------------------

#[test]
fn shutdown_asks_for_one_more_read_and_leaves_nothing_owed() {
    let mut conn = Connection::new(START);
    conn.flags.set(Flags::EXHAUSTED);
    conn.handle_shutdown();
    assert!(conn.is_runnable(&limits()) && !conn.may_leave(&limits()));
    read(&mut conn, 9, true, &[Step::Block]);
    assert!(conn.may_leave(&limits()));
    for flag in [Flags::HELD, Flags::OFFER, Flags::WANTS_DRAIN, Flags::PAUSED, Flags::RESTING] {
        conn.flags.set(flag);
        assert!(!conn.may_leave(&limits()), "{flag:?}");
        conn.flags.clear(flag);
    }
    // What it left comes again when its output is down at low.
    conn.leftover = Some(Box::new(Leftover::new(b"rest", Wait::Nothing)));
    assert!(conn.may_leave(&limits()), "nothing more is made of it");
    conn.output.push(&[7; 15]);
    assert!(!conn.may_leave(&limits()), "above low");
}

/// Promise 4: one that was not read from in a window is judged in those that follow.
#[test]
fn a_rest_at_the_moment_of_judging_does_not_end_it() {
    let limits = Config::default().min_rate(50, Duration::from_secs(10)).limits(None);
    let mut conn = Connection::new(START);
    conn.leftover = Some(Box::new(Leftover::new(b"rest", Wait::Line)));
    conn.owe_input(true, START);
    conn.pause();
    conn.expire(later(10), later(10), &limits);
    conn.resume();
    conn.expire(later(20), later(20), &limits);
    assert!(conn.take_retiring(&limits).is_none(), "it was paused in a part of this window");
    conn.expire(later(30), later(30), &limits);
    assert!(matches!(conn.take_retiring(&limits), Some(CloseReason::TooSlow)));
}

/// Promise 4: an idle connection has no buffer and is small.
#[test]
fn a_connection_is_small() {
    assert!(size_of::<Connection>() <= 88, "{}", size_of::<Connection>());
    // How much mio keeps beside the descriptor depends on the build; in a release build under
    // epoll it is nothing, and the whole takes 128 bytes.
    let rest = size_of::<crate::core::Entry>() - size_of::<crate::net::socket::Socket>();
    assert!(rest <= 124, "{rest}");
}

/// Trap 63: a timer is a moment among the deadlines; setting it again only moves it.
#[test]
fn a_timer_is_one_more_deadline_and_fires_once() {
    let mut conn = Connection::new(START);
    let limits = limits();
    let without = conn.deadline(&limits);
    assert!(!conn.cancel_timeout());
    conn.set_timeout(Stamp::at(20));
    conn.set_timeout(Stamp::at(10));
    assert_eq!(conn.deadline(&limits), Stamp::at(10));
    assert!(!conn.take_timer(Stamp::at(9)), "never early");
    assert!(conn.take_timer(Stamp::at(10)));
    assert!(!conn.take_timer(Stamp::at(30)), "once");
    assert_eq!(conn.deadline(&limits), without);
    conn.set_timeout(Stamp::at(10));
    assert!(conn.cancel_timeout());
    assert!(!conn.take_timer(Stamp::at(10)));
    conn.set_timeout(Stamp::at(10));
    conn.close(START, &limits);
    assert!(!conn.take_timer(Stamp::at(10)), "it ends with close");
}

/// A timer that is due is no idle timeout and no stall.
#[test]
fn a_due_timer_ends_nothing() {
    let mut conn = Connection::new(START);
    conn.set_timeout(Stamp::at(10));
    {
        let at = Stamp::at(10);
        conn.expire(at, at, &limits());
    };
    assert_eq!(conn.phase(), Phase::Open);
}

/// Promise 4: what is put off while there is something to read comes all the same.
#[test]
fn a_timer_is_put_off_only_so_often() {
    let mut conn = Connection::new(START);
    conn.set_timeout(Stamp::at(10));
    conn.flags.set(Flags::OFFER);
    for _ in 0..64 {
        assert!(!conn.was_put_off_enough(Stamp::at(20)));
        conn.put_off();
    }
    assert!(conn.was_put_off_enough(Stamp::at(20)));
    assert!(!conn.was_put_off_enough(Stamp::at(9)), "another deadline waits for what is offered");
    conn.flags.clear(Flags::OFFER);
    assert!(conn.was_put_off_enough(Stamp::at(9)), "but not for a peer that talks on");
    conn.end_put_off();
    assert!(!conn.was_put_off_enough(Stamp::at(20)), "it begins again");
}

#[test]
fn an_idle_timeout_of_its_own_stands_before_the_one_for_all() {
    let mut conn = Connection::new(START);
    let limits = Config::default().idle(Some(Duration::from_secs(9))).limits(None);
    assert_eq!(conn.idles_at(&limits), START.after(Duration::from_secs(9)));
    conn.set_idle_timeout(Some(Duration::from_secs(2)));
    assert_eq!(conn.deadline(&limits), START.after(Duration::from_secs(2)));
    conn.set_idle_timeout(None);
    assert_eq!(conn.deadline(&limits), Stamp::NEVER);
}

/// Promise 4: what was sent while a connect was under way is owed from its end: before, nothing could
/// be taken.
#[test]
fn the_output_of_a_connect_is_judged_from_its_end() {
    let limits = Config::default().min_rate(50, Duration::from_secs(10)).limits(None);
    let mut conn = Connection::connecting(START, later(10));
    conn.output.push(b"abc");
    conn.owe_output(START);
    conn.handle_connected(later(9), &limits);
    conn.expire(later(11), later(11), &limits);
    assert_eq!(conn.phase(), Phase::Open);
    conn.expire(later(19), later(19), &limits);
    assert_eq!(conn.phase(), Phase::Closed);
}

/// Promise 6: a peer that reads nothing for a week costs no wake in each tenth of a second.
#[test]
fn what_is_to_leave_before_a_reset_is_asked_after_less_and_less_often() {
    let week = Duration::from_secs(604_800);
    let mut limits = limits();
    (limits.config.write_stall, limits.config.close_max) = (week, week);
    let mut conn = Connection::new(START);
    let mut now = START;
    conn.close_reset(now, &limits);
    let mut asked = 0;
    while conn.phase() != Phase::Closed {
        now = conn.asks_at();
        conn.handle_unacknowledged(Some(1), now, &limits);
        asked += 1;
        assert!(asked < 200, "asked {asked} times until {now:?}");
    }
    assert!(now.since_start() >= week, "given up at {now:?}");

    // Once some has left, it is asked again soon.
    let mut conn = Connection::new(START);
    conn.close_reset(START, &limits);
    conn.handle_unacknowledged(Some(2), START, &limits);
    let later = START.after(week / 2);
    conn.handle_unacknowledged(Some(1), later, &limits);
    assert_eq!(later.until(conn.asks_at()), Duration::from_millis(1));
}
