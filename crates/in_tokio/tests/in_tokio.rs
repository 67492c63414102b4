//! The promises inside tokio: the reactor's descriptor in an `AsyncFd`, beside tasks of tokio's
//! own. The host below is the one that the guide shows (`docs/guide/other_loops.md`).

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use wouldblock::{Config, Handler, Reactor};

use crate::support::*;

const MS: Duration = Duration::from_millis(1);

/// Serves until shutdown is complete.
async fn host<H: Handler>(reactor: Reactor<H>) -> io::Result<Reactor<H>> {
    // The constructor that follows it is an `unsafe fn`, which this crate's tests forbid. What it asks
    // for is so: the descriptor is one and the same as long as the reactor lives, and we give that away.
    #[allow(deprecated, reason = "see above")]
    let mut reactor = AsyncFd::with_interest(reactor, Interest::READABLE)?;
    loop {
        match reactor.get_ref().next_timeout() {
            // More to do, but other tasks come first.
            Some(Duration::ZERO) => tokio::task::yield_now().await,
            limit => {
                let limit = limit.unwrap_or(Duration::MAX);
                let news = tokio::time::timeout(limit, reactor.readable_mut()).await;
                // Before the turn, not after it: what comes from now on is news again.
                if let Ok(told) = news {
                    told?.clear_ready();
                }
            }
        }
        if !reactor.get_mut().turn(Some(Duration::ZERO))? {
            return Ok(reactor.into_inner());
        }
    }
}

/// Runs it to its end, beside whatever it spawns, on one thread. Bounded from outside: a host that
/// never gives way would keep a timeout inside from coming, too.
#[track_caller]
fn block_on<T: Send + 'static>(all: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let thread = thread::spawn(move || runtime.block_on(all));
    wait_until("tokio has run it to its end", || thread.is_finished());
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn reactor(script: Script, config: Config) -> (Reactor<Script>, SocketAddr) {
    let mut reactor = Reactor::with_config(script, config).unwrap();
    let id = reactor.listen(deep_listener(4096)).unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    (reactor, addr)
}

/// Promises 1 and 2, Trap 9: clients that are tasks of the same thread get everything back, though
/// each answer takes several turns; and then shutdown ends the host.
#[test]
fn clients_in_the_same_thread_are_served() {
    let (reactor, addr) = reactor(echo(), Config::default().read_buffer(KIB));
    let handle = reactor.handle();
    let reactor = block_on(async move {
        // Not `spawn_local`: a reactor may go wherever its handler may.
        let serving = tokio::spawn(host(reactor));
        let clients: Vec<_> = (0..50)
            .map(|n| {
                tokio::spawn(async move {
                    let mut client = TcpStream::connect(addr).await.unwrap();
                    let mut back = vec![0; 5 * KIB];
                    for round in 0..20 {
                        let sent = random(n * 100 + round, back.len());
                        client.write_all(&sent).await.unwrap();
                        client.read_exact(&mut back).await.unwrap();
                        assert_same(&back, &sent);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        handle.shutdown();
        serving.await.unwrap().unwrap()
    });
    assert_eq!(reactor.stats().bytes_out, 50 * 20 * 5 * KIB as u64);
}

/// Promise 1, Trap 14: more is ready than tokio's list holds, and than the reactor's own. In a child
/// for the descriptors.
#[test]
fn a_burst_longer_than_every_list_is_served_in_tokio() {
    child::run("in_tokio::child_a_burst_longer_than_every_list");
}

#[test]
#[ignore = "a child of a_burst_longer_than_every_list_is_served_in_tokio"]
fn child_a_burst_longer_than_every_list() {
    if !child::is_running("in_tokio::child_a_burst_longer_than_every_list") {
        return;
    }
    let room = child::room_for_pairs().min(2500);
    let (mut opened, mut heard) = (0, 0);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let script = echo()
        .on_open(move |_| {
            opened += 1;
            if opened == room {
                tell.send(()).unwrap();
            }
            Ok(())
        })
        .on_data(move |conn, input| {
            heard += input.take_all().len();
            if heard == room {
                conn.cx().shutdown();
            }
            Ok(())
        });
    let (reactor, addr) = reactor(script, Config::default().accepts_per_turn(5000).linger(MS));
    let mut clients: Vec<_> = (0..room).map(|_| connect(addr)).collect();
    block_on(async move {
        let serving = tokio::spawn(host(reactor));
        told.recv().await.unwrap();
        // The host may have gone to sleep or not. It stands still until all have been written.
        for client in &mut clients {
            client.write_all(b"!").unwrap();
        }
        serving.await.unwrap().unwrap();
    });
}

/// Promises 1 and 6, Trap 59: timers come through `next_timeout` and tokio's own timers, never
/// early, and not by going round and round.
#[test]
fn timers_come_in_time_and_without_a_spin() {
    let (tell, told) = mpsc::channel();
    let mut left = 5;
    let script = echo()
        .on_start(|cx| {
            for n in 1..=5 {
                cx.set_timer(MS * 7 * n, 0);
            }
            Ok(())
        })
        .on_timer(move |cx, _| {
            tell.send(cx.now()).unwrap();
            left -= 1;
            if left == 0 {
                cx.shutdown();
            }
        });
    let (reactor, _) = reactor(script, Config::default());
    let reactor = block_on(host(reactor)).unwrap();
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told.len(), 5);
    for (n, at) in (1..).zip(&told) {
        assert!(*at >= MS * 7 * n, "timer {n} is early, at {at:?}");
    }
    // The first turn, one for each timer, the shutdown; tokio may have told of a descriptor that
    // was quiet when it began.
    let turns = reactor.stats().turns;
    assert!(turns <= 10, "{turns} turns");
}

/// Promise 1, Trap 56: each post and the shutdown come through, at whatever moment they are sent.
#[test]
fn no_wake_from_another_thread_is_lost_in_tokio() {
    const ROUNDS: usize = 2000;
    let (reactor, _) = reactor(echo(), Config::default());
    let handle = reactor.handle();
    let other = thread::spawn(move || {
        let (tell, told) = mpsc::channel();
        let mut chance = Chance::new(57);
        for n in 0..ROUNDS {
            let tell = tell.clone();
            handle.post(move |_, _| tell.send(n).unwrap()).unwrap();
            assert_eq!(told.recv_timeout(DEADLINE), Ok(n));
            for _ in 0..chance.below(2000) {
                std::hint::spin_loop();
            }
        }
        handle.shutdown();
    });
    let reactor = block_on(host(reactor)).unwrap();
    other.join().unwrap();
    assert_eq!(reactor.stats().posts, ROUNDS as u64);
}

/// Promise 6: a host that is cancelled while it waits takes the reactor with it: its clients see
/// the end, and its handles are refused.
#[test]
fn a_host_that_is_cancelled_closes_everything() {
    let (reactor, addr) = reactor(echo(), Config::default());
    let handle = reactor.handle();
    block_on(async move {
        let serving = tokio::spawn(host(reactor));
        let mut client = TcpStream::connect(addr).await.unwrap();
        client.write_all(b"word").await.unwrap();
        let mut back = [0; 4];
        client.read_exact(&mut back).await.unwrap();
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        assert_eq!(client.read(&mut back).await.unwrap(), 0);
        assert!(handle.post(|_, _| ()).is_err_and(|refused| refused.is_ended()));
    });
}
