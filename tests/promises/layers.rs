//! Layers: what stands between the bytes and the handler keeps every promise to the handler. The layer is a
//! toy (`support/toy.rs`) with a handshake, records, keys that change in mid-stream, alerts and an end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wouldblock::bytes::Bytes;
use wouldblock::{Address, CloseReason, Config, Connect, Layer, Listen, Origin, Reactor, Received};

use crate::support::toy::{Toy, record};
use crate::support::toy_client::{ToyClient, TwoToys};
use crate::support::*;

/// Serves the script behind the toy layer.
fn serve(script: Script, config: Config) -> Server {
    Server::start_on(listen(), script, config)
}

fn listen() -> Listen {
    Listen::from("127.0.0.1:0").layer(|_| Ok(Toy::server(7)))
}

fn shake(server: &Server) -> ToyClient<TcpStream> {
    ToyClient::shake(server.connect())
}

/// Reads on to the server's end: nothing comes before it, and the connection is closed clean.
fn end_clean(mut client: ToyClient<TcpStream>, server: Server) {
    assert_eq!(client.rest(), b"");
    drop(client);
    assert!(server.record.wait_close().clean);
    server.end();
}

fn many(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

/// Promises 1 and 2: what is sent through a layer comes back through it, small and large, and both ends are
/// told in order.
#[test]
fn an_echo_behind_a_layer_returns_every_byte_and_ends_clean() {
    let server = serve(echo(), Config::default());
    let mut client = shake(&server);
    for n in [1, 2, 999, 1000, 1001, 70_000] {
        client.send(&many(n));
        client.expect(&many(n));
    }
    client.end();
    assert_eq!(client.rest(), b"");
    assert!(client.ended, "the server has marked its end");
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::PeerEnd) && closed.clean, "{closed}");
    let stats = server.end();
    assert_eq!((stats.accepted, stats.handshakes_failed, stats.closed.total()), (1, 0, 1));
}

/// The same on a Unix socket.
#[test]
fn an_echo_behind_a_layer_works_on_a_unix_socket() {
    let dir = std::env::temp_dir().join(format!("wouldblock-layer-{}", std::process::id()));
    let path = format!("unix:{}", dir.display());
    let script = echo();
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    reactor.listen(Listen::from(&path[..]).layer(|_| Ok(Toy::server(9)))).unwrap();
    let handle = reactor.handle();
    let thread = std::thread::spawn(move || reactor.run());
    let mut client = ToyClient::shake(UnixStream::connect(dir).unwrap());
    client.send(&many(5000));
    client.expect(&many(5000));
    client.end();
    assert_eq!(client.rest(), b"");
    drop(client);
    assert!(record.wait_close().clean);
    handle.shutdown();
    thread.join().unwrap().unwrap();
}

/// Promise 1: a peer that sends a byte at a time, from the handshake to the end, is served as any other.
#[test]
fn a_layer_is_fed_a_byte_at_a_time() {
    let server = serve(echo(), Config::default());
    let mut client = ToyClient::silent(server.connect());
    let mut count = 0;
    // The server has read each before the next is sent: no two come to it together.
    let mut send = |client: &mut ToyClient<TcpStream>, bytes: &[u8]| {
        for byte in bytes {
            client.stream.write_all(&[*byte]).unwrap();
            count += 1;
            wait_until("it is read", || server.ask(|cx| cx.stats().bytes_in) == count);
        }
    };
    client.mark_hello();
    send(&mut client, &[b'H', 0, 1, 0x55]);
    client.wait_ready();
    let wire = client.wire(b"slowly");
    send(&mut client, &wire);
    client.expect(b"slowly");
    send(&mut client, &[b'E', 0, 0]);
    assert_eq!(client.rest(), b"");
    assert!(client.ended);
    drop(client);
    assert!(server.record.wait_close().clean);
    server.end();
}

