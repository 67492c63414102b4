//! Tests of snapshots: what is written is read back, what is not whole is refused, and what changes
//! meanwhile is not in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::{io, thread};

use super::load::load_from;
use super::write::frame;
use super::{END, ENTRIES, MAGIC, Saver, Summary, VERSION, Why, crc, load, save};
use crate::commands::tests::run;
use crate::keyspace::{Deadline, Expiry, Keyspace, Progress};
use crate::random::Random;
use crate::value::Value;

type Content = BTreeMap<Vec<u8>, (Value, Deadline)>;

/// A directory that goes with its test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("kv-snapshot-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory for temporary files");
        Directory(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("dump.kv")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("it was made");
        let name =
            |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn content(keys: &mut Keyspace) -> Content {
    let mut content = Content::new();
    keys.scan(0, usize::MAX, |key, value| {
        drop(content.insert(key.to_vec(), (value.clone(), None)));
    });
    for (key, (_, deadline)) in &mut content {
        *deadline = keys.deadline(key).expect("it was seen just now");
    }
    content
}

fn loaded(path: &Path) -> Content {
    let mut content = Content::new();
    let summary =
        load(path, |key, value, deadline| drop(content.insert(key.to_vec(), (value, deadline))));
    let summary = summary.expect("it is whole").expect("it is there");
    assert_eq!(summary.entries, content.len() as u64);
    assert_eq!(summary.bytes, fs::metadata(path).unwrap().len());
    content
}

fn begin(path: &Path, shards: usize) -> (Vec<Saver>, Receiver<io::Result<Summary>>) {
    let (told, done) = channel();
    let done_once = move |written| told.send(written).expect("the test waits for it");
    (save(path, shards, 7, done_once).expect("there is a thread for it"), done)
}

fn finish(keys: &mut Keyspace) {
    while keys.save_some(100) != Progress::Idle {
        thread::yield_now();
    }
}

/// A keyspace with all kinds of values.
fn sample() -> Keyspace {
    let mut keys = Keyspace::default();
    keys.set_now(1_000_000);
    for line in [
        "SET a 1",
        r#"SET "" """#,
        "SET \\x00\\xff\\x0d \\x0a EX 10",
        "RPUSH list a \"\" c",
        "HSET hash f v \"\" \"\"",
        "SADD set a b c",
        "ZADD sorted -inf a 0.1 b 3 c inf d",
        "PEXPIREAT set 9223372036854775807",
    ] {
        run(&mut keys, line);
    }
    keys.put_string(b"long", &[b'x'; 1000], Expiry::Never);
    keys
}

fn saved(keys: &mut Keyspace, path: &Path) -> Summary {
    let (mut savers, done) = begin(path, 1);
    keys.begin_snapshot(savers.remove(0));
    finish(keys);
    done.recv().expect("it is told once").expect("the disk has room")
}

#[test]
fn what_is_saved_is_loaded() {
    let directory = Directory::new();
    let mut keys = sample();
    let summary = saved(&mut keys, &directory.file());
    assert_eq!((summary.entries, summary.time), (8, 7));
    assert_eq!(loaded(&directory.file()), content(&mut keys));
    assert_eq!(directory.names(), ["dump.kv"]);
}

#[test]
fn no_key_at_all_is_a_snapshot_too_and_no_file_is_none() {
    let directory = Directory::new();
    assert!(load(&directory.file(), |_, _, _| ()).unwrap().is_none());
    saved(&mut Keyspace::default(), &directory.file());
    assert!(loaded(&directory.file()).is_empty());
}

#[test]
fn every_beginning_and_every_flipped_bit_of_a_snapshot_is_refused() {
    let directory = Directory::new();
    saved(&mut sample(), &directory.file());
    let whole = fs::read(directory.file()).unwrap();
    let refused = |bytes: &[u8]| load_from(bytes, &mut |_, _, _| ()).unwrap_err();
    assert!(load_from(&whole[..], &mut |_, _, _| ()).is_ok());
    for end in 0..whole.len() {
        assert!(matches!(refused(&whole[..end]), Why::Truncated), "the first {end} bytes");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            refused(&flipped);
        }
    }
    assert!(matches!(refused(&[&whole[..], &[0]].concat()), Why::Trailing));
    assert!(matches!(refused(&[&whole[..], &whole[..]].concat()), Why::Trailing));
}

