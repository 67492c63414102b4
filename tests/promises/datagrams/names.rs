//! The names of Unix sockets, which peers choose: each is told as it is, and answered at.
//!
//! They are bound by way of rustix, which binds what unix(7) allows: a path of 108 bytes, without a
//! zero byte behind it, and names of the abstract namespace of any bytes.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use wouldblock::{Address, Bind};

use super::mail::{Mail, Office, echo};
use crate::support::{DEADLINE, child, random, wait_until};

/// What `sun_path` holds (unix(7)).
const SUN_PATH: usize = 108;

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        // Short, so that names of many lengths fit behind it.
        let path = PathBuf::from(format!("/tmp/wb-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    /// A path in it of `len` bytes.
    fn path(&self, len: usize) -> PathBuf {
        let name = "x".repeat(len - self.0.as_os_str().len() - 1);
        self.0.join(name)
    }

    fn shortest(&self) -> usize {
        self.0.as_os_str().len() + 2
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The socket address of a name, and how it is told.
fn named(address: &Address) -> SocketAddrUnix {
    match address {
        Address::Unix(path) => SocketAddrUnix::new(&**path).unwrap(),
        Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name).unwrap(),
        _ => SocketAddrUnix::new_unnamed(),
    }
}

/// A socket that is bound to a name. `None`: the name is taken.
fn bound(kind: SocketType, name: &Address) -> Option<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::UNIX, kind, None).unwrap();
    match rustix::net::bind(&socket, &named(name)) {
        Err(Errno::ADDRINUSE) => return None,
        bound => bound.unwrap(),
    }
    Some(socket)
}

/// Names of every length: paths, and names of the abstract namespace, some of whose bytes are zero.
fn names(folder: &Folder) -> Vec<Address> {
    let paths = (folder.shortest()..=SUN_PATH).map(|len| Address::unix(folder.path(len)));
    let odd = [0, b'\n', 0xff, b'\\', b'a', 0];
    let abstracts = (0..SUN_PATH).map(|len| {
        // Its own, where there is room for that.
        let own = std::process::id().to_ne_bytes();
        let bytes = own.into_iter().chain(odd.into_iter().cycle()).take(len);
        Address::abstract_name(bytes.collect::<Vec<_>>())
    });
    let full = Address::abstract_name([0; SUN_PATH - 1]);
    paths.chain(abstracts).chain([full]).collect()
}

/// Promises 6 and 7: a datagram comes from whatever name its sender has chosen, the name is told as
/// it is, and an answer to it arrives. A path of 108 bytes has no zero byte behind it.
#[test]
fn a_sender_of_any_name_is_told_and_answered() {
    let folder = Folder::new("dgram");
    let server = folder.0.join("s");
    let office = Office::open(echo(), [format!("unix:{}", server.display()).into()]);
    let mut told = 0;
    for name in names(&folder) {
        let Some(socket) = bound(SocketType::DGRAM, &name) else { continue };
        let client = UnixDatagram::from(socket);
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.send_to(b"who am I?", &server).unwrap();
        told += 1;
        assert_eq!(office.wait_letters(told)[told - 1].from, name);
        assert_eq!(client.recv(&mut [0; 99]).unwrap(), 9, "{name}");
    }
    assert!(told > 150, "{told}");
    // The kernel gives a name (unix(7), "Autobind feature"), or there is none.
    for (is_bound, socket) in [(true, UnixDatagram::unbound()), (false, UnixDatagram::unbound())] {
        let client = socket.unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        if is_bound {
            rustix::net::bind(&client, &SocketAddrUnix::new_unnamed()).unwrap();
        }
        client.send_to(b"x", &server).unwrap();
        told += 1;
        let from = office.wait_letters(told)[told - 1].from.clone();
        if is_bound {
            assert!(matches!(&from, Address::Abstract(name) if name.len() == 5), "{from}");
            assert_eq!(client.recv(&mut [0; 99]).unwrap(), 1);
        } else {
            assert_eq!(from, Address::Unnamed);
        }
    }
    office.end();
}

