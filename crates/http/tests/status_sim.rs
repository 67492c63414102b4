//! The status page in simulated worlds: when the server is full, in a shutdown, and with viewers
//! that do not read.
//!
//! Needs the feature: `cargo test -p wouldblock-http --features sim --test status_sim`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io;
use std::time::Duration;

use wouldblock::sim::{Peer, Profile, Sim};
use wouldblock::{Config, Conn, Handler, Input, Origin, Reactor, Server};
use wouldblock_http::{Board, Status};

const ECHO: &str = "10.0.0.1:7777";
const STATUS: &str = "10.0.0.1:9090";
const SECOND: Duration = Duration::from_secs(1);

/// Keeps each connection through a shutdown until it says something.
struct Holds;

impl Handler for Holds {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        conn.hold(true);
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        input.take_all();
        conn.hold(false);
        Ok(())
    }
}

type Both = Reactor<(Holds, Status)>;

fn world(sim: &Sim, config: Config, status: Status) -> Both {
    // Simulated peers are not of this machine.
    let services = (Holds, status.from(|_| true));
    let mut reactor = sim.reactor(services, config).unwrap();
    reactor.listen(ECHO).unwrap();
    reactor.service(1).listen(STATUS).unwrap();
    reactor
}

fn ask(peer: &Peer, path: &str) {
    peer.send(format!("GET {path} HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n"));
}

/// What has come since it was last asked.
fn came(peer: &Peer) -> String {
    String::from_utf8(peer.recv()).unwrap()
}

/// Promise 4: places are kept back, so the page answers when all others are taken.
#[test]
fn the_page_answers_when_the_server_is_full() {
    for seed in 0..20 {
        let sim = Sim::new(seed, Profile::everyday());
        let mut reactor = world(&sim, Config::default().connections(40), Status::new());
        let clients: Vec<_> = (0..60).map(|_| sim.connect(ECHO)).collect();
        sim.advance(&mut reactor, SECOND).unwrap();
        let probe = sim.connect(STATUS);
        ask(&probe, "/healthz");
        sim.advance(&mut reactor, SECOND * 3).unwrap();
        let answer = came(&probe);
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok\n"), "{answer}");
        assert_eq!(reactor.service(0).service_stats().open, 32);
        drop(clients);
    }
}

/// In a shutdown a connection that is there is told so, a new one is refused, and none of the
/// page's keeps the server when the others have left.
#[test]
fn health_fails_while_the_others_leave_and_then_the_page_leaves_too() {
    for seed in 0..20 {
        let sim = Sim::new(seed, Profile::calm());
        let mut reactor = world(&sim, Config::default(), Status::new());
        let (client, probe, viewer) = (sim.connect(ECHO), sim.connect(STATUS), sim.connect(STATUS));
        ask(&probe, "/healthz");
        ask(&viewer, "/events");
        sim.advance(&mut reactor, SECOND).unwrap();
        assert!(came(&probe).contains("200 OK"));
        reactor.shutdown();
        sim.advance(&mut reactor, SECOND).unwrap();
        ask(&probe, "/healthz");
        let late = sim.connect(STATUS);
        sim.advance(&mut reactor, SECOND * 2).unwrap();
        let answer = came(&probe);
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("shutting down\n"),
            "{answer}"
        );
        assert!(late.is_refused());
        assert!(came(&viewer).contains("shutting down"), "the page is told");
        assert!(!probe.is_ended() && reactor.shutdown_report().is_none());
        client.send("done");
        client.finish();
        probe.finish();
        viewer.finish();
        sim.advance(&mut reactor, SECOND * 3).unwrap();
        let report = reactor.shutdown_report().expect("it is over");
        assert_eq!((report.cut, report.done), (0, 3), "each has left in order");
    }
}

