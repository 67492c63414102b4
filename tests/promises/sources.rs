//! Promises 2, 4 and 5, for what is sent from a source: whole, in order, and a piece at a time.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wouldblock::bytes::Bytes;
use wouldblock::{CloseReason, Config, Conn, chunks, exactly};

use crate::support::*;

/// A source that is counted: its drops, and the bytes that were read of it.
struct Counted<R> {
    source: R,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    drops: AtomicUsize,
    read: AtomicUsize,
}

impl Counts {
    fn count<R>(self: &Arc<Self>, source: R) -> Counted<R> {
        Counted { source, counts: self.clone() }
    }

    fn drops(&self) -> usize {
        self.drops.load(Ordering::Relaxed)
    }

    fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buf)?;
        self.counts.read.fetch_add(n, Ordering::Relaxed);
        Ok(n)
    }
}

impl<R> Drop for Counted<R> {
    fn drop(&mut self) {
        self.counts.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// So many bytes, then this error.
struct Fails(usize, ErrorKind);

impl Read for Fails {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.0.min(buf.len());
        buf[..n].fill(b'x');
        self.0 -= n;
        if n == 0 { Err(io::Error::new(self.1, "bad sector")) } else { Ok(n) }
    }
}

/// Answers the first input by way of a source, and what else the closure does.
fn answers(mut f: impl FnMut(&mut Conn<'_>) + Send + 'static) -> Script {
    echo().on_data(move |conn, input| {
        input.take_all();
        f(conn);
        Ok(())
    })
}

/// What a client reads to the end that says one byte, and how its connection ended.
fn ask(script: Script, config: Config) -> (Vec<u8>, io::Result<()>, Arc<wouldblock::Closed>) {
    let server = Server::start(script, config);
    let mut client = server.connect();
    client.write_all(b"?").unwrap();
    let (read, result) = read_until_gone(&mut client);
    drop(client);
    let closed = server.record.wait_close();
    server.end();
    (read, result, closed)
}

/// Promise 2: sends before, between and behind sources keep their order, from whatever they come.
#[test]
fn sources_and_sends_go_out_in_the_order_in_which_they_were_made() {
    let body = random(1, 3 * MIB);
    let large = random(2, 200 * KIB);
    let (answer, middle) = (body.clone(), large.clone());
    let script = answers(move |conn| {
        conn.send("head ");
        conn.send_from(Cursor::new(answer.clone()));
        conn.send(" a ");
        conn.send("b ");
        conn.send_shared(Bytes::from(middle.clone()));
        conn.send_from(chunks(["", "one", "", " two"]));
        conn.send_from(io::empty());
        conn.send_from(&b" static"[..]);
        conn.send(" tail");
        conn.close();
        conn.send("ignored");
        conn.send_from(&b"ignored, too"[..]);
    });
    let (read, result, closed) = ask(script, Config::default());
    let wanted = [b"head ", &body[..], b" a b ", &large, b"one two static", b" tail"].concat();
    assert_same(&read, &wanted);
    result.unwrap();
    assert_eq!((closed.unsent, closed.unfinished), (0, false));
}

/// Promise 4: twenty clients that read slowly have a file of 64 MiB of one server that holds a piece for
/// each.
#[test]
fn a_file_reaches_many_slow_clients_and_a_piece_of_it_is_held_for_each() {
    const CLIENTS: usize = 20;
    const SIZE: usize = 64 * MIB;
    let path = std::env::temp_dir().join(format!("wouldblock-file-{}", std::process::id()));
    let bytes = random(3, MIB);
    let mut file = File::create(&path).unwrap();
    for _ in 0..SIZE / MIB {
        file.write_all(&bytes).unwrap();
    }
    let (counts, most) = (Arc::new(Counts::default()), Arc::new(AtomicUsize::new(0)));
    let (counted, peak, name) = (counts.clone(), most.clone(), path.clone());
    let script = echo()
        .on_data(move |conn, input| {
            input.take_all();
            conn.send_from(counted.count(File::open(&name)?));
            conn.set_timeout(Duration::from_millis(1));
            conn.finish();
            Ok(())
        })
        .on_timeout(move |conn| {
            peak.fetch_max(conn.queued(), Ordering::Relaxed);
            conn.set_timeout(Duration::from_millis(1));
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"?").unwrap();
    }
    // Nobody reads: of the file is read what the kernel takes, and a piece for each.
    wait_until("all are served", || counts.read() >= CLIENTS * 64 * KIB);
    watch(Duration::from_millis(300));
    let read = counts.read();
    assert!(read < CLIENTS * SIZE / 2, "{read} bytes were read, and no client has read any");
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                let mut buf = vec![0; MIB];
                for _ in 0..SIZE / MIB {
                    client.read_exact(&mut buf).unwrap();
                    assert!(buf == bytes, "other bytes came than are in the file");
                }
                assert_eq!(read_to_end(client), b"");
            });
        }
    });
    drop(clients);
    server.record.wait_closes(CLIENTS);
    let stats = server.end();
    assert_eq!((stats.bytes_out, counts.drops()), ((CLIENTS * SIZE) as u64, CLIENTS));
    let most = most.load(Ordering::Relaxed);
    assert!(most <= 80 * KIB, "{most} bytes were queued at a time");
    std::fs::remove_file(path).unwrap();
}

