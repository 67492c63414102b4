//! Promise 5: above high no input is offered, whoever sent.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wouldblock::{Config, ConnId, Reactor};

use super::{turns, two_clients};
use crate::support::*;

/// `on_drain` sends far above high; `on_data` of the same turn comes all the same.
#[test]
fn no_data_is_offered_in_the_turn_whose_drain_went_above_high() {
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let script = echo()
        .on_data(move |conn, input| {
            seen.fetch_max(conn.queued(), Ordering::Relaxed);
            if input.take_all() == b"?" {
                narrow_sending(conn);
                conn.want_drain();
            } else {
                conn.send(vec![8; 3 * MIB]);
            }
            Ok(())
        })
        .on_drain(|conn| {
            conn.send(vec![7; 3 * MIB]);
            Ok(())
        });
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let mut client = connect_narrow(addr);
    client.write_all(b"?").unwrap();
    while record.count(|event| matches!(event, Event::Data(_))) == 0 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    client.write_all(b"x").unwrap();
    watch(Duration::from_millis(50));
    turns(&mut reactor, 5);
    let most = most.load(Ordering::Relaxed);
    assert!(most <= 64 * KIB, "on_data came with {most} bytes queued; {:?}", record.closes());
}

/// The same where another connection's callback did it earlier in the turn.
#[test]
fn no_data_is_offered_in_the_turn_in_which_another_went_above_high() {
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let mut second: Option<ConnId> = None;
    let script = echo().on_data(move |conn, input| {
        match input.take_all() {
            b"I am the second" => {
                narrow_sending(conn);
                second = Some(conn.id());
            }
            b"fill" => {
                conn.cx().conn(second.unwrap()).unwrap().send(vec![7; 3 * MIB]);
            }
            _ => {
                seen.fetch_max(conn.queued(), Ordering::Relaxed);
            }
        }
        Ok(())
    });
    let (mut reactor, mut one, mut two) = two_clients(script, Config::default(), connect_narrow);
    one.write_all(b"fill").unwrap();
    two.write_all(b"x").unwrap();
    watch(Duration::from_millis(50));
    turns(&mut reactor, 5);
    let most = most.load(Ordering::Relaxed);
    assert!(most <= 64 * KIB, "on_data came with {most} bytes queued");
}