/// Promise 4: half a handshake and then silence ends at `handshake`, without a callback, and is counted.
#[test]
fn half_a_handshake_and_silence_ends_at_its_limit_untold_and_counted() {
    let config = Config::default().handshake(Duration::from_millis(50));
    let server = serve(echo(), config);
    let mut client = server.connect();
    client.write_all(b"H\0").unwrap();
    let error = client.read(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let record = server.record.clone();
    let stats = server.end();
    assert_eq!((stats.handshakes_failed, stats.closed.handshake, stats.accepted), (1, 1, 1));
    assert!(record.opens().is_empty() && record.closes().is_empty());
}

/// Promise 4: a handshake that never ends is bounded in bytes, too.
#[test]
fn a_handshake_that_never_ends_is_bounded_in_bytes() {
    let listen = Listen::from("127.0.0.1:0").layer(|_| Ok(Never));
    let server = Server::start_on(listen, echo(), Config::default().handshake_max(10_000));
    let mut client = server.connect();
    while client.write_all(&[b'x'; 1000]).is_ok() {}
    let stats = server.end();
    assert_eq!((stats.handshakes_failed, stats.closed.handshake), (1, 1));
    assert!(stats.bytes_in < 400_000);
}

/// Promise 7: what is no handshake is answered by an alert, which leaves before the end.
#[test]
fn garbage_is_answered_by_an_alert_that_leaves_first() {
    let server = serve(echo(), Config::default());
    let mut client = server.connect();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[0], b'A');
    assert!(answer.ends_with(b"too long") || answer.ends_with(b"protocol"));
    drop(client);
    let record = server.record.clone();
    let stats = server.end();
    assert_eq!((stats.handshakes_failed, stats.closed.layer), (1, 1));
    assert!(record.opens().is_empty() && record.closes().is_empty());
}

/// Promises 1 and 7: what came before a layer fails is served, and answered; then the alert, the
/// end, and the error as the reason.
#[test]
fn what_came_before_a_failure_is_served_first() {
    let server = serve(echo(), Config::default());
    let mut client = shake(&server);
    let mut wire = client.wire(b"before");
    record(b'?', b"nonsense", &mut wire);
    client.stream.write_all(&wire).unwrap();
    let mut answer = Vec::new();
    client.stream.read_to_end(&mut answer).unwrap();
    let alert = answer.windows(2).position(|at| at == b"no").expect("the alert is told");
    assert_eq!(answer[alert - 3], b'A');
    drop(client);
    let closed = server.record.wait_close();
    let CloseReason::Layer(error) = &closed.reason else { panic!("{closed}") };
    assert_eq!(error.to_string(), "no record of this protocol");
    assert!(!closed.clean);
    let id = server.record.opens()[0];
    assert_eq!(server.record.story(id), "open data close");
    server.end();
}

/// Promise 2: an end of the stream without the layer's own is told as what it is, behind all that
/// came; it is no `on_eof` and never clean, and the handler has the last word.
#[test]
fn an_end_without_the_layers_end_is_truncated_and_never_clean() {
    let script = echo().on_closing(|conn, reason| {
        assert!(matches!(reason, CloseReason::Truncated));
        conn.send("truncated");
        Ok(())
    });
    let server = serve(script, Config::default());
    let mut client = shake(&server);
    client.send(b"half");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"halftruncated");
    assert!(client.ended);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Truncated) && !closed.clean, "{closed}");
    let id = server.record.opens()[0];
    assert_eq!(server.record.story(id), "open data close");
    assert_eq!(server.end().closed.truncated, 1);
}

/// Promise 2: cut in the middle of a record is truncated as well.
#[test]
fn an_end_in_the_middle_of_a_record_is_truncated() {
    let server = serve(echo(), Config::default());
    let mut client = shake(&server);
    let wire = client.wire(b"half a record");
    client.stream.write_all(&wire[..5]).unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"");
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Truncated) && !closed.clean, "{closed}");
    server.end();
}

