//! A port-forwarder in one page: what `docs/guide/from_python.md` ends with, word for word (a test
//! holds that). The proxy with all manners is `proxy.rs`.
//!
//! ```sh
//! cargo run --example forward -- 127.0.0.1:6667 127.0.0.1:6666
//! ```

use std::net::ToSocketAddrs;
use std::{env, io};
use wouldblock::{Address, Closed, Conn, ConnId, Context, Handler, Input, Origin, Reactor};

struct Forwarder {
    to: Address,
}

/// What is kept for each of the two connections of a pair.
struct Side {
    other: ConnId,
    is_client: bool,
}

impl Handler for Forwarder {
    type Session = Side;

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Side> {
        conn.full_duplex(true); // what it is sent comes from elsewhere: read it all the same
        conn.hold(true); // a shutdown lets it go on to its end
        if let Origin::Connected(tag) = origin {
            return Ok(Side { other: ConnId::from_u64(tag), is_client: false });
        }
        // A client. Its server's connection carries the client's name as its tag.
        let tag = conn.id().to_u64();
        let server = conn.cx().connect(self.to.clone(), tag)?;
        Ok(Side { other: server, is_client: true })
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        side: &mut Side,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let bytes = input.take_all();
        let cx = conn.cx();
        cx.send(side.other, bytes); // to a server that is still being connected, too
        if cx.room(side.other) == 0 && cx.want_drain(side.other) {
            conn.pause(); // the other side is slow: read no more until it has caught up
        }
        Ok(())
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, side: &mut Side) -> io::Result<()> {
        conn.cx().resume(side.other); // caught up
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        side: &mut Side,
        _: &mut Input<'_>,
    ) -> io::Result<()> {
        conn.cx().finish(side.other); // shutdown(SHUT_WR) there; answers still come back
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, _id: ConnId, side: Side, closed: Closed) {
        if closed.clean {
            return; // both ends were passed on
        }
        if side.is_client {
            cx.abort(side.other); // nobody waits for the server's answer any more
        } else {
            cx.close(side.other); // what the server had said still goes out
        }
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _id: ConnId, tag: u64, error: io::Error) {
        eprintln!("{error}"); // "cannot connect to 127.0.0.1:6666: Connection refused …"
        cx.abort(ConnId::from_u64(tag));
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().collect();
    let [_, listen, to] = &arguments[..] else {
        return Err(io::Error::other("usage: forward LISTEN TO, such as 127.0.0.1:6667 host:80"));
    };
    let to = to.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut reactor = Reactor::new(Forwarder { to: to.into() })?;
    let listener = reactor.listen(listen)?;
    println!("listening on {}", reactor.local_addr(listener)?);
    reactor.run()
}
