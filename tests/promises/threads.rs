//! Posts from threads: each exactly once, none lost, bounded, and no socket starves for them.

use std::collections::HashSet;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wouldblock::{
    CloseReason, Config, Conn, Context, Handle, Handler, Input, Origin, PostError, Reactor,
    handler_fn,
};

use crate::support::*;

/// Promise 3, Traps 16 and 56: eight threads post as fast as they can; each post is handled once, a
/// thread's own in order, and sockets are served meanwhile.
#[test]
fn each_post_is_handled_exactly_once() {
    const THREADS: usize = 8;
    const POSTS: usize = 10_000;
    let server = Server::start(echo(), Config::default().posts_queued(1000));
    let handled: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
    let full = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (handle, handled, full) =
                (server.handle.clone(), Arc::clone(&handled), Arc::clone(&full));
            thread::spawn(move || {
                for n in 0..POSTS {
                    let handled = Arc::clone(&handled);
                    let mut post = Box::new(move |_: &mut Script, _: &mut Context| {
                        handled.lock().unwrap().push((thread, n));
                    });
                    while let Err(refused) = handle.post(post) {
                        assert!(!refused.is_ended());
                        full.fetch_add(1, Ordering::Relaxed);
                        post = refused.into_inner();
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut client = server.connect();
    let mut pings = 0;
    while !threads.iter().all(JoinHandle::is_finished) || pings < 10 {
        ping(&mut client, b"meanwhile");
        pings += 1;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    wait_until("all are handled", || handled.lock().unwrap().len() >= THREADS * POSTS);
    drop(client);
    let stats = server.end();
    assert_eq!(stats.posts, (THREADS * POSTS) as u64);
    let handled = handled.lock().unwrap();
    let mut next = [0; THREADS];
    for (thread, n) in handled.iter() {
        assert_eq!(*n, next[*thread], "of thread {thread}");
        next[*thread] += 1;
    }
    assert_eq!(next, [POSTS; THREADS]);
    println!("{pings} pings, {} times full", full.load(Ordering::Relaxed));
}

/// Posts itself again, for as long as it is accepted.
fn post_again(handle: &Handle<Script>) {
    let again = handle.clone();
    let _ = handle.post(move |_, _| post_again(&again));
}

/// Trap 57: closures that post themselves again without end keep no socket waiting, and no end.
#[test]
fn a_flood_of_posts_starves_nobody() {
    let server = Server::start(echo(), Config::default().posts_queued(10_000));
    let mut client = server.connect();
    for _ in 0..10_000 {
        post_again(&server.handle);
    }
    for n in 0..100_u8 {
        ping(&mut client, &[n]);
    }
    drop(client);
    let stats = server.end();
    assert!(stats.posts > 10_000);
}

/// Promise 1, Trap 56: one post wakes a reactor that waits, each time anew.
#[test]
fn a_post_wakes_a_reactor_that_waits() {
    let server = Server::start(echo(), Config::default());
    for n in 0..2000 {
        let (tell, told) = mpsc::channel();
        server.handle.post(move |_, _| tell.send(n).unwrap()).unwrap();
        assert_eq!(told.recv_timeout(DEADLINE), Ok(n), "a wake was lost");
    }
    server.end();
}

/// Promise 1: the same through a poll that arms sockets again and again meanwhile.
#[test]
fn a_post_is_heard_among_sockets_that_come_and_go() {
    let server = Server::start(echo(), Config::default());
    let (addr, stop) = (server.addr, Arc::new(AtomicBool::new(false)));
    let stops = Arc::clone(&stop);
    let traffic = thread::spawn(move || {
        while !stops.load(Ordering::Relaxed) {
            ping(&mut connect(addr), b"hello");
        }
    });
    for n in 0..500 {
        let (tell, told) = mpsc::channel();
        server.handle.post(move |_, _| tell.send(n).unwrap()).unwrap();
        assert_eq!(told.recv_timeout(DEADLINE), Ok(n), "a wake was lost");
    }
    stop.store(true, Ordering::Relaxed);
    traffic.join().unwrap();
    server.end();
}

/// Promise 4: one more than may wait is given back, and can be posted later.
#[test]
fn a_post_too_many_is_given_back() {
    let (stall, stalled) = stall();
    let server = Server::start(echo(), Config::default().posts_queued(3));
    server.handle.post(move |_, _| stalled.stand_still()).unwrap();
    stall.wait_entered();
    let (tell, told) = mpsc::channel();
    for n in 0..3 {
        let tell = tell.clone();
        server.handle.post(move |_, _| tell.send(n).unwrap()).unwrap();
    }
    let refused = server.handle.post(move |_, _| tell.send(3).unwrap()).unwrap_err();
    assert!(matches!(refused, PostError::Full(_)));
    assert_eq!(refused.to_string(), "too many posted closures wait already");
    stall.release();
    for n in 0..3 {
        assert_eq!(told.recv_timeout(DEADLINE), Ok(n));
    }
    server.handle.post(refused.into_inner()).unwrap();
    assert_eq!(told.recv_timeout(DEADLINE), Ok(3));
    server.end();
}

/// Promise 3: it runs as a callback of its connection, with its session; its error closes.
#[test]
fn a_post_to_a_connection_is_a_callback_of_it() {
    let server = Server::start(echo(), Config::default());
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    let ids = server.record.wait_opens(3);
    for id in ids.iter().rev() {
        let own = *id;
        let post = move |_: &mut Script, conn: &mut Conn<'_>, session: &mut Session| {
            assert_eq!(conn.id(), own);
            assert!(session.is_of(own), "a session was lent to another connection");
            conn.send("from");
            conn.send(" a thread");
            Err(io::Error::other("enough"))
        };
        server.handle.post_to(*id, post).unwrap();
    }
    for client in &mut clients {
        assert_eq!(read_to_end(client), b"from a thread");
    }
    drop(clients);
    for (_, closed) in server.record.wait_closes(3) {
        assert!(
            matches!(&closed.reason, CloseReason::Handler(error) if error.to_string() == "enough")
        );
    }
    let stats = server.end();
    assert_eq!((stats.posts, stats.posts_missed), (3, 0));
}

/// A post that tells that it ran.
fn tells(
    tell: mpsc::Sender<()>,
) -> impl FnOnce(&mut Script, &mut Conn<'_>, &mut Session) -> io::Result<()> + Send {
    move |_, _, _| {
        tell.send(()).unwrap();
        Ok(())
    }
}

/// Trap 16: a connection that is gone, or closing, is not called, nor is the next in its slot.
#[test]
fn a_post_to_a_connection_that_is_gone_is_dropped() {
    let server = Server::start(echo(), Config::default().connections(1));
    let mut client = server.connect();
    ping(&mut client, b"x");
    let id = server.record.opens()[0];
    // Closing: the peer has not ended its side.
    let close = |_: &mut Script, conn: &mut Conn<'_>, _: &mut Session| {
        conn.close();
        Ok(())
    };
    server.handle.post_to(id, close).unwrap();
    let (tell, told) = mpsc::channel::<()>();
    server.handle.post_to(id, tells(tell.clone())).unwrap();
    assert_eq!(read_to_end(&mut client), b"");
    drop(client);
    server.record.wait_close();
    let mut next = server.connect();
    ping(&mut next, b"y");
    server.handle.post_to(id, tells(tell)).unwrap();
    assert_eq!(told.recv_timeout(DEADLINE), Err(mpsc::RecvTimeoutError::Disconnected));
    drop(next);
    let stats = server.end();
    assert_eq!((stats.posts, stats.posts_missed), (1, 2));
}

/// Promise 3: a connection that was adopted in this very turn is open before anybody posts to it.
#[test]
fn a_post_to_one_just_adopted_finds_it_open() {
    let listener = listener();
    let mut client = connect(listener.local_addr().unwrap());
    let (stream, _) = listener.accept().unwrap();
    let mut stream = Some(stream);
    let mut handle = None;
    let script = echo();
    let server = Server::start(script, Config::default());
    handle.replace(server.handle.clone());
    server
        .handle
        .post(move |_, cx| {
            let id = cx.adopt(stream.take().unwrap(), 1).unwrap();
            let posted = handle.take().unwrap().post_to(id, |_, conn, _| {
                conn.send("welcome");
                conn.close();
                Ok(())
            });
            posted.unwrap();
        })
        .unwrap();
    assert_eq!(read_to_end(&mut client), b"welcome");
    drop(client);
    server.end();
}

/// Promise 2: what was accepted before the end runs before `run` returns, in an orderly shutdown,
/// however much it is; what comes after is given back.
#[test]
fn what_was_accepted_runs_before_an_orderly_end() {
    const POSTS: usize = 10_000;
    let (stall, stalled) = stall();
    let server = Server::start(echo(), Config::default());
    let mut client = server.connect();
    ping(&mut client, b"x");
    server.handle.post(move |_, _| stalled.stand_still()).unwrap();
    stall.wait_entered();
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..POSTS {
        let ran = Arc::clone(&ran);
        let count = move |_: &mut Script, _: &mut Context| {
            ran.fetch_add(1, Ordering::Relaxed);
        };
        server.handle.post(count).unwrap();
    }
    let handle = server.handle.clone();
    handle.shutdown();
    stall.release();
    drop(client);
    server.join();
    assert_eq!(ran.load(Ordering::Relaxed), POSTS);
    let refused = handle.post(|_, _| ()).unwrap_err();
    assert!(matches!(refused, PostError::Ended(_)));
    assert_eq!(refused.to_string(), "the reactor has ended");
}

/// The hard way does not: what waits is dropped, and its owner can tell.
#[test]
fn what_waits_at_a_hard_end_is_dropped() {
    let (stall, stalled) = stall();
    let server = Server::start(echo(), Config::default());
    server.handle.post(move |_, _| stalled.stand_still()).unwrap();
    stall.wait_entered();
    let (tell, told) = mpsc::channel();
    // More than one turn runs, so that some are left.
    for n in 0..1000 {
        let tell = tell.clone();
        let tells = move |_: &mut Script, _: &mut Context| {
            let _ = tell.send(n);
        };
        server.handle.post(tells).unwrap();
    }
    drop(tell);
    let handle = server.handle.clone();
    handle.shutdown_now();
    stall.release();
    server.join();
    assert!(told.iter().count() < 1000);
    assert!(handle.post_to(wouldblock::ConnId::from_u64(0), |_, _, _| Ok(())).is_err());
}

/// Posts from before the first turn run in it, after `on_start`; a reactor that is dropped refuses.
#[test]
fn a_reactor_that_does_not_run_keeps_posts_and_a_dropped_one_refuses_them() {
    let script = echo();
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    let handle = reactor.handle();
    let (tell, told) = mpsc::channel();
    let events = record.clone();
    handle.post(move |_, _| tell.send(events.events().len()).unwrap()).unwrap();
    assert!(told.try_recv().is_err());
    reactor.turn(Some(DEADLINE)).unwrap();
    assert_eq!(told.try_recv(), Ok(1), "on_start comes first");
    assert_ne!(reactor.next_timeout(), Some(Duration::ZERO));
    handle.post(|_, _| ()).unwrap();
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
    let (held, dropped) = mpsc::channel::<()>();
    handle.post(move |_, _| drop(held)).unwrap();
    drop(reactor);
    assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    assert!(handle.post(|_, _| ()).is_err_and(|refused| refused.is_ended()));
}

/// Trap 66: a panic in a closure passes through; the rest are run by whoever goes on.
#[test]
fn a_panic_in_a_post_leaves_the_others() {
    let mut reactor = Reactor::new(handler_fn(|_, _| Ok(()))).unwrap();
    let handle = reactor.handle();
    let (tell, told) = mpsc::channel();
    for n in 0..3 {
        let tell = tell.clone();
        let post = move |_: &mut _, _: &mut Context| {
            assert_ne!(n, 1, "as planned");
            tell.send(n).unwrap();
        };
        handle.post(post).unwrap();
    }
    let mut turn = || catch_unwind(AssertUnwindSafe(|| reactor.turn(Some(DEADLINE)).unwrap()));
    assert!(turn().is_err());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [0]);
    assert!(turn().is_ok());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [2]);
}

/// A handler with threads of its own, which it waits for when it goes.
struct Workshop {
    handle: Handle<Workshop>,
    worker: Option<JoinHandle<usize>>,
}

impl Workshop {
    fn new(handle: Handle<Workshop>) -> Self {
        let own = handle.clone();
        let worker = Some(thread::spawn(move || {
            let mut posted = 0;
            // Until no reactor takes it any more; a full queue is tried again.
            while handle.post(|_, _| ()).is_ok_or_full() {
                posted += 1;
            }
            posted
        }));
        Workshop { handle: own, worker }
    }
}

impl Handler for Workshop {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        Ok(())
    }
}

