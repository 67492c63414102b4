//! Topics, on real connections.

use std::sync::mpsc;

use wouldblock::Config;
use wouldblock_websocket::{Deflate, Message, Prepared, Topics, Ws};

use crate::served::*;

/// `+NAME` subscribes, `-NAME` ends that, `?NAME` counts the subscribers, all else is published to
/// `news`. Each is answered: with whether it is subscribed, whether it was, or the number of
/// connections.
fn serve(mut topics: Topics, deflate: bool) -> Server {
    let act = move |ws: &mut Ws<'_>, message: Message<'_>| {
        let Message::Text(text) = message else { return Ok(()) };
        let (verb, name) = text.split_at(1);
        let id = ws.id();
        let did = match verb {
            "+" => usize::from(topics.subscribe(ws, name.to_owned())),
            "-" => usize::from(topics.unsubscribe(id, name)),
            "?" => topics.subscribers(name).count(),
            _ => topics.publish(ws.cx(), "news", &Prepared::new(text)),
        };
        ws.send(&did.to_string());
        Ok(())
    };
    Server::with(
        act,
        Config::default(),
        |it| if deflate { it.deflate(Deflate::new()) } else { it },
        None,
    )
}

#[test]
fn a_message_comes_to_those_that_have_subscribed_and_compressed_to_those_that_take_it_so() {
    let server = serve(Topics::new(), true);
    let mut clients: Vec<_> = (0..4).map(|_| Client::open(&server, "/")).collect();
    let mut packs = Client::connect(&server);
    packs.send(request("/", "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    assert!(packs.head().contains("server_no_context_takeover"));
    clients.push(packs);
    for client in &mut clients[1..] {
        client.send(text("+news"));
        assert_eq!(client.text(), "1");
        client.send(text("+other"));
        assert_eq!(client.text(), "1");
    }
    // Twice is once, and one of two is ended.
    clients[1].send(text("+news"));
    assert_eq!(clients[1].text(), "1");
    clients[2].send(text("-news"));
    assert_eq!(clients[2].text(), "1");
    clients[2].send(text("-news"));
    assert_eq!(clients[2].text(), "0");

    let long = "and so on ".repeat(1000);
    clients[0].send(text(&long));
    assert_eq!(clients[0].text(), "3");
    for n in [1, 3] {
        assert_eq!(clients[n].text(), long);
    }
    let (first, packed) = clients[4].frame();
    assert_eq!(first, 0xC1);
    assert!(packed.len() < 200, "{}", packed.len());
}

#[test]
fn a_client_has_as_many_topics_as_it_may() {
    let server = serve(Topics::new().each_max(2), false);
    let mut client = Client::open(&server, "/");
    for (name, expected) in
        [("+a", "1"), ("+b", "1"), ("+c", "0"), ("+a", "1"), ("-a", "1"), ("+c", "1")]
    {
        client.send(text(name));
        assert_eq!(client.text(), expected, "{name}");
    }
}

/// The endpoint here never says that one is gone.
#[test]
fn connections_that_are_gone_are_forgotten_by_themselves() {
    let server = serve(Topics::new(), false);
    let mut stays = Client::open_after(&server);
    stays.send(text("+news"));
    assert_eq!(stays.text(), "1");
    for _ in 0..300 {
        let mut client = Client::open_after(&server);
        client.send(text("+news"));
        assert_eq!(client.text(), "1");
        client.send(frame(0x88, &close(1000, "")));
        client.closed();
        client.rest();
    }
    stays.send(text("?news"));
    let kept: usize = stays.text().parse().unwrap();
    assert!((1..=128).contains(&kept), "{kept}");
    stays.send(text("hello"));
    assert_eq!((stays.text(), stays.text()), ("hello".into(), "1".into()));
}

/// In one turn each is queued more than it may be behind, and none is behind: the kernel was not asked yet.
#[test]
fn a_burst_in_one_turn_ends_no_subscriber_that_reads() {
    let (tells, told) = mpsc::channel();
    let mut topics = Topics::new();
    let act = move |ws: &mut Ws<'_>, message: Message<'_>| {
        if message == Message::Text("go") {
            let line = Prepared::new(&*"x".repeat(1000));
            for _ in 0..1000 {
                topics.publish(ws.cx(), "news", &line);
            }
        } else {
            topics.subscribe(ws, "news".to_owned());
            let _ = tells.send(());
        }
        Ok(())
    };
    let server = Server::with(act, Config::default().output_max(400 << 10), |it| it, None);
    let mut talks = Client::open(&server, "/");
    let mut reads = Client::open(&server, "/");
    reads.send(text("subscribe"));
    told.recv_timeout(DEADLINE).unwrap();
    talks.send(text("go"));
    for _ in 0..1000 {
        assert_eq!(reads.text().len(), 1000);
    }
}
