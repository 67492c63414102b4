//! Promises 2 and 7 at the end of the day: who was cut by a shutdown, and what they were owed, is
//! told.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wouldblock::{Address, Config, Cut, Handle, Reactor, ShutdownReport, Stage};

use crate::support::*;

/// A server whose report is asked for.
struct Told {
    addr: SocketAddr,
    handle: Handle<Script>,
    record: Record,
    thread: JoinHandle<ShutdownReport>,
}

fn serve(script: Script, config: Config) -> Told {
    let record = script.record();
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut reactor = Reactor::with_config(script, config).unwrap();
        let id = reactor.listen("127.0.0.1:0").unwrap();
        tell.send((reactor.listener_addr(id).unwrap().socket_addr().unwrap(), reactor.handle()))
            .unwrap();
        while reactor.turn(None).unwrap() {
            assert!(reactor.shutdown_report().is_none(), "told before the end");
        }
        reactor.shutdown_report().expect("it is over").clone()
    });
    let (addr, handle) = told.recv_timeout(DEADLINE).unwrap();
    Told { addr, handle, record, thread }
}

impl Told {
    fn join(self) -> ShutdownReport {
        wait_until("it has ended", || self.thread.is_finished());
        self.thread.join().unwrap()
    }
}

/// Does what it is told: `large` is answered with so much that no kernel takes it, and a close;
/// `hold` is kept through a shutdown, `stream` is answered without end.
fn script() -> Script {
    echo().on_data(|conn, input| {
        match input.take_all() {
            b"large" => {
                narrow_sending(conn);
                conn.send(vec![7; 3 * MIB]);
                conn.close();
            }
            b"stream" => conn.send_from(std::io::repeat(7)),
            b"hold" => {
                conn.hold(true);
                conn.send(b"held");
            }
            other => conn.send(other),
        }
        Ok(())
    })
}

fn cut_of<'a>(report: &'a ShutdownReport, client: &TcpStream) -> &'a Cut {
    let peer = Address::from(client.local_addr().unwrap());
    let mut found = report.cuts.iter().filter(|cut| cut.peer == peer);
    let cut = found.next().unwrap_or_else(|| panic!("{peer} is not told of: {report:?}"));
    assert!(found.next().is_none(), "{peer} is told of twice: {report:?}");
    cut
}

/// Promises 2 and 7, Trap 40: a shutdown that ran into its deadline tells who was cut, how far each
/// had come, and what it was owed; whoever left in time is counted.
#[test]
fn a_shutdown_tells_whom_it_cut_and_what_they_were_owed() {
    let config = Config::default()
        .shutdown_max(Duration::from_millis(400))
        .linger(Duration::from_secs(3600));
    let server = serve(script(), config);
    let mut large = connect_narrow(server.addr);
    large.write_all(b"large").unwrap();
    let (mut held, mut silent) = (connect(server.addr), connect(server.addr));
    held.write_all(b"hold").unwrap();
    assert_eq!(read_n(&mut held, 4), b"held");
    ping(&mut silent, b"hello");
    let mut polite = [connect(server.addr), connect(server.addr)];
    for client in &mut polite {
        ping(client, b"hello");
    }
    let record = server.record.clone();
    wait_until("the large one is asked for", || {
        record.count(|event| matches!(event, Event::Data(_))) >= 5
    });
    server.handle.shutdown();
    for mut client in polite {
        assert!(read_to_end(&mut client).is_empty());
    }
    let report = server.join();
    assert_eq!((report.done, report.cut), (2, 3));
    assert!(report.took >= Duration::from_millis(400), "{report}");
    for (client, stage) in
        [(&large, Stage::Draining), (&held, Stage::Open), (&silent, Stage::Lingering)]
    {
        let cut = cut_of(&report, client);
        assert_eq!(cut.stage, stage);
        let closed = record.wait_close_of(cut.id);
        assert_eq!((closed.unsent, closed.clean), (cut.unsent, false), "{stage}");
        assert_eq!(cut.unsent > 0, stage == Stage::Draining, "{report}");
    }
    assert_eq!(report.unsent, cut_of(&report, &large).unsent);
    let line = report.to_string();
    assert!(line.contains("2 connections done, 3 cut, "), "{line}");
    assert!(line.contains(&format!("{} (open, 0 bytes)", held.local_addr().unwrap())), "{line}");
}

