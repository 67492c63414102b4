//! The example `ws_client`, as a process, against `ws_echo`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread;

use crate::process::{Running, path};

/// If both ends read only once they have sent, neither goes on: an echo waits for its client, and
/// that for the echo.
#[test]
fn lines_longer_than_kernels_keep_come_back_in_order() {
    let arguments = ["--listen", "127.0.0.1:0", "--quiet"];
    let Some((_echo, [addr])) = Running::example("ws_echo", &arguments) else { return };
    let mut command = Command::new(path("ws_client"));
    command.arg(format!("ws://{addr}/")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Running(command.spawn().unwrap());
    let mut stdin = client.0.stdin.take().unwrap();
    let stdout = BufReader::new(client.0.stdout.take().unwrap());
    let lines: Vec<_> = (10..70).map(|n| n.to_string().repeat(300_000)).collect();
    let expected = lines.clone();
    let writer = thread::spawn(move || {
        for line in lines {
            writeln!(stdin, "{line}").unwrap();
        }
    });
    let came: Vec<_> = stdout.lines().take(expected.len()).map(Result::unwrap).collect();
    assert!(came == expected, "{} of {}", came.len(), expected.len());
    writer.join().unwrap();
}
