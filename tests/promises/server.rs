//! Promises 1, 2, 3, 4 and 6 for a server of several reactors: they share nothing but their ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use wouldblock::{
    Address, CloseReason, Closed, Config, Conn, ConnId, Context, Handler, Input, Listen, Origin,
    PostError, Reactor, Server, ServerHandle, Spread, Stats, handler_fn,
};

use crate::support::*;

/// Does what a line says, as one of several.
struct Node {
    number: usize,
    server: ServerHandle<Node>,
    closed: Vec<Closed>,
    shutdowns: Arc<AtomicUsize>,
}

impl Handler for Node {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        if self.number == 9 {
            cx.listen("unix:")?;
        }
        Ok(())
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<()> {
        if let Origin::Adopted(tag) = origin {
            conn.send(format!("moved to {} by {tag}\n", self.number));
        }
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        while let Some(line) = input.line() {
            let line = String::from_utf8(line.to_vec()).unwrap();
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb {
                "who" => conn.send(format!("{}\n", self.number)),
                "id" => conn.send(format!("{}\n", conn.id().to_u64())),
                "all" => {
                    assert_eq!(self.server.broadcast(format!("{rest}\n")), self.server.reactors());
                }
                "to" => {
                    let (id, text) = rest.split_once(' ').unwrap();
                    let (id, text) = (ConnId::from_u64(id.parse().unwrap()), format!("{text}\n"));
                    let posted = self.server.post_to(id, move |_, conn, ()| {
                        conn.send(text);
                        Ok(())
                    });
                    assert!(posted.is_ok());
                }
                "move" => self.server.move_to(conn, rest.parse().unwrap(), 7),
                "panic" => panic!("as it was told to"),
                "hold" => conn.hold(true),
                "shutdown" => conn.cx().shutdown(),
                _ => conn.send([line.as_bytes(), b"\n"].concat()),
            }
        }
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, (): (), closed: Closed) {
        self.closed.push(closed);
    }

    fn on_shutdown(&mut self, _: &mut Context) {
        self.shutdowns.fetch_add(1, Ordering::Relaxed);
    }
}

struct Running {
    handle: ServerHandle<Node>,
    thread: thread::JoinHandle<(thread::Result<io::Result<()>>, Server<Node>)>,
    shutdowns: Arc<AtomicUsize>,
    at: Address,
}

impl Running {
    fn with_config(reactors: usize, config: Config, listen: impl Into<Listen>) -> Self {
        let shutdowns = Arc::<AtomicUsize>::default();
        let told = Arc::clone(&shutdowns);
        let make = move |number, server: &ServerHandle<Node>| {
            let (server, shutdowns) = (server.clone(), Arc::clone(&told));
            Ok(Node { number, server, closed: Vec::new(), shutdowns })
        };
        let server = Server::with_config(reactors, config, make).unwrap();
        Self::run(server, listen, shutdowns)
    }

    /// A server whose reactors are restarted `most` times at most.
    fn restarting(reactors: usize, most: usize) -> Self {
        let shutdowns = Arc::<AtomicUsize>::default();
        let told = Arc::clone(&shutdowns);
        let make = move |number, server: &ServerHandle<Node>| {
            let (server, shutdowns) = (server.clone(), Arc::clone(&told));
            Ok(Node { number, server, closed: Vec::new(), shutdowns })
        };
        let config = Config::default().linger(Duration::from_millis(100));
        let mut server = Server::with_config(reactors, config, make.clone()).unwrap();
        server.restart(most, Duration::from_secs(3600), make);
        Self::run(server, "127.0.0.1:0", shutdowns)
    }

    fn run(
        mut server: Server<Node>,
        listen: impl Into<Listen>,
        shutdowns: Arc<AtomicUsize>,
    ) -> Self {
        let at = server.listen(listen).unwrap();
        let handle = server.handle();
        let thread = thread::spawn(move || {
            let end = panic::catch_unwind(AssertUnwindSafe(|| server.run()));
            (end, server)
        });
        Running { handle, thread, shutdowns, at }
    }

    fn start(reactors: usize) -> Self {
        Self::with_config(
            reactors,
            Config::default().linger(Duration::from_millis(100)),
            "127.0.0.1:0",
        )
    }

