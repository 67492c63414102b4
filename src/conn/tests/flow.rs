//! Backpressure, and when a callback comes again.

use super::*;

// --- Promise 5: backpressure --------------------------------------------------------------------

#[test]
fn output_at_high_rests_reading_until_low() {
    let mut conn = readable();
    conn.output.push(&[7; 19]);
    conn.handle_level(0, &limits());
    assert!(conn.is_reading() && !conn.is_resting(), "one below high");
    conn.output.push(&[7; 1]);
    conn.handle_level(19, &limits());
    assert!(!conn.is_reading() && conn.is_resting(), "at high: there is no room");
    conn.output.push(&[7; 1]);
    conn.handle_level(20, &limits());
    flush(&mut conn, true, &[Step::Take(10)]);
    assert!(!conn.is_reading(), "11 queued is above low");
    conn.readiness.merge(Readiness::WRITABLE);
    flush(&mut conn, true, &[Step::Take(1)]);
    assert!(conn.is_reading() && conn.is_runnable(&limits()), "10 queued is low");
}

/// Promise 5: one that turns to `auto_pause` between low and high rests if its output was above high and
/// has not come down to low, and only then.
#[test]
fn an_end_of_full_duplex_between_the_marks_goes_by_where_output_was() {
    let mut conn = readable();
    conn.auto_pause(false);
    conn.output.push(&[0; 21]);
    conn.handle_level(0, &limits());
    assert!(conn.is_reading(), "above high, and full duplex");
    flush(&mut conn, false, &[Step::Take(6)]);
    conn.auto_pause(true);
    assert!(!conn.is_reading(), "15 queued, after 21");
    conn.auto_pause(false);
    assert!(conn.is_reading() && conn.is_runnable(&limits()), "and back");
    conn.auto_pause(true);
    flush(&mut conn, false, &[Step::Take(5)]);
    assert!(conn.is_reading(), "10 queued is low");

    let mut conn = readable();
    conn.auto_pause(false);
    conn.output.push(&[0; 15]);
    conn.handle_level(0, &limits());
    conn.auto_pause(true);
    assert!(conn.is_reading(), "15 queued, and never more");
}

/// Trap 41: a crossing is told once, and only when it is over.
#[test]
fn each_crossing_of_high_is_owed_one_drain() {
    let mut conn = Connection::new(START);
    conn.output.push(&[7; 21]);
    conn.handle_level(0, &limits());
    assert!(!conn.wants_drain(&limits()));
    flush(&mut conn, true, &[Step::Take(21)]);
    assert!(conn.wants_drain(&limits()) && conn.is_runnable(&limits()));
    conn.flags.clear(Flags::DRAINED);
    conn.output.push(&[7; 19]);
    conn.handle_level(0, &limits());
    flush(&mut conn, true, &[Step::Take(19)]);
    assert!(!conn.wants_drain(&limits()), "it was not at high");
}

/// Promise 2: the end waits for what is offered again when output is low, and for nothing else.
#[test]
fn the_end_waits_for_input_that_there_was_no_room_for() {
    for (wait, told) in
        [(Wait::Nothing, false), (Wait::NotNow, false), (Wait::Line, true), (Wait::Bytes(9), true)]
    {
        let mut conn = readable();
        conn.output.push(&[7; 15]);
        read(&mut conn, 9, true, &[Step::End]);
        leave(&mut conn, b"rest", 0, wait);
        conn.flags.clear(Flags::OFFER);
        assert_eq!(conn.wants_eof(&limits()), told, "{wait:?}, with 15 queued");
        conn.flags.set(Flags::EXHAUSTED);
        assert!(!conn.may_leave(&limits()), "{wait:?}");
        flush(&mut conn, false, &[Step::Take(5)]);
        assert_eq!(conn.flags.has(Flags::OFFER), !told, "{wait:?}: 10 queued is low");
        conn.flags.clear(Flags::OFFER);
        assert!(conn.wants_eof(&limits()));
    }
}