/// Promise 4: as many pages are live as the limit says, and one that does not read is skipped: it
/// holds a few pages, and the others go on.
#[test]
fn viewers_are_bounded_and_one_that_does_not_read_is_skipped() {
    let sim = Sim::new(1, Profile::calm());
    let config = Config::default().write_stall(SECOND * 1000);
    let mut reactor = world(&sim, config, Status::new().viewers(2));
    let (slow, good) = (sim.connect(STATUS), sim.connect(STATUS));
    slow.stop_reading();
    for peer in [&slow, &good] {
        ask(peer, "/events");
    }
    sim.advance(&mut reactor, SECOND).unwrap();
    let third = sim.connect(STATUS);
    ask(&third, "/events");
    sim.advance(&mut reactor, SECOND * 600).unwrap();
    let answer = came(&third);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 5"), "{answer}");
    let news = came(&good).matches("data: <p id=\"state\"").count();
    assert!(news > 590, "{news}");
    assert!(reactor.service(1).buffered() < 200 << 10, "{}", reactor.service(1).buffered());
}

/// A list of more connections than fit into one answer's room is sent as it is taken, in parts, whole.
#[test]
fn a_long_list_is_sent_as_it_is_taken() {
    let sim = Sim::new(1, Profile::calm().descriptors(5000));
    let mut reactor = world(&sim, Config::default().connections(4000), Status::new());
    let clients: Vec<_> = (0..3000).map(|_| sim.connect(ECHO)).collect();
    sim.advance(&mut reactor, SECOND * 5).unwrap();
    let peer = sim.connect(STATUS);
    ask(&peer, "/connections");
    peer.wait(SECOND);
    ask(&peer, "/healthz");
    let before = reactor.stats().turns;
    sim.advance(&mut reactor, SECOND * 5).unwrap();
    let list = came(&peer);
    assert_eq!(list.matches("; reads: waits for the peer").count(), 3001, "it and all of them");
    assert!(list.contains("3001 connections\n\r\n0\r\n\r\n"), "it ends");
    assert!(list.ends_with("ok\n"), "and the connection stays");
    assert!(reactor.stats().turns - before > 10);
    drop(clients);
}

/// Promise 4: four lists at a time, one more is told to come later; a client that stops reading
/// holds what output may, and is gone at `write_stall`, and its list with it.
#[test]
fn lists_are_bounded_and_a_client_that_stops_reading_loses_its_own() {
    let sim = Sim::new(1, Profile::calm().descriptors(5000).buffer(1024..=8192));
    let config = Config::default().connections(4000).write_stall(SECOND * 30);
    let mut reactor = world(&sim, config, Status::new());
    let clients: Vec<_> = (0..3000).map(|_| sim.connect(ECHO)).collect();
    sim.advance(&mut reactor, SECOND * 5).unwrap();
    let deaf: Vec<_> = (0..4).map(|_| sim.connect(STATUS)).collect();
    for peer in &deaf {
        peer.stop_reading();
        ask(peer, "/connections");
    }
    sim.advance(&mut reactor, SECOND * 5).unwrap();
    let more = sim.connect(STATUS);
    ask(&more, "/connections.json");
    sim.advance(&mut reactor, SECOND).unwrap();
    let answer = came(&more);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 5"), "{answer}");
    let buffered = reactor.service(1).buffered();
    assert!(buffered < (4 * (64 + 32)) << 10, "{buffered}");
    sim.advance(&mut reactor, SECOND * 65).unwrap();
    assert_eq!(reactor.service(1).service_stats().closed.write_stall, 4);
    let late = sim.connect(STATUS);
    ask(&late, "/connections.json");
    sim.advance(&mut reactor, SECOND * 5).unwrap();
    let list = came(&late);
    assert!(list.contains("\n],\"count\":3001}") && list.ends_with("\r\n0\r\n\r\n"), "it is whole");
    drop(clients);
}

/// In a shutdown, too: while others are left, a list that has ended does not end its connection.
#[test]
fn a_long_list_in_a_shutdown_leaves_its_connection_there() {
    let sim = Sim::new(1, Profile::calm().descriptors(5000));
    let mut reactor = world(&sim, Config::default().connections(4000), Status::new());
    let clients: Vec<_> = (0..3000).map(|_| sim.connect(ECHO)).collect();
    let peer = sim.connect(STATUS);
    ask(&peer, "/healthz");
    sim.advance(&mut reactor, SECOND).unwrap();
    assert!(came(&peer).contains("200 OK"));
    reactor.shutdown();
    sim.advance(&mut reactor, SECOND).unwrap();
    ask(&peer, "/connections");
    sim.advance(&mut reactor, SECOND * 3).unwrap();
    assert!(came(&peer).contains("3001 connections\n\r\n0\r\n\r\n"), "the list ends");
    ask(&peer, "/healthz");
    sim.advance(&mut reactor, SECOND).unwrap();
    assert!(came(&peer).starts_with("HTTP/1.1 503 "), "and the connection stays");
    drop(clients);
}

