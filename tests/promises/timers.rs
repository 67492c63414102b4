//! Timers: never early, exact when cancelled, no drift, and nobody starves for them.

use std::io::Write;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wouldblock::{CloseReason, Config, ConnId, Context, Reactor, Timer, TimerId};

use crate::support::*;

const MS: Duration = Duration::from_millis(1);

/// Runs a reactor without sockets until a callback ends it.
#[track_caller]
fn run(script: Script) -> Reactor<Script> {
    let mut reactor = Reactor::new(script).unwrap();
    let start = Instant::now();
    while reactor.turn(Some(DEADLINE)).unwrap() {
        assert!(start.elapsed() < DEADLINE, "it does not come to an end");
    }
    reactor
}

/// Stands in the way of everybody for so long, as a handler should not.
fn block(wait: Duration) {
    let start = Instant::now();
    while start.elapsed() < wait {
        thread::sleep(wait.saturating_sub(start.elapsed()));
    }
}

/// Promise 6, Trap 59: timers come in their order and never early, not even when the callback that
/// sets them has worked for a while before.
#[test]
fn timers_come_in_order_and_never_early() {
    // Each is due between these two: the clock is read before and after it is set.
    type Due = (TimerId, Instant, Instant);
    let set: Arc<Mutex<Vec<Due>>> = Arc::default();
    let (sets, checks) = (Arc::clone(&set), Arc::clone(&set));
    let mut left = 0;
    let script = echo()
        .on_start(move |cx| {
            let mut chance = Chance::new(7);
            for n in 0..200 {
                let wait = Duration::from_micros(1 + chance.below(30_000) as u64);
                block(Duration::from_micros(50));
                let before = Instant::now();
                let timer = cx.set_timer(wait, n);
                sets.lock().unwrap().push((timer, before + wait, Instant::now() + wait));
            }
            Ok(())
        })
        .on_timer(move |cx, timer| {
            let set = checks.lock().unwrap();
            let (id, due, _) = set[usize::try_from(timer.tag).unwrap()];
            assert_eq!(timer.id, id, "the tag is that of the call that set it");
            assert!(Instant::now() >= due, "early");
            assert_eq!(timer.missed, 0);
            assert!(!cx.cancel_timer(timer.id), "its name is stale");
            left += 1;
            if left == 200 {
                cx.shutdown();
            }
        });
    let record = script.record();
    run(script);
    let set = set.lock().unwrap();
    let came = record
        .timers()
        .into_iter()
        .map(|timer| *set.iter().find(|set| set.0 == timer.id).expect("only what was set comes"));
    let mut latest: Option<Instant> = None;
    for (timer, earliest_due, latest_due) in came {
        assert!(latest.is_none_or(|latest| latest <= latest_due), "{timer:?} is out of order");
        latest = latest.max(Some(earliest_due));
    }
}

/// Trap 59: a wait below the poll's millisecond is rounded up and not spun away.
#[test]
fn a_timer_of_half_a_millisecond_costs_few_polls() {
    let script = echo()
        .on_start(|cx| {
            cx.set_timer(MS / 2, 0);
            Ok(())
        })
        .on_timer(|cx, _| cx.shutdown());
    let reactor = run(script);
    assert!(reactor.stats().turns <= 4, "{} turns", reactor.stats().turns);
}

/// Trap 61: periods that passed while the loop stood still are skipped and told, and the phase is
/// kept: nothing drifts.
#[test]
fn a_periodic_timer_keeps_its_phase_and_tells_what_it_missed() {
    const PERIOD: Duration = Duration::from_millis(10);
    let begun = Arc::new(Mutex::new(Duration::ZERO));
    let begins = Arc::clone(&begun);
    let mut periods = 0;
    let mut calls = 0;
    let script = echo()
        .on_start(move |cx| {
            // Before the timer is set, so that no period can seem early.
            *begins.lock().unwrap() = cx.now();
            cx.set_periodic_timer(PERIOD, 0);
            Ok(())
        })
        .on_timer(move |cx, timer| {
            periods += timer.missed + 1;
            calls += 1;
            let since = cx.now().saturating_sub(*begun.lock().unwrap());
            // So many periods are over, since a call comes at a whole number of them.
            assert!(since >= PERIOD * periods as u32, "period {periods} came after {since:?}");
            match calls {
                // Ten and a half periods: the call after this one is for ten.
                5 => block(PERIOD * 10 + PERIOD / 2),
                6 => assert!(timer.missed >= 9, "missed only {}", timer.missed),
                20 => cx.shutdown(),
                _ => (),
            }
        });
    let record = script.record();
    run(script);
    let timers: Vec<_> = record.timers().iter().map(|timer| timer.id).collect();
    assert_eq!(timers.len(), 20);
    assert!(timers.iter().all(|timer| *timer == timers[0]), "one name for all periods");
}