/// Promises 6 and 7: a client connects from whatever name it has chosen, the name is told as it is, and
/// the listener goes on.
#[test]
fn a_client_of_any_name_is_told_and_served() {
    let folder = Folder::new("stream");
    let server = folder.0.join("s");
    let (peers, told) = mpsc::channel();
    let mail =
        Mail::default().on_tcp_open(move |conn| peers.send(conn.peer_addr().unwrap()).unwrap());
    let office = Office::open(mail, []);
    let listen = format!("unix:{}", server.display());
    office.ask(move |cx| cx.listen(listen).unwrap());
    let visit = |socket: OwnedFd| {
        rustix::net::connect(&socket, &SocketAddrUnix::new(&server).unwrap()).unwrap();
        let mut client = UnixStream::from(socket);
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.write_all(b"who am I?").unwrap();
        client.read_exact(&mut [0; 9]).unwrap();
        told.recv_timeout(DEADLINE).unwrap()
    };
    for name in names(&folder) {
        let Some(socket) = bound(SocketType::STREAM, &name) else { continue };
        assert_eq!(visit(socket), name);
    }
    let own = bound(SocketType::STREAM, &Address::Unnamed).unwrap();
    let own = visit(own);
    assert!(matches!(&own, Address::Abstract(name) if name.len() == 5), "{own}");
    let unbound = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    assert_eq!(visit(unbound), Address::Unnamed);
    office.end();
}

/// Promises 6 and 7: sockets of others are taken over, and connects made, whatever the names of both
/// ends.
#[test]
fn a_socket_of_any_name_is_taken_over_and_connected_to() {
    let folder = Folder::new("taken");
    let longest = |name: &str| {
        let path = folder.path(SUN_PATH).into_os_string().into_encoded_bytes();
        let path = [&path[..SUN_PATH - name.len()], name.as_bytes()].concat();
        PathBuf::from(std::ffi::OsStr::from_bytes(&path))
    };
    let full = |byte| Address::abstract_name([byte; SUN_PATH - 1]);
    for (ours, theirs, third) in [
        (Address::unix(longest("1")), Address::unix(longest("2")), Address::unix(longest("3"))),
        (full(1), full(2), full(3)),
    ] {
        let (peers, told) = mpsc::channel();
        let mail = echo().on_tcp_open(move |conn| {
            peers.send((conn.peer_addr().unwrap(), conn.local_addr().unwrap())).unwrap();
        });
        let office = Office::open(mail, []);

        // A listener of theirs, that we take over, and connect to.
        let socket = bound(SocketType::STREAM, &ours).unwrap();
        rustix::net::listen(&socket, 9).unwrap();
        let listener = UnixListener::from(socket);
        let to = ours.clone();
        let at = office.ask(move |cx| {
            let id = cx.listen(listener).unwrap();
            cx.connect(to, 7).unwrap();
            cx.listener_addr(id).unwrap()
        });
        assert_eq!(at, ours);
        let mut ends = [(); 2].map(|()| told.recv_timeout(DEADLINE).unwrap());
        ends.sort();
        let mut expected = [(ours.clone(), Address::Unnamed), (Address::Unnamed, ours.clone())];
        expected.sort();
        assert_eq!(ends, expected);

        // A stream of theirs, that we adopt.
        let socket = bound(SocketType::STREAM, &theirs).unwrap();
        rustix::net::connect(&socket, &named(&ours)).unwrap();
        let stream = UnixStream::from(socket);
        office.ask(move |cx| cx.adopt(stream, 7).unwrap());
        let mut ends = [(); 2].map(|()| told.recv_timeout(DEADLINE).unwrap());
        ends.sort();
        let mut expected = [(ours.clone(), theirs.clone()), (theirs.clone(), ours.clone())];
        expected.sort();
        assert_eq!(ends, expected);

        // A datagram socket of theirs; we connect it.
        let peer = UnixDatagram::from(bound(SocketType::DGRAM, &third).unwrap());
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut name = theirs.clone();
        if let Address::Unix(path) = &theirs {
            std::fs::remove_file(path).unwrap();
        } else {
            name = full(4);
        }
        let socket = UnixDatagram::from(bound(SocketType::DGRAM, &name).unwrap());
        let bind = Bind::from(socket).connect(third.clone());
        let (id, at) = office.ask(move |cx| {
            let id = cx.bind_datagram(bind).unwrap();
            cx.send_datagram(id, "hello").unwrap();
            (id, cx.datagram_addr(id).unwrap())
        });
        assert_eq!(at, name);
        assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 5);
        rustix::net::sendto(&peer, b"back", rustix::net::SendFlags::empty(), &named(&name))
            .unwrap();
        assert_eq!(office.wait_letters_of(id, 1)[0].from, third);
        wait_until("it is echoed", || office.ask(|cx| cx.stats().datagrams_out) == 2);
        office.end();
    }
}

