//! Promise 1: after a caught panic `next_timeout` knows that there is work.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use wouldblock::Reactor;

use crate::support::*;

/// A host loop that does as `next_timeout` says never ends the connection whose callback panicked.
#[test]
fn after_a_caught_panic_the_next_turn_is_due_at_once() {
    let script = echo().on_data(|_, _| panic!("as planned"));
    let mut reactor = Reactor::new(script).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let mut client = connect(addr);
    for _ in 0..10 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    client.write_all(b"!").unwrap();
    let panicked = (0..100).any(|_| {
        catch_unwind(AssertUnwindSafe(|| reactor.turn(Some(Duration::from_millis(10))))).is_err()
    });
    assert!(panicked);
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
}
