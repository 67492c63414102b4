//! The shards in a simulated world: whatever the seed makes of their turns, of the time that a
//! parcel takes and of the network, each client has the answers that a single map would give it, in
//! order, and one that goes leaves nothing behind.
//!
//! Needs the feature: `cargo test -p wouldblock-kv --features sim --test simulated`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use wouldblock::sim::{Failure, Profile, Sim, check};
use wouldblock::{Config, Server};
use wouldblock_kv::facts::Facts;
use wouldblock_kv::persistence::Snapshots;
use wouldblock_kv::shard::Shard;

const DOOR: &str = "10.0.0.1:6379";

/// Draws by a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1234_5678_9ABC_DEF1);
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

fn world(sim: &Sim, reactors: usize) -> Result<Server<Shard>, Failure> {
    let facts =
        Arc::new(Facts::new(0, "0".repeat(40), reactors, 1 << 20, None, Snapshots::default()));
    let config = Config::default().input_max(2 << 20).output_low(1000).output_high(4000);
    let mut server = sim.server(reactors, config, |number, all| {
        Ok(Shard::new(number, Arc::clone(&facts), all.clone()))
    })?;
    server.listen(DOOR)?;
    Ok(server)
}

/// One client's keys, as a single map has them, and what it is to be answered.
struct Client {
    name: usize,
    keys: HashMap<usize, i64>,
}

const KEYS: usize = 8;

impl Client {
    /// A command, and its answer.
    fn draw(&mut self, dice: &mut Dice) -> (String, String) {
        let key = dice.below(KEYS);
        let name = |key: usize| format!("{}:{key}", self.name);
        let value = |value: Option<&i64>| match value {
            Some(value) => format!("${}\r\n{value}\r\n", value.to_string().len()),
            None => "$-1\r\n".into(),
        };
        match dice.below(9) {
            0 => {
                let new = i64::try_from(dice.below(1000)).unwrap();
                let command = format!("SET {} {new}\r\n", name(key));
                self.keys.insert(key, new);
                (command, "+OK\r\n".into())
            }
            1 => {
                let command = format!("INCR {}\r\n", name(key));
                let number = self.keys.entry(key).or_default();
                *number += 1;
                (command, format!(":{number}\r\n"))
            }
            2 => (format!("GET {}\r\n", name(key)), value(self.keys.get(&key))),
            3 => {
                let keys: Vec<_> = (0..=dice.below(KEYS)).map(|_| dice.below(KEYS)).collect();
                let names: Vec<_> = keys.iter().map(|key| name(*key)).collect();
                let values: String = keys.iter().map(|key| value(self.keys.get(key))).collect();
                (format!("MGET {}\r\n", names.join(" ")), format!("*{}\r\n{values}", keys.len()))
            }
            4 => {
                let command = format!("MSET {} 1 {} 2\r\n", name(key), name((key + 1) % KEYS));
                self.keys.extend([(key, 1), ((key + 1) % KEYS, 2)]);
                (command, "+OK\r\n".into())
            }
            5 => {
                let command = format!("DEL {} {}\r\n", name(key), name((key + 1) % KEYS));
                let gone = [key, (key + 1) % KEYS]
                    .iter()
                    .filter(|key| self.keys.remove(key).is_some())
                    .count();
                (command, format!(":{gone}\r\n"))
            }
            6 => {
                let command =
                    format!("WATCH {0}\r\nMULTI\r\nINCR {0}\r\nGET {0}\r\nEXEC\r\n", name(key));
                let number = self.keys.entry(key).or_default();
                *number += 1;
                let number = *number;
                let answer = format!("+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:{number}\r\n");
                (command, answer + &value(Some(&number)))
            }
            7 => ("ECHO here\r\n".into(), "$4\r\nhere\r\n".into()),
            _ => ("PUBLISH nobody hears\r\n".into(), ":0\r\n".into()),
        }
    }
}

