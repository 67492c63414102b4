//! Promise 2: a peer's FIN is not its death, queued replies still go out, and what could not be
//! delivered is counted in `Closed`.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use wouldblock::{CloseReason, Config, Conn, ConnId};

use crate::support::*;

/// Talks with an echo server in chunks of random sizes, reading while it sends; what comes back
/// must be the same.
fn chat(addr: SocketAddr, seed: u64, total: usize, chunk_max: usize) {
    let mut chance = Chance::new(seed);
    let bytes = chance.bytes(total);
    let client = connect(addr);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut writer, mut rest) = (&client, &bytes[..]);
            while !rest.is_empty() {
                let (chunk, behind) = rest.split_at(chance.size(chunk_max).min(rest.len()));
                writer.write_all(chunk).unwrap();
                rest = behind;
            }
            client.shutdown(Shutdown::Write).unwrap();
        });
        assert_same(&read_to_end(&mut client.try_clone().unwrap()), &bytes);
    });
}

/// Promise 2: every byte comes back, in order, whatever the sizes.
#[test]
fn random_data_in_random_chunks_comes_back_whole() {
    let server = Server::start(echo(), Config::default());
    thread::scope(|scope| {
        for seed in 0..16 {
            let addr = server.addr;
            scope.spawn(move || chat(addr, seed, 300 * KIB + seed as usize, 64 * KIB));
        }
        let addr = server.addr;
        scope.spawn(move || chat(addr, 99, 24 * MIB, 8 * MIB));
        scope.spawn(move || chat(addr, 98, 3000, 3));
    });
    let closes = server.record.wait_closes(18);
    for (_, closed) in closes {
        assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed:?}");
        assert_eq!((closed.unsent, closed.clean), (0, true));
    }
    let stats = server.end();
    assert_eq!(stats.bytes_in, stats.bytes_out);
    assert_eq!(stats.accepted, 18);
    assert_eq!(stats.closed.peer_end, 18);
}

/// Promise 2: two hundred at once. In a child for the descriptors.
#[test]
fn two_hundred_clients_at_once_lose_nothing() {
    child::run("no_lost_bytes::child_two_hundred_clients");
}

#[test]
#[ignore = "a child of two_hundred_clients_at_once_lose_nothing"]
fn child_two_hundred_clients() {
    if !child::is_running("no_lost_bytes::child_two_hundred_clients") {
        return;
    }
    let room = child::room_for_pairs().min(200);
    let server = Server::start(echo(), Config::default());
    thread::scope(|scope| {
        for seed in 0..room as u64 {
            let addr = server.addr;
            let total = if seed % 50 == 0 { 8 * MIB } else { 64 * KIB };
            scope.spawn(move || chat(addr, seed, total, total));
        }
    });
    let stats = server.end();
    assert_eq!(stats.bytes_in, stats.bytes_out);
}

/// Promise 2, Trap 38: the client says it is done sending, and still wants its answer.
#[test]
fn a_client_that_half_closes_gets_everything_back_and_then_the_end() {
    let server = Server::start(echo(), Config::default());
    let client = server.connect();
    let sent = random(3, 10 * MIB);
    assert_same(&exchange(&client, &sent), &sent);
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed:?}");
    server.end();
}

/// Promise 2, Trap 2: it sends and is gone in the same instant; every byte reaches the handler.
#[test]
fn one_that_sends_and_closes_at_once_is_read_to_the_end() {
    let got = Arc::new(Mutex::new(Vec::new()));
    let sink = got.clone();
    let script = echo().on_data(move |_, input| {
        sink.lock().unwrap().extend_from_slice(input.take_all());
        Ok(())
    });
    let server = Server::start(script, Config::default().read_buffer(16 * KIB));
    let sent = random(4, 2 * MIB);
    let mut client = server.connect();
    client.write_all(&sent).unwrap();
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed:?}");
    assert_same(&got.lock().unwrap(), &sent);
    server.end();
}

