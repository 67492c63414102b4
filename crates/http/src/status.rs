//! A page that shows the server: a service beside any handler.
//!
//! It is an HTTP server of its own, on the same loop, so it needs no lock to look at what it shows.
//! Here is what it answers, to whom, and how it leaves. Read next: `status/page.rs`,
//! `status/metrics.rs`, `status/list.rs`.

use std::fmt;
use std::io;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use wouldblock::bytes::Bytes;
use wouldblock::{
    Address, Caps, CloseReason, Closed, Conn, ConnId, Context, Handler, Input, Listen, Origin,
    Timer,
};

use crate::answers::{Cx, Responder, Stream};
use crate::events::{Event, Events};
use crate::requests::{Request, Requests};
use crate::response::Response;
use crate::server::Http;
pub use board::Board;
use board::{Ear, Told};
use list::List;
use page::{Live, View};
use sample::{History, Sample};

mod board;
mod list;
mod metrics;
mod page;
mod sample;

/// Between two looks at the reactor, which viewers are sent.
const PERIOD: Duration = Duration::from_secs(1);
/// In a shutdown: whether all others have left.
const LEAVING_PERIOD: Duration = Duration::from_millis(50);
/// The tag of the timer for that.
const LEAVING: u64 = 1;
/// A reactor of several that has told nothing of itself for so many seconds is shown as silent;
/// then as ill.
pub(crate) const SILENT_SHOWN: u32 = 2;
const SILENT_ILL: u32 = 10;
/// In a shutdown: after so many looks it holds up nothing any more.
const SILENT_LEAVING: u32 = 20;
const VIEWERS_MAX: usize = 16;
/// Clients that take a list of all connections at a time.
const LISTS_MAX: usize = 4;
/// Connections of this service: those, and the short requests of others.
const CONNECTIONS_MAX: usize = 64;
/// Places kept back for it.
const RESERVE: usize = 8;
/// However long the other services wait: clients that say nothing are not to fill this service's places.
const FIRST_BYTE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);

/// What every answer bears. The page runs its own script and no other, and is in no frame.
const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
];

/// A page that shows the server it is part of: a [service](wouldblock::Context::service) beside any
/// handler.
///
/// ```no_run
/// use wouldblock::{Config, Reactor, handler_fn};
/// use wouldblock_http::Status;
///
/// fn main() -> std::io::Result<()> {
///     let echo = handler_fn(|conn, input| {
///         conn.send(input.take_all());
///         Ok(())
///     });
///     // The one line: `echo` alone has become `(echo, Status::at(..))`.
///     let mut reactor = Reactor::with_config((echo, Status::at("127.0.0.1:9090")), Config::public())?;
///     reactor.listen("127.0.0.1:6666")?;
///     reactor.run()
/// }
/// ```
///
/// | path | what it shows |
/// |---|---|
/// | `/` | the page: connections, traffic, how busy the loop is, lag, memory, services, why connections ended; live, and whole without scripts |
/// | `/metrics` | the same for [Prometheus](https://prometheus.io): `OpenMetrics` 1.0, or text 0.0.4 for a client that accepts only `text/plain` |
/// | `/healthz` | 200 and `ok`; in a shutdown 503 and `shutting down` |
/// | `/connections` | each connection, and [what it waits for](wouldblock::Conn::explain): a line each, or JSON (`/connections.json`, or `Accept: application/json`) |
///
/// # Who may look
///
/// Peers on this machine: loopback addresses and Unix sockets, unless [`from`](Self::from) says
/// otherwise; others have 403. And of a browser only what names the machine by `localhost`, an
/// address, or one of the [`hosts`](Self::host): a page of a stranger whose name resolves to
/// 127.0.0.1 has 403 (DNS rebinding). There is nothing that a request could change. Behind a proxy
/// on this machine every client is of this machine: who may look is then for the proxy to say.
///
/// # When the server is full
///
/// When it starts, the service sets its [caps](Self::caps): 64 connections, which end when they are
/// silent for 10 s at first or idle for 60 s, and 8 places kept back (a quarter of all, where that
/// is less), so that it answers when the others are at their
/// [limit](wouldblock::Config::connections).
///
/// # In a shutdown
///
/// All listeners close when it begins, this service's too: a new connection is refused, which any
/// probe takes for ill. The connections that are there stay while connections of other services are
/// left: on them `/healthz` is 503, and the page shows the rest go. Then they are closed. They hold
/// up nothing: [`shutdown_max`](wouldblock::Config::shutdown_max) counts.
///
/// # Cost
///
/// One timer, once a second, that copies some counters. The page is drawn once a second for all its
/// viewers, while there is one.
///
/// # Limits
///
/// | what | at the bound |
/// |---|---|
/// | live viewers, [16](Self::viewers) | 503; the page is readable, and reloads |
/// | a viewer that does not take its news | is skipped until it does; after [`write_stall`](wouldblock::Config::write_stall) it ends |
/// | lists of connections at a time, 4 | 503 |
/// | a list of connections | sent as it is taken, at most [`output_high`](wouldblock::Config::output_high) ahead |
pub struct Status {
    http: Http<Pages>,
    listen: Vec<Listen>,
    caps: Option<Caps>,
}

