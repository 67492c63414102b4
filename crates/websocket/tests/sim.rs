//! The same handler in simulated worlds: requests and messages cut anywhere, writes cut short,
//! peers that read slowly, that reset, that vanish. What comes back is what was sent, to the last
//! byte.
//!
//! Needs the feature: `cargo test -p wouldblock-websocket --features sim --test sim`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]
#![allow(clippy::cast_possible_truncation, reason = "test sizes are small")]

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use wouldblock::sim::{Failure, Peer, Profile, Sim, check};
use wouldblock::{Config, ConnId, Context, Reactor};
use wouldblock_websocket::{Closed, Deflate, Endpoint, Head, Message, WebSocket, Ws, code};

const SERVER: &str = "10.0.0.1:9001";
const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Echoes, and counts the callbacks of each WebSocket.
#[derive(Default)]
struct Echo {
    /// How many messages came on those that are open.
    open: BTreeMap<ConnId, u64>,
    /// How those ended that are not.
    closed: Vec<(u16, bool, u64)>,
}

impl Endpoint for Echo {
    type Session = ();

    fn on_open(&mut self, ws: &mut Ws<'_>, request: &Head<'_>) -> io::Result<()> {
        assert_eq!(request.path(), "/chat");
        assert!(self.open.insert(ws.id(), 0).is_none(), "opened twice");
        Ok(())
    }

    fn on_message(&mut self, ws: &mut Ws<'_>, (): &mut (), message: Message<'_>) -> io::Result<()> {
        *self.open.get_mut(&ws.id()).expect("open") += 1;
        match message {
            Message::Text("pause") => ws.conn().pause(),
            Message::Text("leave") => {
                ws.send(&vec![0; 3 << 20]);
                ws.close(code::NORMAL, "");
            }
            _ => ws.send(message),
        }
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, id: ConnId, (): (), closed: Closed) {
        let messages = self.open.remove(&id).expect("closed twice, or never open");
        self.closed.push((closed.code, closed.clean, messages));
    }
}

/// Draws by a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1234_5678_9ABC_DEF1);
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