/// Promise 2: a peer that ends the layer and reads on gets its answer whole, and the layer's end behind it.
#[test]
fn an_answer_goes_on_behind_the_peers_end() {
    let script = echo().on_data(|_, input| {
        input.take_all();
        Ok(())
    });
    let script = script.on_eof(|conn, _| {
        conn.send_from(std::io::repeat(7).take(300_000));
        conn.send("behind");
        conn.close();
        Ok(())
    });
    let server = serve(script, Config::default());
    let mut client = shake(&server);
    client.send(b"all");
    client.end();
    let answer = client.rest();
    assert_eq!(answer.len(), 300_006);
    assert!(answer[..300_000].iter().all(|byte| *byte == 7) && answer.ends_with(b"behind"));
    assert!(client.ended);
    drop(client);
    let closed = server.record.wait_close();
    assert!(closed.clean && closed.unsent == 0, "{closed}");
    server.end();
}

/// Promise 2: what is sent in `on_open`, and a close there, go out through the layer with its end behind.
#[test]
fn a_close_in_on_open_says_the_last_words() {
    let script = echo().on_open(|conn| {
        assert_eq!(conn.layer::<Toy>().unwrap().peer_key, 0x55);
        conn.send("hello");
        conn.send(" and ");
        conn.send("bye");
        conn.close();
        Ok(())
    });
    let server = serve(script, Config::default());
    let mut client = shake(&server);
    assert_eq!(client.rest(), b"hello and bye");
    assert!(client.ended);
    assert_eq!(client.records, 1, "one record for what one callback has sent");
    client.end();
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Local) && closed.clean, "{closed}");
    server.end();
}

/// Promise 7: an abort has no last words.
#[test]
fn an_abort_has_no_last_words() {
    let script = echo().on_data(|conn, _| {
        conn.abort();
        Ok(())
    });
    let server = serve(script, Config::default());
    let mut client = shake(&server);
    client.send(b"x");
    let mut rest = Vec::new();
    let error = client.stream.read_to_end(&mut rest).unwrap_err();
    assert_eq!((error.kind(), rest.len()), (ErrorKind::ConnectionReset, 0));
    server.end();
}

/// Promise 4, promise 5: the peer that does not read is bounded by what waits for it, in whatever
/// form; and what it never got is told in the handler's bytes.
#[test]
fn what_was_not_delivered_is_told_in_the_handlers_bytes() {
    let sent = Arc::new(AtomicU64::new(0));
    let sends = Arc::clone(&sent);
    let script = echo().on_data(move |conn, input| {
        input.take_all();
        narrow_sending(conn);
        while conn.is_open() && sends.load(Ordering::Relaxed) < 400_000 {
            conn.send([7; 5000]);
            sends.fetch_add(5000, Ordering::Relaxed);
        }
        conn.set_timeout(Duration::from_millis(100));
        Ok(())
    });
    let script = script.on_timeout(|conn| {
        conn.abort();
        Ok(())
    });
    let server = serve(script, Config::default());
    let mut client = shake(&server);
    client.send(b"go");
    let closed = server.record.wait_close();
    let mut wire = Vec::new();
    let _ = client.stream.read_to_end(&mut wire);
    let got = client.feed(&wire);
    let sent = sent.load(Ordering::Relaxed);
    assert!(closed.unsent > 0 && got as u64 + closed.unsent <= sent + 65_536, "{closed}: {got}");
    server.end();
}

/// Promise 4: what waits counts against `output_max`, the layer's share included.
#[test]
fn a_peer_that_does_not_read_ends_at_output_max() {
    let script = echo().on_data(move |conn, input| {
        input.take_all();
        narrow_sending(conn);
        for _ in 0..100 {
            conn.send([7; 5000]);
        }
        Ok(())
    });
    let config = Config::default().output_high(20_000).output_low(10_000).output_max(300_000);
    let server = serve(script, config);
    let mut client = shake(&server);
    client.send(b"go");
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::OutputLimit), "{closed}");
    assert!(closed.unsent > 250_000, "{closed}");
    server.end();
}

