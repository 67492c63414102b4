//! A layer in simulated worlds: every way to cut, hold up and shuffle what a peer sends through it,
//! and what goes back. What the handler sees is what was sent, to the last byte, in one order of
//! callbacks. Then faults that the schedules of `crates/check` found, each alone.
//!
//! Needs the feature: `cargo test --features sim --test layers_sim`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io;
use std::time::Duration;

use wouldblock::frame::{Decode, MessageError};
use wouldblock::sim::{Peer, Profile, Sim, check};
use wouldblock::{
    CloseReason, Closed, Config, Conn, ConnId, Connect, Context, Handler, Input, Layer, Listen,
    Messages, Origin, Reactor, framed,
};

#[path = "promises/support/toy.rs"]
mod toy;

use toy::{Toy, record};

const SERVER: &str = "10.0.0.1:7777";
/// The keys of both sides.
const OURS: u8 = 6;
const THEIRS: u8 = 5;

/// Draws by a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1234_5678_9ABC_DEF1);
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

fn pattern(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Echoes what comes, in pieces and by every kind of send, and rests at times.
struct Echo {
    dice: Dice,
    /// What came so far.
    came: usize,
    /// Begins in the clear, with a line.
    upgrades: bool,
    connects: bool,
    opened: usize,
    ended: bool,
    closed: Vec<Closed>,
}

impl Handler for Echo {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        if self.connects {
            cx.connect(Connect::from(SERVER).layer(Toy::new(OURS)), 0)?;
        }
        Ok(())
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        self.opened += 1;
        if !self.upgrades {
            assert!(conn.layer::<Toy>().unwrap().is_ready(), "opened in the handshake");
        }
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        assert!(!self.ended, "data after the end");
        if conn.layer::<Toy>().is_none() {
            if let Some(line) = input.line() {
                assert_eq!(line, b"UPGRADE");
                conn.upgrade(Toy::server(OURS));
                assert_eq!(input.line(), None, "a line is handed out behind the upgrade");
            }
            return Ok(());
        }
        let n = 1 + self.dice.below(input.len());
        let bytes = &input.bytes()[..n];
        input.consume(n);
        assert!(bytes == pattern(self.came..self.came + n), "other bytes came at {}", self.came);
        self.came += n;
        let (first, second) = bytes.split_at(self.dice.below(n));
        conn.send(first);
        match self.dice.below(4) {
            0 => conn.send_shared(second.to_vec().into()),
            1 => conn.send_from(io::Cursor::new(second.to_vec())),
            _ => conn.send(second),
        }
        if self.dice.below(8) == 0 {
            conn.pause();
            conn.set_timeout(Duration::from_millis(1));
        }
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let rest = input.take_all();
        assert!(rest == pattern(self.came..self.came + rest.len()), "other bytes at the end");
        self.ended = true;
        conn.send(rest);
        conn.close();
        Ok(())
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, (): &mut ()) -> io::Result<()> {
        conn.resume();
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, (): (), closed: Closed) {
        self.closed.push(closed);
    }
}

/// What the peer says, in one piece.
fn speech(dice: &mut Dice, len: usize) -> Vec<u8> {
    let mut toy = Toy::new(THEIRS);
    let (mut wire, mut hello) = (Vec::new(), Vec::new());
    let _ = toy.receive(&mut [], &mut Vec::new(), &mut wire).unwrap();
    record(b'H', &[OURS], &mut hello);
    let _ = toy.receive(&mut hello, &mut Vec::new(), &mut wire).unwrap();
    let mut sent = 0;
    while sent < len {
        let n = (1 + dice.below(3000)).min(len - sent);
        toy.send(&pattern(sent..sent + n), &mut wire).unwrap();
        sent += n;
    }
    wire
}

/// What the peer makes of what it got: the bytes, and whether the layer ended behind them.
fn understood(mut wire: Vec<u8>) -> (Vec<u8>, bool) {
    let (mut toy, mut plain) = (Toy::new(THEIRS), Vec::new());
    let received = toy.receive(&mut wire, &mut plain, &mut Vec::new()).unwrap();
    assert_eq!(received.bytes(), wire.len(), "half a record, or more behind the end");
    (plain, received.is_ended())
}

