//! Shutdown: asked for, begun, over.

use super::{Reactor, State};
use crate::base::id::{ListenerId, Origin};
use crate::core::Shutdown;
use crate::core::accept::Accepted;
use crate::handler::Handler;

impl<H: Handler> Reactor<H> {
    /// Notes what other threads asked for.
    #[inline]
    pub(super) fn take_commands(&mut self) {
        if self.inbox.0.is_shutdown_now() {
            self.cx.shutdown_now();
        } else if self.inbox.0.is_shutdown() {
            self.cx.shutdown();
        }
    }

    /// Does what was asked for: by other threads, by callbacks, or by the deadline of shutdown.
    pub(super) fn apply_commands(&mut self) {
        self.take_commands();
        match self.cx.core.ending.level() {
            Shutdown::No | Shutdown::Begun | Shutdown::Ending => {}
            Shutdown::Asked => self.leave(true),
            Shutdown::AskedNow => {
                self.inbox.0.posts.end();
                self.leave(false);
                self.cx.core.advance_shutdown(Shutdown::Ending);
                self.cx.core.cut_all();
            }
        }
    }

    /// Takes nothing new; `orderly`: but what waits in the backlog already.
    #[cold]
    fn leave(&mut self, orderly: bool) {
        if self.state == State::Leaving {
            return;
        }
        // Callbacks come last in each step, so that one that panics leaves the rest to be done.
        for listener in self.cx.core.listener_ids() {
            self.cx.core.close_intake(listener);
            if orderly {
                self.accept_who_waits(listener);
            }
            self.cx.core.close_listener(listener);
        }
        self.state = State::Leaving;
        if orderly {
            // Otherwise the order stands until all are cut, whatever `on_shutdown` does. An `on_open`
            // just now may have given that order.
            self.cx.core.advance_shutdown(Shutdown::Begun);
        }
        self.cx.core.begin_leaving();
        self.call_aside(&"on_shutdown", None, H::on_shutdown);
        // What that has sent has its whole time, too.
        self.cx.core.bound_leaving();
    }

    /// To close a listener resets what is in its backlog (trap 25), so that is accepted first. Not
    /// more than can have waited when this began: others may go on connecting.
    fn accept_who_waits(&mut self, listener: ListenerId) {
        for _ in 0..self.cx.core.waiting_max(listener) {
            match self.cx.core.accept(listener) {
                Accepted::Opened(conn) => self.open(conn, Origin::Accepted(listener)),
                // In shutdown no connection is closed to make room.
                Accepted::Skipped | Accepted::Reclaimed => {}
                Accepted::Stopped => return,
            }
        }
    }

    /// After a turn in shutdown: whether all connections have left. Datagram sockets go last: answers of
    /// connections and of posted closures may leave by them.
    #[cold]
    pub(super) fn check_empty(&mut self) {
        if !self.inbox.0.posts.is_waiting() {
            self.cx.core.leave_sockets();
        }
        if self.cx.core.is_empty() {
            self.end();
        }
    }

    /// All have left: the end, once what was posted has run. Nothing is accepted meanwhile, so
    /// there is an end to that.
    #[cold]
    pub(super) fn end(&mut self) {
        let posts = &self.inbox.0.posts;
        posts.close();
        self.run_posts(usize::MAX);
        self.state = State::Over;
        self.cx.core.end_report("shutdown complete");
    }

    /// Aborts everything, each connection with its `on_close`.
    #[cold]
    pub(super) fn give_up(&mut self) {
        for listener in self.cx.core.listener_ids() {
            self.cx.core.close_listener(listener);
        }
        self.state = State::Over;
        self.inbox.0.posts.end();
        // Refuses whatever a callback would open.
        self.cx.core.advance_shutdown(Shutdown::Ending);
        self.cx.core.begin_report();
        self.cx.core.cut_all();
        self.cx.core.end_report("gave up");
        self.tell_the_rest();
    }

    /// Tells of the connections that are cut. Again after a panic that the application caught: then
    /// of those that are left.
    pub(super) fn tell_the_rest(&mut self) {
        // Callbacks may still send and close, but open nothing: this comes to an end.
        while !self.cx.core.is_empty() {
            self.follow_effects();
            self.cx.core.recycle();
        }
    }
}
