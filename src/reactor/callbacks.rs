//! The handler is called here, and a panic of it goes through or stays.
//!
//! One way for both: the panic is caught, and thrown on unless
//! [`isolate_panics`](crate::Config::isolate_panics) says that it stays. Where nothing panics that costs
//! nothing. What a panic leaves of a connection is `core/panic.rs`. A broken invariant of our own
//! outside of a callback is not caught.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Reactor;
use crate::base::id::ConnId;
use crate::context::Context;
use crate::handler::Handler;

/// Makes a call of the handler, which may be left in any state by a panic: that is what
/// `isolate_panics` says, and without it the panic goes on. What is ours is made good by
/// `Core::end_panicked`.
#[inline]
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(call))
}

impl<H: Handler> Reactor<H> {
    /// Calls the handler for no connection that is there, in the service that was entered before;
    /// `name`: in the log, if it panics; `of`: the connection that it is about.
    #[inline]
    pub(super) fn call_aside(
        &mut self,
        name: &'static &'static str,
        of: Option<ConnId>,
        callback: impl FnOnce(&mut H, &mut Context),
    ) {
        let (handler, cx) = (&mut self.handler, &mut self.cx);
        let called = guarded(|| callback(handler, cx));
        self.cx.core.end_work(name, of);
        self.cx.core.callback.enter(0);
        if let Err(panic) = called {
            self.note_panic(name, panic);
        }
    }

    /// A callback of no connection panicked: that is told and counted, or goes on.
    #[cold]
    pub(super) fn note_panic(&mut self, name: &str, panic: Box<dyn Any + Send>) {
        let panic = self.caught(panic);
        self.cx.core.note_panic(name, &panic);
    }

    /// A callback of a connection panicked: it ends that, or goes on.
    #[cold]
    pub(super) fn end_panicked(&mut self, id: ConnId, panic: Box<dyn Any + Send>) {
        self.cx.core.end_work(&"a callback that panicked", Some(id));
        let panic = self.caught(panic);
        self.cx.core.end_panicked(id, panic);
    }

    /// What a panic said, if it is to stay here.
    #[cold]
    fn caught(&self, panic: Box<dyn Any + Send>) -> io::Error {
        if !self.cx.core.limits.isolate_panics {
            resume_unwind(panic);
        }
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        io::Error::other(text.unwrap_or_else(|| "without words".into()))
    }
}
