//! Promise 5, trap 41: every crossing of high is followed by one drain.

use std::io::Write;

use wouldblock::{Config, ConnId};

use super::{turns, two_clients};
use crate::support::*;

/// The sender sees `room() == 0` and `queued()` above high, stops, and waits for `on_drain`.
#[test]
fn output_that_others_brought_above_high_is_followed_by_a_drain() {
    let mut second: Option<ConnId> = None;
    let script = echo().on_data(move |conn, input| {
        if input.take_all() == b"I am the second" {
            second = Some(conn.id());
            return Ok(());
        }
        let (second, cx) = (second.unwrap(), conn.cx());
        let mut second = cx.conn(second).unwrap();
        while second.queued() <= 64 * KIB {
            second.send([7; 1000]);
        }
        assert_eq!(second.room(), 0);
        Ok(())
    });
    let record = script.record();
    let (mut reactor, mut one, mut two) = two_clients(script, Config::default(), connect);
    one.write_all(b"go").unwrap();
    turns(&mut reactor, 50);
    read_n(&mut two, 65_000);
    assert_eq!(record.count(|event| matches!(event, Event::Drain(_))), 1);
}