/// Promise 4: a layer that answers a peer which floods and does not read is bounded.
#[test]
fn a_layer_that_answers_for_ever_is_bounded() {
    let listen = Listen::from("127.0.0.1:0").layer(|_| Ok(Chatty));
    let script = echo().on_open(|conn| {
        narrow_sending(conn);
        Ok(())
    });
    let config = Config::default().output_high(30_000).output_max(300_000).idle(Some(SHORT));
    let server = Server::start_on(listen, script, config);
    let mut client = server.connect();
    client.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while client.write_all(&[b'x'; 1000]).is_ok() {}
    drop(client);
    server.record.wait_close();
    let stats = server.end();
    assert!(stats.bytes_out < 20 << 20, "{stats:?}");
}

const SHORT: Duration = Duration::from_millis(200);

/// Promises 1 and 5: what a read has decoded waits while the handler has paused, and none of it is lost.
#[test]
fn what_was_decoded_waits_for_a_paused_handler() {
    let script = echo().on_data(|conn, input| {
        let n = input.len().min(700);
        let bytes = input.bytes();
        input.consume(n);
        conn.send(&bytes[..n]);
        conn.pause();
        conn.set_timeout(Duration::from_millis(1));
        Ok(())
    });
    let script = script.on_timeout(|conn| {
        conn.resume();
        Ok(())
    });
    let server = serve(script, Config::default().input_max(2000));
    let mut client = shake(&server);
    client.send(&many(20_000));
    client.end();
    client.expect(&many(20_000));
    end_clean(client, server);
}

/// Promise 5: a handler that waits for a message of many records sees one slice.
#[test]
fn a_message_of_many_records_is_one_slice() {
    let script = echo().on_data(|conn, input| {
        while let Some(message) = input.take(50_000) {
            conn.send(message);
        }
        Ok(())
    });
    let server = serve(script, Config::default());
    let mut client = shake(&server);
    client.send(&many(25_000));
    client.send(&many(25_000));
    let expected = [many(25_000), many(25_000)].concat();
    client.expect(&expected);
    // With the first bytes, and with the last.
    assert!(server.record.count(|event| matches!(event, Event::Data(_))) <= 2);
    client.end();
    client.rest();
    server.end();
}

/// Promise 2: a shutdown waits for what was asked, says the last words, and does not wait for handshakes.
#[test]
fn a_shutdown_says_the_last_words_and_waits_for_no_handshake() {
    let server = serve(echo(), Config::default());
    let mut half = server.connect();
    half.write_all(b"H\0").unwrap();
    let mut client = shake(&server);
    client.send(b"x");
    client.expect(b"x");
    server.handle.shutdown();
    assert_eq!(client.rest(), b"");
    assert!(client.ended);
    client.end();
    drop(client);
    let mut buf = [0; 9];
    assert!(half.read(&mut buf).map_or(true, |n| n == 0));
    let stats = server.join();
    assert_eq!((stats.closed.shutdown, stats.handshakes_failed), (2, 1));
}

/// A layer's panic ends its connection, and no other.
#[test]
fn a_layer_that_panics_ends_its_connection_alone() {
    let listen = Listen::from("127.0.0.1:0").layer(|_| Ok(Panics));
    let server = Server::start_on(listen, echo(), Config::default().isolate_panics(true));
    let mut one = server.connect();
    let mut other = server.connect();
    one.write_all(b"boom").unwrap();
    let closed = server.record.wait_close();
    let CloseReason::Panic(error) = &closed.reason else { panic!("{closed}") };
    assert_eq!(error.to_string(), "as planned");
    other.write_all(b"fine").unwrap();
    let mut answer = [0; 4];
    other.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"fine");
    drop((one, other));
    assert_eq!(server.end().panics, 1);
}

