//! Promises 1 and 3, the fine print of `on_data`: when a callback comes again, and when it does
//! not.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use wouldblock::{CloseReason, Config, Input};

use crate::support::*;

/// What each call of `on_data` was shown: `(seen, len)`.
type Shown = Arc<Mutex<Vec<(usize, usize)>>>;

/// A script that notes what it is shown and lets `f` consume.
fn noting(
    mut f: impl FnMut(&mut Input<'_>) -> Option<Vec<u8>> + Send + 'static,
) -> (Script, Shown) {
    let shown = Shown::default();
    let notes = shown.clone();
    let script = echo().on_data(move |conn, input| {
        if input.bytes() == b"probe" {
            conn.send(input.take_all());
            return Ok(());
        }
        notes.lock().unwrap().push((input.seen(), input.len()));
        if let Some(answer) = f(input) {
            conn.send(answer);
        }
        Ok(())
    });
    (script, shown)
}

/// Two round trips of another client: what arrived before them has been served.
fn settle(probe: &mut TcpStream) {
    ping(probe, b"probe");
    ping(probe, b"probe");
}

/// Promise 1: one line a call is enough; the rest brings the next call without a new byte.
#[test]
fn a_handler_may_take_one_request_a_call() {
    let (script, shown) = noting(|input| Some([input.line()?, b";"].concat()));
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"one\ntwo\r\nthree\n\nfive\n").unwrap();
    assert_eq!(read_n(&mut client, 20), b"one;two;three;;five;");
    assert_eq!(
        *shown.lock().unwrap(),
        [(0, 21), (17, 17), (12, 12), (6, 6), (5, 5)],
        "one call for each line, and none for nothing"
    );
    drop(client);
    server.end();
}

/// Promise 1: a call that consumed nothing is not repeated, it waits for bytes; `seen` says what is
/// old.
#[test]
fn a_call_that_consumed_nothing_waits_for_bytes() {
    let (script, shown) = noting(|input| (input.len() >= 6).then(|| input.take_all().to_vec()));
    let server = Server::start(script, Config::default());
    let (mut client, mut probe) = (server.connect(), server.connect());
    client.write_all(b"abc").unwrap();
    settle(&mut probe);
    assert_eq!(*shown.lock().unwrap(), [(0, 3)]);
    client.write_all(b"def").unwrap();
    assert_eq!(read_n(&mut client, 6), b"abcdef");
    assert_eq!(*shown.lock().unwrap(), [(0, 3), (3, 6)]);
    drop((client, probe));
    server.end();
}

/// Promise 1: `take` answered `None`, so nothing comes before that many bytes; parsing stays linear
/// against a peer that sends byte by byte.
#[test]
fn take_waits_for_all_it_asked() {
    let (script, shown) = noting(|input| input.take(10).map(<[u8]>::to_vec));
    let server = Server::start(script, Config::default());
    let (mut client, mut probe) = (server.connect(), server.connect());
    for byte in b"123456789" {
        client.write_all(&[*byte]).unwrap();
        settle(&mut probe);
    }
    let calls = shown.lock().unwrap().clone();
    assert_eq!(calls, [(0, 1)], "woken before what it waits for");
    client.write_all(b"0").unwrap();
    assert_eq!(read_n(&mut client, 10), b"1234567890");
    assert_eq!(*shown.lock().unwrap(), [(0, 1), (1, 10)]);
    drop((client, probe));
    server.end();
}

/// Promise 1: the same for `wait_for`, also after something was consumed.
#[test]
fn wait_for_is_the_last_word_of_a_call() {
    let (script, shown) = noting(|input| {
        let head = input.take(1)?.to_vec();
        if input.len() < 5 {
            input.wait_for(5);
        }
        Some(head)
    });
    let server = Server::start(script, Config::default());
    let (mut client, mut probe) = (server.connect(), server.connect());
    client.write_all(b"abcd").unwrap();
    assert_eq!(read_n(&mut client, 1), b"a");
    client.write_all(b"e").unwrap();
    settle(&mut probe);
    assert_eq!(*shown.lock().unwrap(), [(0, 4)], "woken before what it waits for");
    client.write_all(b"f").unwrap();
    // "bcdef" are five: the wait is over, and a call that leaves fewer than that behind waits
    // again.
    assert_eq!(read_n(&mut client, 1), b"b");
    assert_eq!(shown.lock().unwrap()[1], (3, 5));
    drop((client, probe));
    server.end();
}

/// Promise 1: whoever waits for more than ever comes is offered it at the end.
#[test]
fn the_end_brings_what_was_waited_for_in_vain() {
    let (script, _) = noting(|input| input.take(100).map(<[u8]>::to_vec));
    let rest = Arc::new(Mutex::new(Vec::new()));
    let end = rest.clone();
    let script = script.on_eof(move |conn, input| {
        end.lock().unwrap().extend_from_slice(input.bytes());
        conn.close();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"too few").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&mut client).is_empty());
    assert_eq!(*rest.lock().unwrap(), b"too few");
    drop(client);
    server.end();
}

/// Promise 1: all that can still be consumed is offered before the end is told.
#[test]
fn on_eof_comes_after_the_last_repeat() {
    let (script, shown) = noting(|input| Some([input.line()?, b";"].concat()));
    let server = Server::start(script, Config::default());
    let client = server.connect();
    assert_eq!(exchange(&client, b"one\ntwo\nthree\n"), b"one;two;three;");
    assert_eq!(shown.lock().unwrap().len(), 3);
    let id = server.record.wait_opens(1)[0];
    drop(client);
    server.record.wait_close();
    assert_eq!(server.record.story(id), "open data data data eof close");
    server.end();
}

