//! Promise 4: a house that strangers may enter. Each limit at its bound, one below it and one over.
//!
//! Where the bound of each limit is held, on real sockets (a file without a name is this one) and in
//! virtual time (`src/sim/tests/limits.rs`, and `sim`: the oracle, in every world that draws it):
//!
//! | limit | on real sockets | in virtual time |
//! |---|---|---|
//! | `connections` | `bounded.rs`: a_full_house_lets_the_next_in… | sim |
//! | `connections_per_address` | one_over_the_connections_of_its_address_is_reset | |
//! | `reclaim_idle` | in_a_full_house_the_longest_idle_makes_room | sim |
//! | `input_max` | `bounded.rs`: a_message_of_input_max_is_taken, …_ends_at_input_max | sim |
//! | `output_low`, `output_high` | `backpressure.rs` | sim |
//! | `output_max` | `bounded.rs`: output_over_output_max…; a_queue_of_output_max… | sim |
//! | `buffered_max` | a_byte_over_buffered_max_ends_who_holds_most | sim |
//! | `accepts_per_turn` | `accept_path.rs`; a_turn_accepts_no_more_than_it_may | sim |
//! | `posts_queued` | `threads.rs` | |
//! | `first_byte`, `min_rate` | who is too slow, below | limits.rs, sim |
//! | `idle`, `write_stall` | `bounded.rs`, `backpressure.rs` | limits.rs, sim |
//! | `connect` | `outbound.rs` | limits.rs, sim |
//! | `linger`, `close_max` | `bounded.rs` | limits.rs, sim |
//! | `shutdown_max` | `shutdown.rs` | limits.rs, sim |
//! | all of it | no_siege_drives_a_server_beyond_its_worst_case | |

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use wouldblock::{CloseReason, Config, Listen};

use crate::support::*;

/// A client at another address of ours: all of 127.0.0.0/8 is.
#[track_caller]
fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)
            .unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Fails unless a client is let in and reset at once.