/// What a program or a peer is called is text, in the page, in JSON and in labels.
#[test]
fn names_are_text_wherever_they_stand() {
    let sim = Sim::new(1, Profile::calm());
    let evil = "<img src=x onerror=alert(1)>\"\\\n";
    let status = Status::new().title(evil).names([evil, evil]);
    let mut reactor = world(&sim, Config::default(), status);
    let peer = sim.connect(STATUS);
    for path in ["/", "/connections", "/connections.json", "/metrics"] {
        ask(&peer, path);
        sim.advance(&mut reactor, SECOND).unwrap();
        let answer = came(&peer);
        match path {
            "/metrics" => {
                assert!(answer.contains("service=\"<img src=x onerror=alert(1)>\\\"\\\\\\n\""));
            }
            "/connections" => assert!(answer.contains("text/plain") && answer.contains("nosniff")),
            _ => assert!(!answer.contains("<img"), "{path}: {answer}"),
        }
    }
}

/// Promise 4: clients that connect and say nothing fill the page's places for some seconds,
/// whatever the program's own limits are.
#[test]
fn silent_clients_do_not_keep_the_page_from_others() {
    let sim = Sim::new(1, Profile::calm());
    let mut reactor = world(&sim, Config::default(), Status::new());
    let silent: Vec<_> = (0..64).map(|_| sim.connect(STATUS)).collect();
    sim.advance(&mut reactor, SECOND).unwrap();
    let probe = sim.connect(STATUS);
    ask(&probe, "/healthz");
    sim.advance(&mut reactor, SECOND).unwrap();
    assert_eq!(came(&probe), "", "it waits in the kernel");
    // And five to linger.
    sim.advance(&mut reactor, SECOND * 15).unwrap();
    assert!(came(&probe).contains("200 OK"));
    assert_eq!(reactor.service(1).service_stats().closed.first_byte, 64);
    drop(silent);
}

/// A server of three, whose first reactor has the page.
fn three(sim: &Sim) -> Server<(Holds, Status)> {
    let board = Board::new(3);
    let make = |number, _: &_| {
        let status = Status::at(STATUS).from(|_| true).names(["holds", "status"]);
        Ok((Holds, status.of_server(number, &board)))
    };
    let mut server = sim.server(3, Config::default(), make).unwrap();
    server.listen(ECHO).unwrap();
    server
}

/// Promise 8: what is asked of one reactor shows all: each by its label, and the sum of them on the page.
#[test]
fn the_page_and_the_metrics_show_all_reactors_of_a_server() {
    for seed in 0..20 {
        let sim = Sim::new(seed, Profile::everyday());
        let mut server = three(&sim);
        let clients: Vec<_> = (0..30).map(|_| sim.connect(ECHO)).collect();
        sim.advance(&mut server, SECOND * 3).unwrap();
        let open: Vec<_> = server.reactors_mut().iter_mut().map(|it| it.stats().accepted).collect();
        assert_eq!(open.iter().sum::<u64>(), 30);
        let probe = sim.connect(STATUS);
        ask(&probe, "/metrics");
        sim.advance(&mut server, SECOND * 3).unwrap();
        let text = came(&probe);
        for (number, open) in open.iter().enumerate() {
            let line = format!(
                "wouldblock_connections{{reactor=\"{number}\",service=\"holds\"}} {open}\n"
            );
            assert!(text.contains(&line), "no {line}in {text}");
            let line = format!("wouldblock_reactor_silent_seconds{{reactor=\"{number}\"}} ");
            assert!(text.contains(&line), "no {line}in {text}");
        }
        ask(&probe, "/");
        sim.advance(&mut server, SECOND * 3).unwrap();
        let text = came(&probe);
        assert!(text.contains("id=\"reactors\""), "{text}");
        // Of the clients and the probe.
        assert!(text.contains("<p class=\"value\">31</p>"), "{text}");
        ask(&probe, "/connections");
        sim.advance(&mut server, SECOND * 3).unwrap();
        let text = came(&probe);
        let others = format!("{} of reactor 1, not listed here\n{} of reactor 2", open[1], open[2]);
        assert!(text.contains("of reactor 0\n") && text.contains(&others), "{text}");
        drop(clients);
    }
}

