//! Hostile peers against the examples, each a process with the limits that it has by default: what
//! they cost it.
//!
//! Each case holds that the server's memory is bounded, and that another client is served meanwhile. With
//! `--nocapture` it prints the figures that README has; nothing asserts that something was fast.

use std::io::{Read, Write};

use flate2::{Compress, Compression, FlushCompress};

use crate::chat::Chat;
use crate::process::Running;
use crate::served::*;

/// A million, or as many as an unoptimised server takes in a second or two.
const MANY: usize = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };

/// `ws_echo`.
struct Echo {
    process: Running,
    addr: String,
    /// Resident, when it had served one client.
    before: u64,
}

impl Echo {
    /// `None` where the example was not built.
    fn start() -> Option<Self> {
        let arguments = ["--listen", "127.0.0.1:0", "--message-max", "1048576", "--deflate", "0"];
        let (process, [addr]) = Running::example("ws_echo", &arguments)?;
        let mut echo = Echo { process, addr, before: 0 };
        echo.serves();
        echo.before = status(&echo.process, "VmRSS:");
        Some(echo)
    }

    fn open(&self) -> Client {
        let mut client = Client::at(&self.addr);
        client.send(request("/", "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        client
    }

    /// Another client is served.
    fn serves(&self) {
        let mut client = self.open();
        client.send(text("hello"));
        // Compressed, as all is that this server sends.
        assert_eq!(client.frame().0, 0xC1);
    }

    /// Holds that another client is served, and that memory has not grown by more than this, KiB.
    fn stands(&self, case: &str, max: u64) {
        self.serves();
        has_cost(case, &self.process, self.before, max);
    }
}

/// KiB, of proc(5).
fn status(process: &Running, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Prints what a case has cost, and holds that memory has not grown by more than this, KiB.
fn has_cost(case: &str, process: &Running, before: u64, max: u64) {
    let grown = status(process, "VmHWM:").saturating_sub(before);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0.id())).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
    // In hundredths of a second.
    let cpu: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    println!("| {case} | {grown} KiB | {} ms |", cpu * 10);
    assert!(grown <= max, "{case}: {grown} KiB");
}

/// A compressed message that inflates to a gigabyte, on each of 10 connections.
#[test]
fn a_bomb_is_refused_at_message_max() {
    let Some(echo) = Echo::start() else { return };
    let mut compress = Compress::new(Compression::best(), false);
    let mut packed = Vec::with_capacity(1 << 20);
    compress.compress_vec(&vec![0; 1 << 20], &mut packed, FlushCompress::Full).unwrap();
    // It refers to nothing before, so it may come again.
    let packed = packed.repeat((1 << 20) / packed.len() - 1);
    let bomb = frame(0xC2, &packed);
    for _ in 0..10 {
        let mut client = echo.open();
        client.send(&bomb);
        assert_eq!(client.closed().0, 1009);
    }
    echo.stands("1 MiB that inflates to 1 GiB, 10 times", 8 << 10);
}

/// A compressed message of nothing but last blocks.
#[test]
fn a_message_of_nothing_but_last_blocks_is_an_empty_one() {
    let Some(echo) = Echo::start() else { return };
    let blocks = [0x03, 0x00].repeat(MANY / 2);
    let mut client = echo.open();
    client.send(frame(0xC2, &blocks));
    let (first, payload) = client.frame();
    assert_eq!((first, payload.len()), (0x82, 0));
    echo.stands("a compressed message of 500,000 empty last blocks", 8 << 10);
}

/// Fragments without an end.
#[test]
fn fragments_without_an_end_are_refused_at_message_max() {
    let Some(echo) = Echo::start() else { return };
    let mut client = echo.open();
    client.send(frame(0x02, &[]));
    let fragment = frame(0x00, &vec![0; 10_000]);
    for _ in 0..104 {
        client.send(&fragment);
    }
    client.send(frame(0x00, &vec![0; 9_000]));
    assert_eq!(client.closed().0, 1009);
    echo.stands("fragments of 10 KB without an end", 4 << 10);
}

#[test]
fn empty_fragments_cost_no_memory() {
    let Some(echo) = Echo::start() else { return };
    let mut client = echo.open();
    client.send(frame(0x01, &[]));
    let fragments = frame(0x00, &[]).repeat(1000);
    for _ in 0..MANY / 1000 {
        client.send(&fragments);
    }
    client.send(frame(0x80, b"!"));
    assert_eq!(client.frame().0, 0xC1);
    echo.stands("a message in a million empty fragments", 2 << 10);
}

#[test]
fn fragments_of_one_byte_cost_their_bytes() {
    let Some(echo) = Echo::start() else { return };
    let mut client = echo.open();
    client.send(frame(0x01, b"x"));
    let fragments = frame(0x00, b"x").repeat(1000);
    for _ in 0..MANY / 1000 {
        client.send(&fragments);
    }
    client.send(frame(0x80, b"!"));
    assert_eq!(client.frame().0, 0xC1);
    echo.stands("a message in a million fragments of one byte", 6 << 10);
}

#[test]
fn empty_messages_cost_no_memory() {
    let Some(echo) = Echo::start() else { return };
    let mut client = echo.open();
    let mut reads = client.stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; 2 * MANY];
        reads.read_exact(&mut all).unwrap();
    });
    let messages = frame(0x82, &[]).repeat(1000);
    for _ in 0..MANY / 1000 {
        client.send(&messages);
    }
    reader.join().unwrap();
    echo.stands("a million empty messages, echoed", 2 << 10);
}

