//! A server as a child, and a client that shows each answer as text.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes that works.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A server that is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    /// The lines that it had printed before it listened.
    pub(crate) said: Vec<String>,
}

impl Server {
    /// Of so many reactors.
    pub(crate) fn start(reactors: usize) -> Self {
        Self::with(&["--reactors", &reactors.to_string()])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let address = ["--listen", "127.0.0.1:0"];
        let address = if arguments.contains(&"--listen") { &[][..] } else { &address[..] };
        let mut command = Command::new(env!("CARGO_BIN_EXE_kv"));
        command.args(address).args(arguments).env("RUST_LOG", "warn");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = lines.next().expect("it listens").unwrap();
            if let Some(address) = line.strip_prefix("listening on ") {
                break address.to_string();
            }
            said.push(line);
        };
        Server { child, address, said }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address)
    }

    pub(crate) fn port(&self) -> &str {
        self.address.rsplit_once(':').unwrap().1
    }

    /// Waits for its end, and returns whether it ended well.
    pub(crate) fn ends(mut self) -> bool {
        let end = Instant::now() + LONG;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status.success(),
                None if Instant::now() > end => panic!("it does not end"),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Kills it, as a machine does that loses its power.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How much memory it has, in bytes.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    input: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        let input = BufReader::new(stream.try_clone().unwrap());
        Client { stream, input }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a command: words with spaces between.
    pub(crate) fn say(&mut self, words: &str) {
        self.send(command(&words.split(' ').map(str::as_bytes).collect::<Vec<_>>()));
    }

    /// Sends a command, and returns the answer as text.
    pub(crate) fn ask(&mut self, words: &str) -> String {
        self.say(words);
        self.answer()
    }

    /// The next answer as text: a string as it is, `nil`, an error with its sign, elements in brackets.
    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        self.input.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "the end, or half a line: {line:?}");
        let (kind, rest) = line.trim_end().split_at(1);
        let count = || rest.parse::<usize>().unwrap_or_else(|_| panic!("{line:?}"));
        let mut all =
            |count: usize| (0..count).map(|_| self.answer()).collect::<Vec<_>>().join(" ");
        match kind {
            "+" | ":" | "," | "#" => rest.into(),
            "-" => format!("-{rest}"),
            "_" => "nil".into(),
            "$" | "*" if rest == "-1" => "nil".into(),
            "$" | "=" => {
                let mut bytes = vec![0; count() + 2];
                self.input.read_exact(&mut bytes).unwrap();
                assert!(bytes.ends_with(b"\r\n"));
                String::from_utf8_lossy(&bytes[..bytes.len() - 2]).into_owned()
            }
            "*" => format!("[{}]", all(count())),
            "~" => format!("~[{}]", all(count())),
            "%" => format!("{{{}}}", all(2 * count())),
            ">" => format!(">[{}]", all(count())),
            _ => panic!("what is {line:?}?"),
        }
    }

    /// All that is left, to the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.input.read_to_end(&mut rest).unwrap();
        rest
    }
}

/// A command as clients send it.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Asks until a fact is so.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "it never comes");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a foreign client is here; where all have to be, it is.
pub(crate) fn has(program: &str, arguments: &[&str]) -> bool {
    let found =
        Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_here = found.is_ok_and(|status| status.success());
    assert!(
        is_here || std::env::var_os("WOULDBLOCK_CI").is_none(),
        "{program} {arguments:?} is missing"
    );
    is_here
}
