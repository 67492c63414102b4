//! Promises 3, 4 and 7 of several services on one reactor, on the machine's own kernel.

use std::io::Write;
use std::sync::mpsc;
use std::thread;

use wouldblock::{Caps, CloseReason, Config, Context, Handler, Origin, Reactor, handler_fn};

use crate::support::*;

/// Runs a reactor of services that all echo, on a thread, until what it returns is dropped; and
/// where each listens.
fn serve<H: Handler + Send + 'static>(
    handler: H,
    config: Config,
    services: u8,
    set: impl FnOnce(&mut Reactor<H>) + Send + 'static,
) -> (
    Vec<std::net::SocketAddr>,
    wouldblock::Handle<H>,
    thread::JoinHandle<wouldblock::ShutdownReport>,
) {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut reactor = Reactor::with_config(handler, config).unwrap();
        set(&mut reactor);
        let mut addrs = Vec::new();
        for n in 0..services {
            let id = reactor.service(n).listen("127.0.0.1:0").unwrap();
            addrs.push(reactor.listener_addr(id).unwrap().socket_addr().unwrap());
        }
        tell.send((addrs, reactor.handle())).unwrap();
        reactor.run().unwrap();
        reactor.shutdown_report().unwrap().clone()
    });
    let (addrs, handle) = told.recv_timeout(DEADLINE).unwrap();
    (addrs, handle, thread)
}

/// Promise 3: a hundred services, each with its client.
#[test]
fn a_hundred_services_stand_side_by_side() {
    let numbered = |n: u8| {
        echo().on_data(move |conn, input| {
            input.take_all();
            assert_eq!(conn.service(), n);
            let own = conn.cx().connections().len();
            conn.send(format!("{n} {own}\n"));
            Ok(())
        })
    };
    let services: Vec<_> = (0..100).map(numbered).collect();
    let records: Vec<_> = services.iter().map(Script::record).collect();
    let (addrs, handle, thread) = serve(services, Config::default(), 100, |_| {});
    let mut clients: Vec<_> = addrs.iter().map(|addr| connect(*addr)).collect();
    for record in &records {
        record.wait_opens(1);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.write_all(b"?").unwrap();
        let answer = format!("{n} 1\n");
        assert_eq!(read_n(client, answer.len()), answer.as_bytes());
    }
    drop(clients);
    for record in &records {
        record.wait_closes(1);
    }
    handle.shutdown();
    let report = thread.join().unwrap();
    assert_eq!((report.services.len(), report.cut), (100, 0));
}

/// Promise 7: a connection for a service that is not there ends with an error that says so; and a
/// panic that is isolated ends one connection of one service.
#[test]
fn a_service_that_is_not_there_and_one_that_panics_end_one_connection() {
    let calm = echo();
    let panics = echo().on_data(|_, _| panic!("as it was told"));
    let (record, other) = (calm.record(), panics.record());
    let config = Config::default().isolate_panics(true);
    let (addrs, handle, thread) = serve((calm, panics), config, 3, |_| {});
    let mut kept = connect(addrs[0]);
    ping(&mut kept, b"hello");
    let mut bad = connect(addrs[1]);
    bad.write_all(b"x").unwrap();
    let closed = other.wait_close();
    assert!(matches!(closed.reason, CloseReason::Panic(_)), "{closed}");
    assert_eq!(closed.service, 1);
    let mut lost = connect(addrs[2]);
    assert_eq!(read_until_gone(&mut lost).0, b"");
    ping(&mut kept, b"still there");
    assert_eq!(record.closes().len(), 0);
    drop(kept);
    record.wait_closes(1);
    handle.shutdown();
    thread.join().unwrap();
}

/// Promise 4: a post reaches all services together; through it one sees what another has open,
/// makes what belongs to it, and the caps of one are not the other's.
#[test]
fn a_post_sees_all_services_and_acts_for_each() {
    let (one, two) = (echo(), echo());
    let records = [one.record(), two.record()];
    let (addrs, handle, thread) = serve((one, two), Config::default(), 2, |reactor| {
        reactor.service(1).set_caps(Caps::default().connections(1)).unwrap();
        let wrong = reactor.service(1).set_caps(Caps::default().reserve(1 << 30)).unwrap_err();
        assert!(wrong.to_string().starts_with("Caps: reserve keeps 1073741824"), "{wrong}");
    });
    let clients = [connect(addrs[0]), connect(addrs[0]), connect(addrs[1])];
    records[0].wait_opens(2);
    records[1].wait_opens(1);
    let (tell, told) = mpsc::channel();
    let to = addrs[0];
    handle
        .post(move |_, cx: &mut Context| {
            let counts = [0, 1].map(|n| cx.service(n).connections().len());
            let all = cx.all_connections().len();
            let refused = cx.service(1).connect(to, 0).is_err();
            let id = cx.service(0).connect(to, 9).unwrap();
            tell.send((counts, all, refused, cx.service_of(id), cx.services())).unwrap();
        })
        .unwrap();
    assert_eq!(told.recv_timeout(DEADLINE).unwrap(), ([2, 1], 3, true, Some(0), 2));
    wait_until("it is connected", || records[0].origins().contains(&Origin::Connected(9)));
    drop(clients);
    handle.shutdown();
    thread.join().unwrap();
}

/// Promise 4: a public service that has as many connections as the descriptors allow, and an admin
/// port that answers all the same.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))] // No examples are built in that lane.
fn an_admin_port_answers_when_the_descriptors_of_the_public_one_are_out() {
    use std::io::Read;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    let folder = std::env::temp_dir().join(format!("wouldblock-admin-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("admin");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(child::example("admin"));
    command.args(["--listen", "127.0.0.1:0", "--admin", &format!("unix:{}", path.display())]);
    let admin = child::Child::start(command);
    let ask = |words: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(words.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    wait_until("the admin port is there", || path.exists());
    let mut clients: Vec<_> = (0..40).map(|_| connect(admin.addr)).collect();
    wait_until("28 are served", || ask("stats\n").contains("service 0: 28 open, 28 accepted"));
    ping(&mut clients[0], b"hello");
    assert!(
        ask("list\n").lines().filter(|line| line.contains("service 0 127.0.0.1:")).count() == 28
    );
    assert!(ask("limit 0\n").contains("error: Caps: connections is 0"));
    assert!(
        ask("close 9.9.9\nwhat\n")
            .ends_with("no connection 9.9.9\nerror: help says what there is\n")
    );
    let list = ask("list\n");
    let id = list.lines().nth(1).unwrap().split(' ').next().unwrap();
    assert!(ask(&format!("close {id}\n")).ends_with("ok\n"));
    wait_until("another has the place", || ask("stats\n").contains("28 open, 29 accepted"));
    assert!(ask("shutdown\n").ends_with("ok\n"));
    wait_until("it has ended", || admin.stderr().contains("shutdown complete"));
    drop(admin);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Promise 4: a handler alone is service 0, and what it makes is its own.
#[test]
fn a_handler_alone_is_service_0() {
    let mut reactor = Reactor::new(handler_fn(|_, _| Ok(()))).unwrap();
    reactor.listen("127.0.0.1:0").unwrap();
    assert_eq!(reactor.service(0).listeners().len(), 1);
    assert_eq!(reactor.service(0).services(), 1);
    assert_eq!(reactor.service(5).listeners().len(), 0);
}
