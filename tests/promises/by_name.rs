//! Promises 2 and 3: a connection that is reached by its name, in a callback of its own, of another,
//! and of none. What each verb does is shown where its promise is.

use std::io::{self, Write};
use std::thread;

use wouldblock::{CloseReason, Config, Conn, ConnId, Handle, Handler, Input, Origin, Reactor};

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
    let script = narrow_echo();
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
            first.set_timeout(DEADLINE);
            assert_eq!(first.queued(), owed);
            assert!(!first.cancel_timeout(), "no timer is set on one that closes");
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

/// Three lives each; a byte of the first costs the last who came one of them.
struct Game {
    handle: Handle<Game>,
    ids: Vec<ConnId>,
    is_called: bool,
}

impl Handler for Game {
    type Session = u32;

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<u32> {
        self.ids.push(conn.id());
        conn.send("welcome");
        Ok(3)
    }

    fn on_data(
        &mut self,
        _conn: &mut Conn<'_>,
        lives: &mut u32,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        assert_eq!(*lives, 3, "its own are another's");
        self.is_called = true;
        for _ in input.take_all() {
            self.handle.post_to(*self.ids.last().unwrap(), |game, conn, lives| {
                assert!(!game.is_called, "inside another callback");
                assert_eq!(Some(&conn.id()), game.ids.last());
                *lives -= 1;
                conn.send([b'0' + *lives as u8]);
                if *lives == 0 { Err(io::Error::other("dead")) } else { Ok(()) }
            })?;
        }
        self.is_called = false;
        Ok(())
    }
}

/// Promise 3: a callback reaches the session of another connection by a post, which runs after it, and
/// as a callback of that one: its error closes that one. What is posted to it after that is dropped.
#[test]
fn a_callback_reaches_the_session_of_another_by_a_post() {
    let make = |handle| Game { handle, ids: Vec::new(), is_called: false };
    let mut reactor = Reactor::build(Config::default(), make).unwrap();
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(listener).unwrap().socket_addr().unwrap();
    let handle = reactor.handle();
    let server = thread::spawn(move || reactor.run().map(|()| reactor.stats().clone()));
    let mut one = connect(addr);
    assert_eq!(read_n(&mut one, 7), b"welcome");
    let mut other = connect(addr);
    assert_eq!(read_n(&mut other, 7), b"welcome");
    one.write_all(b"!").unwrap();
    assert_eq!(read_n(&mut other, 1), b"2");
    one.write_all(b"!!!!").unwrap();
    assert_eq!(read_to_end(&mut other), b"10");
    drop((one, other));
    handle.shutdown();
    let stats = server.join().unwrap().unwrap();
    assert_eq!((stats.posts, stats.posts_missed, stats.closed.handler), (3, 2, 1));
}