/// Promises 4 and 5: what was not to be had is offered again, however much of it there is.
#[test]
fn what_was_refused_comes_again_and_is_no_input_limit() {
    let mut conn = readable();
    conn.output.push(&[7; 20]);
    conn.handle_level(0, &limits());
    leave(&mut conn, &[1; 100], 0, Wait::NotNow);
    assert_eq!(conn.phase(), Phase::Open);
    assert!(conn.flags.has(Flags::OFFER));
    // Also if it rests no more when the call is over.
    let mut conn = readable();
    leave(&mut conn, &[1; 100], 0, Wait::NotNow);
    assert_eq!(conn.phase(), Phase::Open);
    assert!(conn.is_runnable(&limits()));
    leave(&mut conn, &[1; 100], 0, Wait::Nothing);
    assert!(matches!(conn.take_retiring(&limits()), Some(CloseReason::InputLimit)));
}

#[test]
fn a_wish_for_a_drain_waits_for_low() {
    let mut conn = Connection::new(START);
    conn.output.push(&[7; 15]);
    conn.want_drain();
    conn.handle_wish();
    assert!(!conn.wants_drain(&limits()));
    flush(&mut conn, true, &[Step::Take(5)]);
    assert!(conn.wants_drain(&limits()));
}

#[test]
fn what_is_left_is_offered_again_when_output_comes_down_to_low() {
    let mut conn = Connection::new(START);
    conn.output.push(&[7; 15]);
    leave(&mut conn, b"rest", 0, Wait::Nothing);
    let mut higher = limits();
    higher.config.output_low = 15;
    assert!(!conn.is_runnable(&higher) || conn.wants_flush());
    flush(&mut conn, true, &[Step::Take(15)]);
    assert!(conn.flags.has(Flags::OFFER), "rested or not");
}

// --- When a callback comes again ----------------------------------------------------------------

#[test]
fn a_call_comes_again_if_it_consumed_and_left_and_does_not_wait() {
    let again = |bytes: &[u8], consumed, wait| {
        let mut conn = Connection::new(START);
        leave(&mut conn, bytes, consumed, wait);
        conn.flags.has(Flags::OFFER)
    };
    assert!(again(b"rest", 1, Wait::Nothing));
    assert!(!again(b"rest", 0, Wait::Nothing), "no progress");
    assert!(!again(b"rest", 1, Wait::Line));
    assert!(!again(b"rest", 1, Wait::Bytes(9)));
    assert!(!again(b"", 1, Wait::Nothing), "nothing left");
}

/// Trap 8: resuming brings what is left and what waits in the kernel, without an edge.
#[test]
fn resume_offers_what_is_left_unless_it_waits() {
    for (wait, offered) in [(Wait::Nothing, true), (Wait::Line, false), (Wait::Bytes(9), false)] {
        let mut conn = readable();
        conn.pause();
        leave(&mut conn, b"rest", 0, wait);
        assert!(!conn.is_runnable(&limits()));
        conn.resume();
        assert_eq!(conn.flags.has(Flags::OFFER), offered);
        assert!(conn.is_runnable(&limits()), "the readable bit outlasts the pause");
    }
}

#[test]
fn input_at_its_limit_without_progress_ends_the_connection() {
    let reason = |len, consumed, wait, paused| {
        let mut conn = Connection::new(START);
        if paused {
            conn.pause();
        }
        leave(&mut conn, &vec![7; len], consumed, wait);
        conn.take_reason()
    };
    let limit = |reason| matches!(reason, Some(CloseReason::InputLimit));
    assert!(limit(reason(100, 0, Wait::Nothing, false)));
    assert!(limit(reason(100, 0, Wait::Line, false)));
    assert!(limit(reason(1, 1, Wait::Bytes(101), false)), "waits for more than may come");
    assert!(reason(99, 0, Wait::Nothing, false).is_none());
    assert!(reason(100, 1, Wait::Nothing, false).is_none(), "progress");
    assert!(reason(100, 0, Wait::Nothing, true).is_none(), "it is offered again after resume");
    assert!(reason(1, 0, Wait::Bytes(100), false).is_none());
}
