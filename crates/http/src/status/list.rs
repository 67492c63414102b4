//! All connections, and what each waits for: written as the client takes it.
//!
//! Which connections there are is looked up at the beginning, eight bytes each; what each waits for
//! when its line is written. One that has gone meanwhile is left out.

use std::fmt::Write as _;

use wouldblock::ConnId;

use super::metrics::name_of;
use crate::answers::{Cx, Stream};
use crate::escape::{Json, Plain};

/// A list on its way.
pub(crate) struct List {
    ids: std::vec::IntoIter<ConnId>,
    as_json: bool,
    names: Vec<String>,
    written: usize,
    is_begun: bool,
    /// Which reactor this is of several, and how many connections each of the others has.
    reactor: Option<(usize, Vec<(usize, usize)>)>,
}

impl List {
    pub(crate) fn new(ids: Vec<ConnId>, as_json: bool, names: Vec<String>) -> Self {
        List { ids: ids.into_iter(), as_json, names, written: 0, is_begun: false, reactor: None }
    }

    /// The list of one reactor of several: it says how many connections the others have.
    pub(crate) fn of_reactor(mut self, number: usize, others: Vec<(usize, usize)>) -> Self {
        self.reactor = Some((number, others));
        self
    }

    /// Sends as much as there is room for. Returns whether that was all.
    pub(crate) fn send(&mut self, cx: &mut Cx<'_>, stream: Stream) -> bool {
        let room = stream.room(cx);
        if room == 0 {
            return false;
        }
        let mut text = String::new();
        if !std::mem::replace(&mut self.is_begun, true) && self.as_json {
            text.push_str("{\"connections\":[");
        }
        // No callback is long.
        let most = room.min(16 << 10);
        let is_over = loop {
            if text.len() >= most {
                break false;
            }
            let Some(id) = self.ids.next() else { break true };
            self.add(cx, id, &mut text);
        };
        if is_over {
            // Writing to a string does not fail.
            let _ = self.end(&mut text);
        }
        stream.send(cx, text);
        if !is_over && let Some(mut conn) = cx.conn(stream.conn()) {
            // Goes on in a later turn, whatever room is left now.
            conn.want_drain();
        }
        is_over
    }

    fn end(&self, text: &mut String) -> std::fmt::Result {
        let s = if self.written == 1 { "" } else { "s" };
        match (&self.reactor, self.as_json) {
            (None, true) => writeln!(text, "\n],\"count\":{}}}", self.written),
            (None, false) => writeln!(text, "{} connection{s}", self.written),
            (Some((number, others)), true) => {
                write!(text, "\n],\"count\":{},\"reactor\":{number},\"others\":{{", self.written)?;
                for (n, (other, open)) in others.iter().enumerate() {
                    let before = if n == 0 { "" } else { "," };
                    write!(text, "{before}\"{other}\":{open}")?;
                }
                writeln!(text, "}}}}")
            }
            (Some((number, others)), false) => {
                writeln!(text, "{} connection{s} of reactor {number}", self.written)?;
                for (other, open) in others {
                    writeln!(text, "{open} of reactor {other}, not listed here")?;
                }
                Ok(())
            }
        }
    }

    fn add(&mut self, cx: &mut Cx<'_>, id: ConnId, text: &mut String) {
        let Some(other) = cx.conn(id) else { return };
        let Ok(peer) = other.peer_addr() else { return };
        let (explained, service) = (other.explain(), other.service());
        let service = name_of(&self.names, service.into());
        self.written += 1;
        if !self.as_json {
            let _ = writeln!(text, "{id} {} {peer}: {explained}", Plain(&service));
            return;
        }
        let before = if self.written > 1 { "," } else { "" };
        let _ = write!(
            text,
            "{before}\n{{\"id\":\"{id}\",\"service\":\"{}\",\"peer\":\"{}\",\"stage\":\"{:?}\",\"reads\":\"{}\",\"writes\":\"{}\",\
             \"queued\":{},\"unread\":{},\"held\":{},\"runnable\":{},",
            Json(&service),
            Json(&peer),
            explained.stage,
            Json(explained.reads),
            Json(explained.writes),
            explained.queued,
            explained.unread,
            explained.held,
            explained.runnable,
        );
        let _ = match explained.deadline {
            Some((limit, left)) => write!(
                text,
                "\"deadline\":{{\"limit\":\"{limit}\",\"seconds\":{:.3}}}}}",
                left.as_secs_f64()
            ),
            None => write!(text, "\"deadline\":null}}"),
        };
    }
}
