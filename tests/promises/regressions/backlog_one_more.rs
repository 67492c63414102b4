//! Promise 2, trap 25: Linux lets one more wait than the backlog says (`sk_acceptq_is_full`).

use std::io::Write;
use std::time::Duration;

use wouldblock::{Config, Listen};

use crate::support::*;

/// Both are established and have sent before the shutdown begins.
#[test]
fn whoever_waits_in_a_full_backlog_is_served_at_shutdown() {
    let (stall, stalled) = stall();
    let script = echo().on_data(move |conn, input| {
        if input.bytes() == b"stall" {
            input.take_all();
            stalled.stand_still();
            conn.cx().shutdown();
        } else {
            conn.send(input.take_all());
        }
        Ok(())
    });
    let listen = Listen::from("127.0.0.1:0").backlog(1);
    let server = Server::start_on(listen, script, Config::default());
    let mut caller = server.connect();
    caller.write_all(b"stall").unwrap();
    stall.wait_entered();
    let mut waiting = [server.connect(), server.connect()];
    for client in &mut waiting {
        client.write_all(b"hello").unwrap();
    }
    watch(Duration::from_millis(100));
    stall.release();
    for client in &mut waiting {
        let (got, end) = read_until_gone(client);
        assert_eq!((&got[..], end.map_err(|e| e.kind())), (&b"hello"[..], Ok(())));
    }
    drop((waiting, caller));
    server.join();
}