/// Trap 62: two come due together, and whichever is first cancels the other.
#[test]
fn a_timer_that_its_neighbour_cancels_does_not_fire() {
    let timers: Arc<Mutex<Vec<TimerId>>> = Arc::default();
    let sets = Arc::clone(&timers);
    let script = echo()
        .on_start(move |cx| {
            let waits = [5, 6, 7].map(|wait| cx.set_timer(MS * wait, 0));
            sets.lock().unwrap().extend(waits);
            cx.set_timer(MS * 50, 0);
            // All three are due in the first turn.
            block(MS * 10);
            Ok(())
        })
        .on_timer(move |cx: &mut Context, timer: Timer| {
            let timers = timers.lock().unwrap();
            if timer.id == timers[0] {
                assert!(cx.cancel_timer(timers[1]));
                assert!(cx.cancel_timer(timers[2]));
                assert!(!cx.cancel_timer(timers[2]), "twice");
            } else {
                assert!(!timers.contains(&timer.id), "a cancelled timer fired");
                cx.shutdown();
            }
        });
    let record = script.record();
    run(script);
    assert_eq!(record.timers().len(), 2);
}

/// What a first client's timer does to the second's, which is due at the same time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Neighbour {
    Cancels,
    Replaces,
    Closes,
    Aborts,
}

/// Trap 62: the same among connections; a close and an abort are obeyed as well.
#[test]
fn a_connection_that_its_neighbour_acts_on_is_not_called() {
    for what in [Neighbour::Cancels, Neighbour::Replaces, Neighbour::Closes, Neighbour::Aborts] {
        let mut open: Vec<ConnId> = Vec::new();
        let script = echo()
            .on_open(move |conn| {
                open.push(conn.id());
                if open.len() == 2 {
                    for id in &open {
                        conn.cx().conn(*id).unwrap().set_timeout(MS);
                    }
                    block(MS * 5);
                }
                Ok(())
            })
            .on_timeout(|conn| {
                conn.send("rings\n");
                Ok(())
            });
        let ids = script.record();
        let script = script.on_timeout(move |conn| {
            let own = conn.id();
            let other = ids.opens().into_iter().find(|id| *id != own).unwrap();
            let mut other = conn.cx().conn(other).expect("it was not called");
            match what {
                Neighbour::Cancels => assert!(other.cancel_timeout()),
                Neighbour::Replaces => other.set_timeout(DEADLINE * 10),
                Neighbour::Closes => other.close(),
                Neighbour::Aborts => other.abort(),
            }
            conn.send("done");
            Ok(())
        });
        let server = Server::start(script, Config::default());
        let mut clients = [server.connect(), server.connect()];
        server.record.wait_opens(2);
        let rang = || server.record.count(|event| matches!(event, Event::Timeout(_)));
        wait_until("one timer has come", || rang() == 1);
        // Two more turns for the other to come up in, if it will.
        for client in &mut clients {
            let _ = client.write_all(b"x");
        }
        watch(MS * 20);
        assert_eq!(rang(), 1, "{what:?}");
        drop(clients);
        server.end();
    }
}

