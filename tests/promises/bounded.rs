//! Promise 4: unconsumed input, queued output, connections and every wait have a limit.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use wouldblock::{CloseReason, Config, Reactor};

use crate::support::*;

/// Little input, and a short goodbye.
fn tight() -> Config {
    Config::default().input_max(100 * KIB).read_buffer(16 * KIB).linger(Duration::from_millis(100))
}

/// Promise 4: a handler that consumes nothing is given up at `input_max`.
#[test]
fn input_that_nobody_consumes_ends_at_input_max() {
    let script = echo().on_data(|_, _| Ok(()));
    let server = Server::start(script, tight());
    let mut client = server.connect();
    let _ = client.write_all(&vec![0; 2 * MIB]);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::InputLimit), "{closed:?}");
    let _ = read_until_gone(&mut client);
    drop(client);
    let stats = server.end();
    assert_eq!(stats.closed.input_limit, 1);
}

/// Promise 4: waiting for more than `input_max` can only fail, so it fails at once.
#[test]
fn waiting_for_more_than_input_max_ends_at_once() {
    let script = echo().on_data(|_, input| {
        input.wait_for(100 * KIB + 1);
        Ok(())
    });
    let server = Server::start(script, tight());
    let mut client = server.connect();
    client.write_all(b"a frame of 100 KiB and 1 byte follows").unwrap();
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::InputLimit), "{closed:?}");
    drop(client);
    server.end();
}

/// Promise 4: exactly `input_max` is still within the limit.
#[test]
fn a_message_of_input_max_is_taken() {
    const MAX: usize = 200 * KIB;
    let script = echo().on_data(|conn, input| {
        if let Some(message) = input.take(MAX) {
            conn.send(message);
        }
        Ok(())
    });
    let server = Server::start(script, Config::default().input_max(MAX));
    let client = server.connect();
    let sent = random(50, 3 * MAX);
    assert_same(&exchange(&client, &sent), &sent);
    drop(client);
    server.end();
}

/// Promise 4: one answer larger than `output_max` ends the connection with that reason.
#[test]
fn output_over_output_max_ends_the_connection() {
    let script = narrow_echo().on_data(|conn, input| {
        input.take_all();
        conn.send(vec![0; 8 * MIB]);
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::OutputLimit), "{closed:?}");
    let _ = read_until_gone(&mut client);
    drop(client);
    assert_eq!(server.end().closed.output_limit, 1);
}

/// Promise 4: one that does not read a broadcast reaches its own limit; the others get every word.
#[test]
fn a_broadcast_ends_only_those_that_do_not_read() {
    let word = Bytes::from(random(51, 100 * KIB));
    let said = word.clone();
    let script = narrow_echo().on_data(move |conn, input| {
        input.take_all();
        conn.cx().broadcast(said.clone());
        Ok(())
    });
    let server = Server::start(script, Config::default().output_max(MIB));
    let deaf = connect_narrow(server.addr);
    let id = server.record.wait_opens(1)[0];
    let mut listening = server.connect();
    server.record.wait_opens(2);
    for _ in 0..40 {
        listening.write_all(b"say").unwrap();
        assert_same(&read_n(&mut listening, word.len()), &word);
    }
    let closed = server.record.wait_close_of(id);
    assert!(matches!(closed.reason, CloseReason::OutputLimit), "{closed:?}");
    assert!(closed.unsent > 0);
    drop((deaf, listening));
    server.end();
}

/// Promises 4 and 6: the house is full; the next one waits outside until somebody leaves, and is
/// served then.
#[test]
fn a_full_house_lets_the_next_in_when_one_leaves() {
    let server = Server::start(echo(), Config::default().connections(3));
    let mut inside: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut inside {
        ping(client, b"inside");
    }
    let mut outside: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut outside {
        client.write_all(b"outside").unwrap();
    }
    for client in &mut inside {
        ping(client, b"still inside");
    }
    assert_eq!(server.record.opens().len(), 3);
    for (leaves, mut comes) in inside.into_iter().zip(outside) {
        drop(leaves);
        assert_eq!(read_n(&mut comes, 7), b"outside");
        // It stays while the next one comes.
        thread::spawn(move || comes.read(&mut [0]));
    }
    server.end();
}

/// Promises 4 and 6: a full house with clients waiting outside is at rest.
#[test]
fn a_full_house_takes_no_turns() {
    let script = echo().on_data(|conn, input| {
        tell_turns(conn, input);
        Ok(())
    });
    let server = Server::start(script, Config::default().connections(1));
    let mut probe = server.connect();
    ask_turns(&mut probe);
    let outside: Vec<_> = (0..10).map(|_| server.connect()).collect();
    assert_at_rest(&mut probe);
    drop((probe, outside));
    server.end();
}

