//! Peers that do as they are told, one thing after the other.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use crate::kernel::link::THERE;
use crate::kernel::{Actor, Kernel, Stage, State, nanos};

/// Behind what a peer still expects, where the world has come to rest.
pub(super) const AT_REST: &str = "and nothing more comes (unless by a deadline: see Sim::advance)";

/// A simulated peer.
///
/// What it is told to do it does in order, each thing when the one before is done: a send when the
/// network has taken all of it, an expectation when it has come true. It reads all the while,
/// unless it is told to [`stop_reading`](Self::stop_reading) or to
/// [`read_slowly`](Self::read_slowly). Dropping it changes nothing: it goes on, and stays
/// connected.
pub struct Peer {
    kernel: Kernel,
    script: Arc<Mutex<Script>>,
}

impl Peer {
    /// `link`: its connection, if it has one yet.
    pub(super) fn new(kernel: Kernel, link: Option<u32>, script: Arc<Mutex<Script>>) -> Self {
        let peer = Peer { kernel, script };
        peer.script().link = link;
        peer
    }

    fn then(&self, step: Step) {
        let mut script = self.script();
        script.steps.push_back(step);
        let link = script.link;
        drop(script);
        if let Some(link) = link {
            self.kernel.state().stir(link);
        }
    }

    fn stage(&self) -> Option<Stage> {
        let link = self.script().link?;
        Some(self.kernel.state().links[link as usize].stage)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Then sends these bytes, as the network takes them.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.then(Step::Send(bytes.as_ref().to_vec(), 0));
    }

    /// Then sends urgent data (tcp(7)), or on a Unix socket passes a descriptor along (unix(7)): the
    /// handler sees nothing of either, but a read stops there.
    pub fn send_urgent(&self) {
        self.then(Step::Mark);
    }

    /// Then waits until these bytes have come, the next ones that no other expectation or
    /// [`recv`](Self::recv) took. Others in their place are a failure; more behind them are not.
    pub fn expect(&self, bytes: impl AsRef<[u8]>) {
        self.then(Step::Expect(bytes.as_ref().to_vec(), 0));
    }

    /// Then waits for the other side's end. A byte before it, or a reset, is a failure.
    pub fn expect_end(&self) {
        self.then(Step::ExpectEnd);
    }

    /// Then waits for a reset. What arrives before it is read and forgotten.
    pub fn expect_reset(&self) {
        self.then(Step::ExpectReset);
    }

    /// Then does nothing for so long, but read.
    pub fn wait(&self, time: Duration) {
        self.then(Step::Wait(time, None));
    }

    /// Then stops reading: what is sent to it fills the kernel's buffers.
    pub fn stop_reading(&self) {
        self.then(Step::Reading(Reading::Not));
    }

    /// Then reads slowly, for as long as it is not told otherwise: at most `bytes`, and the next after
    /// `period`. With send buffers that grow ([`Profile::buffer_max`](super::Profile::buffer_max)) this
    /// is the client on a bad line, which takes something all the while and of which the server's kernel
    /// has no news for minutes.
    ///
    /// # Panics
    ///
    /// If `bytes` or `period` is zero.
    pub fn read_slowly(&self, bytes: usize, period: Duration) {
        assert!(bytes > 0 && !period.is_zero(), "a slow reader reads something, after a while");
        self.then(Step::Reading(Reading::Slowly { bytes, period: nanos(period), next: 0 }));
    }

    /// Then reads again, all that comes.
    pub fn resume_reading(&self) {
        self.then(Step::Reading(Reading::All));
    }

    /// Then ends its side (a half-close), and reads on.
    pub fn finish(&self) {
        self.then(Step::Finish);
    }

    /// Then closes: with an end, or, if it has not read all that came, with a reset.
    pub fn close(&self) {
        self.then(Step::Close(false));
    }

    /// Then resets.
    pub fn reset(&self) {
        self.then(Step::Close(true));
    }

    /// Takes what it has received and no expectation has taken.
    #[must_use]
    pub fn recv(&self) -> Vec<u8> {
        let mut script = self.script();
        if let Some(Step::Expect(_, came)) = script.steps.front_mut() {
            *came = 0; // it waits for the next ones
        }
        std::mem::take(&mut script.inbox)
    }

    /// Whether all it was told is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.script().steps.is_empty()
    }

    /// Whether it is, or was, connected: in the backlog, or accepted.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.stage() == Some(Stage::Established)
    }

    /// Whether there was no listener where it went.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.stage() == Some(Stage::Refused)
    }

    /// Whether it has read the other side's end.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.script().ended
    }

    /// Whether it was reset.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.script().reset
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("number", &self.script().link).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Step {
    /// And how many of the bytes are sent.
    Send(Vec<u8>, usize),
    Mark,
    /// And how many of the bytes have come: those are not compared again.
    Expect(Vec<u8>, usize),
    ExpectEnd,
    ExpectReset,
    /// And until when, once it has begun.
    Wait(Duration, Option<u64>),
    Reading(Reading),
    Finish,
    Close(bool),
}

/// How it reads.
#[derive(Clone, Copy, Debug)]
enum Reading {
    All,
    Not,
    /// At most so many bytes, from the moment `next` on; then that is so many nanoseconds later.
    Slowly {
        bytes: usize,
        period: u64,
        next: u64,
    },
}

