//! The echo server of message-io's README, on its plain TCP transport.

use message_io::network::{NetEvent, Transport};
use message_io::node;

fn main() {
    let listen = std::env::args().nth(1).expect("usage: message_io_echo HOST:PORT");
    let (handler, listener) = node::split::<()>();
    let (_, addr) = handler.network().listen(Transport::Tcp, listen.as_str()).unwrap();
    println!("listening on {addr}");
    listener.for_each(move |event| {
        if let NetEvent::Message(endpoint, data) = event.network() {
            handler.network().send(endpoint, data);
        }
    });
}
