//! Promise 7: a close that the library decides on is no bare end: the handler has the last word.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use wouldblock::{CloseReason, Closed, Config, Conn};

use crate::support::*;

const MS: Duration = Duration::from_millis(1);

/// An echo whose last word is the reason.
fn tells_why() -> Script {
    echo().on_closing(|conn, reason| {
        conn.send(format!("bye: {reason}"));
        Ok(())
    })
}

/// What a client that has said this reads to the end.
fn last_word(script: Script, config: Config, says: &[u8]) -> (Vec<u8>, Arc<Closed>) {
    let server = Server::start(script, config);
    let mut client = server.connect();
    client.write_all(says).unwrap();
    let read = read_to_end(&mut client);
    drop(client);
    let closed = server.record.wait_close();
    server.end();
    (read, closed)
}

#[test]
fn each_limit_that_closes_in_order_is_told_before_and_the_last_word_arrives() {
    let waits = || {
        tells_why().on_data(|_, input| {
            // For the rest of a line.
            let _ = input.line();
            Ok(())
        })
    };
    let small = Config::default().input_max(1000);
    let cases = [
        (tells_why(), Config::default().first_byte(Some(50 * MS)), &b""[..], "first byte timeout"),
        (tells_why(), Config::default().idle(Some(50 * MS)), b"x", "xidle timeout"),
        (waits(), Config::default().min_rate(100, 50 * MS), b"GET", "too slow"),
        (waits(), small, &[b'x'; 1000], "input limit reached"),
    ];
    for (script, config, says, why) in cases {
        let (read, closed) = last_word(script, config, says);
        let (echo, why) = why.strip_prefix('x').map_or(("", why), |why| ("x", why));
        assert_eq!(String::from_utf8_lossy(&read), format!("{echo}bye: {why}"));
        assert_eq!((closed.reason.to_string().as_str(), closed.unsent), (why, 0));
    }
}

/// Shutdown tells each, by the one callback, and waits until the words have gone.
#[test]
fn shutdown_lets_each_connection_be_told() {
    let server = Server::start(tells_why(), Config::default());
    let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        assert_eq!(read_n(client, 1), b"x");
    }
    server.handle.shutdown();
    for client in &mut clients {
        assert_eq!(read_to_end(client), b"bye: shutdown");
    }
    drop(clients);
    server.end();
}

/// The last word is a word: nothing that the handler does there keeps the connection, or hides why it
/// was closed; not even its error.
#[test]
fn nothing_done_in_on_closing_keeps_the_connection_or_hides_the_reason() {
    let deeds: [fn(&mut Conn<'_>) -> io::Result<()>; 6] = [
        |conn| {
            conn.hold(true);
            conn.pause();
            conn.want_drain();
            conn.set_timeout(Duration::from_secs(3600));
            Ok(())
        },
        |conn| {
            conn.set_idle_timeout(None);
            Ok(())
        },
        |conn| {
            conn.close();
            Ok(())
        },
        |conn| {
            conn.finish();
            Ok(())
        },
        |conn| {
            conn.abort();
            Ok(())
        },
        |_| Err(io::Error::other("and another thing")),
    ];
    for deed in deeds {
        let script = echo().on_closing(move |conn, _| deed(conn));
        let config = Config::default().idle(Some(50 * MS)).linger(50 * MS);
        let server = Server::start(script, config);
        let client = server.connect();
        let closed = server.record.wait_close();
        assert!(matches!(closed.reason, CloseReason::Idle), "{closed:?}");
        drop(client);
        server.end();
    }
}

/// Where nothing more can be said, or the handler itself has closed, it is not asked.
#[test]
fn on_closing_is_not_called_where_no_word_would_arrive() {
    let said = |script: Script, config: Config| {
        let script = script.on_closing(|_, reason| panic!("on_closing: {reason}"));
        let server = Server::start(script, config);
        let mut client = server.connect();
        let _ = client.write_all(b"x");
        let closed = server.record.wait_close();
        drop(client);
        server.end();
        closed
    };
    let closed = said(
        echo().on_data(|conn, _| {
            conn.close();
            Ok(())
        }),
        Config::default(),
    );
    assert!(matches!(closed.reason, CloseReason::Local), "{closed:?}");
    let too_much = echo().on_data(|conn, _| {
        conn.send(vec![7; 64 << 20]);
        Ok(())
    });
    let closed = said(too_much, Config::default());
    assert!(matches!(closed.reason, CloseReason::OutputLimit), "{closed:?}");
    let finished = echo().on_data(|conn, input| {
        input.take_all();
        conn.finish();
        Ok(())
    });
    let closed = said(finished, Config::default().idle(Some(50 * MS)));
    assert!(matches!(closed.reason, CloseReason::Idle), "{closed:?}");
    let error = echo().on_data(|_, _| Err(io::Error::other("no")));
    let closed = said(error, Config::default());
    assert!(matches!(closed.reason, CloseReason::Handler(_)), "{closed:?}");
}
