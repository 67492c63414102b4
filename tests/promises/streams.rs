//! Streams of every kind under one reactor: Unix sockets beside TCP, adopted ones, listeners that
//! come and go while it runs.

use std::io::{IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use wouldblock::{Address, Config, Origin};

use crate::support::{
    DEADLINE, KIB, MIB, Server, assert_same, echo, ping, random, read_n, read_to_end, stall,
    wait_until,
};

/// A socket path of a test's own.
fn path(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("wouldblock-{test}-{}", std::process::id()))
}

/// An echo over TCP and over this path.
fn serve(path: &std::path::Path, script: crate::support::Script) -> Server {
    let name = format!("unix:{}", path.display());
    let (told, tells) = std::sync::mpsc::channel();
    let script = script.on_start(move |cx| {
        cx.listen(&name)?;
        // That the path is there would not do: it is bound a moment before it listens.
        told.send(()).unwrap();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    tells.recv_timeout(DEADLINE).expect("it listens");
    server
}

fn connect(path: &std::path::Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Promise 2: what goes in over a Unix socket comes back whole, and the path goes with the server.
#[test]
fn a_unix_socket_is_served_like_any_other() {
    let path = path("echo");
    let server = serve(&path, echo());
    let bytes = random(1, 3 * MIB);
    let client = connect(&path);
    let mut reader = client.try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        got
    });
    (&client).write_all(&bytes).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_same(&reading.join().unwrap(), &bytes);
    let mut other = server.connect();
    ping(&mut other, b"over TCP too");
    drop(other);
    server.end();
    assert!(!path.exists());
}

/// Promise 1, Trap 71: a `recv` of a Unix socket stops before and behind a descriptor passed along,
/// with more waiting and no further edge. The descriptors are not kept.
#[test]
fn a_descriptor_passed_along_neither_stalls_the_stream_nor_leaks() {
    let path = path("rights");
    let (stall, stalled) = stall();
    let script = echo().on_data(move |conn, input| {
        if input.bytes() == b"stall" {
            stalled.stand_still();
        }
        conn.send(input.take_all());
        Ok(())
    });
    let server = serve(&path, script);
    let client = connect(&path);
    let mut other = server.connect();
    for round in 0..5 {
        other.write_all(b"stall").unwrap();
        stall.wait_entered();
        // The end of the pipe that goes along is open nowhere else.
        let (reader, writer) = std::io::pipe().unwrap();
        (&client).write_all(b"before ").unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let fds = [writer.as_fd()];
        assert!(rights.push(SendAncillaryMessage::ScmRights(&fds)));
        let with = [IoSlice::new(b"with ")];
        rustix::net::sendmsg(&client, &with, &mut rights, SendFlags::empty()).unwrap();
        drop(writer);
        (&client).write_all(b"behind").unwrap();
        stall.release();
        // Not read before all is there: taking a part would make the server's socket writable
        // anew, and that edge would hide the stall.
        wait_until("all comes back", || rustix::io::ioctl_fionread(&client).unwrap() == 18);
        let mut got = [0; 18];
        (&client).read_exact(&mut got).unwrap();
        assert_eq!(&got, b"before with behind", "round {round}");
        // Had anybody kept the writing end, this would wait for ever.
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        wait_until("the passed descriptor is closed", || {
            matches!(rustix::io::read(&reader, &mut [0; 1]), Ok(0))
        });
        assert_eq!(read_n(&mut other, 5), b"stall");
    }
    drop((client, other));
    server.end();
}

/// Promises 1 and 7: a Unix peer that shuts both halves with bytes unread makes no room, so its
/// socket does not become writable; that all is over is found at once, not by `write_stall`.
#[test]
fn a_unix_peer_that_shuts_both_halves_unread_is_gone_at_once() {
    let path = path("shut");
    let script = echo().on_open(|conn| {
        conn.send(vec![b'x'; 3 * MIB]);
        Ok(())
    });
    let server = serve(&path, script);
    let client = connect(&path);
    let id = server.record.wait_opens(1)[0];
    wait_until("the kernel is full", || rustix::io::ioctl_fionread(&client).unwrap() > 0);
    crate::support::watch(std::time::Duration::from_millis(50));
    client.shutdown(Shutdown::Both).unwrap();
    // `write_stall` is two minutes, and so longer than anybody waits here.
    let closed = server.record.wait_close_of(id);
    assert!(matches!(closed.reason, wouldblock::CloseReason::Io(_)), "{closed}");
    assert!(closed.unsent > 0);
    drop(client);
    server.end();
}

/// Promise 4, promise 5: a Unix peer that never reads is held back like any other.
#[test]
fn a_unix_peer_that_never_reads_stops_itself() {
    let path = path("never");
    let server = serve(&path, echo());
    let client = connect(&path);
    client.set_nonblocking(true).unwrap();
    let piece = vec![7; 64 * KIB];
    let mut sent = 0;
    wait_until("the server stops reading", || {
        match (&client).write(&piece) {
            Ok(n) => sent += n,
            Err(_) => return sent > 0,
        }
        false
    });
    let mut other = connect(&path);
    other.write_all(b"others do not notice").unwrap();
    let mut got = [0; 20];
    other.read_exact(&mut got).unwrap();
    client.set_nonblocking(false).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    (&client).read_to_end(&mut back).unwrap();
    // What the first failing write may have begun is counted by it or not at all.
    assert_eq!(back.len(), sent);
    drop(other);
    server.end();
}

/// Trap 34: a dead Unix peer costs an error, not the process.
#[test]
fn a_unix_peer_that_vanishes_is_told_as_its_end() {
    let path = path("vanish");
    let server = serve(&path, echo());
    for _ in 0..20 {
        let client = connect(&path);
        (&client).write_all(&vec![7; 100 * KIB]).unwrap();
        drop(client);
    }
    server.record.wait_closes(20);
    server.end();
}

/// Three listeners of three kinds, one process, one thread.
#[test]
fn ipv4_ipv6_and_unix_are_served_side_by_side() {
    let path = path("three");
    let name = format!("unix:{}", path.display());
    let (told, tells) = std::sync::mpsc::channel();
    let script = echo().on_start(move |cx| {
        cx.listen(&name)?;
        // Which port it is shows at the first client, who is told by the one of IPv4.
        let v6 = std::net::TcpListener::bind("[::1]:0")?;
        told.send(v6.local_addr()?).unwrap();
        cx.listen(v6).map(drop)
    });
    let server = Server::start(script, Config::default());
    let mut v4 = server.connect();
    let mut v6 = TcpStream::connect(tells.recv_timeout(DEADLINE).unwrap()).unwrap();
    let unix = connect(&path);
    ping(&mut v4, b"four");
    ping(&mut v6, b"six");
    (&unix).write_all(b"unix").unwrap();
    let mut got = [0; 4];
    (&unix).read_exact(&mut got).unwrap();
    assert_eq!(&got, b"unix");
    drop((v4, v6, unix));
    let stats = server.end();
    assert_eq!(stats.accepted, 3);
}

/// Promise 3: an adopted stream is opened once, after the callback that brought it.
#[test]
fn an_adopted_stream_is_served_like_an_accepted_one() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (tcp_ours, _) = listener.accept().unwrap();
    let mut streams = Some((ours, tcp_ours));
    let (told, tells) = std::sync::mpsc::channel();
    let opened = told.clone();
    let script = echo()
        .on_open(move |conn| {
            opened.send((Some(conn.id()), conn.peer_addr()?)).unwrap();
            Ok(())
        })
        .on_start(move |cx| {
            let (unix, tcp) = streams.take().unwrap();
            for id in [cx.adopt(unix, 7)?, cx.adopt(tcp, 8)?] {
                cx.conn(id).expect("it is there before its on_open").send(b"early ");
                assert!(!cx.connections().contains(&id), "it is not open yet");
            }
            told.send((None, Address::Unnamed)).unwrap();
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let started = tells.recv_timeout(DEADLINE).unwrap();
    assert_eq!(started.0, None, "on_open does not run inside on_start");
    let unix = tells.recv_timeout(DEADLINE).unwrap();
    assert_eq!(unix.1, Address::Unnamed);
    let tcp = tells.recv_timeout(DEADLINE).unwrap();
    assert_eq!(tcp.1, Address::Ip(tcp_theirs.local_addr().unwrap()));
    for stream in [&mut &theirs as &mut dyn ReadWrite, &mut &tcp_theirs] {
        stream.write_all(b"hello").unwrap();
        let mut got = [0; 11];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"early hello");
    }
    drop((theirs, tcp_theirs));
    server.record.wait_closes(2);
    let stats = server.end();
    assert_eq!((stats.adopted, stats.accepted), (2, 0));
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Promise 7: a stream that is not connected is a clear error, and so is one too many.
#[test]
fn what_cannot_be_adopted_is_refused_with_a_reason() {
    let mut reactor =
        wouldblock::Reactor::with_config(echo(), Config::default().connections(1)).unwrap();
    let unconnected: TcpStream =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap().into();
    let error = reactor.adopt(unconnected, 0).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    reactor.adopt(ours, 0).unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let error = reactor.adopt(ours, 0).unwrap_err();
    assert_eq!(error.to_string(), "1 connections are the limit");
}

/// Promise 2: a stream whose peer has said a word and left before the adoption is opened, and the
/// word is read, as if the peer had left a moment later: by a reset, or by an end that follows
/// ours.
#[test]
fn a_word_said_before_a_reset_is_read_of_a_stream_that_is_adopted_later() {
    use wouldblock::{Closed, Conn, ConnId, Context, Handler, Input, Reactor};

    struct Words(Vec<String>);
    impl Handler for Words {
        type Session = ();
        fn on_open(&mut self, conn: &mut Conn<'_>, _: Origin) -> std::io::Result<()> {
            self.0.push(format!("open {}", conn.peer_addr()?));
            Ok(())
        }
        fn on_data(
            &mut self,
            _: &mut Conn<'_>,
            (): &mut (),
            input: &mut Input<'_>,
        ) -> std::io::Result<()> {
            self.0.push(String::from_utf8_lossy(input.take_all()).into());
            Ok(())
        }
        fn on_close(&mut self, cx: &mut Context, _: ConnId, (): (), closed: Closed) {
            self.0.push(format!("close, clean {}", closed.clean));
            cx.shutdown();
        }
    }

    for resets in [true, false] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = crate::support::connect(listener.local_addr().unwrap());
        let (stream, _) = listener.accept().unwrap();
        client.write_all(b"word").unwrap();
        if resets {
            crate::support::reset(client);
        } else {
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&mut client), b"");
            drop(client);
        }
        wait_until("the peer has left", || stream.peer_addr().is_err());
        let mut reactor = Reactor::new(Words(Vec::new())).unwrap();
        reactor.adopt(stream, 0).unwrap();
        reactor.run().unwrap();
        let clean = !resets;
        // The kernel has forgotten who it was.
        let expected = ["open 0.0.0.0:0", "word", &format!("close, clean {clean}")];
        assert_eq!(reactor.handler().0, expected, "by a reset: {resets}");
    }
}