/// One stream there and back. `truncates`: the peer ends without the layer's end.
fn exchange(sim: &Sim, truncates: bool) -> Result<(), wouldblock::sim::Failure> {
    let mut dice = Dice(sim.seed());
    let (kind, len) = (dice.below(3), dice.below(40_000));
    let (upgrades, connects) = (kind == 0, kind == 1);
    let mut wire = if upgrades { b"UPGRADE\n".to_vec() } else { Vec::new() };
    wire.append(&mut speech(&mut dice, len));
    if !truncates {
        record(b'E', &[], &mut wire);
    }
    let echo =
        Echo { dice, came: 0, upgrades, connects, opened: 0, ended: false, closed: Vec::new() };
    let config = Config::default().input_max(5000).output_low(500).output_high(4000);
    let mut reactor = sim.reactor(echo, config.output_max(600_000))?;
    let peer: Peer = if connects {
        sim.serve(SERVER)
    } else {
        let listen = Listen::from(SERVER);
        reactor.listen(if upgrades { listen } else { listen.layer(|_| Ok(Toy::server(OURS))) })?;
        sim.connect(SERVER)
    };
    peer.send(&wire);
    peer.finish();
    // The world is idle while the handler has paused: its own timer goes on.
    for _ in 0..10_000 {
        sim.run_until_idle(&mut reactor)?;
        if !reactor.handler().closed.is_empty() {
            break;
        }
        sim.advance(&mut reactor, Duration::from_millis(2))?;
    }
    let echo = reactor.handler();
    let [closed] = &echo.closed[..] else {
        return Err(sim.failure(format!("{} opened, {} closed", echo.opened, echo.closed.len())));
    };
    let told = match closed.reason {
        CloseReason::PeerEnd => closed.clean && echo.ended && !truncates,
        CloseReason::Truncated => !closed.clean && !echo.ended && truncates,
        _ => false,
    };
    let (plain, ended) = understood(peer.recv());
    if !told || closed.unsent != 0 || plain != pattern(0..len) || !ended || !peer.is_ended() {
        let what = format!("{closed}: {} of {len} bytes came back, ended: {ended}", plain.len());
        return Err(sim.failure(what));
    }
    Ok(())
}

/// A rough world in which each connection comes through.
fn rough() -> Profile {
    Profile::rough().accept_error(0).watch_error(0)
}

/// Promises 1 to 3 and 5: whatever the network and the kernel do to what a layer makes, both sides
/// get what was sent, whole, and both ends are told.
#[test]
fn a_stream_through_a_layer_arrives_whole_however_it_is_cut() {
    check(0..300, Profile::everyday(), |sim| exchange(sim, false));
    check(0..300, rough(), |sim| exchange(sim, false));
}

/// And where the peer's end is no end of the layer, that is told behind the last byte, never as clean.
#[test]
fn a_truncated_stream_is_told_behind_its_last_byte() {
    check(0..200, Profile::everyday(), |sim| exchange(sim, true));
    check(0..200, rough(), |sim| exchange(sim, true));
}

// --- One fault each, in a world where nothing else happens ----------------------------------------

/// A connection: a reactor, its peer, and what each side's layer makes of it.
struct Case {
    sim: Sim,
    reactor: Reactor<Told>,
    peer: Peer,
    theirs: Toy,
}

type OnData = Box<dyn FnMut(&mut Conn<'_>, &mut Input<'_>) + Send>;

/// Does what it is told, and keeps how each connection ended.
struct Told {
    on_data: OnData,
    closed: Vec<Closed>,
    /// Calls of `on_data`.
    calls: usize,
    buffered: usize,
}

impl Handler for Told {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        self.buffered = conn.cx().buffered();
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        self.calls += 1;
        (self.on_data)(conn, input);
        Ok(())
    }

    fn on_eof(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, (): (), closed: Closed) {
        self.closed.push(closed);
    }
}

impl Case {
    fn new(
        profile: Profile,
        config: Config,
        on_data: impl FnMut(&mut Conn<'_>, &mut Input<'_>) + Send + 'static,
    ) -> Self {
        let sim = Sim::new(1, profile);
        let on_data = Box::new(on_data);
        let told = Told { on_data, closed: Vec::new(), calls: 0, buffered: 0 };
        let mut reactor = sim.reactor(told, config).unwrap();
        reactor.listen(Listen::from(SERVER).layer(|_| Ok(Toy::server(OURS)))).unwrap();
        let (peer, theirs) = Self::shake(&sim);
        Case { sim, reactor, peer, theirs }
    }

