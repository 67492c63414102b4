//! The examples, and what stands beside them, as processes.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Where cargo puts an example that it builds with the tests.
pub(crate) fn path(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name)
}

/// A process, killed when the test is over.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// An example, and the addresses at which it says that it listens. `None`, with a line, where
    /// the example was not built: `cargo build --examples` does.
    pub(crate) fn example<const N: usize>(
        name: &str,
        arguments: &[&str],
    ) -> Option<(Self, [String; N])> {
        let mut command = Command::new(path(name));
        command.args(arguments).env("RUST_LOG", "off").stdout(Stdio::piped());
        let Ok(mut process) = command.spawn().map(Running) else {
            println!("skipped: the example {name} was not built");
            return None;
        };
        let mut told = BufReader::new(process.0.stdout.take()?).lines();
        let addresses = std::array::from_fn(|_| {
            let line = told.next().expect("it says where it listens").unwrap();
            line.strip_prefix("listening on ").unwrap().to_owned()
        });
        Some((process, addresses))
    }
}
