//! Work that takes long, done on threads: whoever sends a number gets its prime factors.
//!
//! The reactor's one thread must not compute, or all clients wait. A pool of threads does, and posts
//! the answers back to the connection that asked. Answers leave in the order of the questions,
//! whichever was done first; how much may be under way is bounded, for each client and in all, and
//! who is over it is not read from. Try it:
//!
//! ```sh
//! cargo run --release --example offload
//! printf '1000000016000000063\n12\n' | nc -N 127.0.0.1 6666
//! ```

mod common;

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use wouldblock::{Config, Conn, ConnId, Context, Handle, Handler, Input, Origin, Reactor};

/// Questions of one client that may be under way.
const EACH_MAX: usize = 16;

/// Finds the prime factors of what it is sent, a number a line, on a pool of threads.
#[derive(clap::Parser)]
#[command(name = "offload", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: String,
    /// How many threads work [default: as many as there are processors]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// How many questions may be under way in all; a client that asks more waits
    #[arg(long, value_name = "N", default_value_t = 256, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    questions: u16,
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

/// A question on its way to a thread.
struct Job {
    id: ConnId,
    /// Which of its client's questions it is.
    number: u64,
    question: String,
    /// Gone when the client is: then the answer is not needed.
    client: Weak<()>,
}

struct Offload {
    /// Where the threads take their work from. No lock and no bound: `under_way` counts.
    jobs: Sender<Job>,
    /// Questions asked and not done, those of clients who left included.
    under_way: usize,
    under_way_max: usize,
    /// Clients that are not read from because too much is under way in all, in order. Some may have
    /// left.
    waiting: Vec<ConnId>,
}

/// What we know of one client.
#[derive(Default)]
struct Client {
    /// How many questions were answered: the number of the first below.
    answered: u64,
    /// The questions under way, in order, with the answers that are there already.
    answers: VecDeque<Option<String>>,
    /// Not read from because so much of its own is under way.
    is_full: bool,
    /// Nothing more will be asked: close after the last answer.
    has_ended: bool,
    /// Kept as long as the client is.
    here: Arc<()>,
}

impl Offload {
    fn ask(&mut self, conn: &mut Conn<'_>, client: &mut Client, line: &[u8]) {
        let job = Job {
            id: conn.id(),
            number: client.answered + client.answers.len() as u64,
            question: String::from_utf8_lossy(line).trim().to_owned(),
            client: Arc::downgrade(&client.here),
        };
        client.answers.push_back(None);
        self.under_way += 1;
        // A shutdown is to wait for the answer.
        conn.hold(true);
        self.jobs.send(job).expect("the threads end after the reactor");
    }

    /// An answer is there: sends it, with those that waited for it.
    fn answer(conn: &mut Conn<'_>, client: &mut Client, number: u64, answer: String) {
        let place = usize::try_from(number - client.answered).expect("at most EACH_MAX");
        client.answers[place] = Some(answer);
        while let Some(Some(_)) = client.answers.front() {
            let answer = client.answers.pop_front().flatten().unwrap_or_default();
            client.answered += 1;
            conn.send(answer);
        }
        if client.answers.is_empty() {
            conn.hold(false);
            if client.has_ended {
                conn.close();
            }
        }
        if std::mem::take(&mut client.is_full) {
            // What it sent meanwhile is offered again.
            conn.resume();
        }
    }

    /// A question is done, whether or not its client is still there.
    fn done(&mut self, cx: &mut Context) {
        self.under_way -= 1;
        // All of them: those that find a place take it, the others come back here in their order. A place
        // kept for one client that has nothing to ask would stay empty.
        for id in self.waiting.drain(..) {
            if let Some(mut conn) = cx.conn(id) {
                conn.resume();
            }
        }
    }
}

impl Handler for Offload {
    type Session = Client;

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<Client> {
        Ok(Client::default())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        loop {
            // Asked before a line is taken, so that it stays where it is until we resume.
            if client.answers.len() >= EACH_MAX {
                client.is_full = true;
                conn.pause();
                return Ok(());
            }
            if self.under_way >= self.under_way_max {
                conn.pause();
                self.waiting.push(conn.id());
                return Ok(());
            }
            let Some(line) = input.line() else { return Ok(()) };
            self.ask(conn, client, line);
        }
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        client.has_ended = true;
        if !rest.is_empty() {
            // A last line without its end. It is one more than the bounds allow, at most.
            self.ask(conn, client, rest.take_all());
        }
        if client.answers.is_empty() {
            conn.close();
        }
        Ok(())
    }
}

/// What a thread does: takes a question, answers it, tells that it is done.
fn work(jobs: &Mutex<Receiver<Job>>, handle: &Handle<Offload>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // The reactor is gone, and with it every client that could ask.
        let Ok(Job { id, number, question, client }) = job else { return };
        if client.strong_count() > 0 {
            let answer = factors(&question);
            // Not taken only after the end: fewer are under way than may be queued.
            let _ = handle.post_to(id, move |_, conn, client| {
                Offload::answer(conn, client, number, answer);
                Ok(())
            });
        }
        // Apart from the answer, which is dropped if the client left meanwhile.
        if handle.post(Offload::done).is_err() {
            return;
        }
    }
}

/// The prime factors of a number, found the slow way.
fn factors(question: &str) -> String {
    let Ok(number) = question.parse::<NonZero<u64>>() else {
        return format!("{question:?} is no number from 1 to {}\n", u64::MAX);
    };
    let mut rest = number.get();
    let mut factors = Vec::new();
    let mut divisor = 2;
    while divisor <= rest / divisor {
        if rest.is_multiple_of(divisor) {
            rest /= divisor;
            factors.push(divisor.to_string());
        } else {
            divisor += if divisor == 2 { 1 } else { 2 };
        }
    }
    if rest > 1 || factors.is_empty() {
        factors.push(rest.to_string());
    }
    format!("{number} = {}\n", factors.join(" * "))
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    let (jobs, work_left) = mpsc::channel();
    let offload = Offload {
        jobs,
        under_way: 0,
        under_way_max: arguments.questions.into(),
        waiting: Vec::new(),
    };
    // A line is a number.
    let mut reactor = Reactor::with_config(offload, Config::default().input_max(4096))?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = arguments.threads.map_or(processors, usize::from);
    let work_left = Arc::new(Mutex::new(work_left));
    for n in 0..threads {
        let (work_left, handle) = (Arc::clone(&work_left), reactor.handle());
        let worker = thread::Builder::new().name(format!("worker {n}"));
        worker.spawn(move || work(&work_left, &handle))?;
    }

    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    reactor.run()?;
    // What a thread still computes is wanted by no client: it ends with the program.
    common::say(format_args!("served {} connections", reactor.stats().accepted));
    Ok(())
}