/// Promise 4: a silent one is closed as idle; one that only sends is not, nor one that only hears.
#[test]
fn only_the_idle_are_closed_as_idle() {
    // The first that comes is told what the others say, and says nothing.
    let script = echo().on_data(|conn, input| {
        let first = conn.cx().connections()[0];
        conn.cx().conn(first).unwrap().send(input.take_all());
        Ok(())
    });
    let config = Config::default()
        .idle(Some(Duration::from_millis(1500)))
        .linger(Duration::from_millis(100));
    let server = Server::start(script, config);
    let mut hearing = server.connect();
    server.record.wait_opens(1);
    let mut sending = server.connect();
    server.record.wait_opens(2);
    let mut silent = server.connect();
    let idle = server.record.wait_opens(3)[2];
    while server.record.closes().is_empty() {
        sending.write_all(b"still here").unwrap();
        read_n(&mut hearing, 10);
        watch(Duration::from_millis(20));
    }
    let (id, closed) = server.record.closes()[0].clone();
    assert_eq!(id, idle);
    assert!(matches!(closed.reason, CloseReason::Idle), "{closed:?}");
    assert!(!closed.clean);
    let _ = read_until_gone(&mut silent);
    sending.write_all(b"and still").unwrap();
    read_n(&mut hearing, 9);
    drop((sending, hearing, silent));
    assert!(server.end().closed.idle >= 1);
}

/// Promise 4: a paused connection is as idle as any other.
#[test]
fn a_paused_connection_may_be_idle_too() {
    let script = echo().on_open(|conn| {
        conn.pause();
        Ok(())
    });
    let config =
        Config::default().idle(Some(Duration::from_millis(300))).linger(Duration::from_millis(100));
    let server = Server::start(script, config);
    let mut client = server.connect();
    client.write_all(b"nobody hears this").unwrap();
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Idle), "{closed:?}");
    drop(client);
    server.end();
}

/// Promise 4, Trap 39: we said goodbye, the peer never does; after `linger` it is let go. The
/// reason stays ours.
#[test]
fn a_silent_peer_is_let_go_when_the_linger_expires() {
    let script = echo().on_data(|conn, input| {
        conn.send(input.take_all());
        conn.close();
        Ok(())
    });
    let server = Server::start(script, Config::default().linger(Duration::from_millis(200)));
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"bye").unwrap();
        assert_eq!(read_to_end(client), b"bye");
    }
    // None of them closes.
    for (_, closed) in server.record.wait_closes(20) {
        assert!(matches!(closed.reason, CloseReason::Local), "{closed:?}");
        assert!(!closed.clean);
        assert_eq!(closed.unsent, 0);
    }
    let mut next = server.connect();
    next.write_all(b"next").unwrap();
    assert_eq!(read_to_end(&mut next), b"next");
    drop((clients, next));
    server.end();
}

/// Promise 4: from `close` on the whole way out is bounded by `close_max`, however steadily the
/// peer goes on.
#[test]
fn a_close_is_over_at_close_max() {
    let script = narrow_echo().on_data(|conn, input| {
        input.take_all();
        conn.send(vec![1; 3 * MIB]);
        conn.close();
        Ok(())
    });
    let server = Server::start(script, Config::default().close_max(Duration::from_millis(600)));
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    let id = server.record.wait_opens(1)[0];
    // It reads, so it never stalls, but not fast enough.
    while server.record.closes().is_empty() {
        if client.read(&mut [0; 256]).is_err() {
            break;
        }
        watch(Duration::from_millis(5));
    }
    let closed = server.record.wait_close_of(id);
    assert!(matches!(closed.reason, CloseReason::Local), "the first cause is ours: {closed:?}");
    assert!(!closed.clean && closed.unsent > 0, "{closed:?}");
    drop(client);
    server.end();
}

