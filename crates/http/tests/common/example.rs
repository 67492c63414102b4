//! An example as a process, and curl.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

/// An example, killed when dropped.
pub(crate) struct Example {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Example {
    /// Starts it with `--listen 127.0.0.1:0` and these arguments.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Example {
        let mut path = std::env::current_exe().unwrap();
        path.pop();
        path.pop();
        let path = path.join("examples").join(name);
        assert!(path.exists(), "cargo build --examples makes {}", path.display());
        let mut command = Command::new(path);
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Example { process, lines }
    }

    /// What stands behind these words in the next line that it prints.
    pub(crate) fn said(&mut self, what: &str) -> String {
        let line = self.lines.next().unwrap().unwrap();
        line.strip_prefix(what).expect("it says where").to_owned()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What curl prints, in at most 20 s. `None`: there is no curl, and the test says so.
pub(crate) fn curl(arguments: &[&str]) -> Option<String> {
    let output = Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).output();
    let Ok(output) = output else {
        assert!(std::env::var_os("WOULDBLOCK_CI").is_none(), "CI installs curl");
        eprintln!("skipped: no curl is installed");
        return None;
    };
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
