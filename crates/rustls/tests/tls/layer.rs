//! The layer without a network: every byte where a test wants it.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use wouldblock::Layer;
use wouldblock_rustls::{Cause, Client, Error, Server, Version, fingerprint};

use crate::support::*;

fn cause(end: &End) -> Option<Cause> {
    Error::of(end.error.as_ref()?).map(Error::cause)
}

/// Clients that end up with each version.
fn versions() -> [(Server, &'static str); 2] {
    // There is no newest version to be set: what is held to TLS 1.2 is a foreign client, in `peers`.
    let new = Server::builder().min_version(Version::Tls13);
    let new = new.certificate_pem(&*LOCALHOST.chain, &*LOCALHOST.key).build().unwrap();
    [(server(), "TLS 1.3"), (new, "TLS 1.3")]
}

/// What comes in pieces of one byte is served as what comes at once.
#[test]
fn a_handshake_and_data_come_byte_by_byte() {
    for (server, version) in versions() {
        let mut client = End::new(client().connect("localhost").unwrap());
        let mut server = End::new(server.accept().unwrap());
        assert!(!client.wire.is_empty(), "a client speaks first");
        assert!(server.wire.is_empty());
        carry(&mut client, &mut server, 1);
        assert!(client.tls.is_ready() && server.tls.is_ready(), "{client:?} {server:?}");
        assert_eq!(server.tls.version(), version);
        assert_eq!(server.tls.server_name(), Some("localhost"));

        client.send(b"a question");
        server.send(b"an answer");
        carry(&mut client, &mut server, 1);
        assert_eq!((&server.plain[..], &client.plain[..]), (&b"a question"[..], &b"an answer"[..]));

        client.end();
        carry(&mut client, &mut server, 1);
        assert!(server.ended && !client.ended);
        // Half-closed: the other side goes on.
        server.send(b", and one more");
        server.end();
        carry(&mut client, &mut server, 1);
        assert_eq!(client.plain, b"an answer, and one more");
        assert!(client.ended && client.error.is_none() && server.error.is_none());
    }
}

/// A peer that is cut off anywhere has not ended: neither in the handshake nor behind it, nor within the
/// record that says so.
#[test]
fn a_session_cut_off_at_every_byte_is_never_an_end() {
    let (acceptor, connector) = (server(), client());
    let session = |cut: usize| {
        let mut client = End::new(connector.connect("localhost").unwrap());
        let mut server = End::new(acceptor.accept().unwrap());
        let mut left = cut;
        let mut pass = |client: &mut End, server: &mut End| {
            let wire = client.take_wire();
            let some = &wire[..wire.len().min(left)];
            left -= some.len();
            server.receive(some);
            client.receive(&server.take_wire());
        };
        pass(&mut client, &mut server);
        pass(&mut client, &mut server);
        if client.tls.is_ready() {
            client.send(b"all that there is to say");
            pass(&mut client, &mut server);
            client.end();
            pass(&mut client, &mut server);
        }
        (server, cut - left)
    };
    let (whole, len) = session(usize::MAX);
    assert!(whole.ended, "{whole:?}");
    for cut in 0..len {
        let (server, _) = session(cut);
        assert!(!server.ended, "cut at {cut} of {len}");
        assert!(server.error.is_none(), "cut at {cut} of {len}: {:?}", server.error);
        assert!(b"all that there is to say".starts_with(&server.plain), "cut at {cut}");
    }
}

/// Whatever a peer sends, there is an error or a wait, no panic.
#[test]
fn garbage_is_an_error_and_no_panic() {
    let acceptor = server();
    for seed in 1..200 {
        let mut server = End::new(acceptor.accept().unwrap());
        let mut bytes = random(seed, 600);
        if seed % 3 == 0 {
            // A header that can be one, with garbage in it.
            bytes[..5].copy_from_slice(&[22, 3, 1, 1, 0]);
        }
        server.receive(&bytes);
        assert!(server.error.is_some(), "seed {seed}");
        assert!(server.plain.is_empty() && !server.tls.is_ready() && !server.ended);
    }
}

/// A hello with any one bit wrong is no panic either, and no session: the client notices at the latest.
#[test]
fn a_hello_with_one_bit_wrong_makes_no_session() {
    let (acceptor, connector) = (server(), client());
    let len = End::new(connector.connect("localhost").unwrap()).wire.len();
    for at in 0..len {
        let mut client = End::new(connector.connect("localhost").unwrap());
        let mut server = End::new(acceptor.accept().unwrap());
        let mut hello = client.take_wire();
        // The version of the record is not looked at, and in no hash: RFC 8446, 5.1.
        if at == 2 || at >= hello.len() {
            continue;
        }
        hello[at] ^= 1 << (at % 8);
        server.receive(&hello);
        carry(&mut client, &mut server, usize::MAX);
        assert!(!server.tls.is_ready(), "byte {at}: {server:?}");
    }
}

/// Whoever looks at the log of a port that gets something else learns what.
#[test]
fn another_protocol_is_named() {
    let cases: [(&[u8], Cause, &str); 5] = [
        (b"GET / HTTP/1.1\r\n\r\n", Cause::PlainHttp, "plain HTTP"),
        (b"POST /", Cause::PlainHttp, "plain HTTP"),
        (b"PROXY TCP4 192.0.2.1 ", Cause::NotTls, "PROXY header"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", Cause::NotTls, "PROXY header"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Cause::NotTls, "no TLS"),
    ];
    for (bytes, expected, words) in cases {
        let mut server = End::new(server().accept().unwrap());
        server.receive(bytes);
        assert_eq!(cause(&server), Some(expected), "{server:?}");
        let line = server.error.as_ref().unwrap().to_string();
        assert!(line.contains(words), "{line}");
    }
    let mut client = End::new(client().connect("localhost").unwrap());
    client.receive(b"HTTP/1.1 400 Bad Request\r\n");
    assert_eq!(cause(&client), Some(Cause::PlainHttp), "{client:?}");
}

/// Both sides say why, and the one that refuses says it to the other, too.
#[track_caller]
fn assert_refuses(client: &Client, server: &Server, expected: Cause, words: &str, alert: &str) {
    let (mut client, mut server) = pair(client, server);
    carry(&mut client, &mut server, usize::MAX);
    let (one, other) =
        if cause(&client) == Some(expected) { (client, server) } else { (server, client) };
    assert_eq!(cause(&one), Some(expected), "{one:?} {other:?}");
    let line = one.error.as_ref().unwrap().to_string();
    assert!(line.contains(words), "{line}");
    assert_eq!(cause(&other), Some(Cause::Refused), "{other:?}");
    let line = other.error.as_ref().unwrap().to_string();
    assert!(line.contains(alert), "{line}");
}

/// An operator reads what is wrong with a certificate, on both sides.
#[test]
fn what_is_wrong_with_a_certificate_is_told_on_both_sides() {
    let with = |identity: &Identity| {
        Server::builder().certificate_pem(&*identity.chain, &*identity.key).build().unwrap()
    };
    let stranger = Authority::new("another root").issue(&["localhost"]);
    assert_refuses(
        &client(),
        &with(&stranger),
        Cause::UnknownIssuer,
        "unknown issuer",
        "does not know the issuer of our certificate",
    );
    let expired = CA.issue_with(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 31);
    });
    let words = "the peer's certificate expired ";
    assert_refuses(&client(), &with(&expired), Cause::Expired, words, "has expired");
    let early = CA.issue_with(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(3001, 1, 1);
        params.not_after = rcgen::date_time_ymd(3001, 1, 31);
    });
    assert_refuses(&client(), &with(&early), Cause::NotYetValid, "not yet valid", "");
    let other = CA.issue(&["example.com", "www.example.com"]);
    let words = "is for example.com and www.example.com, wanted localhost";
    assert_refuses(&client(), &with(&other), Cause::WrongName, words, "");
}