/// Promise 6: in a shutdown the page stays while any reactor has connections of others, and holds
/// up nothing then.
#[test]
fn the_page_stays_while_any_reactor_of_a_server_has_others() {
    for seed in 0..20 {
        let sim = Sim::new(seed, Profile::everyday());
        let mut server = three(&sim);
        sim.advance(&mut server, SECOND).unwrap();
        let clients: Vec<_> = (0..12).map(|_| sim.connect(ECHO)).collect();
        let probe = sim.connect(STATUS);
        ask(&probe, "/healthz");
        sim.advance(&mut server, SECOND * 2).unwrap();
        assert!(came(&probe).ends_with("ok\n"));
        server.handle().shutdown();
        sim.advance(&mut server, SECOND * 2).unwrap();
        ask(&probe, "/healthz");
        sim.advance(&mut server, SECOND).unwrap();
        assert!(came(&probe).ends_with("shutting down\n"), "it stays while they are held");
        for client in &clients {
            client.send(b"let go");
            client.finish();
        }
        probe.expect_end();
        probe.finish();
        sim.advance(&mut server, SECOND * 4).unwrap();
        let report = server.shutdown_report().expect("it leaves when they have");
        assert_eq!((report.done, report.cut), (13, 0), "{report}");
        assert_eq!(server.stats().closed.shutdown, 13);
    }
}

/// Promise 8: for how long a reactor has told nothing is said in seconds, in a shutdown too, where
/// the looks are more often.
#[test]
fn silence_is_told_in_seconds_in_a_shutdown_too() {
    for seed in 0..20 {
        let sim = Sim::new(seed, Profile::everyday());
        let mut server = three(&sim);
        sim.advance(&mut server, SECOND).unwrap();
        let (client, probe) = (sim.connect(ECHO), sim.connect(STATUS));
        ask(&probe, "/healthz");
        sim.advance(&mut server, SECOND * 2).unwrap();
        assert!(came(&probe).ends_with("ok\n"));
        // Two of the three have nothing to finish, and end at once.
        server.handle().shutdown();
        sim.advance(&mut server, SECOND * 4).unwrap();
        ask(&probe, "/metrics");
        sim.advance(&mut server, SECOND).unwrap();
        let text = came(&probe);
        let silent = |line: &str| {
            let (_, seconds) =
                line.strip_prefix("wouldblock_reactor_silent_seconds{")?.split_once(' ')?;
            seconds.parse::<u32>().ok()
        };
        let silent: Vec<_> = text.lines().filter_map(silent).collect();
        assert!(silent.len() == 3 && silent.iter().max() > Some(&1), "{text}");
        assert!(silent.iter().all(|seconds| *seconds <= 5), "{silent:?}");
        drop(client);
    }
}

/// Promise 8: the rates in the table of reactors are those of a second, however often the page is
/// asked for.
#[test]
fn what_a_reactor_does_in_a_second_is_the_same_however_often_it_is_asked() {
    let sim = Sim::new(1, Profile::calm());
    let mut server = three(&sim);
    sim.advance(&mut server, SECOND * 3).unwrap();
    let probe = sim.connect(STATUS);
    for _ in 0..200 {
        ask(&probe, "/");
        sim.advance(&mut server, SECOND / 1000).unwrap();
    }
    let text = came(&probe);
    let rows = text.split("<th scope=\"row\">0<td").skip(1);
    let turns = rows.filter_map(|row| {
        let (row, _) = row.split_once("</tr>")?;
        row.rsplit_once("<td class=\"n\">")?.1.parse::<u64>().ok()
    });
    let turns: Vec<_> = turns.collect();
    assert!(turns.len() > 50 && turns.iter().all(|turns| *turns < 300), "{turns:?}");
}
