//! Headers in simulated worlds: cut at every byte, held up, and by a peer that ends or resets in
//! between. What the handler sees is the client's address and the client's bytes, or nothing at
//! all.
//!
//! Needs the simulator: `cargo test -p wouldblock-proxy-protocol --features wouldblock/sim --test
//! simulated`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io;
use std::time::Duration;

use wouldblock::sim::{Failure, Profile, Sim, check};
use wouldblock::{
    Address, CloseReason, Closed, Config, Conn, ConnId, Connect, Context, Handler, Input, Listen,
    Origin,
};
use wouldblock_proxy_protocol::{Accept, Header, Proxied};

const SERVER: &str = "10.0.0.1:7777";
const PROXY: &str = "10.1.0.2:4000";
const CLIENT: &str = "192.0.2.1:1234";

fn headers() -> [Vec<u8>; 3] {
    let (from, to) = (|| CLIENT.parse().unwrap(), || "198.51.100.2:443".parse().unwrap());
    let fields = Header::v2(from(), to()).authority("example.com").unique_id([7; 100]);
    [Header::v1(from(), to()), Header::v2(from(), to()), fields]
        .map(|header| header.encode().unwrap())
}

/// Echoes, and keeps what it was told.
#[derive(Default)]
struct Echo {
    /// Where it connects to with a header.
    to: Option<Header>,
    opened: Vec<Address>,
    closed: Vec<Closed>,
}

impl Handler for Echo {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        if let Some(header) = &self.to {
            cx.connect(Connect::from(SERVER).layer(header.layer()?), 0)?;
        }
        Ok(())
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        let peer = conn.peer_addr()?;
        let told = conn.layer::<Proxied>().and_then(Proxied::source);
        assert!(told.is_none_or(|told| Address::from(told) == peer));
        self.opened.push(peer);
        if self.to.is_some() {
            conn.send("hello");
        }
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        conn.send(input.take_all());
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, (): (), closed: Closed) {
        self.closed.push(closed);
    }
}

fn listen() -> Listen {
    let accept = Accept::trusting(["10.1.0.0/16"]).unwrap();
    Listen::from(SERVER).layer(accept.layer())
}

/// A rough world in which each connection comes through.
fn rough() -> Profile {
    Profile::rough().accept_error(0).watch_error(0)
}

/// Sends a header, cut where the seed says, and what a client says behind it, a second header among that.
fn exchange(sim: &Sim) -> Result<(), Failure> {
    let mut reactor = sim.reactor(Echo::default(), Config::default())?;
    reactor.listen(listen())?;
    let headers = headers();
    let seed = usize::try_from(sim.seed()).unwrap();
    let header = &headers[seed % headers.len()];
    let said = [header, &b"hello"[..]].concat();
    let peer = sim.connect_from(PROXY, SERVER);
    let stream = [header, &said[..]].concat();
    let (first, rest) = stream.split_at(seed / headers.len() % (header.len() + 6));
    peer.send(first);
    peer.wait(Duration::from_millis(5));
    peer.send(rest);
    peer.expect(&said);
    peer.finish();
    peer.expect_end();
    sim.run_until_idle(&mut reactor)?;
    let echo = reactor.handler();
    let told = matches!(&echo.opened[..], [client] if *client == CLIENT.parse().unwrap());
    let clean =
        matches!(&echo.closed[..], [Closed { reason: CloseReason::PeerEnd, clean: true, .. }]);
    if !told || !clean {
        return Err(sim.failure(format!("{:?}, {:?}", echo.opened, echo.closed)));
    }
    Ok(())
}

/// Trap 55: a header is cut at each of its bytes by a pause, and anywhere by the network.
#[test]
fn a_header_may_be_cut_at_every_byte() {
    // 157 bytes is the longest header.
    check(0..3 * 170, Profile::everyday(), exchange);
    check(0..3 * 170, rough(), exchange);
}

