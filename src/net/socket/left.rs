//! What the kernel still holds of what was sent on a stream.
//!
//! `SIOCOUTQ` (tcp(7), unix(7)) says it, but an ioctl with a number of its own is `unsafe`, and this
//! crate is not. The kernel says the same by `sock_diag(7)`, with plain calls: four of them
//! and two for the names, and only before a verdict about the peer or behind `close_reset`. Where it
//! has no `sock_diag(7)`, or does not let this process ask, it does not say: `None`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};
use socket2::SockRef;

use super::name;
use crate::base::address::Address;

/// `nlmsghdr`, which precedes each question and each answer.
const HEADER: usize = 16;
/// `inet_diag_req_v2` (`linux/inet_diag.h`), and where `idiag_state` and `idiag_wqueue` lie in
/// `inet_diag_msg`.
const INET_QUESTION: usize = 56;
const INET_STATE: usize = HEADER + 1;
const INET_WAITS: usize = HEADER + 4 + 48 + 8;
/// `unix_diag_req` and `unix_diag_msg` (`linux/unix_diag.h`), behind which attributes follow.
const UNIX_QUESTION: usize = 24;
const UNIX_ANSWER: usize = 16;
/// `UDIAG_SHOW_RQLEN`, and the attribute that it brings: `unix_diag_rqlen`, whose second half is what
/// was written and not read.
const SHOW_LENGTHS: u32 = 1 << 4;
const LENGTHS: u16 = 4;
/// `SOCK_DIAG_BY_FAMILY`, `NLMSG_ERROR`, `NLM_F_REQUEST`, `IPPROTO_TCP`, `TCP_LISTEN`; the families in
/// `sa_family_t`.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const IS_REQUEST: u16 = 1;
const TCP: u8 = 6;
const LISTENS: u8 = 10;
const UNIX: u8 = 1;
const INET: u8 = 2;
const INET6: u8 = 10;

/// Bytes of a TCP stream that the peer's kernel has not acknowledged.
pub(super) fn unacknowledged(socket: &impl AsFd) -> Option<usize> {
    let peer = match name::peer(socket) {
        Ok(peer) => peer,
        // Nothing leaves a socket that is dead.
        Err(error) => return (error.kind() == io::ErrorKind::NotConnected).then_some(0),
    };
    let (Address::Ip(own), Address::Ip(peer)) = (name::own(socket).ok()?, peer) else {
        return None;
    };
    // One that is bound to a device, or of another network namespace, is not found like this.
    waits(own, peer).ok()
}