/// A frame: of a client with a mask.
fn frame(first: u8, payload: &[u8], is_client: bool) -> Vec<u8> {
    let bit = if is_client { 0x80 } else { 0 };
    let mut frame = match payload.len() {
        n @ 0..126 => vec![first, bit | n as u8],
        n => [&[first, bit | 0x7E][..], &(n as u16).to_be_bytes()].concat(),
    };
    let mask = if is_client { [3, 200, 0, 77] } else { [0; 4] };
    frame.extend_from_slice(&mask[..if is_client { 4 } else { 0 }]);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Sends messages, whole and in fragments with pings between them, and says what must come back.
fn talk(peer: &Peer, dice: &mut Dice, messages: usize) {
    for n in 0..messages {
        let longest = [10, 300, 20_000][dice.below(3)];
        let len = dice.below(longest);
        let message: Vec<u8> = (0..len).map(|at| b'a' + ((at + n) % 26) as u8).collect();
        let opcode = 1 + dice.below(2) as u8;
        let mut rest = &message[..];
        let mut first = opcode;
        while dice.below(3) == 0 {
            let (fragment, behind) = rest.split_at(dice.below(rest.len() + 1));
            peer.send(frame(first, fragment, true));
            peer.send(frame(0x89, b"there?", true));
            peer.expect(frame(0x8A, b"there?", false));
            (rest, first) = (behind, 0);
        }
        peer.send(frame(0x80 | first, rest, true));
        peer.expect(frame(0x80 | opcode, &message, false));
    }
}

/// Runs a world of one reactor, and hands its endpoint over for the last look.
fn world(sim: &Sim, ping: Option<Duration>, act: impl FnOnce(&Sim)) -> Result<Echo, Failure> {
    let echo = WebSocket::new(Echo::default()).deflate(Deflate::new()).ping(ping);
    let mut reactor: Reactor<_> = sim.reactor(echo, Config::default())?;
    reactor.listen(SERVER).unwrap();
    act(sim);
    // Long enough for a ping, and for its answer to be missed.
    sim.advance(&mut reactor, Duration::from_secs(120))?;
    sim.run_until_idle(&mut reactor)?;
    let echo = reactor.into_handler().into_inner();
    assert!(echo.open.is_empty(), "not told of its end");
    Ok(echo)
}

#[test]
fn messages_come_back_whole_however_the_network_cuts_them() {
    check(0..100, Profile::default(), |sim| {
        let mut dice = Dice(sim.seed());
        let clients = 1 + dice.below(4);
        let echo = world(sim, None, |sim| {
            for _ in 0..clients {
                let peer = sim.connect(SERVER);
                peer.send(REQUEST);
                peer.expect(ANSWER);
                if dice.below(3) == 0 {
                    peer.read_slowly(1 + dice.below(3000), Duration::from_millis(20));
                }
                talk(&peer, &mut dice, 10);
                peer.resume_reading();
                peer.send(frame(0x88, b"\x03\xE8bye", true));
                peer.expect(frame(0x88, b"\x03\xE8", false));
                peer.expect_end();
                peer.finish();
            }
        })?;
        assert_eq!(echo.closed, vec![(1000, true, 10); clients]);
        Ok(())
    });
}

/// Promise 6: a silence of no time is one of a millisecond; a peer that is slow to read makes the
/// server look no more often.
#[test]
fn a_silence_of_no_time_does_not_make_the_server_spin() {
    let sim = Sim::new(0, Profile::calm());
    let echo = WebSocket::new(Echo::default()).ping(Some(Duration::ZERO));
    let mut reactor = sim.reactor(echo, Config::default()).unwrap();
    reactor.listen(SERVER).unwrap();
    let peer = sim.connect(SERVER);
    peer.stop_reading();
    let much = frame(0x82, &vec![b'x'; 50_000], true).repeat(20);
    peer.send([REQUEST.as_bytes(), &much].concat());
    sim.advance(&mut reactor, Duration::from_millis(10)).unwrap();
    let before = reactor.stats().turns;
    sim.advance(&mut reactor, Duration::from_millis(10)).unwrap();
    let turns = reactor.stats().turns - before;
    assert!((5..100).contains(&turns), "{turns} turns in 10 ms");
}

/// However a peer leaves, its WebSocket ends once; and a server that waits for one that is silent
/// does so no longer than it was told.
#[test]
fn each_websocket_ends_once_however_its_peer_leaves() {
    check(1000..1100, Profile::default(), |sim| {
        let mut dice = Dice(sim.seed());
        let leaves = dice.below(4);
        let echo = world(sim, Some(Duration::from_secs(30)), |sim| {
            let peer = sim.connect(SERVER);
            let cut = dice.below(REQUEST.len());
            peer.send(&REQUEST[..cut]);
            peer.send(&REQUEST[cut..]);
            peer.expect(ANSWER);
            talk(&peer, &mut dice, 3);
            match leaves {
                0 => peer.reset(),
                // In the middle of a frame, or without one.
                1 => {
                    peer.send(&frame(0x81, b"half", true)[..dice.below(9)]);
                    peer.finish();
                    peer.expect_end();
                }
                // Silent: pinged, and dropped by a reset.
                2 => {
                    peer.expect(frame(0x89, b"", false));
                    peer.expect_reset();
                }
                _ => {
                    peer.send(frame(0x83, b"", true));
                    peer.expect(frame(0x88, b"\x03\xEAa frame with a reserved opcode", false));
                    peer.expect_end();
                    peer.finish();
                }
            }
        })?;
        let code = if leaves == 3 { 1002 } else { 1006 };
        assert_eq!(echo.closed, vec![(code, false, 3)]);
        Ok(())
    });
}

/// What it sends is not read, its pongs included: so it is not asked whether it is there.
#[test]
fn a_peer_that_was_paused_is_not_dropped_for_its_silence() {
    check(0..20, Profile::default(), |sim| {
        let mut reactor = sim.reactor(WebSocket::new(Echo::default()), Config::default())?;
        reactor.listen(SERVER).unwrap();
        let peer = sim.connect(SERVER);
        peer.send([REQUEST.as_bytes(), &frame(0x81, b"pause", true)].concat());
        peer.expect(ANSWER);
        sim.advance(&mut reactor, Duration::from_secs(600))?;
        assert_eq!(reactor.handler().open.len(), 1, "{:?}", reactor.handler().closed);
        Ok(())
    });
}

/// It takes what was sent before the close, but so slowly that it would take an hour.
#[test]
fn a_close_is_waited_for_so_long_and_no_longer_however_slowly_a_peer_reads() {
    check(0..2, Profile::default(), |sim| {
        let echo = WebSocket::new(Echo::default()).close_wait(Duration::from_secs(1));
        let mut reactor = sim.reactor(echo, Config::default())?;
        reactor.listen(SERVER).unwrap();
        let peer = sim.connect(SERVER);
        peer.send(REQUEST);
        peer.expect(ANSWER);
        peer.read_slowly(1000, Duration::from_secs(1));
        peer.send(frame(0x81, b"leave", true));
        sim.advance(&mut reactor, Duration::from_secs(30))?;
        assert_eq!(reactor.handler().open.len(), 1, "{:?}", reactor.handler().closed);
        sim.advance(&mut reactor, Duration::from_secs(60))?;
        assert_eq!(reactor.handler().closed, [(1006, false, 1)]);
        Ok(())
    });
}
