//! What `proxy-header` leaves to its caller when a header is read: where it ends, and what it does
//! not refuse.
//!
//! It waits for more of a few bytes that can be none, takes a line of any length if it is there at
//! once, a port with a sign or zeros before it, and fields that are broken; it does not look at
//! checksums, and wants addresses in a header that is to have none (LOCAL). Each of those has a
//! test at the foot of this file. Addresses, fields and what is in them it reads itself.

use std::io;

use proxy_header::{ParseConfig, Protocol, ProxyHeader, Tlv};

use crate::Version;

/// What begins a header of version 1.
const V1: &[u8] = b"PROXY ";
/// What begins one of version 2.
pub(crate) const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end: section 2.1.
const LINE_MAX: usize = 107;
/// What stands before the addresses in version 2: signature, command, family, length.
const FIXED: usize = 16;
/// The command LOCAL: the proxy's own connection, such as a health check.
const LOCAL: u8 = 0x20;
/// The types of fields that hold others, or are checked here.
const CRC32C: u8 = 0x03;
/// Bytes of a stranger that are shown.
const SHOWN: usize = 24;

/// A header that was read.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) version: Version,
    /// The proxy speaks for itself.
    pub(crate) is_local: bool,
    /// What `proxy-header` made of it; `None` where that is nothing.
    pub(crate) told: Option<ProxyHeader<'static>>,
    /// Bytes that it takes in memory.
    pub(crate) held: usize,
}

fn refuse(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads the header that `bytes` begin with, and returns it with its length. `None`: it is not complete.
///
/// # Errors
///
/// It is none, one of a version that is not wanted, or broken.
pub(crate) fn header(
    bytes: &[u8],
    only: Option<Version>,
    max: usize,
) -> io::Result<Option<(Head, usize)>> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(is, wanted)| is == wanted);
    let (v1, v2) = (begins(V1), begins(V2));
    match only {
        _ if !v1 && !v2 => {
            let shown = &bytes[..bytes.len().min(SHOWN)];
            let what = "no PROXY header, the peer begins with";
            Err(refuse(format!("{what} \"{}\"", shown.escape_ascii())))
        }
        Some(Version::V1) if !v1 => Err(refuse("a PROXY header of version 2, wanted is version 1")),
        Some(Version::V2) if !v2 => Err(refuse("a PROXY header of version 1, wanted is version 2")),
        _ if bytes.is_empty() => Ok(None),
        _ if v1 => line(bytes, max.min(LINE_MAX)),
        _ => binary(bytes, max),
    }
}