#[track_caller]
fn assert_reset(addr: SocketAddr) {
    // The reset may be there before the connect has returned.
    if let Some(mut client) = try_connect(addr) {
        let error = client.read(&mut [0; 10]).expect_err("neither bytes nor an orderly end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

// ---- who may come ---------------------------------------------------------------------------

/// Promise 4: so many of one address are served, one more is reset, and others are served; who
/// leaves makes room.
#[test]
fn one_over_the_connections_of_its_address_is_reset() {
    let server = Server::start(echo(), Config::default().connections_per_address(Some(3)));
    let mut inside: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut inside {
        ping(client, b"at the bound");
    }
    for _ in 0..2 {
        assert_reset(server.addr);
    }
    let mut other = connect_from("127.0.0.2", server.addr);
    ping(&mut other, b"of another address");
    for client in &mut inside {
        ping(client, b"still");
    }
    drop(inside.pop());
    server.record.wait_closes(1);
    ping(&mut server.connect(), b"there is room again");
    assert_eq!(server.record.opens().len(), 5);
    drop((inside, other));
    let stats = server.end();
    assert_eq!((stats.accepted, stats.refused_address, stats.refused), (5, 2, 0));
}

/// Promise 4, Trap 54: through a listener for both, IPv4 and IPv4 mapped into IPv6 are one address.
#[test]
fn an_address_counts_once_whichever_family_brought_it() {
    let config = Config::default().connections_per_address(Some(1));
    let listen = Listen::from("[::]:0").only_v6(false);
    let server = Server::start_on(listen, echo(), config);
    let port = server.addr.port();
    let mut first = connect(SocketAddr::from(([127, 0, 0, 1], port)));
    ping(&mut first, b"first");
    assert_reset(SocketAddr::from(([127, 0, 0, 1], port)));
    let mut v6 = connect(format!("[::1]:{port}").parse().unwrap());
    ping(&mut v6, b"another address");
    drop((first, v6));
    assert_eq!(server.end().refused_address, 1);
}

/// Promise 4: peers on a Unix socket have no address to be counted by.
#[test]
fn peers_on_a_unix_socket_are_not_counted_by_address() {
    let path = std::env::temp_dir().join(format!("wouldblock-crowd-{}", std::process::id()));
    let config = Config::default().connections_per_address(Some(1));
    let listen = format!("unix:{}", path.display());
    let server = Server::start_with(listener(), echo(), config, move |reactor| {
        reactor.listen(listen).unwrap();
    });
    let mut clients: Vec<_> =
        (0..3).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
    for client in &mut clients {
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
    }
    drop(clients);
    assert_eq!(server.end().refused_address, 0);
}

// ---- what all hold together -----------------------------------------------------------------

/// Two who do not read, `a` and then `b`, and one who asks: `probe`.
fn deaf_pair(server: &Server) -> (TcpStream, TcpStream, TcpStream) {
    let a = connect_narrow(server.addr);
    server.record.wait_opens(1);
    let b = connect_narrow(server.addr);
    server.record.wait_opens(2);
    let probe = server.connect();
    server.record.wait_opens(3);
    (a, b, probe)
}

/// Promise 4: exactly `buffered_max` is within the limit; a byte more ends whoever holds most, at
/// once and whoever caused it, and nobody else.
#[test]
fn a_byte_over_buffered_max_ends_who_holds_most() {
    const MAX: usize = 4 * MIB;
    let script = narrow_echo().on_data(move |conn, input| {
        input.take_all();
        let mut opened = conn.cx().connections();
        opened.sort();
        let (a, b) = (opened[0], opened[1]);
        conn.cx().conn(a).unwrap().send(vec![0; 2 * MIB]);
        conn.cx().conn(b).unwrap().send(vec![0; MIB]);
        // Behind what is queued nothing is written before the callback ends.
        let room = MAX - conn.cx().buffered();
        conn.cx().conn(b).unwrap().send(vec![0; room - MIB]);
        conn.cx().conn(a).unwrap().send(vec![0; MIB]);
        let full = conn.cx().buffered() == MAX;
        let both = [a, b].map(|id| conn.cx().conn(id).is_some()) == [true, true];
        conn.cx().conn(b).unwrap().send(b"x");
        let one = [a, b].map(|id| conn.cx().conn(id).is_some()) == [false, true];
        let less = conn.cx().buffered() <= MAX / 8 * 7;
        conn.send([full, both, one, less].map(u8::from));
        Ok(())
    });
    let config = Config::default().buffered_max(MAX).output_max(MAX);
    let server = Server::start(script, config);
    let (a, b, mut probe) = deaf_pair(&server);
    probe.write_all(b"?").unwrap();
    assert_eq!(read_n(&mut probe, 4), [1; 4], "full, both open, one open, less");
    let ids = server.record.opens();
    let closed = server.record.wait_close_of(ids[0]);
    assert!(matches!(closed.reason, CloseReason::BufferedLimit), "{closed:?}");
    assert!(closed.unsent > 2 * MIB as u64 && !closed.clean, "{closed:?}");
    assert_eq!(server.record.closes().len(), 1);
    drop((a, b, probe));
    assert_eq!(server.end_now().closed.buffered_limit, 1);
}

/// Promises 4 and 5: above three quarters of `buffered_max` whoever owes more than low rests, though
/// it is far from high; below a half it reads again.
#[test]
fn near_buffered_max_those_who_owe_rest() {
    const MAX: usize = 4 * MIB;
    let script = narrow_echo().on_data(move |conn, input| {
        let mut ids = conn.cx().connections();
        ids.sort();
        match input.take_all() {
            b"a" => conn.cx().conn(ids[0]).unwrap().send(vec![0; MIB]),
            b"b" => conn.cx().conn(ids[1]).unwrap().send(vec![0; 3 * MIB]),
            b"end" => conn.cx().conn(ids[1]).unwrap().abort(),
            _ => {}
        }
        Ok(())
    });
    let config = Config::default()
        .buffered_max(MAX)
        .output_max(MAX)
        .output_high(2 * MIB)
        .output_low(MIB / 2);
    let server = Server::start(script, config);
    let (mut a, b, mut probe) = deaf_pair(&server);
    let id = server.record.opens()[0];
    let calls = |n: usize| {
        wait_until("on_data has come", || server.record.story(id).matches("data").count() >= n);
    };
    probe.write_all(b"a").unwrap();
    a.write_all(b"x").unwrap();
    calls(1);
    probe.write_all(b"b").unwrap();
    let id_of_probe = server.record.opens()[2];
    wait_until("b owes", || server.record.story(id_of_probe).matches("data").count() == 2);
    a.write_all(b"x").unwrap();
    watch(Duration::from_millis(200));
    calls(1);
    assert_eq!(server.record.story(id).matches("data").count(), 1, "it rests");
    assert!(server.record.closes().is_empty());
    // It reads what it is owed down to low, and is served again.
    probe.write_all(b"end").unwrap();
    read_n(&mut a, MIB);
    calls(2);
    drop((a, b, probe));
    server.end_now();
}

/// Promise 4: what many leave half said counts as well, and the reactor holds no more than it may.
#[test]
fn unconsumed_input_of_all_stays_below_buffered_max() {
    const MAX: usize = 2 * MIB;
    let script = echo().on_data(|conn, input| {
        if input.bytes() == b"?" {
            input.take_all();
            let held = u64::try_from(conn.cx().buffered()).unwrap();
            conn.send(held.to_be_bytes());
        } else {
            input.wait_for(500 * KIB);
        }
        Ok(())
    });
    let server = Server::start(script, Config::default().buffered_max(MAX));
    let mut probe = server.connect();
    let mut most = 0;
    let mut clients = Vec::new();
    for n in 0..30 {
        let mut client = server.connect();
        let _ = client.write_all(&vec![b'x'; 200 * KIB + n * KIB]);
        clients.push(client);
        probe.write_all(b"?").unwrap();
        let held = u64::from_be_bytes(read_n(&mut probe, 8).try_into().unwrap());
        most = most.max(held as usize);
    }
    let ended = |closed: &wouldblock::Closed| matches!(closed.reason, CloseReason::BufferedLimit);
    wait_until("enough are closed", || server.record.closes().len() >= 15);
    assert!(server.record.closes().iter().all(|(_, closed)| ended(closed)));
    assert!(most > MAX / 2 && most <= MAX, "{most} bytes were held");
    ping_held(&mut probe);
    drop((probe, clients));
    server.end_now();
}

/// The reactor still answers.
#[track_caller]
fn ping_held(probe: &mut TcpStream) {
    probe.write_all(b"?").unwrap();
    read_n(probe, 8);
}

// ---- who is too slow ------------------------------------------------------------------------

const MS: Duration = Duration::from_millis(1);

/// Takes lines, and answers each.
fn lines() -> Script {
    echo().on_data(|conn, input| {
        while let Some(line) = input.line() {
            conn.send(line);
            conn.send(b"\n");
        }
        Ok(())
    })
}

/// Promise 4: accepted and silent is not for long; who has said one byte may be silent.
#[test]
fn a_peer_that_says_nothing_is_closed_as_silent_and_another_is_not() {
    let config = Config::default().first_byte(Some(400 * MS)).linger(100 * MS);
    let server = Server::start(lines(), config);
    let mut said = server.connect();
    said.write_all(b"x").unwrap();
    server.record.wait_opens(1);
    let mut silent = server.connect();
    let id = server.record.wait_opens(2)[1];
    let closed = server.record.wait_close_of(id);
    assert!(matches!(closed.reason, CloseReason::FirstByte), "{closed:?}");
    assert_eq!(read_to_end(&mut silent), b"");
    watch(500 * MS);
    said.write_all(b"yz\n").unwrap();
    assert_eq!(read_n(&mut said, 4), b"xyz\n");
    drop((said, silent));
    assert_eq!(server.end().closed.first_byte, 1);
}

/// Promise 4: one whose reading was paused before the first byte is not called silent.
#[test]
fn a_paused_peer_is_not_called_silent() {
    let script = echo().on_open(|conn| {
        conn.pause();
        conn.set_timeout(600 * MS);
        Ok(())
    });
    let script = script.on_timeout(|conn| {
        conn.resume();
        Ok(())
    });
    let server = Server::start(script, Config::default().first_byte(Some(200 * MS)));
    let mut client = server.connect();
    ping(&mut client, b"said at once, heard late");
    drop(client);
    assert_eq!(server.end().closed.first_byte, 0);
}

/// Promise 4: slowloris. A request of a byte now and then is too slow; an honest one that comes in
/// two pieces is not, nor a client that is silent between requests.
#[test]
fn a_request_that_trickles_in_is_too_slow_and_silence_between_requests_is_not() {
    let config = Config::default().min_rate(20, 500 * MS).linger(100 * MS);
    let server = Server::start(lines(), config);
    let mut honest = server.connect();
    server.record.wait_opens(1);
    let mut slow = server.connect();
    let id = server.record.wait_opens(2)[1];
    let mut rounds = 0;
    while server.record.closes().is_empty() {
        let _ = slow.write_all(b"x");
        if rounds % 10 == 0 {
            honest.write_all(b"in two ").unwrap();
            watch(5 * MS);
            honest.write_all(b"pieces\n").unwrap();
            read_n(&mut honest, 14);
        }
        rounds += 1;
        watch(40 * MS);
        assert!(rounds < 200, "a byte in 40 ms is too slow");
    }
    let closed = server.record.wait_close_of(id);
    assert!(matches!(closed.reason, CloseReason::TooSlow), "{closed:?}");
    watch(700 * MS);
    honest.write_all(b"still here\n").unwrap();
    read_n(&mut honest, 11);
    drop((honest, slow));
    assert_eq!(server.end().closed.too_slow, 1);
}

/// Promise 4: an answer that is taken at a trickle is too slow, though it never stalls.
#[test]
fn an_answer_that_is_taken_at_a_trickle_is_too_slow() {
    let script = narrow_echo().on_data(|conn, input| {
        input.take_all();
        conn.send(vec![7; 3 * MIB]);
        Ok(())
    });
    let config = Config::default().min_rate(MIB, 400 * MS);
    let server = Server::start(script, config);
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    let id = server.record.wait_opens(1)[0];
    while server.record.closes().is_empty() {
        if client.read(&mut [0; 512]).is_err() {
            break;
        }
        watch(5 * MS);
    }
    let closed = server.record.wait_close_of(id);
    assert!(matches!(closed.reason, CloseReason::TooSlow), "{closed:?}");
    assert!(closed.unsent > 0);
    drop(client);
    assert_eq!(server.end().closed.too_slow, 1);
}

/// Promise 4: who waits for us is not too slow: input that a handler leaves while it holds the
/// connection is not the peer's debt.
#[test]
fn a_held_request_is_not_too_slow() {
    let script = echo().on_data(|conn, input| {
        if input.seen() == 0 {
            conn.hold(true);
            conn.set_timeout(600 * MS);
        }
        Ok(())
    });
    let script = script.on_timeout(|conn| {
        conn.hold(false);
        conn.send(b"done");
        Ok(())
    });
    let server = Server::start(script, Config::default().min_rate(100, 250 * MS));
    let mut client = server.connect();
    client.write_all(b"work").unwrap();
    assert_eq!(read_n(&mut client, 4), b"done");
    drop(client);
    server.end();
}

// ---- whose place is given away --------------------------------------------------------------

/// Promises 4 and 6: the house is full, and who has been idle the longest makes room; not who is
/// busy, is held, or has not been idle for long enough.
#[test]
fn in_a_full_house_the_longest_idle_makes_room() {
    let script = echo().on_data(|conn, input| {
        match input.take_all() {
            b"hold" => conn.hold(true),
            b"half" => return Ok(()),
            _ => {}
        }
        conn.send(b"ok");
        Ok(())
    });
    let config = Config::default().connections(4).reclaim_idle(Some(300 * MS));
    let server = Server::start(script, config);
    let say = |client: &mut TcpStream, word: &[u8]| {
        client.write_all(word).unwrap();
        read_n(client, 2);
    };
    let mut held = server.connect();
    say(&mut held, b"hold");
    let mut longest = server.connect();
    say(&mut longest, b"x");
    let mut second = server.connect();
    say(&mut second, b"x");
    let mut busy = server.connect();
    say(&mut busy, b"x");
    let ids = server.record.opens();
    // Nobody knocks: nobody has to go, however idle.
    for _ in 0..30 {
        say(&mut busy, b"x");
        watch(20 * MS);
    }
    assert!(server.record.closes().is_empty());
    let mut next = server.connect();
    say(&mut next, b"x");
    let closed = server.record.wait_close_of(ids[1]);
    assert!(matches!(closed.reason, CloseReason::Reclaimed) && !closed.clean, "{closed:?}");
    assert_eq!(read_to_end(&mut longest), b"", "an orderly end, and no reset");
    let mut after = server.connect();
    say(&mut after, b"x");
    let closed = server.record.wait_close_of(ids[2]);
    assert!(matches!(closed.reason, CloseReason::Reclaimed), "{closed:?}");
    // Those who are left have not been idle for 300 ms, or are held: one more waits until then.
    let mut waits = server.connect();
    waits.write_all(b"x").unwrap();
    say(&mut busy, b"x");
    read_n(&mut waits, 2);
    say(&mut held, b"still held");
    assert_eq!(server.record.closes().len(), 3);
    drop((held, busy, next, after, waits, second));
    let stats = server.end();
    assert_eq!((stats.closed.reclaimed, stats.refused), (3, 0));
}

/// Promise 6: a full house in which nobody is idle is at rest, whoever knocks.
#[test]
fn a_full_house_in_which_nobody_is_idle_is_at_rest() {
    let script = echo().on_data(|conn, input| {
        tell_turns(conn, input);
        Ok(())
    });
    let config = Config::default().connections(2).reclaim_idle(Some(3600 * 1000 * MS));
    let server = Server::start(script, config);
    let mut probe = server.connect();
    let mut other = server.connect();
    ask_turns(&mut other);
    let outside: Vec<_> = (0..10).map(|_| server.connect()).collect();
    let before = ask_turns(&mut probe);
    watch(500 * MS);
    let turns = ask_turns(&mut probe) - before;
    assert!(turns < 100, "{turns} turns were taken in 500 ms");
    drop((probe, other, outside));
    server.end();
}

// ---- all of it at once ----------------------------------------------------------------------

/// Promise 4: `echo --public` serves 256 of one address, and resets the next.
#[test]
fn the_public_echo_server_limits_one_address() {
    let server = child::Child::example("echo", &["--public"]);
    let mut clients: Vec<_> = (0..256).map(|_| server.connect()).collect();
    for client in &mut clients {
        ping(client, b"hello");
    }
    assert_reset(server.addr);
    ping(&mut connect_from("127.0.0.2", server.addr), b"hello");
    let told = || server.stderr().contains("connections_per_address already");
    wait_until("the operator is told", told);
}

/// Small enough to be reached, and strict with nobody in particular.
fn besieged() -> Config {
    Config::public()
        .connections(240)
        .connections_per_address(Some(10_000))
        .reclaim_idle(Some(100 * MS))
        .input_max(512 * KIB)
        .buffered_max(24 * MIB)
        .posts_queued(1000)
}

/// Promise 4: peers of every temperament at once, hoarding, deaf, dribbling, silent, coming and going,
/// and making others be sent things, do not drive a server beyond `worst_case_bytes`.
#[test]
fn no_siege_drives_a_server_beyond_its_worst_case() {
    let server = child::Child::serve("limits::child_besieged");
    let mut probe = server.connect();
    ask_ended(&mut probe);
    let base = server.peak_memory();
    let over = std::sync::atomic::AtomicBool::new(false);
    let is_over = || over.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        // Each keeps so many connections, and says so much over them, or begins anew.
        let siege = |count: usize, narrow: bool, deed: fn(&mut TcpStream) -> bool| {
            let (addr, is_over) = (server.addr, &is_over);
            scope.spawn(move || {
                let mut clients: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
                while !is_over() {
                    for place in &mut clients {
                        let mut client = match place.take() {
                            Some(client) => client,
                            None if narrow => connect_narrow_or_not(addr),
                            None => match try_connect(addr) {
                                Some(client) => client,
                                None => continue,
                            },
                        };
                        let _ = client.set_nonblocking(true);
                        if deed(&mut client) {
                            *place = Some(client);
                        }
                    }
                    watch(2 * MS);
                }
            });
        };
        // Hoards: a line without an end, and never more than is allowed.
        siege(80, false, |client| say_some(client, &vec![b'x'; 100 * KIB]));
        // Deaf: has others' words sent to it, asks for more, and reads nothing.
        siege(50, true, |client| say_some(client, &b"echo this, and this, and this\n".repeat(100)));
        // Dribbles.
        siege(50, false, |client| say_some(client, b"y"));
        // Takes a little of a great deal.
        siege(20, true, |client| {
            let goes_on = say_some(client, &[b'z'; 2 * KIB]) && say_some(client, b"\n");
            let _ = client.read(&mut [0; 100]);
            goes_on
        });
        // Comes, says something and goes, with a reset.
        siege(2, false, |client| {
            let _ = client.write(b"gone");
            reset(client.try_clone().unwrap());
            false
        });
        // Says nothing.
        siege(40, false, |_| true);
        // Half closed, and never reads.
        siege(20, true, |client| {
            say_some(client, &b"and that was all\n".repeat(1000));
            let _ = client.shutdown(std::net::Shutdown::Write);
            true
        });
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // A siege needs long to hold so much; the longer, the busier the machine is otherwise.
            let began = std::time::Instant::now();
            while ask_ended(&mut probe) < 5 {
                assert!(began.elapsed() < 6 * DEADLINE, "none is closed for what it holds");
                watch(MS);
            }
        }));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        asked.unwrap();
    });
    let used = server.peak_memory() - base;
    let most = besieged().worst_case_bytes();
    println!("{} of {} KiB at most", used / KIB, most / KIB);
    assert!(used <= most, "{used} bytes, {most} at most");
    // A busy machine's kernel keeps more of it; without a siege the server takes one megabyte.
    assert!(used > 8 * MIB, "{used} bytes are no siege");
    server.end();
}