    fn connect(&self) -> Client {
        Client(BufReader::new(connect(self.at.socket_addr().unwrap())))
    }

    /// A client of this reactor.
    fn connect_to(&self, number: usize) -> Client {
        for _ in 0..1000 {
            let mut client = self.connect();
            if client.ask("who") == number.to_string() {
                return client;
            }
        }
        panic!("no connection in a thousand came to reactor {number}");
    }

    fn end(self) -> Server<Node> {
        self.handle.shutdown();
        let (end, server) = self.wait_end();
        end.unwrap().unwrap();
        server
    }

    /// How it has ended by itself.
    fn wait_end(self) -> (thread::Result<io::Result<()>>, Server<Node>) {
        wait_until("all reactors have ended", || self.thread.is_finished());
        self.thread.join().unwrap()
    }
}

/// Of a socket of any kind.
fn ask(client: &mut BufReader<File>, question: &str) -> String {
    client.get_mut().write_all(format!("{question}\n").as_bytes()).unwrap();
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Whether the server has ended the connection, in whatever way.
    fn is_gone(&mut self) -> bool {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    fn ask(&mut self, question: &str) -> String {
        self.say(&format!("{question}\n"));
        self.hear()
    }
}

/// Promise 1: a port has a socket in each reactor, and the kernel shares connections out among them.
#[test]
fn connections_to_a_port_are_spread_over_the_reactors() {
    let running = Running::start(3);
    let clients: Vec<_> = (0..3).map(|number| running.connect_to(number)).collect();
    drop(clients);
    let server = running.end();
    assert!(server.reactors().iter().all(|reactor| reactor.stats().accepted > 0));
}

/// Promise 7: a port on which another server listens is refused, though each of the two would share it
/// among its own; unless that was asked for.
#[test]
fn two_servers_share_a_port_only_if_both_say_so() {
    let make = |_, _: &ServerHandle<_>| Ok(handler_fn(|_, _| Ok(())));
    let shared = || Listen::from("127.0.0.1:0").reuse_port(true);
    for (first, second) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut servers = [(); 2].map(|()| Server::new(2, make).unwrap());
        let listen = if first { shared() } else { "127.0.0.1:0".into() };
        let at = servers[0].listen(listen).unwrap();
        let again = Listen::from(at).reuse_port(second);
        match servers[1].listen(again) {
            Ok(_) => assert!(second, "{first}"),
            Err(error) => {
                assert!(
                    !second && error.kind() == ErrorKind::AddrInUse,
                    "{first} {second} {error}"
                );
            }
        }
    }
}

/// Promise 1: a Unix socket, and an existing listener, are one for all reactors; the path goes with
/// the server.
#[test]
fn a_unix_path_and_an_existing_listener_serve_all_reactors() {
    let dir = std::env::temp_dir().join(format!("wouldblock-server-{}", std::process::id()));
    let path = dir.with_extension("sock");
    let config = Config::default().linger(Duration::from_millis(100));
    let running = Running::with_config(2, config, Listen::from(Address::unix(&path)));
    let clients: Vec<_> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    for mut client in &clients {
        client.write_all(b"here\n").unwrap();
    }
    let server = running.end();
    assert!(!path.exists());
    let accepted: u64 = server.reactors().iter().map(|reactor| reactor.stats().accepted).sum();
    assert_eq!(accepted, 20, "those that waited at the shutdown, too");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let running = Running::with_config(2, Config::default(), listener);
    assert_eq!(running.connect().ask("hello"), "hello");
    running.end();
}