/// Version 1.
fn line(bytes: &[u8], max: usize) -> io::Result<Option<(Head, usize)>> {
    let Some(end) = bytes.iter().take(max).position(|byte| *byte == b'\n') else {
        if bytes.len() < max {
            return Ok(None);
        }
        return Err(refuse(format!("a PROXY header of version 1 longer than {max} bytes")));
    };
    let line = &bytes[..=end];
    let broken = |why: &str| {
        let line = line.trim_ascii_end().escape_ascii();
        refuse(format!("a broken PROXY header, {why}: \"{line}\""))
    };
    if !line.ends_with(b"\r\n") {
        return Err(broken("its line does not end in CR LF"));
    }
    let Ok((told, used)) = ProxyHeader::parse(line, ParseConfig::default()) else {
        return Err(broken("PROXY TCP4 SOURCE DESTINATION PORT PORT was expected"));
    };
    if used != line.len() {
        return Err(broken("something stands behind its ports"));
    }
    let mut words = line.trim_ascii_end().split(|byte| *byte == b' ');
    let is_number = |word: &[u8]| {
        word.iter().all(u8::is_ascii_digit) && (word.len() == 1 || !word.starts_with(b"0"))
    };
    if told.proxied_address().is_some() && !words.by_ref().skip(4).all(is_number) {
        return Err(broken("a port is a number without a sign and without zeros before it"));
    }
    let told = told.proxied_address().is_some().then(|| told.into_owned());
    let held = if told.is_some() { size_of::<ProxyHeader<'_>>() } else { 0 };
    Ok(Some((Head { version: Version::V1, is_local: false, told, held }, line.len())))
}

/// Version 2.
fn binary(bytes: &[u8], max: usize) -> io::Result<Option<(Head, usize)>> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(None) };
    let len = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if len > max {
        return Err(refuse(format!("a PROXY header of {len} bytes, taken are up to {max}")));
    }
    let Some(bytes) = bytes.get(..len) else { return Ok(None) };
    let version = Version::V2;
    if fixed[12] == LOCAL {
        // "the receiver … must discard the protocol block including the family which is ignored"
        return Ok(Some((Head { version, is_local: true, told: None, held: 0 }, len)));
    }
    let broken = |why: &str| refuse(format!("a broken PROXY header of version 2: {why}"));
    let Ok((told, used)) = ProxyHeader::parse(bytes, ParseConfig::default()) else {
        return Err(broken("its command, its family or its length"));
    };
    if told.proxied_address().is_some_and(|addr| addr.protocol == Protocol::Datagram) {
        return Err(broken("it is one for datagrams"));
    }
    let is_whole = |tlv: Result<Tlv<'_>, _>| match tlv {
        Ok(Tlv::Ssl(tls)) => tls.tlvs().all(|tlv| tlv.is_ok()),
        tlv => tlv.is_ok(),
    };
    if used != len || !told.tlvs().all(is_whole) {
        return Err(broken("its fields"));
    }
    if let Some(sum) = told.crc32c()
        && checksum(bytes, fields_at(fixed[13])) != Some(sum)
    {
        return Err(broken("its checksum"));
    }
    let head = Head { version, is_local: false, told: Some(told.into_owned()), held: len };
    Ok(Some((head, len)))
}

/// Where the fields begin: behind the addresses of the family.
fn fields_at(family: u8) -> usize {
    FIXED
        + match family >> 4 {
            1 => 2 * 4 + 2 * 2,
            2 => 2 * 16 + 2 * 2,
            3 => 2 * 108,
            _ => 0,
        }
}

