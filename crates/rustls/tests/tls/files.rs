//! What is wrong with a file of the configuration is told with its name.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use wouldblock_rustls::{Client, Server};

use crate::support::*;

/// A directory that goes when the test does.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Each mistake has a line that names the file and says what to look for.
#[test]
fn each_mistake_in_a_file_is_told_with_its_name() {
    let dir = Dir::new("mistakes");
    let chain = dir.write("chain.pem", &LOCALHOST.chain);
    let key = dir.write("key.pem", &LOCALHOST.key);
    let other_key = dir.write("other.pem", &CA.issue(&["localhost"]).key);
    let empty = dir.write("empty.pem", "nothing\n");
    let half = dir.write("half.pem", &LOCALHOST.chain[..LOCALHOST.chain.len() / 2]);
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked = dir.write("locked.pem", locked);
    let broken =
        dir.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let none = dir.path("none.pem");
    assert!(Server::from_pem(&chain, &key).is_ok());

    let cases = [
        (&none, &key, "none.pem", "cannot read"),
        (&chain, &none, "none.pem", "cannot read"),
        (&key, &chain, "key.pem", "swapped"),
        (&chain, &chain, "chain.pem", "holds a certificate and no private key"),
        (&empty, &key, "empty.pem", "holds no certificate"),
        (&chain, &empty, "empty.pem", "holds no private key"),
        (&chain, &locked, "locked.pem", "passphrase"),
        (&half, &key, "half.pem", "cut off"),
        (&broken, &key, "broken.pem", "cannot be read"),
        (&chain, &other_key, "other.pem", "does not belong"),
    ];
    for (chain, key, file, words) in cases {
        let error = Server::from_pem(chain, key).unwrap_err();
        let line = error.to_string();
        assert!(line.contains(file) && line.contains(words), "{line}");
        let expected =
            if words == "cannot read" { ErrorKind::NotFound } else { ErrorKind::InvalidData };
        assert_eq!(error.kind(), expected, "{line}");
    }
}

/// What is missing in a configuration, or contradicts itself, is refused when it is built.
#[test]
fn what_makes_no_sense_is_refused() {
    let line = |error: std::io::Error| {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        error.to_string()
    };
    assert!(line(Server::builder().build().unwrap_err()).contains("needs a certificate"));
    assert!(line(Client::builder().build().unwrap_err()).contains("whom to trust"));
    let wrong = Client::builder().pin("AB:CD").build();
    assert!(line(wrong.unwrap_err()).contains("\"AB:CD\" is no SHA-256 fingerprint"));
    let both = Client::builder().pin(&"ab".repeat(32)).roots_pem(&*CA.pem).build();
    assert!(line(both.unwrap_err()).contains("exclude"));
    for name in ["", "localhost:443", "[::1]", "two words"] {
        assert!(line(client().connect(name).unwrap_err()).contains("no server name"), "{name}");
    }
    assert!(client().connect("::1").is_ok() && client().connect("192.0.2.1").is_ok());
}

/// New files take effect with a reload, for new connections; broken ones change nothing.
#[test]
fn a_reload_takes_the_new_files_or_changes_nothing() {
    let dir = Dir::new("reload");
    let (first, second) = (CA.issue(&["localhost"]), CA.issue(&["localhost"]));
    let chain = dir.write("chain.pem", &first.chain);
    let key = dir.write("key.pem", &first.key);
    let server = Server::from_pem(&chain, &key).unwrap();
    let shown = || {
        let (client, _) = pair(&client(), &server);
        client.tls.peer_certificates().next().unwrap().to_vec()
    };
    let (mut old_client, mut old_server) = pair(&client(), &server);
    let before = shown();
    assert_eq!(shown(), before);

    dir.write("chain.pem", &second.chain);
    let error = server.reload().unwrap_err();
    assert!(error.to_string().contains("does not belong"), "{error}");
    assert_eq!(shown(), before, "the chain is new and the key is not");

    dir.write("key.pem", &second.key);
    server.clone().reload().unwrap();
    assert_ne!(shown(), before);

    old_client.send(b"still here");
    carry(&mut old_client, &mut old_server, usize::MAX);
    assert_eq!(old_server.plain, b"still here");
}
