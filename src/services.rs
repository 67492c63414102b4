//! Several handlers as one: a tuple of them, or a vector.
//!
//! Each is a service with a number. A callback of a connection goes to the one that its session is
//! of; what concerns no connection goes to the one that the reactor has entered
//! (`Callback::service`). While a service's callback runs, its number stands there, so what it
//! makes bears it. Read next: `core/services.rs`.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::base::close::{CloseReason, Closed};
use crate::base::id::{ConnId, Origin};
use crate::conn::input::Input;
use crate::context::{Conn, Context};
use crate::handler::Handler;
use crate::net::datagram::Datagram;
use crate::time::timers::Timer;

/// The end of the start of a handler of handlers.
const NESTED: &str = "services do not nest: (A, B, C) in the place of ((A, B), C)";

/// Calls each service, a panic of one or not; that goes on when all were called.
fn call_each(count: usize, mut call: impl FnMut(usize)) {
    let mut thrown = None;
    for n in 0..count {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(n))) {
            thrown.get_or_insert(panic);
        }
    }
    if let Some(panic) = thrown {
        resume_unwind(panic);
    }
}

fn no_such_service(number: u8) -> io::Error {
    let what = format!("the reactor has no service {number}");
    io::Error::new(io::ErrorKind::NotFound, what)
}

macro_rules! tuple {
    ($count:literal $session:ident: $($n:literal $at:tt $handler:ident),+) => {
        #[doc = concat!("The session of a connection where ", $count, " handlers are one: that of its own service.")]
        #[derive(Debug)]
        #[allow(missing_docs, reason = "one for each handler, in order")]
        pub enum $session<$($handler),+> {
            $($handler($handler)),+
        }

        /// Each handler is a [service](crate::Context::service) of one reactor, numbered from 0 on.
        impl<$($handler: Handler),+> Handler for ($($handler,)+) {
            type Session = $session<$($handler::Session),+>;

            const IS_COMPOSED: bool = true;

            fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
                const { assert!($(!$handler::IS_COMPOSED)&&+, "{}", NESTED) };
                $(self.$at.on_start(&mut cx.service($n))?;)+
                Ok(())
            }

            fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Self::Session> {
                let number = conn.service();
                in_service(conn, number, |conn| match number {
                    $($n => self.$at.on_open(conn, origin).map($session::$handler),)+
                    other => Err(no_such_service(other)),
                })
            }

            #[inline]
            fn on_data(
                &mut self,
                conn: &mut Conn<'_>,
                session: &mut Self::Session,
                input: &mut Input<'_>,
            ) -> io::Result<()> {
                match session {
                    $($session::$handler(session) => {
                        in_service(conn, $n, |conn| self.$at.on_data(conn, session, input))
                    })+
                }
            }

            fn on_eof(
                &mut self,
                conn: &mut Conn<'_>,
                session: &mut Self::Session,
                rest: &mut Input<'_>,
            ) -> io::Result<()> {
                match session {
                    $($session::$handler(session) => {
                        in_service(conn, $n, |conn| self.$at.on_eof(conn, session, rest))
                    })+
                }
            }

            fn on_drain(&mut self, conn: &mut Conn<'_>, session: &mut Self::Session) -> io::Result<()> {
                match session {
                    $($session::$handler(session) => {
                        in_service(conn, $n, |conn| self.$at.on_drain(conn, session))
                    })+
                }
            }

            fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut Self::Session) -> io::Result<()> {
                match session {
                    $($session::$handler(session) => {
                        in_service(conn, $n, |conn| self.$at.on_timeout(conn, session))
                    })+
                }
            }

            fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
                match cx.current_service() {
                    $($n => self.$at.on_timer(cx, timer),)+
                    other => log::error!("a timer came for service {other}, which is not there"),
                }
            }

            fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
                match cx.current_service() {
                    $($n => self.$at.on_datagram(cx, datagram),)+
                    other => log::error!("a datagram came for service {other}, which is not there"),
                }
            }

            fn on_closing(
                &mut self,
                conn: &mut Conn<'_>,
                session: &mut Self::Session,
                reason: &CloseReason,
            ) -> io::Result<()> {
                match session {
                    $($session::$handler(session) => {
                        in_service(conn, $n, |conn| self.$at.on_closing(conn, session, reason))
                    })+
                }
            }

            fn on_close(&mut self, cx: &mut Context, id: ConnId, session: Self::Session, closed: Closed) {
                match session {
                    $($session::$handler(session) => {
                        self.$at.on_close(&mut cx.service($n), id, session, closed);
                    })+
                }
            }

            fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, tag: u64, error: io::Error) {
                match cx.current_service() {
                    $($n => self.$at.on_connect_failed(cx, id, tag, error),)+
                    other => log::error!("a connect failed of service {other}, which is not there: {error}"),
                }
            }

            fn on_shutdown(&mut self, cx: &mut Context) {
                call_each($count, |n| match n {
                    $($n => self.$at.on_shutdown(&mut cx.service($n)),)+
                    _ => {}
                });
            }
        }
    };
}

