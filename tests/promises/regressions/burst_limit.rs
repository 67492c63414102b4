//! Promise 2: a connection whose kernel would take everything is not ended by `OutputLimit`.

use std::io::{Read, Write};
use std::time::Duration;

use wouldblock::{Config, ConnId};

use super::two_clients;
use crate::support::*;

fn burst(config: Config, piece: usize, pieces: usize) {
    let mut second: Option<ConnId> = None;
    let script = echo().on_data(move |conn, input| {
        match input.take_all() {
            b"I am the second" => second = Some(conn.id()),
            _ => {
                for _ in 0..pieces {
                    conn.cx().conn(second.unwrap()).unwrap().send(vec![7; piece]);
                }
            }
        }
        Ok(())
    });
    let record = script.record();
    let (mut reactor, mut one, mut two) = two_clients(script, config, connect);
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; piece * pieces];
        two.read_exact(&mut got).map(|()| got.len()).map_err(|error| (error, two))
    });
    one.write_all(b"go").unwrap();
    while !reader.is_finished() {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    let got = reader.join().unwrap();
    assert!(got.is_ok(), "{:?}; {:?}", got.map_err(|(error, _)| error), record.closes());
}

/// 20 KB in small pieces to an idle peer that reads: `Config::output_max` says that what the kernel
/// takes at once does not count; nobody asked the kernel.
#[test]
fn a_burst_of_small_sends_from_others_ends_nobody_whose_socket_is_empty() {
    let tight = Config::default().output_low(1000).output_high(4000).read_buffer(1000);
    burst(tight.output_max(8000), 1000, 20);
}

/// The same with the default limits.
#[test]
fn a_burst_of_small_sends_within_the_defaults_ends_nobody_either() {
    burst(Config::default(), 1000, 4300);
}