#[test]
fn each_client_has_the_answers_of_a_single_map_in_order() {
    check(0..60, Profile::rough().accept_error(0).watch_error(0), |sim| {
        let mut dice = Dice(sim.seed());
        let mut server = world(sim, 1 + dice.below(4))?;
        for name in 0..=dice.below(6) {
            let mut client = Client { name, keys: HashMap::new() };
            let peer = sim.connect(DOOR);
            let mut expected = String::new();
            if dice.below(3) == 0 {
                peer.read_slowly(1 + dice.below(50), Duration::from_millis(1));
            }
            // Two of them are more than a client may have away at a time.
            for _ in 0..[20, 200, 1500][dice.below(3)] {
                let (command, answer) = client.draw(&mut dice);
                peer.send(command);
                expected += &answer;
            }
            // Watched at its end, in whatever shard.
            peer.send(format!("WATCH {name}:{}\r\n", dice.below(KEYS)));
            expected += "+OK\r\n";
            peer.expect(expected);
            if dice.below(2) == 0 {
                peer.finish();
            } else {
                peer.send("QUIT\r\n");
                peer.expect("+OK\r\n");
            }
            peer.expect_end();
            peer.finish();
        }
        sim.advance(&mut server, Duration::from_secs(300))?;
        for reactor in server.reactors() {
            let shard = reactor.handler();
            assert!(shard.clients.is_empty() && shard.watched.is_empty(), "{shard:?}");
        }
        Ok(())
    });
}

/// More answers than may wait for a client, which reads slowly and goes on to send: what was put
/// off is run before what came later.
#[test]
fn a_client_that_reads_slowly_has_large_answers_in_order() {
    let profile =
        Profile::everyday().buffer(8 << 10..=128 << 10).piece(1000..=60_000).preempted(200);
    check(0..30, profile, |sim| {
        let mut dice = Dice(sim.seed());
        let mut server = world(sim, 2 + dice.below(3))?;
        let peer = sim.connect(DOOR);
        let value = "v".repeat(100_000 + dice.below(100_000));
        let large = format!("${}\r\n{value}\r\n", value.len());
        let mut expected = String::new();
        for key in 0..KEYS {
            peer.send(format!("*3\r\n$3\r\nSET\r\n$2\r\nk{key}\r\n{large}"));
            expected += "+OK\r\n";
        }
        peer.read_slowly(20_000 + dice.below(200_000), Duration::from_millis(10));
        let mut counts = [0; KEYS];
        for _ in 0..150 {
            let key = dice.below(KEYS);
            match dice.below(4) {
                0 => {
                    peer.send(format!("GET k{key}\r\n"));
                    expected += &large;
                }
                1 => {
                    peer.send(format!("MGET k{key} n{key} k{key}\r\n"));
                    let count = counts[key];
                    let count = if count == 0 {
                        "$-1\r\n".into()
                    } else {
                        format!("${}\r\n{count}\r\n", count.to_string().len())
                    };
                    expected += &["*3\r\n", &large, &count, &large].concat();
                }
                2 => {
                    counts[key] += 1;
                    peer.send(format!("INCR n{key}\r\n"));
                    expected += &[":", &counts[key].to_string(), "\r\n"].concat();
                }
                _ => peer.wait(Duration::from_millis(u64::try_from(dice.below(100)).unwrap())),
            }
        }
        peer.expect(expected);
        peer.finish();
        peer.expect_end();
        sim.advance(&mut server, Duration::from_secs(600))?;
        for reactor in server.reactors() {
            assert!(reactor.handler().clients.is_empty());
        }
        Ok(())
    });
}

/// One client's large values.
struct Large {
    name: usize,
    /// The longest.
    end: usize,
    values: [Vec<u8>; KEYS],
}