trait OkOrFull {
    fn is_ok_or_full(&self) -> bool;
}

impl<F> OkOrFull for Result<(), PostError<F>> {
    fn is_ok_or_full(&self) -> bool {
        !self.as_ref().is_err_and(PostError::is_ended)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.join().unwrap();
        }
    }
}

/// Promise 6: posts end before the handler goes, so one that waits for its threads does not hang.
#[test]
fn a_handler_may_wait_for_its_threads_when_it_goes() {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut reactor = Reactor::build(Config::default(), Workshop::new).unwrap();
        assert!(reactor.handler().handle.post(|_, _| ()).is_ok_or_full());
        for _ in 0..10 {
            reactor.turn(Some(Duration::ZERO)).unwrap();
        }
        drop(reactor);
        tell.send(()).unwrap();
    });
    told.recv_timeout(DEADLINE).expect("the handler waits for ever");
}

/// A handle that outlives a handler which was never made is refused, as after any other end.
#[test]
fn if_making_the_handler_panics_its_handles_are_refused() {
    let (tell, told) = mpsc::channel();
    let made = catch_unwind(AssertUnwindSafe(|| {
        Reactor::build(Config::default(), |handle: Handle<Workshop>| {
            tell.send(handle).unwrap();
            panic!("no workshop")
        })
    }));
    assert!(made.is_err());
    let handle = told.recv_timeout(DEADLINE).unwrap();
    assert!(handle.post(|_, _| ()).unwrap_err().is_ended());
}

