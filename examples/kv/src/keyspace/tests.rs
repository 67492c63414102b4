//! Tests of the promises that all commands rely on: memory is counted exactly, keys expire and are
//! evicted, and a watched key that changes is noticed.

use super::{Expiry, Keyspace, Policy};
use crate::commands::tests::run;
use crate::random::Random;

fn keyspace() -> Keyspace {
    let mut keys = Keyspace::default();
    keys.set_now(1_000_000);
    keys
}

/// Commands with `K` and `L` for keys and `V` for a small number.
const COMMANDS: &[&str] = &[
    "set K V",
    "set K V ex 100",
    "append K V",
    "setrange K V xxxxx",
    "incr K",
    "incrbyfloat K 0.V",
    "del K",
    "getdel K",
    "rename K L",
    "copy K L replace",
    "expire K 100",
    "persist K",
    "expire K -1",
    "getex K px 5",
    "lpush K V V V",
    "rpush K V",
    "lpop K",
    "rpop K V",
    "lset K 0 xxxxV",
    "linsert K before V x",
    "lrem K V V",
    "ltrim K 1 V",
    "lmove K L left right",
    "rpoplpush K K",
    "lmpop 2 K L left count V",
    "hset K V V x yV",
    "hdel K V x",
    "hincrby K V V",
    "hincrbyfloat K V V.5",
    "hsetnx K V V",
    "sadd K V a",
    "srem K V",
    "spop K",
    "smove K L V",
    "sinterstore K L K",
    "sunionstore K L K",
    "sdiffstore K K L",
    "zadd K V V V a",
    "zadd K xx gt V a",
    "zincrby K V a",
    "zrem K V",
    "zpopmin K V",
    "zmpop 1 K max count V",
    "zremrangebyrank K 0 V",
    "zremrangebyscore K -inf V",
    "zunionstore K 2 K L",
    "zdiffstore K 2 K L",
    "zrangestore K L 0 V",
    "mset K V L V",
    "msetnx K V L V",
    "setbit K V 1",
    "lpushx K V",
    "get K",
    "keys *",
    "randomkey",
];

fn any_command(random: &mut Random) -> String {
    let line = COMMANDS[random.below(COMMANDS.len())];
    let mut filled = String::new();
    for letter in line.chars() {
        match letter {
            'K' | 'L' => filled.extend(["k", ["0", "1", "2", "3", "4", "5"][random.below(6)]]),
            'V' => filled += &random.below(6).to_string(),
            other => filled.push(other),
        }
    }
    filled
}

/// The sum of what each entry takes, counted anew.
fn recounted(keys: &Keyspace) -> usize {
    let entries = keys.entries.iter();
    let sums = entries.map(|(key, entry)| super::memory::entry_bytes(key) + entry.value.bytes());
    let expiring = keys.expiring.iter().map(|key| super::memory::expiring_bytes(key));
    sums.sum::<usize>() + expiring.sum::<usize>()
}

#[test]
fn memory_is_counted_exactly_whatever_commands_come() {
    let mut random = Random::new();
    for _ in 0..20 {
        let mut keys = keyspace();
        for step in 0..2000 {
            keys.set_now(1_000_000 + step);
            let line = any_command(&mut random);
            run(&mut keys, &line);
            assert_eq!(keys.memory.used(), recounted(&keys), "after {line}");
            // Each container counts itself, which has to be what it would count anew.
            for (key, entry) in &keys.entries {
                let anew = rebuilt(&entry.value);
                assert_eq!(entry.value.bytes(), anew, "of {key:?} after {line}");
            }
            let deadlines = keys.entries.values().filter(|entry| entry.deadline.is_some()).count();
            assert_eq!(deadlines, keys.expiring.len(), "after {line}");
        }
        keys.clear();
        assert_eq!(keys.memory.used(), 0);
    }
}

/// The bytes of a value that is made anew of the same elements.
fn rebuilt(value: &crate::value::Value) -> usize {
    use crate::value::{End, Hash, Kind, List, Set, Sorted, Value};
    match value {
        Value::String(text) => text.capacity(),
        Value::List(list) => {
            let mut anew = List::default();
            list.iter().for_each(|element| anew.push(End::Right, element));
            Kind::bytes(&anew)
        }
        Value::Hash(hash) => {
            let mut anew = Hash::default();
            hash.iter().for_each(|(field, value)| assert!(anew.set(field, value)));
            Kind::bytes(&anew)
        }
        Value::Set(set) => Kind::bytes(&set.iter().collect::<Set>()),
        Value::Sorted(sorted) => {
            let mut anew = Sorted::default();
            sorted.iter_from(0).for_each(|(member, score)| assert!(anew.set(member, score)));
            Kind::bytes(&anew)
        }
    }
}

