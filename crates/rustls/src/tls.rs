//! One TLS connection as a layer: rustls between the bytes of the network and those of the handler.
//!
//! rustls' unbuffered interface does the protocol on the bytes as they are lent; this file carries bytes
//! from one buffer to another, and bounds what a peer can have us do for nothing. It has no socket and no
//! clock. Read next: `server.rs` and `client.rs`, which make it, and `error.rs`.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, HandshakeKind, ProtocolVersion};
use wouldblock::{Layer, Received};

use crate::error::{Cause, Error};
use crate::server::Chosen;

/// So much plaintext is made in one call, and what is behind it in the next.
const STEP: usize = 64 << 10;
/// A peer may send so many bytes of records without data (tickets, key updates, alerts) between two with
/// some. A ticket has some 250 bytes, with a client certificate in it a few thousand.
const FRUITLESS_MAX: usize = 64 << 10;
/// The most that a record is longer than its plaintext: header, explicit nonce, content type and tag.
const OVERHEAD: usize = 64;
/// The most plaintext of one record: RFC 8446, 5.1.
const RECORD_MAX: usize = 16 << 10;
/// The type, version and length of a record.
const HEADER: usize = 5;

/// One TLS connection: the [`Layer`] of a connection, made by [`Server::accept`](crate::Server::accept) or
/// [`Client::connect`](crate::Client::connect).
///
/// In `on_open` and in every later callback [`Conn::layer`](wouldblock::Conn::layer) lends it, to
/// ask who the peer is:
///
/// ```no_run
/// use wouldblock::Conn;
/// use wouldblock_rustls::Tls;
///
/// fn greet(conn: &mut Conn<'_>) {
///     if let Some(tls) = conn.layer::<Tls>() {
///         let name = tls.server_name().unwrap_or("no name");
///         println!("{} by {}, asked for {name}", tls.version(), tls.cipher_suite());
///     }
/// }
/// ```
///
/// Not in it: early data (0-RTT), which an eavesdropper can play again, and renegotiation.
pub struct Tls {
    side: Side,
    /// Records of which a handshake message is not complete, decrypted in place: rustls has ranges into
    /// them. Empty nearly always.
    held: Vec<u8>,
    /// Bytes of records that brought no plaintext since the last one that did.
    fruitless: usize,
    /// The peer has said `close_notify`.
    peer_ended: bool,
}

enum Side {
    Server { rustls: UnbufferedServerConnection, chosen: Arc<Chosen> },
    Client { rustls: UnbufferedClientConnection, name: String },
}

/// What is to be done when rustls has no more to do with what came.
enum Outgoing<'a> {
    Nothing,
    Plain(&'a [u8]),
    End,
}

/// What came of letting rustls work.
struct Worked {
    /// Bytes of the records that are done with.
    done: usize,
    /// There may be more to do with the rest.
    more: bool,
}

enum Step {
    Go,
    /// The peer has ended its side.
    Ended,
    /// No more without more bytes.
    Wait,
}

impl Tls {
    pub(crate) fn server(rustls: UnbufferedServerConnection, chosen: Arc<Chosen>) -> Self {
        Self::new(Side::Server { rustls, chosen })
    }

    pub(crate) fn client(rustls: UnbufferedClientConnection, name: String) -> Self {
        Self::new(Side::Client { rustls, name })
    }

    fn new(side: Side) -> Self {
        Tls { side, held: Vec::new(), fruitless: 0, peer_ended: false }
    }

    fn state(&self) -> &CommonState {
        match &self.side {
            Side::Server { rustls, .. } => rustls,
            Side::Client { rustls, .. } => rustls,
        }
    }

