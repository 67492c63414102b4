//! What the random handler does, of all that is permitted.

use std::io;
use std::time::Duration;

use super::{OUTSIDE, Session, TestHandler, act};
use crate::base::address::Address;
use crate::base::id::ConnId;
use crate::conn::input::Input;
use crate::context::{Conn, Context};
use crate::layering::Watched;
use crate::net::connect::Connect;
use crate::oracle::{Oracle, planned};

impl TestHandler {
    /// Some connection, mostly one that is there.
    fn someone(&mut self) -> Option<ConnId> {
        (!self.ids.is_empty()).then(|| *self.rng.pick(&self.ids))
    }

    /// A few permitted things.
    pub(super) fn wander(&mut self, cx: &mut Context, own: Option<(ConnId, u32)>) {
        self.write_letters(cx);
        for _ in 0..self.rng.below(4) {
            // Callbacks that answer each other would go on for ever.
            if self.patience == 0 {
                return;
            }
            self.patience -= 1;
            let own_id = own.map(|(id, _)| id);
            let id = match own_id {
                Some(id) if self.rng.chance(600) => id,
                _ => match self.someone() {
                    Some(id) => id,
                    None => return,
                },
            };
            let link = Oracle::link_of(cx, id).filter(|_| self.oracle.link_by_id(id).is_some());
            if self.rng.chance(self.wild) {
                self.stop(cx, id, link);
                continue;
            }
            match self.rng.below(15) {
                13 => self.connect(cx),
                14 => {
                    let full_duplex = self.rng.chance(500);
                    if let (true, Some(link)) =
                        (act(cx, id, |conn| conn.auto_pause(!full_duplex)), link)
                    {
                        self.oracle.duplex(link, full_duplex);
                    }
                }
                10 => self.time(cx, id, link),
                11 => self.set_or_cancel_timer(cx),
                12 => self.post(id),
                0..=3 => {
                    let bytes = self.noise(self.size);
                    let shared = self.rng.chance(500);
                    self.send_to(cx, id, &bytes, shared);
                }
                4 => {
                    let bytes = self.noise(self.size / 2);
                    self.broadcast(cx, bytes);
                }
                5 | 6 => {
                    let comes = cx.conn(id).is_some_and(|mut conn| conn.want_drain());
                    if let (true, Some(link)) = (comes, link) {
                        self.oracle.wish(cx, link);
                    }
                }
                7 => {
                    if let (true, Some(link)) = (act(cx, id, Conn::resume), link) {
                        self.oracle.reads(cx, link, true);
                    }
                }
                _ => {
                    act(cx, id, |conn| {
                        let _ = (conn.room(), conn.queued(), conn.peer_addr(), conn.local_addr());
                    });
                }
            }
        }
    }

    /// Sometimes so long that the clock does not reach it: that wait is never over.
    fn or_never(&mut self, wait: Duration) -> Duration {
        if !self.is_rash(50) {
            return wait;
        }
        let secs = [u64::MAX / 1_000_000_000 + 1, 1 << 55, 1 << 60, u64::MAX];
        let rng = self.rash.as_mut().expect("it was asked");
        Duration::from_secs(*rng.pick(&secs)).saturating_add(wait)
    }

    /// The timer of a connection, or its idle timeout.
    fn time(&mut self, cx: &mut Context, id: ConnId, link: Option<u32>) {
        let wait = Duration::from_micros(self.rng.within(0, 50_000));
        let wait = self.or_never(wait);
        match self.rng.below(8) {
            0..=4 => {
                let is_served = cx.core.is_served(id);
                act(cx, id, |conn| conn.set_timeout(wait));
                if let (true, Some(link)) = (is_served, link) {
                    self.oracle.sets_timeout(link, Some(wait));
                }
            }
            5 | 6 => {
                act(cx, id, |conn| _ = conn.cancel_timeout());
                if let Some(link) = link {
                    self.oracle.sets_timeout(link, None);
                }
            }
            _ => {
                let idle = self.rng.chance(500).then_some(wait.saturating_mul(20));
                act(cx, id, |conn| conn.set_idle_timeout(idle));
                if let (true, Some(link)) = (Oracle::is_open(cx, id), link) {
                    self.oracle.sets_idle(cx, link, idle);
                }
            }
        }
    }

    /// A timer of the reactor.
    fn set_or_cancel_timer(&mut self, cx: &mut Context) {
        let wait = Duration::from_millis(self.rng.within(0, 300).saturating_sub(60));
        let wait = self.or_never(wait);
        match self.rng.below(4) {
            0 => {
                let tag = u64::from(wait.subsec_millis() % 3);
                let timer = cx.set_timer(wait, tag);
                self.oracle.sets_timer(timer, wait, Duration::ZERO, tag);
            }
            1 if self.periodic < 3 => {
                self.periodic += 1;
                let period = wait.max(Duration::from_millis(20));
                let timer = cx.set_periodic_timer(period, 3);
                self.oracle.sets_timer(timer, period, period, 3);
            }
            _ => {
                let n = self.rng.size(0, 100);
                if let Some(timer) = self.oracle.some_timer(n) {
                    let answer = cx.cancel_timer(timer);
                    self.oracle.cancels_timer(timer, answer);
                }
            }
        }
    }

