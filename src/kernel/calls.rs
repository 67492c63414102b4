//! The calls of the simulated process: listen, accept, read, write, shutdown, close, and the faults
//! they meet.
//!
//! A fault is one that the real kernel may commit, with what follows from it there: a call that is
//! cut where an edge proves it done owes an edge.

use std::collections::VecDeque;
use std::net::SocketAddr;

use rustix::io::Errno;

use super::link::{HERE, THERE, Transport};
use super::trace::{Answer, NOBODY, What};
use super::{Door, Event, File, Kind, Nobody, Stage, State};
use crate::base::address::Address;
use crate::base::id::Token;
use crate::base::readiness::Readiness;

impl State {
    pub(super) fn listen(
        &mut self,
        mut address: Address,
        backlog: usize,
        shared: bool,
    ) -> Result<u32, Errno> {
        let door = u32::try_from(self.doors.len()).expect("few listeners");
        if let Address::Ip(addr) = &mut address
            && addr.port() == 0
        {
            // A free port.
            addr.set_port(u16::try_from(50_000 + door % 10_000).unwrap_or(50_000));
        }
        let mut there = self.doors.iter().filter(|door| door.open && door.address == address);
        if there.any(|door| !(shared && door.shared)) {
            return Err(Errno::ADDRINUSE);
        }
        let file = self.open_file(Kind::Listener(door))?;
        let backlog_max = backlog.min(self.profile.backlog_max).max(1);
        let backlog = VecDeque::new();
        self.doors.push(Door { address, backlog, backlog_max, open: true, shared, lingers: false });
        self.trace.add(self.now, NOBODY, What::Listen, Answer::Count(door as usize));
        Ok(file)
    }

    pub(super) fn accept(&mut self, file: u32) -> Result<(u32, Address), Errno> {
        let (_, door) = self.file_of(file);
        let Kind::Listener(door) = door else { return Err(Errno::INVAL) };
        let result = self.accept_at(door);
        let answer = match result {
            Ok((_, link)) => Answer::Count(link as usize),
            Err(error) => Answer::Error(error),
        };
        self.calls += 1;
        self.trace.add(self.now, NOBODY, What::Accept, answer);
        match result {
            Ok((file, link)) => Ok((file, self.links[link as usize].from.clone())),
            Err(error) => {
                if error != Errno::AGAIN {
                    self.accept_failed_at = Some(self.now);
                }
                if error == Errno::AGAIN {
                    self.arm(file, Readiness::READABLE);
                }
                Err(error)
            }
        }
    }

    /// Begins to connect: on TCP the answer comes later, on a Unix socket at once.
    pub(super) fn connect_out(
        &mut self,
        to: Address,
        source: Option<SocketAddr>,
    ) -> Result<u32, Errno> {
        let transport = Transport::of(&to);
        if self.open >= self.profile.descriptors {
            return Err(Errno::MFILE);
        }
        let link = self.place(transport, to, Stage::Connecting, Box::new(Nobody));
        let file = self.open_file(Kind::Stream(link))?;
        self.links[link as usize].file = Some(file);
        self.links[link as usize].out = true;
        if let Some(mut source) = source {
            if source.port() == 0 {
                source.set_port(self.links[link as usize].from.port().unwrap_or_default());
            }
            self.links[link as usize].from = source.into();
        }
        self.answer(link, What::Connect, Ok(0));
        if transport == Transport::Tcp {
            self.later(Event::Answer(link));
            return Ok(file);
        }
        self.answered(link);
        match self.links[link as usize].link.ends[HERE].error.take() {
            None => Ok(file),
            Some(error) => {
                self.close(file);
                Err(error)
            }
        }
    }

    pub(super) fn finish_connect(&mut self, file: u32) -> Result<(), Errno> {
        let link = self.link_of(file);
        let place = &mut self.links[link as usize];
        let result = match place.link.ends[HERE].error.take() {
            Some(error) => Err(error),
            None if place.stage == Stage::Connecting => Err(Errno::AGAIN),
            None => Ok(()),
        };
        self.answer(link, What::TakeError, result.map(|()| 0));
        if result == Err(Errno::AGAIN) {
            self.arm(file, Readiness::WRITABLE);
        }
        result
    }

