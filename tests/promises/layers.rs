//! Layers: what stands between the bytes and the handler keeps every promise to the handler. The layer is a
//! toy (`support/toy.rs`) with a handshake, records, keys that change in mid-stream, alerts and an end.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use wouldblock::{CloseReason, Config, Listen, Reactor};

use crate::support::toy::Toy;
use crate::support::toy_client::ToyClient;
use crate::support::*;

/// Serves the script behind the toy layer.
fn serve(script: Script, config: Config) -> Server {
    Server::start_on(listen(), script, config)
}

fn listen() -> Listen {
    Listen::from("127.0.0.1:0").layer(|_| Ok(Toy::server(7)))
}

fn shake(server: &Server) -> ToyClient<TcpStream> {
    ToyClient::shake(server.connect())
}

fn many(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

/// Promises 1 and 2: what is sent through a layer comes back through it, small and large, and both ends are
/// told in order.
#[test]
fn an_echo_behind_a_layer_returns_every_byte_and_ends_clean() {
    let server = serve(echo(), Config::default());
    let mut client = shake(&server);
    for n in [1, 2, 999, 1000, 1001, 70_000] {
        client.send(&many(n));
        client.expect(&many(n));
    }
    client.end();
    assert_eq!(client.rest(), b"");
    assert!(client.ended, "the server has marked its end");
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::PeerEnd) && closed.clean, "{closed}");
    let stats = server.end();
    assert_eq!((stats.accepted, stats.handshakes_failed, stats.closed.total()), (1, 0, 1));
}

/// The same on a Unix socket.
#[test]
fn an_echo_behind_a_layer_works_on_a_unix_socket() {
    let dir = std::env::temp_dir().join(format!("wouldblock-layer-{}", std::process::id()));
    let path = format!("unix:{}", dir.display());
    let script = echo();
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    reactor.listen(Listen::from(&path[..]).layer(|_| Ok(Toy::server(9)))).unwrap();
    let handle = reactor.handle();
    let thread = std::thread::spawn(move || reactor.run());
    let mut client = ToyClient::shake(UnixStream::connect(dir).unwrap());
    client.send(&many(5000));
    client.expect(&many(5000));
    client.end();
    assert_eq!(client.rest(), b"");
    drop(client);
    assert!(record.wait_close().clean);
    handle.shutdown();
    thread.join().unwrap().unwrap();
}