/// Which peers may look.
type Peers = Box<dyn FnMut(&Address) -> bool + Send>;

/// What answers.
struct Pages {
    title: String,
    names: Vec<String>,
    hosts: Vec<String>,
    from: Peers,
    viewers_max: usize,
    /// Where the reactors of the server meet, and which of them this is.
    board: Board,
    number: usize,
    /// For how many seconds the others have been silent; and in a shutdown, where looks are more
    /// often, for how many of those.
    ear: Ear,
    leaving_ear: Ear,
    history: History,
    /// The feed of the pages that are live.
    events: Events,
    /// Lists of connections on their way.
    lists: Vec<(Stream, List)>,
    leaving: bool,
}

impl Status {
    /// A service that listens where the program says: `reactor.service(1).listen(..)`.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a service is made on purpose")]
    pub fn new() -> Self {
        let pages = Pages {
            title: name_of_program(),
            names: Vec::new(),
            hosts: Vec::new(),
            from: Box::new(is_local),
            viewers_max: VIEWERS_MAX,
            board: Board::new(1),
            number: 0,
            ear: Ear::default(),
            leaving_ear: Ear::default(),
            history: History::default(),
            // One that was behind needs the newest, and no other.
            events: Events::new().history(1, 1 << 20).retry(PERIOD * 2),
            lists: Vec::new(),
            leaving: false,
        };
        Status { http: Http::new(pages).body_max(1 << 10), listen: Vec::new(), caps: None }
    }

    /// A service that listens there, from the reactor's first turn on: `"127.0.0.1:9090"`,
    /// `"unix:/run/status.sock"`, whatever is [`Listen`]. Where it cannot, that turn returns the
    /// error.
    #[must_use]
    pub fn at(listen: impl Into<Listen>) -> Self {
        let mut status = Status::new();
        status.listen.push(listen.into());
        status
    }

    /// Of reactor `number` of a [`Server`](wouldblock::Server): what is asked of one shows all that
    /// have the same `board`. Only number 0 listens where [`at`](Self::at) says; to ask another by
    /// itself, listen in its reactor, too.
    ///
    /// The page, and what is drawn over time, is the sum over all, with a table of the reactors;
    /// `/metrics` has each of them, by the label `reactor`. What is shown of another reactor is at
    /// most a second old, unless it is silent: one that does not come to its timer, since a
    /// callback of it takes long, is shown as that after 3 s, and after 10 s `/healthz` is 503.
    /// `/connections` are those of the reactor that answers, and says how many the others have.
    ///
    /// # Panics
    ///
    /// If the board is for fewer reactors.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use wouldblock::{Config, Server, handler_fn};
    /// use wouldblock_http::{Board, Status};
    ///
    /// fn main() -> std::io::Result<()> {
    ///     let board = Board::new(4);
    ///     let mut server = Server::with_config(4, Config::public(), |number, _server| {
    ///         let echo = handler_fn(|conn, input| {
    ///             conn.send(input.take_all());
    ///             Ok(())
    ///         });
    ///         Ok((echo, Status::at("127.0.0.1:9090").of_server(number, &board)))
    ///     })?;
    ///     server.listen("127.0.0.1:6666")?;
    ///     server.run()
    /// }
    /// ```
    #[must_use]
    #[track_caller]
    pub fn of_server(mut self, number: usize, board: &Board) -> Self {
        assert!(number < board.reactors(), "the board is for {} reactors", board.reactors());
        let pages = self.http.requests_mut();
        (pages.board, pages.number) = (board.clone(), number);
        if number > 0 {
            self.listen.clear();
        }
        self
    }