/// A post and a handle cross threads whatever the handler is; the reactor does if the handler does.
#[test]
fn what_crosses_threads_may() {
    struct Tied(#[allow(dead_code, reason = "what ties it")] Rc<()>);
    impl Handler for Tied {
        type Session = Rc<()>;
        fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<Rc<()>> {
            Ok(Rc::default())
        }
        fn on_data(
            &mut self,
            _: &mut Conn<'_>,
            _: &mut Rc<()>,
            _: &mut Input<'_>,
        ) -> io::Result<()> {
            Ok(())
        }
    }
    fn crosses<T: Send>(_: &T) {}
    fn is_shared<T: Sync>(_: &T) {}
    let reactor = Reactor::new(Tied(Rc::default())).unwrap();
    let handle = reactor.handle();
    crosses(&handle);
    is_shared(&handle);
    let mut free = Reactor::new(echo()).unwrap();
    crosses(&free);
    free.turn(Some(Duration::ZERO)).unwrap();
    let ids: HashSet<_> = free.listen("127.0.0.1:0").into_iter().collect();
    assert_eq!(ids.len(), 1);
}

/// Promise 2: a reply that a thread is still at work on, for a held connection, goes out though a
/// shutdown began.
#[test]
fn a_shutdown_waits_for_the_answer_of_a_thread() {
    let mut handle: Option<Handle<Script>> = None;
    let (set, given) = mpsc::channel::<Handle<Script>>();
    let (go, goes) = mpsc::channel::<()>();
    let goes = Arc::new(Mutex::new(goes));
    let script = echo().on_data(move |conn, input| {
        input.take_all();
        conn.hold(true);
        let handle = handle.get_or_insert_with(|| given.recv().unwrap()).clone();
        let (id, goes) = (conn.id(), Arc::clone(&goes));
        thread::spawn(move || {
            goes.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            let answer = |_: &mut Script, conn: &mut Conn<'_>, _: &mut Session| {
                conn.send("the answer");
                conn.hold(false);
                Ok(())
            };
            handle.post_to(id, answer).unwrap();
        });
        Ok(())
    });
    let server = Server::start(script, Config::default());
    set.send(server.handle.clone()).unwrap();
    let mut client = server.connect();
    client.write_all(b"?").unwrap();
    wait_until("it was asked", || {
        server.record.count(|event| matches!(event, Event::Data(_))) == 1
    });
    server.handle.shutdown();
    wait_until("the shutdown has begun", || {
        server.record.count(|event| matches!(event, Event::Shutdown)) == 1
    });
    go.send(()).unwrap();
    assert_eq!(read_to_end(&mut client), b"the answer");
    drop(client);
    server.join();
}

