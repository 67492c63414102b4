//! Peers with a datagram socket, that do as they are told, one thing after the other.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use super::peer::{AT_REST, text};
use crate::base::address::Address;
use crate::kernel::{Actor, Kernel, State, nanos};

/// A simulated peer with a datagram socket; [`Sim::bind`](super::Sim::bind) makes it.
///
/// What it is told to do it does in order, each thing when the one before is done. It receives all the
/// while, unless it is told to [`stop_reading`](Self::stop_reading), and what has come stays in its
/// inbox until an expectation or [`recv`](Self::recv) takes it. Dropping it changes nothing.
pub struct DatagramPeer {
    kernel: Kernel,
    /// Its number among the sockets.
    port: u32,
    script: Arc<Mutex<Script>>,
}

impl DatagramPeer {
    pub(super) fn new(kernel: Kernel, at: Address, script: Arc<Mutex<Script>>) -> Self {
        let actor = Box::new(Player(Arc::clone(&script)));
        let bound = kernel.state().peer_binds(at.clone(), None, actor);
        let port = bound.unwrap_or_else(|error| panic!("cannot bind {at}: {error}"));
        DatagramPeer { kernel, port, script }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn then(&self, step: Step) {
        self.script().steps.push_back(step);
        self.kernel.state().stir_port(self.port);
    }

    /// Then sends one datagram. On a Unix socket it waits until the receiver has room. What the
    /// kernel refuses (it is too long, or no socket is bound to that path) is not sent, and is no failure.
    ///
    /// # Panics
    ///
    /// If `to` is no address.
    #[track_caller]
    pub fn send_to(&self, to: &str, payload: impl AsRef<[u8]>) {
        self.then(Step::Send(address(to), payload.as_ref().into()));
    }

    /// Then waits until this datagram has come, and takes it out of the inbox. Others that come before
    /// it, or twice, stay there: on a network that loses and reorders they are no failure.
    pub fn expect(&self, payload: impl AsRef<[u8]>) {
        self.then(Step::Expect(payload.as_ref().into()));
    }

    /// Then does nothing for so long, but receive.
    pub fn wait(&self, time: Duration) {
        self.then(Step::Wait(time, None));
    }

    /// Then receives no more: what comes fills the kernel's queue, and is lost when that is full
    /// (UDP), or its sender is told to wait (Unix).
    pub fn stop_reading(&self) {
        self.then(Step::Reading(false));
    }

    /// Then receives again.
    pub fn resume_reading(&self) {
        self.then(Step::Reading(true));
    }

    /// Then closes its socket.
    pub fn close(&self) {
        self.then(Step::Close);
    }

    /// From now on answers each datagram that it receives, as it comes, with what `answer` makes of
    /// it; `None`: not at all. It is a server, then: what it answers does not go to the inbox.
    pub fn answer(&self, answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static) {
        self.script().answer = Some(Box::new(answer));
        self.kernel.state().stir_port(self.port);
    }

    /// Takes what it has received and no expectation has taken: from where, and what.
    #[must_use]
    pub fn recv(&self) -> Vec<(Address, Vec<u8>)> {
        std::mem::take(&mut self.script().inbox)
    }

    /// Whether all it was told is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.script().steps.is_empty()
    }

    /// Where it is bound.
    #[must_use]
    pub fn addr(&self) -> Address {
        self.kernel.state().mail.ports[self.port as usize].address.clone()
    }
}

impl fmt::Debug for DatagramPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramPeer").field("number", &self.port).finish_non_exhaustive()
    }
}

#[track_caller]
pub(super) fn address(text: &str) -> Address {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

enum Step {
    Send(Address, Box<[u8]>),
    Expect(Box<[u8]>),
    /// And until when, once it has begun.
    Wait(Duration, Option<u64>),
    Reading(bool),
    Close,
}

/// What a server makes of what comes.
type Answer = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

/// What a peer has to do, and what came.
pub(super) struct Script {
    steps: VecDeque<Step>,
    /// Received, and not taken.
    inbox: Vec<(Address, Vec<u8>)>,
    answer: Option<Answer>,
    reading: bool,
}

impl Default for Script {
    fn default() -> Self {
        Script { steps: VecDeque::new(), inbox: Vec::new(), answer: None, reading: true }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}

/// Plays a script.
struct Player(Arc<Mutex<Script>>);

impl Actor for Player {
    fn act(&mut self, net: &mut State, port: u32) {
        let mut script = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            script.receive(net, port);
            let Some(mut step) = script.steps.pop_front() else { return };
            if !script.play(&mut step, net, port) {
                script.steps.push_front(step);
                return;
            }
        }
    }
}

impl Script {
    fn receive(&mut self, net: &mut State, port: u32) {
        while self.reading {
            let Some(packet) = net.peer_receives(port) else { return };
            if let Some(answer) = &mut self.answer {
                if let Some(payload) = answer(&packet.payload) {
                    // A client that cannot be answered asks again, or does not.
                    let _ = net.peer_sends_to(port, &payload, &packet.from);
                }
            } else {
                self.inbox.push((packet.from, packet.payload.to_vec()));
            }
        }
    }

    /// Goes on with a step. Returns whether it is done.
    fn play(&mut self, step: &mut Step, net: &mut State, port: u32) -> bool {
        match step {
            Step::Send(to, payload) => {
                return net.peer_sends_to(port, payload, to) != Err(Errno::AGAIN);
            }
            Step::Expect(wanted) => {
                let found = self.inbox.iter().position(|(_, payload)| **payload == **wanted);
                let Some(found) = found else { return false };
                self.inbox.remove(found);
            }
            Step::Wait(time, until) => {
                let until = *until.get_or_insert_with(|| {
                    net.act_port_after(port, nanos(*time));
                    net.now.saturating_add(nanos(*time))
                });
                return net.now >= until;
            }
            Step::Reading(reading) => self.reading = *reading,
            Step::Close => net.peer_unbinds(port),
        }
        true
    }

    /// What has not come, and will not come.
    pub(super) fn complaint(&self) -> Option<String> {
        let Some(Step::Expect(wanted)) = self.steps.front() else { return None };
        let got: Vec<_> = self.inbox.iter().take(10).map(|(_, payload)| text(payload)).collect();
        let got = if got.is_empty() { "nothing".into() } else { got.join(", ") };
        Some(format!("still expects {}, got {got}, {AT_REST}", text(wanted)))
    }
}
