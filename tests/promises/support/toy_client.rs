//! A blocking client that speaks the toy protocol, over any stream.

use std::io::{Read, Write};

use wouldblock::{Layer, Then};

use super::toy::Toy;

/// A client of the toy protocol.
pub(crate) type ToyClient<S> = LayerClient<S, Toy>;

/// A client of the toy protocol inside of itself.
pub(crate) type TwoToys<S> = LayerClient<S, Then<Toy, Toy>>;

/// A client that speaks through a layer.
pub(crate) struct LayerClient<S, L> {
    pub(crate) stream: S,
    pub(crate) toy: L,
    /// Records of data that came.
    pub(crate) records: usize,
    /// Bytes read that are no whole record yet.
    bytes: Vec<u8>,
    /// What came and was not asked for yet.
    plain: Vec<u8>,
    pub(crate) ended: bool,
}

impl<S: Read + Write> LayerClient<S, Toy> {
    /// Has said nothing yet.
    pub(crate) fn silent(stream: S) -> Self {
        LayerClient::new(stream, Toy::new(0x55))
    }

    /// Speaks first, and waits for the answer.
    #[track_caller]
    pub(crate) fn shake(stream: S) -> Self {
        LayerClient::begin(stream, Toy::new(0x55))
    }
}

impl<S: Read + Write> LayerClient<S, Then<Toy, Toy>> {
    #[track_caller]
    pub(crate) fn shake(stream: S) -> Self {
        LayerClient::begin(stream, Toy::new(0x55).then(Toy::new(0x66)))
    }
}

impl<S: Read + Write, L: Layer> LayerClient<S, L> {
    fn new(stream: S, toy: L) -> Self {
        let (bytes, plain) = (Vec::new(), Vec::new());
        LayerClient { stream, toy, bytes, plain, ended: false, records: 0 }
    }

    /// Speaks first, and waits for the answer.
    #[track_caller]
    fn begin(stream: S, toy: L) -> Self {
        let mut client = LayerClient::new(stream, toy);
        client.hello();
        client.wait_ready();
        client
    }

    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        while !self.toy.is_ready() {
            assert!(self.read_once(), "the server ended in the handshake");
        }
    }

    /// What it says first.
    pub(crate) fn hello_into(&mut self, wire: &mut Vec<u8>) {
        let _ = self.toy.receive(&mut [], &mut self.plain, wire).unwrap();
    }

    /// It has said that by other means.
    pub(crate) fn mark_hello(&mut self) {
        self.hello_into(&mut Vec::new());
    }

    /// What came by other means. Returns the number of plain bytes in it.
    pub(crate) fn feed(&mut self, wire: &[u8]) -> usize {
        self.bytes.extend_from_slice(wire);
        let received = self.toy.receive(&mut self.bytes, &mut self.plain, &mut Vec::new()).unwrap();
        self.bytes.drain(..received.bytes());
        self.plain.len()
    }

    pub(crate) fn hello(&mut self) {
        let mut wire = Vec::new();
        self.hello_into(&mut wire);
        self.stream.write_all(&wire).unwrap();
    }

    pub(crate) fn wire(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        self.toy.send(plain, &mut wire).unwrap();
        wire
    }

    pub(crate) fn send(&mut self, plain: &[u8]) {
        let wire = self.wire(plain);
        self.stream.write_all(&wire).unwrap();
    }

    pub(crate) fn end(&mut self) {
        let mut wire = Vec::new();
        self.toy.end(&mut wire);
        self.stream.write_all(&wire).unwrap();
    }

    /// Reads what there is. False at the end of the stream.
    #[track_caller]
    fn read_once(&mut self) -> bool {
        let mut buf = [0; 4096];
        let n = self.stream.read(&mut buf).unwrap();
        self.bytes.extend_from_slice(&buf[..n]);
        let mut wire = Vec::new();
        let before = self.plain.len();
        let received = self.toy.receive(&mut self.bytes, &mut self.plain, &mut wire).unwrap();
        self.records += (self.plain.len() - before).div_ceil(super::toy::RECORD);
        assert!(!(self.ended && received.bytes() > 0), "records came after the end");
        self.ended |= received.is_ended();
        self.bytes.drain(..received.bytes());
        self.stream.write_all(&wire).unwrap();
        n > 0
    }

    /// Reads so many bytes.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        while self.plain.len() < bytes.len() {
            assert!(self.read_once(), "the server ended before all came");
        }
        let came: Vec<u8> = self.plain.drain(..bytes.len()).collect();
        assert!(came == bytes, "other bytes came");
    }

    /// Reads to the end of the stream, and returns what came.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.read_once() {}
        std::mem::take(&mut self.plain)
    }
}
