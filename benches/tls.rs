//! What TLS costs a server alone: `wouldblock-rustls` beside tokio-rustls, both over the same
//! rustls with the same cryptography, one thread each.
//!
//! ```text
//! cargo bench --bench tls
//! cargo bench --bench tls -- idle        # resident memory of 5,000 idle connections, server by server
//! ```
//!
//! - a handshake: TLS 1.3, ECDSA P-256, not resumed, one byte there and back, both ends said;
//! - 64 clients of 16 KiB, echoed: one record each way.
//!
//! CPU time of the server's thread, as the scheduler counts it. Each round drives the three by
//! turns in short slices, ours, the baseline, and the baseline once more as a control; what counts
//! is the median of the rounds' ratios. `--test` only sees whether it runs. Linux only: the time
//! comes from `/proc`.

#![allow(clippy::cast_precision_loss, reason = "counts are small")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use wouldblock::{Listen, Reactor, handler_fn};
use wouldblock_rustls::Server;

mod process;

const CLIENTS: usize = 64;
const MESSAGE: usize = 16 << 10;
/// Both ends are here, and each takes a descriptor.
const IDLE: usize = 5000;

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Which server.
type Serve = fn(String, String) -> Running;

/// A server on a thread of its own.
struct Running {
    addr: SocketAddr,
    /// Where the scheduler tells what its thread has used.
    schedstat: String,
}

impl Running {
    /// Starts `serve`, which sends the address that it listens on. The name is for a profiler.
    fn start(name: &str, serve: impl FnOnce(mpsc::Sender<SocketAddr>) + Send + 'static) -> Self {
        let (tells, told) = mpsc::channel();
        let (listens, addrs) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned());
        let started = thread.spawn(move || {
            let thread = fs::read_link("/proc/thread-self").expect("Linux");
            tells.send(format!("/proc/{}/schedstat", thread.display())).expect("we wait for it");
            serve(listens);
        });
        started.expect("a thread");
        let schedstat = told.recv().expect("it has started");
        Running { addr: addrs.recv().expect("it listens"), schedstat }
    }

    /// Nanoseconds of CPU time so far.
    fn cpu(&self) -> f64 {
        let text = fs::read_to_string(&self.schedstat).expect("its thread runs");
        text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number of nanoseconds")
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> Tls {
        connect(self.addr, config)
    }
}

fn connect(addr: SocketAddr, config: &Arc<ClientConfig>) -> Tls {
    let mut stream = TcpStream::connect(addr).expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).expect("a handshake");
    }
    StreamOwned::new(tls, stream)
}

fn ours(chain: String, key: String) -> Running {
    Running::start("ours", move |listens| {
        let tls = Server::builder().certificate_pem(chain, key).build().expect("a certificate");
        let echo = handler_fn(|conn, input| {
            conn.send(input.take_all());
            Ok(())
        });
        let mut reactor = Reactor::new(echo).expect("a reactor");
        let listen = Listen::from("127.0.0.1:0").layer(tls.layer());
        let listener = reactor.listen(listen).expect("a port");
        let addr = reactor.listener_addr(listener).ok().and_then(|addr| addr.socket_addr());
        listens.send(addr.expect("a TCP address")).expect("we wait for it");
        reactor.run().expect("it runs");
    })
}

fn theirs(chain: String, key: String) -> Running {
    Running::start("theirs", move |listens| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let config = server_config(&chain, &key);
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            listens.send(listener.local_addr().expect("bound")).expect("we wait for it");
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    stream.set_nodelay(true)?;
                    let mut tls = acceptor.accept(stream).await?;
                    let mut buf = vec![0; MESSAGE];
                    loop {
                        match tls.read(&mut buf).await? {
                            0 => return tls.shutdown().await,
                            n => tls.write_all(&buf[..n]).await?,
                        }
                        tls.flush().await?;
                    }
                });
            }
        });
    })
}

/// As ours: both versions, tickets of the session encrypted.
fn server_config(chain: &str, key: &str) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    config.ticketer = rustls::crypto::ring::Ticketer::new().expect("a key");
    config
}