/// Promise 5: while a source runs its connection is not read from, and there is no room; `on_drain` tells
/// that it has ended, that of an empty one, too.
#[test]
fn a_source_counts_as_output_above_high_until_its_end() {
    for size in [0, 1, MIB] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let rooms = seen.clone();
        let script = echo()
            .on_data(move |conn, input| {
                while let Some(line) = input.line() {
                    conn.send(line);
                    conn.send_from(io::repeat(b'.').take(size as u64));
                    rooms.lock().unwrap().push((conn.room(), input.is_resting()));
                }
                Ok(())
            })
            .on_drain(|conn| {
                assert!(conn.room() > 0);
                conn.send("|");
                Ok(())
            });
        let server = Server::start(script, Config::default());
        let mut client = server.connect();
        client.write_all(b"1\n2\n3\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let read = String::from_utf8(read_to_end(&mut client)).unwrap();
        let dots = ".".repeat(size);
        let wanted = format!("1{dots}|2{dots}|3{dots}|");
        assert!(read == wanted, "{} of {} bytes", read.len(), wanted.len());
        assert_eq!(*seen.lock().unwrap(), [(0, true); 3]);
        server.record.wait_close();
        let id = server.record.opens()[0];
        assert!(
            server.record.story(id).ends_with("drain eof close"),
            "{}",
            server.record.story(id)
        );
        server.end();
    }
}

/// Promise 2: neither a pause, nor the peer's end, nor `finish`, `close` or a shutdown cuts a source off.
#[test]
fn a_source_survives_pause_half_close_finish_close_and_shutdown() {
    let deeds: [fn(&mut Conn<'_>); 5] = [
        |conn| conn.pause(),
        |conn| conn.finish(),
        |conn| conn.close(),
        |conn| conn.cx().shutdown(),
        |_| (),
    ];
    let body = random(4, 8 * MIB);
    for (n, deed) in deeds.into_iter().enumerate() {
        let answer = body.clone();
        let script = narrow_echo()
            .on_data(move |conn, input| {
                input.take_all();
                conn.send_from(Cursor::new(answer.clone()));
                deed(conn);
                Ok(())
            })
            .on_drain(|conn| {
                conn.resume();
                Ok(())
            });
        let server = Server::start(script, Config::default());
        let mut client = server.connect();
        client.write_all(b"?").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let read = read_to_end(&mut client);
        assert_same(&read, &body);
        let closed = server.record.wait_close();
        assert!(closed.clean && !closed.unfinished, "{n}: {closed}");
        server.end();
    }
}

/// Promises 2 and 7: half an answer does not look whole. What came before the failure arrives, then a
/// reset; the reason is the source's own error; and what was sent behind it is lost, and counted.
#[test]
fn a_source_that_fails_delivers_what_came_before_and_resets() {
    for size in [0, 100, 5 * MIB] {
        let counts = Arc::new(Counts::default());
        let counted = counts.clone();
        let script = answers(move |conn| {
            conn.send("head");
            conn.send_from(counted.count(Fails(size, ErrorKind::Other)));
            conn.send("lost");
            conn.send_from(counted.count(io::repeat(b'y')));
        });
        let (read, result, closed) = ask(script, Config::default());
        assert_eq!(read.len(), 4 + size);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(
            closed.to_string(),
            "source error: bad sector, 4 bytes unsent, a source unfinished"
        );
        assert!(matches!(&closed.reason, CloseReason::Source(e) if e.kind() == ErrorKind::Other));
        assert_eq!(counts.drops(), 2);
    }
}

/// Promise 2: an answer whose length was told is that long or no whole answer: a file that has shrunk is
/// a failure, and one that has grown is cut off.
#[test]
fn a_source_of_a_length_that_was_told_is_that_long_or_fails() {
    let script = answers(|conn| {
        conn.send_from(exactly(3, &b"abcdef"[..]));
        conn.send_from(exactly(10, &b"short"[..]));
        conn.send("lost");
    });
    let (read, result, closed) = ask(script, Config::default());
    assert_same(&read, b"abcshort");
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(
        closed.to_string().starts_with("source error: a source has ended 5 bytes early"),
        "{closed}"
    );
}

/// Interrupted two times of three, then a byte.
struct Interrupted(u32);
impl Read for Interrupted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0 -= 1;
        if self.0.is_multiple_of(3) {
            buf[0] = b'x';
            Ok(usize::from(self.0 > 0))
        } else {
            Err(ErrorKind::Interrupted.into())
        }
    }
}