    /// What stands at the head of the page. Default: the name of the program.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.http.requests_mut().title = title.into();
        self
    }

    /// Names of the services, in the order of their numbers: in the place of the numbers, on the
    /// page and in the label `service`.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock_http::Status;
    ///
    /// let status = Status::at("127.0.0.1:0").names(["echo", "status"]);
    /// ```
    #[must_use]
    pub fn names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.http.requests_mut().names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Which peers may look, in the place of those of this machine.
    ///
    /// # Examples
    ///
    /// Those of a network, under a name that their browsers know it by:
    ///
    /// ```
    /// use std::net::IpAddr;
    /// use wouldblock_http::Status;
    ///
    /// let status = Status::at("10.1.2.3:9090")
    ///     .from(|peer| matches!(peer.ip(), Some(IpAddr::V4(ip)) if ip.octets()[0] == 10))
    ///     .host("status.example");
    /// ```
    #[must_use]
    pub fn from(mut self, from: impl FnMut(&Address) -> bool + Send + 'static) -> Self {
        self.http.requests_mut().from = Box::new(from);
        self
    }

    /// One more name by which a browser may know the server, without a port, in whatever case.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.http.requests_mut().hosts.push(host.into());
        self
    }

    /// The most pages that are live at a time. Default 16.
    #[must_use]
    pub fn viewers(mut self, viewers: usize) -> Self {
        self.http.requests_mut().viewers_max = viewers;
        self
    }

    /// The caps that the service sets itself when it starts, in the place of its own.
    #[must_use]
    pub fn caps(mut self, caps: Caps) -> Self {
        self.caps = Some(caps);
        self
    }
}

/// The name of the program, from the command line.
fn name_of_program() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name =
        std::path::Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "wouldblock".into())
}

/// Whether a peer is on this machine.
fn is_local(peer: &Address) -> bool {
    match peer {
        Address::Ip(addr) => addr.ip().to_canonical().is_loopback(),
        Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => true,
        _ => false,
    }
}

/// The host of a `Host` header, without its port.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

