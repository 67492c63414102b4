//! What the reactor holds of a simulated kernel: streams and listeners, closed when dropped.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::sync::MutexGuard;

use rustix::io::Errno;
use rustix::net::AddressFamily;

use super::link::{HERE, Transport};
use super::{Kernel, Kind, State};
use crate::base::address::Address;
use crate::base::id::Token;

/// A socket is worth asking again after so long: the shortest wait between two questions.
const ASKS: u64 = 1_000_000;

/// An open file of the simulated process; closed when dropped.
#[derive(Debug)]
pub(super) struct Descriptor {
    pub(super) kernel: Kernel,
    pub(super) file: u32,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.kernel.state().close(self.file);
    }
}

/// Our end of a simulated connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) descriptor: Descriptor,
    pub(super) transport: Transport,
    /// The kernel's kind: see [`Profile::flags`].
    pub(super) flags: bool,
}

impl Stream {
    fn state(&self) -> MutexGuard<'_, State> {
        self.descriptor.kernel.state()
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.transport == Transport::Tcp
    }

    /// See [`Profile::flags`].
    pub(crate) fn is_edge_triggered(&self) -> bool {
        self.flags
    }

    /// Whether a connect of ours has come through; `WouldBlock`: it is under way.
    pub(crate) fn finish_connect(&self) -> io::Result<()> {
        Ok(self.state().finish_connect(self.descriptor.file)?)
    }

    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.state().read(self.descriptor.file, buf)?)
    }

    pub(crate) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        Ok(self.state().write(self.descriptor.file, std::iter::once(buf), buf.len())?)
    }

    pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let pieces = slices.iter().map(|slice| &**slice);
        Ok(self.state().write(self.descriptor.file, pieces, offered)?)
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        Ok(self.state().shutdown(self.descriptor.file)?)
    }

    pub(crate) fn reset_on_close(&self) {
        self.state().reset_on_close(self.descriptor.file);
    }

    /// How much the kernel holds of what was written, until the peer's has it, or on a Unix socket the
    /// peer itself.
    pub(crate) fn undelivered(&self) -> usize {
        self.state().undelivered(self.descriptor.file)
    }

    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.state().take_error(self.descriptor.file).map(Into::into)
    }

    /// Its descriptor is lent to the handler.
    pub(crate) fn lend(&self) {
        self.state().lend(self.descriptor.file);
    }

    pub(crate) fn forbid_linger(&self) {
        self.state().forbid_linger(self.descriptor.file);
    }

    pub(crate) fn end_for_all(&self) {
        self.state().end_for_all(self.descriptor.file);
    }

    pub(crate) fn deregister(&self) {
        self.state().deregister(self.descriptor.file);
    }

    /// Bytes that were written and have not come to the other kernel. No edge tells of that: to ask now
    /// and then is to do something, and to ask all the time is to spin.
    pub(crate) fn unacknowledged(&self) -> usize {
        let mut state = self.state();
        if state.now >= state.asked.saturating_add(ASKS) {
            state.eventful += 1;
        }
        state.asked = state.now;
        let link = state.link_of(self.descriptor.file);
        state.links[link as usize].link.unacknowledged(HERE)
    }

    /// Whether a read would bring bytes.
    pub(crate) fn has_unread(&self) -> bool {
        let mut state = self.state();
        let link = state.link_of(self.descriptor.file);
        state.links[link as usize].link.has_unread(HERE)
    }

    pub(crate) fn local_addr(&self) -> Address {
        self.state().addresses(self.descriptor.file).0
    }

    /// # Errors
    ///
    /// `NotConnected`: it is over (`inet_getname`).
    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        let state = self.state();
        let link = state.link_of(self.descriptor.file);
        if state.links[link as usize].link.has_forgotten_peer(HERE) {
            return Err(Errno::NOTCONN.into());
        }
        Ok(state.addresses(self.descriptor.file).1)
    }

    /// With the poll of `with`. `urgent`: whether it is to be told of urgent data (`EPOLLPRI`).
    pub(crate) fn register(&self, with: &Kernel, token: Token, urgent: bool) -> io::Result<()> {
        let mut state = self.state();
        state.watch(self.descriptor.file)?;
        state.register(with.poll, self.descriptor.file, token, urgent);
        Ok(())
    }

    /// The connection it is an end of.
    #[allow(dead_code, reason = "for the oracle of crates/check")]
    pub(crate) fn link(&self) -> u32 {
        self.state().link_of(self.descriptor.file)
    }
}

/// A simulated datagram socket of the process.
#[derive(Debug)]
pub(crate) struct Datagrams(Descriptor);

