//! Promise 4: a deadline counts from the moment of adoption.

use std::thread;
use std::time::{Duration, Instant};

use wouldblock::{Config, Reactor};

use crate::support::*;

/// A program adopts after it has done something else for longer than `idle`, as before the first
/// turn, or between two turns of a host loop.
#[test]
fn a_connection_adopted_late_is_not_idle_since_the_clock_was_last_read() {
    let idle = Duration::from_secs(1);
    let config = Config::default().idle(Some(idle));
    let mut reactor = Reactor::with_config(echo(), config).unwrap();
    let listener = listener();
    let mut client = connect(listener.local_addr().unwrap());
    let (stream, _) = listener.accept().unwrap();
    thread::sleep(2 * idle);
    let adopted = Instant::now();
    reactor.adopt(stream, 1).unwrap();
    let client = thread::spawn(move || {
        assert!(read_to_end(&mut client).is_empty());
        adopted.elapsed()
    });
    while !client.is_finished() {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    let lived = client.join().unwrap();
    assert!(lived >= idle, "ended as idle after {lived:?}");
}
