//! The echo server of mill-net's README, with room for many connections and `TCP_NODELAY`.

use std::net::TcpListener;
use std::sync::Arc;

use mill_io::EventLoop;
use mill_io::error::Result;
use mill_net::tcp::traits::{ConnectionId, NetworkHandler};
use mill_net::tcp::{ServerContext, TcpServer, TcpServerConfig};

struct Echo;

impl NetworkHandler for Echo {
    fn on_connect(&self, _: &ServerContext, _: ConnectionId) -> Result<()> {
        Ok(())
    }

    fn on_data(&self, server: &ServerContext, id: ConnectionId, data: &[u8]) -> Result<()> {
        server.send_to(id, data)?;
        Ok(())
    }

    fn on_disconnect(&self, _: &ServerContext, _: ConnectionId) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    let listen = std::env::args().nth(1).expect("usage: mill_net_echo HOST:PORT");
    // It does not tell which port it was given, so one is looked for before.
    let addr = TcpListener::bind(listen).unwrap().local_addr().unwrap();
    let config = TcpServerConfig::builder()
        .address(addr)
        .buffer_size(8192)
        .max_connections(100_000)
        .no_delay(true)
        .build();
    let event_loop = Arc::new(EventLoop::default());
    let server = Arc::new(TcpServer::new(config, Echo)?);
    server.start(&event_loop, event_loop.alloc_token())?;
    println!("listening on {addr}");
    event_loop.run()?;
    Ok(())
}
