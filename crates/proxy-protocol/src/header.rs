//! The client's side: a header to send, and the layer that does.

use std::io;
use std::net::{IpAddr, SocketAddr};

use proxy_header::{ProxiedAddress, ProxyHeader, Tlv};
use wouldblock::{Address, Layer, Received};

use crate::Version;

/// A header for a connection that is made in the place of a client.
///
/// # Examples
///
/// ```
/// use wouldblock_proxy_protocol::Header;
///
/// # fn main() -> std::io::Result<()> {
/// let header = Header::v1("192.0.2.1:1234".parse()?, "198.51.100.2:443".parse()?);
/// assert_eq!(header.encode()?, b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Header {
    version: Version,
    /// Source and destination.
    between: Option<(SocketAddr, SocketAddr)>,
    fields: Vec<Tlv<'static>>,
}

impl Header {
    /// One of version 1: a line of text. `source` is the client's address, `destination` where it
    /// has connected to. If one of them is no IP address, as with a client on a Unix socket, the
    /// line says `UNKNOWN`.
    pub fn v1(source: Address, destination: Address) -> Self {
        Self::new(Version::V1, &source, &destination)
    }

    /// One of version 2. `source` is the client's address, `destination` where it has connected to.
    /// If one of them is no IP address, as with a client on a Unix socket, it says LOCAL: the
    /// receiver takes the address of our socket.
    pub fn v2(source: Address, destination: Address) -> Self {
        Self::new(Version::V2, &source, &destination)
    }

    /// One of version 2 for a connection of our own (LOCAL), such as a health check.
    pub fn local() -> Self {
        Self::new(Version::V2, &Address::Unnamed, &Address::Unnamed)
    }

    fn new(version: Version, source: &Address, destination: &Address) -> Self {
        let between = source.socket_addr().zip(destination.socket_addr());
        Header { version, between: between.map(of_one_family), fields: Vec::new() }
    }

    /// Adds the name of the server that the client has asked for: the SNI of its TLS.
    pub fn authority(self, name: impl Into<String>) -> Self {
        self.with(Tlv::Authority(name.into().into()))
    }

    /// Adds the protocol that the client has agreed on in TLS (ALPN).
    pub fn alpn(self, protocol: impl Into<Vec<u8>>) -> Self {
        self.with(Tlv::Alpn(protocol.into().into()))
    }

    /// Adds what we call this connection: at most 128 bytes.
    pub fn unique_id(self, id: impl Into<Vec<u8>>) -> Self {
        self.with(Tlv::UniqueId(id.into().into()))
    }

    /// Adds a field of another type: 0xE0 to 0xEF are free for any use.
    pub fn custom(self, kind: u8, value: impl Into<Vec<u8>>) -> Self {
        self.with(Tlv::Custom(kind, value.into().into()))
    }

    fn with(mut self, field: Tlv<'static>) -> Self {
        self.fields.push(field);
        self
    }

    /// What [`Connect::layer`](wouldblock::Connect::layer) takes: it sends the header before all
    /// else. Below TLS: `Connect::from(addr).layer(header.layer()?).layer(tls.connect(name)?)`.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn layer(&self) -> io::Result<SendHeader> {
        Ok(SendHeader { header: self.encode()?, is_sent: false })
    }

    /// The header's bytes.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: there are fields, and the version is 1; or they are longer than 65,535 bytes
    /// together, or the unique id is longer than 128.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let refuse = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        for field in &self.fields {
            match field {
                Tlv::UniqueId(id) if id.len() > 128 => {
                    return refuse(format!("a unique id of {} bytes, 128 are the most", id.len()));
                }
                // `proxy-header` panics.
                Tlv::Alpn(value) | Tlv::Custom(_, value) if value.len() > 0xffff => {
                    return refuse(format!("a field of {} bytes in a PROXY header", value.len()));
                }
                Tlv::Authority(name) if name.len() > 0xffff => {
                    return refuse(format!("a name of {} bytes in a PROXY header", name.len()));
                }
                _ => {}
            }
        }
        let between = self.between.map(|(from, to)| ProxiedAddress::stream(from, to));
        let header = ProxyHeader::with_tlvs(between, self.fields.iter().cloned());
        let mut bytes = Vec::new();
        let encoded = match self.version {
            Version::V1 => header.encode_v1(&mut bytes),
            Version::V2 => header.encode_v2(&mut bytes),
        };
        match encoded {
            Ok(()) => Ok(bytes),
            Err(error) => refuse(format!("a PROXY header that cannot be: {error}")),
        }
    }
}