/// Promises 2 and 4: one reactor accepts for all, and each has as many, on a TCP port, a Unix
/// socket and an existing listener.
#[test]
fn a_listener_hands_its_connections_over_to_the_reactors() {
    let path = std::env::temp_dir().join(format!("wouldblock-handed-{}.sock", std::process::id()));
    let ready = TcpListener::bind("127.0.0.1:0").unwrap();
    for by in [Spread::RoundRobin, Spread::LeastLoaded] {
        let listens = [
            Listen::from("127.0.0.1:0"),
            Listen::from(Address::unix(&path)),
            Listen::from(ready.try_clone().unwrap()),
        ];
        for listen in listens {
            let running = Running::with_config(3, Config::default(), listen.spread(by));
            let mut clients = Vec::new();
            for n in 0..12 {
                let client = match &running.at {
                    Address::Ip(at) => OwnedFd::from(connect(*at)),
                    _ => UnixStream::connect(&path).unwrap().into(),
                };
                let mut client = BufReader::new(File::from(client));
                let owner: usize = ask(&mut client, "who").parse().unwrap();
                clients.push((owner, client));
                let mut of = [0; 3];
                for (owner, _) in &clients {
                    of[*owner] += 1;
                }
                let (most, least) = (of.iter().max().unwrap(), of.iter().min().unwrap());
                assert!(most - least <= 1, "after {} clients: {of:?}", n + 1);
            }
            for (_, client) in &mut clients {
                assert_eq!(ask(client, "still here"), "still here");
            }
            drop(clients);
            let server = running.end();
            assert_eq!(server.stats().accepted, 12);
        }
    }
}

/// Promise 3: what is posted to a connection runs in the reactor that has it, whichever posts; a broadcast
/// comes to all of all.
#[test]
fn what_is_said_to_one_or_to_all_arrives_whichever_reactor_has_them() {
    let running = Running::start(2);
    let mut clients = [0, 1].map(|number| running.connect_to(number));
    let id = clients[1].ask("id");
    clients[0].say(&format!("to {id} from 0\n"));
    assert_eq!(clients[1].hear(), "from 0");
    let id = ConnId::from_u64(id.parse().unwrap());
    assert_eq!(running.handle.owner(id), Some(1));
    clients[1].say("all news\n");
    for client in &mut clients {
        assert_eq!(client.hear(), "news");
    }
    let stranger = Running::start(1);
    let posted = stranger.handle.post_to(id, |_, _, ()| Ok(()));
    assert!(matches!(posted, Err(PostError::Ended(_))), "it is of another server");
    assert_eq!(stranger.handle.owner(id), None);
    stranger.end();
    let server = running.end();
    assert_eq!(server.handle().broadcast("too late"), 0);
}

/// Promise 2: a connection that moves takes along what was not consumed and what was sent, in order.
#[test]
fn a_connection_moves_to_another_reactor_with_all_its_bytes() {
    let running = Running::start(2);
    let mut client = running.connect_to(0);
    client.say("before\nmove 1\nwho\nmove 0\nwho\nmove 0\nwho\nha");
    let heard: Vec<_> = (0..7).map(|_| client.hear()).collect();
    let wanted = ["before", "moved to 1 by 7", "1", "moved to 0 by 7", "0", "moved to 0 by 7", "0"];
    assert_eq!(heard, wanted);
    assert_eq!(client.ask("lf"), "half");
    client.0.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.hear(), "", "its end is told");
    let server = running.end();
    let counts =
        server.reactors().iter().map(|it| (it.stats().adopted, it.stats().closed.detached));
    assert_eq!(counts.collect::<Vec<_>>(), [(2, 2), (1, 1)]);
}

/// One of two services; it moves each connection to the other reactor at its first byte.
struct Mover(ServerHandle<(Mover, Mover)>);