impl Pages {
    /// Why a request is not for this peer, or came by a name that is not ours.
    fn refusal(&mut self, request: &Request<'_>) -> Option<&'static str> {
        if !(self.from)(request.peer()) {
            return Some("this page is not for your address\n");
        }
        // No page of another is on a Unix socket, and no browser is without a Host.
        let (Some(host), Some(_)) = (request.host(), request.peer().ip()) else { return None };
        let host = without_port(host);
        let known = host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok()
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
        (!known).then_some(
            "this server does not know that name: it is reached by localhost or its address\n",
        )
    }

    /// Looks at this reactor, tells the others, and takes what they have told.
    fn look(&mut self, cx: &mut Context) -> Looked {
        let sample = Sample::take(cx, self.leaving);
        self.board.put(self.number, sample.clone(), cx.service_stats().open);
        let all = self.board.all();
        let told = all.iter().flatten().map(|told| &told.sample);
        let total = if self.is_alone() { None } else { Sample::total(told) };
        let total = Sample { at: sample.at, ..total.unwrap_or(sample) };
        let mut reactors = Vec::with_capacity(all.len());
        for (number, told) in all.into_iter().enumerate() {
            let silent = if number == self.number { 0 } else { self.ear.silent(number) };
            reactors.push((told, silent));
        }
        Looked { total, reactors }
    }

    fn is_alone(&self) -> bool {
        self.board.reactors() == 1
    }

    fn healthz(&self) -> Response {
        let mut others = (0..self.board.reactors()).filter(|number| *number != self.number);
        let ill = others.find(|number| self.ear.silent(*number) >= SILENT_ILL);
        match ill {
            _ if self.leaving => Response::text("shutting down\n"),
            Some(number) => {
                let seconds = self.ear.silent(number);
                Response::text(format!("reactor {number} has been silent for {seconds} s\n"))
            }
            None => return Response::text("ok\n"),
        }
        .with(StatusCode::SERVICE_UNAVAILABLE)
    }

    fn answer(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        let response = match self.refusal(request) {
            Some(why) => Response::text(why).with(StatusCode::FORBIDDEN),
            None if !matches!(*request.method(), Method::GET | Method::HEAD) => {
                let allowed = HeaderValue::from_static("GET, HEAD");
                let response = Response::text("there is nothing to change here\n");
                response.with(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, allowed)
            }
            None => match request.path() {
                "/" => {
                    let looked = self.look(cx);
                    Response::html(page::whole(&self.view(&looked)))
                }
                "/status.css" => of_type("text/css; charset=utf-8", page::STYLE),
                "/status.js" => of_type("text/javascript; charset=utf-8", page::SCRIPT),
                "/metrics" => self.metrics(cx, request.header("accept")),
                "/healthz" => self.healthz(),
                "/events" if self.events.clients() >= self.viewers_max => too_many("live pages"),
                "/events" if *request.method() == Method::GET => {
                    let response = guarded(Response::new(StatusCode::OK));
                    return self.events.subscribe_with(cx, request, responder, response);
                }
                "/connections" | "/connections.json" => {
                    return self.begin_list(cx, request, responder);
                }
                _ => Response::text("no such page\n").with(StatusCode::NOT_FOUND),
            },
        };
        let no_store = HeaderValue::from_static("no-store");
        responder.send(cx, guarded(response).header(CACHE_CONTROL, no_store));
    }

    fn metrics(&mut self, cx: &mut Cx<'_>, accept: Option<&str>) -> Response {
        let older = metrics::wants_prometheus(accept);
        let Looked { reactors, .. } = self.look(cx);
        let told = reactors
            .iter()
            .enumerate()
            .filter_map(|(number, (told, _))| told.as_ref().map(|told| (number, &told.sample)));
        let told: Vec<_> = told.collect();
        let silent: Vec<_> = reactors.iter().map(|(_, silent)| *silent).collect();
        let silent = (!self.is_alone()).then_some(&*silent);
        let text = metrics::render(&told, silent, &self.names, !older);
        of_type(if older { metrics::PROMETHEUS } else { metrics::OPEN_METRICS }, text)
    }

    fn begin_list(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        if self.lists.len() >= LISTS_MAX {
            return responder.send(cx, guarded(too_many("lists of connections")));
        }
        let accepts = request.header("accept").is_some_and(|it| it.contains("application/json"));
        let as_json = accepts || request.path() == "/connections.json";
        let kind = if as_json { "application/json" } else { "text/plain; charset=utf-8" };
        let no_store = HeaderValue::from_static("no-store");
        let response = guarded(of_type(kind, "")).header(CACHE_CONTROL, no_store);
        if *request.method() == Method::HEAD {
            return responder.send(cx, response);
        }
        let mut list = List::new(cx.present_connections(), as_json, self.names.clone());
        if !self.is_alone() {
            let told = self.board.all().into_iter().enumerate();
            let open = told.map(|(number, told)| (number, told.map_or(0, |it| it.sample.open())));
            let others = open.filter(|(number, _)| *number != self.number).collect();
            list = list.of_reactor(self.number, others);
        }
        let stream = responder.stream(cx, response);
        self.lists.push((stream, list));
        self.go_on(cx, stream);
    }

    /// Goes on with a list, where there is room.
    fn go_on(&mut self, cx: &mut Cx<'_>, stream: Stream) {
        let Some(at) = self.lists.iter().position(|(it, _)| *it == stream) else { return };
        if self.lists[at].1.send(cx, stream) {
            self.lists.swap_remove(at);
            stream.end(cx);
        }
    }

    fn view<'a>(&'a self, looked: &'a Looked) -> View<'a> {
        let (sample, reactors) = (&looked.total, &*looked.reactors);
        View { sample, history: &self.history, title: &self.title, names: &self.names, reactors }
    }

    /// Draws the page for all viewers, if there is one.
    fn publish(&mut self, cx: &mut Cx<'_>, looked: &Looked) {
        if self.events.clients() > 0 {
            let news = Live(&self.view(looked)).to_string();
            self.events.publish(cx, Event::new(&news));
        }
    }

    /// In a shutdown: leaves when the others have.
    fn leave(&mut self, cx: &mut Cx<'_>) {
        let Looked { reactors, .. } = self.look(cx);
        self.leaving_ear.listen(&self.board);
        for (number, (told, _)) in reactors.iter().enumerate() {
            let Some(Told { sample, own, .. }) = told else { continue };
            let stays = !sample.leaving || sample.open() > *own;
            if stays && (number == self.number || self.leaving_ear.silent(number) < SILENT_LEAVING)
            {
                return;
            }
        }
        self.events.end(cx);
        for id in cx.connections() {
            if let Some(mut conn) = cx.conn(id) {
                conn.hold(false);
            }
        }
    }
}

/// What is seen of a server at one moment.
struct Looked {
    /// Over all reactors.
    total: Sample,
    reactors: Vec<(Option<Told>, u32)>,
}

fn of_type(kind: &'static str, body: impl Into<Bytes>) -> Response {
    Response::new(StatusCode::OK).header(CONTENT_TYPE, HeaderValue::from_static(kind)).body(body)
}

fn too_many(what: &str) -> Response {
    let response = Response::text(format!("too many {what} at a time\n"));
    let later = HeaderValue::from_static("5");
    response.with(StatusCode::SERVICE_UNAVAILABLE).header(RETRY_AFTER, later)
}

/// Adds what every answer bears.
fn guarded(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        response = response.header(name, HeaderValue::from_static(value));
    }
    response
}