/// Promise 4: contradictions are refused, by name.
#[test]
fn a_configuration_that_contradicts_itself_is_refused_by_name() {
    let cases = [
        (
            Config::default().output_low(100 * KIB).output_high(50 * KIB),
            ["output_low", "output_high"],
        ),
        (Config::default().output_high(4 * MIB).output_max(4 * MIB), ["output_high", "output_max"]),
        (Config::default().read_buffer(8 * MIB), ["read_buffer", "output_max"]),
    ];
    for (config, names) in cases {
        let text = format!("{config:?}");
        let error = Reactor::with_config(echo(), config).map(drop).expect_err(&text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        for name in names {
            assert!(error.to_string().contains(name), "{name} is not named: {error}");
        }
    }
}

/// Promise 4: zeros make no server; whatever is not refused must at least not hang or panic.
#[test]
fn a_configuration_of_zeros_is_refused() {
    for config in [
        Config::default().read_buffer(0),
        Config::default().input_max(0),
        Config::default().connections(0),
        Config::default().accepts_per_turn(0),
    ] {
        let text = format!("{config:?}");
        let error = Reactor::with_config(echo(), config).map(drop).expect_err(&text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

/// Promise 4, Trap 69: a broadcast is one copy, however many hold on to it. In a child, for its own
/// memory.
#[test]
fn a_broadcast_is_one_copy_in_memory() {
    child::run("bounded::child_broadcast_memory");
}

#[test]
#[ignore = "a child of a_broadcast_is_one_copy_in_memory"]
fn child_broadcast_memory() {
    if !child::is_running("bounded::child_broadcast_memory") {
        return;
    }
    let script = narrow_echo().on_data(|conn, input| {
        input.take_all();
        conn.cx().broadcast(Bytes::from(vec![8; 2 * MIB]));
        Ok(())
    });
    let server = Server::start(script, Config::default());
    // They do not read; only one does, and causes it.
    let deaf: Vec<_> = (0..150).map(|_| connect_narrow(server.addr)).collect();
    let mut reader = server.connect();
    server.record.wait_opens(151);
    let before = child::own_memory();
    reader.write_all(b"say").unwrap();
    read_n(&mut reader, 2 * MIB);
    let grown = child::own_memory().saturating_sub(before);
    assert!(grown < 60 * MIB, "{} KiB more for 151 times the same 2 MiB", grown / KIB);
    drop((deaf, reader));
    server.end_now();
}

/// What each of a hundred sends at once, below `input_max`.
const BURST: usize = 900 * KIB;

/// Promise 4, Trap 68: after a burst on a hundred connections the memory is given back. In a child.
#[test]
fn a_burst_leaves_no_buffers_behind() {
    child::run("bounded::child_burst_memory");
}

#[test]
#[ignore = "a child of a_burst_leaves_no_buffers_behind"]
fn child_burst_memory() {
    if !child::is_running("bounded::child_burst_memory") {
        return;
    }
    // It gathers the burst (input), answers with as much (output), and then idles over a small rest.
    let script = narrow_echo().on_data(|conn, input| {
        if input.len() == BURST + 10 {
            conn.send(input.take(BURST).unwrap());
        } else {
            input.wait_for(BURST + 10);
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut clients: Vec<_> = (0..100).map(|_| connect_narrow(server.addr)).collect();
    server.record.wait_opens(100);
    let burst = vec![4; BURST];
    let before = child::own_memory();
    for client in &mut clients {
        client.write_all(&burst[1..]).unwrap();
    }
    wait_until("the input is held", || child::own_memory() > before + 60 * MIB);
    for client in &mut clients {
        client.write_all(b"!and a rest").unwrap();
    }
    for client in &mut clients {
        read_n(client, BURST);
    }
    wait_until("the memory is given back", || child::own_memory() < before + 16 * MIB);
    drop(clients);
    server.end();
}

/// Promise 4: an idle connection costs next to nothing. In a child, for its own memory.
#[test]
fn an_idle_connection_holds_no_buffer() {
    child::run("bounded::child_idle_memory");
}

#[test]
#[ignore = "a child of an_idle_connection_holds_no_buffer"]
fn child_idle_memory() {
    if !child::is_running("bounded::child_idle_memory") {
        return;
    }
    let room = child::room_for_pairs().min(1600);
    let server = Server::start(echo(), Config::default());
    // The first few bring what is allocated once.
    let mut clients: Vec<_> = (0..room / 4).map(|_| server.connect()).collect();
    for client in &mut clients {
        ping(client, b"hello");
    }
    let before = child::own_memory();
    let more: Vec<_> = (0..room - room / 4).map(|_| server.connect()).collect();
    server.record.wait_opens(room);
    let grown = child::own_memory().saturating_sub(before);
    // Tables grow by doubling, and the record of this test is in it; a buffer each would be a
    // thousand and more.
    assert!(grown / more.len() < 800, "{} bytes for an idle connection", grown / more.len());
    drop((clients, more));
    server.end();
}

/// Promise 4: the places of listeners and datagram sockets that were closed are used again, and so
/// more come and go than a reactor has places for.
#[test]
fn listeners_and_datagram_sockets_come_and_go_without_end() {
    let mut reactor = Reactor::new(wouldblock::handler_fn(|_, _| Ok(()))).unwrap();
    for n in 0..33_000 {
        let listener = reactor.listen("127.0.0.1:0").unwrap();
        let socket = reactor.bind_datagram("127.0.0.1:0").unwrap();
        assert!(reactor.close_listener(listener) && reactor.close_datagram(socket));
        if n % 100 == 0 {
            reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }
}