impl Handler for Mover {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<()> {
        if let Origin::Adopted(_) = origin {
            conn.send(format!("of service {}\n", conn.service()));
        }
        Ok(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        let there = 1 - self.0.owner(conn.id()).unwrap();
        self.0.move_to(conn, there, 0);
        Ok(())
    }
}

/// Promise 3: it is of the same service there.
#[test]
fn a_connection_moves_to_the_same_service() {
    let make = |_, server: &ServerHandle<_>| Ok((Mover(server.clone()), Mover(server.clone())));
    let mut server = Server::new(2, make).unwrap();
    let at = {
        let mut second = server.reactors_mut()[0].service(1);
        let listener = second.listen("127.0.0.1:0").unwrap();
        second.listener_addr(listener).unwrap().socket_addr().unwrap()
    };
    let handle = server.handle();
    let thread = thread::spawn(move || server.run());
    let mut client = Client(BufReader::new(connect(at)));
    client.say("x");
    assert_eq!(client.hear(), "of service 1");
    drop(client);
    handle.shutdown();
    wait_until("it has ended", || thread.is_finished());
    thread.join().unwrap().unwrap();
}

/// Promise 2: one that finds no reactor any more is reset if it is owed output: half an answer is not to
/// look whole.
#[test]
fn a_connection_that_is_refused_where_it_moves_is_reset_if_output_is_unsent() {
    for ended in [true, false] {
        let config = Config::default().connections(3);
        let running = Running::with_config(2, config, "127.0.0.1:0");
        let mut client = running.connect_to(0);
        let mut others = Vec::new();
        if !ended {
            // The other reactor takes no more.
            others.extend((0..3).map(|_| running.connect_to(1)));
        }
        let id = ConnId::from_u64(client.ask("id").parse().unwrap());
        let posted = running.handle.post_to(id, move |node: &mut Node, conn, ()| {
            narrow_sending(conn);
            conn.send(vec![b'x'; MIB]);
            if ended {
                // Ended for good, when the connection comes to be moved.
                node.server.reactor(1).unwrap().shutdown_now();
                wait_until("it has ended", || {
                    node.server.reactor(1).unwrap().post(|_, _| ()).is_err()
                });
            }
            node.server.move_to(conn, 1, 0);
            Ok(())
        });
        posted.unwrap();
        let mut all = Vec::new();
        let error = io::Read::read_to_end(&mut client.0, &mut all).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        drop(others);
        running.end();
    }
}

/// Promise 6: a shutdown is for all, and each delivers what it owes.
#[test]
fn all_reactors_shut_down_in_order_when_one_does() {
    let running = Running::start(3);
    let mut clients = [0, 1, 2].map(|number| running.connect_to(number));
    clients[1].say("last words\nshutdown\n");
    let shutdowns = Arc::clone(&running.shutdowns);
    let (end, server) = running.wait_end();
    end.unwrap().unwrap();
    assert_eq!(clients[1].hear(), "last words");
    for (client, reactor) in clients.iter_mut().zip(server.reactors()) {
        assert_eq!(client.hear(), "", "in order");
        assert_eq!(reactor.shutdown_report().unwrap().cut, 0);
    }
    assert_eq!(shutdowns.load(Ordering::Relaxed), 3);
}

/// Promise 6: a panic ends its reactor, the others in order, and comes to the caller of `run`.
#[test]
fn a_panic_in_one_reactor_ends_the_others_in_order() {
    let running = Running::start(2);
    let mut clients = [0, 1].map(|number| running.connect_to(number));
    clients[0].say("panic\n");
    assert_eq!(clients[1].hear(), "");
    let (end, server) = running.wait_end();
    let payload = end.unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"as it was told to"));
    let closed = &server.reactors()[1].handler().closed;
    assert!(closed.iter().all(|it| !matches!(it.reason, CloseReason::Aborted)), "{closed:?}");
}

/// Promise 6: while the others end in order, nobody waits for a reactor that a panic has ended: its
/// clients are told, and those that come are refused, whichever reactor accepts.
#[test]
fn no_client_waits_for_a_reactor_that_a_panic_has_ended() {
    for (by, number) in [(Spread::Kernel, 0), (Spread::RoundRobin, 0), (Spread::RoundRobin, 1)] {
        let config = Config::default().shutdown_max(10 * DEADLINE);
        let running = Running::with_config(2, config, Listen::from("127.0.0.1:0").spread(by));
        let at = running.at.socket_addr().unwrap();
        let mut clients = [number, number, 1 - number].map(|number| running.connect_to(number));
        clients[2].say("hold\n");
        assert_eq!(clients[2].ask("held"), "held");
        clients[0].say("panic\n");
        assert!(clients[0].is_gone() && clients[1].is_gone(), "{by:?}, {number}");
        let mut waiting = Vec::new();
        wait_until("who comes is refused", || match TcpStream::connect_timeout(&at, DEADLINE) {
            Ok(client) => {
                waiting.push(bounded(client));
                false
            }
            Err(error) => error.kind() == ErrorKind::ConnectionRefused,
        });
        for client in waiting {
            assert!(Client(BufReader::new(client)).is_gone(), "{by:?}, {number}");
        }
        assert_eq!(clients[2].ask("still here"), "still here");
        running.handle.shutdown_now();
        running.wait_end().0.unwrap_err();
    }
}