/// Promise 3: the example answers in the order of the questions, however long each takes, and more
/// clients than there are places are all served, those who come after one that left as well.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "no examples are built in this lane")]
fn the_offload_example_answers_in_order() {
    let mut server = child::Child::example("offload", &["--threads", "3", "--questions", "2"]);
    for round in 0..3 {
        let mut gone = server.connect();
        gone.write_all(b"600851475143\n1000003\n1000003\n").unwrap();
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let client = server.connect();
                thread::spawn(move || {
                    let mut asked = String::from("1000000016000063\n");
                    let mut expected = String::new();
                    for prime in [2, 3, 5, 7, 11, 13, 999_983].repeat(20) {
                        let number = 2 * prime;
                        asked.push_str(&number.to_string());
                        asked.push('\n');
                        let answer = [number.to_string(), " = 2 * ".into(), prime.to_string()];
                        expected.push_str(&answer.concat());
                        expected.push('\n');
                    }
                    // A last line without its end counts, too.
                    asked += "17";
                    expected += "17 = 17\n";
                    let got = String::from_utf8(exchange(&client, asked.as_bytes())).unwrap();
                    let (first, rest) = got.split_once('\n').unwrap();
                    assert!(first.starts_with("1000000016000063 = "), "{first}");
                    assert_eq!(rest, expected);
                })
            })
            .collect();
        reset(gone);
        for client in clients {
            client.join().unwrap_or_else(|_| panic!("in round {round}: {}", server.stderr()));
        }
    }
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.stderr());
}