fn waits(own: SocketAddr, peer: SocketAddr) -> io::Result<usize> {
    let answer = ask(&inet_question(own, peer))?;
    // Where there is no such connection, the kernel tells of a listener that would take it.
    if answer.get(INET_STATE) == Some(&LISTENS) {
        return Err(io::ErrorKind::NotFound.into());
    }
    number(&answer, INET_WAITS).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Memory of the bytes of a Unix stream that the peer has not read; what the kernel needs to keep them
/// is part of it.
pub(super) fn unread(socket: &impl AsFd) -> Option<usize> {
    let inode = u32::try_from(rustix::fs::fstat(socket).ok()?.st_ino).ok()?;
    let answer = ask(&unix_question(inode, cookie(socket))).ok()?;
    let mut attributes = answer.get(HEADER + UNIX_ANSWER..)?;
    loop {
        let len = usize::from(short(attributes, 0)?);
        if short(attributes, 2)? == LENGTHS {
            return number(attributes, 8);
        }
        // An attribute is a header of four bytes at least, and begins at a multiple of four.
        attributes = attributes.get(len.max(4).next_multiple_of(4)..)?;
    }
}

/// Says which socket it is, where the number of an inode has come around.
#[cfg(target_os = "linux")]
fn cookie(socket: &impl AsFd) -> u64 {
    SockRef::from(socket).cookie().unwrap_or(NO_COOKIE)
}
#[cfg(not(target_os = "linux"))]
fn cookie(_: &impl AsFd) -> u64 {
    NO_COOKIE
}

/// `INET_DIAG_NOCOOKIE`: whichever socket it is.
const NO_COOKIE: u64 = u64::MAX;

/// Asks about one socket.
fn ask(question: &[u8]) -> io::Result<Vec<u8>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG))?;
    let kernel = SocketAddrNetlink::new(0, 0);
    let mut message = Vec::with_capacity(HEADER + question.len());
    let len = u32::try_from(HEADER + question.len()).unwrap_or(u32::MAX);
    message.extend(len.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(IS_REQUEST.to_ne_bytes());
    // A number and a sender, which are ours to choose.
    message.extend([0; 8]);
    message.extend(question);
    sendto(&socket, &message, SendFlags::empty(), &kernel)?;
    // The answer is there when the question has been taken.
    let mut answer = vec![0; 512];
    let (n, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    answer.truncate(n);
    let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
    match short(&answer, 4).ok_or_else(unsupported)? {
        BY_FAMILY => Ok(answer),
        ERROR => {
            let code = answer.get(HEADER..HEADER + 4).ok_or_else(unsupported)?;
            let code = i32::from_ne_bytes(code.try_into().map_err(|_| unsupported())?);
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        }
        _ => Err(unsupported()),
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let number = u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
    usize::try_from(number).ok()
}

fn inet_question(own: SocketAddr, peer: SocketAddr) -> [u8; INET_QUESTION] {
    let mut question = [0; INET_QUESTION];
    let mut put = |at: usize, bytes: &[u8]| question[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[if own.is_ipv4() { INET } else { INET6 }, TCP]);
    // In whatever state.
    put(4, &u32::MAX.to_ne_bytes());
    put(8, &own.port().to_be_bytes());
    put(10, &peer.port().to_be_bytes());
    for (at, end) in [(12, own), (28, peer)] {
        match end.ip() {
            IpAddr::V4(ip) => put(at, &ip.octets()),
            IpAddr::V6(ip) => put(at, &ip.octets()),
        }
    }
    // The interface, where an address is one of that alone.
    if let SocketAddr::V6(own) = own {
        put(44, &own.scope_id().to_ne_bytes());
    }
    put(48, &NO_COOKIE.to_ne_bytes());
    question
}

fn unix_question(inode: u32, cookie: u64) -> [u8; UNIX_QUESTION] {
    let mut question = [0; UNIX_QUESTION];
    let mut put = |at: usize, bytes: &[u8]| question[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[UNIX]);
    put(4, &u32::MAX.to_ne_bytes());
    put(8, &inode.to_ne_bytes());
    put(12, &SHOW_LENGTHS.to_ne_bytes());
    // Two words, the lower one first.
    put(16, &((cookie & 0xffff_ffff) as u32).to_ne_bytes());
    put(20, &((cookie >> 32) as u32).to_ne_bytes());
    question
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Writes until the kernel takes no more, and returns how much it took.
    fn fill(mut stream: impl Write) -> usize {
        let mut taken = 0;
        while let Ok(n) = stream.write(&[7; 4096]) {
            taken += n;
        }
        taken
    }

    /// Of what is sent and not read, what the peer's kernel has no room for is unacknowledged; when all
    /// is read it becomes nothing.
    fn tells_of(to: SocketAddr, listener: &TcpListener) {
        let client = TcpStream::connect(to).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        for (sender, mut reader) in [(served.try_clone().unwrap(), client.try_clone().unwrap()), {
            let client = client.try_clone().unwrap();
            (client, served.try_clone().unwrap())
        }] {
            assert_eq!(unacknowledged(&sender), Some(0));
            sender.set_nonblocking(true).unwrap();
            let taken = fill(&sender);
            let held = unacknowledged(&sender).unwrap();
            assert!(0 < held && held <= taken, "{held} of {taken}");
            sender.set_nonblocking(false).unwrap();
            reader.set_nonblocking(false).unwrap();
            let mut all = vec![0; taken];
            reader.read_exact(&mut all).unwrap();
            while unacknowledged(&sender) != Some(0) {
                std::thread::yield_now();
            }
        }
        drop(client);
        assert_eq!(served.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn it_is_told_of_every_family_of_addresses() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        tells_of(v4.local_addr().unwrap(), &v4);
        let Ok(v6) = TcpListener::bind("[::1]:0") else { return };
        tells_of(v6.local_addr().unwrap(), &v6);
        // IPv4 that is mapped into IPv6, on our side.
        let both = TcpListener::bind("[::]:0").unwrap();
        let port = both.local_addr().unwrap().port();
        tells_of(SocketAddr::from(([127, 0, 0, 1], port)), &both);
        // And on both.
        tells_of(format!("[::ffff:127.0.0.1]:{port}").parse().unwrap(), &both);
    }

    /// A link-local address is one of its interface.
    #[test]
    fn the_scope_of_an_address_is_asked_for() {
        let own = "[fe80::1%7]:443".parse().unwrap();
        let peer = "[fe80::2%7]:50000".parse().unwrap();
        let question = inet_question(own, peer);
        assert_eq!(number(&question, 44), Some(7));
        assert_eq!(question[..2], [INET6, TCP]);
        assert_eq!(question[8..12], [443_u16.to_be_bytes(), 50000_u16.to_be_bytes()].concat()[..]);
    }

    /// It is not found without its interface, which no address tells.
    #[test]
    fn one_bound_to_an_interface_is_not_held_to_be_dead() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let client = TcpStream::connect(own).unwrap();
        let (served, _) = listener.accept().unwrap();
        for socket in [&client, &served] {
            if SockRef::from(socket).bind_device(Some(b"lo")).is_ok() {
                assert_eq!(unacknowledged(socket), None);
            }
        }
        // The one that listens there is not told of in the place of a connection.
        let peer = "127.0.0.1:1".parse().unwrap();
        assert_eq!(waits(own, peer).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(waits(peer, own).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn it_is_told_of_unix_streams() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(unread(&ours), Some(0));
        ours.set_nonblocking(true).unwrap();
        let taken = fill(&ours);
        let full = unread(&ours).unwrap();
        assert!(full >= taken, "{full} of {taken}");
        let mut half = vec![0; taken / 2];
        theirs.read_exact(&mut half).unwrap();
        let held = unread(&ours).unwrap();
        assert!(0 < held && held < full, "{held} of {full}");
        let mut rest = vec![0; taken - taken / 2];
        theirs.read_exact(&mut rest).unwrap();
        assert_eq!(unread(&ours), Some(0));
    }
}