    /// To one of the servers outside, or to nobody.
    fn connect(&mut self, cx: &mut Context) {
        if self.connects == 0 {
            return;
        }
        self.connects -= 1;
        if let Ok(id) = self.connect_outside(cx) {
            self.ids.push(id);
        }
    }

    /// Connects to one of the servers outside, some with a timeout of their own, or from an address.
    pub(super) fn connect_outside(&mut self, cx: &mut Context) -> io::Result<ConnId> {
        let to: Address = OUTSIDE[self.rng.size(0, OUTSIDE.len() - 1)].parse().expect("an address");
        let tag = self.rng.below(1000);
        let is_v4 = to.ip().is_some_and(|ip| ip.is_ipv4());
        let timeout = tag.is_multiple_of(3).then(|| Duration::from_millis(tag));
        let mut connect = Connect::from(to);
        if let Some(timeout) = timeout {
            connect = connect.timeout(timeout);
        }
        if is_v4 && tag.is_multiple_of(5) {
            connect = connect.source(([10, 8, 0, 1], 0));
        }
        let layer = self.layer_outside();
        let books = layer.as_ref().map(Watched::books);
        if let Some(layer) = layer {
            connect = connect.layer(layer);
        }
        let id = cx.connect(connect, tag)?;
        self.oracle.connects(cx, id, tag, timeout, books);
        Ok(id)
    }

    /// A closure for later, from the thread itself.
    fn post(&mut self, id: ConnId) {
        let number = self.oracle.posts();
        let posted = if self.rng.chance(500) {
            let run = move |handler: &mut TestHandler, cx: &mut Context| {
                handler.oracle.runs(number);
                handler.wander(cx, None);
                handler.may_hand_over_some(cx);
                handler.may_panic(None);
            };
            self.handle.post(Box::new(run))
        } else {
            let run =
                move |handler: &mut TestHandler, conn: &mut Conn<'_>, session: &mut Session| {
                    handler.oracle.runs(number);
                    handler.oracle.posted(conn.cx(), id, session.link);
                    let own = Some((conn.id(), session.link));
                    handler.wander(conn.cx(), own);
                    handler.may_hand_over(conn, session.link);
                    handler.may_panic(Some(session.link));
                    let failed = handler.rng.chance(handler.wild / 8);
                    handler.oracle.leave(Some(conn.cx()), session.link, failed);
                    if failed { Err(planned()) } else { Ok(()) }
                };
            self.handle.post_to(id, Box::new(run))
        };
        if !posted {
            self.oracle.refused_post();
        }
    }

    /// One of the things that end or stop a connection.
    fn stop(&mut self, cx: &mut Context, id: ConnId, link: Option<u32>) {
        let verb = self.rng.below(14);
        let Some(link) = link else {
            // Gone: nothing may come of it.
            if let Some(conn) = cx.conn(id) {
                let complaint = format!("{id} is gone, and there is a {conn:?}");
                self.oracle.complain(complaint);
            }
            return;
        };
        match verb {
            0 | 1 if self.layering.is_none() && self.is_rash(300) => {
                self.oracle.ends_in_a_reset(cx, link);
                act(cx, id, Conn::close_reset);
            }
            0 | 1 => {
                self.oracle.ends(cx, link, false);
                act(cx, id, Conn::close);
            }
            2 => {
                self.oracle.ends(cx, link, true);
                act(cx, id, Conn::abort);
            }
            3 => {
                self.oracle.finishes(cx, link);
                act(cx, id, Conn::finish);
            }
            4 => {
                // A blink.
                if act(cx, id, Conn::pause) {
                    self.oracle.reads(cx, link, false);
                    act(cx, id, Conn::resume);
                    self.oracle.reads(cx, link, true);
                }
            }
            5..=7 => {
                if act(cx, id, Conn::pause) {
                    self.oracle.reads(cx, link, false);
                }
            }
            8..=10 => {
                if act(cx, id, Conn::resume) {
                    self.oracle.reads(cx, link, true);
                }
            }
            _ => {
                let hold = self.rng.chance(400);
                if act(cx, id, |conn| conn.hold(hold)) {
                    self.oracle.hold(cx, link, hold);
                }
            }
        }
    }

    /// Whether messages are held back, which they are while too much is owed.
    pub(super) fn rests(&mut self, conn: &Conn<'_>, link: u32, input: &Input<'_>) -> bool {
        let rests = input.is_resting();
        if conn.is_open() {
            self.oracle.rests(link, rests);
        }
        rests
    }
}