/// Trap 62: a timer ends with its connection, and a new entry of the slot does not inherit it.
#[test]
fn a_timer_ends_with_its_connection() {
    let mut first = true;
    let script = echo().on_open(move |conn| {
        if std::mem::take(&mut first) {
            conn.set_timeout(MS * 50);
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    ping(&mut client, b"x");
    drop(client);
    server.record.wait_close();
    let mut next = server.connect();
    watch(MS * 100);
    ping(&mut next, b"y");
    assert_eq!(server.record.count(|event| matches!(event, Event::Timeout(_))), 0);
    drop(next);
    server.end();
}

/// Promise 7: set again it is replaced, cancelled it does not come, and its error closes as that of
/// any callback does.
#[test]
fn a_connections_timer_is_replaced_cancelled_and_its_error_closes() {
    let script = echo()
        .on_data(|conn, input| {
            match input.take_all() {
                b"set" => {
                    conn.set_timeout(MS);
                    conn.set_timeout(MS * 20);
                }
                b"cancel" => {
                    conn.set_timeout(MS);
                    assert!(conn.cancel_timeout());
                    assert!(!conn.cancel_timeout());
                }
                _ => conn.send("pong"),
            }
            Ok(())
        })
        .on_timeout(|conn| {
            conn.send("late");
            Err(std::io::Error::other("no patience"))
        });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"cancel").unwrap();
    watch(MS * 10);
    client.write_all(b"ping").unwrap();
    assert_eq!(read_n(&mut client, 4), b"pong");
    let start = Instant::now();
    client.write_all(b"set").unwrap();
    assert_eq!(read_to_end(&mut client), b"late");
    assert!(start.elapsed() >= MS * 20, "the first of two fired");
    drop(client);
    let closed = server.record.wait_close();
    assert!(
        matches!(&closed.reason, CloseReason::Handler(error) if error.to_string() == "no patience")
    );
    let id = server.record.opens()[0];
    assert_eq!(server.record.story(id), "open data data data timeout close");
    server.end();
}

/// Promise 5: what the peer had sent in time counts, though the server comes to it late.
#[test]
fn what_was_sent_in_time_is_served_before_the_timer() {
    const SENT: usize = 60 * KIB;
    let (stall, stalled) = stall();
    let mut got = 0;
    let script = echo()
        .on_data(move |conn, input| {
            if got == 0 {
                conn.set_timeout(MS * 10);
                stalled.stand_still();
                // Its time comes while we stand here.
                block(MS * 20);
            }
            got += input.take_all().len();
            if got == SENT {
                assert!(conn.cancel_timeout(), "in time");
                conn.send("all");
            }
            Ok(())
        })
        .on_timeout(|conn| {
            conn.send("too slow");
            conn.close();
            Ok(())
        });
    // So many reads that the timer comes up between them.
    let server = Server::start(script, Config::default().read_buffer(4 * KIB));
    let mut client = server.connect();
    client.write_all(&[7; 1]).unwrap();
    stall.wait_entered();
    client.write_all(&vec![7; SENT - 1]).unwrap();
    stall.release();
    assert_eq!(read_n(&mut client, 3), b"all");
    drop(client);
    server.end();
}

/// Promise 6: a peer that never stops sending does not keep its own timer from coming.
#[test]
fn a_flood_does_not_stop_the_floods_timer() {
    let script = echo()
        .on_open(|conn| {
            conn.set_timeout(MS * 20);
            Ok(())
        })
        .on_data(|_, input| {
            input.take_all();
            Ok(())
        })
        .on_timeout(|conn| {
            conn.abort();
            Ok(())
        });
    let server = Server::start(script, Config::default().read_buffer(KIB));
    let floods: Vec<_> = (0..2)
        .map(|_| {
            let mut client = server.connect();
            thread::spawn(move || {
                let bytes = vec![1; 64 * KIB];
                while client.write_all(&bytes).is_ok() {}
            })
        })
        .collect();
    server.record.wait_closes(2);
    for flood in floods {
        flood.join().unwrap();
    }
    server.end();
}

/// Promise 6: a callback that sets its timer to now, again and again, starves nobody.
#[test]
fn timers_that_are_always_due_starve_nobody() {
    let script = echo()
        .on_start(|cx| {
            for _ in 0..100 {
                cx.set_timer(Duration::ZERO, 0);
            }
            Ok(())
        })
        .on_timer(|cx, _| {
            cx.set_timer(Duration::ZERO, 0);
        })
        .on_open(|conn| {
            conn.set_timeout(Duration::ZERO);
            Ok(())
        })
        .on_timeout(|conn| {
            conn.set_timeout(Duration::ZERO);
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    for n in 0..100_u8 {
        ping(&mut client, &[n]);
    }
    let rang = server.record.count(|event| matches!(event, Event::Timeout(_)));
    assert!(rang > 0, "nor does the flood of timers starve the timeout of a connection");
    drop(client);
    server.end();
}

/// Promise 6: what is far away or cancelled keeps nobody awake, and no end waits for it.
#[test]
fn a_pending_or_cancelled_timer_does_not_spin() {
    let script = echo()
        .on_start(|cx| {
            let hour = Duration::from_secs(3600);
            cx.set_timer(hour, 0);
            cx.set_periodic_timer(hour, 0);
            let timer = cx.set_timer(MS, 0);
            assert!(cx.cancel_timer(timer));
            cx.set_timer(Duration::MAX, 0);
            Ok(())
        })
        .on_open(|conn| {
            conn.set_timeout(Duration::MAX);
            conn.set_timeout(MS * 10);
            conn.cancel_timeout();
            conn.set_idle_timeout(Some(Duration::MAX));
            Ok(())
        })
        .on_data(|conn, input| {
            tell_turns(conn, input);
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut probe = server.connect();
    assert_at_rest(&mut probe);
    drop(probe);
    server.end();
}

/// Promise 4: a connection's own idle timeout stands before the one for all, both ways.
#[test]
fn an_idle_timeout_of_its_own_is_obeyed() {
    let (tell, told) = mpsc::channel();
    let mut opened = 0;
    let script = echo()
        .on_open(move |conn| {
            opened += 1;
            match opened {
                1 => conn.set_idle_timeout(None),
                2 => conn.set_idle_timeout(Some(MS * 20)),
                _ => (),
            }
            Ok(())
        })
        .on_close(move |cx, id, _| tell.send((id, cx.now())).unwrap());
    let config = Config::default().idle(Some(MS * 200));
    let server = Server::start(script, config);
    let mut patient = server.connect();
    ping(&mut patient, b"x");
    let mut quick = server.connect();
    let _usual = server.connect();
    assert_eq!(read_to_end(&mut quick), b"");
    drop(quick);
    let closes = server.record.wait_closes(2);
    assert!(closes.iter().all(|(_, closed)| matches!(closed.reason, CloseReason::Idle)));
    let opens = server.record.opens();
    let (first, second) = (told.recv().unwrap(), told.recv().unwrap());
    assert_eq!((first.0, second.0), (opens[1], opens[2]));
    // The default has passed for the first one, too.
    ping(&mut patient, b"still here");
    drop(patient);
    server.end();
}

/// Trap 63: a million resets, and a million timers set and cancelled, leave nothing behind.
#[test]
fn a_million_resets_are_constant_memory() {
    child::run("timers::child_resets_a_million_times");
}

#[test]
#[ignore = "a child of the test above"]
fn child_resets_a_million_times() {
    if !child::is_running("timers::child_resets_a_million_times") {
        return;
    }
    let script = echo().on_data(|conn, input| {
        let n: u64 = std::str::from_utf8(input.take_all()).unwrap().parse().unwrap();
        for n in 0..n {
            // Later, and nearer.
            conn.set_timeout(Duration::from_secs(3600 + n % 100));
            conn.set_timeout(Duration::from_secs(3600 - n % 100));
            let timer = conn.cx().set_timer(Duration::from_secs(60 + n), 0);
            conn.cx().cancel_timer(timer);
        }
        conn.send("done");
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    let mut reset = |times: &str| {
        client.write_all(times.as_bytes()).unwrap();
        assert_eq!(read_n(&mut client, 4), b"done");
        child::own_memory()
    };
    let before = reset("1000");
    let after = reset("1000000");
    assert!(after < before + MIB, "{before} bytes became {after}");
    drop(client);
    server.end();
}

/// Promise 6: the example counts in steps that do not drift, and shows out who says nothing.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "no examples are built in this lane")]
fn the_countdown_example_counts() {
    let args = ["--step", "0.02", "--news", "60", "--patience", "0.5"];
    let mut server = child::Child::example("countdown", &args);
    let mut silent = server.connect();
    let mut client = server.connect();
    let start = Instant::now();
    client.write_all(b"5\n").unwrap();
    let expected = "a number, please\n5\n4\n3\n2\n1\nlift-off\n";
    assert_eq!(read_n(&mut client, expected.len()), expected.as_bytes());
    assert!(start.elapsed() >= MS * 100, "early");
    client.write_all(b"100\nstop\nquit\n").unwrap();
    assert_eq!(read_to_end(&mut client), b"100\nstopped\n");
    assert_eq!(read_to_end(&mut silent), b"a number, please\nnobody there? goodbye\n");
    drop((client, silent));
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.stderr());
}

/// Promise 6: nor is the timer of a connection early, if its callback worked before it set it.
#[test]
fn a_connections_timer_counts_from_the_call_that_sets_it() {
    let due = Arc::new(Mutex::new(None));
    let dues = Arc::clone(&due);
    let script = echo()
        .on_data(move |conn, input| {
            input.take_all();
            block(MS * 40);
            *dues.lock().unwrap() = Some(Instant::now() + MS * 20);
            conn.set_timeout(MS * 20);
            Ok(())
        })
        .on_timeout(move |conn| {
            let is_early = Instant::now() < due.lock().unwrap().unwrap();
            conn.send(if is_early { "early" } else { "well" });
            conn.close();
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(read_to_end(&mut client), b"well");
    drop(client);
    server.end();
}

/// Promise 4: a timer that came leaves the other deadlines of its connection as they were.
#[test]
fn after_its_timer_a_connection_still_idles_out() {
    let script = echo().on_open(|conn| {
        conn.set_timeout(MS * 10);
        Ok(())
    });
    let server = Server::start(script, Config::default().idle(Some(MS * 100)));
    let mut client = server.connect();
    assert_eq!(read_to_end(&mut client), b"");
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Idle));
    let id = server.record.opens()[0];
    assert_eq!(server.record.story(id), "open timeout close");
    server.end();
}
