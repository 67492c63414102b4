//! Promises 2 and 3: a connection that is reached by its name, in a callback of its own, of another,
//! and of none. What each verb does is shown where its promise is.

use std::io::Write;

use wouldblock::{CloseReason, Config};

use crate::support::*;

/// Promise 2: the connection being served is reached by its name as well. What is sent to it that way
/// keeps its place among what its callback sends, and leaves with it, in one piece.
#[test]
fn the_served_one_reached_by_its_name_keeps_the_order_of_its_sends() {
    let script = echo().on_data(|conn, input| {
        let all = input.take_all();
        assert_eq!(all, b"abcdef");
        let before = conn.cx().stats().bytes_out;
        conn.send(&all[..2]);
        let id = conn.id();
        let mut same = conn.cx().conn(id).expect("the one being served is there");
        same.send(&all[2..3]);
        assert_eq!(same.queued(), 3, "what its callback has sent is counted");
        let mut again = same.cx().conn(id).expect("and leads to itself");
        again.send(&all[3..4]);
        conn.send(&all[4..]);
        assert_eq!(conn.queued(), 6);
        assert_eq!(
            conn.cx().stats().bytes_out,
            before,
            "nothing leaves before the callback returns"
        );
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"abcdef").unwrap();
    assert_eq!(read_n(&mut client, 6), b"abcdef");
    drop(client);
    server.end();
}

/// Promise 3: the name of one that closes leads to it, until its last byte is out or it is cut: it
/// takes no more, and tells what it still owes. Then it leads to none, before `on_close` and in it.
#[test]
fn a_name_leads_to_one_that_closes_until_it_is_over() {
    let script = echo().on_open(|conn| {
        narrow_sending(conn);
        Ok(())
    });
    let record = script.record();
    let script = script
        .on_data(move |conn, input| {
            if input.take_all() == b"close" {
                conn.send(vec![7; 3 * MIB]);
                conn.close();
                return Ok(());
            }
            let cx = conn.cx();
            assert!(cx.connections().len() < 2, "one that closes is not among the open ones");
            let first = record.opens()[0];
            let mut first = cx.conn(first).expect("it has not sent all");
            assert!(!first.is_open() && !first.has_failed());
            let owed = first.queued();
            assert!(owed > MIB && first.room() == 0 && !first.want_drain());
            first.send(b"ignored");
            first.send_shared(vec![1; 8 * KIB].into());
            first.pause();
            first.set_timer(DEADLINE);
            assert_eq!(first.queued(), owed);
            assert!(!first.cancel_timer(), "no timer is set on one that closes");
            first.abort();
            assert_eq!(first.queued(), 0);
            let first = first.id();
            assert!(conn.cx().conn(first).is_none(), "it is over, and `on_close` is to come");
            conn.send(b"done");
            Ok(())
        })
        .on_close(|cx, id, _| assert!(cx.conn(id).is_none()));
    let server = Server::start(script, Config::default());
    let mut deaf = connect_narrow(server.addr);
    let id = server.record.wait_opens(1)[0];
    deaf.write_all(b"close").unwrap();
    wait_until("it closes", || server.record.story(id) == "open data");
    let mut probe = server.connect();
    probe.write_all(b"?").unwrap();
    assert_eq!(read_n(&mut probe, 4), b"done");
    let closed = server.record.wait_close_of(id);
    assert!(matches!(closed.reason, CloseReason::Local), "the first cause: {closed:?}");
    assert!(closed.unsent > MIB as u64 && !closed.clean, "{closed:?}");
    drop((deaf, probe));
    server.end();
}