impl Requests for Pages {
    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        self.answer(cx, request, responder);
    }

    fn on_writable(&mut self, cx: &mut Cx<'_>, stream: Stream) {
        self.events.on_writable(cx, stream);
        self.go_on(cx, stream);
    }

    fn on_stream_closed(&mut self, _cx: &mut Cx<'_>, stream: Stream) {
        self.events.on_stream_closed(stream);
        self.lists.retain(|(it, _)| *it != stream);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        if timer.tag == LEAVING {
            return self.leave(cx);
        }
        self.ear.listen(&self.board);
        let looked = self.look(cx);
        self.history.add(looked.total.clone());
        self.publish(cx, &looked);
    }

    /// Has the live pages show it at once. The service stays while connections of others are left.
    fn on_shutdown(&mut self, cx: &mut Cx<'_>) {
        self.leaving = true;
        for id in cx.connections() {
            if let Some(mut conn) = cx.conn(id) {
                conn.hold(true);
            }
        }
        let looked = self.look(cx);
        self.publish(cx, &looked);
        cx.set_periodic_timer(LEAVING_PERIOD, LEAVING);
    }
}

impl Status {
    /// In a shutdown its connections stay while others are left, whatever of theirs has been answered.
    fn stay(&mut self, conn: &mut Conn<'_>) {
        if self.http.requests_mut().leaving {
            conn.hold(true);
        }
    }
}

impl Handler for Status {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        let most = cx.connections_max();
        let reserve = RESERVE.min(most / 4);
        let own = || {
            let caps = Caps::default().connections(CONNECTIONS_MAX.min(most)).reserve(reserve);
            caps.first_byte(Some(FIRST_BYTE)).idle(Some(IDLE))
        };
        cx.set_caps(self.caps.clone().unwrap_or_else(own))?;
        // Those that another handler made before this one go on: `Server::restart`.
        let goes_on = !cx.listeners().is_empty();
        for listen in self.listen.drain(..).filter(|_| !goes_on) {
            let id = cx.listen(listen)?;
            if let Ok(addr) = cx.listener_addr(id) {
                log::info!("status on {addr}");
            }
        }
        let pages = self.http.requests_mut();
        let looked = pages.look(cx);
        pages.history.add(looked.total);
        cx.set_periodic_timer(PERIOD, 0);
        self.http.on_start(cx)
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<()> {
        self.stay(conn);
        self.http.on_open(conn, origin)
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let done = self.http.on_data(conn, session, input);
        self.stay(conn);
        done
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut (),
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        self.http.on_eof(conn, session, rest)
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, session: &mut ()) -> io::Result<()> {
        let done = self.http.on_drain(conn, session);
        self.stay(conn);
        done
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut ()) -> io::Result<()> {
        self.http.on_timeout(conn, session)
    }

    fn on_closing(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut (),
        why: &CloseReason,
    ) -> io::Result<()> {
        self.http.on_closing(conn, session, why)
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, session: (), closed: Closed) {
        self.http.on_close(cx, id, session, closed);
    }

    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        self.http.on_timer(cx, timer);
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        self.http.on_shutdown(cx);
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("listen", &self.listen).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_its_port() {
        let hosts = ["localhost:80", "LOCALHOST", "[::1]:8080", "127.0.0.1", "evil.example:9"];
        let without = hosts.map(without_port);
        assert_eq!(without, ["localhost", "LOCALHOST", "::1", "127.0.0.1", "evil.example"]);
    }

    /// A peer of this machine, whatever family its address is written in.
    #[test]
    fn peers_of_this_machine_may_look() {
        let is = |addr: &str| is_local(&Address::Ip(addr.parse().unwrap()));
        assert!(
            is("127.0.0.1:1") && is("127.8.8.8:1") && is("[::1]:1") && is("[::ffff:127.0.0.1]:1")
        );
        assert!(!is("10.0.0.1:1") && !is("[::2]:1") && !is("[::ffff:10.0.0.1]:1"));
        assert!(is_local(&Address::Unnamed));
    }
}
