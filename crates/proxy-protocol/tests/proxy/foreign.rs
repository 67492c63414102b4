//! Proxies that nobody here wrote: curl, HAProxy, nginx. Skipped, with a line, where one is
//! missing; of curl, which is in CI, that is an error when `WOULDBLOCK_CI=1`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use wouldblock::{Config, Listen};
use wouldblock_proxy_protocol::{Accept, Header, Version};

use crate::served::*;

/// Whether the program is here. `probe` is an argument that makes it exit.
fn has(program: &str, probe: &str) -> bool {
    let found =
        Command::new(program).arg(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return true;
    }
    let must = program == "curl" && std::env::var_os("WOULDBLOCK_CI").is_some_and(|ci| ci == "1");
    assert!(!must, "{program} is missing");
    println!("skipped: {program} is not here");
    false
}

/// A directory of a test's own.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("proxy-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A proxy that runs, and is killed at the end of a test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// curl tells its own address by a line of version 1.
#[test]
fn curl_tells_its_own_address() {
    if !has("curl", "--version") {
        return;
    }
    let served = Served::start();
    let out = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--haproxy-protocol"])
        .arg(format!("http://{}/", served.at))
        .args(["--write-out", "from %{local_ip}:%{local_port}\n"])
        .output()
        .unwrap();
    let answer = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(line(&answer, "peer"), line(&answer, "from"));
    assert_eq!(line(&answer, "to"), served.at.to_string());
    assert_eq!(line(&answer, "version"), "V1");
    served.closed();
    served.end();
}

/// A port that was free just now: a proxy is told it in its file.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts HAProxy in front of the servers: one port for each `(port, server's options)`.
fn haproxy(dir: &Dir, served: &Served, servers: &[(u16, &str)]) -> Running {
    let mut file = String::from(
        "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n",
    );
    for (port, options) in servers {
        let section = format!("bind 127.0.0.1:{port}\n  server s {} {options}\n", served.at);
        file.extend(["listen l", &port.to_string(), "\n  ", &section]);
    }
    let path = dir.write("haproxy.cfg", &file);
    start(Command::new("haproxy").arg("-db").arg("-f").arg(path), servers[0].0)
}

/// Starts it, and waits until it listens: it says so by a connection that is not refused.
fn start(command: &mut Command, port: u16) -> Running {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = child.try_wait().unwrap() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("{status}: {said}");
        }
        assert!(std::time::Instant::now() < deadline, "it does not listen");
        std::thread::yield_now();
    }
    // What it says is not to stop it.
    let said = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || said.lines().for_each(drop));
    Running(child)
}

/// The client's answer by way of a proxy, and the client's address.
fn through(port: u16) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let ours = stream.local_addr().unwrap().to_string();
    stream.write_all(REQUEST).unwrap();
    (rest(stream), ours)
}

/// HAProxy with `send-proxy`, `send-proxy-v2` and its fields, and with a checksum, which is right.
#[test]
fn haproxy_tells_its_clients_in_both_versions() {
    if !has("haproxy", "-v") {
        return;
    }
    let dir = Dir::new("haproxy");
    let served = Served::start();
    let ports = [free_port(), free_port(), free_port()];
    let [v1, v2, fields] = ports;
    let servers = [
        (v1, "send-proxy"),
        (v2, "send-proxy-v2"),
        (fields, "send-proxy-v2 proxy-v2-options crc32c,authority,unique-id"),
    ];
    let _proxy = haproxy(&dir, &served, &servers);
    for (port, version) in [(v1, "V1"), (v2, "V2"), (fields, "V2")] {
        let (answer, ours) = through(port);
        assert_eq!(line(&answer, "peer"), ours);
        assert_eq!(line(&answer, "to"), format!("127.0.0.1:{port}"));
        assert_eq!(line(&answer, "version"), version);
    }
}

/// HAProxy ends the TLS of a client and tells of it: the version, the cipher, the name and the
/// protocol that the client has asked for.
#[test]
fn haproxy_tells_of_the_clients_tls() {
    if !has("haproxy", "-v") || !has("curl", "--version") {
        return;
    }
    let dir = Dir::new("tls");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = dir.write("pem", &(made.cert.pem() + &made.signing_key.serialize_pem()));
    let served = Served::start();
    let port = free_port();
    let file = format!(
        "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  \
         timeout server 20s\nlisten l\n  bind 127.0.0.1:{port} ssl crt {} alpn http/1.1\n  \
         server s {} send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,ssl-cipher,authority,crc32c\n",
        pem.display(),
        served.at
    );
    let path = dir.write("haproxy.cfg", &file);
    let _proxy = start(Command::new("haproxy").arg("-db").arg("-f").arg(path), port);
    let out = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--insecure"])
        .args(["--connect-to", &format!("::127.0.0.1:{port}")])
        .arg(format!("https://localhost:{port}/"))
        .output()
        .unwrap();
    let answer = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(line(&answer, "name"), "localhost");
    assert_eq!(line(&answer, "alpn"), "http/1.1");
    let tls = line(&answer, "tls");
    assert!(tls.starts_with("TLSv1.3 TLS_AES_") && tls.ends_with(" - false"), "{tls}");
}

/// The configurations in the guide's page, by their language, for these addresses.
fn of_the_guide(language: &str, public: &str, server: &str) -> Vec<String> {
    const PAGE: &str = include_str!("../../../../docs/guide/in_front.md");
    let begin = format!("\n```{language}\n");
    let found = PAGE.split(&*begin).skip(1).map(|rest| rest.split("\n```").next().unwrap());
    found
        .map(|it| format!("{}\n", it.replace("PUBLIC", public).replace("SERVER", server)))
        .collect()
}