#[test]
fn a_snapshot_that_is_refused_says_its_name_and_why_and_is_kept() {
    let directory = Directory::new();
    let told = |bytes: &[u8]| {
        fs::write(directory.file(), bytes).unwrap();
        let error = load(&directory.file(), |_, _, _| ()).unwrap_err().to_string();
        assert_eq!(fs::read(directory.file()).unwrap(), bytes);
        assert!(error.contains("dump.kv"), "{error}");
        error
    };
    assert!(told(b"REDIS0011 and more of it").contains("it is no snapshot of kv"));
    assert!(told(b"WBKV").contains("it ends too early"));
    let newer = [&MAGIC[..], &(VERSION + 1).to_le_bytes(), &[0; 100]].concat();
    assert!(told(&newer).contains("version 2"));
}

#[test]
fn parts_that_are_whole_and_make_no_sense_are_refused_without_a_panic() {
    let mut header = [&MAGIC[..], &VERSION.to_le_bytes(), &[0; 8]].concat();
    header.extend_from_slice(&crc(&[&header]).to_le_bytes());
    let mut random = Random::new();
    let mut body = Vec::new();
    for round in 0..20_000 {
        body.clear();
        // Kinds and lengths that are near to what is right reach further.
        let len = random.below(40);
        body.extend((0..len).map(|_| [0, 1, 2, 3, 4, 9, 0x80, 0xff][random.below(8)]));
        let kind = [ENTRIES, END, 0][round % 3];
        let [head, tail] = frame(kind, &body);
        let file = [&header[..], &head, &body, &tail].concat();
        // No file of this has an end, but for none that has the counts of no section.
        assert!(load_from(&file[..], &mut |_, _, _| ()).is_err());
    }
    let empty_list = [&[1][..], &[0; 8], &[1, b'k', 0]].concat();
    let no_number = [&[4][..], &[0; 8], &[1, b'k', 1, 1, b'm'], &f64::NAN.to_le_bytes()].concat();
    let twice = [&[3][..], &[0; 8], &[1, b'k', 2, 1, b'm', 1, b'm']].concat();
    let huge = [&[0][..], &[0; 8], &[0xff; 9], &[1]].concat();
    for body in [empty_list, no_number, twice, huge] {
        let [head, tail] = frame(ENTRIES, &body);
        let file = [&header[..], &head, &body, &tail].concat();
        let why = load_from(&file[..], &mut |_, _, _| ()).unwrap_err();
        assert!(matches!(why, Why::Malformed(24)), "{why:?}");
    }
}

#[test]
fn what_changes_while_a_snapshot_runs_is_not_in_it() {
    let directory = Directory::new();
    let commands = [
        "SET K V",
        "SETEX K 100 V",
        "DEL K",
        "APPEND K V",
        "INCR K",
        "RENAME K L",
        "COPY K L REPLACE",
        "LPUSH K V",
        "RPOP K",
        "HSET K V V",
        "HDEL K V",
        "SADD K V",
        "SPOP K",
        "ZADD K 1 V",
        "ZPOPMIN K",
        "EXPIRE K 1",
        "PERSIST K",
        "GETDEL K",
        "SUNIONSTORE K L K",
        "LMOVE K L LEFT RIGHT",
        "PEXPIRE K 1",
    ];
    for _ in 0..100 {
        let mut keys = Keyspace::default();
        let mut random = Random::new();
        let mut now = 1_000_000;
        let mut change = |keys: &mut Keyspace, random: &mut Random| {
            now += i64::try_from(random.below(3)).unwrap();
            keys.set_now(now);
            let key = format!("k{}", random.below(20));
            let other = format!("k{}", random.below(20));
            let line = commands[random.below(commands.len())];
            let line = line.replace('K', "\u{1}").replace('L', "\u{2}").replace('V', "\u{3}");
            // The names of commands have these letters too.
            let (name, rest) = line.split_once(' ').unwrap();
            let name = name.replace('\u{1}', "K").replace('\u{2}', "L").replace('\u{3}', "V");
            let rest = rest.replace("\u{2}EFT", "LEFT").replace("REP\u{2}ACE", "REPLACE");
            let rest = rest.replace('\u{1}', &key).replace('\u{2}', &other);
            run(keys, &format!("{name} {}", rest.replace('\u{3}', &random.below(5).to_string())));
            keys.expire_some(random.below(3));
        };
        for _ in 0..200 {
            change(&mut keys, &mut random);
        }
        let (mut savers, done) = begin(&directory.file(), 1);
        let (then, began) = (content(&mut keys), keys.now());
        keys.begin_snapshot(savers.remove(0));
        loop {
            for _ in 0..random.below(10) {
                change(&mut keys, &mut random);
            }
            if keys.save_some(random.below(4)) == Progress::Idle {
                break;
            }
        }
        done.recv().unwrap().unwrap();
        // What had expired and was not yet removed is written too, and expires again when it is loaded.
        let mut loaded = loaded(&directory.file());
        loaded.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| deadline.get() > began));
        assert_eq!(loaded, then);
    }
}

