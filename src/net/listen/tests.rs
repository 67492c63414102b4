use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use socket2::SockAddr;

use super::*;
use crate::net::socket::name::ABSTRACT_NAMES;

fn open(listen: impl Into<Listen>) -> io::Result<(Acceptor, Option<OwnedPath>)> {
    listen.into().open_on(None).map(|opened| (opened.acceptor, opened.path))
}

/// An accepted socket and its client.
fn accepted(listen: impl Into<Listen>) -> (crate::net::socket::Socket, net::TcpStream) {
    let (acceptor, _) = open(listen).unwrap();
    let addr = acceptor.local_addr().unwrap().socket_addr().unwrap();
    let client = net::TcpStream::connect(addr).unwrap();
    (acceptor.accept().unwrap().0, client)
}

/// A folder of its own for a test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wouldblock-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn socket(&self) -> (PathBuf, String) {
        let path = self.0.join("socket");
        let name = format!("unix:{}", path.display());
        (path, name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_name_without_a_port_is_a_clear_error() {
    let error = open("localhost").unwrap_err().to_string();
    assert!(error.starts_with("cannot listen on localhost: "), "{error}");
    let error = open("a\nb").unwrap_err().to_string();
    assert!(error.starts_with(r"cannot listen on a\nb: "), "{error}");
}

#[test]
fn the_first_address_that_binds_is_taken() {
    let options = Options::default();
    let taken = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap();
    let free = "127.0.0.1:0".parse().unwrap();
    let Opened { acceptor, .. } = options.bind_first([busy, free].into_iter()).unwrap();
    assert_ne!(acceptor.local_addr().unwrap().socket_addr(), Some(busy));
    let error = options.bind_first([busy].into_iter()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(options.bind_first(std::iter::empty()).is_err());
}

/// Trap 43: options of the listener reach the accepted socket.
#[test]
fn an_accepted_socket_inherits_nodelay_and_keepalive() {
    for on in [true, false] {
        let (socket, _client) = accepted(Listen::from("127.0.0.1:0").nodelay(on).keepalive(on));
        let fd = socket.fd().unwrap();
        assert_eq!(SockRef::from(&fd).tcp_nodelay().unwrap(), on);
        assert_eq!(SockRef::from(&fd).keepalive().unwrap(), on);
    }
    let (socket, _client) = accepted("127.0.0.1:0");
    let fd = socket.fd().unwrap();
    assert!(SockRef::from(&fd).tcp_nodelay().unwrap());
    assert!(SockRef::from(&fd).keepalive().unwrap());
}

#[test]
fn an_accepted_socket_inherits_the_sizes_of_the_kernels_buffers() {
    let listen = Listen::from("127.0.0.1:0").recv_buffer(20_000).send_buffer(30_000);
    let (socket, _client) = accepted(listen);
    let fd = socket.fd().unwrap();
    // Linux doubles what was asked for (socket(7)).
    let sizes = (
        SockRef::from(&fd).recv_buffer_size().unwrap(),
        SockRef::from(&fd).send_buffer_size().unwrap(),
    );
    assert!((20_000..=40_000).contains(&sizes.0), "{sizes:?}");
    assert!((30_000..=60_000).contains(&sizes.1), "{sizes:?}");
}

/// Trap 26: the kernel keeps as many connections as it was told to, and one more (Linux's listen(2)).
#[test]
fn the_backlog_is_the_one_that_was_asked_for() {
    let (acceptor, _) = open(Listen::from("127.0.0.1:0").backlog(3)).unwrap();
    let addr: SockAddr = acceptor.local_addr().unwrap().socket_addr().unwrap().into();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&addr);
            client
        })
        .collect();
    // A client that found no room tries again after a second (tcp(7)); none is accepted meanwhile.
    let connected = || clients.iter().filter(|client| client.peer_addr().is_ok()).count();
    while connected() < 4 {
        std::thread::yield_now();
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(connected(), 4);
    // Which one it is waits at the door: three of the backlog and one more are let in.
    let mut let_in = 0;
    while acceptor.accept().is_ok() {
        let_in += 1;
    }
    assert!(let_in >= 4, "{let_in}");
}

/// Trap 54: whether IPv6 brings IPv4 along is said, not guessed.
#[test]
fn an_ipv6_listener_takes_ipv4_along_or_leaves_it_as_it_is_told() {
    for only_v6 in [true, false] {
        let (acceptor, _) = open(Listen::from("[::]:0").only_v6(only_v6)).unwrap();
        let port = acceptor.local_addr().unwrap().port().unwrap();
        assert_eq!(net::TcpStream::connect(("127.0.0.1", port)).is_ok(), !only_v6);
        assert!(net::TcpStream::connect(("::1", port)).is_ok());
    }
}

