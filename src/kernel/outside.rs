//! The peers' side of a simulated world: they set out, read, write and leave.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::io::Errno;

use super::link::{Link, THERE, Transport};
use super::trace::What;
use super::{Actor, Answers, Event, Kind, Moved, Place, Stage, State};
use crate::base::address::Address;

impl State {
    /// A peer sets out for a listener. Returns its number.
    pub(crate) fn connect(&mut self, to: Address, actor: Box<dyn Actor>) -> u32 {
        self.connect_after(to, actor, 0)
    }

    /// The same, from an address.
    pub(crate) fn connect_from(
        &mut self,
        from: Address,
        to: Address,
        actor: Box<dyn Actor>,
    ) -> u32 {
        let number = self.connect(to, actor);
        self.links[number as usize].from = from;
        number
    }

    /// The same, after so many nanoseconds.
    pub(crate) fn connect_after(&mut self, to: Address, actor: Box<dyn Actor>, wait: u64) -> u32 {
        let transport = Transport::of(&to);
        let number = self.place(transport, to, Stage::Connecting, actor);
        let latency = self.latency();
        self.at(self.now + wait + latency, Event::Connect(number));
        number
    }

    pub(super) fn place(
        &mut self,
        transport: Transport,
        to: Address,
        stage: Stage,
        actor: Box<dyn Actor>,
    ) -> u32 {
        let number =
            u32::try_from(self.links.len()).expect("fewer than four thousand million peers");
        let sizes = [(), ()].map(|()| {
            let mut size =
                || self.rng.size(*self.profile.buffer.start(), *self.profile.buffer.end());
            let (room, window) = (size(), size());
            (room, if transport == Transport::Unix { usize::MAX } else { window })
        });
        let from = self.name_of(transport, number);
        let mut link = Link::new(transport, sizes);
        link.grow_to(self.profile.buffer_max);
        self.links.push(Place {
            link,
            stage,
            actor: Some(actor),
            stirred: false,
            retries: 0,
            file: None,
            ghost: None,
            out: false,
            failed_at: None,
            failed_after: 0,
            fin_at: None,
            unread_since: None,
            moved: Moved::default(),
            neighbours: None,
            owes: (0, 0),
            dipped: false,
            to,
            from,
        });
        number
    }

    /// What the peer's end calls itself.
    fn name_of(&mut self, transport: Transport, number: u32) -> Address {
        match transport {
            Transport::Tcp => {
                let most = u32::try_from(self.profile.addresses).unwrap_or(u32::MAX);
                let [_, a, b, c] = number.checked_rem(most).unwrap_or(number).to_be_bytes();
                let [.., high, low] = number.to_be_bytes();
                let port = 40_000 + u16::from_be_bytes([high, low]) % 20_000;
                let port = if most == 0 { 40_000 } else { port };
                Address::Ip(([10, a, b, c], port).into())
            }
            Transport::Unix if self.rng.chance(self.profile.unix_names) => {
                // `sun_path` has 108 bytes. A path may fill them, without a zero at its end; a name
                // in the abstract namespace begins with a zero and may have more of them (unix(7)).
                let whole = self.rng.chance(300);
                let abstract_name = self.rng.chance(500);
                let most = if abstract_name { 107 } else { 108 };
                let len = if whole { most } else { self.rng.size(1, most) };
                let bytes = (0..len).map(|_| self.rng.next().to_le_bytes()[0]);
                if abstract_name {
                    return Address::Abstract(bytes.collect());
                }
                let bytes: Vec<u8> = bytes.map(|byte| byte.max(1)).collect();
                Address::Unix(PathBuf::from(OsString::from_vec(bytes)).into())
            }
            Transport::Unix => Address::Unnamed,
        }
    }

    pub(super) fn pair(
        &mut self,
        transport: Transport,
        at: Address,
        actor: Box<dyn Actor>,
    ) -> Result<(u32, u32), Errno> {
        let number = self.place(transport, at, Stage::Established, actor);
        let file = self.open_file(Kind::Stream(number))?;
        self.links[number as usize].file = Some(file);
        self.stir(number);
        Ok((file, number))
    }

    /// A server outside, from now on.
    pub(crate) fn serve(&mut self, address: Address, answers: Answers) {
        self.servers.push((address, answers));
    }

    /// One more peer that waits there for a connect of ours.
    pub(crate) fn serve_once(&mut self, at: Address, actor: Box<dyn Actor>) {
        for (address, answers) in &mut self.servers {
            if let (true, Answers::Once(waiting)) = (*address == at, answers) {
                return waiting.push_back(actor);
            }
        }
        self.servers.push((at, Answers::Once(VecDeque::from([actor]))));
    }

    /// Reads at the peer's end into `buf`.
    pub(crate) fn peer_read(&mut self, link: u32, buf: &mut [u8]) -> Result<usize, Errno> {
        let place = &mut self.links[link as usize];
        let result = place.link.read(THERE, buf);
        place.note_held(self.now);
        if let Ok(n) = result
            && n > 0
        {
            self.note(link, What::PeerRead(n));
            self.after_read(link, THERE);
        }
        result
    }

    /// Writes at the peer's end.
    pub(crate) fn peer_write(&mut self, link: u32, bytes: &[u8]) -> Result<usize, Errno> {
        let place = &mut self.links[link as usize];
        if place.stage != Stage::Established {
            return Err(Errno::AGAIN);
        }
        let result = place.link.write(THERE, std::iter::once(bytes), usize::MAX);
        if let Ok(n) = result
            && n > 0
        {
            self.note(link, What::PeerWrote(n));
            self.send_on(link, THERE);
        }
        result
    }

    /// Urgent data (TCP), or a descriptor passed along (Unix), behind what was written. It fails as
    /// a write does. (Simplified: urgent data takes no byte of the stream, and a descriptor comes with the
    /// last byte written, sent by itself.)
    pub(crate) fn peer_mark(&mut self, link: u32) -> Result<(), Errno> {
        let place = &mut self.links[link as usize];
        if place.stage != Stage::Established {
            return Err(Errno::AGAIN);
        }
        place.link.write(THERE, std::iter::empty(), 0)?;
        place.link.mark(THERE, place.link.transport == Transport::Tcp);
        self.note(link, What::Note("the peer marks", 0));
        self.send_on(link, THERE);
        Ok(())
    }

    /// The peer ends its side.
    pub(crate) fn peer_finish(&mut self, link: u32) {
        if self.links[link as usize].link.shutdown(THERE).is_ok() {
            self.note(link, What::PeerFinished);
            self.end_half(link, THERE);
        }
    }

    /// The peer closes its descriptor: by a reset, or as its state has it.
    pub(crate) fn peer_close(&mut self, link: u32, reset: bool) {
        let place = &mut self.links[link as usize];
        if !place.link.ends[THERE].open {
            return;
        }
        // A Unix socket has no reset (socket(7), `SO_LINGER`).
        place.link.ends[THERE].reset_on_close = reset && place.link.transport == Transport::Tcp;
        self.note(link, if reset { What::PeerReset } else { What::PeerLeft });
        self.after_close(link, THERE);
    }

    /// Has the peer called after so many nanoseconds.
    pub(crate) fn act_after(&mut self, link: u32, wait: u64) {
        self.at(self.now.saturating_add(wait), Event::Act(link));
    }
}