/// A header has both addresses of one family. IPv4 is written as such wherever that can be.
fn of_one_family((from, to): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let plain = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let (from, to) = (plain(from), plain(to));
    if from.is_ipv4() == to.is_ipv4() {
        return (from, to);
    }
    let v6 = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    };
    (v6(from), v6(to))
}

/// Sends a [`Header`] before all else: made by [`Header::layer`].
#[derive(Debug)]
pub struct SendHeader {
    /// Empty when it is sent.
    header: Vec<u8>,
    is_sent: bool,
}

impl Layer for SendHeader {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> io::Result<Received> {
        wire.append(&mut self.header);
        self.header = Vec::new();
        self.is_sent = true;
        plain.extend_from_slice(bytes);
        Ok(Received::consumed(bytes.len()))
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        wire.extend_from_slice(plain);
        Ok(())
    }

    fn end(&mut self, _wire: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        self.is_sent
    }

    fn has_end(&self) -> bool {
        false
    }

    fn is_over(&self) -> bool {
        self.is_sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn at(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn a_header_is_written_as_the_protocol_has_it() {
        let v1 = |from, to| String::from_utf8(Header::v1(at(from), at(to)).encode().unwrap());
        for (from, to, line) in [
            ("192.0.2.1:1", "192.0.2.2:65535", "PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\n"),
            ("[2001:db8::1]:1", "[::1]:2", "PROXY TCP6 2001:db8::1 ::1 1 2\r\n"),
            // A listener on [::] sees both as IPv6.
            (
                "[::ffff:192.0.2.1]:1",
                "[::ffff:192.0.2.2]:2",
                "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            ),
            ("192.0.2.1:1", "[::1]:2", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"),
            ("unix:(unnamed)", "unix:/run/proxy", "PROXY UNKNOWN\r\n"),
            ("unix:(unnamed)", "192.0.2.2:2", "PROXY UNKNOWN\r\n"),
        ] {
            assert_eq!(v1(from, to).unwrap(), line);
        }
        let v2 = Header::v2(at("192.0.2.1:258"), at("192.0.2.2:772")).encode().unwrap();
        let block = b"\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x01\x02\x03\x04";
        assert_eq!(v2, [parse::V2, block].concat());
        assert_eq!(Header::local().encode().unwrap(), [parse::V2, b"\x20\0\0\0"].concat());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let header = Header::v2(at("[2001:db8::1]:1"), at("192.0.2.1:2"));
        let header = header.authority("example.com").alpn("h2").unique_id("17").custom(0xe1, "x");
        let bytes = header.encode().unwrap();
        let (head, len) = parse::header(&bytes, None, 4096).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        let told = head.told.unwrap();
        let between = told.proxied_address().unwrap();
        assert_eq!(between.source.to_string(), "[2001:db8::1]:1");
        assert_eq!(between.destination.to_string(), "[::ffff:192.0.2.1]:2");
        assert_eq!((told.authority(), told.alpn()), (Some("example.com"), Some(&b"h2"[..])));
        assert_eq!(told.unique_id(), Some(&b"17"[..]));
    }

    #[test]
    fn a_header_that_cannot_be_is_refused_and_not_sent() {
        let v2 = || Header::v2(at("192.0.2.1:1"), at("192.0.2.2:2"));
        for (header, words) in [
            (Header::v1(at("192.0.2.1:1"), at("192.0.2.2:2")).alpn("h2"), "not supported in v1"),
            (v2().unique_id([0; 129]), "128 are the most"),
            (v2().custom(0xe0, vec![0; 65_536]), "a field of 65536 bytes"),
            (v2().authority("x".repeat(65_536)), "a name of 65536 bytes"),
            (v2().custom(0xe0, vec![0; 40_000]).custom(0xe1, vec![0; 40_000]), "too big"),
        ] {
            let error = header.layer().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