tuple!(2 SessionOf2: 0 0 A, 1 1 B);
tuple!(3 SessionOf3: 0 0 A, 1 1 B, 2 2 C);
tuple!(4 SessionOf4: 0 0 A, 1 1 B, 2 2 C, 3 3 D);
tuple!(5 SessionOf5: 0 0 A, 1 1 B, 2 2 C, 3 3 D, 4 4 E);
tuple!(6 SessionOf6: 0 0 A, 1 1 B, 2 2 C, 3 3 D, 4 4 E, 5 5 F);

/// Each handler is a [service](crate::Context::service) of one reactor, numbered from 0 on: for as
/// many of one type as are known when the program runs, 256 at most.
impl<H: Handler> Handler for Vec<H> {
    type Session = H::Session;

    const IS_COMPOSED: bool = true;

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        const { assert!(!H::IS_COMPOSED, "{}", NESTED) };
        for (n, handler) in self.iter_mut().enumerate() {
            let Ok(number) = u8::try_from(n) else {
                let what = format!("{n} services, and 256 are the limit");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            };
            handler.on_start(&mut cx.service(number))?;
        }
        Ok(())
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<H::Session> {
        let number = conn.service();
        let handler = self.get_mut(usize::from(number)).ok_or_else(|| no_such_service(number))?;
        in_service(conn, number, |conn| handler.on_open(conn, origin))
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut H::Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let (number, handler) = self.of(conn);
        in_service(conn, number, |conn| handler.on_data(conn, session, input))
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut H::Session,
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        let (number, handler) = self.of(conn);
        in_service(conn, number, |conn| handler.on_eof(conn, session, rest))
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, session: &mut H::Session) -> io::Result<()> {
        let (number, handler) = self.of(conn);
        in_service(conn, number, |conn| handler.on_drain(conn, session))
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut H::Session) -> io::Result<()> {
        let (number, handler) = self.of(conn);
        in_service(conn, number, |conn| handler.on_timeout(conn, session))
    }

    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        if let Some(handler) = self.get_mut(usize::from(cx.current_service())) {
            handler.on_timer(cx, timer);
        }
    }

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        if let Some(handler) = self.get_mut(usize::from(cx.current_service())) {
            handler.on_datagram(cx, datagram);
        }
    }

    fn on_closing(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut H::Session,
        reason: &CloseReason,
    ) -> io::Result<()> {
        let (number, handler) = self.of(conn);
        in_service(conn, number, |conn| handler.on_closing(conn, session, reason))
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, session: H::Session, closed: Closed) {
        if let Some(handler) = self.get_mut(usize::from(closed.service)) {
            handler.on_close(&mut cx.service(closed.service), id, session, closed);
        }
    }

    fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, tag: u64, error: io::Error) {
        if let Some(handler) = self.get_mut(usize::from(cx.current_service())) {
            handler.on_connect_failed(cx, id, tag, error);
        }
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        call_each(self.len(), |n| {
            let number = u8::try_from(n).expect("on_start refuses more");
            self[n].on_shutdown(&mut cx.service(number));
        });
    }
}

/// The handlers of a vector.
trait Of<H> {
    /// The number of a connection's service, and its handler.
    fn of(&mut self, conn: &Conn<'_>) -> (u8, &mut H);
}

impl<H> Of<H> for Vec<H> {
    fn of(&mut self, conn: &Conn<'_>) -> (u8, &mut H) {
        let number = conn.service();
        (
            number,
            self.get_mut(usize::from(number)).expect("its session is of a handler that is there"),
        )
    }
}

/// Calls a service, with its number entered.
#[inline]
fn in_service<T>(conn: &mut Conn<'_>, number: u8, call: impl FnOnce(&mut Conn<'_>) -> T) -> T {
    conn.enter_service(number);
    let result = call(conn);
    conn.enter_service(0);
    result
}