/// Without that it goes through, behind the connection's end.
#[test]
fn a_layers_panic_goes_through_behind_the_end_of_its_connection() {
    let script = echo();
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    let id = reactor.listen(Listen::from("127.0.0.1:0").layer(|_| Ok(Panics))).unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let mut client = connect(addr);
    client.write_all(b"boom").unwrap();
    let run = std::panic::AssertUnwindSafe(|| reactor.run());
    let panic = std::panic::catch_unwind(run).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"as planned"));
    assert!(matches!(record.closes()[0].1.reason, CloseReason::Panic(_)));
    assert!(reactor.turn(Some(Duration::ZERO)).unwrap());
}

/// Promise 2: STARTTLS. What was sent before leaves in the clear, what was read behind the command
/// goes through the layer, and so does all that is sent after.
#[test]
fn an_upgrade_takes_what_is_left_of_the_input_along() {
    let script = echo().on_data(|conn, input| {
        if conn.layer::<Toy>().is_some() {
            conn.send(input.take_all());
            return Ok(());
        }
        while let Some(line) = input.line() {
            assert_eq!(line, b"STARTTOY");
            conn.send("go ahead\n");
            conn.upgrade(Toy::server(3));
            conn.send("secret");
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = ToyClient::silent(server.connect());
    let mut wire = b"STARTTOY\n".to_vec();
    client.hello_into(&mut wire);
    client.stream.write_all(&wire).unwrap();
    let mut clear = [0; 9];
    client.stream.read_exact(&mut clear).unwrap();
    assert_eq!(&clear, b"go ahead\n");
    client.wait_ready();
    client.expect(b"secret");
    client.send(b"hidden");
    client.expect(b"hidden");
    client.end();
    end_clean(client, server);
}

/// One layer above another, by the listener or by an upgrade.
#[test]
fn layers_are_stacked() {
    let listen = listen().layer(|_| Ok(Toy::server(11)));
    let server = Server::start_on(listen, echo(), Config::default());
    let mut client = TwoToys::shake(server.connect());
    client.send(&many(3000));
    client.expect(&many(3000));
    client.end();
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed}");
    server.end();
}

/// Promise 3: a connect with a layer is opened when the handshake is over; what was sent before
/// goes first. A handshake that fails is a connect that failed.
#[test]
fn a_connect_with_a_layer_opens_when_its_handshake_is_over() {
    let server = serve(echo(), Config::default());
    let addr = server.addr;
    let script = echo()
        .on_start(move |cx| {
            let id = cx.connect(Connect::from(addr).layer(Toy::new(1)), 5)?;
            cx.conn(id).unwrap().send("early");
            Ok(())
        })
        .on_data(|conn, input| {
            if input.take(5) == Some(b"early") {
                conn.close();
            }
            Ok(())
        })
        .on_close(|cx, _, _| cx.shutdown());
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    reactor.run().unwrap();
    assert_eq!(record.origins(), [Origin::Connected(5)]);
    assert_eq!(reactor.stats().connected, 1);
    server.record.wait_close();
    server.end();

    let server = Server::start(echo(), Config::default());
    let addr = server.addr;
    let script = echo()
        .on_start(move |cx| {
            let id = cx.connect(Connect::from(addr).layer(Strict), 6)?;
            cx.conn(id).unwrap().send("early");
            Ok(())
        })
        .on_connect_failed(|cx, _, tag| {
            assert_eq!(tag, 6);
            cx.shutdown();
        });
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    reactor.run().unwrap();
    let (_, _, error) = &record.failures()[0];
    assert!(error.to_string().contains("not strict enough"), "{error}");
    assert!(record.opens().is_empty());
    server.end();
}

/// A connection that is sent to by another gets all in order, and one record for many sends.
#[test]
fn what_others_send_goes_through_the_layer() {
    let script = echo().on_data(|conn, input| {
        input.take_all();
        let others = conn.cx().connections();
        for id in others {
            if id != conn.id() {
                let mut other = conn.cx().conn(id).unwrap();
                (0..10).for_each(|n| other.send([n; 3]));
            }
        }
        conn.cx().broadcast(Bytes::from(vec![9; 5000]));
        Ok(())
    });
    let server = serve(script, Config::default());
    let (mut one, mut other) = (shake(&server), shake(&server));
    server.record.wait_opens(2);
    one.send(b"go");
    let many: Vec<u8> = (0..10).flat_map(|n| [n; 3]).chain([9; 5000]).collect();
    other.expect(&many);
    one.expect(&[9; 5000]);
    assert!(other.records <= 6, "{} records", other.records);
    drop((one, other));
    server.end();
}

/// An idle connection with a layer is closed in order, with the last words; and gives its place to another.
#[test]
fn an_idle_connection_with_a_layer_is_idle() {
    let server = serve(echo(), Config::default().idle(Some(Duration::from_millis(50))));
    let mut client = shake(&server);
    assert_eq!(client.rest(), b"");
    assert!(client.ended, "the last words are said on a close that the library decides");
    client.end();
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Idle), "{closed}");
    server.end();

    let config = Config::default().connections(1).reclaim_idle(Some(Duration::from_millis(1)));
    let server = serve(echo(), config);
    let mut first = shake(&server);
    let mut second = shake(&server);
    second.send(b"x");
    second.expect(b"x");
    assert_eq!(first.rest(), b"");
    assert!(first.ended);
    drop((first, second));
    server.end();
}