impl Large {
    /// A command, and its answer. Each changes a value: so answers tell in which order commands were run.
    fn draw(&mut self, dice: &mut Dice) -> (String, Vec<u8>) {
        let (key, other) = (dice.below(KEYS), dice.below(KEYS));
        let name = |key: usize| format!("{}:{key}", self.name);
        let len = |value: &[u8]| format!(":{}\r\n", value.len()).into_bytes();
        let bulk =
            |value: &[u8]| [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat();
        let command = format!("APPEND {} a\r\n", name(key));
        match dice.below(6) {
            0 => {
                let end = dice.below(self.end);
                let value = &mut self.values[key];
                value.resize(value.len().max(end + 1), 0);
                value[end] = b'e';
                (format!("SETRANGE {}:{key} {end} e\r\n", self.name), len(value))
            }
            1 => {
                let command = format!("WATCH {}\r\nMULTI\r\n{command}EXEC\r\n", name(key));
                self.values[key].push(b'a');
                let answer = [b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n", &len(&self.values[key])[..]];
                (command, answer.concat())
            }
            2 => {
                let command = format!("{command}ECHO e\r\nMGET {} {}\r\n", name(key), name(other));
                self.values[key].push(b'a');
                let (value, other) = (&self.values[key], &self.values[other]);
                let missing = || b"$-1\r\n".to_vec();
                let other = if other.is_empty() { missing() } else { bulk(other) };
                (command, [&len(value), &b"$1\r\ne\r\n*2\r\n"[..], &bulk(value), &other].concat())
            }
            3 => {
                self.values[key].push(b'a');
                (command, len(&self.values[key]))
            }
            _ => {
                let command = format!("{command}GET {}\r\n", name(key));
                self.values[key].push(b'a');
                let value = &self.values[key];
                (command, [len(value), bulk(value)].concat())
            }
        }
    }
}

#[test]
fn a_client_that_stops_reading_large_values_and_goes_on_has_all_answers_in_order() {
    let profile = Profile::rough().accept_error(0).watch_error(0);
    check(0..80, profile.buffer(1000..=400_000).piece(1000..=60_000), |sim| {
        let mut dice = Dice(sim.seed());
        let mut server = world(sim, 2 + dice.below(3))?;
        for name in 0..=dice.below(2) {
            let peer = sim.connect(DOOR);
            let end = [3_000, 30_000, 300_000][dice.below(3)];
            let mut client = Large { name, end, values: Default::default() };
            for _ in 0..=dice.below(4) {
                let mut expected = Vec::new();
                peer.stop_reading();
                for _ in 0..[5, 20, 40][dice.below(3)] {
                    let (command, answer) = client.draw(&mut dice);
                    peer.send(command);
                    expected.extend(answer);
                    match dice.below(20) {
                        0 => peer.read_slowly(1 + dice.below(20_000), Duration::from_millis(1)),
                        1 => peer.resume_reading(),
                        2 => peer.stop_reading(),
                        3..10 => peer.wait(Duration::from_millis(20)),
                        _ => {}
                    }
                }
                peer.resume_reading();
                peer.expect(expected);
            }
            peer.finish();
            peer.expect_end();
        }
        sim.advance(&mut server, Duration::from_secs(300))?;
        for reactor in server.reactors() {
            let shard = reactor.handler();
            assert!(shard.clients.is_empty() && shard.watched.is_empty(), "{:?}", shard.ways);
        }
        Ok(())
    });
}

#[test]
fn a_client_that_goes_while_large_answers_wait_for_it_is_over_at_once() {
    check(0..20, Profile::calm(), |sim| {
        let mut server = world(sim, 3)?;
        let peer = sim.connect(DOOR);
        let value = "v".repeat(100_000);
        for key in 0..KEYS {
            peer.send(format!(
                "*3\r\n$3\r\nSET\r\n$2\r\nk{key}\r\n${}\r\n{value}\r\n",
                value.len()
            ));
        }
        peer.expect("+OK\r\n".repeat(KEYS));
        peer.stop_reading();
        for n in 0..200 {
            peer.send(format!("GET k{}\r\n", n % KEYS));
        }
        peer.wait(Duration::from_secs(1));
        peer.reset();
        sim.advance(&mut server, Duration::from_secs(3))?;
        assert!(server.reactors().iter().all(|reactor| reactor.handler().clients.is_empty()));
        Ok(())
    });
}

#[test]
fn clients_that_go_at_any_moment_leave_nothing_and_the_server_ends() {
    check(0..200, Profile::rough().watch_error(0), |sim| {
        let mut dice = Dice(sim.seed());
        let mut server = world(sim, 2 + dice.below(3))?;
        for name in 0..8 {
            let mut client = Client { name, keys: HashMap::new() };
            let peer = sim.connect(DOOR);
            for _ in 0..dice.below(300) {
                peer.send(client.draw(&mut dice).0);
            }
            for key in 0..dice.below(3) {
                peer.send(format!("WATCH {name}:{key}\r\n"));
            }
            peer.send("SUBSCRIBE news\r\nPSUBSCRIBE n*\r\n");
            match dice.below(4) {
                0 => peer.reset(),
                1 => peer.close(),
                2 => peer.finish(),
                _ => peer.stop_reading(),
            }
        }
        sim.advance(&mut server, Duration::from_millis(u64::try_from(dice.below(200)).unwrap()))?;
        server.handle().shutdown();
        sim.advance(&mut server, Duration::from_secs(60))?;
        for reactor in server.reactors() {
            assert!(reactor.shutdown_report().is_some());
            let shard = reactor.handler();
            assert!(shard.clients.is_empty(), "{:?}", shard.clients);
            assert!(shard.pubsub.channels.is_empty() && shard.pubsub.patterns.is_empty());
        }
        Ok(())
    });
}

/// Whatever was run is answered, in a shutdown too: also by a shard without clients, which has
/// nothing to wait for.
#[test]
fn a_shutdown_leaves_nothing_unanswered_that_was_run() {
    let mut answered_later = 0;
    check(0..150, Profile::rough().accept_error(0).watch_error(0), |sim| {
        let mut dice = Dice(sim.seed());
        let mut server = world(sim, 2 + dice.below(3))?;
        let peers: Vec<_> = (0..=dice.below(4)).map(|_| sim.connect(DOOR)).collect();
        sim.advance(&mut server, Duration::from_millis(50))?;
        for peer in &peers {
            for _ in 0..dice.below(500) {
                peer.send(format!("INCR {}\r\n", dice.below(100)));
            }
            peer.wait(Duration::from_secs(1));
            peer.finish();
        }
        sim.advance(&mut server, Duration::from_micros(u64::try_from(dice.below(3000)).unwrap()))?;
        let mut said: Vec<_> = peers.iter().map(wouldblock::sim::Peer::recv).collect();
        server.handle().shutdown();
        sim.advance(&mut server, Duration::from_secs(60))?;
        // The last bytes may be on their way when the reactors have ended: the world goes on.
        let mut other = sim.reactor(wouldblock::handler_fn(|_, _| Ok(())), Config::default())?;
        sim.advance(&mut other, Duration::from_secs(60))?;
        let (mut run, mut answered) = (0, 0);
        for reactor in server.reactors_mut() {
            assert!(reactor.shutdown_report().is_some_and(|report| report.cut == 0));
            let keys = &mut reactor.handler_mut().keys;
            for key in 0..100 {
                let value = keys.read::<Vec<u8>>(key.to_string().as_bytes()).unwrap();
                run += value.map_or(0, |it| String::from_utf8_lossy(it).parse::<usize>().unwrap());
            }
        }
        for (peer, said) in peers.iter().zip(&mut said) {
            let before = said.len();
            said.extend(peer.recv());
            answered_later += usize::from(said.len() > before);
            let said = String::from_utf8_lossy(said);
            let is_answer = |line: &&str| line.starts_with(':');
            answered += said.lines().filter(is_answer).count();
            let refused = "-ERR the server is shutting down";
            assert!(said.lines().all(|line| is_answer(&line) || line == refused), "{said}");
        }
        assert_eq!(run, answered);
        Ok(())
    });
    assert!(answered_later > 10, "{answered_later}: a shutdown never comes in the midst of it");
}

/// A shard that has ended may have given back what it had not answered, while more waits for it:
/// all of that is refused.
#[test]
fn a_shutdown_amid_large_answers_cuts_nobody_off() {
    check(0..300, Profile::calm().preempted(300), |sim| {
        let mut dice = Dice(sim.seed());
        let mut server = world(sim, 2 + dice.below(2))?;
        let peers: Vec<_> = (0..=dice.below(2)).map(|_| sim.connect(DOOR)).collect();
        let value = "v".repeat(200_000);
        for key in 0..KEYS {
            peers[0].send(format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n$200000\r\n{value}\r\n"));
        }
        sim.advance(&mut server, Duration::from_secs(1))?;
        for peer in &peers {
            for _ in 0..=dice.below(30) {
                peer.send(format!("GET {}\r\n", dice.below(KEYS)));
                peer.wait(Duration::from_micros(u64::try_from(dice.below(300)).unwrap()));
            }
        }
        sim.advance(&mut server, Duration::from_micros(u64::try_from(dice.below(9000)).unwrap()))?;
        server.handle().shutdown();
        sim.advance(&mut server, Duration::from_secs(60))?;
        for reactor in server.reactors() {
            assert!(reactor.shutdown_report().is_some_and(|report| report.cut == 0));
        }
        Ok(())
    });
}