/// A script whose every connection adds what it says to `heard`; `stall` stands still and then runs
/// `then`.
fn hearing(
    heard: &Arc<Mutex<Vec<u8>>>,
    stalled: Stalled,
    mut then: impl FnMut(&mut Conn<'_>) + Send + 'static,
) -> Script {
    let heard = heard.clone();
    echo().on_data(move |conn, input| {
        let bytes = input.take_all();
        if bytes == b"stall" {
            stalled.stand_still();
            then(conn);
        } else {
            heard.lock().unwrap().extend_from_slice(bytes);
        }
        Ok(())
    })
}

/// Promise 2, Trap 7: a tail and a reset arrive together; the tail is heard before the reset is
/// told.
#[test]
fn bytes_before_a_reset_reach_the_handler() {
    let heard = Arc::default();
    let (stall, stalled) = stall();
    let server = Server::start(hearing(&heard, stalled, |_| ()), Config::default());
    let mut client = server.connect();
    let id = server.record.wait_opens(1)[0];
    let mut other = server.connect();
    other.write_all(b"stall").unwrap();
    stall.wait_entered();
    client.write_all(b"the tail").unwrap();
    reset(client);
    stall.release();
    let closed = server.record.wait_close_of(id);
    assert!(matches!(closed.reason, CloseReason::Io(_)), "{closed:?}");
    assert!(!closed.clean);
    assert_eq!(*heard.lock().unwrap(), b"the tail");
    assert_eq!(server.record.story(id), "open data close");
    drop(other);
    server.end();
}

/// Promises 2 and 3, Trap 42: our write fails first, and still the tail that the peer left is
/// delivered.
#[test]
fn a_write_that_fails_does_not_swallow_the_tail() {
    for size in [10, 100 * KIB] {
        let heard = Arc::default();
        let (stall, stalled) = stall();
        let server = Server::start(
            hearing(&heard, stalled, move |conn| {
                let all = conn.cx().connections();
                let me = conn.id();
                conn.cx().broadcast_to(
                    all.into_iter().filter(|id| *id != me),
                    Bytes::from(vec![0; size]),
                );
            }),
            Config::default(),
        );
        let mut client = server.connect();
        let id = server.record.wait_opens(1)[0];
        let mut other = server.connect();
        other.write_all(b"stall").unwrap();
        stall.wait_entered();
        client.write_all(b"the tail").unwrap();
        reset(client);
        stall.release();
        let closed = server.record.wait_close_of(id);
        assert!(matches!(closed.reason, CloseReason::Io(_)), "{closed:?}");
        assert_eq!(*heard.lock().unwrap(), b"the tail");
        assert!(server.record.story(id).starts_with("open data"));
        drop(other);
        server.end();
    }
}

/// Answers the first data with `reply` and closes, whatever the client still sends.
fn answers_early(reply: Vec<u8>) -> Script {
    echo().on_data(move |conn, input| {
        input.take_all();
        conn.send(&reply);
        conn.close();
        Ok(())
    })
}

/// Promise 2, Trap 36: unread input at `close` would be a reset that destroys the reply in flight.
#[test]
fn an_early_answer_survives_what_the_client_still_sends() {
    let reply = random(5, MIB);
    let server = Server::start(answers_early(reply.clone()), Config::default());
    let client = server.connect();
    assert_same(&exchange(&client, &random(6, 10 * MIB)), &reply);
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Local), "{closed:?}");
    assert_eq!((closed.unsent, closed.clean), (0, true));
    server.end();
}

/// Promise 2, Trap 72: the client reads only after it sent all; a server that stopped reading would
/// wait for it for ever.
#[test]
fn an_early_answer_of_sixteen_mebibytes_reaches_a_client_that_sends_before_it_reads() {
    let reply = random(7, 16 * MIB);
    let config = Config::default().output_max(20 * MIB);
    let server = Server::start(answers_early(reply.clone()), config);
    let mut client = server.connect();
    client.write_all(&random(8, 10 * MIB)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_same(&read_to_end(&mut client), &reply);
    drop(client);
    let closed = server.record.wait_close();
    assert_eq!((closed.unsent, closed.clean), (0, true), "{closed:?}");
    server.end();
}

/// Promise 2, Trap 37: `close` flushes first, however slowly the peer reads.
#[test]
fn close_flushes_what_is_queued_to_a_slow_reader() {
    let reply = random(9, 3 * MIB);
    let server = Server::start(answers_early(reply.clone()), Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    let mut got = Vec::new();
    while got.len() < reply.len() {
        let n = (64 * KIB).min(reply.len() - got.len());
        got.extend(read_n(&mut client, n));
    }
    assert_same(&got, &reply);
    assert!(read_to_end(&mut client).is_empty());
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Local), "{closed:?}");
    assert_eq!(closed.unsent, 0);
    server.end();
}

