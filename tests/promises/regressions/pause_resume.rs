//! "What is left is offered once more after `resume`".

use std::io::Write;

use wouldblock::{Config, ConnId};

use crate::support::*;

/// A handler that pauses, asks somebody, and is answered at once.
#[test]
fn a_resume_within_the_call_offers_what_is_left() {
    let mut calls = 0;
    let script = echo().on_data(move |conn, input| {
        calls += 1;
        if calls == 1 {
            let id: ConnId = conn.id();
            conn.pause();
            conn.cx().conn(id).unwrap().resume(); // The answer was there already.
        } else {
            conn.send(input.take_all());
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    client.write_all(b"question").unwrap();
    let mut got = [0; 8];
    let read = std::io::Read::read_exact(&mut client, &mut got);
    assert!(read.is_ok(), "{read:?}");
    drop(client);
    server.end_now();
}
