//! Promise 6: a caught panic in `on_open` at the beginning of a shutdown does not make it endless.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use wouldblock::{Config, Reactor};

use crate::support::*;

/// `on_open` of one who waited in the backlog panics while shutdown begins; the caller goes on.
#[test]
fn a_panic_while_shutdown_begins_does_not_keep_it_from_its_end() {
    let mut opens = 0;
    let script = echo().on_open(move |_| {
        opens += 1;
        assert!(opens != 1, "as planned");
        Ok(())
    });
    let record = script.record();
    let config = Config::default().shutdown_max(Duration::from_millis(300));
    let mut reactor = Reactor::with_config(script, config).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let clients = [connect(addr), connect(addr)];
    reactor.shutdown();
    assert!(catch_unwind(AssertUnwindSafe(|| reactor.turn(None))).is_err());
    let start = Instant::now();
    while reactor.turn(Some(Duration::from_millis(10))).unwrap() {
        if start.elapsed() > Duration::from_secs(3) {
            let told = record.count(|event| matches!(event, Event::Shutdown));
            panic!(
                "3 s after a shutdown of at most 0.3 s it goes on: on_shutdown came {told} times, \
                 the listener is {}",
                if reactor.listener_addr(id).is_ok() { "open" } else { "closed" },
            );
        }
    }
    drop(clients);
}
