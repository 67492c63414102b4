//! Below TLS: the header stands before it.

use std::io;

use wouldblock::{
    Address, Closed, Conn, ConnId, Connect, Context, Handler, Input, Layer, Listen, Origin,
    Reactor, Received,
};
use wouldblock_proxy_protocol::{Accept, Header, Proxied};
use wouldblock_rustls::{Client, Server, Tls, fingerprint};

use crate::served::*;

struct Both {
    connect: Option<Connect>,
    answer: String,
}

impl Handler for Both {
    type Session = Origin;

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        let id = cx.connect(self.connect.take().unwrap(), 0)?;
        cx.conn(id).unwrap().send(vec![b'x'; 100_000]);
        Ok(())
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Origin> {
        assert_eq!(conn.layer::<Tls>().unwrap().server_name(), Some("localhost"));
        if origin != Origin::Connected(0) {
            let proxied = conn.layer::<Proxied>().unwrap();
            assert_eq!(proxied.authority(), Some("example.com"));
        }
        Ok(origin)
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        origin: &mut Origin,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        if *origin == Origin::Connected(0) {
            self.answer = String::from_utf8(input.take_all().to_vec()).unwrap();
            conn.close();
        } else if input.len() == 100_000 {
            input.take_all();
            let known = describe(conn)?;
            conn.send(known);
        }
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, _: Origin, closed: Closed) {
        assert!(closed.clean, "{closed}");
        cx.shutdown();
    }

    fn on_connect_failed(&mut self, _: &mut Context, _: ConnId, _: u64, error: io::Error) {
        panic!("{error}");
    }
}

fn both(listen: Listen, connect: Connect) -> String {
    let mut reactor = Reactor::new(Both { connect: Some(connect), answer: String::new() }).unwrap();
    reactor.listen(listen).unwrap();
    reactor.run().unwrap();
    reactor.into_handler().answer
}

fn tls() -> (Server, Client) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let server = Server::builder()
        .certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
        .build()
        .unwrap();
    (server, Client::builder().pin(&fingerprint(made.cert.der())).build().unwrap())
}

/// Both sides of TLS behind a header, which is sent and taken off by layers below: the handler sees
/// the client and the TLS.
#[test]
fn a_header_stands_before_tls() {
    let (server, client) = tls();
    let header = Header::v2("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
    let header = header.authority("example.com");
    let accept = Accept::trusting(["127.0.0.1"]).unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = Connect::from(socket.local_addr().unwrap());
    let connect =
        connect.layer(header.layer().unwrap()).layer(client.connect("localhost").unwrap());
    let listen = Listen::from(socket).layer(accept.layer()).layer(server.layer());
    let answer = both(listen, connect);
    assert_eq!(line(&answer, "peer"), "192.0.2.1:1");

    // The same, written as one layer of two.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = Connect::from(socket.local_addr().unwrap());
    let connect = connect.layer(header.layer().unwrap().then(client.connect("localhost").unwrap()));
    let listen = Listen::from(socket)
        .layer(move |peer: &Address| Ok(accept.accept(peer)?.then(server.accept()?)));
    assert_eq!(line(&both(listen, connect), "peer"), "192.0.2.1:1");
}

/// The header and the client's first record, cut at every byte between two reads.
#[test]
fn a_header_before_tls_may_be_cut_at_every_byte() {
    let (server, client) = tls();
    let accept = Accept::trusting(["127.0.0.1"]).unwrap();
    let header = Header::v1("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
    let mut sender = header.layer().unwrap().then(client.connect("localhost").unwrap());
    let mut wire = Vec::new();
    let _ = sender.receive(&mut [], &mut Vec::new(), &mut wire).unwrap();
    for cut in 0..=wire.len() {
        let peer = "127.0.0.1:5".parse().unwrap();
        let mut stack = accept.accept(&peer).unwrap().then(server.accept().unwrap());
        assert!(stack.tells_peer());
        let (mut pending, mut plain, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for piece in [&[][..], &wire[..cut], &wire[cut..]] {
            pending.extend_from_slice(piece);
            loop {
                let received: Received = stack.receive(&mut pending, &mut plain, &mut out).unwrap();
                pending.drain(..received.bytes());
                if received.bytes() == 0 && !received.has_more() {
                    break;
                }
            }
        }
        assert_eq!(stack.peer(), Some("192.0.2.1:1".parse().unwrap()));
        assert!(plain.is_empty() && out.starts_with(b"\x16\x03\x03"), "cut at {cut}");
    }
}