/// Promise 7: whom `shutdown_now` cuts is told in the same way.
#[test]
fn a_shutdown_at_once_tells_whom_it_cut() {
    let server = serve(script(), Config::default());
    let mut clients = [connect(server.addr), connect(server.addr)];
    for client in &mut clients {
        ping(client, b"hello");
    }
    server.handle.shutdown_now();
    let report = server.join();
    assert_eq!((report.done, report.cut, report.unsent), (0, 2, 0));
    for client in &clients {
        assert_eq!(cut_of(&report, client).stage, Stage::Open);
    }
}

/// Promises 2 and 7: who was to be sent more of a source, and how much is not known, is told of as well.
#[test]
fn a_shutdown_tells_whose_source_had_not_ended() {
    let server = serve(script(), Config::default());
    let (mut streamed, mut other) = (connect(server.addr), connect(server.addr));
    streamed.write_all(b"stream").unwrap();
    assert_eq!(read_n(&mut streamed, 2), [7; 2]);
    ping(&mut other, b"hello");
    server.handle.shutdown_now();
    let record = server.record.clone();
    let report = server.join();
    let (streamed, other) = (cut_of(&report, &streamed), cut_of(&report, &other));
    assert!(streamed.unfinished && !other.unfinished, "{report:?}");
    assert!(record.wait_close_of(streamed.id).unfinished);
    let line = report.to_string();
    let said = format!("{} (open, {} bytes, a source unfinished)", streamed.peer, streamed.unsent);
    assert!(line.contains(&said), "{line}");
}

/// Promise 7: a connect that was under way when the end came is one of those cut.
#[test]
fn a_connect_under_way_is_told_as_cut() {
    let silent = Silent::new();
    let to = silent.addr;
    let script = script().on_start(move |cx| cx.connect(to, 7).map(drop));
    let config = Config::default().shutdown_max(Duration::from_millis(200));
    let server = serve(script, config);
    server.handle.shutdown();
    let record = server.record.clone();
    let report = server.join();
    assert_eq!((report.done, report.cut), (0, 1));
    assert_eq!((report.cuts[0].stage, &report.cuts[0].peer), (Stage::Connecting, &to.into()));
    assert_eq!(record.failures().len(), 1);
}

/// Promises 6 and 7: a shutdown that was asked for before the first turn finds a reactor that has
/// started as ever, listeners and all, and ends well.
#[test]
fn a_shutdown_before_the_first_turn_lets_on_start_listen() {
    for now in [false, true] {
        let script = echo().on_start(|cx| cx.listen("127.0.0.1:0").map(drop));
        let record = script.record();
        let mut reactor = Reactor::new(script).unwrap();
        if now {
            reactor.shutdown_now();
        } else {
            reactor.shutdown();
        }
        reactor.run().unwrap();
        let (starts, ends) = (
            record.count(|event| matches!(event, Event::Start)),
            record.count(|event| matches!(event, Event::Shutdown)),
        );
        assert_eq!((starts, ends), (1, 1));
        let report = reactor.shutdown_report().unwrap();
        assert_eq!((report.done, report.cut), (0, 0));
        assert!(!reactor.turn(None).unwrap());
    }
}

/// Promise 7: what an error of `on_start` cut is told, too.
#[test]
fn an_error_at_the_start_tells_whom_it_cut() {
    let listener = listener();
    let client = connect(listener.local_addr().unwrap());
    let accepted = listener.accept().unwrap().0;
    let script = script().on_start(move |cx| {
        cx.adopt(accepted.try_clone()?, 0)?;
        Err(std::io::Error::other("as planned"))
    });
    let mut reactor = Reactor::new(script).unwrap();
    assert_eq!(reactor.run().unwrap_err().to_string(), "as planned");
    assert_eq!(reactor.shutdown_report().map(|report| report.cut), Some(1));
    drop(client);
}