/// What the guide says to write in `haproxy.cfg` works: a client's address and checks; TLS that is
/// passed through.
#[test]
fn haproxy_runs_the_configurations_of_the_guide() {
    if !has("haproxy", "-v") || !has("curl", "--version") {
        return;
    }
    let dir = Dir::new("guide");
    let served = Served::start();
    let port = free_port();
    let [first, _] =
        &of_the_guide("haproxy", &format!("127.0.0.1:{port}"), &served.at.to_string())[..]
    else {
        panic!("the guide has two");
    };
    let path = dir.write("haproxy.cfg", &format!("global\n    maxconn 200\n{first}"));
    let proxy = start(Command::new("haproxy").arg("-db").arg("-f").arg(path), port);
    let (answer, ours) = through(port);
    assert_eq!((line(&answer, "peer"), line(&answer, "version")), (&*ours, "V2"));
    drop(proxy);

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = wouldblock_rustls::Server::builder();
    let tls =
        tls.certificate_pem(made.cert.pem(), made.signing_key.serialize_pem()).build().unwrap();
    let accept = Accept::trusting(["127.0.0.1"]).unwrap();
    let listen = Listen::from("127.0.0.1:0").layer(accept.layer()).layer(tls.layer());
    let served = Served::on(listen, Config::default());
    let [_, through_tls] =
        &of_the_guide("haproxy", &format!("127.0.0.1:{port}"), &served.at.to_string())[..]
    else {
        panic!("the guide has two");
    };
    let path = dir.write("haproxy.cfg", &format!("global\n    maxconn 200\n{through_tls}"));
    let _proxy = start(Command::new("haproxy").arg("-db").arg("-f").arg(path), port);
    let out = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--insecure"])
        .arg(format!("https://127.0.0.1:{port}/"))
        .args(["--write-out", "from %{local_ip}:%{local_port}\n"])
        .output()
        .unwrap();
    let answer = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(line(&answer, "peer"), line(&answer, "from"));
}

/// HAProxy's checks come as LOCAL, its clients as clients. (A check on a busy machine may take
/// longer than it is given: that takes no server out of service here.)
#[test]
fn haproxys_checks_are_its_own_connections() {
    if !has("haproxy", "-v") {
        return;
    }
    let dir = Dir::new("checks");
    let accept = Accept::trusting(["127.0.0.1"]).unwrap().only(Version::V2);
    let served = Served::of(&accept, Config::default());
    let port = free_port();
    let check = "send-proxy-v2 check check-send-proxy inter 20ms rise 1 fall 10000";
    let _proxy = haproxy(&dir, &served, &[(port, check)]);
    // A check ends at once; how often it comes is HAProxy's. Between some, and while one may be
    // there, a client.
    for _ in 0..5 {
        served.closed();
        let (answer, ours) = through(port);
        assert_eq!((line(&answer, "peer"), line(&answer, "local")), (&*ours, "false"));
    }
}

/// nginx's stream module, as the guide's page has it.
#[test]
fn nginx_tells_its_clients() {
    if !has("nginx", "-v") {
        return;
    }
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    let dir = Dir::new("nginx");
    let served = Served::start();
    let port = free_port();
    let load = if module.exists() {
        format!("load_module {};\n", module.display())
    } else {
        String::new()
    };
    let public = format!("127.0.0.1:{port}");
    let [stream] = &of_the_guide("nginx", &public, &served.at.to_string())[..] else {
        panic!("the guide has one");
    };
    let at = dir.0.display();
    let head = format!("{load}daemon off; pid {at}/pid; error_log {at}/log;\nevents {{}}\n");
    let path = dir.write("nginx.conf", &(head + stream));
    let tested = Command::new("nginx").arg("-t").arg("-c").arg(&path).output().unwrap();
    if String::from_utf8_lossy(&tested.stderr).contains("unknown directive \"stream\"") {
        println!("skipped: this nginx has no stream module");
        return;
    }
    let _proxy = start(Command::new("nginx").arg("-c").arg(&path), port);
    let (answer, ours) = through(port);
    assert_eq!(line(&answer, "peer"), ours);
    assert_eq!(line(&answer, "version"), "V1");
}

/// HAProxy takes the header that a connect of ours sends, and passes it on: there and back with a
/// foreign reader.
#[test]
fn haproxy_takes_our_header() {
    if !has("haproxy", "-v") {
        return;
    }
    let dir = Dir::new("taken");
    let served = Served::start();
    let port = free_port();
    let file = format!(
        "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  \
         timeout server 20s\nlisten l\n  bind 127.0.0.1:{port} accept-proxy\n  server s {} send-proxy\n",
        served.at
    );
    let path = dir.write("haproxy.cfg", &file);
    let _proxy = start(Command::new("haproxy").arg("-db").arg("-f").arg(path), port);
    let (from, to) = ("[2001:db8::1]:7", "[2001:db8::2]:8");
    let header = Header::v2(from.parse().unwrap(), to.parse().unwrap());
    let header = header.authority("example.com").unique_id("id");
    for header in [header, Header::v1(from.parse().unwrap(), to.parse().unwrap())] {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let answer = ask(stream, &[&header.encode().unwrap(), REQUEST].concat());
        assert_eq!((line(&answer, "peer"), line(&answer, "to")), (from, to));
    }
}
