//! Promise 2 at shutdown: requests that wait for the output to come down to low are answered.

use std::io::Write;

use wouldblock::Config;

use crate::support::*;

/// The handler leaves its input while more than low is queued, as `on_data` is documented to come
/// again at low. Shutdown meets it between low and high.
#[test]
fn requests_left_until_low_are_answered_through_the_shutdown() {
    let script = narrow_echo().on_data(|conn, input| {
        while conn.queued() <= 16 * KIB {
            let Some(_) = input.line() else { break };
            conn.send(vec![7; 20 * KIB]);
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(&b"?\n".repeat(30)).unwrap();
    watch(std::time::Duration::from_millis(300));
    server.handle.shutdown();
    wait_until("the shutdown has begun", || {
        server.record.count(|event| matches!(event, Event::Shutdown)) == 1
    });
    assert_eq!(read_to_end(&mut client).len(), 30 * 20 * KIB);
    drop(client);
    server.join();
}
