//! How much of what was sent has not left: what the peer's kernel has not acknowledged.
//!
//! `SIOCOUTQ` (tcp(7)) says it, but an ioctl with a number of its own is `unsafe`, and this crate is
//! not. The kernel says the same to who asks by `sock_diag(7)`, with plain calls: four of them, on the
//! rare path of `close_reset` alone.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// `nlmsghdr`, then `inet_diag_req_v2` (`linux/inet_diag.h`).
const REQUEST: usize = 16 + 56;
/// Where `idiag_wqueue` lies in the answer: `nlmsghdr`, then `inet_diag_msg`.
const WAITS: usize = 16 + 4 + 48 + 8;
/// Where `idiag_state` lies there, and the state of one that listens.
const STATE: usize = 16 + 1;
const LISTEN: u8 = 10;
/// `SOCK_DIAG_BY_FAMILY`, `NLMSG_ERROR`, `NLM_F_REQUEST`, `IPPROTO_TCP`; the families in `sa_family_t`.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const IS_REQUEST: u16 = 1;
const TCP: u8 = 6;
const INET: u8 = 2;
const INET6: u8 = 10;

/// Bytes that the kernel holds of what was sent from `own` to `peer`.
///
/// # Errors
///
/// Where the kernel has no `sock_diag(7)`, or does not let this process ask. `NotFound`: there is no
/// such connection, or one that is not found like this: it is bound to a device, or of another network
/// namespace.
pub(super) fn unacknowledged(own: SocketAddr, peer: SocketAddr) -> io::Result<usize> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG))?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &request(own, peer), SendFlags::empty(), &kernel)?;
    // The answer is there when the question has been taken.
    let mut answer = [0; 512];
    let (n, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    let answer = answer.get(..n).unwrap_or_default();
    let refused = || io::Error::from(io::ErrorKind::Unsupported);
    let kind = answer.get(4..6).and_then(|kind| Some(u16::from_ne_bytes(kind.try_into().ok()?)));
    if kind == Some(ERROR) {
        let code = number(answer, 16).ok_or_else(refused)?.cast_signed();
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    // The kernel looks for a listener where it finds no connection.
    if answer.get(STATE) == Some(&LISTEN) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let waits = number(answer, WAITS).ok_or_else(refused)?;
    Ok(usize::try_from(waits).unwrap_or(usize::MAX))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn request(own: SocketAddr, peer: SocketAddr) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    let mut put = |at: usize, bytes: &[u8]| request[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &72_u32.to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &IS_REQUEST.to_ne_bytes());
    put(16, &[if own.is_ipv4() { INET } else { INET6 }, TCP]);
    // In whatever state.
    put(20, &u32::MAX.to_ne_bytes());
    put(24, &own.port().to_be_bytes());
    put(26, &peer.port().to_be_bytes());
    for (at, end) in [(28, own), (44, peer)] {
        match end.ip() {
            IpAddr::V4(ip) => put(at, &ip.octets()),
            IpAddr::V6(ip) => put(at, &ip.octets()),
        }
    }
    if let SocketAddr::V6(own) = own {
        put(60, &own.scope_id().to_ne_bytes());
    }
    // `INET_DIAG_NOCOOKIE`: whichever socket it is.
    put(64, &[0xff; 8]);
    request
}
