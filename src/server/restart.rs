//! Whether a reactor whose handler has panicked goes on with another, and how often.
//!
//! What becomes of its connections is `reactor/restart.rs`. Read next: `server.rs`, which asks.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::one_line::OneLine;
use crate::handler::Handler;
use crate::reactor::Reactor;
use crate::server::handle::ServerHandle;
use crate::time::deadlines::Stamp;

/// Makes the handler of a reactor once more.
type Make<H> = dyn FnMut(usize, &ServerHandle<H>) -> io::Result<H> + Send;

/// That reactors are restarted, and how often.
pub(super) struct Restart<H: Handler> {
    most: usize,
    within: Duration,
    /// Locked when a reactor has panicked, and never otherwise.
    make: Mutex<Box<Make<H>>>,
}

/// When a reactor was restarted, as far as that still counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Past(VecDeque<Stamp>);

impl<H: Handler> Restart<H> {
    pub(super) fn new(most: usize, within: Duration, make: Box<Make<H>>) -> Self {
        Restart { most, within, make: Mutex::new(make) }
    }

    /// Restarts a reactor, if it may be. Returns whether it goes on.
    pub(super) fn again(
        &self,
        number: usize,
        reactor: &mut Reactor<H>,
        past: &mut Past,
        all: &ServerHandle<H>,
        payload: &(dyn Any + Send),
    ) -> bool {
        if !reactor.may_start_again() {
            return false;
        }
        reactor.cx.core.read_clock();
        let now = reactor.cx.core.now;
        let what = OneLine(what_it_says(payload));
        past.0.retain(|then| then.after(self.within) > now);
        if past.0.len() >= self.most {
            let (most, within) = (self.most, self.within);
            log::error!(
                "reactor {number} panicked, and was restarted {most} times in {within:?}: it ends: {what}"
            );
            return false;
        }
        past.0.push_back(now);
        let made = catch_unwind(AssertUnwindSafe(|| {
            let mut make = self.make.lock().unwrap_or_else(PoisonError::into_inner);
            make(number, all)
        }));
        match made {
            Ok(Ok(handler)) => {
                log::error!("reactor {number} panicked, goes on with another handler: {what}");
                reactor.start_again(handler);
                return true;
            }
            Ok(Err(error)) => {
                log::error!(
                    "reactor {number} panicked, and has no other handler: {}: {what}",
                    OneLine(error)
                );
            }
            Err(_) => log::error!(
                "reactor {number} panicked, and so did the making of another handler: {what}"
            ),
        }
        false
    }
}

/// What a panic said.
fn what_it_says(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(|text| &**text)).unwrap_or("without words")
}

impl<H: Handler> fmt::Debug for Restart<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restart").field("most", &self.most).finish_non_exhaustive()
    }
}