fn client_config(certificate: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// CPU time of the server for one of `n` handshakes.
fn handshakes(server: &Running, config: &Arc<ClientConfig>, n: usize) -> f64 {
    let before = server.cpu();
    for _ in 0..n {
        let mut tls = server.connect(config);
        tls.write_all(b"x").expect("it reads");
        tls.read_exact(&mut [0]).expect("it echoes");
        tls.conn.send_close_notify();
        tls.flush().expect("it reads");
        // Its end, so that all of its work is done.
        let _ = io::copy(&mut tls, &mut io::sink());
    }
    (server.cpu() - before) / n as f64
}

/// CPU time of the server for one message of each client, `rounds` times.
fn echoes(server: &Running, clients: &mut [Tls], rounds: usize) -> f64 {
    let message = vec![7; MESSAGE];
    let mut answer = vec![0; MESSAGE];
    let before = server.cpu();
    for _ in 0..rounds {
        for tls in &mut *clients {
            tls.write_all(&message).and_then(|()| tls.flush()).expect("it reads");
        }
        for tls in &mut *clients {
            tls.read_exact(&mut answer).expect("it echoes");
        }
    }
    (server.cpu() - before) / (rounds * clients.len()) as f64
}

/// Prints the medians of three columns, and of the ratios to the second of them.
fn report(what: &str, rounds: &[[f64; 3]]) {
    let median = |of: &dyn Fn(&[f64; 3]) -> f64| {
        let mut all: Vec<_> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        let quarter = all.len() / 4;
        (all[quarter], all[all.len() / 2], all[all.len() - 1 - quarter])
    };
    let micros = |column: usize| median(&move |round| round[column]).1 / 1000.0;
    println!("{what}: ours {:.1} us, tokio-rustls {:.1} us", micros(0), micros(1));
    for (name, column) in [("ours", 0), ("tokio-rustls again", 2)] {
        let (low, middle, high) = median(&move |round| round[column] / round[1]);
        println!("  {name} / tokio-rustls: {middle:.2} (middle half {low:.2} to {high:.2})");
    }
}

/// A process of its own, which serves the certificate that it is given and tells where it listens.
fn serve(name: &str) {
    let (mut pem, serve): (String, Serve) =
        (String::new(), if name == "ours" { ours } else { theirs });
    io::stdin().read_to_string(&mut pem).expect("a certificate and its key");
    let (chain, key) = pem.split_once('\0').expect("both");
    let running = serve(chain.to_owned(), key.to_owned());
    println!("listening on {}", running.addr);
    loop {
        thread::park();
    }
}

/// What an idle connection adds, when each has echoed a message of 16 KiB. Warmed up with a tenth of them.
fn idle(name: &str, chain: &str, key: &str, config: &Arc<ClientConfig>, clients: usize) {
    let (stdin, mut pem) = io::pipe().expect("a pipe");
    pem.write_all(format!("{chain}\0{key}").as_bytes()).expect("a pipe holds as much");
    drop(pem);
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["serve", name]).stdin(stdin);
    let server = process::Server::spawn(name, &mut command).expect("this program runs");
    let open = |clients: usize| -> Vec<_> {
        let clients = (0..clients).map(|_| {
            let mut tls = connect(server.addr, config);
            tls.write_all(&[7; MESSAGE]).and_then(|()| tls.flush()).expect("it reads");
            tls.read_exact(&mut [0; MESSAGE]).expect("it echoes");
            tls
        });
        clients.collect()
    };
    let _warm = open(clients.div_ceil(10));
    let before = server.resident().expect("it runs");
    let _idle = open(clients);
    let added = server.resident().expect("it runs").saturating_sub(before);
    println!("an idle connection, {name}: {} bytes", added / clients as u64);
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if let Some(at) = args.iter().position(|arg| arg == "serve") {
        return serve(&args[at + 1]);
    }
    let is_test = args.iter().any(|arg| arg == "--test");
    let (rounds, shakes, echoed) = if is_test { (1, 2, 1) } else { (25, 100, 20) };

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let config = client_config(made.cert.der());
    if is_test || args.iter().any(|arg| arg == "idle") {
        for name in ["ours", "tokio-rustls"] {
            idle(name, &chain, &key, &config, if is_test { 10 } else { IDLE });
        }
        if !is_test {
            return;
        }
    }
    let servers =
        [ours(chain.clone(), key.clone()), theirs(chain.clone(), key.clone()), theirs(chain, key)];

    let rows: Vec<_> = (0..rounds)
        .map(|_| [0, 1, 2].map(|at: usize| handshakes(&servers[at], &config, shakes)))
        .collect();
    report("a handshake", &rows);

    let mut clients = [0, 1, 2].map(|at: usize| -> Vec<_> {
        (0..CLIENTS).map(|_| servers[at].connect(&config)).collect()
    });
    let rows: Vec<_> = (0..rounds)
        .map(|_| [0, 1, 2].map(|at: usize| echoes(&servers[at], &mut clients[at], echoed)))
        .collect();
    report("a message of 16 KiB, 64 clients", &rows);
}