    /// One more peer, which has said its hello.
    fn shake(sim: &Sim) -> (Peer, Toy) {
        let peer = sim.connect(SERVER);
        let (mut toy, mut wire, mut hello) = (Toy::new(THEIRS), Vec::new(), Vec::new());
        let _ = toy.receive(&mut [], &mut Vec::new(), &mut wire).unwrap();
        record(b'H', &[OURS], &mut hello);
        let _ = toy.receive(&mut hello, &mut Vec::new(), &mut Vec::new()).unwrap();
        peer.send(&wire);
        (peer, toy)
    }

    fn say(&mut self, plain: &[u8]) {
        let mut wire = Vec::new();
        self.theirs.send(plain, &mut wire).unwrap();
        self.peer.send(&wire);
    }

    fn run(&mut self) -> &Told {
        self.sim.run_until_idle(&mut self.reactor).unwrap();
        self.reactor.handler()
    }

    fn wait(&mut self, time: Duration) -> &Told {
        self.sim.advance(&mut self.reactor, time).unwrap();
        self.run()
    }
}

/// A kernel that takes a few bytes, of a peer that does not read.
fn narrow(bytes: usize) -> Profile {
    Profile::calm().buffer(bytes..=bytes)
}

/// "What follows in the stream is not looked at", behind a close of ours neither: it is no failure.
#[test]
fn what_follows_the_peers_end_is_not_lent_to_the_layer_that_is_closing() {
    let mut case = Case::new(Profile::calm(), Config::default(), |conn, input| {
        input.take_all();
        conn.close();
    });
    case.say(b"x");
    let mut wire = Vec::new();
    record(b'E', &[], &mut wire);
    case.peer.send(&wire);
    case.run();
    case.peer.send(b"?? none of the protocol");
    case.peer.finish();
    let told = case.run();
    assert!(told.closed[0].clean, "{}", told.closed[0]);
}

/// A layer that answers each byte.
#[derive(Debug)]
struct Answers;

impl Layer for Answers {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> io::Result<wouldblock::Received> {
        plain.extend_from_slice(bytes);
        wire.extend(bytes.iter().map(|_| b'+'));
        Ok(wouldblock::Received::consumed(bytes.len()))
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        wire.extend_from_slice(plain);
        Ok(())
    }

