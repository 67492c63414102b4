//! Broadcast and multicast, on the loopback interface and nowhere else.
//!
//! That something does *not* come is shown by something sent after it that does: over loopback they
//! keep their order.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use socket2::SockRef;
use wouldblock::{Address, Bind, Interface};

use super::mail::{Mail, Office, client};

const LO: Interface = Interface::Address(Ipv4Addr::LOCALHOST);

/// A client that sends its multicast on the loopback interface.
fn caster() -> UdpSocket {
    let client = client("127.0.0.1:0");
    SockRef::from(&client).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    client
}

/// A broadcast leaves a socket that may send one, and reaches one that is bound to all addresses.
#[test]
fn a_broadcast_goes_out_and_comes_in() {
    let office = Office::open(
        Mail::default(),
        [Bind::from("127.0.0.1:0").broadcast(true), "0.0.0.0:0".into()],
    );
    let all = SocketAddr::from(([127, 255, 255, 255], office.addr(1).port()));
    let socket = office.ids[0];
    office.ask(move |cx| cx.send_to(socket, &all.into(), "all").unwrap());
    let letters = office.wait_letters_of(office.ids[1], 1);
    assert_eq!((&letters[0].payload[..], &letters[0].from), (&b"all"[..], &office.addrs[0]));
    office.end();
}

/// A group is heard by each who joined it, named by an address of the interface or by its index,
/// and by nobody else: not by who joined another one on the same port, not before, and not after
/// leaving.
#[test]
fn a_group_is_heard_by_its_members_only() {
    let (group, other) = (Ipv4Addr::new(239, 255, 1, 1), Ipv4Addr::new(239, 255, 1, 2));
    let index = Interface::Index(index_of_lo());
    let shared = |name: &str| Bind::from(name).reuse_address(true);
    let first = shared("0.0.0.0:0").join(group, LO);
    let office = Office::open(Mail::default(), [first]);
    let port = office.addr(0).port();
    let name = format!("0.0.0.0:{port}");
    let office_ids = office.ask({
        let binds =
            [shared(&name).join(group, index), shared(&name).join(other, LO), shared(&name)];
        move |cx| binds.map(|bind| cx.bind_datagram(bind).unwrap())
    });
    let [by_index, elsewhere, late] = office_ids;
    let caster = caster();
    let tell = |group: Ipv4Addr, what: &[u8]| caster.send_to(what, (group, port)).unwrap();
    // Linux hands unjoined groups to sockets that never joined one (`IP_MULTICAST_ALL`): the last
    // one joins something first, and so hears its own alone.
    office.ask(move |cx| cx.join_group(late, Ipv4Addr::new(239, 255, 1, 3), LO).unwrap());
    tell(group, b"1");
    office.ask(move |cx| cx.join_group(late, group, LO).unwrap());
    tell(group, b"2");
    office.ask(move |cx| cx.leave_group(late, group, LO).unwrap());
    tell(group, b"3");
    tell(other, b"4");
    tell(Ipv4Addr::new(239, 255, 1, 3), b"5");
    let heard = |id, n| {
        let letters = office.wait_letters_of(id, n);
        letters.iter().map(|l| l.payload[0]).collect::<Vec<_>>()
    };
    assert_eq!(heard(late, 2), b"25");
    assert_eq!(heard(elsewhere, 1), b"4");
    assert_eq!(heard(office.ids[0], 3), b"123");
    assert_eq!(heard(by_index, 3), b"123");
    let error = office.ask(move |cx| cx.leave_group(late, group, LO).unwrap_err());
    assert!(
        error.to_string().starts_with("cannot leave 239.255.1.1 on Address(127.0.0.1)"),
        "{error}"
    );
    assert_eq!(office.end().datagrams_in, 9);
}

fn index_of_lo() -> u32 {
    let text = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap();
    text.trim().parse().unwrap()
}

/// What we send to a group goes out on the interface that was named, as far as was said. Whether it
/// reaches this machine is asked of the option: what goes out on the loopback interface does.
#[test]
fn our_multicast_goes_where_it_was_told() {
    let group = Ipv4Addr::new(239, 255, 2, 1);
    let listener = client("0.0.0.0:0");
    listener.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
    let port = listener.local_addr().unwrap().port();
    let sender = || Bind::from("127.0.0.1:0").multicast_interface(LO);
    let by_index = Bind::from("127.0.0.1:0").multicast_interface(Interface::Index(index_of_lo()));
    let office = Office::open(
        Mail::default(),
        [sender().multicast_loop(false), sender().multicast_ttl(3), by_index],
    );
    let (silent, loud, third) = (office.ids[0], office.ids[1], office.ids[2]);
    let options = office.ask(move |cx| {
        let to = Address::from(SocketAddr::from((group, port)));
        cx.send_to(loud, &to, "loud").unwrap();
        cx.send_to(third, &to, "by index").unwrap();
        let of = |id| {
            let fd = cx.datagram_fd(id).unwrap();
            let socket = SockRef::from(&fd);
            (socket.multicast_ttl_v4().unwrap(), socket.multicast_loop_v4().unwrap())
        };
        (of(silent), of(loud))
    });
    assert_eq!(options, ((1, false), (3, true)));
    let mut buf = [0; 9];
    assert_eq!((listener.recv(&mut buf).unwrap(), &buf[..4]), (4, &b"loud"[..]));
    assert_eq!((listener.recv(&mut buf).unwrap(), &buf[..8]), (8, &b"by index"[..]));
    office.end();
}

/// Whether the kernel carries multicast of IPv6 over this interface at all: often not on loopback.
fn carries_ipv6(group: Ipv6Addr, index: u32) -> bool {
    let (from, to) = (client("[::]:0"), client("[::]:0"));
    SockRef::from(&from).set_multicast_if_v6(index).unwrap();
    to.join_multicast_v6(&group, index).unwrap();
    to.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let at = SocketAddrV6::new(group, to.local_addr().unwrap().port(), 0, index);
    from.send_to(b"?", at).and_then(|_| to.recv(&mut [0; 9])).is_ok()
}

/// The same over IPv6, with an interface's index.
#[test]
fn a_group_of_ipv6_is_heard() {
    let group: Ipv6Addr = "ff02::6:6:6".parse().unwrap();
    let lo = Interface::Index(index_of_lo());
    if !carries_ipv6(group, index_of_lo()) {
        return println!("skipped: this machine's loopback carries no multicast of IPv6");
    }
    let office = Office::open(
        Mail::default(),
        [
            Bind::from("[::]:0").join(group, lo),
            Bind::from("[::]:0").multicast_interface(lo).multicast_ttl(1).multicast_loop(true),
        ],
    );
    let to = SocketAddrV6::new(group, office.addr(0).port(), 0, index_of_lo());
    let (heard, sender) = (office.ids[0], office.ids[1]);
    office.ask(move |cx| cx.send_to(sender, &SocketAddr::from(to).into(), "six").unwrap());
    let letters = office.wait_letters_of(heard, 1);
    assert_eq!(letters[0].payload, b"six");
    assert_eq!(letters[0].from.port().unwrap(), office.addr(1).port());
    office.ask(move |cx| cx.leave_group(heard, group, lo).unwrap());
    let ours = SocketAddr::from((Ipv6Addr::LOCALHOST, office.addr(0).port()));
    office.ask(move |cx| {
        cx.send_to(sender, &SocketAddr::from(to).into(), "not heard").unwrap();
        cx.send_to(sender, &ours.into(), "last").unwrap();
    });
    assert_eq!(office.wait_letters_of(heard, 2)[1].payload, b"last");
    office.end();
}