/// Promise 6: where it is asked for, a panic costs the clients of its own reactor their
/// connections, and those of others nothing; a client that comes next is served by a new handler of
/// the same reactor.
#[test]
fn a_reactor_that_panics_is_restarted_alone() {
    let running = Running::restarting(2, 3);
    let mut clients = [0, 0, 1].map(|number| running.connect_to(number));
    for round in 1..=3 {
        clients[0].say("panic\n");
        assert!(clients[0].is_gone() && clients[1].is_gone(), "round {round}");
        assert_eq!(clients[2].ask("still here"), "still here");
        [clients[0], clients[1]] = [(); 2].map(|()| running.connect_to(0));
    }
    // Once too often.
    clients[0].say("panic\n");
    assert_eq!(clients[2].hear(), "", "in order");
    let (end, server) = running.wait_end();
    assert_eq!(end.unwrap_err().downcast_ref::<&str>(), Some(&"as it was told to"));
    let restarts: Vec<_> = server.reactors().iter().map(|it| it.stats().restarts).collect();
    assert_eq!(restarts, [3, 0]);
}

/// Promise 6: whenever the shutdown comes, a client that was accepted for another reactor is served
/// or told; none hangs.
#[test]
fn no_client_hangs_that_is_handed_over_in_a_shutdown() {
    for by in [Spread::RoundRobin, Spread::LeastLoaded] {
        let config = Config::default().linger(Duration::from_millis(100));
        let running = Running::with_config(3, config, Listen::from("127.0.0.1:0").spread(by));
        let at = running.at.socket_addr().unwrap();
        let answers = Arc::<AtomicUsize>::default();
        let visitors: Vec<_> = (0..4)
            .map(|_| {
                let answers = Arc::clone(&answers);
                thread::spawn(move || {
                    while let Ok(mut client) = TcpStream::connect(at) {
                        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                        let mut answer = [0; 2];
                        let told = client
                            .write_all(b"x\n")
                            .and_then(|()| io::Read::read_exact(&mut client, &mut answer));
                        match told {
                            Ok(()) => answers.fetch_add(1, Ordering::Relaxed),
                            Err(error) => {
                                assert_ne!(error.kind(), ErrorKind::WouldBlock, "it hangs");
                                0
                            }
                        };
                    }
                })
            })
            .collect();
        wait_until("many are served", || answers.load(Ordering::Relaxed) > 200);
        let server = running.end();
        for visitor in visitors {
            visitor.join().unwrap();
        }
        let stats = server.stats();
        assert!(stats.accepted >= answers.load(Ordering::Relaxed) as u64);
        assert_eq!((stats.refused, stats.closed.total()), (0, stats.accepted));
    }
}

/// What the kernel says of a pinned reactor's thread: one core, each the next of those that the
/// program may use.
#[test]
fn a_pinned_reactor_runs_on_one_core() {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let cores = || {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect::<Vec<_>>()
    };
    let all = cores();
    let mut server = Server::new(3, |_, _| Ok(handler_fn(|_, _| Ok(())))).unwrap();
    server.pin().unwrap();
    let handle = server.handle();
    let thread = thread::spawn(move || server.run());
    let (tell, told) = mpsc::channel();
    for number in 0..3 {
        let tell = tell.clone();
        let posted = handle.reactor(number).unwrap().post(move |_, _| {
            tell.send((number, cores())).unwrap();
        });
        posted.unwrap();
    }
    for _ in 0..3 {
        let (number, of) = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(of, [all[number % all.len()]], "reactor {number}");
    }
    handle.shutdown();
    wait_until("it has ended", || thread.is_finished());
    thread.join().unwrap().unwrap();
    assert_eq!(cores(), all, "the thread that asked for it is where it was");
}