/// Sends what the kernels take, and never reads.
fn never_reads(echo: &Echo, piece: &[u8]) {
    // Not compressed, which would cost more than all else.
    let mut client = Client::at(&echo.addr);
    client.send(request("/", ""));
    client.head();
    client.stream.set_nonblocking(true).unwrap();
    let (mut sent, mut refused) = (0, 0);
    // Until the server has taken nothing, however often another one was served.
    while refused < 20 {
        if let Ok(n) = client.stream.write(&piece[sent % piece.len()..]) {
            (sent, refused) = (sent + n, 0);
        } else {
            echo.serves();
            refused += 1;
        }
    }
}

#[test]
fn a_peer_that_sends_pings_and_never_reads_is_read_from_no_more() {
    let Some(echo) = Echo::start() else { return };
    never_reads(&echo, &frame(0x89, &[0; 125]).repeat(1000));
    echo.stands("pings of 125 bytes, and never reads", 2 << 10);
}

#[test]
fn a_peer_that_sends_messages_and_never_reads_is_read_from_no_more() {
    let Some(echo) = Echo::start() else { return };
    let noise: Vec<u8> =
        (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    never_reads(&echo, &frame(0x82, &noise));
    echo.stands("messages of 100 KB, and never reads", 4 << 10);
}

#[test]
fn a_peer_that_sends_one_byte_at_a_time_is_served() {
    let Some(echo) = Echo::start() else { return };
    let mut client = Client::at(&echo.addr);
    let line = format!("X-Long: {}\r\n", "x".repeat(15_000));
    let mut bytes = request("/", &line).into_bytes();
    bytes.extend(text(&"x".repeat(70_000)));
    for byte in bytes.chunks(1) {
        client.send(byte);
    }
    client.head();
    assert_eq!(client.text().len(), 70_000);
    echo.stands("a head of 15 KB and a message of 70 KB, byte by byte", 2 << 10);
}

/// Its peer sends a close, and stays; another sends nothing behind half a frame.
#[test]
fn peers_that_stay_cost_little() {
    let Some(echo) = Echo::start() else { return };
    let stay: Vec<_> = (0..300)
        .map(|n| {
            let mut client = echo.open();
            match n % 3 {
                0 => client.send(frame(0x88, &close(1000, ""))),
                1 => client.send(&frame(0x81, &[b'x'; 100])[..50]),
                _ => client.send(frame(0x01, &[b'x'; 100])),
            }
            client
        })
        .collect();
    echo.stands("300 that have sent a close, half a frame or a fragment, and stay", 2 << 10);
    drop(stay);
}

#[test]
fn members_of_a_chat_that_do_not_read_are_dropped() {
    let Some(chat) = Chat::start(&[]) else { return };
    let mut talks = chat.member();
    let before = status(&chat.process, "VmRSS:");
    let lazy: Vec<_> = (0..20).map(|_| chat.member()).collect();
    let line = text(&"x".repeat(900));
    let mut left = 0;
    while left < lazy.len() {
        talks.send(&line);
        // Until it has heard itself.
        loop {
            let heard = talks.text();
            left += usize::from(heard.ends_with(" leaves"));
            if heard.ends_with("xxx") {
                break;
            }
        }
    }
    has_cost(
        "20 members of ws_chat that do not read what one says",
        &chat.process,
        before,
        20 << 10,
    );
}
