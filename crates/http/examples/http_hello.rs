//! A small HTTP server: a page, a counter, what you send, and an answer that a thread works out.
//!
//! ```sh
//! cargo run --release -p wouldblock-http --example http_hello
//! curl -i http://127.0.0.1:8080/
//! curl -d 'some text' http://127.0.0.1:8080/echo
//! curl 'http://127.0.0.1:8080/slow' & curl http://127.0.0.1:8080/
//! curl http://127.0.0.1:8080/numbers | tail -1
//! head -c 1G /dev/zero | curl -T - http://127.0.0.1:8080/upload
//! ab -l -k -n 100000 -c 64 http://127.0.0.1:8080/   # -l: the page has a number, so lengths differ
//! ```

#[path = "../../../examples/common/mod.rs"]
mod common;

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use wouldblock::bytes::Bytes;
use wouldblock::{Config, ConnId, ConnMap, Handle, Reactor, chunks};
use wouldblock_http::http::header::{ALLOW, HeaderValue};
use wouldblock_http::http::{Method, StatusCode};
use wouldblock_http::{Body, Cx, Http, Piece, Request, Requests, Responder, Response};

/// A small HTTP server, with the limits for the open internet.
#[derive(clap::Parser)]
#[command(name = "http_hello", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = common::stream_address)]
    listen: String,
}

struct Hello {
    visits: u64,
    handle: Handle<Http<Hello>>,
    /// Bytes that have come of each upload, and what answers it.
    uploads: ConnMap<(u64, Responder)>,
}

impl Requests for Hello {
    /// What is uploaded is counted as it comes, however long it is; other bodies are small.
    fn on_head(&mut self, _: &mut Cx<'_>, request: &Request<'_>) -> Body {
        match request.path() {
            "/upload" => Body::Pieces { max: u64::MAX },
            _ => Body::Whole,
        }
    }

    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        let response = match (request.method(), request.path()) {
            (&Method::GET | &Method::HEAD, "/") => {
                self.visits += 1;
                Response::text(format!("hello, visitor {}\n", self.visits))
            }
            (&Method::POST, "/echo") => Response::text(request.body().to_vec()),
            (&Method::GET, "/slow") => return self.work_out(responder),
            // A million lines, of which a few are in memory at a time.
            (&Method::GET, "/numbers") => {
                let lines = (1..=1_000_000).map(|n| Bytes::from(format!("{n}\n")));
                Response::new(StatusCode::OK).body_chunked(chunks(lines))
            }
            (&Method::PUT, "/upload") if request.has_more() => {
                self.uploads.insert(request.conn(), (0, responder));
                return;
            }
            (&Method::PUT, "/upload") => Response::text("0 bytes\n"),
            (_, "/" | "/echo" | "/slow" | "/numbers" | "/upload") => {
                let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT");
                Response::new(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, allowed)
            }
            _ => Response::text("no such page\n").with(StatusCode::NOT_FOUND),
        };
        responder.send(cx, response);
    }

    fn on_body(&mut self, cx: &mut Cx<'_>, conn: ConnId, piece: Piece<'_>) {
        match piece {
            Piece::Bytes(bytes) => {
                let (count, _) = self.uploads.get_mut(conn).expect("its request came before");
                *count += bytes.len() as u64;
            }
            Piece::End => {
                let (count, responder) =
                    self.uploads.remove(conn).expect("its request came before");
                responder.send(cx, Response::text(format!("{count} bytes\n")));
            }
        }
    }

    fn on_abandoned(&mut self, _: &mut Cx<'_>, responder: Responder) {
        self.uploads.remove(responder.conn());
    }
}

impl Hello {
    /// What takes long is done on a thread, which posts the answer; the others are served meanwhile.
    fn work_out(&mut self, responder: Responder) {
        let handle = self.handle.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(1));
            // Refused only when the server has ended.
            let _ = handle.post(move |http, cx| {
                let (hello, mut cx) = http.parts(cx);
                let page = format!("worked out; {} visits meanwhile\n", hello.visits);
                responder.send(&mut cx, Response::text(page));
            });
        });
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    common::raise_descriptor_limit();
    let hello = |handle| Http::new(Hello { visits: 0, handle, uploads: ConnMap::new() });
    let mut reactor = Reactor::build(Config::public(), hello)?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    reactor.run()?;
    common::say(format_args!("served {} connections", reactor.stats().accepted));
    Ok(())
}
