//! Frames over a real connection: from peers that send byte by byte, and from those that lie.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use wouldblock::frame::{Delimited, LengthPrefixed, Varint};
use wouldblock::{
    CloseReason, Closed, Config, Conn, ConnId, Context, Handler, Input, Origin, Reactor,
};

const LINES: Delimited<'_> = Delimited::new(b"\r\n").max(1000);
const PREFIXED: LengthPrefixed = LengthPrefixed::new(4).max(1000);
const VARINT: Varint = Varint::new().max(1000);

#[derive(Clone, Copy)]
enum Framing {
    Lines,
    Prefixed,
    Varint,
}

/// Answers each frame with itself, and tells how each connection ended.
struct Echo {
    framing: Framing,
    ends: Sender<(CloseReason, u64)>,
}

impl Handler for Echo {
    /// How many calls of `on_data` there were.
    type Session = u64;

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<u64> {
        Ok(0)
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        calls: &mut u64,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        *calls += 1;
        match self.framing {
            Framing::Lines => {
                while let Some(frame) = LINES.next(input)? {
                    LINES.encode(frame, conn)?;
                }
            }
            Framing::Prefixed => {
                while let Some(frame) = PREFIXED.next(input)? {
                    PREFIXED.encode(frame, conn)?;
                }
            }
            Framing::Varint => {
                while let Some(frame) = VARINT.next(input)? {
                    VARINT.encode(frame, conn)?;
                }
            }
        }
        Ok(())
    }

    fn on_close(&mut self, _cx: &mut Context, _id: ConnId, calls: u64, closed: Closed) {
        self.ends.send((closed.reason, calls)).expect("the test waits for every end");
    }
}

/// Serves one client, which sends these pieces and then its end. Returns what it got back, how the
/// connection ended, and after how many calls.
fn serve(framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, CloseReason, u64) {
    let (ends, end) = channel();
    let config = Config::default().input_max(2000);
    let mut reactor = Reactor::with_config(Echo { framing, ends }, config).unwrap();
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(listener).unwrap();
    let addr = addr.socket_addr().expect("a TCP listener has an IP address");
    let handle = reactor.handle();
    let server = thread::spawn(move || reactor.run().unwrap());
    let back = exchange(addr, pieces);
    let (reason, calls) = end.recv_timeout(Duration::from_secs(10)).unwrap();
    handle.shutdown();
    server.join().unwrap();
    (back, reason, calls)
}

fn exchange(addr: SocketAddr, pieces: &[&[u8]]) -> Vec<u8> {
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for piece in pieces {
        client.write_all(piece).unwrap();
        // Not for the outcome: so that the server sees pieces as such.
        thread::sleep(Duration::from_micros(200));
    }
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    back
}

/// Trap 70: bytes that trickle in make the same frames, and where lengths are known, few calls.
#[test]
fn a_peer_that_sends_byte_by_byte_is_understood() {
    for framing in [Framing::Lines, Framing::Prefixed, Framing::Varint] {
        let mut stream = Vec::new();
        for frame in [&b"one"[..], b"", &[b'x'; 300]] {
            match framing {
                Framing::Lines => LINES.encode(frame, &mut stream).unwrap(),
                Framing::Prefixed => PREFIXED.encode(frame, &mut stream).unwrap(),
                Framing::Varint => VARINT.encode(frame, &mut stream).unwrap(),
            }
        }
        let pieces: Vec<&[u8]> = stream.chunks(1).collect();
        let (back, reason, calls) = serve(framing, &pieces);
        assert_eq!(back, stream);
        assert!(matches!(reason, CloseReason::PeerEnd), "{reason:?}");
        // At most three for each frame, however its bytes arrive.
        assert!(calls <= 9 || matches!(framing, Framing::Lines), "{calls} calls");
    }
}

/// Trap 70: who announces 4 GiB is told at once, what it had asked before is answered.
#[test]
fn a_peer_that_lies_about_lengths_is_answered_up_to_the_lie_and_closed() {
    let endless = [b"one\r\n", &[b'x'; 1001][..]].concat();
    for (framing, stream, answer, text) in [
        (
            Framing::Lines,
            &endless[..],
            &b"one\r\n"[..],
            "a frame without its delimiter after 1000 bytes, the maximum",
        ),
        (
            Framing::Prefixed,
            b"\0\0\0\x01a\xff\xff\xff\xff",
            b"\0\0\0\x01a",
            "a frame of 4294967295 bytes; the maximum is 1000",
        ),
        (
            Framing::Varint,
            b"\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x01a",
            "a frame whose length is a varint of more than 64 bits",
        ),
    ] {
        let (back, reason, _) = serve(framing, &[stream]);
        assert_eq!(back, answer);
        let CloseReason::Handler(error) = reason else { panic!("{reason:?}") };
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::InvalidData, text.into()));
    }
}
