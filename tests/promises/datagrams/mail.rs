//! A server of datagrams on a thread of its own, whose callback is a closure and leaves a record,
//! and plain clients.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wouldblock::{
    Address, Bind, Config, Conn, Context, Datagram, DatagramId, Handle, Handler, Input, Origin,
    Reactor, Stats,
};

use crate::support::{DEADLINE, wait_until, watch};

/// A datagram, as it was handed to the handler.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) payload: Vec<u8>,
    pub(super) from: Address,
    pub(super) socket: DatagramId,
    pub(super) truncated: bool,
    pub(super) len: usize,
}

type OnDatagram = dyn FnMut(&mut Context, &Datagram<'_>) + Send;
type OnOpen = dyn FnMut(&mut Conn<'_>) + Send;

/// A handler that echoes on streams, and does with datagrams as it is told: nothing.
pub(super) struct Mail {
    datagram: Box<OnDatagram>,
    open: Box<OnOpen>,
    letters: Box<dyn FnMut(Letter) + Send>,
}

impl Default for Mail {
    fn default() -> Self {
        Mail { datagram: Box::new(|_, _| ()), open: Box::new(|_| ()), letters: Box::new(|_| ()) }
    }
}

/// Sends each datagram back.
pub(super) fn echo() -> Mail {
    Mail::default().on_datagram(|cx, datagram| {
        // One without a name cannot be answered, and a flooder gets no more than fits.
        let _ = cx.send_to(datagram.socket, &datagram.from, datagram.payload);
    })
}

impl Mail {
    pub(super) fn on_datagram(
        mut self,
        f: impl FnMut(&mut Context, &Datagram<'_>) + Send + 'static,
    ) -> Self {
        self.datagram = Box::new(f);
        self
    }

    pub(super) fn on_tcp_open(mut self, f: impl FnMut(&mut Conn<'_>) + Send + 'static) -> Self {
        self.open = Box::new(f);
        self
    }

    /// With every datagram on a channel.
    pub(super) fn posting(mut self) -> (Self, Receiver<Letter>) {
        let (sender, receiver) = mpsc::channel();
        self.letters = Box::new(move |letter| drop(Sender::send(&sender, letter)));
        (self, receiver)
    }
}

impl Handler for Mail {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        (self.open)(conn);
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        conn.send(input.take_all());
        Ok(())
    }

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        (self.letters)(Letter {
            payload: datagram.payload.to_vec(),
            from: datagram.from.clone(),
            socket: datagram.socket,
            truncated: datagram.truncated,
            len: datagram.len,
        });
        (self.datagram)(cx, datagram);
    }
}

/// A reactor with datagram sockets, on a thread of its own.
pub(super) struct Office {
    pub(super) addrs: Vec<Address>,
    pub(super) ids: Vec<DatagramId>,
    pub(super) handle: Handle<Mail>,
    letters: Arc<Mutex<Vec<Letter>>>,
    thread: JoinHandle<Stats>,
}

impl Office {
    pub(super) fn open<const N: usize>(mail: Mail, binds: [Bind; N]) -> Office {
        Office::with(Config::default(), mail, binds)
    }

    pub(super) fn with<const N: usize>(config: Config, mut mail: Mail, binds: [Bind; N]) -> Office {
        let letters = Arc::<Mutex<Vec<Letter>>>::default();
        let record = Arc::clone(&letters);
        mail.letters = Box::new(move |letter| {
            let mut letters = record.lock().unwrap();
            // A flood is not remembered for ever.
            if letters.len() < 10_000 {
                letters.push(letter);
            }
        });
        let (ready, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut reactor = Reactor::with_config(mail, config).unwrap();
            let ids = binds.map(|bind| reactor.bind_datagram(bind).unwrap()).to_vec();
            let addrs = ids.iter().map(|id| reactor.datagram_addr(*id).unwrap()).collect();
            ready.send((addrs, ids, reactor.handle())).unwrap();
            reactor.run().unwrap();
            reactor.stats().clone()
        });
        let (addrs, ids, handle) = started.recv_timeout(DEADLINE).expect("the server starts");
        Office { addrs, ids, handle, letters, thread }
    }

    /// Where a UDP socket is bound.
    pub(super) fn addr(&self, n: usize) -> SocketAddr {
        self.addrs[n].socket_addr().unwrap()
    }

    /// Has something done on the server's thread.
    #[track_caller]
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Context) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = mpsc::channel();
        let posted = self.handle.post(move |_, cx| drop(answer.send(question(cx))));
        assert!(posted.is_ok(), "the server has ended");
        answered.recv_timeout(DEADLINE).expect("the server answers")
    }

    /// Listens for streams, too.
    pub(super) fn listen(&self) -> SocketAddr {
        self.ask(|cx| {
            let id = cx.listen("127.0.0.1:0").unwrap();
            cx.listener_addr(id).unwrap().socket_addr().unwrap()
        })
    }

    pub(super) fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }

    #[track_caller]
    pub(super) fn wait_letters(&self, n: usize) -> Vec<Letter> {
        wait_until(&format!("{n} datagrams came"), || self.letters.lock().unwrap().len() >= n);
        self.letters()
    }

    #[track_caller]
    pub(super) fn wait_letters_of(&self, socket: DatagramId, n: usize) -> Vec<Letter> {
        let of = || {
            let mut letters = self.letters();
            letters.retain(|letter| letter.socket == socket);
            letters
        };
        wait_until(&format!("{n} datagrams came to {socket:?}"), || of().len() >= n);
        of()
    }

    /// Fails if the reactor takes turns though nothing happens.
    #[track_caller]
    pub(super) fn assert_at_rest(&self) {
        let before = self.ask(|cx| cx.stats().turns);
        watch(Duration::from_millis(300));
        let turns = self.ask(|cx| cx.stats().turns) - before;
        assert!(turns < 60, "{turns} turns were taken in 300 ms in which nothing happened");
    }

    /// Shuts down, and waits for the end.
    #[track_caller]
    pub(super) fn end(self) -> Stats {
        self.handle.shutdown();
        self.join()
    }

    #[track_caller]
    pub(super) fn join(self) -> Stats {
        wait_until("the server has ended", || self.thread.is_finished());
        self.thread.join().unwrap()
    }
}

/// A client that does not wait for ever.
pub(super) fn client(at: &str) -> UdpSocket {
    let client = UdpSocket::bind(at).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
}

/// A Unix client with a name to be answered at.
pub(super) fn unix_client(at: &Path) -> UnixDatagram {
    let client = UnixDatagram::bind(at).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
}

/// A socket path of a test's own.
pub(super) fn path(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("wouldblock-dgram-{test}-{}", std::process::id()))
}