/// The certificates of clients: none wanted, wanted, optional.
#[test]
fn clients_show_certificates_where_they_must() {
    let ours = CA.issue(&["client.example"]);
    let certificate = CertificateDer::from_pem_slice(ours.chain.as_bytes()).unwrap();
    let with = |identity: &Identity| {
        let client = Client::builder().roots_pem(&*CA.pem);
        client.certificate_pem(&*identity.chain, &*identity.key).build().unwrap()
    };
    let wants = || {
        let server = Server::builder().certificate_pem(&*LOCALHOST.chain, &*LOCALHOST.key);
        server.client_roots_pem(&*CA.pem)
    };
    let must = wants().build().unwrap();
    let may = wants().client_certificate_optional().build().unwrap();

    for server in [&must, &may] {
        let (_, server) = pair(&with(&ours), server);
        let shown: Vec<_> = server.tls.peer_certificates().map(<[u8]>::to_vec).collect();
        assert_eq!(shown, [certificate.to_vec()]);
    }
    let (_, anonymous) = pair(&client(), &may);
    assert!(anonymous.tls.is_ready() && anonymous.tls.peer_certificates().next().is_none());
    let (_, unasked) = pair(&with(&ours), &server());
    assert!(unasked.tls.is_ready() && unasked.tls.peer_certificates().next().is_none());

    let alert = "wants a certificate of ours";
    assert_refuses(&client(), &must, Cause::NoCertificate, "sent no certificate", alert);
    let stranger = Authority::new("another root").issue(&["client.example"]);
    let words = "unknown issuer";
    assert_refuses(&with(&stranger), &must, Cause::UnknownIssuer, words, "issuer");
    assert_refuses(&with(&stranger), &may, Cause::UnknownIssuer, words, "issuer");
}

