//! Promise 5: a client that asks much at once gets every answer, whole, however large each is and
//! however slowly it reads; the handler need not ask for room.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use wouldblock::frame::{Delimited, Fixed, LengthPrefixed, Varint};
use wouldblock::{CloseReason, Config, Conn, Input};

use crate::support::*;

/// A client on either kind of stream.
#[derive(Debug)]
enum Client {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    fn try_clone(&self) -> Client {
        match self {
            Client::Tcp(stream) => Client::Tcp(stream.try_clone().unwrap()),
            Client::Unix(stream) => Client::Unix(stream.try_clone().unwrap()),
        }
    }

    fn finish(&self) {
        match self {
            Client::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Client::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    fn stream(&mut self) -> &mut dyn ReadWrite {
        match self {
            Client::Tcp(stream) => stream,
            Client::Unix(stream) => stream,
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Serves the script to one client, over a Unix socket or over TCP.
fn serve(script: Script, config: Config, unix: bool) -> (Server, Client) {
    if !unix {
        let server = Server::start(script, config);
        let client = Client::Tcp(server.connect());
        return (server, client);
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    theirs.set_write_timeout(Some(DEADLINE)).unwrap();
    let server = Server::start_with(listener(), script, config, |reactor| {
        reactor.adopt(ours, 0).unwrap();
    });
    (server, Client::Unix(theirs))
}

/// Sends all of it, ends its side, and reads to the end of the answers: how many bytes, of which the
/// first that is not `x` is an error.
#[track_caller]
fn ask(client: &Client, questions: Vec<u8>) -> usize {
    let (mut asking, mut reading) = (client.try_clone(), client.try_clone());
    let asks = thread::spawn(move || {
        asking.stream().write_all(&questions)?;
        asking.finish();
        io::Result::Ok(())
    });
    let mut buffer = vec![0; 256 * KIB];
    let mut got = 0;
    loop {
        let n = reading.stream().read(&mut buffer).unwrap_or_else(|error| {
            panic!("{error}, after {got} bytes of answers");
        });
        if n == 0 {
            break;
        }
        assert!(buffer[..n].iter().all(|byte| *byte == b'x'), "a strange byte after {got}");
        got += n;
    }
    asks.join().unwrap().unwrap();
    got
}

/// Promises 2 and 5: a handler that stops at `room() == 0`, as the documentation has it, is called
/// again when there is room, and not in vain before; `on_eof` waits for what it left. With answers
/// that fill the room to the byte.
#[test]
fn a_handler_that_stops_without_room_is_called_again_when_there_is_some() {
    const QUESTIONS: usize = 8192;
    for unix in [false, true] {
        let in_vain = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&in_vain);
        let script = echo()
            .on_data(move |conn, input| {
                count.fetch_add(usize::from(conn.room() == 0), Ordering::Relaxed);
                while conn.room() > 0 {
                    if input.line().is_none() {
                        break;
                    }
                    conn.send([b'x'; 4 * KIB]);
                }
                Ok(())
            })
            .on_eof(|conn, rest| {
                assert_eq!(rest.len(), 0, "questions are left, and the end is told");
                conn.close();
                Ok(())
            });
        let (server, client) = serve(script, Config::default(), unix);
        assert_eq!(ask(&client, b"?\n".repeat(QUESTIONS)), QUESTIONS * 4 * KIB);
        drop(client);
        assert!(server.record.wait_close().clean);
        assert_eq!(in_vain.load(Ordering::Relaxed), 0);
        server.end();
    }
}

/// Promises 2 and 5: the same for a handler with a bound of its own, below `output_high`: what it
/// left is offered when output is low, and the end comes after that.
#[test]
fn a_handler_with_a_bound_of_its_own_is_called_again_before_the_end() {
    const QUESTIONS: usize = 2000;
    for (unix, full_duplex) in [(false, false), (true, false), (false, true), (true, true)] {
        let script = echo()
            .on_open(move |conn| {
                conn.auto_pause(!full_duplex);
                Ok(())
            })
            .on_data(|conn, input| {
                // An answer has to fit whole.
                while conn.room() >= 10_000 {
                    if input.line().is_none() {
                        break;
                    }
                    conn.send([b'x'; 10_000]);
                }
                Ok(())
            });
        let (server, client) = serve(script, Config::default(), unix);
        assert_eq!(ask(&client, b"?\n".repeat(QUESTIONS)), QUESTIONS * 10_000, "{full_duplex}");
        drop(client);
        server.end();
    }
}

/// Promises 2 and 5: so is one that stops without room while all together hold too much, and less may
/// be queued.
#[test]
fn room_follows_the_lowered_watermark() {
    const QUESTIONS: usize = 2000;
    for unix in [false, true] {
        let script = narrow_echo().on_data(|conn, input| {
            assert!(conn.room() > 0, "called in vain");
            while conn.room() > 0 {
                if input.line().is_none() {
                    break;
                }
                conn.send([b'x'; 4 * KIB]);
            }
            Ok(())
        });
        // Three quarters of it are less than `output_high`.
        let config = Config::default().output_high(512 * KIB).buffered_max(400 * KIB);
        let (server, client) = serve(script, config, unix);
        assert_eq!(ask(&client, b"?\n".repeat(QUESTIONS)), QUESTIONS * 4 * KIB);
        drop(client);
        server.end();
    }
}

/// Promise 5: the loop that asks for nothing is right for answers of any size.
#[test]
fn the_naive_loop_delivers_answers_of_any_size() {
    const MOST: usize = 4 * MIB - 64 * KIB;
    for (size, questions) in
        [(100, 60_000), (4 * KIB, 2000), (10_000, 800), (64 * KIB, 120), (MIB, 8), (MOST, 3)]
    {
        for unix in [false, true] {
            let answer = vec![b'x'; size];
            let most = Arc::new(AtomicUsize::new(0));
            let peak = Arc::clone(&most);
            let script = narrow_echo().on_data(move |conn, input| {
                while input.line().is_some() {
                    conn.send(&answer);
                    peak.fetch_max(conn.queued(), Ordering::Relaxed);
                }
                Ok(())
            });
            let (server, client) = serve(script, Config::default(), unix);
            assert_eq!(ask(&client, b"?\n".repeat(questions)), questions * size, "{size} {unix}");
            drop(client);
            assert!(server.record.wait_close().clean);
            let most = most.load(Ordering::Relaxed);
            assert!(most < 64 * KIB + size, "{most} bytes were queued");
            server.end();
        }
    }
}

/// Takes one question of four bytes, `\0\0\0\n`, which is a frame of every kind.
type Next = fn(&mut Input<'_>) -> io::Result<bool>;

const NEXT: [(&str, Next); 7] = [
    ("line", |input| Ok(input.line().is_some())),
    ("take", |input| Ok(input.take(4).is_some())),
    ("fixed", |input| Ok(Fixed::new(4).next(input)?.is_some())),
    ("delimited", |input| Ok(Delimited::new(b"\n").max(3).next(input)?.is_some())),
    ("long delimiter", |input| Ok(Delimited::new(b"\0\0\0\n").max(0).next(input)?.is_some())),
    ("length", |input| Ok(LengthPrefixed::new(1).includes_header().next(input)?.is_some())),
    ("varint", |input| Ok(Varint::new().next(input)?.is_some())),
];

/// Sends one answer to the connection itself.
type Door = fn(&mut Conn<'_>, &[u8]) -> io::Result<()>;

const DOORS: [(&str, Door); 6] = [
    ("send", |conn, answer| {
        conn.send(answer);
        Ok(())
    }),
    ("send by id", |conn, answer| {
        let id = conn.id();
        conn.cx().conn(id).unwrap().send(answer);
        Ok(())
    }),
    ("broadcast", |conn, answer| {
        conn.cx().broadcast(answer.to_vec().into());
        Ok(())
    }),
    ("broadcast to one", |conn, answer| {
        let id = conn.id();
        conn.cx().broadcast_to([id], answer.to_vec().into());
        Ok(())
    }),
    ("write", |conn, answer| conn.write_all(answer)),
    ("shared", |conn, answer| {
        conn.send_shared(answer.to_vec().into());
        Ok(())
    }),
];

/// Promise 5: whatever takes messages holds back, whatever sends them counts.
#[test]
fn every_decoder_holds_back_whichever_way_the_answers_go() {
    const QUESTIONS: usize = 1000;
    let pairs = NEXT.iter().zip(DOORS.iter().cycle()).chain(NEXT.iter().cycle().zip(&DOORS));
    for ((kind, next), (name, door)) in pairs {
        let question: &[u8] = match *kind {
            "length" => b"\x04\0\0\0",
            "varint" => b"\x03\0\0\0",
            _ => b"\0\0\0\n",
        };
        let script = narrow_echo().on_data(move |conn, input| {
            while next(input)? {
                door(conn, &[b'x'; 5000])?;
                assert!(conn.queued() < 64 * KIB + 5000, "{} are queued", conn.queued());
            }
            Ok(())
        });
        let (server, client) = serve(script, Config::default(), false);
        let got = ask(&client, question.repeat(QUESTIONS));
        assert_eq!(got, QUESTIONS * 5000, "{kind}, {name}");
        drop(client);
        server.end();
    }
}

/// Promise 5: a handler that judges what is left after `None` can tell a message that is not
/// complete from one that it is not to have yet; and what it waits for then is not believed.
#[test]
fn not_now_is_told_from_incomplete() {
    const QUESTIONS: usize = 20_000;
    for misled in [false, true] {
        let script = narrow_echo().on_data(move |conn, input| {
            while input.line().is_some() {
                conn.send([b'x'; 1000]);
            }
            if misled {
                // "It is not complete, so call me when there is more."
                input.wait_for(input.len() + 1);
            } else if !input.is_resting() && input.len() > 10 {
                return Err(io::Error::other("a line too long"));
            }
            Ok(())
        });
        let (server, client) = serve(script, Config::default(), false);
        assert_eq!(ask(&client, b"?\n".repeat(QUESTIONS)), QUESTIONS * 1000);
        drop(client);
        server.end();
    }
}

/// Promises 4 and 5: `input_max` is for what no call consumes, not for what it was not to have: here
/// the first thing a call does is to owe too much.
#[test]
fn input_that_was_not_to_be_had_is_no_input_limit() {
    let config = Config::default().input_max(2000).output_low(100).output_high(200);
    let script = narrow_echo().on_data(|conn, input| {
        conn.send(vec![b'x'; 100_000]);
        while input.line().is_some() {
            conn.send(b"xxxx");
        }
        Ok(())
    });
    let (server, client) = serve(script, config, true);
    let mut questions = client.try_clone();
    questions.stream().write_all(&b"?\n".repeat(1000)).unwrap();
    let mut some = vec![0; 10_000];
    for _ in 0..100 {
        // Each call adds its own; so this goes on for as long as it is wanted.
        questions.stream().read_exact(&mut some).unwrap();
    }
    assert!(server.record.closes().is_empty());
    drop((questions, client));
    server.end_now();
}

/// Promise 5: who reads on whatever it owes is not held back: that is what it asked for.
#[test]
fn a_full_duplex_connection_is_not_held_back() {
    let called = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&called);
    let script = echo()
        .on_open(|conn| {
            conn.auto_pause(false);
            narrow_sending(conn);
            conn.send(vec![b'x'; MIB]);
            Ok(())
        })
        .on_data(move |conn, input| {
            assert!(conn.room() == 0 && !input.is_resting());
            while input.line().is_some() {
                conn.send([b'x'; 100]);
                calls.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    let (server, mut client) = serve(script, Config::default(), false);
    client.stream().write_all(&b"?\n".repeat(1000)).unwrap();
    wait_until("all is heard", || called.load(Ordering::Relaxed) == 1000);
    server.end_now();
}

/// Promises 2 and 5: it may be switched inside the call, and counts from there on.
#[test]
fn full_duplex_switched_on_in_the_call_ends_the_rest() {
    let script = narrow_echo().on_data(|conn, input| {
        conn.send(vec![b'x'; MIB]);
        assert!(input.is_resting() && input.line().is_none() && !input.is_empty());
        conn.auto_pause(false);
        assert!(!input.is_resting());
        while input.line().is_some() {}
        conn.auto_pause(true);
        assert!(input.is_resting());
        Ok(())
    });
    let (server, client) = serve(script, Config::default(), false);
    assert_eq!(ask(&client, b"?\n".to_vec()), MIB);
    drop(client);
    server.end();
}

/// Promises 2 and 5: shutdown waits for what its peer had asked and was not to have yet.
#[test]
fn a_shutdown_answers_what_was_held_back() {
    const QUESTIONS: usize = 500;
    for unix in [false, true] {
        let script = narrow_echo().on_data(|conn, input| {
            while input.line().is_some() {
                conn.send([b'x'; 10_000]);
            }
            Ok(())
        });
        let (server, mut client) = serve(script, Config::default(), unix);
        client.stream().write_all(&b"?\n".repeat(QUESTIONS)).unwrap();
        wait_until("it is called", || server.record.count(|e| matches!(e, Event::Data(_))) > 0);
        server.handle.shutdown();
        let mut answers = Vec::new();
        client.stream().read_to_end(&mut answers).unwrap();
        assert_eq!(answers.len(), QUESTIONS * 10_000);
        drop(client);
        let closed = server.record.wait_close();
        assert!(matches!(closed.reason, CloseReason::Shutdown) && closed.clean, "{closed}");
        server.join();
    }
}

/// Promises 1 and 5: pausing and resuming while input rests loses none of it.
#[test]
fn a_pause_on_top_of_the_rest_loses_nothing() {
    const QUESTIONS: usize = 2000;
    let paused = Arc::new(Mutex::new(0));
    let count = Arc::clone(&paused);
    let script = narrow_echo()
        .on_data(|conn, input| {
            while input.line().is_some() {
                conn.send([b'x'; 10_000]);
            }
            conn.pause();
            conn.set_timeout(std::time::Duration::from_millis(1));
            Ok(())
        })
        .on_timeout(move |conn| {
            *count.lock().unwrap() += 1;
            conn.resume();
            Ok(())
        });
    let (server, client) = serve(script, Config::default(), false);
    assert_eq!(ask(&client, b"?\n".repeat(QUESTIONS)), QUESTIONS * 10_000);
    assert!(*paused.lock().unwrap() > 1);
    drop(client);
    server.end();
}

/// Promise 2: in `on_eof` no message is held back, however much is owed: nothing is offered again after
/// it. (Which is why it comes only when there is room for what the handler has left.)
#[test]
fn a_handler_that_reads_its_lines_at_the_end_is_given_all_of_them() {
    const LINES: usize = 200;
    let answer = vec![b'*'; 16 * KIB];
    let script = narrow_echo().on_data(|_, _| Ok(())).on_eof(move |conn, rest| {
        while rest.line().is_some() {
            conn.send(&answer);
        }
        conn.close();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(&b"get\n".repeat(LINES)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client).len(), LINES * 16 * KIB);
    drop(client);
    server.end();
}
