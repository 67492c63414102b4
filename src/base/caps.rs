//! Limits of one service, beside those of the whole reactor.
//!
//! Only what can differ between two doors of one program stands here. Read next: `core/services.rs`,
//! which keeps to them.

use std::io;
use std::time::Duration;

/// Limits of one service of a [`Reactor`](crate::Reactor), set by
/// [`Context::set_caps`](crate::Context::set_caps).
///
/// They hold beside those of [`Config`](crate::Config), which are of all services together:
/// whichever is reached first counts. So [`worst_case_bytes`](crate::Config::worst_case_bytes) is
/// true whatever stands here. Without a call of its own, a setting is that of the configuration.
///
/// # Examples
///
/// An admin port that is reachable when the public one is full, and whose clients may be idle:
///
/// ```
/// use wouldblock::Caps;
///
/// let admin = Caps::default().reserve(4).connections(4).first_byte(None).idle(None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Caps {
    pub(crate) connections: Option<usize>,
    pub(crate) reserve: usize,
    pub(crate) connections_per_address: Option<usize>,
    pub(crate) buffered_max: Option<usize>,
    pub(crate) first_byte: Own<Duration>,
    pub(crate) min_rate: Own<(usize, Duration)>,
    pub(crate) idle: Own<Duration>,
}

/// A limit that one may have of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Own<T> {
    /// The same as all.
    #[default]
    AsAll,
    /// This; `None`: there is no limit.
    Own(Option<T>),
}

impl<T> Own<T> {
    /// The limit, where all have this one.
    #[inline]
    pub(crate) fn or(self, all: Option<T>) -> Option<T> {
        match self {
            Own::AsAll => all,
            Own::Own(own) => own,
        }
    }
}

impl Caps {
    /// The most connections of this service at a time, connects under way included. At this number its
    /// listeners rest, and what it would [connect](crate::Context::connect) or
    /// [adopt](crate::Context::adopt) is [refused](crate::Refused). Default: as many as the reactor takes.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = Some(connections);
        self
    }

    /// How many of the reactor's [`connections`](crate::Config::connections), and so of its
    /// descriptors, are kept back for this service: the others are full when only these are left.
    /// Default 0.
    #[must_use]
    pub fn reserve(mut self, connections: usize) -> Self {
        self.reserve = connections;
        self
    }

    /// The most connections of this service from one address at a time, counted as
    /// [`Config::connections_per_address`](crate::Config::connections_per_address) counts.
    /// Connections that were accepted before it was set are not counted. Default: no limit of its
    /// own.
    #[must_use]
    pub fn connections_per_address(mut self, connections: Option<usize>) -> Self {
        self.connections_per_address = connections;
        self
    }

    /// The most bytes that the connections of this service may hold together, of queued output and
    /// of unconsumed input. Above, those that hold most end with
    /// [`BufferedLimit`](crate::CloseReason::BufferedLimit), until seven eighths are left. No
    /// connection rests for it before that: what keeps a service below is
    /// [`output_high`](crate::Config::output_high) and the number of its connections. Default: no
    /// limit of its own.
    #[must_use]
    pub fn buffered_max(mut self, bytes: usize) -> Self {
        self.buffered_max = Some(bytes);
        self
    }

    /// In the place of [`Config::first_byte`](crate::Config::first_byte); `None`: no limit.
    #[must_use]
    pub fn first_byte(mut self, timeout: Option<Duration>) -> Self {
        self.first_byte = Own::Own(timeout);
        self
    }

    /// In the place of [`Config::min_rate`](crate::Config::min_rate); 0 bytes: no limit.
    #[must_use]
    pub fn min_rate(mut self, bytes: usize, window: Duration) -> Self {
        self.min_rate = Own::Own((bytes > 0).then_some((bytes, window)));
        self
    }

    /// In the place of [`Config::idle`](crate::Config::idle); `None`: no limit. A connection may
    /// have one of its own ([`set_idle_timeout`](crate::Conn::set_idle_timeout)).
    #[must_use]
    pub fn idle(mut self, timeout: Option<Duration>) -> Self {
        self.idle = Own::Own(timeout);
        self
    }

    /// Refuses contradictions, by name.
    pub(crate) fn check(&self) -> io::Result<()> {
        let refuse = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        for (name, value) in [
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
            ("buffered_max", self.buffered_max),
        ] {
            if value == Some(0) {
                return refuse(format!("Caps: {name} is 0"));
            }
        }
        if let Own::Own(Some((_, window))) = self.min_rate
            && window.is_zero()
        {
            return refuse("Caps: min_rate has a window of no time".into());
        }
        match self.connections {
            Some(most) if self.reserve > most => {
                refuse(format!("Caps: reserve ({}) is above connections ({most})", self.reserve))
            }
            _ => Ok(()),
        }
    }

    /// Whether a connection of the service has a patience of its own.
    pub(crate) fn has_patience(&self) -> bool {
        self.first_byte != Own::AsAll || self.min_rate != Own::AsAll || self.idle != Own::AsAll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 4: a cap that cannot hold is refused by name.
    #[test]
    fn a_contradiction_is_refused_by_name() {
        let refusal = |caps: Caps| caps.check().unwrap_err().to_string();
        Caps::default().reserve(3).connections(3).check().unwrap();
        assert_eq!(refusal(Caps::default().connections(0)), "Caps: connections is 0");
        let address = Caps::default().connections_per_address(Some(0));
        assert_eq!(refusal(address), "Caps: connections_per_address is 0");
        assert_eq!(refusal(Caps::default().buffered_max(0)), "Caps: buffered_max is 0");
        let rate = Caps::default().min_rate(1, Duration::ZERO);
        assert_eq!(refusal(rate), "Caps: min_rate has a window of no time");
        Caps::default().min_rate(0, Duration::ZERO).check().unwrap();
        let more = Caps::default().reserve(4).connections(3);
        assert_eq!(refusal(more), "Caps: reserve (4) is above connections (3)");
    }
}