    fn end(&mut self, wire: &mut Vec<u8>) {
        wire.push(b'.');
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn has_end(&self) -> bool {
        false
    }
}

/// Promise 2: our end was sent, so what the layer would answer to what still comes has no place;
/// the write of it would fail, and the peer lose what it had been sent.
#[test]
fn what_comes_behind_our_end_is_not_answered_by_the_layer() {
    let mut case = Case::new(Profile::calm(), Config::default(), |conn, input| {
        input.take_all();
        conn.send("bye");
        conn.close();
    });
    case.reactor.listen(Listen::from("10.0.0.1:8888").layer(|_| Ok(Answers))).unwrap();
    let peer = case.sim.connect("10.0.0.1:8888");
    peer.send(b"a");
    case.run();
    peer.send(b"bcd");
    peer.finish();
    let told = case.run();
    assert!(told.closed[0].clean, "{}", told.closed[0]);
    assert_eq!(peer.recv(), b"+bye.");
}

/// Promise 5: what the running callback has sent comes on top of what is queued below the layer.
#[test]
fn messages_rest_for_what_waits_below_and_what_is_sent_together() {
    let config = Config::default().read_buffer(1000);
    let config = config.output_low(100).output_high(200).output_max(100_000);
    let mut case = Case::new(narrow(8), config, |conn, input| match input.line() {
        Some(b"a") => conn.send([b'.'; 80]),
        Some(_) => {
            conn.send([b'.'; 150]);
            assert!(conn.queued() >= 200, "{} are queued", conn.queued());
            assert_eq!(input.line(), None, "{} are queued", conn.queued());
        }
        None => {}
    });
    case.peer.stop_reading();
    case.say(b"a\n");
    case.run();
    case.say(b"b\nc\n");
    assert_eq!(case.run().calls, 2);
}

/// `on_data` comes without new bytes only where something has changed: what another sends is none.
#[test]
fn what_others_send_offers_no_input_again() {
    let mut first = None;
    let mut case = Case::new(Profile::calm(), Config::default(), move |conn, input| {
        if input.bytes() == b"other" {
            input.take_all();
            let first = first.unwrap();
            conn.cx().conn(first).unwrap().send("to the first");
        } else {
            first = Some(conn.id());
        }
    });
    case.say(b"left");
    assert_eq!(case.run().calls, 1);
    (case.peer, case.theirs) = Case::shake(&case.sim);
    case.say(b"other");
    assert_eq!(case.run().calls, 2, "what was left is offered again");
}

/// Promise 4: one large send is bounded as many small ones are.
#[test]
fn one_send_beyond_output_max_ends_the_connection() {
    let config = Config::default().output_low(500).output_high(4000).output_max(5000);
    let config = config.read_buffer(1000);
    let mut case = Case::new(narrow(100), config, |conn, input| {
        input.take_all();
        conn.send(vec![7; 20_000]);
    });
    case.peer.stop_reading();
    case.say(b"x");
    let told = case.run();
    let [closed] = &told.closed[..] else { panic!("20,000 bytes are queued") };
    assert!(matches!(closed.reason, CloseReason::OutputLimit), "{closed}");
    assert_eq!(closed.unsent, 20_000, "{closed}");
}

/// But that a layer adds to what was sent ends no connection whose handler keeps within the limit.
#[test]
fn a_sender_within_output_max_is_not_ended_for_what_its_layer_adds() {
    let config = Config::default().output_low(500).output_high(4000).output_max(5000);
    let config = config.read_buffer(1000);
    let mut case = Case::new(narrow(100), config, |conn, input| {
        input.take_all();
        conn.send(vec![7; 5090]);
        assert!(conn.is_open() && conn.queued() > 5000, "{} are queued", conn.queued());
    });
    case.peer.stop_reading();
    case.say(b"x");
    assert!(case.run().closed.is_empty());
}

/// So it is where there is no limit at all.
#[test]
fn what_a_layer_adds_passes_no_limit_of_all_there_is() {
    let mut case =
        Case::new(narrow(100), Config::default().output_max(usize::MAX), |conn, input| {
            input.take_all();
            conn.send(vec![7; 5090]);
            assert!(conn.is_open() && conn.queued() > 5000, "{} are queued", conn.queued());
        });
    case.peer.stop_reading();
    case.say(b"x");
    assert!(case.run().closed.is_empty());
}

/// Promise 2: a client for which its listener makes no layer sees a reset, and no end that looks
/// like an answer.
#[test]
fn a_client_without_its_layer_is_reset() {
    let mut case = Case::new(Profile::calm(), Config::default(), |_, _| {});
    let none =
        Listen::from("10.0.0.1:8888").layer(|_| Err::<Toy, _>(io::Error::other("as planned")));
    case.reactor.listen(none).unwrap();
    let peer = case.sim.connect("10.0.0.1:8888");
    case.run();
    assert!(peer.is_reset() && case.reactor.stats().refused == 1);
}

/// Promise 4: what a layer made is owed from then on: here the kernel is full to the last byte, and
/// takes none of it.
#[test]
fn what_a_layer_made_stalls_from_when_it_is_owed() {
    const SECOND: Duration = Duration::from_secs(1);
    let filled = |len: u16| {
        let config = Config::default().write_stall(50 * SECOND);
        let mut case = Case::new(narrow(100), config, |conn, input| {
            if let [high, low] = *input.take_all() {
                conn.send(vec![7; u16::from_be_bytes([high, low]).into()]);
            }
        });
        case.peer.stop_reading();
        case.say(&len.to_be_bytes());
        case.wait(SECOND);
        case
    };
    let queued = |case: &mut Case| {
        let mut cx = case.reactor.service(0);
        let id = cx.connections()[0];
        cx.conn(id).unwrap().queued()
    };
    let most = (1..1000).find(|len| queued(&mut filled(*len)) > 0).unwrap() - 1;
    let mut case = filled(most);
    case.wait(60 * SECOND);
    case.say(&1_u16.to_be_bytes());
    case.wait(20 * SECOND);
    assert!(queued(&mut case) > 0, "it has stalled for 20 s of 50");
    case.wait(40 * SECOND);
    assert_eq!(case.reactor.stats().closed.write_stall, 1);
}

/// Promise 4: a record that waits is an entry in a list, and that is counted.
#[test]
fn the_records_that_wait_are_counted() {
    let mut case = Case::new(narrow(100), Config::default(), |conn, input| {
        conn.auto_pause(false);
        conn.send(&input.take_all()[..1]);
    });
    case.peer.stop_reading();
    for _ in 0..200 {
        case.say(b"x");
        case.run();
    }
    let mut cx = case.reactor.service(0);
    let id = cx.connections()[0];
    let (queued, buffered) = (cx.conn(id).unwrap().queued(), cx.buffered());
    assert!(buffered > queued + 1000, "{buffered} bytes for {queued} queued ones");
}

/// An empty piece of the input is nothing: it once was a place in it, which the next callback had not.
#[test]
fn an_empty_piece_of_the_input_leaves_nothing_behind() {
    let mut case = Case::new(Profile::calm(), Config::default(), |conn, input| {
        let all = input.take_all();
        conn.send(&all[all.len()..]);
    });
    case.say(b"abc");
    case.run();
    // Its `on_open`, without input, asks the context.
    let _second = Case::shake(&case.sim);
    case.run();
}

/// Promise 7: the first cause stays, also where the input that came before is too much.
#[test]
fn a_layer_that_fails_behind_too_much_input_is_the_reason() {
    let config = Config::default().input_max(20);
    let mut case = Case::new(Profile::calm(), config, |_, _| {});
    case.run();
    let mut wire = Vec::new();
    case.theirs.send(&[b'.'; 30], &mut wire).unwrap();
    record(b'?', b"", &mut wire);
    case.peer.send(&wire);
    case.peer.finish();
    let told = case.run();
    assert!(matches!(told.closed[0].reason, CloseReason::Layer(_)), "{}", told.closed[0]);
}

/// Promise 6: a handler that has paused may read on what came before its layer failed, until the
/// first deadline; and no turn is taken for that meanwhile, nor after it.
#[test]
fn a_paused_connection_whose_layer_has_failed_ends_when_it_is_idle() {
    let config = Config::default().idle(Some(Duration::from_millis(50)));
    let mut case = Case::new(Profile::calm(), config, |conn, _| conn.pause());
    case.run();
    let mut wire = Vec::new();
    case.theirs.send(b"unread", &mut wire).unwrap();
    record(b'?', b"", &mut wire);
    case.peer.send(&wire);
    case.wait(Duration::from_millis(200));
    let turns = case.reactor.stats().turns;
    assert!(turns < 100, "{turns} turns");
    assert!(case.peer.is_ended());
    let told = case.wait(Duration::from_secs(6));
    assert!(matches!(told.closed[0].reason, CloseReason::Layer(_)), "{}", told.closed[0]);
}

/// Promise 4: so is one behind which there is input, which rests until the alert is read; however
/// long the linger is.
#[test]
fn an_alert_that_is_not_read_stalls_with_input_left() {
    let limits = Config::default().output_low(1).output_high(2).linger(Duration::from_secs(60));
    let config = limits.write_stall(Duration::from_millis(10));
    let mut case = Case::new(narrow(14), config, |_, input| {
        input.line();
    });
    case.peer.stop_reading();
    case.run();
    let mut wire = Vec::new();
    case.theirs.send(b"one\ntwo\n", &mut wire).unwrap();
    record(b'?', b"", &mut wire);
    case.peer.send(&wire);
    let told = case.wait(Duration::from_secs(1));
    assert_eq!(told.closed.len(), 1, "it waits for longer");
    assert!(matches!(told.closed[0].reason, CloseReason::Layer(_)), "{}", told.closed[0]);
}

/// Promise 6: a connection whose peer has ended its layer, but not its stream, does not stop a shutdown.
#[test]
fn a_shutdown_does_not_wait_for_what_follows_the_peers_end() {
    let mut case = Case::new(Profile::calm(), Config::default(), |_, input| {
        input.take_all();
    });
    case.say(b"x");
    let mut wire = Vec::new();
    record(b'E', &[], &mut wire);
    case.peer.send(&wire);
    case.run();
    case.reactor.shutdown();
    case.run();
    assert!(case.peer.is_ended(), "it waits");
}

/// Promise 4: an alert that the peer does not read is owed for `write_stall`, as anything is.
#[test]
fn an_alert_that_is_not_read_stalls() {
    let config = Config::default().write_stall(Duration::from_millis(10));
    let mut case = Case::new(narrow(4), config, |_, input| {
        input.take_all();
    });
    case.peer.stop_reading();
    case.say(b"x");
    case.run();
    case.peer.send(b"?\0\0");
    case.run();
    let told = case.wait(Duration::from_millis(100));
    assert_eq!(told.closed.len(), 1, "it waits for longer");
}

/// Promise 4: where nothing is under way there is no buffer, nor what was allocated to count what
/// went through.
#[test]
fn an_idle_connection_with_a_layer_holds_nothing() {
    let mut case = Case::new(Profile::calm(), Config::default(), |conn, input| {
        conn.send(input.take_all());
    });
    for _ in 0..20 {
        case.say(&[b'.'; 100]);
    }
    case.run();
    let _second = Case::shake(&case.sim);
    assert_eq!(case.run().buffered, 0);
}

/// Promise 4: what is left behind a complete record is of the next one, and is given a window of its own.
#[test]
fn the_rate_of_a_record_is_judged_from_its_own_beginning() {
    let config = Config::default().min_rate(50, Duration::from_secs(10));
    let mut case = Case::new(Profile::calm(), config, |_, input| {
        input.take_all();
    });
    let mut wire = Vec::new();
    case.theirs.send(b"one", &mut wire).unwrap();
    let second = wire.len();
    case.theirs.send(b"two", &mut wire).unwrap();
    case.run();
    // The first record takes nine seconds, and with its end the second begins.
    case.peer.send(&wire[..1]);
    case.wait(Duration::from_secs(9));
    case.peer.send(&wire[1..=second]);
    case.wait(Duration::from_secs(9));
    assert!(!case.peer.is_ended());
    case.wait(Duration::from_secs(2));
    assert!(case.peer.is_ended());
    case.peer.close();
    assert!(matches!(case.run().closed[..], [Closed { reason: CloseReason::TooSlow, .. }]));
}

/// A decoder of a user's own, which reads bytes: one is a message.
#[derive(Clone)]
struct Letters;

impl Decode for Letters {
    type Message<'a> = u8;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<u8>, MessageError> {
        let letter = input.bytes().first().copied();
        input.consume(usize::from(letter.is_some()));
        Ok(letter)
    }
}