#[test]
fn shards_make_one_file() {
    let directory = Directory::new();
    let (savers, done) = begin(&directory.file(), 3);
    let mut shards: Vec<_> = savers
        .into_iter()
        .enumerate()
        .map(|(number, saver)| {
            let mut keys = Keyspace::default();
            run(&mut keys, &format!("SET k{number} v"));
            keys.begin_snapshot(saver);
            keys
        })
        .collect();
    for keys in &mut shards[..2] {
        finish(keys);
    }
    assert!(done.try_recv().is_err(), "a shard is not finished");
    finish(&mut shards[2]);
    assert_eq!(done.recv().unwrap().unwrap().entries, 3);
    assert_eq!(loaded(&directory.file()).len(), 3);
}

#[test]
fn a_snapshot_that_is_given_up_leaves_the_older_one() {
    let directory = Directory::new();
    saved(&mut sample(), &directory.file());
    let older = fs::read(directory.file()).unwrap();
    for _ in 0..2 {
        let mut keys = sample();
        let (mut savers, done) = begin(&directory.file(), 1);
        keys.begin_snapshot(savers.remove(0));
        keys.save_some(1);
        // By FLUSHALL, or with the process.
        keys.clear();
        assert_eq!(done.recv().unwrap().unwrap_err().to_string(), "the snapshot was given up");
        assert_eq!(fs::read(directory.file()).unwrap(), older);
        assert_eq!(directory.names(), ["dump.kv"]);
    }
    // What a process that was killed leaves is in nobody's way.
    fs::write(directory.0.join("dump.kv.new"), b"WBKVSNAP and half").unwrap();
    assert_eq!(loaded(&directory.file()), content(&mut sample()));
    saved(&mut sample(), &directory.file());
    assert_eq!(directory.names(), ["dump.kv"]);
}

#[test]
fn a_snapshot_that_cannot_be_written_is_told_and_stops() {
    let directory = Directory::new();
    let (mut savers, done) = begin(&directory.0.join("nowhere").join("dump.kv"), 1);
    let mut keys = sample();
    assert_eq!(done.recv().unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
    keys.begin_snapshot(savers.remove(0));
    finish(&mut keys);
    assert!(!keys.is_saving());
}

#[test]
fn large_values_and_many_sections_are_loaded() {
    let directory = Directory::new();
    let mut keys = Keyspace::default();
    for number in 0..2000_u32 {
        keys.put_string(&number.to_le_bytes(), &vec![b'x'; 3000], Expiry::Never);
    }
    keys.put_string(b"large", &vec![b'y'; 5 << 20], Expiry::Never);
    saved(&mut keys, &directory.file());
    assert_eq!(loaded(&directory.file()), content(&mut keys));
}

#[test]
fn the_checksum_is_that_of_ethernet() {
    assert_eq!(crc(&[b"1234", b"56789"]), 0xcbf4_3926);
}