/// Promise 1: what comes in one piece with the end of the handshake is offered behind `on_open`.
#[test]
fn what_comes_with_the_end_of_the_handshake_is_offered() {
    let server = serve(echo(), Config::default());
    let mut client = ToyClient::silent(server.connect());
    let mut wire = Vec::new();
    client.hello_into(&mut wire);
    record(b'D', &[b'x' ^ 0x55], &mut wire);
    client.stream.write_all(&wire).unwrap();
    client.expect(b"x");
    let id = server.record.opens()[0];
    assert_eq!(server.record.story(id), "open data");
    drop(client);
    server.end();
}

/// Promise 1: however much was sent before the handshake is over, that is read on.
#[test]
fn much_that_is_sent_early_does_not_stop_the_handshake() {
    let server = serve(echo(), Config::default());
    let addr = server.addr;
    let got = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&got);
    let script = echo()
        .on_start(move |cx| {
            let id = cx.connect(Connect::from(addr).layer(Toy::new(1)), 5)?;
            let mut conn = cx.conn(id).unwrap();
            conn.send(many(200_000));
            conn.pause();
            Ok(())
        })
        .on_open(|conn| {
            conn.resume();
            Ok(())
        })
        .on_data(move |conn, input| {
            let n = input.take_all().len() as u64;
            if counts.fetch_add(n, Ordering::Relaxed) + n == 200_000 {
                conn.close();
            }
            Ok(())
        })
        .on_close(|cx, _, _| cx.shutdown());
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    reactor.run().unwrap();
    assert_eq!(got.load(Ordering::Relaxed), 200_000);
    assert!(matches!(record.closes()[0].1.reason, CloseReason::Local));
    server.end();
}

/// A layer whose two sides end together is not half-closed: `finish` closes.
#[test]
fn a_layer_without_a_half_close_is_closed() {
    let listen = Listen::from("127.0.0.1:0").layer(|_| Ok(Together(Toy::server(7))));
    let script = echo().on_data(|conn, input| {
        conn.send(input.take_all());
        conn.finish();
        Ok(())
    });
    let server = Server::start_on(listen, script, Config::default());
    let mut client = shake(&server);
    client.send(b"x");
    assert_eq!(client.rest(), b"x");
    assert!(client.ended);
    client.send(b"ignored");
    client.end();
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Local) && closed.clean, "{closed}");
    let id = server.record.opens()[0];
    assert_eq!(server.record.story(id), "open data close");

    let server = serve_together(echo().on_eof(|_, _| Ok(())));
    let mut client = shake(&server);
    client.end();
    assert_eq!(client.rest(), b"");
    assert!(client.ended, "the peer's end is answered by ours");
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::PeerEnd) && closed.clean, "{closed}");
    server.end();
}

