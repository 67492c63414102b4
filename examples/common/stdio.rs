//! stdin and stdout at one end of a connection that is made: `client.rs`, and `tls_client` of
//! `crates/rustls`.
//!
//! stdin and stdout may be files, and a file is never "not ready": reading one in a callback would
//! stop the loop. So two threads copy them, and the loop meets them at the far end of a socket pair,
//! which holds back whoever is too fast, as any socket does. Then all that is left to do is to couple
//! two connections: `relay.rs`.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use wouldblock::{
    CloseReason, Closed, Config, Conn, ConnId, Connect, Context, Handler, Input, Origin, Reactor,
};

use crate::relay::Side;

/// stdout is in no hurry: a pager may look at one page for an hour.
const DAY: Duration = Duration::from_secs(24 * 3600);

struct Client {
    /// How to reach the server, until it is tried.
    connect: Option<Connect>,
    /// Our end of the pair, until there is a server.
    pair: Option<UnixStream>,
    /// Why it did not go well.
    failure: Option<io::Error>,
}

impl Client {
    fn fail(&mut self, cx: &mut Context, error: io::Error) {
        self.failure = Some(error);
        cx.shutdown_now();
    }
}

impl Handler for Client {
    type Session = Side;

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        if let Some(connect) = self.connect.take()
            && let Err(error) = cx.connect(connect, 0)
        {
            self.fail(cx, error);
        }
        Ok(())
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Side> {
        if let Origin::Adopted(server) = origin {
            return Ok(Side::new(conn, true, Some(ConnId::from_u64(server))));
        }
        // First the server, then the pair: nothing is read before there is one that takes it.
        let server = conn.id().to_u64();
        let here = self.pair.take().map(|pair| conn.cx().adopt(pair, server)).transpose()?;
        Ok(Side::new(conn, false, here))
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        side: &mut Side,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        side.pass_on(conn, input);
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        side: &mut Side,
        _rest: &mut Input<'_>,
    ) -> io::Result<()> {
        side.pass_on_end(conn);
        Ok(())
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, side: &mut Side) -> io::Result<()> {
        side.drained(conn);
        Ok(())
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _id: ConnId, _tag: u64, error: io::Error) {
        self.fail(cx, error);
    }

    fn on_close(&mut self, cx: &mut Context, _id: ConnId, side: Side, closed: Closed) {
        side.ended(cx, &closed);
        if side.asks {
            // All is said, or it has no reader any more.
            cx.shutdown();
        } else if let CloseReason::Io(error) = closed.reason {
            self.failure = Some(error);
        }
    }
}

/// Sends stdin to the server and writes what it answers to stdout, until both have ended.
pub(crate) fn converse(connect: Connect) -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let client = Client { connect: Some(connect), pair: Some(ours), failure: None };
    let config = Config::default();
    let config = config.write_stall(DAY).linger(DAY).close_max(DAY).shutdown_max(DAY);
    let mut reactor = Reactor::with_config(client, config)?;

    let stdin = theirs.try_clone()?;
    // Never joined: it may wait for a terminal for ever.
    thread::spawn(move || {
        // If it fails the server is gone, and there is nothing to tell it.
        let _ = copy(io::stdin().lock(), &stdin);
        let _ = stdin.shutdown(Shutdown::Write);
    });
    let stdout = thread::spawn(move || {
        let copied = copy(&theirs, io::stdout().lock());
        // Nobody reads our output any more, or all is said.
        let _ = theirs.shutdown(Shutdown::Both);
        copied
    });

    let ran = reactor.run();
    // Our end of the pair goes with it, and so the thread comes to its end.
    let failure = reactor.into_handler().failure;
    let copied = stdout.join().unwrap_or_else(|_| Err(io::Error::other("stdout: a panic")));
    ran?;
    match failure {
        Some(failure) => Err(failure),
        None => copied,
    }
}

/// Copies to the end, each piece at once.
fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buf = vec![0; 64 << 10];
    loop {
        match from.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                to.write_all(&buf[..n])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