/// Promise 8: what all have counted is the sum of what each has, while they run and afterwards; a
/// reactor that cannot say is told of as such.
#[test]
fn statistics_and_the_report_of_a_shutdown_are_those_of_all_reactors() {
    let running = Running::start(2);
    let mut clients = [0, 1, 1].map(|number| running.connect_to(number));
    for client in &mut clients {
        assert_eq!(client.ask("some line"), "some line");
    }
    let (tell, told) = mpsc::channel();
    running.handle.stats(move |each| tell.send(each).unwrap());
    let each = told.recv_timeout(Duration::from_secs(20)).unwrap();
    let all: Stats = each.iter().flatten().sum();
    let accepted: Vec<_> = each.iter().map(|it| it.as_ref().unwrap().accepted).collect();
    assert!(accepted[0] >= 1 && accepted[1] >= 2, "{accepted:?}");
    assert_eq!(all.accepted, accepted.iter().sum::<u64>());
    let handle = running.handle.clone();
    let server = running.end();
    let report = server.shutdown_report().unwrap();
    assert_eq!(server.stats().closed.total(), server.stats().accepted);
    let of_each = || server.reactors().iter().map(|it| it.shutdown_report().unwrap());
    assert_eq!(report.done, of_each().map(|it| it.done).sum::<u64>());
    assert_eq!(report.took, of_each().map(|it| it.took).max().unwrap());
    assert!(report.done >= 3 && report.cut == 0, "{report}");
    // There is no reactor any more, and that is told at once.
    let (tell, told) = mpsc::channel();
    handle.stats(move |each| tell.send(each).unwrap());
    assert!(told.try_recv().unwrap().iter().all(Option::is_none));
}

/// Promise 7: what cannot be is refused before a client comes, with a reason.
#[test]
fn a_server_that_cannot_be_says_why() {
    let node = |number, server: &ServerHandle<Node>| {
        let server = server.clone();
        Ok(Node { number, server, closed: Vec::new(), shutdowns: Arc::default() })
    };
    for reactors in [0, 129] {
        let error = Server::new(reactors, node).unwrap_err();
        assert_eq!(error.to_string(), format!("{reactors} reactors: a server has 1 to 128"));
    }
    let config = Config::default().connections(usize::MAX);
    let alone = Reactor::with_config(handler_fn(|_, _| Ok(())), config.clone()).unwrap_err();
    let error = Server::with_config(2, config, node).unwrap_err();
    assert_eq!(error.to_string(), alone.to_string(), "and not brought down to a share");
    let error = Server::<Node>::new(2, |number, _| {
        Err(io::Error::other(format!("no database for {number}")))
    });
    assert_eq!(error.unwrap_err().to_string(), "no database for 0");
    // An error of one's `on_start` ends all.
    let mut server = Server::new(10, node).unwrap();
    let error = server.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(server.reactors().iter().take(9).all(|it| it.shutdown_report().is_some()));
}

/// Promise 4: a client whose every word goes to all is slowed down, and a member that does not read
/// meanwhile is not ended for what it is sent.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))] // No examples are built in that lane.
fn a_client_that_floods_all_others_gets_none_of_them_ended() {
    let server = child::Child::example("cores", &["--reactors", "2"]);
    let [mut flooder, mut member] = [(); 2].map(|()| Client(BufReader::new(connect(server.addr))));
    assert_eq!(member.ask("I am here"), "I am here");
    let line = format!("!{}\n", "x".repeat(1000)).repeat(64);
    let stream = flooder.0.get_mut();
    // It reads what it says itself, or it would be kept waiting for that.
    let mut reads = stream.try_clone().unwrap();
    let reader = thread::spawn(move || io::copy(&mut reads, &mut io::sink()));
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let full = (0..1000).find_map(|_| stream.write_all(line.as_bytes()).err());
    assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::WouldBlock), "64 MB were taken");
    member.say("still here\n");
    while member.hear() != "still here" {}
    flooder.0.get_mut().shutdown(Shutdown::Both).unwrap();
    drop(reader.join());
}

/// The example, as a reader of it would try it.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))] // No examples are built in that lane.
fn the_example_answers_its_own_and_tells_all() {
    let server = child::Child::example("cores", &["--reactors", "3"]);
    let mut clients: Vec<_> =
        (0..12).map(|_| Client(BufReader::new(connect(server.addr)))).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&format!("I am {number}")), format!("I am {number}"));
    }
    clients[5].say("!a word to all\n");
    for client in &mut clients {
        assert_eq!(client.hear(), "a word to all");
    }
}
