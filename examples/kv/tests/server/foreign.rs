//! Clients that others have written.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::cluster::three;
use crate::support::*;

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    output
}

#[test]
fn redis_benchmark_completes_however_deep_it_pipelines() {
    if !has("redis-benchmark", &["--version"]) {
        return;
    }
    for reactors in [1, 2] {
        let server = Server::start(reactors);
        for options in [
            "-n 20000 -P 1000 -d 10000 -r 1000 -t set,get",
            "-n 20000 -P 16 -r 1000",
            "-n 5000 -c 200 --threads 2 -t set,get",
        ] {
            let mut command = Command::new("redis-benchmark");
            run(command.args(["-q", "-p", server.port()]).args(options.split(' ')));
        }
    }
}

#[test]
fn redis_cli_pipes_and_shows() {
    if !has("redis-cli", &["--version"]) {
        return;
    }
    for reactors in [1, 2] {
        let server = Server::start(reactors);
        let cli = |arguments: &[&str]| {
            let output = run(Command::new("redis-cli").args(["-p", server.port()]).args(arguments));
            String::from_utf8(output.stdout).unwrap()
        };
        let mut child = Command::new("redis-cli")
            .args(["-p", server.port(), "--pipe"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for n in 0..100_000 {
            stdin.write_all(&command(&[b"SET", format!("key{n}").as_bytes(), b"value"])).unwrap();
        }
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("errors: 0, replies: 100000"), "{said}");
        assert_eq!(cli(&["dbsize"]), "100000\n");
        assert_eq!(cli(&["--scan"]).lines().count(), 100_000);
        assert_eq!(cli(&["-3", "mget", "key1", "nothing"]), "value\n\n");
        assert!(cli(&["info", "server"]).contains("redis_version:"));
    }
}

#[test]
fn redis_cli_follows_the_slots_of_a_cluster() {
    if !has("redis-cli", &["--version"]) {
        return;
    }
    let servers = three();
    for n in 0..30 {
        let (key, value) = (format!("key{n}"), n.to_string());
        let port = servers[n % 3].port();
        let cli = |arguments: &[&str]| {
            run(Command::new("redis-cli").args(["-c", "-p", port]).args(arguments)).stdout
        };
        assert_eq!(cli(&["set", &key, &value]), b"OK\n");
        assert_eq!(cli(&["get", &key]), format!("{value}\n").as_bytes());
    }
    let sizes: Vec<usize> =
        servers.iter().map(|it| it.client().ask("DBSIZE").parse().unwrap()).collect();
    assert!(sizes.iter().sum::<usize>() == 30 && sizes.iter().all(|it| *it > 0), "{sizes:?}");
}

#[test]
fn redis_py_works_with_both_versions_of_the_protocol() {
    if !has("python3", &["-c", "import redis"]) {
        return;
    }
    for reactors in ["1", "2"] {
        let server = Server::with(&["--reactors", reactors]);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py");
        run(Command::new("python3").args([script, server.port()]));
    }
}

#[test]
fn redis_py_spreads_over_a_cluster() {
    if !has("python3", &["-c", "import redis"]) {
        return;
    }
    let servers = three();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/cluster.py");
    run(Command::new("python3").args([script, servers[0].port()]));
    let sizes: Vec<usize> =
        servers.iter().map(|it| it.client().ask("DBSIZE").parse().unwrap()).collect();
    assert!(sizes.iter().all(|it| *it > 100), "{sizes:?}");
}

#[test]
fn ioredis_works_where_it_is_installed() {
    // Not among the tools that every run has: `npm install ioredis`, and NODE_PATH.
    let found =
        Command::new("node").args(["-e", "require('ioredis')"]).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        return;
    }
    for reactors in [1, 2] {
        let server = Server::start(reactors);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node/client.js");
        run(Command::new("node").args([script, server.port()]));
    }
}