/// The CRC32c of the header (RFC 4960, appendix B), in which the first field for that is taken for zeros.
fn checksum(header: &[u8], fields: usize) -> Option<u32> {
    let mut at = fields;
    while *header.get(at)? != CRC32C {
        at += 3 + usize::from(u16::from_be_bytes([*header.get(at + 1)?, *header.get(at + 2)?]));
    }
    let value = at + 3..at + 7;
    let mut crc = u32::MAX;
    for (at, byte) in header.iter().enumerate() {
        crc ^= u32::from(if value.contains(&at) { 0 } else { *byte });
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(crc & 1));
        }
    }
    Some(!crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n";
    /// With a checksum, a unique id, and the TLS of a client.
    const SAMPLE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x68\x7f\0\0\x01\xc0\xa8\0\x01\x30\x39\x01\xbb\
        \x03\0\x04\x81\x21\x46\xe0\x05\0\x041234\x20\0\x4b\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x09localhost\
        \x25\0\x07RSA4096\x24\0\x0aRSA-SHA256\x23\0\x16TLS_AES_256_GCM_SHA384";

    fn read(bytes: &[u8]) -> io::Result<Option<(Head, usize)>> {
        header(bytes, None, 4096)
    }

    fn refused(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().to_string()
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let len = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &len, block].concat()
    }

    const ADDRESSES: &[u8] = b"\xc0\0\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb";

    /// A header that is cut at any byte is waited for, and what follows it is not looked at.
    #[test]
    fn a_header_is_read_whole_and_nothing_behind_it() {
        let long = v2(0x21, 0x31, &[7; 216]);
        for whole in [LINE, SAMPLE, b"PROXY UNKNOWN\r\n", &v2(0x21, 0x11, ADDRESSES), &long] {
            for cut in 0..whole.len() {
                assert!(read(&whole[..cut]).unwrap().is_none(), "{cut} of {whole:?}");
            }
            let twice = [whole, whole].concat();
            for bytes in [whole, &twice, &[whole, b"\n\0"].concat()] {
                assert_eq!(read(bytes).unwrap().unwrap().1, whole.len());
            }
        }
    }

    /// Trap: `proxy-header` waits for 15 bytes before it looks, and a client that has said `PING`
    /// waits for an answer.
    #[test]
    fn what_is_none_is_refused_at_its_first_wrong_byte() {
        for garbage in [&b"G"[..], b"PI", b"PROXY\t", b"\r\n\r\n\r", b"\x16\x03", b"\0", b"\n"] {
            assert!(refused(garbage).starts_with("no PROXY header, the peer begins with"));
        }
        for begun in [&b"P"[..], b"PROX", b"\r\n\r\n", &V2[..11]] {
            assert!(read(begun).unwrap().is_none());
        }
        let shown = "no PROXY header, the peer begins with \"GET / HTTP/1.1\\r\\nHost: ex\"";
        assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"), shown);
    }

    /// Trap: `proxy-header` bounds a line only while it is not complete.
    #[test]
    fn a_line_is_bounded() {
        let line = |len: usize| [b"PROXY UNKNOWN ", &*vec![b'x'; len - 16], b"\r\n"].concat();
        assert_eq!(read(&line(107)).unwrap().unwrap().1, 107);
        for long in [line(108), line(4000), line(200)[..107].to_vec()] {
            assert!(refused(&long).contains("longer than 107 bytes"));
        }
        assert!(read(&line(200)[..106]).unwrap().is_none());
    }

    /// Trap: of a line that ends in a bare LF, as typed by hand, more is waited for.
    #[test]
    fn a_broken_line_is_refused_with_its_text() {
        for (line, why) in [
            (&b"PROXY UNKNOWN\n"[..], "does not end in CR LF"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\n", "does not end in CR LF"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443 \r\n", "was expected"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 1234\r\n", "was expected"),
            (b"PROXY TCP4  192.0.2.1 198.51.100.2 1234 443\r\n", "was expected"),
            (b"PROXY TCP4 192.0.2.01 198.51.100.2 1234 443\r\n", "was expected"),
            (b"PROXY TCP4 2001:db8::1 2001:db8::2 1234 443\r\n", "was expected"),
            (b"PROXY TCP6 192.0.2.1 198.51.100.2 1234 443\r\n", "was expected"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 65536\r\n", "was expected"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n", "was expected"),
            (b"PROXY tcp4 192.0.2.1 198.51.100.2 1234 443\r\n", "was expected"),
            (b"PROXY UDP4 192.0.2.1 198.51.100.2 1234 443\r\n", "was expected"),
            (b"PROXY UNKNOWN \r x\r\n", "was expected"),
            (b"PROXY \r\n", "was expected"),
            // Trap: `proxy-header` takes these.
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 +80 443\r\n", "a port is a number"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 0443\r\n", "a port is a number"),
        ] {
            let error = refused(line);
            assert!(error.starts_with("a broken PROXY header, ") && error.contains(why), "{error}");
            let text = line.trim_ascii_end().escape_ascii().to_string();
            assert!(error.ends_with(&format!(": \"{text}\"")), "{error}");
        }
        let told = |line: &[u8]| read(line).unwrap().unwrap().0.told;
        assert!(told(b"PROXY UNKNOWN ::1 ::1 +1 02\r\n").is_none());
        let mapped = told(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 65535\r\n").unwrap();
        let source = mapped.proxied_address().unwrap().source;
        assert_eq!(source.to_string(), "[::ffff:192.0.2.1]:0");
    }

    #[test]
    fn a_broken_header_of_version_2_is_refused() {
        let with = |fields: &[u8]| v2(0x21, 0x11, &[ADDRESSES, fields].concat());
        for (bytes, why) in [
            (v2(0x22, 0x11, ADDRESSES), "command"),
            (v2(0x11, 0x11, ADDRESSES), "command"),
            (v2(0x21, 0x41, ADDRESSES), "family"),
            (v2(0x21, 0x10, ADDRESSES), "family"),
            (v2(0x21, 0x13, ADDRESSES), "family"),
            // Trap: of these `proxy-header` waits for more, which is the client's.
            (v2(0x21, 0x11, &ADDRESSES[..11]), "length"),
            (v2(0x21, 0x21, ADDRESSES), "length"),
            (v2(0x21, 0x31, &[0; 215]), "length"),
            (v2(0x21, 0x12, ADDRESSES), "datagrams"),
            // Trap: it takes these, and forgets the broken field and those behind it.
            (with(b"\x05"), "fields"),
            (with(b"\x05\0\x05abc"), "fields"),
            (with(b"\x02\0\x01\xff"), "fields"),
            (with(b"\x20\0\x04\0\0\0\0"), "fields"),
            (with(b"\x20\0\x08\x01\0\0\0\0\x21\0\x01"), "fields"),
            (with(b"\x03\0\x03abc"), "fields"),
        ] {
            let error = refused(&bytes);
            assert!(error.starts_with("a broken PROXY header of version 2: "), "{error}");
            assert!(error.contains(why), "{error} of {bytes:?}");
        }
    }

    /// Trap: a length of 65,535 is waited for.
    #[test]
    fn a_header_of_version_2_is_bounded_by_its_length_alone() {
        let mut long = v2(0x21, 0x00, &[]);
        (long[14], long[15]) = (0xff, 0xff);
        assert_eq!(refused(&long), "a PROXY header of 65551 bytes, taken are up to 4096");
        let most = v2(0x21, 0x00, &[&b"\x04\x0f\xed"[..], &[0; 4077]].concat());
        assert_eq!(read(&most).unwrap().unwrap().1, 4096);
    }

    /// Whatever else a LOCAL header says is to be ignored; `proxy-header` wants addresses that fit
    /// the family.
    #[test]
    fn a_local_header_tells_nothing_whatever_it_says() {
        for (family, block) in
            [(0x00, &b""[..]), (0x11, b""), (0x11, ADDRESSES), (0xff, b"\x05"), (0x21, ADDRESSES)]
        {
            let local = v2(0x20, family, block);
            let (head, len) = read(&local).unwrap().unwrap();
            assert!(head.is_local && head.told.is_none() && len == local.len());
        }
    }

    /// Trap: `proxy-header` does not look at the checksum, and the protocol says that who can must.
    #[test]
    fn a_checksum_is_checked() {
        assert!(read(SAMPLE).unwrap().is_some());
        for at in FIXED + 12 + 3..SAMPLE.len() {
            let mut changed = SAMPLE.to_vec();
            changed[at] ^= 1;
            assert!(read(&changed).is_err(), "a changed byte at {at}");
        }
        let error = refused(&[&SAMPLE[..16], b"\x7e", &SAMPLE[17..]].concat());
        assert!(error.ends_with("its checksum"), "{error}");
    }

    #[test]
    fn one_version_alone_may_be_wanted() {
        let only = |bytes: &[u8], version| header(bytes, Some(version), 4096);
        assert!(only(LINE, Version::V1).unwrap().is_some());
        assert!(only(SAMPLE, Version::V2).unwrap().is_some());
        let error = only(&SAMPLE[..1], Version::V1).unwrap_err().to_string();
        assert_eq!(error, "a PROXY header of version 2, wanted is version 1");
        let error = only(&LINE[..1], Version::V2).unwrap_err().to_string();
        assert_eq!(error, "a PROXY header of version 1, wanted is version 2");
    }
}