/// No name is read as another: what no socket can be bound to is refused.
#[test]
fn a_name_that_no_socket_can_have_is_refused() {
    let office = Office::open(Mail::default(), [Bind::unnamed_unix()]);
    let id = office.ids[0];
    let empty = Path::new("");
    for to in [Address::unix(empty), Address::unix("\0hidden"), Address::unix("x".repeat(109))] {
        let at = to.clone();
        let errors = office
            .ask(move |cx| [cx.send_to(id, &at, "x").unwrap_err(), cx.connect(at, 7).unwrap_err()]);
        for error in errors {
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{to:?}: {error}");
        }
    }
    office.end();
}

/// Promise 7: what an address prints is read as that address by each of the three doors: `Address`,
/// `Listen` and `Bind`.
#[test]
fn what_an_address_prints_is_read_the_same_by_every_door() {
    let folder = Folder::new("doors");
    let mut reactor = wouldblock::Reactor::new(Mail::default()).unwrap();
    let mut names = vec![Address::abstract_name([0; SUN_PATH - 1])];
    for seed in 0..200 {
        let odd = b"\\\\x0n\n\r\t\0'\" @:ua\x7f\x80\xc3\xa9\xe2\x80\xa8\xff";
        let bytes = random(seed, 1 + seed as usize % 40);
        let bytes = bytes.iter().map(|byte| odd[usize::from(*byte) % odd.len()]);
        let own = format!("wouldblock-{}-{seed}", std::process::id()).into_bytes();
        names.push(Address::abstract_name(
            own.iter().copied().chain(bytes.clone()).collect::<Vec<_>>(),
        ));
        let name: Vec<_> = bytes.filter(|byte| *byte != 0).chain([b'.', seed as u8 | 1]).collect();
        if !name.contains(&b'/') {
            names.push(Address::unix(folder.0.join(std::ffi::OsStr::from_bytes(&name))));
        }
    }
    for name in names {
        let printed = name.to_string();
        assert!(!printed.contains(|c: char| c.is_control()), "{printed:?}");
        assert_eq!(printed.parse::<Address>().unwrap(), name);
        let id = reactor.listen(&printed).unwrap();
        assert_eq!(reactor.listener_addr(id).unwrap(), name);
        reactor.close_listener(id);
        let id = reactor.bind_datagram(&printed).unwrap();
        assert_eq!(reactor.datagram_addr(id).unwrap(), name);
        reactor.close_datagram(id);
    }
    let error = reactor.listen("unix:(unnamed)").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let id = reactor.bind_datagram("unix:(unnamed)").unwrap();
    assert_eq!(reactor.datagram_addr(id).unwrap(), Address::Unnamed);
    for text in ["unix:a\\b", "unix:@a\\b", "unix:"] {
        for error in [
            text.parse::<Address>().unwrap_err(),
            reactor.listen(text).unwrap_err(),
            reactor.bind_datagram(text).unwrap_err(),
        ] {
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{text}: {error}");
        }
    }
}

/// Trap 53: of a relative path the bytes that were given are what has to fit, wherever the process
/// stands; a dead server's is taken over, and ours removed, all the same.
#[test]
fn a_short_relative_path_is_bound_in_a_deep_directory() {
    child::run("datagrams::names::child_deep");
}