    pub(super) fn accept_at(&mut self, number: u32) -> Result<(u32, u32), Errno> {
        self.interrupt()?;
        // Before it looks whether a connection waits (`__sys_accept4_file`).
        if self.open >= self.profile.descriptors {
            return Err(Errno::MFILE);
        }
        if self.doors[number as usize].backlog.is_empty() {
            return Err(Errno::AGAIN);
        }
        if self.rng.chance(self.profile.accept_error) {
            // accept(2), "Error handling": those of ours leave the queue as it is, those of one peer
            // have taken it off.
            let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
            let of_one_peer = [
                Errno::CONNABORTED,
                Errno::PROTO,
                Errno::PERM,
                Errno::NETDOWN,
                Errno::NOPROTOOPT,
                Errno::HOSTDOWN,
                Errno::HOSTUNREACH,
                Errno::OPNOTSUPP,
                Errno::NETUNREACH,
                Errno::TIMEDOUT,
            ];
            if self.rng.chance(300) {
                return Err(*self.rng.pick(&ours));
            }
            let error = *self.rng.pick(&of_one_peer);
            let link = self.doors[number as usize].backlog.pop_front();
            let link = link.expect("the backlog is not empty");
            self.links[link as usize].link.ends[HERE].reset_on_close = true;
            self.after_close(link, HERE);
            return Err(error);
        }
        let link = self.doors[number as usize].backlog.pop_front();
        let link = link.expect("the backlog is not empty");
        let file = self.open_file(Kind::Stream(link))?;
        let neighbours = self.neighbours(link);
        self.links[link as usize].neighbours = Some(neighbours);
        self.links[link as usize].file = Some(file);
        Ok((file, link))
    }

    /// Open connections that came from the same address.
    fn neighbours(&self, link: u32) -> usize {
        let Some(from) = self.links[link as usize].from.ip() else { return 0 };
        let open = self.links.iter().filter(|place| place.file.is_some() && !place.out);
        open.filter(|place| place.from.ip() == Some(from)).count()
    }

    pub(super) fn read(&mut self, file: u32, buf: &mut [u8]) -> Result<usize, Errno> {
        let link = self.link_of(file);
        let asked = buf.len();
        let result = self.read_at(file, link, buf);
        self.answer(link, What::Read(asked), result);
        match result {
            Ok(n) if n > 0 => {
                self.links[link as usize].moved.read = self.now;
                self.after_read(link, HERE);
            }
            Err(Errno::AGAIN) => self.arm(file, Readiness::READABLE),
            Ok(_) | Err(_) => {}
        }
        result
    }

    pub(super) fn read_at(&mut self, file: u32, link: u32, buf: &mut [u8]) -> Result<usize, Errno> {
        self.interrupt()?;
        let place = &mut self.links[link as usize];
        let waiting = place.link.halves[THERE].arrived.len();
        if waiting > 0 && self.rng.chance(self.profile.would_block) {
            self.edge_soon(file);
            return Err(Errno::AGAIN);
        }
        let mut most = buf.len();
        if waiting > 1 && self.rng.chance(self.profile.short_read) {
            let whole = waiting.min(most);
            most = self.rng.size(1, whole);
            // What is the truth, or fills the buffer, has no edge.
            if self.is_proof(link) && most < whole {
                self.edge_soon(file);
            }
        }
        self.links[link as usize].link.read(HERE, &mut buf[..most])
    }