/// Answers each line with the line, and `?` with a word to all and a number.
struct Lines;
impl wouldblock::Handler for Lines {
    type Session = ();

    fn on_open(
        &mut self,
        _conn: &mut wouldblock::Conn<'_>,
        _origin: wouldblock::Origin,
    ) -> std::io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut wouldblock::Conn<'_>,
        _session: &mut (),
        input: &mut wouldblock::Input<'_>,
    ) -> std::io::Result<()> {
        while let Some(line) = input.line() {
            if line == b"?" {
                // And makes everybody be told something.
                let ended = conn.cx().stats().closed.buffered_limit;
                conn.cx().broadcast(vec![b'!'; 20 * KIB].into());
                conn.send(ended.to_be_bytes());
                conn.hold(true);
            } else {
                conn.send(line);
                conn.send(b"\n");
            }
        }
        Ok(())
    }
}

#[test]
#[ignore = "a child of no_siege_drives_a_server_beyond_its_worst_case"]
fn child_besieged() {
    if !child::is_running("limits::child_besieged") {
        return;
    }
    child::serve(wouldblock::Reactor::with_config(Lines, besieged()).unwrap());
}

/// Says as much as the kernel takes. Returns whether the connection still stands.
fn say_some(client: &mut TcpStream, bytes: &[u8]) -> bool {
    // What is not taken is not said.
    let said = client.write(bytes).map(drop);
    said.map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |()| true)
}