/// Promise 7: a source that blocks is told to be none; one that is interrupted is asked again.
#[test]
fn a_source_that_would_block_is_an_error_and_one_that_is_interrupted_is_asked_again() {
    let script = answers(|conn| conn.send_from(Fails(3, ErrorKind::WouldBlock)));
    let (read, _, closed) = ask(script, Config::default());
    assert_eq!(read, b"xxx");
    assert!(closed.to_string().contains("a source has nothing now"), "{closed}");

    let script = answers(|conn| {
        conn.send_from(Interrupted(100));
        conn.close();
    });
    let (read, result, _) = ask(script, Config::default());
    assert_eq!(read, [b'x'; 33]);
    result.unwrap();
}

/// Promises 2 and 7: when the peer is gone its sources are dropped, once each, and that is told. One that
/// has no end keeps nobody: not a peer that has left, and no other.
#[test]
fn the_sources_of_a_peer_that_is_gone_are_dropped_and_told() {
    let counts = Arc::new(Counts::default());
    let counted = counts.clone();
    let script = echo().on_data(move |conn, input| {
        if input.bytes() == b"source" {
            conn.send_from(counted.count(io::repeat(b'x')));
            conn.send_from(counted.count(io::repeat(b'y')));
            input.take_all();
        }
        conn.send(input.take_all());
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut other = server.connect();
    let mut client = server.connect();
    client.write_all(b"source").unwrap();
    for n in 0..100u32 {
        assert_eq!(read_n(&mut client, 100 * KIB), vec![b'x'; 100 * KIB]);
        ping(&mut other, &n.to_be_bytes());
    }
    assert_eq!(counts.drops(), 0);
    reset(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Io(_)), "{closed}");
    assert!(closed.unfinished && !closed.clean);
    assert_eq!(counts.drops(), 2);
    let mut last = server.connect();
    last.write_all(b"source").unwrap();
    read_n(&mut last, 1);
    server.end_now();
    assert_eq!(counts.drops(), 4);
}

/// Promise 4: a peer that reads nothing of a source is gone after `write_stall`, as with any output; and
/// a close has `close_max`.
#[test]
fn a_source_has_the_deadlines_of_all_output() {
    let config = || Config::default().write_stall(Duration::from_millis(300));
    for closes in [false, true] {
        let counts = Arc::new(Counts::default());
        let counted = counts.clone();
        let script = answers(move |conn| {
            conn.send_from(counted.count(io::repeat(b'x')));
            if closes {
                conn.close();
            }
        });
        let server = Server::start(script, config());
        let mut client = connect_narrow(server.addr);
        client.write_all(b"?").unwrap();
        let closed = server.record.wait_close();
        assert_eq!(matches!(closed.reason, CloseReason::WriteStall), !closes, "{closed}");
        assert!(closed.unfinished && closed.unsent > 0 && counts.drops() == 1, "{closed}");
        server.end();
    }
    let script = answers(|conn| {
        conn.send_from(io::repeat(b'x'));
        conn.close();
    });
    let server = Server::start(script, Config::default().close_max(Duration::from_millis(300)));
    let mut client = server.connect();
    client.write_all(b"?").unwrap();
    let (read, result) = read_until_gone(&mut client);
    assert!(!read.is_empty());
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let closed = server.record.wait_close();
    assert_eq!((&closed.reason.to_string()[..], closed.unfinished), ("closed here", true));
    server.end();
}

/// A source of single bytes arrives whole, and does not hold up others.
#[test]
fn a_source_may_bring_a_byte_at_a_time() {
    struct Bytewise(Cursor<Vec<u8>>);
    impl Read for Bytewise {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(&mut buf[..1])
        }
    }
    let body = random(5, 10_000);
    let answer = body.clone();
    let script = answers(move |conn| {
        conn.send_from(Bytewise(Cursor::new(answer.clone())));
        conn.close();
    });
    let (read, result, _) = ask(script, Config::default());
    assert_same(&read, &body);
    result.unwrap();
}

