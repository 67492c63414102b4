//! How a user tests a handler in simulated worlds: the documentation's way, from outside the crate.
//!
//! Needs the feature: `cargo test --features sim --test sim`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use wouldblock::sim::{Failure, Profile, Sim, check};
use wouldblock::{Config, Conn, ConnId, Context, Handler, Input, Origin};

const SERVER: &str = "10.0.0.1:7777";

/// Answers each frame with the same frame: a length in two bytes, big end first, then so many.
struct Frames {
    /// The bug: what is left of a frame is thrown away when a call brings only a part of it.
    forgets: bool,
}

impl Handler for Frames {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        while let [high, low, ..] = *input.bytes() {
            let len = 2 + usize::from(u16::from_be_bytes([high, low]));
            let Some(frame) = input.take(len) else {
                if self.forgets {
                    input.take_all();
                }
                return Ok(());
            };
            conn.send(frame);
        }
        Ok(())
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    [&len.to_be_bytes(), payload].concat()
}

/// Two frames, one after the other, and the end.
fn exchange(sim: &Sim, handler: Frames) -> Result<(), Failure> {
    let mut reactor = sim.reactor(handler, Config::default())?;
    reactor.listen(SERVER)?;
    let peer = sim.connect(SERVER);
    for payload in [&b"hello"[..], &[7; 300]] {
        peer.send(frame(payload));
        peer.expect(frame(payload));
    }
    peer.finish();
    peer.expect_end();
    sim.run_until_idle(&mut reactor)
}

#[test]
fn a_handler_that_keeps_its_frames_passes() {
    check(0..200, Profile::default(), |sim| exchange(sim, Frames { forgets: false }));
}

#[test]
fn a_handler_that_forgets_half_a_frame_is_caught() {
    let run = || check(0..200, Profile::default(), |sim| exchange(sim, Frames { forgets: true }));
    let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("peer 0 still expects"), "{text}");
    assert!(text.contains("WOULDBLOCK_SEED="), "{text}");
}

/// Tells everybody who comes and goes.
#[derive(Default)]
struct Chat {
    present: Vec<ConnId>,
}

impl Handler for Chat {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        self.present.push(conn.id());
        let text = format!("{} here\n", self.present.len());
        conn.cx().broadcast(text.into());
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), input: &mut Input<'_>) -> io::Result<()> {
        input.take_all();
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, (): (), _: wouldblock::Closed) {
        self.present.retain(|present| *present != id);
        let text = format!("{} here\n", self.present.len());
        cx.broadcast(text.into());
    }
}

#[test]
fn peers_hear_of_each_other_and_of_a_reset() {
    check(0..100, Profile::default(), |sim| {
        let mut reactor = sim.reactor(Chat::default(), Config::default())?;
        reactor.listen(SERVER)?;
        let one = sim.connect(SERVER);
        one.expect("1 here\n");
        sim.run_until_idle(&mut reactor)?;
        let other = sim.connect(SERVER);
        one.expect("2 here\n");
        other.expect("2 here\n");
        other.reset();
        one.expect("1 here\n");
        sim.run_until_idle(&mut reactor)
    });
}

#[test]
fn a_silent_peer_is_closed_after_a_minute_and_one_that_talks_is_not() {
    check(0..100, Profile::default(), |sim| {
        let config = Config::default().idle(Some(Duration::from_secs(60)));
        let mut reactor = sim.reactor(Frames { forgets: false }, config)?;
        reactor.listen(SERVER)?;
        let silent = sim.connect(SERVER);
        let talks = sim.connect(SERVER);
        for _ in 0..10 {
            talks.wait(Duration::from_secs(50));
            talks.send(frame(b"still here"));
            talks.expect(frame(b"still here"));
        }
        sim.advance(&mut reactor, Duration::from_secs(59))?;
        assert!(!silent.is_ended());
        sim.advance(&mut reactor, Duration::from_secs(481))?;
        assert!(silent.is_ended());
        assert!(talks.is_done() && !talks.is_ended());
        Ok(())
    });
}
