//! Over TLS: the same server, and a client of ours, through the layer of `wouldblock-rustls`.

use std::io;
use std::sync::mpsc::{self, Sender};

use wouldblock::{Config, Conn, ConnId, Connect, Context, Listen, Origin, Reactor, Timer};
use wouldblock_rustls::{Client as TlsClient, Server as TlsServer, Tls, fingerprint};
use wouldblock_websocket::{
    Client, Closed, Deflate, Endpoint, Head, Message, Prepared, Protocol, Topics, WebSocket, Ws,
    code,
};

use crate::served::DEADLINE;

/// Both ends: the server echoes, and publishes each text to all; the client tells what comes.
struct Both {
    connect: Option<Connect>,
    topics: Topics,
    tells: Sender<String>,
}

/// Longer than a record of TLS, than a read, and than the kernel takes at once.
fn long() -> String {
    "and so on, ".repeat(200_000)
}

impl Endpoint for Both {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        cx.set_timer(DEADLINE, 0);
        cx.connect(self.connect.take().unwrap(), 0).map(drop)
    }

    /// It hangs.
    fn on_timer(&mut self, cx: &mut Context, _: Timer) {
        cx.shutdown_now();
    }

    fn on_connection(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Protocol<()>> {
        let tls = conn.layer::<Tls>().expect("both ends have it");
        assert_eq!(tls.server_name(), Some("localhost"));
        Ok(match origin {
            Origin::Connected(_) => Protocol::Client(Client::new("wss://localhost/")?),
            _ => Protocol::Server,
        })
    }

    fn on_open(&mut self, ws: &mut Ws<'_>, _: &Head<'_>) -> io::Result<()> {
        if ws.is_client() {
            ws.send("hello");
            ws.send(long().as_bytes());
        } else {
            self.topics.subscribe(ws, "all".to_owned());
        }
        Ok(())
    }

    fn on_message(&mut self, ws: &mut Ws<'_>, (): &mut (), message: Message<'_>) -> io::Result<()> {
        if !ws.is_client() {
            if let Message::Text(text) = message {
                self.topics.publish(ws.cx(), "all", &Prepared::new(text));
            } else {
                ws.send(message);
            }
            return Ok(());
        }
        let told = match message {
            Message::Text(text) => text.to_owned(),
            Message::Binary(bytes) => {
                assert!(bytes == long().as_bytes());
                ws.close(code::NORMAL, "all there");
                "long".to_owned()
            }
        };
        let _ = self.tells.send(told);
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, (): (), closed: Closed) {
        let _ = self.tells.send(closed.to_string());
        self.topics.unsubscribe_all(id);
        cx.shutdown();
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _: ConnId, _: u64, error: io::Error) {
        let _ = self.tells.send(error.to_string());
        cx.shutdown();
    }
}

fn run(set: impl Fn(WebSocket<Both>) -> WebSocket<Both>, trusts: bool) -> Vec<String> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let server = TlsServer::builder()
        .certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
        .build()
        .unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let trusted = if trusts { made.cert.der() } else { other.cert.der() };
    let client = TlsClient::builder().pin(&fingerprint(trusted)).build().unwrap();

    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = Connect::from(socket.local_addr().unwrap());
    let connect = Some(connect.layer(client.connect("localhost").unwrap()));
    let (tells, told) = mpsc::channel();
    let both = Both { connect, topics: Topics::new(), tells };
    let both = set(WebSocket::new(both).message_max(4 << 20));
    let mut reactor = Reactor::with_config(both, Config::default()).unwrap();
    reactor.listen(Listen::from(socket).layer(server.layer())).unwrap();
    reactor.run().unwrap();
    drop(reactor);
    told.into_iter().collect()
}

#[test]
fn a_client_and_a_server_talk_over_tls_and_both_see_the_close() {
    let plain = run(|it| it, true);
    assert_eq!(plain, ["hello", "long", "1000 all there", "1000"]);
    let packed = run(|it| it.deflate(Deflate::new().contexts_max(10)), true);
    assert_eq!(packed, plain);
}

#[test]
fn a_client_that_does_not_trust_the_server_has_a_failed_connect() {
    let told = run(|it| it, false);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("certificate"), "{told:?}");
}