#[test]
#[ignore = "a child of a_short_relative_path_is_bound_in_a_deep_directory"]
fn child_deep() {
    if !child::is_running("datagrams::names::child_deep") {
        return;
    }
    let folder = Folder::new("deep");
    let deep = folder.0.join("d".repeat(100));
    std::fs::create_dir(&deep).unwrap();
    std::env::set_current_dir(&deep).unwrap();
    for _ in 0..2 {
        let mut reactor = wouldblock::Reactor::new(Mail::default()).unwrap();
        // A dead one, of either kind.
        drop(UnixListener::bind("stream").unwrap());
        drop(UnixDatagram::bind("mail").unwrap());
        reactor.listen(wouldblock::Listen::from("unix:stream").mode(0o600)).unwrap();
        let id = reactor.bind_datagram(Bind::from("unix:./mail").mode(0o600)).unwrap();
        assert_eq!(reactor.datagram_addr(id).unwrap(), Address::unix("./mail"));
        let mut other = wouldblock::Reactor::new(Mail::default()).unwrap();
        for error in [
            other.listen("unix:stream").unwrap_err(),
            other.bind_datagram("unix:mail").unwrap_err(),
        ] {
            assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}");
        }
        let error = other.listen(format!("unix:{}", deep.join("x").display())).unwrap_err();
        assert!(error.to_string().contains("107 do"), "{error}");
        UnixStream::connect("stream").unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"x", "mail").unwrap();
        // It is removed wherever we are by then.
        std::env::set_current_dir("/").unwrap();
        drop(reactor);
        std::env::set_current_dir(&deep).unwrap();
        assert_eq!(std::fs::read_dir(".").unwrap().count(), 0);
    }
    // Where the absolute path fits it is the one that is told.
    std::env::set_current_dir(&folder.0).unwrap();
    let mut reactor = wouldblock::Reactor::new(Mail::default()).unwrap();
    let id = reactor.listen("unix:near").unwrap();
    assert_eq!(reactor.listener_addr(id).unwrap(), Address::unix(folder.0.join("near")));
}

/// What others had sent before a socket was connected is not its peer's, and is dropped and counted:
/// of UDP, where it was connected before it came to us, and of a Unix socket.
#[test]
fn what_a_stranger_sent_before_the_connect_is_not_told() {
    let folder = Folder::new("stray");
    let (peer, other) = (super::client("127.0.0.1:0"), super::client("127.0.0.1:0"));
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = udp.local_addr().unwrap();
    other.send_to(b"stray", at).unwrap();
    udp.connect(peer.local_addr().unwrap()).unwrap();
    peer.send_to(b"peer", at).unwrap();

    let name = |name: &str| folder.0.join(name);
    let unix = UnixDatagram::bind(name("ours")).unwrap();
    let [unix_peer, unix_other] = ["peer", "other"].map(|of| UnixDatagram::bind(name(of)).unwrap());
    unix_other.send_to(b"stray", name("ours")).unwrap();
    unix_peer.send_to(b"peer", name("ours")).unwrap();
    let nameless = UnixDatagram::unbound().unwrap();
    nameless.send_to(b"stray", name("ours")).unwrap();
    // One of a pair that takes a name later is still the peer.
    let (pair, theirs) = UnixDatagram::pair().unwrap();
    theirs.send(b"1").unwrap();
    let bind = Bind::from(unix).connect(Address::unix(name("peer")));
    let office = Office::open(Mail::default(), [udp.into(), bind, pair.into()]);
    let of = |n: usize| {
        let letters = office.wait_letters_of(office.ids[n], 1);
        letters.into_iter().map(|letter| letter.payload).collect::<Vec<_>>()
    };
    assert_eq!(
        (of(0), of(1), of(2)),
        (vec![b"peer".to_vec()], vec![b"peer".to_vec()], vec![b"1".to_vec()])
    );
    let later = Address::unix(name("later"));
    rustix::net::bind(&theirs, &named(&later)).unwrap();
    theirs.send(b"2").unwrap();
    assert_eq!(office.wait_letters_of(office.ids[2], 2)[1].from, later);
    let stats = office.end();
    assert_eq!((stats.datagrams_in, stats.datagrams_stray), (4, 3));
}
