//! A layer in simulated worlds: every way to cut, hold up and shuffle what a peer sends through it, and what
//! goes back. What the handler sees is what was sent, to the last byte, in one order of callbacks.
//!
//! Needs the feature: `cargo test --features sim --test layers_sim`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io;
use std::time::Duration;

use wouldblock::sim::{Peer, Profile, Sim, check};
use wouldblock::{
    CloseReason, Closed, Config, Conn, ConnId, Connect, Context, Handler, Input, Layer, Listen,
    Origin,
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

/// Promises 1 to 3 and 5: whatever the network and the kernel do to what a layer makes, both sides get what was
/// sent, whole, and both ends are told.
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