#[test]
fn an_expired_key_is_gone_for_whoever_looks_and_its_memory_comes_back() {
    let mut keys = keyspace();
    run(&mut keys, "SET a 1 PX 10");
    keys.set_now(1_000_009);
    assert_eq!(run(&mut keys, "GET a"), "$1 1");
    keys.set_now(1_000_010);
    assert_eq!((keys.len(), run(&mut keys, "KEYS *")), (1, "*0".into()));
    assert_eq!(run(&mut keys, "SCAN 0"), "*2 $1 0 *0");
    assert_eq!(run(&mut keys, "GET a"), "$-1");
    assert_eq!((keys.len(), keys.memory.used(), keys.counts.expired), (0, 0, 1));
}

#[test]
fn the_search_for_expired_keys_finds_all_in_slices() {
    let mut keys = keyspace();
    for number in 0..1000 {
        let expiry = [Expiry::Never, Expiry::At(1_000_010), Expiry::At(1_000_100)][number % 3];
        keys.put_string(number.to_string().as_bytes(), b"", expiry);
    }
    assert!(!keys.expire_some(1000));
    keys.set_now(1_000_010);
    assert!(keys.expire_some(20), "half of those it looked at had expired");
    for _ in 0..60 {
        keys.expire_some(20);
    }
    assert_eq!((keys.len(), keys.expiring_len(), keys.counts.expired), (667, 333, 333));
    keys.set_now(1_000_100);
    for _ in 0..60 {
        keys.expire_some(20);
    }
    assert_eq!((keys.len(), keys.expiring_len()), (334, 0));
    assert!(!keys.expire_some(20));
}

#[test]
fn above_the_limit_what_grows_is_refused_and_what_does_not_is_served() {
    let mut keys = keyspace();
    run(&mut keys, "SET a 1");
    run(&mut keys, "RPUSH l 1 2");
    keys.memory.max = 1;
    let refused = "-OOM command not allowed when used memory > 'maxmemory'.";
    for line in ["SET b 1", "APPEND a 1", "LPUSH l 1", "SADD s 1", "HSET h f v", "ZADD z 1 a"] {
        assert_eq!(run(&mut keys, line), refused);
    }
    assert_eq!(run(&mut keys, "GET a"), "$1 1");
    assert_eq!(run(&mut keys, "LPOP l"), "$1 1");
    assert_eq!(run(&mut keys, "DEL a"), ":1");
    keys.memory.policy = Policy::VolatileLru;
    assert_eq!(run(&mut keys, "SET b 1"), refused, "no key has a deadline");
}

#[test]
fn each_policy_evicts_those_it_should() {
    for (policy, evicts) in [
        (Policy::AllKeysLru, "old"),
        (Policy::AllKeysRandom, ""),
        (Policy::VolatileLru, "old-volatile"),
        (Policy::VolatileRandom, "volatile"),
        (Policy::VolatileTtl, "soon-volatile"),
    ] {
        let mut keys = keyspace();
        keys.memory.samples = 1000;
        for number in 0..100 {
            for (kind, expiry) in [
                ("old", Expiry::Never),
                ("new", Expiry::Never),
                ("old-volatile", Expiry::At(9_000_000)),
                ("soon-volatile", Expiry::At(8_000_000)),
            ] {
                keys.put_string(format!("{kind} {number}").as_bytes(), b"x", expiry);
            }
        }
        keys.set_now(1_010_000);
        for number in 0..100 {
            for kind in ["new", "soon-volatile"] {
                assert!(keys.contains(format!("{kind} {number}").as_bytes()));
            }
        }
        keys.memory.max = keys.memory.used() - 1000;
        keys.memory.policy = policy;
        assert!(keys.make_room());
        assert!(!keys.memory.is_over());
        let gone = 400 - keys.len();
        assert_eq!((gone as u64, gone > 3), (keys.counts.evicted, true));
        let left = |kind: &str, keys: &mut Keyspace| {
            let names = (0..100).map(|number| format!("{kind} {number}"));
            names.filter(|name| keys.contains(name.as_bytes())).count()
        };
        for kind in ["old", "new", "old-volatile", "soon-volatile"] {
            if !kind.contains(evicts) || (evicts == "old" && kind == "soon-volatile") {
                assert_eq!(left(kind, &mut keys), 100, "{kind} with {policy:?}");
            }
        }
    }
}