/// Promise 3: no repeat after `close`, though a request is left.
#[test]
fn close_ends_the_repeats() {
    let script = echo().on_data(|conn, input| {
        conn.send(input.line().unwrap());
        conn.close();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"one\ntwo\nthree\n").unwrap();
    assert_eq!(read_to_end(&mut client), b"one");
    drop(client);
    let id = server.record.wait_opens(1)[0];
    server.record.wait_close();
    assert_eq!(server.record.story(id), "open data close");
    server.end();
}

/// Promise 3: no repeat while paused; what was left is offered once more after `resume`.
#[test]
fn a_pause_holds_the_repeats_and_resume_brings_them() {
    let mut first = None;
    let script = echo().on_data(move |conn, input| {
        let me = conn.id();
        let first = *first.get_or_insert(me);
        if me == first {
            conn.send(input.line().unwrap());
            conn.pause();
        } else {
            conn.send(input.take_all());
            conn.cx().conn(first).unwrap().resume();
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"one\ntwo\nthree\n").unwrap();
    assert_eq!(read_n(&mut client, 3), b"one");
    let mut other = server.connect();
    let id = server.record.wait_opens(2)[0];
    assert_eq!(server.record.story(id), "open data");
    ping(&mut other, b"resume");
    assert_eq!(read_n(&mut client, 3), b"two");
    assert_eq!(server.record.story(id), "open data data");
    ping(&mut other, b"resume");
    assert_eq!(read_n(&mut client, 5), b"three");
    drop((client, other));
    server.end_now();
}

/// Promise 1: `resume` offers what was left even if the last call consumed nothing, but not if it
/// said it waits.
#[test]
fn resume_offers_what_was_left_unless_it_waits() {
    for waits in [false, true] {
        let mut first = None;
        let script = echo().on_data(move |conn, input| {
            let me = conn.id();
            let first = *first.get_or_insert(me);
            if me == first {
                if waits {
                    input.wait_for(100);
                }
                conn.pause();
            } else {
                conn.send(input.take_all());
                conn.cx().conn(first).unwrap().resume();
            }
            Ok(())
        });
        let server = Server::start(script, Config::default());
        let mut client = server.connect();
        client.write_all(b"left").unwrap();
        let id = server.record.wait_opens(1)[0];
        wait_until("it was shown", || server.record.story(id) == "open data");
        let mut other = server.connect();
        ping(&mut other, b"resume");
        ping(&mut other, b"resume");
        if waits {
            assert_eq!(server.record.story(id), "open data");
        } else {
            wait_until("it was offered again", || {
                server.record.story(id).matches("data").count() > 1
            });
        }
        drop((client, other));
        server.end_now();
    }
}

/// Promise 5: a request left because much is queued is offered when the output came down to low,
/// whether the reading rested meanwhile (the default) or not (a high that is never reached).
#[test]
fn what_was_left_is_offered_when_output_came_down() {
    const REPLY: usize = 2 * MIB;
    for config in [Config::default(), Config::default().output_high(3 * MIB)] {
        let script = narrow_echo().on_data(|conn, input| {
            if conn.queued() <= 16 * KIB && input.line().is_some() {
                conn.send(vec![5; REPLY]);
            }
            Ok(())
        });
        let server = Server::start(script, config);
        let mut client = connect_narrow(server.addr);
        client.write_all(b"one\ntwo\n").unwrap();
        // No further byte is sent: only the drain can bring the second answer.
        assert_same(&read_n(&mut client, REPLY), &vec![5; REPLY]);
        assert_same(&read_n(&mut client, REPLY), &vec![5; REPLY]);
        drop(client);
        server.end();
    }
}

/// Promise 5: many requests at once, each with a large answer: `output_max` is met only by one
/// answer that is larger, never by their sum.
#[test]
fn one_request_a_call_never_meets_output_max() {
    const REPLY: usize = 512 * KIB;
    let script = echo().on_data(|conn, input| {
        if input.line().is_some() {
            conn.send(vec![6; REPLY]);
        }
        Ok(())
    });
    let server = Server::start(script, Config::default().output_max(MIB));
    let mut client = connect_narrow(server.addr);
    client.write_all(&b"again\n".repeat(40)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client).len(), 40 * REPLY);
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed:?}");
    server.end();
}

/// Promise 1: a large message that comes in small pieces is handed over whole, whatever the read
/// buffer holds.
#[test]
fn a_message_larger_than_the_read_buffer_is_gathered() {
    const LENGTH: usize = 900 * KIB;
    let (script, shown) = noting(|input| input.take(LENGTH).map(<[u8]>::to_vec));
    let server = Server::start(script, Config::default().read_buffer(16 * KIB));
    let sent = random(30, 2 * LENGTH + 10);
    let mut client = server.connect();
    client.write_all(&sent).unwrap();
    assert_same(&read_n(&mut client, 2 * LENGTH), &sent[..2 * LENGTH]);
    assert!(
        shown.lock().unwrap().len() <= 6,
        "it was woken in between: {:?}",
        shown.lock().unwrap()
    );
    drop(client);
    server.end();
}
