//! What the handlers do with datagrams: an echo, or anything.

use super::{Kind, TestHandler};
use crate::base::address::Address;
use crate::base::id::DatagramId;
use crate::context::Context;
use crate::kernel::rng::Rng;
use crate::net::datagram::Datagram;

/// What a handler needs to write.
pub(super) struct DatagramSender {
    rng: Rng,
    /// Every socket ever bound, the closed ones too; and whether each is connected.
    sockets: Vec<(DatagramId, bool)>,
    /// To whom it writes.
    peers: Vec<Address>,
    /// So many datagrams of its own more: two handlers would write to each other for ever.
    patience: u32,
}

impl TestHandler {
    /// From now on there are datagrams.
    pub(crate) fn sends_datagrams(&mut self, rng: Rng, mut peers: Vec<Address>) {
        // And to nobody.
        peers.push(Address::Ip(([10, 0, 1, 99], 5000).into()));
        peers.push(Address::unix("/run/nobody-there"));
        self.sender = Some(DatagramSender { rng, sockets: Vec::new(), peers, patience: 300 });
    }

    pub(crate) fn bound(&mut self, cx: &Context, id: DatagramId, connected: bool) {
        self.oracle.binds(cx, id, connected);
        if let Some(sender) = &mut self.sender {
            sender.sockets.push((id, connected));
        }
    }

    fn write(&mut self, cx: &mut Context, id: DatagramId, to: Option<&Address>, payload: &[u8]) {
        self.oracle.before_letter(cx, id);
        let result = match to {
            Some(to) => cx.send_to(id, to, payload),
            None => cx.send_datagram(id, payload),
        };
        self.oracle.send_datagram(cx, id, to, payload, result);
    }

    /// Letters that nobody asked for.
    pub(super) fn write_letters(&mut self, cx: &mut Context) {
        let Some(sender) = &mut self.sender else { return };
        if sender.sockets.is_empty() || sender.patience == 0 || sender.rng.chance(600) {
            return;
        }
        let (id, connected) = *sender.rng.pick(&sender.sockets);
        let to = sender.rng.pick(&sender.peers).clone();
        let burst = if sender.rng.chance(100) { 60 } else { sender.rng.within(1, 3) };
        for _ in 0..burst {
            let Some(sender) = self.sender.as_mut().filter(|sender| sender.patience > 0) else {
                return;
            };
            sender.patience -= 1;
            let mut datagram = u64::from(sender.patience).to_be_bytes().to_vec();
            let most = if sender.rng.chance(20) { 70_000 } else { 50 };
            datagram.resize(sender.rng.size(0, most), 7);
            let there = connected && sender.rng.chance(700);
            self.write(cx, id, Some(&to).filter(|_| !there), &datagram);
        }
        let closes = self.kind == Kind::Random && self.wild > 0;
        if let (true, Some(sender)) = (closes, &mut self.sender)
            && sender.rng.chance(20)
        {
            self.oracle.before_letter(cx, id);
            let answer = cx.close_datagram(id);
            self.oracle.closes_socket(cx, id, answer);
        }
        if let (true, Some(sender)) = (closes, &mut self.sender)
            && sender.rng.chance(20)
            && let Ok(id) = cx.bind_datagram("10.0.0.1:0")
        {
            self.bound(cx, id, false);
        }
    }

    pub(super) fn read_letter(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        self.oracle.datagram(cx, datagram);
        self.toil();
        let answers = match (&mut self.sender, self.kind) {
            (Some(sender), Kind::Random) => sender.rng.below(4),
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