/// Promises 2 and 7: the peer leaves in the middle of its answer; what the kernel never took is
/// counted.
#[test]
fn what_was_never_delivered_is_counted() {
    let script = narrow_echo().on_data(|conn, input| {
        input.take_all();
        conn.send(vec![1; 3 * MIB]);
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    assert_eq!(read_n(&mut client, 1000), vec![1; 1000]);
    reset(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Io(_)), "{closed:?}");
    assert!(!closed.clean);
    let stats = server.end();
    assert_eq!(stats.bytes_out + closed.unsent, 3 * MIB as u64);
    assert!(closed.unsent > 0);
}

/// Promise 2, Trap 31: the kernel takes every write in part, and the rest goes on where it stopped.
#[test]
fn partial_writes_go_on_where_they_stopped() {
    let reply = random(10, 2 * MIB);
    let expected = reply.clone();
    let script = narrow_echo().on_data(move |conn, input| {
        input.take_all();
        let (mut chance, mut rest) = (Chance::new(11), &reply[..]);
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(chance.size(100 * KIB).min(rest.len()));
            conn.send(chunk);
            rest = behind;
        }
        conn.close();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    assert_same(&read_to_end(&mut client), &expected);
    drop(client);
    server.end();
}

/// Promise 3, Trap 32: whichever way a record went out, and whoever sent it, it stands behind the
/// one before.
#[test]
fn sends_keep_their_order_whichever_way_they_went() {
    const RECORDS: u32 = 3000;
    let mut chance = Chance::new(12);
    let (mut reader, mut next) = (None, 0u32);
    let script = narrow_echo().on_data(move |conn, input| {
        // The first to speak reads the records; the others only cause them.
        let reader = *reader.get_or_insert(conn.id());
        for _ in 0..input.take_all().len() {
            if next == RECORDS {
                break;
            }
            let record = record(next, &mut chance);
            let own = conn.id() == reader;
            match chance.below(5) {
                0 if own => conn.send(&record),
                1 if own => conn.send_shared(Bytes::from(record)),
                2 if own => conn.write_all(&record).unwrap(),
                3 => conn.cx().conn(reader).unwrap().send(&record),
                4 => conn.cx().conn(reader).unwrap().send_shared(Bytes::from(record)),
                _ => conn.cx().broadcast_to([reader], Bytes::from(record)),
            }
            next += 1;
            if conn.cx().conn(reader).map_or(0, |conn| conn.queued()) > 2 * MIB {
                break;
            }
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let reader = connect_narrow(server.addr);
    let mut first = &reader;
    first.write_all(b".").unwrap();
    let (mut from, mut seen) = (io::BufReader::new(&reader), 0);
    seen += check_record(&mut from, seen);
    let mut other = server.connect();
    while seen < RECORDS {
        // A few causes from each side, then what they caused is read in part.
        first.write_all(b"....").unwrap();
        other.write_all(b"....").unwrap();
        for _ in 0..5.min(RECORDS - seen) {
            seen += check_record(&mut from, seen);
        }
    }
    drop((from, other));
    drop(reader);
    server.end_now();
}

/// A record: its number, its length, and a filling that depends on both.
fn record(number: u32, chance: &mut Chance) -> Vec<u8> {
    let length = if number.is_multiple_of(7) { chance.below(16 * KIB) } else { chance.below(200) };
    let mut record = number.to_be_bytes().to_vec();
    record.extend_from_slice(&(length as u32).to_be_bytes());
    record.resize(8 + length, number as u8);
    record
}

/// Reads the record that must come next.
#[track_caller]
fn check_record(from: &mut impl io::Read, number: u32) -> u32 {
    let mut head = [0; 8];
    from.read_exact(&mut head).unwrap();
    assert_eq!(head[..4], number.to_be_bytes(), "the records are out of order");
    let mut body = vec![0; u32::from_be_bytes(head[4..].try_into().unwrap()) as usize];
    from.read_exact(&mut body).unwrap();
    assert!(body.iter().all(|byte| *byte == number as u8), "record {number} is damaged");
    1
}

/// Promise 2, Trap 33: more chunks are queued than one `writev` may carry.
#[test]
fn thousands_of_queued_chunks_arrive_in_order() {
    let script = echo().on_data(|conn, input| {
        input.take_all();
        conn.send(vec![9; MIB]); // fills the kernel, so that the rest has to queue
        for number in 0..100_000u32 {
            conn.send_shared(Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        conn.close();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    assert_same(&read_n(&mut client, MIB), &vec![9; MIB]);
    let numbers: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
    assert_same(&read_to_end(&mut client), &numbers);
    drop(client);
    server.end();
}

/// Promise 2: `finish` ends our sending after the flush, and goes on reading.
#[test]
fn finish_half_closes_after_the_flush_and_reads_on() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = heard.clone();
    let reply = random(13, 2 * MIB);
    let expected = reply.clone();
    let script = echo().on_data(move |conn, input| {
        let first = ears.lock().unwrap().is_empty();
        ears.lock().unwrap().extend_from_slice(input.take_all());
        if first {
            conn.send(&reply);
            conn.finish();
            assert!(!conn.is_open(), "a finished one takes nothing more");
            conn.send(b"too late");
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"first, ").unwrap();
    assert_same(&read_to_end(&mut client), &expected);
    client.write_all(b"and after your end").unwrap();
    drop(client);
    let id = server.record.wait_opens(1)[0];
    let closed = server.record.wait_close();
    assert!(closed.clean, "{closed:?}");
    assert_eq!(*heard.lock().unwrap(), b"first, and after your end");
    assert!(server.record.story(id).ends_with("eof close"), "{}", server.record.story(id));
    server.end();
}

/// Promises 2 and 7: an error from a callback is not an abort: the answer before it goes out.
#[test]
fn an_error_from_on_data_flushes_the_reply_first() {
    let reply = random(14, MIB);
    let expected = reply.clone();
    let script = echo().on_data(move |conn, input| {
        input.take_all();
        conn.send(&reply);
        Err(io::Error::other("a bad request"))
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(&random(15, MIB)).unwrap();
    assert_same(&read_to_end(&mut client), &expected);
    drop(client);
    let closed = server.record.wait_close();
    match &closed.reason {
        CloseReason::Handler(error) => assert_eq!(error.to_string(), "a bad request"),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.end().closed.handler, 1);
}

/// Promises 2 and 3: refused at the door, with a word; there was no session, so there is no
/// `on_close`.
#[test]
fn an_error_from_on_open_flushes_and_has_no_on_close() {
    let script = echo().on_open(|conn| {
        conn.send(b"not you");
        Err(io::Error::other("refused"))
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    assert_eq!(read_to_end(&mut client), b"not you");
    drop(client);
    let record = server.record.clone();
    server.end();
    assert_eq!(record.count(|event| matches!(event, Event::Close(..) | Event::Data(_))), 0);
}

/// Promise 2: what `on_eof` says is still heard, the unfinished rest included.
#[test]
fn on_eof_sees_the_rest_and_may_answer() {
    let script = echo()
        .on_data(|_, input| {
            assert!(input.line().is_none());
            Ok(())
        })
        .on_eof(|conn, rest| {
            conn.send(rest.take_all());
            conn.send(b" (without a newline)");
            conn.close();
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let client = server.connect();
    assert_eq!(exchange(&client, b"unfinished"), b"unfinished (without a newline)");
    drop(client);
    server.end();
}

/// Promise 2: after the peer's end there may be more to say, in an `on_eof` that does not close.
#[test]
fn a_peer_that_ended_can_be_answered_later() {
    let mut waiting: Vec<ConnId> = Vec::new();
    let ended = Arc::new(Mutex::new(false));
    let (told, asked) = (ended.clone(), ended);
    let script = echo()
        .on_eof(move |_, _| {
            *told.lock().unwrap() = true;
            Ok(())
        })
        .on_data(move |conn, input| {
            input.take_all();
            if *asked.lock().unwrap() {
                for id in waiting.drain(..) {
                    conn.cx().conn(id).unwrap().send(b"late, but here");
                    conn.cx().conn(id).unwrap().close();
                }
            } else {
                waiting.push(conn.id());
            }
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut early: TcpStream = server.connect();
    early.write_all(b"question").unwrap();
    early.shutdown(Shutdown::Write).unwrap();
    let id = server.record.wait_opens(1)[0];
    wait_until("its end was heard", || server.record.story(id) == "open data eof");
    let mut other = server.connect();
    other.write_all(b"now").unwrap();
    assert_eq!(read_to_end(&mut early), b"late, but here");
    drop((early, other));
    server.end();
}

/// Promise 2: `close_reset` delivers all that was sent, to a client that reads late and to one that
/// still sends, and then it is a reset that they see.
#[test]
fn a_reset_behind_what_was_sent_destroys_none_of_it() {
    let script = echo().on_data(|conn, input| {
        input.take_all();
        if conn.is_open() {
            conn.send(vec![7; 3 * MIB]);
            conn.close_reset();
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    for sends in [0, 4 * MIB] {
        let mut client = server.connect();
        client.write_all(b"ask").unwrap();
        client.write_all(&vec![1; sends]).unwrap();
        client.peek(&mut [0]).unwrap();
        watch(Duration::from_millis(300));
        let (got, end) = read_until_gone(&mut client);
        assert_eq!(got.len(), 3 * MIB);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
    for (_, closed) in server.record.wait_closes(2) {
        assert!(matches!(closed.reason, CloseReason::Local), "{closed}");
        assert_eq!((closed.unsent, closed.clean), (0, false));
    }
    server.end();
}

/// Promise 4: a client that does not take what it was to be given before the reset is not waited for
/// any longer than for output.
#[test]
fn a_reset_behind_what_was_sent_waits_only_for_so_long() {
    let script = echo().on_data(|conn, input| {
        input.take_all();
        // As much as both kernels hold, and no more.
        conn.send(vec![7; 100 * KIB]);
        conn.close_reset();
        Ok(())
    });
    let config = Config::default().write_stall(Duration::from_millis(300));
    let server = Server::start(script, config);
    let mut client = connect_narrow(server.addr);
    client.write_all(b"ask").unwrap();
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Local), "{closed}");
    server.end();
}

/// Promise 2: a reactor that is dropped before a reset that was asked for could follow makes it one all
/// the same: an end would make a whole answer of half of one.
#[test]
fn a_reset_behind_what_was_sent_does_not_become_an_end_when_the_reactor_is_dropped() {
    let script = echo().on_data(|conn, input| {
        input.take_all();
        // As much as both kernels hold, and no more.
        conn.send(vec![7; 100 * KIB]);
        conn.close_reset();
        Ok(())
    });
    let record = script.record();
    let mut reactor = wouldblock::Reactor::new(script).unwrap();
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let mut client =
        connect_narrow(reactor.listener_addr(listener).unwrap().socket_addr().unwrap());
    client.write_all(b"ask").unwrap();
    while record.opens().is_empty() || record.story(record.opens()[0]) != "open data" {
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
    for _ in 0..3 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(record.closes().is_empty());
    drop(reactor);
    let (got, end) = read_until_gone(&mut client);
    assert!(got.len() <= 100 * KIB);
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

/// Promise 2: a socket bound to a device is not among those of the kernel's table that are found without
/// its name: that is not to say that all has left.
#[test]
#[cfg(target_os = "linux")]
fn a_reset_behind_what_was_sent_by_a_socket_bound_to_a_device_destroys_none_of_it() {
    let script = echo().on_data(|conn, input| {
        input.take_all();
        conn.send(vec![7; 3 * MIB]);
        conn.close_reset();
        Ok(())
    });
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let server = Server::start(script, Config::default().linger(Duration::from_secs(1)));
    let mut client = connect(addr);
    let (ours, _) = listener.accept().unwrap();
    socket2::SockRef::from(&ours).bind_device(Some(b"lo")).unwrap();
    let mut ours = Some(ours);
    server.handle.post(move |_, cx| drop(cx.adopt(ours.take().unwrap(), 0))).map_err(drop).unwrap();
    client.write_all(b"ask").unwrap();
    client.peek(&mut [0]).unwrap();
    watch(Duration::from_millis(300));
    let (got, end) = read_until_gone(&mut client);
    assert_eq!(got.len(), 3 * MIB);
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    server.end();
}