/// A listener that is closed while the reactor runs takes nobody more; its connections stay.
#[test]
fn a_listener_can_be_closed_and_opened_again_while_it_runs() {
    let script = echo().on_data(|conn, input| {
        while let Some(line) = input.line() {
            match line {
                b"close" => {
                    let first = conn.cx().listeners()[0];
                    assert!(conn.cx().close_listener(first));
                    assert!(!conn.cx().close_listener(first), "it is gone");
                    conn.send(b"closed\n");
                }
                b"open" => {
                    let id = conn.cx().listen("127.0.0.1:0")?;
                    let addr = conn.cx().listener_addr(id).unwrap();
                    conn.send(format!("{addr}\n"));
                }
                _ => conn.send(line),
            }
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"close\n").unwrap();
    assert_eq!(read_n(&mut client, 7), b"closed\n");
    wait_until("nobody is let in", || TcpStream::connect(server.addr).is_err());
    client.write_all(b"open\n").unwrap();
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.extend(read_n(&mut client, 1));
    }
    let addr: std::net::SocketAddr = String::from_utf8(line).unwrap().trim().parse().unwrap();
    let mut again = TcpStream::connect(addr).unwrap();
    again.write_all(b"hello\n").unwrap();
    assert_eq!(read_n(&mut again, 5), b"hello");
    again.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut again), b"");
    drop((client, again));
    server.end();
}

/// The origin says which listener it was, or under which tag it was adopted.
#[test]
fn an_origin_tells_where_a_connection_came_from() {
    use wouldblock::{Conn, Handler, Input, Reactor};

    struct Origins(Vec<Origin>);
    impl Handler for Origins {
        type Session = ();
        fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> std::io::Result<()> {
            self.0.push(origin);
            conn.cx().shutdown();
            Ok(())
        }
        fn on_data(
            &mut self,
            _: &mut Conn<'_>,
            (): &mut (),
            _: &mut Input<'_>,
        ) -> std::io::Result<()> {
            Ok(())
        }
    }

    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let mut reactor = Reactor::new(Origins(Vec::new())).unwrap();
    reactor.adopt(ours, 42).unwrap();
    reactor.run().unwrap();
    assert_eq!(reactor.handler().0, [Origin::Adopted(42)]);
}