/// The client's word decides which certificate it is shown; a name that none has gets the first.
#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let one = CA.issue(&["one.example"]);
    let wild = CA.issue(&["*.wild.example", "Two.example"]);
    let server = Server::builder()
        .certificate_pem(&*one.chain, &*one.key)
        .certificate_pem(&*wild.chain, &*wild.key)
        .build()
        .unwrap();
    let shown = |name: &str| {
        let pins = [&one, &wild].map(|identity| {
            let der = CertificateDer::from_pem_slice(identity.chain.as_bytes()).unwrap();
            fingerprint(&der)
        });
        let client = Client::builder().pin(&pins[0]).pin(&pins[1]).build().unwrap();
        let mut client = End::new(client.connect(name).unwrap());
        let mut server = End::new(server.accept().unwrap());
        carry(&mut client, &mut server, usize::MAX);
        let shown = fingerprint(client.tls.peer_certificates().next().unwrap());
        let asked = server.tls.server_name().map(str::to_owned);
        (pins.iter().position(|pin| *pin == shown).unwrap(), asked)
    };
    assert_eq!(shown("one.example"), (0, Some("one.example".into())));
    assert_eq!(shown("TWO.example"), (1, Some("two.example".into())));
    assert_eq!(shown("a.wild.example"), (1, Some("a.wild.example".into())));
    assert_eq!(shown("a.b.wild.example"), (0, Some("a.b.wild.example".into())));
    assert_eq!(shown("wild.example").0, 0);
    assert_eq!(shown("127.0.0.1"), (0, None));
}

/// The first of the server's protocols that the client speaks, too; none in common is refused.
#[test]
fn alpn_agrees_or_refuses() {
    let speaks = |protocols: &[&str]| {
        let client = Client::builder().roots_pem(&*CA.pem).alpn(protocols);
        let server = Server::builder().certificate_pem(&*LOCALHOST.chain, &*LOCALHOST.key);
        (client.build().unwrap(), server.alpn(protocols).build().unwrap())
    };
    let (_, server) = speaks(&["h2", "http/1.1"]);
    let (one, other) = pair(&speaks(&["http/1.1", "h2"]).0, &server);
    assert_eq!((one.tls.alpn(), other.tls.alpn()), (Some(&b"h2"[..]), Some(&b"h2"[..])));
    assert_eq!(pair(&client(), &server).1.tls.alpn(), None);
    let none = speaks(&["redis"]).0;
    assert_refuses(&none, &server, Cause::NoSharedProtocol, "no shared protocol", "ALPN");
}