    pub(super) fn write<'a>(
        &mut self,
        file: u32,
        pieces: impl Iterator<Item = &'a [u8]>,
        offered: usize,
    ) -> Result<usize, Errno> {
        let link = self.link_of(file);
        let result = self.write_at(file, link, pieces, offered);
        self.answer(link, What::Write(offered), result);
        match result {
            Ok(n) if n > 0 => {
                let place = &mut self.links[link as usize];
                place.moved.written = self.now;
                place.note_held(self.now);
                let (sent, low) = place.owes;
                place.dipped |= sent.saturating_sub(place.link.halves[HERE].written) <= low;
                self.send_on(link, HERE);
            }
            Err(Errno::AGAIN) => self.arm(file, Readiness::WRITABLE),
            Ok(_) | Err(_) => {}
        }
        result
    }

    pub(super) fn write_at<'a>(
        &mut self,
        file: u32,
        link: u32,
        pieces: impl Iterator<Item = &'a [u8]>,
        offered: usize,
    ) -> Result<usize, Errno> {
        self.interrupt()?;
        let room = self.links[link as usize].link.room(HERE);
        if room > 0 && self.rng.chance(self.profile.would_block) {
            self.links[link as usize].link.starve(HERE);
            self.edge_soon(file);
            return Err(Errno::AGAIN);
        }
        let mut most = usize::MAX;
        if room > 1 && offered > 1 && self.rng.chance(self.profile.short_write) {
            let whole = room.min(offered);
            most = self.rng.size(1, whole);
            if self.is_proof(link) && most < whole {
                self.links[link as usize].link.starve(HERE);
                self.edge_soon(file);
            }
        }
        self.links[link as usize].link.write(HERE, pieces, most)
    }

    pub(super) fn shutdown(&mut self, file: u32) -> Result<(), Errno> {
        let link = self.link_of(file);
        let result = self.links[link as usize].link.shutdown(HERE);
        self.answer(link, What::Shutdown, result.map(|()| 0));
        if result.is_ok() {
            self.links[link as usize].fin_at = Some(self.now);
            self.end_half(link, HERE);
        }
        // `inet_shutdown`, `unix_shutdown`: wakes our own poll, even in vain.
        self.edge(file);
        result
    }

    /// `SO_ERROR` (socket(7)).
    pub(super) fn take_error(&mut self, file: u32) -> Option<Errno> {
        let link = self.link_of(file);
        let error = self.links[link as usize].link.ends[HERE].error.take();
        self.answer(link, What::TakeError, error.map_or(Ok(0), Err));
        error
    }

    /// What a sender's kernel holds: see `Link::undelivered`.
    pub(super) fn undelivered(&self, file: u32) -> usize {
        self.links[self.link_of(file) as usize].link.undelivered(HERE)
    }

    pub(super) fn reset_on_close(&mut self, file: u32) {
        let link = self.link_of(file);
        let place = &mut self.links[link as usize];
        place.link.ends[HERE].reset_on_close = place.link.transport == Transport::Tcp;
    }

    pub(super) fn close(&mut self, file: u32) {
        let entry = self.files[file as usize].as_ref();
        if let Some(File { what: Kind::Stream(link), duplicated: true, token, .. }) = entry {
            let link = *link;
            self.haunted += u64::from(token.is_some());
            if self.links[link as usize].link.ends[HERE].open {
                // Not the last close of the file: the peer is told nothing, and the poll goes on.
                self.open -= 1;
                let place = &mut self.links[link as usize];
                (place.file, place.ghost) = (None, place.file);
                return self.answer(link, What::Close, Ok(0));
            }
        }
        let Some(closed) = self.files[file as usize].take() else { return };
        self.open -= 1;
        // What it had to tell dies with it, and is not told to the next with its number.
        let watch = &mut self.watches[closed.poll];
        watch.edges.retain(|pending| *pending != file);
        if let Some(token) = closed.token {
            watch.ghosts.push_back(token);
            if watch.ghosts.len() > 8 {
                watch.ghosts.pop_front();
            }
        }
        match closed.what {
            Kind::Stream(link) => {
                self.lingered += u64::from(self.links[link as usize].link.waits_to_close(HERE));
                self.links[link as usize].file = None;
                self.answer(link, What::Close, Ok(0));
                if self.links[link as usize].link.ends[HERE].open {
                    self.after_close(link, HERE);
                }
            }
            Kind::Datagrams(port) => self.close_port(port),
            Kind::Listener(number) => {
                let is_it = |file: &File| matches!(file.what, Kind::Listener(n) if n == number);
                if self.files.iter().flatten().any(is_it) {
                    // Another reactor has a duplicate.
                    return;
                }
                let door = &mut self.doors[number as usize];
                door.open = false;
                // What waits in the backlog is reset (trap 25): `inet_csk_listen_stop`, and on a Unix
                // socket as if bytes had been left unread (`unix_release_sock`).
                for link in std::mem::take(&mut door.backlog) {
                    self.links[link as usize].link.ends[HERE].reset_on_close = true;
                    self.after_close(link, HERE);
                }
            }
        }
    }

    /// One more descriptor of a listener.
    pub(super) fn duplicate(&mut self, file: u32) -> Result<u32, Errno> {
        let (_, what) = self.file_of(file);
        self.open_file(what)
    }

    /// The handler is lent a descriptor: a duplicate of it may stay behind, and it may be set to linger.
    pub(super) fn lend(&mut self, file: u32) {
        let duplicated = self.rng.chance(self.profile.duplicates);
        let lingers = self.rng.chance(self.profile.lingers);
        if let Some(entry) = &mut self.files[file as usize] {
            entry.duplicated |= duplicated;
            if let Kind::Stream(link) = entry.what {
                self.links[link as usize].link.ends[HERE].lingers |= lingers;
            }
        }
    }

    /// Sees that its close does not wait, or those of what comes in there.
    pub(super) fn forbid_linger(&mut self, file: u32) {
        let lingers = match self.file_of(file).1 {
            Kind::Stream(link) => &mut self.links[link as usize].link.ends[HERE].lingers,
            Kind::Listener(door) => &mut self.doors[door as usize].lingers,
            Kind::Datagrams(_) => return,
        };
        *lingers = false;
    }

    /// `listen(2)` once more: connections that wait already stay.
    pub(super) fn listen_again(&mut self, file: u32, backlog: usize) {
        if let (_, Kind::Listener(door)) = self.file_of(file) {
            self.doors[door as usize].backlog_max = backlog.min(self.profile.backlog_max).max(1);
        }
    }

    /// Ends a connection for every owner of its file: `shutdown(2)` of both sides, or the reset of
    /// `connect(2)` to nowhere. What the peer sees is what it sees of a close.
    pub(super) fn end_for_all(&mut self, file: u32) {
        let link = self.link_of(file);
        if self.links[link as usize].link.ends[HERE].open {
            self.after_close(link, HERE);
        }
    }

    /// The poll is to tell no more of a file (`epoll_ctl(2)`).
    pub(super) fn deregister(&mut self, file: u32) {
        if let Some(entry) = &mut self.files[file as usize] {
            entry.token = None;
            entry.pending = false;
            self.watches[entry.poll].edges.retain(|pending| *pending != file);
        }
    }

    /// Whether the kernel will watch another file (`epoll_ctl(2)`).
    pub(super) fn watch(&mut self, file: u32) -> Result<(), Errno> {
        if self.rng.chance(self.profile.watch_error) {
            if let Kind::Stream(link) = self.file_of(file).1
                && !self.links[link as usize].out
            {
                self.accept_failed_at = Some(self.now);
                self.unwatched += 1;
            }
            return Err(*self.rng.pick(&[Errno::NOMEM, Errno::NOSPC]));
        }
        Ok(())
    }

    pub(super) fn register(&mut self, poll: usize, file: u32, token: Token, urgent: bool) {
        if let Some(entry) = &mut self.files[file as usize] {
            (entry.token, entry.poll) = (Some(token), poll);
            entry.armed = Readiness::READABLE | Readiness::WRITABLE;
            entry.urgent = urgent;
        }
        // What is so already is told with the first poll.
        self.edge(file);
    }

    pub(super) fn addresses(&self, file: u32) -> (Address, Address) {
        match self.file_of(file).1 {
            Kind::Stream(link) => {
                let place = &self.links[link as usize];
                let (here, there) = (place.to.clone(), place.from.clone());
                if place.out { (there, here) } else { (here, there) }
            }
            Kind::Listener(door) => (self.doors[door as usize].address.clone(), Address::Unnamed),
            Kind::Datagrams(port) => {
                (self.mail.ports[port as usize].address.clone(), Address::Unnamed)
            }
        }
    }
}
