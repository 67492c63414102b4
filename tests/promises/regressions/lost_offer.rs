//! Promise 1: what was left is offered again though the output came down with the same call.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wouldblock::{Config, ConnId};

use super::two_clients;
use crate::support::*;

/// A handler that leaves its input while more than low is queued is called again when the output
/// comes down, also if the flush right after that very call brought it down.
#[test]
fn what_is_left_is_offered_again_if_the_flush_after_the_call_brings_output_down() {
    let mut second: Option<ConnId> = None;
    let script = echo().on_data(move |conn, input| {
        match input.bytes() {
            b"I am the second" => {
                second = Some(conn.id());
                input.take_all();
            }
            b"fill" => {
                input.take_all();
                for _ in 0..100 {
                    let mut second = conn.cx().conn(second.unwrap()).unwrap();
                    second.send_shared(Bytes::from(vec![7; 1000]));
                }
            }
            _ if conn.queued() > 16 * KIB => {} // What is left comes again at low.
            _ => conn.send(input.take_all()),
        }
        Ok(())
    });
    let (mut reactor, mut one, mut two) = two_clients(script, Config::default(), connect);
    // Both are found by one poll, in this order.
    one.write_all(b"fill").unwrap();
    two.write_all(b"request").unwrap();
    watch(Duration::from_millis(50));
    let start = Instant::now();
    let mut got = 0;
    two.set_nonblocking(true).unwrap();
    let mut buf = [0; 8192];
    while got < 100_007 && start.elapsed() < Duration::from_secs(3) {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
        while let Ok(n) = two.read(&mut buf) {
            got += n;
        }
    }
    assert_eq!(got, 100_007, "the request is never answered");
}
