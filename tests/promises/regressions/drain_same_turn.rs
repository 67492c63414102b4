//! Promise 5: `on_drain` comes in a later turn than the wish.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wouldblock::{Config, ConnId};

use super::{turns, two_clients};
use crate::support::*;

/// One connection's callback wishes for another's drain; that one is served later in the turn.
#[test]
fn a_drain_that_another_wished_for_comes_in_a_later_turn() {
    let mut second: Option<ConnId> = None;
    let wish = Arc::new(Mutex::new(0));
    let (wishes, came) = (Arc::clone(&wish), Arc::new(Mutex::new(None)));
    let comes = Arc::clone(&came);
    let script = echo()
        .on_data(move |conn, input| {
            match input.take_all() {
                b"I am the second" => second = Some(conn.id()),
                b"wish" => {
                    *wishes.lock().unwrap() = conn.cx().stats().turns;
                    conn.cx().conn(second.unwrap()).unwrap().want_drain();
                }
                _ => {}
            }
            Ok(())
        })
        .on_drain(move |conn| {
            *comes.lock().unwrap() = Some(conn.cx().stats().turns);
            Ok(())
        });
    let (mut reactor, mut one, mut two) = two_clients(script, Config::default(), connect);
    one.write_all(b"wish").unwrap();
    two.write_all(b"x").unwrap();
    watch(Duration::from_millis(50));
    turns(&mut reactor, 5);
    let (when_wished, when_came) = (*wish.lock().unwrap(), came.lock().unwrap().expect("it comes"));
    assert!(when_came > when_wished, "wished for in turn {when_wished}, came in turn {when_came}");
}
