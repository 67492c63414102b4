//! A blocking client that speaks the toy protocol, over any stream.

use std::io::{Read, Write};

use wouldblock::Layer;

use super::toy::Toy;

/// A client of the toy protocol.
pub(crate) struct ToyClient<S> {
    pub(crate) stream: S,
    pub(crate) toy: Toy,
    /// Bytes read that are no whole record yet.
    bytes: Vec<u8>,
    /// What came and was not asked for yet.
    plain: Vec<u8>,
    pub(crate) ended: bool,
}

impl<S: Read + Write> ToyClient<S> {
    /// Speaks first, and waits for the answer.
    #[track_caller]
    pub(crate) fn shake(stream: S) -> Self {
        let mut client = ToyClient::silent(stream);
        client.hello();
        while !client.toy.is_ready() {
            assert!(client.read_once(), "the server ended in the handshake");
        }
        client
    }

    /// Has said nothing yet.
    pub(crate) fn silent(stream: S) -> Self {
        let toy = Toy::new(0x55);
        ToyClient { stream, toy, bytes: Vec::new(), plain: Vec::new(), ended: false }
    }

    pub(crate) fn hello(&mut self) {
        let mut wire = Vec::new();
        let _ = self.toy.receive(&mut [], &mut self.plain, &mut wire).unwrap();
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
        let received = self.toy.receive(&mut self.bytes, &mut self.plain, &mut wire).unwrap();
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