    /// Asks rustls what it needs next, and does that. Returns the bytes of `records` that are done
    /// with, and what came of it: an error of rustls', or of ours.
    fn advance(
        &mut self,
        records: &mut [u8],
        outgoing: &Outgoing<'_>,
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> (usize, Result<Result<Step, Error>, rustls::Error>) {
        match &mut self.side {
            Side::Server { rustls, .. } => {
                let UnbufferedStatus { discard, state, .. } = rustls.process_tls_records(records);
                (discard, state.map(|state| step(state, outgoing, plain, wire)))
            }
            Side::Client { rustls, .. } => {
                let UnbufferedStatus { discard, state, .. } = rustls.process_tls_records(records);
                (discard, state.map(|state| step(state, outgoing, plain, wire)))
            }
        }
    }

    /// Lets rustls work on `records` until it needs more of them, has made enough plaintext, or has done
    /// what is `outgoing`.
    fn work(
        &mut self,
        records: &mut [u8],
        outgoing: &Outgoing<'_>,
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Worked, Error> {
        let enough = plain.len() + STEP;
        let mut done = 0;
        while plain.len() < enough {
            let (discard, step) = self.advance(&mut records[done..], outgoing, plain, wire);
            done += discard;
            match step {
                Ok(Ok(Step::Go)) => {}
                Ok(Ok(Step::Ended)) => self.peer_ended = true,
                Ok(Ok(Step::Wait)) => return Ok(Worked { done, more: false }),
                Ok(Err(error)) => return Err(error),
                Err(error) => {
                    let error = blame(error, &records[done..], self.state());
                    self.flush_alert(&mut records[done..], wire);
                    return Err(error);
                }
            }
        }
        Ok(Worked { done, more: true })
    }

    /// After an error: what rustls has to say about it, an alert. It is asked only while it has something
    /// to send, and so does not look at the records again.
    fn flush_alert(&mut self, records: &mut [u8], wire: &mut Vec<u8>) {
        // What it decrypted before was handed out, and nothing more is.
        let (mut plain, nothing) = (Vec::new(), Outgoing::Nothing);
        while self.state().wants_write() {
            let (_, step) = self.advance(records, &nothing, &mut plain, wire);
            if !matches!(step, Ok(Ok(Step::Go))) {
                return;
            }
        }
    }

    /// Lets rustls work on what is kept here.
    fn work_held(
        &mut self,
        outgoing: &Outgoing<'_>,
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Worked, Error> {
        let mut held = std::mem::take(&mut self.held);
        let worked = self.work(&mut held, outgoing, plain, wire)?;
        held.drain(..worked.done);
        // Empty, it is freed: an idle connection holds no buffer.
        if !held.is_empty() {
            self.held = held;
        }
        Ok(worked)
    }

    /// Counts what brought nothing.
    fn check_fruitless(&mut self, done: usize, brought: usize) -> Result<(), Error> {
        if brought > 0 || !self.is_ready() {
            self.fruitless = 0;
            return Ok(());
        }
        self.fruitless += done;
        if self.fruitless <= FRUITLESS_MAX {
            return Ok(());
        }
        Err(Error::new(Cause::Flood, format!("{FRUITLESS_MAX} bytes of records without data")))
    }

    // --- Questions ------------------------------------------------------------------------------

    /// The name of the server: on its side what the client asked for (SNI), in lower case; on the client's
    /// what it was told to connect to, which may be an address.
    ///
    /// `None`: the client named none, as clients do that have only an address.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        match &self.side {
            Side::Server { chosen, .. } => chosen.name(),
            Side::Client { name, .. } => Some(name),
        }
    }

    /// The protocol that both agreed on (ALPN), such as `b"h2"`; `None` if there was nothing to agree on.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.state().alpn_protocol()
    }

    /// The version in use, `"TLS 1.3"` or `"TLS 1.2"`; before the handshake is over `"TLS"`.
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self.state().protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        }
    }

    /// The cipher suite in use by its name at IANA, such as `"TLS13_AES_128_GCM_SHA256"`; empty
    /// before it is known.
    #[must_use]
    pub fn cipher_suite(&self) -> &'static str {
        let suite = self.state().negotiated_cipher_suite();
        suite.and_then(|suite| suite.suite().as_str()).unwrap_or("")
    }

    /// The peer's certificates in DER, its own first, then those between it and a root; none, if it showed
    /// none. They are verified. In a resumed session they are those of the first one.
    pub fn peer_certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.state().peer_certificates().unwrap_or_default().iter().map(AsRef::as_ref)
    }

    /// Whether an earlier session was resumed, without a signature and without certificates.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.state().handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

impl Layer for Tls {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> io::Result<Received> {
        let before = plain.len();
        let holds = !self.held.is_empty();
        let mut received = if holds {
            // A message of the handshake lies in several records, of which some are here.
            self.held.extend_from_slice(bytes);
            let worked = self.work_held(&Outgoing::Nothing, plain, wire)?;
            self.check_fruitless(worked.done, plain.len() - before)?;
            let received = Received::consumed(bytes.len());
            if worked.more { received.more() } else { received }
        } else {
            let worked = self.work(bytes, &Outgoing::Nothing, plain, wire)?;
            self.check_fruitless(worked.done, plain.len() - before)?;
            let rest = &bytes[worked.done..];
            // rustls keeps its place in records that it has decrypted and not done with, and is lent them
            // for each send, too. A record that is not complete it has not looked at.
            if !worked.more && !self.peer_ended && is_complete(rest) {
                self.held = rest.to_vec();
                Received::consumed(bytes.len())
            } else if worked.more {
                Received::consumed(worked.done).more()
            } else {
                Received::consumed(worked.done)
            }
        };
        if self.peer_ended {
            received = received.ended();
        }
        Ok(received)
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        if !plain.is_empty() {
            self.work_held(&Outgoing::Plain(plain), &mut Vec::new(), wire)?;
        }
        Ok(())
    }

