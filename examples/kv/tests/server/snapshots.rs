//! Keys outlive the process, as of the last snapshot.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::*;

/// A file that does not exist, in a directory of the test's own.
fn file(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("kv-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory.join("snapshot")
}

#[test]
fn what_was_saved_is_there_again_with_any_number_of_reactors() {
    let path = file("again");
    let path = path.to_str().unwrap();
    let server = Server::with(&["--reactors", "3", "--snapshot", path]);
    let mut client = server.client();
    for n in 0..1000 {
        assert_eq!(client.ask(&format!("SET key{n} {n}")), "OK");
    }
    client.ask("RPUSH list a b c");
    client.ask("HSET hash f v");
    client.ask("ZADD sorted 1.5 m");
    client.ask("SET soon 1 EX 1000");
    assert_eq!(client.ask("SAVE"), "OK");
    client.ask("SET later 1");
    server.kill();
    let server = Server::with(&["--reactors", "2", "--snapshot", path]);
    assert_eq!(server.said, [format!("loaded 1004 keys of {path}")]);
    let mut client = server.client();
    assert_eq!(client.ask("MGET key0 key999 later"), "[0 999 nil]");
    assert_eq!(client.ask("LRANGE list 0 -1"), "[a b c]");
    assert_eq!(client.ask("ZSCORE sorted m"), "1.5");
    assert_ne!(client.ask("TTL soon"), "-1");
    // An end in order saves, unless it is told not to.
    client.ask("SET later 1");
    client.say("SHUTDOWN");
    assert!(server.ends());
    let server = Server::with(&["--reactors", "1", "--snapshot", path]);
    let mut client = server.client();
    assert_eq!(client.ask("GET later"), "1");
    client.ask("SET later 2");
    client.say("SHUTDOWN NOSAVE");
    assert!(server.ends());
    assert_eq!(Server::with(&["--snapshot", path]).client().ask("GET later"), "1");
}

/// Killed at any moment, the last snapshot that was finished is whole: a counter and its copy are
/// never far from each other.
#[test]
fn killed_under_load_the_last_snapshot_loads() {
    let path = file("killed");
    let path = path.to_str().unwrap();
    let mut last = 0;
    for round in 0..3 {
        let server = Server::with(&["--reactors", "2", "--snapshot", path, "--save-every", "0.05"]);
        let mut client = server.client();
        let before: u64 = client.ask("GET counter").parse().unwrap_or(0);
        assert!(before >= last || round == 0, "{before} after {last}");
        let mut other = server.client();
        let writing = thread::spawn(move || {
            let mut n = 0;
            // Until it is killed.
            while std::io::Write::write_all(
                &mut other.stream,
                &command(&[b"SET", format!("k{n}").as_bytes(), &[b'x'; 1000]]),
            )
            .is_ok()
            {
                n = (n + 1) % 5000;
                let mut answer = [0; 5];
                if std::io::Read::read_exact(&mut other.stream, &mut answer).is_err() {
                    break;
                }
            }
        });
        let saved = client.ask("LASTSAVE");
        until(|| {
            client.ask("INCR counter");
            client.ask("LASTSAVE") != saved
        });
        last = before;
        server.kill();
        writing.join().unwrap();
        assert!(fs::exists(path).unwrap());
    }
}

/// Not when the first snapshot is due, or at the end: by then there are keys to lose.
#[test]
fn a_place_where_no_snapshot_can_be_written_is_told_at_the_start() {
    let path = file("nowhere").join("deeper");
    let kv = env!("CARGO_BIN_EXE_kv");
    let mut child = Command::new(kv)
        .args(["--listen", "127.0.0.1:0", "--snapshot"])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until(|| child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = format!("error: the snapshot {} is not written: No such file", path.display());
    assert!(said.contains(&told), "{said}");
}

#[test]
fn a_snapshot_that_is_not_whole_is_refused_and_kept() {
    let path = file("torn");
    let server = Server::with(&["--snapshot", path.to_str().unwrap()]);
    server.client().ask("SET key value");
    assert_eq!(server.client().ask("SAVE"), "OK");
    server.kill();
    let mut bytes = fs::read(&path).unwrap();
    bytes.pop();
    fs::write(&path, &bytes).unwrap();
    let kv = env!("CARGO_BIN_EXE_kv");
    let output = Command::new(kv)
        .args(["--listen", "127.0.0.1:0", "--snapshot"])
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("the snapshot") && said.contains("is not loaded: it ends too early"),
        "{said}"
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn without_a_file_nothing_is_saved_and_that_is_said() {
    let server = Server::start(2);
    let why = "-ERR there is no file for snapshots: the server was started without --snapshot";
    assert_eq!(
        (server.client().ask("SAVE"), server.client().ask("BGSAVE")),
        (why.into(), why.into())
    );
}

/// `SAVE` is answered late, and before that nothing behind it can be sent.
#[test]
fn answers_behind_a_save_do_not_pile_up() {
    let path = file("behind");
    let path = path.to_str().unwrap();
    let server = Server::with(&["--reactors", "3", "--snapshot", path]);
    let mut client = server.client();
    let value = vec![b'v'; 1 << 20];
    let keys = ["a", "b", "c"];
    for key in keys {
        client.send(command(&[b"SET", key.as_bytes(), &value]));
        assert_eq!(client.answer(), "OK");
    }
    for n in 0..1500 {
        let members: Vec<String> = (0..1000).map(|member| member.to_string()).collect();
        client.send(format!("SADD set{n} {}\r\n", members.join(" ")));
    }
    (0..1500).for_each(|_| assert_eq!(client.answer(), "1000"));
    let before = server.resident();
    client.send(["SAVE\r\n".into(), "GET a\r\nGET b\r\nGET c\r\n".repeat(300)].concat());
    let reading = thread::spawn(move || {
        assert_eq!(client.answer(), "OK");
        (0..900).for_each(|_| assert_eq!(client.answer().len(), 1 << 20));
    });
    while !reading.is_finished() {
        let more = server.resident().saturating_sub(before);
        assert!(more < 150 << 20, "{} MB", more >> 20);
        thread::yield_now();
    }
    reading.join().unwrap();
}
