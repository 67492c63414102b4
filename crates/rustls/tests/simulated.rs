//! TLS in simulated worlds, whose seconds take no time: limits, `hold` and shutdown while a
//! handshake is under way, cut at each byte of a client's hello.
//!
//! Needs the simulator: `cargo test -p wouldblock-rustls --features wouldblock/sim --test simulated`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io;
use std::time::Duration;

use wouldblock::sim::{Failure, Profile, Sim, check};
use wouldblock::{Config, Conn, ConnId, Connect, Context, Handler, Layer, Listen, Origin, Reactor};
use wouldblock_rustls::{Client, Server, fingerprint};

const SERVER: &str = "10.0.0.1:7777";

fn tls() -> (Server, Client) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let server = Server::builder()
        .certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
        .build()
        .unwrap();
    (server, Client::builder().pin(&fingerprint(made.cert.der())).build().unwrap())
}

/// Connects, if it is told to, and counts what is told.
#[derive(Default)]
struct Counts {
    connect: Option<Connect>,
    opened: usize,
    failed: usize,
}

impl Handler for Counts {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        if let Some(connect) = self.connect.take() {
            let id = cx.connect(connect, 0)?;
            let mut conn = cx.conn(id).unwrap();
            conn.send("hello");
            // Through a shutdown.
            conn.hold(true);
        }
        Ok(())
    }

    fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        self.opened += 1;
        Ok(())
    }

    fn on_connect_failed(&mut self, _: &mut Context, _: ConnId, _: u64, _: io::Error) {
        self.failed += 1;
    }
}

fn strict() -> Config {
    let second = Duration::from_secs(1);
    let config = Config::default().first_byte(Some(second)).idle(Some(second));
    config
        .min_rate(1000, second)
        .handshake(Duration::from_secs(8))
        .shutdown_max(Duration::from_secs(60))
}

/// A peer that says a part of its hello, rests, and says no more.
fn slow_peer(sim: &Sim, server: &Server, client: &Client) -> Result<Reactor<Counts>, Failure> {
    let mut reactor = sim.reactor(Counts::default(), strict())?;
    reactor.listen(Listen::from(SERVER).layer(server.layer()))?;
    let mut hello = Vec::new();
    let mut layer = client.connect("localhost").unwrap();
    let _ = layer.receive(&mut [], &mut Vec::new(), &mut hello).unwrap();
    let cut = usize::try_from(sim.seed()).unwrap() % hello.len();
    let peer = sim.connect(SERVER);
    peer.send(&hello[..cut]);
    peer.wait(Duration::from_secs(4));
    peer.send(&hello[cut..]);
    sim.run_until_idle(&mut reactor)?;
    Ok(reactor)
}

/// `first_byte`, `idle` and `min_rate`, of one second each, do not end a handshake, and its own
/// limit of eight does.
#[test]
fn a_slow_handshake_ends_at_its_own_limit_and_at_no_other() {
    let (server, client) = tls();
    check(0..100, Profile::everyday(), |sim| {
        let mut reactor = slow_peer(sim, &server, &client)?;
        sim.advance(&mut reactor, Duration::from_secs(3))?;
        assert_eq!(reactor.stats().handshakes_failed, 0, "at {:?}", sim.now());
        sim.advance(&mut reactor, Duration::from_secs(3))?;
        let stats = reactor.stats();
        assert_eq!((stats.handshakes_failed, stats.closed.handshake), (1, 1), "at {:?}", sim.now());
        assert_eq!(reactor.handler().opened, 0);
        Ok(())
    });
}

/// A shutdown waits for no peer that rests in its handshake; a connect of ours that is held it lets go on.
#[test]
fn a_shutdown_waits_for_a_handshake_only_if_it_is_held() {
    let (server, client) = tls();
    check(0..100, Profile::everyday(), |sim| {
        let mut reactor = slow_peer(sim, &server, &client)?;
        let began = sim.now();
        reactor.handle().shutdown();
        sim.run_until_idle(&mut reactor)?;
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        assert_eq!(reactor.stats().handshakes_failed, 1, "from {began:?} to {:?}", sim.now());
        Ok(())
    });
    check(0..100, Profile::everyday(), |sim| {
        let silent = sim.serve(SERVER);
        let connect = Connect::from(SERVER).layer(client.connect("localhost").unwrap());
        let counts = Counts { connect: Some(connect), ..Counts::default() };
        let mut reactor = sim.reactor(counts, strict())?;
        sim.run_until_idle(&mut reactor)?;
        assert!(silent.is_connected());
        reactor.handle().shutdown();
        sim.advance(&mut reactor, Duration::from_secs(6))?;
        assert_eq!(reactor.handler().failed, 0);
        // Its own limit.
        sim.advance(&mut reactor, Duration::from_secs(3))?;
        assert_eq!((reactor.handler().failed, reactor.handler().opened), (1, 0));
        Ok(())
    });
}