fn serve_together(script: Script) -> Server {
    let listen = Listen::from("127.0.0.1:0").layer(|_| Ok(Together(Toy::server(7))));
    Server::start_on(listen, script, Config::default())
}

/// Promise 4: what a layer says of its own to a peer that does not read ends at `output_max`.
#[test]
fn what_a_layer_says_for_ever_ends_at_output_max() {
    let listen = Listen::from("127.0.0.1:0").layer(|_| Ok(Verbose));
    let script = echo().on_open(|conn| {
        narrow_sending(conn);
        conn.auto_pause(false);
        Ok(())
    });
    let config = Config::default().output_high(300_000).output_max(2 << 20).read_buffer(4096);
    let server = Server::start_on(listen, script, config);
    let mut client = server.connect();
    while client.write_all(&[b'x'; 1000]).is_ok() {}
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::OutputLimit), "{closed}");
    assert_eq!(closed.unsent, 0, "none of it was the handler's");
    drop(client);
    server.end();
}

/// A layer that never comes to the end of a record does not take memory for ever.
#[test]
fn a_record_that_never_ends_is_bounded() {
    let listen = Listen::from("127.0.0.1:0").layer(|_| Ok(Hungry));
    let config = Config::default().input_max(100_000).linger(Duration::from_millis(50));
    let server = Server::start_on(listen, echo(), config);
    let mut client = server.connect();
    while client.write_all(&[b'x'; 1000]).is_ok() {}
    let closed = server.record.wait_close();
    let CloseReason::Layer(error) = &closed.reason else { panic!("{closed}") };
    assert!(error.to_string().starts_with("no record of the layer ends within"), "{error}");
    server.end();
}

/// A connection with a layer cannot go elsewhere as bytes: `detach` is ignored.
#[test]
fn a_connection_with_a_layer_is_not_detached() {
    let script = echo().on_data(|conn, input| {
        conn.detach(|_| panic!("detached"));
        conn.send(input.take_all());
        Ok(())
    });
    let server = serve(script, Config::default());
    let mut client = shake(&server);
    client.send(b"x");
    client.expect(b"x");
    drop(client);
    server.end();
}

/// Where a layer cannot take its place in order, nothing goes out as it is.
#[test]
fn an_upgrade_behind_a_source_ends_the_connection() {
    let script = echo().on_data(|conn, input| {
        input.take_all();
        conn.send_from(io::repeat(7).take(1 << 30));
        conn.upgrade(Toy::server(1));
        conn.send("secret");
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Layer(_)), "{closed}");
    server.end();
}

/// The toy protocol without its half-close.
#[derive(Debug)]
struct Together(Toy);

impl Layer for Together {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> io::Result<Received> {
        self.0.receive(bytes, plain, wire)
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        self.0.send(plain, wire)
    }

    fn end(&mut self, wire: &mut Vec<u8>) {
        self.0.end(wire);
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn half_closes(&self) -> bool {
        false
    }
}

/// A header that tells who the peer is: its address is that, the limit of an address counts it, and
/// behind the header the connection is one without a layer, which may be detached.
#[test]
fn a_header_tells_who_the_peer_is_and_is_over() {
    let listen = Listen::from("127.0.0.1:0").layer(|_| Ok(Header(None)));
    let script = echo().on_data(|conn, input| {
        let told = conn.layer::<Header>().unwrap().0.clone().unwrap();
        assert_eq!(conn.peer_addr().unwrap(), told);
        conn.send(input.take_all());
        conn.send(format!(" {told}"));
        if told.to_string().starts_with("192.0.2.2") {
            conn.detach(drop);
        }
        Ok(())
    });
    let config = Config::default().connections_per_address(Some(1));
    let server = Server::start_on(listen, script, config);
    let mut one = server.connect();
    one.write_all(b"192.0.2.1:50\nhello").unwrap();
    let mut answer = [0; 18];
    one.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello 192.0.2.1:50");
    let mut other = server.connect();
    other.write_all(b"192.0.2.2:51\nhello").unwrap();
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Detached), "{closed}");
    let mut same = server.connect();
    same.write_all(b"192.0.2.1:52\nhello").unwrap();
    let error = same.read(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    one.shutdown(Shutdown::Write).unwrap();
    let closed = Arc::clone(&server.record.wait_closes(2)[1].1);
    assert!(matches!(closed.reason, CloseReason::PeerEnd) && closed.clean, "{closed}");
    drop((one, other, same));
    assert_eq!(server.end().refused_address, 1);
}