/// A second connection goes on with the session of the first, and shows the same certificate; not where
/// either does not want it, nor behind a reload.
#[test]
fn a_session_is_resumed_where_both_want_it() {
    let ours = CA.issue(&["client.example"]);
    let client = Client::builder().roots_pem(&*CA.pem).certificate_pem(&*ours.chain, &*ours.key);
    let client = client.build().unwrap();
    let server = || {
        let server = Server::builder().certificate_pem(&*LOCALHOST.chain, &*LOCALHOST.key);
        server.client_roots_pem(&*CA.pem)
    };
    let resumes = |client: &Client, server: &Server| {
        let (one, other) = pair(client, server);
        assert!(one.tls.is_ready() && other.tls.is_ready(), "{one:?} {other:?}");
        assert_eq!(other.tls.peer_certificates().count(), 1);
        assert_eq!(one.tls.is_resumed(), other.tls.is_resumed());
        one.tls.is_resumed()
    };
    let with = server().build().unwrap();
    assert!(!resumes(&client, &with));
    assert!(resumes(&client, &with));
    with.reload().unwrap();
    assert!(!resumes(&client, &with), "the roots for clients may be others now");
    assert!(resumes(&client, &with));

    let without = server().resumption(false).build().unwrap();
    assert!(!resumes(&client, &without) && !resumes(&client, &without));
}

/// A pinned certificate is taken whatever its name and whoever signed it; no other is.
#[test]
fn a_fingerprint_is_trusted_and_nothing_else() {
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["device".into()]).unwrap();
    let own = own.self_signed(&key).unwrap();
    let device = Server::builder().certificate_pem(own.pem(), key.serialize_pem());
    let device = device.build().unwrap();
    let pin = fingerprint(own.der());
    for text in [pin.clone(), pin.replace(':', "").to_lowercase()] {
        let client = Client::builder().pin(&text).build().unwrap();
        let (client, _) = pair(&client, &device);
        assert!(client.tls.is_ready(), "{client:?}");
    }
    let client = Client::builder().pin(&pin).build().unwrap();
    assert_refuses(&client, &server(), Cause::BadCertificate, "not the pinned one", "");
}

/// Megabytes both ways, in pieces that are nobody's record, and no call makes much more than 64 KiB.
#[test]
fn megabytes_go_both_ways_in_odd_pieces() {
    let (up, down) = (random(1, 3_000_000), random(2, 2_000_000));
    let (mut client, mut server) = pair(&client(), &server());
    for (n, piece) in up.chunks(70_001).enumerate() {
        client.send(piece);
        if let Some(piece) = down.chunks(50_021).nth(n) {
            server.send(piece);
        }
        if n % 5 == 4 {
            carry(&mut client, &mut server, 9_973);
        }
    }
    carry(&mut client, &mut server, 300_007);
    assert!(server.plain == up && client.plain == down);
    assert!(server.most <= 80 << 10, "{}", server.most);
    assert_eq!((server.tls.held(), client.tls.held()), (0, 0), "idle, and holds a buffer");
}

/// A server of rustls' own, with records so short that each message lies in many.
fn rustls_server(tickets: usize, fragment: Option<usize>) -> rustls::ServerConnection {
    let chain = CertificateDer::pem_slice_iter(LOCALHOST.chain.as_bytes());
    let chain: Result<Vec<_>, _> = chain.collect();
    let key = PrivateKeyDer::from_pem_slice(LOCALHOST.key.as_bytes()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key)
        .unwrap();
    config.send_tls13_tickets = tickets;
    config.max_tls13_tickets = tickets;
    config.max_fragment_size = fragment;
    rustls::ServerConnection::new(Arc::new(config)).unwrap()
}

/// Lets rustls have what the client has written, and returns what it writes.
fn answer(server: &mut rustls::ServerConnection, client: &mut End) -> Vec<u8> {
    let sent = client.take_wire();
    let mut sent = &sent[..];
    while !sent.is_empty() {
        server.read_tls(&mut sent).unwrap();
        server.process_new_packets().unwrap();
    }
    let mut wire = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut wire).unwrap();
    }
    wire
}