#[test]
fn a_watched_key_has_another_version_after_each_change_and_only_then() {
    for (before, line, changes) in [
        ("SET a 1", "SET a 1", true),
        ("SET a 1", "GET a", false),
        ("SET a 1", "SETNX a 2", false),
        ("SET b 1", "SET a 1", true),
        ("SET b 1", "DEL a", false),
        ("SADD a x", "SADD a x", false),
        ("SADD a x", "SADD a y", true),
        ("SADD a x", "SREM a y", false),
        ("SADD a x", "SREM a x", true),
        ("HSET a f v", "HDEL a g", false),
        ("HSET a f v", "HSETNX a f w", false),
        ("ZADD a 1 x", "ZADD a 1 x", false),
        ("ZADD a 1 x", "ZADD a 2 x", true),
        ("RPUSH a x", "LREM a 0 y", false),
        ("RPUSH a x", "LPOP a 0", false),
        ("RPUSH a x", "LPOP a", true),
        ("RPUSH a x", "INCR a", false),
        ("SET a 1", "EXPIRE a 100", true),
        ("SET a 1", "PERSIST a", false),
        ("SET a 1 EX 100", "PERSIST a", true),
        ("SET a 1 EX 100", "GETEX a", false),
        ("SET a 1", "RENAME a b", true),
        ("SET b 1", "RENAME b a", true),
        ("SET b 1", "COPY b a", true),
    ] {
        let mut keys = keyspace();
        run(&mut keys, before);
        let version = keys.watch(b"a");
        run(&mut keys, line);
        assert_eq!(keys.version(b"a") != version, changes, "{line} after {before}");
        keys.unwatch(b"a");
        assert_eq!(format!("{:?}", keys.watched), "Watched { keys: {} }");
    }
}

#[test]
fn a_watched_key_that_expires_or_is_flushed_or_evicted_has_changed() {
    let mut keys = keyspace();
    run(&mut keys, "SET a 1 PX 10");
    run(&mut keys, "SET b 1 PX 20");
    keys.set_now(1_000_010);
    let (expired_before, expires) = (keys.watch(b"a"), keys.watch(b"b"));
    keys.set_now(1_000_020);
    assert_eq!(keys.version(b"a"), expired_before);
    assert_ne!(keys.version(b"b"), expires);
    run(&mut keys, "SET c 1");
    let (flushed, nothing) = (keys.watch(b"c"), keys.watch(b"d"));
    keys.clear();
    assert_ne!(keys.version(b"c"), flushed);
    assert_eq!(keys.version(b"d"), nothing);
    run(&mut keys, "SET c 1");
    let evicted = keys.version(b"c");
    (keys.memory.max, keys.memory.policy) = (1, Policy::AllKeysLru);
    assert!(keys.make_room());
    assert_ne!(keys.version(b"c"), evicted);
}

#[test]
fn a_scan_returns_every_key_that_stays_while_others_come_and_go() {
    let mut random = Random::new();
    for _ in 0..50 {
        let mut keys = keyspace();
        for number in 0..200 {
            run(&mut keys, &format!("SET stays{number} 1"));
            run(&mut keys, &format!("SET goes{number} 1"));
        }
        let (mut cursor, mut seen) = (0, std::collections::HashSet::new());
        loop {
            cursor = keys.scan(cursor, 7, |key, _| {
                seen.insert(key.to_vec());
            });
            if cursor == 0 {
                break;
            }
            for _ in 0..20 {
                let number = random.below(200);
                run(&mut keys, &format!("DEL goes{number}"));
                run(&mut keys, &format!("SET comes{number} 1"));
                run(&mut keys, &format!("DEL comes{}", random.below(200)));
            }
        }
        assert_eq!(seen.iter().filter(|key| key.starts_with(b"stays")).count(), 200);
    }
}