/// A client whose kernel takes little, if the server lets it in.
fn connect_narrow_or_not(addr: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 * KIB).unwrap();
    let _ = socket.connect(&addr.into());
    socket.into()
}

/// How many the besieged server has closed for what they hold.
fn ask_ended(probe: &mut TcpStream) -> u64 {
    probe.write_all(b"?\n").unwrap();
    // What is broadcast comes to the one who asks as well.
    read_n(probe, 20 * KIB);
    u64::from_be_bytes(read_n(probe, 8).try_into().unwrap())
}

// ---- limits of one, at the bound ------------------------------------------------------------

/// Promise 4: a queue of exactly `output_max` is within the limit, a byte more is not.
#[test]
fn a_queue_of_output_max_stands_and_a_byte_more_ends_it() {
    const MAX: usize = MIB;
    let script = narrow_echo().on_data(|conn, input| {
        if input.take_all() == b"1" {
            // So that something is queued, and nothing is written before the callback ends.
            conn.send(vec![1; MAX / 2]);
            return Ok(());
        }
        let other = conn.cx().connections().into_iter().min().unwrap();
        let mut other = conn.cx().conn(other).unwrap();
        other.send(vec![2; MAX - other.queued()]);
        let stands = other.queued() == MAX && other.is_open();
        other.send(b"x");
        let over = !other.is_open();
        conn.send([u8::from(stands), u8::from(over)]);
        Ok(())
    });
    let server = Server::start(script, Config::default().output_max(MAX));
    let mut deaf = connect_narrow(server.addr);
    let id = server.record.wait_opens(1)[0];
    deaf.write_all(b"1").unwrap();
    wait_until("it owes", || server.record.story(id).contains("data"));
    let mut probe = server.connect();
    server.record.wait_opens(2);
    probe.write_all(b"2").unwrap();
    assert_eq!(read_n(&mut probe, 2), [1, 1]);
    let closed = server.record.wait_close_of(id);
    assert!(matches!(closed.reason, CloseReason::OutputLimit), "{closed:?}");
    drop((deaf, probe));
    server.end();
}

