//! In the place of the simulated kernel, where that is not built: types that have no value.
//!
//! So `net/socket.rs` and `net/driver.rs` name their third variant without asking whether it is there, and
//! the compiler removes what it would have cost.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::id::Token;
use crate::base::readiness::Readiness;

#[derive(Clone, Debug)]
pub(crate) enum Kernel {}

#[derive(Debug)]
pub(crate) enum Stream {}

#[derive(Debug)]
pub(crate) enum Listener {}

#[derive(Debug)]
pub(crate) enum Datagrams {}

impl Kernel {
    pub(crate) fn now(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn descriptors(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn reactor_number(&self) -> u32 {
        match *self {}
    }

    pub(crate) fn with_poll(&self) -> Self {
        match *self {}
    }

    pub(crate) fn wake(&self) {
        match *self {}
    }

    pub(crate) fn poll(
        &self,
        _timeout: Option<Duration>,
        _events: &mut Vec<(Token, Readiness)>,
    ) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn events_max(&self) -> usize {
        match *self {}
    }

    pub(crate) fn connect(
        &self,
        _address: Address,
        _source: Option<SocketAddr>,
    ) -> io::Result<Stream> {
        match *self {}
    }

    pub(crate) fn listen(
        &self,
        _address: Address,
        _backlog: usize,
        _shared: bool,
    ) -> io::Result<Listener> {
        match *self {}
    }

    pub(crate) fn bind_datagram(
        &self,
        _address: Address,
        _connected: Option<Address>,
    ) -> io::Result<Datagrams> {
        match *self {}
    }
}

impl Datagrams {
    pub(crate) fn recv_from(&self, _buf: &mut [u8]) -> io::Result<(usize, usize, Address)> {
        match *self {}
    }

    pub(crate) fn send_to(&self, _payload: &[u8], _to: Option<&Address>) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn watch_room(&self, _wants: bool) {
        match *self {}
    }

    pub(crate) fn local_addr(&self) -> Address {
        match *self {}
    }

    pub(crate) fn register(&self, _with: &Kernel, _token: Token) -> io::Result<()> {
        match *self {}
    }
}

impl Stream {
    pub(crate) fn finish_connect(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn is_tcp(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_edge_triggered(&self) -> bool {
        match *self {}
    }

    pub(crate) fn read(&self, _buf: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn write(&self, _buf: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn write_vectored(&self, _slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn reset_on_close(&self) {
        match *self {}
    }

    pub(crate) fn lend(&self) {
        match *self {}
    }

    pub(crate) fn forbid_linger(&self) {
        match *self {}
    }

    pub(crate) fn end_for_all(&self) {
        match *self {}
    }

    pub(crate) fn deregister(&self) {
        match *self {}
    }

    pub(crate) fn unacknowledged(&self) -> usize {
        match *self {}
    }

    pub(crate) fn undelivered(&self) -> usize {
        match *self {}
    }

    pub(crate) fn has_unread(&self) -> bool {
        match *self {}
    }

    pub(crate) fn take_error(&self) -> Option<io::Error> {
        match *self {}
    }

    pub(crate) fn local_addr(&self) -> Address {
        match *self {}
    }

    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        match *self {}
    }

    pub(crate) fn register(&self, _with: &Kernel, _token: Token, _urgent: bool) -> io::Result<()> {
        match *self {}
    }
}

impl Listener {
    pub(crate) fn forbid_linger(&self) {
        match *self {}
    }

    pub(crate) fn listen_again(&self, _backlog: usize) {
        match *self {}
    }

    pub(crate) fn accept(&self) -> io::Result<(Stream, Vec<u8>)> {
        match *self {}
    }

    pub(crate) fn local_addr(&self) -> Address {
        match *self {}
    }

    pub(crate) fn duplicate(&self) -> io::Result<Listener> {
        match *self {}
    }

    pub(crate) fn register(&self, _with: &Kernel, _token: Token) {
        match *self {}
    }
}