/// What a peer has to do, and what it met.
#[derive(Debug)]
pub(super) struct Script {
    /// Its connection, once it has one.
    link: Option<u32>,
    steps: VecDeque<Step>,
    /// Received, and not taken.
    inbox: Vec<u8>,
    reading: Reading,
    ended: bool,
    reset: bool,
    /// An expectation that did not come true.
    complaint: Option<String>,
}

impl Default for Script {
    fn default() -> Self {
        Script {
            link: None,
            steps: VecDeque::new(),
            inbox: Vec::new(),
            reading: Reading::All,
            ended: false,
            reset: false,
            complaint: None,
        }
    }
}

/// Plays a script.
pub(super) struct Player(pub(super) Arc<Mutex<Script>>);

impl Actor for Player {
    fn act(&mut self, net: &mut State, link: u32) {
        let mut script = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        script.link = Some(link);
        loop {
            script.read(net, link);
            let Some(mut step) = script.steps.pop_front() else { return };
            if !script.play(&mut step, net, link) {
                script.steps.push_front(step);
                return;
            }
        }
    }
}

impl Script {
    fn read(&mut self, net: &mut State, link: u32) {
        let mut buf = [0; 4096];
        while !self.ended && !self.reset {
            let most = match &mut self.reading {
                Reading::All => buf.len(),
                Reading::Slowly { bytes, next, .. } if *next <= net.now => (*bytes).min(buf.len()),
                Reading::Not | Reading::Slowly { .. } => return,
            };
            match net.peer_read(link, &mut buf[..most]) {
                Ok(0) if !net.links[link as usize].link.ends[THERE].cut => self.ended = true,
                // After the reset was told to a write.
                Ok(0) => self.reset = true,
                Ok(n) => {
                    self.inbox.extend_from_slice(&buf[..n]);
                    if let Reading::Slowly { period, next, .. } = &mut self.reading {
                        *next = net.now.saturating_add(*period);
                        net.act_after(link, *period);
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(_) => self.reset = true,
            }
        }
    }

    /// Goes on with a step. Returns whether it is done.
    fn play(&mut self, step: &mut Step, net: &mut State, link: u32) -> bool {
        if net.links[link as usize].stage == Stage::Connecting && !matches!(step, Step::Reading(_))
        {
            return false;
        }
        match step {
            Step::Send(bytes, sent) => {
                while *sent < bytes.len() {
                    match net.peer_write(link, &bytes[*sent..]) {
                        Ok(n) => *sent += n,
                        Err(Errno::AGAIN) => return false,
                        // There is no connection to send to any more.
                        Err(_) => return true,
                    }
                }
            }
            Step::Mark => return net.peer_mark(link) != Err(Errno::AGAIN),
            Step::Expect(wanted, came) => {
                let have = self.inbox.len().min(wanted.len());
                let as_wanted = self.inbox[*came..have] == wanted[*came..have];
                *came = have;
                if !as_wanted || (have < wanted.len() && self.is_over()) {
                    self.complain(&format!("expected {}", text(wanted)));
                } else if have < wanted.len() {
                    return false;
                } else {
                    self.inbox.drain(..have);
                }
            }
            Step::ExpectEnd => {
                if !self.inbox.is_empty() || self.reset {
                    self.complain("expected the end");
                } else if !self.ended {
                    return false;
                }
            }
            Step::ExpectReset => {
                self.inbox.clear();
                if self.ended {
                    self.complain("expected a reset");
                } else if !self.reset {
                    return false;
                }
            }
            Step::Wait(time, until) => {
                let until = *until.get_or_insert_with(|| {
                    net.act_after(link, nanos(*time));
                    net.now.saturating_add(nanos(*time))
                });
                return net.now >= until;
            }
            Step::Reading(reading) => {
                self.reading = *reading;
                self.read(net, link);
            }
            Step::Finish => net.peer_finish(link),
            Step::Close(reset) => net.peer_close(link, *reset),
        }
        true
    }

    fn is_over(&self) -> bool {
        self.ended || self.reset
    }

    fn complain(&mut self, expected: &str) {
        let met = if self.reset {
            " and was reset"
        } else if self.ended {
            " and met the end"
        } else {
            ""
        };
        let got = text(&self.inbox);
        self.complaint.get_or_insert(format!("{expected}, got {got}{met}"));
    }

    /// What went wrong; `at_rest`: what has not come will not come.
    pub(super) fn complaint(&self, at_rest: bool) -> Option<String> {
        if self.complaint.is_some() || !at_rest {
            return self.complaint.clone();
        }
        let got = text(&self.inbox);
        match self.steps.front()? {
            Step::Expect(wanted, _) => {
                Some(format!("still expects {}, got {got}, {AT_REST}", text(wanted)))
            }
            Step::ExpectEnd => Some(format!("still expects the end, {AT_REST}")),
            Step::ExpectReset => Some(format!("still expects a reset, {AT_REST}")),
            _ => None,
        }
    }
}

/// Bytes as one would type them, the first of many.
pub(super) fn text(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(80)];
    let more = if bytes.len() > shown.len() { "..." } else { "" };
    format!("\"{}{more}\" ({} bytes)", shown.escape_ascii(), bytes.len())
}