    fn end(&mut self, wire: &mut Vec<u8>) {
        // In the handshake there is no `close_notify`: the end of the stream is all that is said.
        let _ = self.work_held(&Outgoing::End, &mut Vec::new(), wire);
    }

    fn is_ready(&self) -> bool {
        !self.state().is_handshaking()
    }

    fn held(&self) -> usize {
        self.held.capacity()
    }

    /// TLS 1.3 has it; in TLS 1.2 a side that is told the end ends too (RFC 5246, 7.2.1).
    fn half_closes(&self) -> bool {
        self.state().protocol_version() != Some(ProtocolVersion::TLSv1_2)
    }
}

/// Does one thing that rustls asks for.
fn step<Data>(
    state: ConnectionState<'_, '_, Data>,
    outgoing: &Outgoing<'_>,
    plain: &mut Vec<u8>,
    wire: &mut Vec<u8>,
) -> Result<Step, Error> {
    match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                plain.extend_from_slice(record.map_err(Error::from)?.payload);
            }
        }
        ConnectionState::EncodeTlsData(mut data) => append(wire, 0, |space| {
            data.encode(space).map_err(|error| match error {
                EncodeError::InsufficientSize(needs) => Some(needs.required_size),
                EncodeError::AlreadyEncoded => None,
            })
        })?,
        ConnectionState::TransmitTlsData(data) => data.done(),
        ConnectionState::PeerClosed => return Ok(Step::Ended),
        ConnectionState::WriteTraffic(mut traffic) => {
            let needs = |error| match error {
                EncryptError::InsufficientSize(needs) => Some(needs.required_size),
                EncryptError::EncryptExhausted => None,
            };
            match outgoing {
                Outgoing::Nothing => {}
                Outgoing::Plain(bytes) => {
                    let records = bytes.len().div_ceil(RECORD_MAX);
                    append(wire, bytes.len() + records * OVERHEAD, |space| {
                        traffic.encrypt(bytes, space).map_err(needs)
                    })?;
                }
                Outgoing::End => {
                    append(wire, 0, |space| traffic.queue_close_notify(space).map_err(needs))?;
                }
            }
            return Ok(Step::Wait);
        }
        ConnectionState::Closed | ConnectionState::BlockedHandshake => return Ok(Step::Wait),
        // Early data, which we do not offer.
        other => {
            return Err(Error::new(Cause::Local, format!("rustls came to {other:?}")));
        }
    }
    Ok(Step::Go)
}

/// Appends to `wire` what `write` writes, given so much space as we think it needs, or as it says.
fn append(
    wire: &mut Vec<u8>,
    space: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), Error> {
    let start = wire.len();
    wire.resize(start + space, 0);
    let mut written = write(&mut wire[start..]);
    if let Err(Some(needed)) = written {
        wire.resize(start + needed, 0);
        written = write(&mut wire[start..]);
    }
    wire.truncate(start + written.unwrap_or(0));
    match written {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::new(Cause::Local, "the keys of this session are used up")),
    }
}

/// Whether it begins with a whole record.
fn is_complete(records: &[u8]) -> bool {
    let Some(header) = records.first_chunk::<HEADER>() else { return false };
    records.len() >= HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]))
}

/// The error, with what the bytes show beyond rustls' words: another protocol altogether.
fn blame(error: rustls::Error, records: &[u8], state: &CommonState) -> Error {
    const METHODS: [&[u8]; 8] =
        [b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"CONN", b"PRI "];
    let error = Error::from(error);
    if error.cause() != Cause::NotTls || state.protocol_version().is_some() {
        return error;
    }
    if METHODS.iter().any(|method| records.starts_with(method)) {
        return Error::new(Cause::PlainHttp, "the peer speaks plain HTTP to a port for TLS");
    }
    if records.starts_with(b"HTTP/") {
        return Error::new(Cause::PlainHttp, "the server speaks plain HTTP, not TLS");
    }
    if records.starts_with(b"PROXY ") || records.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
        let line = "a PROXY header in front of TLS: is a layer for it missing below?";
        return Error::new(Cause::NotTls, line);
    }
    error
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("version", &self.version())
            .field("server_name", &self.server_name())
            .field("is_ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}