impl Datagrams {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.kernel.state()
    }

    /// How many bytes were put into `buf`, how long the datagram was, and from where.
    pub(crate) fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, usize, Address)> {
        Ok(self.state().recv_from(self.0.file, buf)?)
    }

    /// `None`: to where it is connected.
    pub(crate) fn send_to(&self, payload: &[u8], to: Option<&Address>) -> io::Result<()> {
        Ok(self.state().send_to(self.0.file, payload, to)?)
    }

    pub(crate) fn local_addr(&self) -> Address {
        let port = self.port();
        self.state().mail.ports[port as usize].address.clone()
    }

    pub(crate) fn register(&self, with: &Kernel, token: Token) -> io::Result<()> {
        let mut state = self.state();
        state.watch(self.0.file)?;
        state.register(with.poll, self.0.file, token, false);
        Ok(())
    }

    pub(crate) fn watch_room(&self, wants: bool) {
        self.state().watch_room(self.0.file, wants);
    }

    /// Its number among the datagram sockets.
    pub(crate) fn port(&self) -> u32 {
        self.state().port_of(self.0.file)
    }
}

impl Kernel {
    /// Binds a datagram socket, and connects it, if it is to be.
    pub(crate) fn bind_datagram(
        &self,
        address: Address,
        connected: Option<Address>,
    ) -> io::Result<Datagrams> {
        let mut state = self.state();
        let port = state.bind(address, connected, None)?;
        let file = state.mail.ports[port as usize].file.expect("the process's own");
        drop(state);
        Ok(Datagrams(Descriptor { kernel: self.clone(), file }))
    }
}

/// The bytes of a socket address: see unix(7) and ip(7).
fn raw(address: &Address) -> Vec<u8> {
    let family = |family: AddressFamily| family.as_raw().to_ne_bytes().to_vec();
    match address {
        Address::Ip(SocketAddr::V4(addr)) => {
            let mut raw = family(AddressFamily::INET);
            raw.extend(addr.port().to_be_bytes());
            raw.extend(addr.ip().octets());
            raw.extend([0; 8]);
            raw
        }
        Address::Ip(SocketAddr::V6(addr)) => {
            let mut raw = family(AddressFamily::INET6);
            raw.extend(addr.port().to_be_bytes());
            raw.extend(addr.flowinfo().to_ne_bytes());
            raw.extend(addr.ip().octets());
            raw.extend(addr.scope_id().to_ne_bytes());
            raw
        }
        Address::Unix(path) => {
            let mut raw = family(AddressFamily::UNIX);
            raw.extend(path.as_os_str().as_bytes());
            // A zero byte ends it, where there is room for one.
            raw.resize(raw.len() + usize::from(raw.len() < 110), 0);
            raw
        }
        Address::Abstract(name) => {
            let mut raw = family(AddressFamily::UNIX);
            raw.push(0);
            raw.extend(name);
            raw
        }
        Address::Unnamed => family(AddressFamily::UNIX),
    }
}

/// A simulated listener.
#[derive(Debug)]
pub(crate) struct Listener(pub(super) Descriptor);

impl Listener {
    /// And the socket address of the peer, as accept(2) tells it.
    pub(crate) fn accept(&self) -> io::Result<(Stream, Vec<u8>)> {
        let kernel = &self.0.kernel;
        let mut state = kernel.state();
        let (file, address) = state.accept(self.0.file)?;
        let transport = state.links[state.link_of(file) as usize].link.transport;
        let flags = state.profile.flags;
        drop(state);
        let descriptor = Descriptor { kernel: kernel.clone(), file };
        Ok((Stream { descriptor, transport, flags }, raw(&address)))
    }

    pub(crate) fn local_addr(&self) -> Address {
        self.0.kernel.state().addresses(self.0.file).0
    }

    pub(crate) fn forbid_linger(&self) {
        self.0.kernel.state().forbid_linger(self.0.file);
    }

    pub(crate) fn listen_again(&self, backlog: usize) {
        self.0.kernel.state().listen_again(self.0.file, backlog);
    }

    /// As a program sets it that hands it in.
    #[allow(dead_code, reason = "for the schedules of crates/check")]
    pub(crate) fn linger(&self) {
        let mut state = self.0.kernel.state();
        if let (_, Kind::Listener(door)) = state.file_of(self.0.file) {
            state.doors[door as usize].lingers = true;
        }
    }

    pub(crate) fn register(&self, with: &Kernel, token: Token) {
        self.0.kernel.state().register(with.poll, self.0.file, token, false);
    }

    /// Another descriptor of it, as `dup(2)` makes one; but each may be watched by a poll of its own, since
    /// the simulated kernel knows descriptors, not the files behind them.
    pub(crate) fn duplicate(&self) -> io::Result<Listener> {
        let file = self.0.kernel.state().duplicate(self.0.file)?;
        Ok(Listener(Descriptor { kernel: self.0.kernel.clone(), file }))
    }
}
