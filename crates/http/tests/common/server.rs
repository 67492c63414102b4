//! A server on a thread, and clients on the machine's kernel.

use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wouldblock::{Config, Handle, Reactor};
use wouldblock_http::{Http, Requests};

/// A server on a thread, which ends with it.
pub(crate) struct Server<R: Requests> {
    addr: SocketAddr,
    pub(crate) handle: Handle<Http<R>>,
    thread: Option<JoinHandle<()>>,
}

impl<R: Requests + Send + 'static> Server<R> {
    pub(crate) fn start(http: Http<R>, config: Config) -> Server<R> {
        let mut reactor = Reactor::with_config(http, config).unwrap();
        let listener = reactor.listen("127.0.0.1:0").unwrap();
        let addr = reactor.listener_addr(listener).unwrap().socket_addr().unwrap();
        let handle = reactor.handle();
        let thread = Some(thread::spawn(move || reactor.run().unwrap()));
        Server { addr, handle, thread }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.addr).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }
}

impl<R: Requests> Drop for Server<R> {
    fn drop(&mut self) {
        self.handle.shutdown_now();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