/// A line in front of everything: the address of the peer.
#[derive(Debug)]
struct Header(Option<Address>);

impl Layer for Header {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        _: &mut Vec<u8>,
    ) -> io::Result<Received> {
        if self.0.is_some() {
            plain.extend_from_slice(bytes);
            return Ok(Received::consumed(bytes.len()));
        }
        let Some(len) = bytes.iter().position(|byte| *byte == b'\n') else {
            return Ok(Received::consumed(0));
        };
        self.0 = Some(String::from_utf8_lossy(&bytes[..len]).parse()?);
        Ok(Received::consumed(len + 1))
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        wire.extend_from_slice(plain);
        Ok(())
    }

    fn end(&mut self, _: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        self.0.is_some()
    }

    fn has_end(&self) -> bool {
        false
    }

    fn is_over(&self) -> bool {
        true
    }

    fn tells_peer(&self) -> bool {
        true
    }

    fn peer(&self) -> Option<Address> {
        self.0.clone()
    }
}

// --- Layers that misbehave ---------------------------------------------------------------------------

/// What the layers below have in common: bytes go through as they are.
macro_rules! plain_layer {
    ($name:ident, $receive:expr, $ready:expr) => {
        #[derive(Debug)]
        struct $name;

        impl Layer for $name {
            fn receive(
                &mut self,
                bytes: &mut [u8],
                plain: &mut Vec<u8>,
                wire: &mut Vec<u8>,
            ) -> io::Result<Received> {
                ($receive)(bytes, plain, wire)
            }

            fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
                wire.extend_from_slice(plain);
                Ok(())
            }

            fn end(&mut self, _wire: &mut Vec<u8>) {}

            fn is_ready(&self) -> bool {
                $ready
            }

            fn has_end(&self) -> bool {
                false
            }
        }
    };
}

fn pass(bytes: &[u8], plain: &mut Vec<u8>) -> Received {
    plain.extend_from_slice(bytes);
    Received::consumed(bytes.len())
}

plain_layer!(Never, |bytes: &mut [u8], _, _| Ok(Received::consumed(bytes.len())), false);
plain_layer!(
    Chatty,
    |bytes: &mut [u8], _: &mut Vec<u8>, wire: &mut Vec<u8>| {
        wire.extend(std::iter::repeat_n(b'y', 20 * bytes.len()));
        Ok(Received::consumed(bytes.len()))
    },
    true
);
plain_layer!(
    Panics,
    |bytes: &mut [u8], plain, _| {
        assert!(!bytes.starts_with(b"boom"), "as planned");
        Ok(pass(bytes, plain))
    },
    true
);
plain_layer!(
    Strict,
    |bytes: &mut [u8], _: &mut Vec<u8>, wire: &mut Vec<u8>| {
        if bytes.is_empty() {
            wire.extend_from_slice(b"hello");
            return Ok(Received::consumed(0));
        }
        Err(io::Error::new(ErrorKind::InvalidData, "not strict enough"))
    },
    false
);
plain_layer!(
    Verbose,
    |bytes: &mut [u8], _: &mut Vec<u8>, wire: &mut Vec<u8>| {
        wire.extend(std::iter::repeat_n(b'y', 500 * bytes.len()));
        Ok(Received::consumed(bytes.len()))
    },
    true
);
plain_layer!(Hungry, |_: &mut [u8], _, _| Ok(Received::consumed(0)), true);