/// From any callback, and to any connection: in `on_open`, in a post, in `on_drain`, in `on_closing`.
#[test]
fn a_source_may_be_sent_from_wherever_a_send_may() {
    let script = echo()
        .on_open(|conn| {
            conn.send_from(&b"open "[..]);
            Ok(())
        })
        .on_closing(|conn, _| {
            conn.send_from(io::repeat(b'c').take(100_000));
            conn.send(" bye");
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    assert_eq!(read_n(&mut client, 5), b"open ");
    let id = server.record.wait_opens(1)[0];
    server
        .handle
        .post(move |_, cx| {
            cx.conn(id).unwrap().send_from(&b"post "[..]);
            cx.broadcast(Bytes::from("all "));
        })
        .unwrap();
    assert_eq!(read_n(&mut client, 9), b"post all ");
    server
        .handle
        .post_to(id, |_, conn, _| {
            conn.send_from(&b"to "[..]);
            Ok(())
        })
        .unwrap();
    assert_eq!(read_n(&mut client, 3), b"to ");
    server.handle.shutdown();
    let last = read_to_end(&mut client);
    assert_eq!(last.len(), 100_004);
    assert!(last.ends_with(b"cc bye"));
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Shutdown) && !closed.unfinished, "{closed}");
    server.end();
}

/// Promise 4: what is broadcast while a source runs comes behind it, and has seven eighths of `output_max`;
/// the source itself does not count, however long it is.
#[test]
fn what_is_sent_behind_a_source_is_bounded_and_the_source_is_not() {
    let config = || Config::default().output_max(MIB);
    for sends in [14, 15] {
        let script = narrow_echo().on_data(move |conn, input| {
            input.take_all();
            conn.send_from(io::repeat(b'x').take(20 * MIB as u64));
            for _ in 0..sends {
                conn.cx().broadcast(Bytes::from(vec![b'y'; 60 * KIB]));
            }
            conn.finish();
            Ok(())
        });
        let (read, result, closed) = ask(script, config());
        if sends == 14 {
            assert_eq!(read.len(), 20 * MIB + 14 * 60 * KIB);
            result.unwrap();
        } else {
            assert!(matches!(closed.reason, CloseReason::OutputLimit), "{closed}");
            assert_eq!(
                closed.unsent,
                15 * 60 * KIB as u64,
                "what was sent, and not what was not read"
            );
        }
        assert_eq!(closed.unfinished, sends == 15);
    }
}

/// A panic of a source is the handler's: by default it goes through `run`, and with `isolate_panics` ends
/// its connection.
#[test]
fn a_panic_in_a_source_is_the_handlers() {
    struct Panics(Counted<io::Empty>);
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            std::panic::resume_unwind(Box::new(format!("as planned, {}", self.0.counts.drops())))
        }
    }
    let counts = Arc::new(Counts::default());
    let script = |counts: &Arc<Counts>| {
        let counts = counts.clone();
        answers(move |conn| {
            conn.send("head");
            conn.send_from(Panics(counts.count(io::empty())));
            conn.send_from(counts.count(io::empty()));
        })
    };
    let (read, _, closed) = ask(script(&counts), Config::default().isolate_panics(true));
    assert_eq!((read.len(), counts.drops()), (0, 2), "nothing goes out of half an answer");
    assert_eq!(
        closed.to_string(),
        "handler panic: as planned, 0, 4 bytes unsent, a source unfinished"
    );

    let server = Server::start(script(&counts), Config::default());
    let mut client = server.connect();
    client.write_all(b"?").unwrap();
    assert!(read_until_gone(&mut client).1.is_err(), "the reactor is gone, and so is it");
    let panic = thread::spawn(move || server.join()).join().unwrap_err();
    assert_eq!(*panic.downcast::<String>().unwrap(), "as planned, 2");
    assert_eq!(counts.drops(), 4);
}