/// Goes on behind a layer at a `U`.
#[derive(Default)]
struct Upgrades {
    told: Vec<u8>,
}

impl Handler for Upgrades {
    type Session = ();

    fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        Ok(())
    }
}

impl Messages<Letters> for Upgrades {
    fn on_message(&mut self, conn: &mut Conn<'_>, (): &mut (), letter: u8) -> io::Result<()> {
        self.told.push(letter);
        if letter == b'U' {
            conn.upgrade(Toy::server(OURS));
        }
        Ok(())
    }
}

/// Promise 2, and what a client slips in behind its STARTTLS: in the clear it is no message.
#[test]
fn a_decoder_that_reads_bytes_is_not_shown_what_is_for_the_layer() {
    check(0..100, rough(), |sim| {
        let mut reactor = sim.reactor(framed(Letters, Upgrades::default()), Config::default())?;
        reactor.listen(SERVER)?;
        let peer = sim.connect(SERVER);
        let mut wire = b"aU".to_vec();
        record(b'H', &[THEIRS], &mut wire);
        record(b'D', &[b'b' ^ THEIRS], &mut wire);
        peer.send(wire);
        sim.run_until_idle(&mut reactor)?;
        let told = &reactor.handler().told;
        assert_eq!(told, b"aUb", "{}", String::from_utf8_lossy(told));
        Ok(())
    });
}
