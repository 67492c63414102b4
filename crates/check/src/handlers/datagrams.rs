//! What the handlers do with datagrams: an echo, or anything.

use super::{Kind, Subject};
use crate::base::address::Address;
use crate::base::id::DatagramId;
use crate::context::Context;
use crate::kernel::rng::Rng;
use crate::net::datagram::Datagram;

/// What a handler needs to write.
pub(super) struct Desk {
    rng: Rng,
    /// Every socket ever bound, the closed ones too; and whether each is connected.
    sockets: Vec<(DatagramId, bool)>,
    /// To whom it writes.
    peers: Vec<Address>,
    /// So many letters of its own more: two handlers would write to each other for ever.
    patience: u32,
}

impl Subject {
    /// From now on there are datagrams.
    pub(crate) fn open_desk(&mut self, rng: Rng, mut peers: Vec<Address>) {
        // And to nobody.
        peers.push(Address::Ip(([10, 0, 1, 99], 5000).into()));
        peers.push(Address::unix("/run/nobody-there"));
        self.desk = Some(Desk { rng, sockets: Vec::new(), peers, patience: 300 });
    }

    pub(crate) fn bound(&mut self, cx: &Context, id: DatagramId, connected: bool) {
        self.oracle.binds(cx, id, connected);
        if let Some(desk) = &mut self.desk {
            desk.sockets.push((id, connected));
        }
    }

    fn write(&mut self, cx: &mut Context, id: DatagramId, to: Option<&Address>, payload: &[u8]) {
        self.oracle.before_letter(cx, id);
        let result = match to {
            Some(to) => cx.send_to(id, to, payload),
            None => cx.send_datagram(id, payload),
        };
        self.oracle.letter(cx, id, to, payload, result);
    }

    /// Letters that nobody asked for.
    pub(super) fn write_letters(&mut self, cx: &mut Context) {
        let Some(desk) = &mut self.desk else { return };
        if desk.sockets.is_empty() || desk.patience == 0 || desk.rng.chance(600) {
            return;
        }
        let (id, connected) = *desk.rng.pick(&desk.sockets);
        let to = desk.rng.pick(&desk.peers).clone();
        let burst = if desk.rng.chance(100) { 60 } else { desk.rng.within(1, 3) };
        for _ in 0..burst {
            let Some(desk) = self.desk.as_mut().filter(|desk| desk.patience > 0) else { return };
            desk.patience -= 1;
            let mut letter = u64::from(desk.patience).to_be_bytes().to_vec();
            let most = if desk.rng.chance(20) { 70_000 } else { 50 };
            letter.resize(desk.rng.size(0, most), 7);
            let there = connected && desk.rng.chance(700);
            self.write(cx, id, Some(&to).filter(|_| !there), &letter);
        }
        let closes = self.kind == Kind::Random && self.wild > 0;
        if let (true, Some(desk)) = (closes, &mut self.desk)
            && desk.rng.chance(20)
        {
            self.oracle.before_letter(cx, id);
            let answer = cx.close_datagram(id);
            self.oracle.closes_socket(cx, id, answer);
        }
        if let (true, Some(desk)) = (closes, &mut self.desk)
            && desk.rng.chance(20)
            && let Ok(id) = cx.bind_datagram("10.0.0.1:0")
        {
            self.bound(cx, id, false);
        }
    }

    pub(super) fn read_letter(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        self.oracle.datagram(cx, datagram);
        self.toil();
        let answers = match (&mut self.desk, self.kind) {
            (Some(desk), Kind::Random) => desk.rng.below(4),
            _ => 1,
        };
        let to = datagram.from.clone();
        for _ in 0..answers {
            self.write(cx, datagram.socket, Some(&to), datagram.payload);
        }
        if self.kind == Kind::Random {
            self.wander(cx, None);
        }
        self.oracle.datagram_done();
    }
}