/// Promise 4: who knock together come in over several turns, `accepts_per_turn` in each.
#[test]
fn a_turn_accepts_no_more_than_it_may() {
    let listener = deep_listener(64);
    let addr = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..20).map(|_| connect(addr)).collect();
    let turns = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&turns);
    let script = echo().on_open(move |conn| {
        seen.lock().unwrap().push(conn.cx().stats().turns);
        Ok(())
    });
    let server = Server::start_on(listener, script, Config::default().accepts_per_turn(3));
    server.record.wait_opens(20);
    let turns = turns.lock().unwrap().clone();
    let most = turns.iter().map(|turn| turns.iter().filter(|t| *t == turn).count()).max();
    assert_eq!(most, Some(3), "{turns:?}");
    drop(clients);
    server.end();
}

/// Promise 4: one that keeps talking, and is always on the run queue for that, is held to
/// `min_rate` by what it takes all the same.
#[test]
fn one_that_talks_on_is_judged_all_the_same() {
    let mut first = true;
    let script = narrow_echo().on_data(move |conn, input| {
        input.take_all();
        if std::mem::take(&mut first) {
            // The kernels between take some of it, and less is left than makes reading rest.
            conn.send(vec![7; 60 * KIB]);
        }
        Ok(())
    });
    let server = Server::start(script, Config::default().min_rate(4 * KIB, 400 * MS));
    let mut client = connect_narrow(server.addr);
    let start = Instant::now();
    while client.write_all(b"talk").is_ok() {
        assert!(start.elapsed() < DEADLINE, "it is never judged");
    }
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::TooSlow), "{closed:?}");
    server.end();
}