/// Sends a part of a header and ends, resets or falls silent: no callback tells of it, and it is counted.
fn half(sim: &Sim) -> Result<(), Failure> {
    let mut reactor = sim.reactor(Echo::default(), Config::default())?;
    reactor.listen(listen())?;
    let headers = headers();
    let seed = usize::try_from(sim.seed()).unwrap();
    let header = &headers[seed % 3];
    let peer = sim.connect_from(PROXY, SERVER);
    peer.send(&header[..seed / 3 % header.len()]);
    match seed % 4 {
        0 => peer.finish(),
        1 => peer.reset(),
        2 => {}
        // What ends no line as it must. In version 2 it may be a part of an address.
        _ => peer.send(if header.starts_with(b"P") { &b"\0\n"[..] } else { b"" }),
    }
    sim.run_until_idle(&mut reactor)?;
    // `Config::handshake`.
    sim.advance(&mut reactor, Duration::from_secs(11))?;
    let (echo, stats) = (reactor.handler(), reactor.stats());
    let untold = echo.opened.is_empty() && echo.closed.is_empty();
    // A reset may be there before the accept.
    let counted =
        stats.handshakes_failed == stats.accepted && (seed % 4 == 1 || stats.accepted == 1);
    if !untold || !counted {
        return Err(sim.failure(format!("{:?}, {stats:?}", echo.opened)));
    }
    Ok(())
}

#[test]
fn half_a_header_is_told_to_no_handler() {
    check(0..3 * 170, Profile::everyday(), half);
    check(0..3 * 170, rough(), half);
}

/// Peers inside and outside the trusted networks, each with a header: one is the client, the other
/// is reset.
#[test]
fn a_header_is_believed_of_trusted_peers_only() {
    check(0..200, Profile::everyday(), |sim| {
        let mut reactor = sim.reactor(Echo::default(), Config::default())?;
        reactor.listen(listen())?;
        let peers = [PROXY, "10.2.0.2:4000"].map(|from| sim.connect_from(from, SERVER));
        for peer in &peers {
            peer.send([&headers()[0], &b"hello"[..]].concat());
        }
        peers[0].expect("hello");
        peers[0].finish();
        peers[0].expect_end();
        peers[1].expect_reset();
        sim.run_until_idle(&mut reactor)?;
        assert_eq!(reactor.handler().opened, [CLIENT.parse().unwrap()]);
        assert_eq!((reactor.stats().refused, reactor.stats().accepted), (1, 1));
        Ok(())
    });
}

/// A connect sends its header before the rest, whatever the kernel takes of it at once; and
/// `unsent` counts the handler's bytes, not those of a header.
#[test]
fn a_connect_sends_its_header_first_and_counts_it_to_nobody() {
    let send = |sim: &Sim| {
        let header = Header::v2(CLIENT.parse().unwrap(), "198.51.100.2:443".parse().unwrap());
        // Longer than what some kernels of the simulation take at once.
        let header = header.custom(0xe0, [7; 4000]);
        let echo = Echo { to: Some(header.clone()), ..Echo::default() };
        let mut reactor = sim.reactor(echo, Config::default())?;
        let peer = sim.serve(SERVER);
        let cuts = sim.seed().is_multiple_of(3);
        if cuts {
            peer.stop_reading();
            peer.wait(Duration::from_millis(20));
            peer.reset();
        } else {
            peer.expect([&header.encode().unwrap(), &b"hello"[..]].concat());
            peer.finish();
            peer.expect_end();
        }
        sim.run_until_idle(&mut reactor)?;
        match &reactor.handler().closed[..] {
            [closed] if cuts && closed.unsent <= 5 && !closed.clean => Ok(()),
            [closed] if !cuts && closed.clean => Ok(()),
            [] if cuts => Ok(()),
            closed => Err(sim.failure(format!("{closed:?}"))),
        }
    };
    check(0..1000, Profile::everyday(), send);
    check(0..1000, rough(), send);
}
