//! What waits to be sent: on Unix sockets, whose receivers can make a sender wait, each for itself.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use wouldblock::{Address, Bind, Config};

use super::mail::{Mail, Office, echo, path, unix_client};
use crate::support::{DEADLINE, wait_until};

/// So many bytes of payload, the first four of which are a number.
fn numbered(n: u32) -> Vec<u8> {
    let mut payload = n.to_be_bytes().to_vec();
    payload.resize(1000, 0);
    payload
}

/// Sends to a receiver that does not read, until the queue is full; answers how many were accepted.
fn fill(office: &Office, to: Address) -> u32 {
    let socket = office.ids[0];
    office.ask(move |cx| {
        for n in 0..100_000 {
            if let Err(error) = cx.send_to(socket, &to, numbered(n)) {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return n;
            }
        }
        panic!("the queue is never full");
    })
}

/// Receives numbered datagrams until one is missing or `n` are there.
fn expect(receiver: &UnixDatagram, n: u32) {
    let mut buf = [0; 2000];
    for expected in 0..n {
        assert_eq!(receiver.recv(&mut buf).unwrap(), 1000, "number {expected}");
        assert_eq!(buf[..4], expected.to_be_bytes());
    }
}

/// Promise 4: the queue is bounded; when it is full the newest is dropped, the call says so and it
/// is counted; and what was accepted arrives, in order, once the receiver reads.
#[test]
fn a_full_queue_drops_the_newest_and_says_so() {
    let at = path("full");
    let receiver = unix_client(&at);
    let config = Config::default().datagrams_queued(20_000);
    let office = Office::with(config, Mail::default(), [Bind::unnamed_unix()]);
    let accepted = fill(&office, Address::unix(&at));
    // 18 of 1,064 bytes fit besides what a receiver costs, and some are in the kernel.
    assert!(accepted > 18, "{accepted}");
    expect(&receiver, accepted);
    wait_until("none waits", || {
        office.ask(move |cx| cx.stats().datagrams_out) == u64::from(accepted)
    });
    // There is room again.
    let (socket, to) = (office.ids[0], Address::unix(&at));
    office.ask(move |cx| cx.send_to(socket, &to, numbered(0)).unwrap());
    expect(&receiver, 1);
    let stats = office.end();
    assert_eq!((stats.datagrams_dropped, stats.datagrams_out), (1, u64::from(accepted) + 1));
    std::fs::remove_file(at).unwrap();
}

/// Promise 5: a receiver that does not read hinders nobody else, spins nothing, gets its own in
/// order when it does read; and none is lost meanwhile.
#[test]
fn one_full_receiver_hinders_nobody_else() {
    let (server, full, live) = (path("beside"), path("beside-full"), path("beside-live"));
    let bind = format!("unix:{}", server.display());
    let office = Office::open(echo(), [bind.into()]);
    let (stuck, client) = (unix_client(&full), unix_client(&live));
    let accepted = fill(&office, Address::unix(&full));
    for n in 0..100 {
        client.send_to(&numbered(n), &server).unwrap();
        let mut buf = [0; 2000];
        assert_eq!(client.recv(&mut buf).unwrap(), 1000);
        assert_eq!(buf[..4], n.to_be_bytes());
    }
    office.assert_at_rest();
    expect(&stuck, accepted);
    let stats = office.end();
    assert_eq!(stats.datagrams_out, u64::from(accepted) + 100);
    std::fs::remove_file(full).unwrap();
    std::fs::remove_file(live).unwrap();
}

/// Promise 2: shutdown does not wait for a receiver that does not read; what it has not taken is
/// counted, and the others have all.
#[test]
fn a_full_receiver_does_not_hinder_the_exit() {
    let (full, live) = (path("exit-full"), path("exit-live"));
    let config = Config::default().shutdown_max(DEADLINE * 3);
    let office = Office::with(config, Mail::default(), [Bind::unnamed_unix()]);
    let (stuck, reader) = (unix_client(&full), unix_client(&live));
    let accepted = fill(&office, Address::unix(&full));
    // Not more than the receiver's kernel keeps: nothing of it waits.
    let (socket, to) = (office.ids[0], Address::unix(&live));
    office.ask(move |cx| (0..5).for_each(|n| cx.send_to(socket, &to, numbered(n)).unwrap()));
    let stats = office.end();
    expect(&reader, 5);
    stuck.set_nonblocking(true).unwrap();
    let mut taken = 0;
    while stuck.recv(&mut [0; 2000]).is_ok() {
        taken += 1;
    }
    // One was refused by `fill`.
    assert_eq!(stats.datagrams_dropped, u64::from(accepted) - taken + 1);
    assert_eq!(stats.datagrams_out, taken + 5);
    std::fs::remove_file(full).unwrap();
    std::fs::remove_file(live).unwrap();
}

/// Promise 6: what waits for a receiver that dies is dropped and counted; the next call is told.
#[test]
fn what_waits_for_the_dead_is_dropped() {
    let at = path("dies");
    let receiver = unix_client(&at);
    let office = Office::open(Mail::default(), [Bind::unnamed_unix()]);
    let accepted = fill(&office, Address::unix(&at));
    drop(receiver);
    wait_until("all is dropped", || {
        let counts =
            |cx: &mut wouldblock::Context| cx.stats().datagrams_dropped + cx.stats().datagrams_out;
        office.ask(move |cx| counts(cx)) == u64::from(accepted) + 1
    });
    let (socket, to) = (office.ids[0], Address::unix(&at));
    let error = office.ask(move |cx| cx.send_to(socket, &to, "x").unwrap_err());
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    office.assert_at_rest();
    office.end();
    std::fs::remove_file(at).unwrap();
}

/// Promise 1: a connected pair waits for its edge, and all arrives in order.
#[test]
fn a_connected_unix_socket_waits_for_its_peer() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    let office = Office::open(Mail::default(), [ours.into()]);
    let socket = office.ids[0];
    let accepted = office.ask(move |cx| {
        let mut n = 0;
        while cx.send_datagram(socket, numbered(n)).is_ok() {
            n += 1;
        }
        n
    });
    assert!(accepted > 200, "{accepted}: the default queue holds more than that");
    office.assert_at_rest();
    expect(&theirs, accepted);
    assert_eq!(office.end().datagrams_out, u64::from(accepted));
}

/// Promise 2: closing tries what waits once more; what cannot go is counted, and the path is gone.
#[test]
fn closing_a_socket_counts_what_waited() {
    let at = path("close-full");
    let receiver = unix_client(&at);
    let office = Office::open(Mail::default(), [Bind::unnamed_unix()]);
    let accepted = fill(&office, Address::unix(&at));
    // Room for a few more, of which no event tells.
    receiver.recv(&mut [0; 2000]).unwrap();
    let socket = office.ids[0];
    assert!(office.ask(move |cx| cx.close_socket(socket)));
    let stats = office.end();
    assert_eq!(stats.datagrams_out + stats.datagrams_dropped, u64::from(accepted) + 1);
    receiver.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut taken = 1;
    while receiver.recv(&mut [0; 2000]).is_ok() {
        taken += 1;
    }
    assert_eq!(stats.datagrams_out, taken);
    std::fs::remove_file(at).unwrap();
}
