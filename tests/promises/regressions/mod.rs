//! Bugs that were here: for each the smallest test that shows it.

mod adopt_late;
mod backlog_one_more;
mod burst_limit;
mod crossing_drain;
mod drain_same_turn;
mod drain_then_data;
mod lost_offer;
mod panic_timeout;
mod pause_resume;
mod paused_failed;
mod reset_after_end;
mod shutdown_left;
mod shutdown_panic;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use wouldblock::{Config, Reactor};

use crate::support::*;

/// A reactor that the test turns itself, and two clients that are open. The second has said so, and
/// the handler was called with that.
fn two_clients(
    script: Script,
    config: Config,
    connect_second: fn(SocketAddr) -> TcpStream,
) -> (Reactor<Script>, TcpStream, TcpStream) {
    let mut reactor = Reactor::with_config(script, config).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let (one, mut two) = (connect(addr), connect_second(addr));
    two.write_all(b"I am the second").unwrap();
    turns(&mut reactor, 20);
    (reactor, one, two)
}

fn turns(reactor: &mut Reactor<Script>, n: usize) {
    for _ in 0..n {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
}
