//! Promise 4, promise 7: a failed write on a paused connection has an end.

use std::time::Duration;

use wouldblock::Config;

use crate::support::*;

/// An answer is streamed by `on_drain` with reading paused; the peer resets in the middle. Nothing
/// is called ever again: no drain, no close; session and descriptor stay for ever.
#[test]
fn a_write_that_fails_while_paused_is_told_and_bounded() {
    use std::io::Write;
    let script = echo()
        .on_data(|conn, input| {
            input.take_all();
            narrow_sending(conn);
            conn.pause();
            conn.want_drain();
            Ok(())
        })
        .on_drain(|conn| {
            conn.send(vec![7; 32 * KIB]);
            conn.want_drain();
            Ok(())
        });
    let config = Config::default().write_stall(Duration::from_millis(500));
    let server = Server::start(script, config);
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    read_n(&mut client, 100 * KIB);
    reset(client);
    watch(Duration::from_secs(3));
    let closes = server.record.closes();
    let story_len = server.record.events().len();
    watch(Duration::from_millis(300));
    assert_eq!(server.record.events().len(), story_len, "it is still called");
    assert_eq!(closes.len(), 1, "3 s after the reset nobody was told, though write_stall is 0.5 s");
    server.end_now();
}