/// A message of the handshake that comes in many records is put together; and what is sent while it is
/// half there is no panic, though rustls then keeps ranges into records of before.
#[test]
fn sends_go_out_while_a_handshake_message_is_half_there() {
    let mut server = rustls_server(2, Some(64));
    let mut client = End::new(client().connect("localhost").unwrap());
    let flight = answer(&mut server, &mut client);
    for byte in flight {
        client.receive(&[byte]);
    }
    assert!(client.tls.is_ready(), "{client:?}");
    // Tickets, each in several records.
    let tickets = answer(&mut server, &mut client);
    assert!(tickets.len() > 3 * 64, "{}", tickets.len());
    for (n, byte) in tickets.into_iter().enumerate() {
        client.receive(&[byte]);
        client.send(&n.to_be_bytes());
        assert!(answer(&mut server, &mut client).is_empty());
    }
    assert!(client.error.is_none(), "{client:?}");
    assert_eq!(client.tls.held(), 0);
    assert_eq!(server.process_new_packets().unwrap().plaintext_bytes_to_read() % 8, 0);
}

/// A server that sends tickets without end and no data is ended.
#[test]
fn a_flood_of_tickets_ends_the_connection() {
    let mut server = rustls_server(2000, None);
    let mut client = End::new(client().connect("localhost").unwrap());
    for _ in 0..3 {
        let bytes = answer(&mut server, &mut client);
        client.receive(&bytes);
    }
    assert_eq!(cause(&client), Some(Cause::Flood), "{client:?}");
}

/// A client that asks for new keys again and again, and sends no data, is ended.
#[test]
fn a_flood_of_key_updates_ends_the_connection() {
    let roots = CertificateDer::from_pem_slice(CA.pem.as_bytes()).unwrap();
    let mut store = rustls::RootCertStore::empty();
    store.add(roots).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut server = End::new(server().accept().unwrap());
    let exchange = |client: &mut rustls::ClientConnection, server: &mut End| {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.receive(&wire);
        let wire = server.take_wire();
        let mut wire = &wire[..];
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            let _ = client.process_new_packets();
        }
    };
    exchange(&mut client, &mut server);
    exchange(&mut client, &mut server);
    assert!(server.tls.is_ready());
    for n in 0..40 {
        client.refresh_traffic_keys().unwrap();
        exchange(&mut client, &mut server);
        assert!(server.error.is_none() || n >= 32, "after {n}: {server:?}");
    }
    assert_eq!(cause(&server), Some(Cause::Flood), "{server:?}");
}

/// Warnings are alerts that end nothing, and so could go on for ever.
#[test]
fn a_storm_of_warnings_ends_the_connection() {
    let mut server = End::new(server().accept().unwrap());
    for n in 0..10 {
        server.receive(&[21, 3, 3, 0, 2, 1, 90]);
        assert!(server.error.is_none() || n >= 4, "after {n}");
    }
    assert_eq!(cause(&server), Some(Cause::Flood), "{server:?}");
}

/// What follows the peer's end is not looked at.
#[test]
fn what_follows_the_end_is_ignored() {
    let (mut client, mut server) = pair(&client(), &server());
    client.send(b"the last");
    client.end();
    let mut wire = client.take_wire();
    wire.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    server.receive(&wire);
    assert!(server.ended && server.error.is_none(), "{server:?}");
    assert_eq!(server.plain, b"the last");
}

/// An end in mid-handshake is no panic, and writes no record that could be taken for one of a session.
#[test]
fn an_end_in_mid_handshake_says_nothing() {
    let mut client = End::new(client().connect("localhost").unwrap());
    let hello = client.take_wire();
    client.end();
    assert!(client.wire.is_empty());
    let mut server = End::new(server().accept().unwrap());
    server.receive(&hello[..hello.len() - 1]);
    server.end();
    assert!(server.wire.is_empty());
}