/// Trap 28: two sockets share a port only if both say so.
#[test]
fn a_port_is_shared_by_those_who_say_so() {
    let (first, _) = open(Listen::from("127.0.0.1:0").reuse_port(true)).unwrap();
    let addr = first.local_addr().unwrap().socket_addr().unwrap();
    assert!(open(Listen::from(addr).reuse_port(true)).is_ok());
    assert_eq!(open(addr).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    let error = open(Listen::from("unix:/tmp/x").reuse_port(true)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

// --- Whose path it is ---------------------------------------------------------------------------

/// Trap 52: a path is ours from bind to close.
#[test]
fn a_path_is_bound_and_removed_at_the_end() {
    let folder = Folder::new("bound");
    let (path, name) = folder.socket();
    let (acceptor, owned) = open(name.as_str()).unwrap();
    assert_eq!(acceptor.local_addr().unwrap(), Address::Unix(path.clone().into()));
    let mut client = unix::UnixStream::connect(&path).unwrap();
    let (mut socket, peer) = acceptor.accept().unwrap();
    assert_eq!(peer, Address::Unnamed);
    socket.write_all(b"hello").unwrap();
    let mut buf = [0; 5];
    client.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"hello");
    drop(owned);
    assert!(!path.exists());
}

/// Trap 52: what a dead server left behind is no obstacle.
#[test]
fn a_dead_servers_path_is_taken_over() {
    let folder = Folder::new("dead");
    let (path, name) = folder.socket();
    // The standard library leaves the file behind.
    drop(unix::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (_acceptor, _owned) = open(name).unwrap();
    assert!(unix::UnixStream::connect(&path).is_ok());
}

/// Trap 52: what a live server answers is not stolen.
#[test]
fn a_live_servers_path_stays_untouched() {
    let folder = Folder::new("live");
    let (path, name) = folder.socket();
    let live = unix::UnixListener::bind(&path).unwrap();
    let error = open(name).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("a server is listening there"), "{error}");
    assert!(unix::UnixStream::connect(&path).is_ok());
    drop(live);
}

/// Trap 52: nothing is unlinked that is no socket, let alone a folder.
#[test]
fn a_file_or_a_folder_stays_untouched() {
    let folder = Folder::new("file");
    let (path, name) = folder.socket();
    std::fs::write(&path, "precious").unwrap();
    let error = open(name.as_str()).unwrap_err();
    assert!(error.to_string().ends_with("it is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("inside"), "precious").unwrap();
    assert!(open(name.as_str()).is_err());
    assert_eq!(std::fs::read_to_string(path.join("inside")).unwrap(), "precious");
}

#[test]
fn a_path_that_is_somebody_elses_by_now_is_not_removed() {
    let folder = Folder::new("elses");
    let (path, name) = folder.socket();
    let (_acceptor, owned) = open(name).unwrap();
    std::fs::rename(&path, folder.0.join("kept")).unwrap();
    std::fs::write(&path, "precious").unwrap();
    drop(owned);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn an_inherited_listeners_path_is_never_removed() {
    let folder = Folder::new("inherited");
    let (path, _) = folder.socket();
    let (acceptor, owned) = open(unix::UnixListener::bind(&path).unwrap()).unwrap();
    assert!(owned.is_none());
    drop(acceptor);
    assert!(path.exists());
}

/// Trap 53: no client connects under another mode than was asked for.
#[test]
fn a_path_has_the_mode_that_was_asked_for() {
    let folder = Folder::new("mode");
    let (path, name) = folder.socket();
    for mode in [0o600, 0o666] {
        let (_acceptor, _owned) = open(Listen::from(&name).mode(mode)).unwrap();
        let found = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode);
    }
}

/// Trap 53: a socket address holds 107 bytes of path.
#[test]
fn too_long_a_path_is_a_clear_error() {
    let path = format!("unix:/tmp/{}", "x".repeat(104));
    let error = open(path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("109 bytes of path do not fit"), "{error}");
}

#[test]
fn an_abstract_name_leaves_no_file() {
    if !ABSTRACT_NAMES {
        return;
    }
    let plain = format!("unix:@wouldblock-{}", std::process::id());
    for name in [format!("{plain}\\x00\\xff\\\\"), plain] {
        let (acceptor, owned) = open(name.as_str()).unwrap();
        assert!(owned.is_none());
        assert_eq!(acceptor.local_addr().unwrap().to_string(), name);
        assert_eq!(open(name.as_str()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
    assert_eq!(open("unix:@a\\b").unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

/// Trap 71: nor is a short write.
#[test]
fn no_short_count_of_a_unix_socket_is_a_proof() {
    let (ours, _theirs) = unix::UnixStream::pair().unwrap();
    let socket = crate::net::socket::Stream::from(ours).into_socket().unwrap();
    assert!(!socket.short_read_is_proof() && !socket.short_write_is_proof());
    assert!(socket.fd().unwrap().as_fd().try_clone_to_owned().is_ok());
}
