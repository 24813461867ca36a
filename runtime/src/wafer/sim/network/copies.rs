//! Sites that are copied, told apart and forgotten: for `lockstep`, where one site stands for many and every link leads
//! away from its site.

use super::super::super::fabric::{PORTS, opposite};
use super::{Buffer, Fifo, Goal, Message, Network, Side, Target};

/// A link from a site by one of its ports, for one color.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Link {
    pub(in super::super) site: u32,
    pub(in super::super) port: u8,
    pub(in super::super) color: u8,
}

impl Link {
    pub(super) fn number(self) -> u32 {
        (self.site * 5 + u32::from(self.port)) * 32 + u32::from(self.color)
    }

    fn of(number: u32) -> Link {
        let (place, color) = (number / 32, (number % 32) as u8);
        Link { site: place / 5, port: (place % 5) as u8, color }
    }
}

/// What a site tells its neighbour on one side in one cycle: at most one wavelet goes over a link, and one slot of each
/// buffer is freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in super::super) struct Mail {
    /// Colors of which a wavelet comes.
    pub(in super::super) wavelets: u32,
    /// Colors of which a wavelet has left the buffer behind the link.
    pub(in super::super) left: u32,
}

impl Mail {
    pub(in super::super) fn is_empty(self) -> bool {
        self == Mail::default()
    }
}

impl Network<'_> {
    /// From now on sites stand for so many PEs each.
    pub(in super::super) fn set_weight(&mut self, site: u32, weight: u64) {
        self.weights.resize(self.routers.len(), 0);
        self.weights[site as usize] = weight;
    }

    /// What each site tells its neighbours: (site, port of the side, what).
    pub(in super::super) fn take_mail(&mut self, mut tell: impl FnMut(u32, u8, Mail)) {
        for message in self.outbox[0].drain(..) {
            match message {
                Message::Wavelet { node, .. } => {
                    let Link { site, port, color } = Link::of(node);
                    tell(site, port, Mail { wavelets: 1 << color, left: 0 });
                }
                // Told to who sends from there, on the other side of the link.
                Message::Left { site, out, color } => {
                    let side = opposite(PORTS[usize::from(out)]) as u8;
                    tell(site, side, Mail { wavelets: 0, left: 1 << color });
                }
            }
        }
    }

    /// What a neighbour on one side has told a site.
    pub(in super::super) fn get_mail(&mut self, site: u32, side: u8, mail: Mail) {
        let (mut wavelets, mut left) = (mail.wavelets, mail.left);
        while wavelets != 0 {
            let color = wavelets.trailing_zeros() as u8;
            wavelets &= wavelets - 1;
            if let Some(node) = self.node(site, color) {
                self.accept(Message::Wavelet { node, word: 0 });
            }
        }
        while left != 0 {
            let color = left.trailing_zeros() as u8;
            left &= left - 1;
            self.accept(Message::Left { site, out: side, color });
        }
    }

    fn nodes_of(&self, site: u32) -> std::ops::Range<usize> {
        let r = &self.routers[site as usize];
        r.first_node as usize..(r.first_node + r.colors.count_ones()) as usize
    }

    /// Nodes of a site: the first, and one past the last.
    pub(in super::super) fn node_range(&self, site: u32) -> (u32, u32) {
        let range = self.nodes_of(site);
        (range.start as u32, range.end as u32)
    }

    /// One more site, linked as this one is, with nothing in it yet.
    pub(in super::super) fn add_like(&mut self, site: u32) -> u32 {
        let new = self.routers.len() as u32;
        let mut router = self.routers[site as usize];
        let old_nodes = self.nodes_of(site);
        router.first_node = self.nodes.len() as u32;
        for ix in old_nodes {
            let mut node = self.nodes[ix];
            node.site = new;
            if node.upstream == site {
                node.upstream = new;
            } else {
                self.upstream_away.push((Side::Before, new));
                node.upstream = super::AWAY + self.upstream_away.len() as u32 - 1;
            }
            for (port, to) in node.to.iter_mut().enumerate() {
                if let Goal::Away(link) = to.goal() {
                    let mut away = self.away[link as usize];
                    away.node = Link { site: new, port: port as u8, color: node.color }.number();
                    self.away.push(away);
                    *to = Target::new(Goal::Away(self.away.len() as u32 - 1));
                }
            }
            self.nodes.push(node);
        }
        self.routers.push(router);
        self.queues.push(self.queues[site as usize]);
        self.next_active.grow(self.routers.len());
        new
    }

    /// Makes a site, linked alike, the same in all that changes.
    pub(in super::super) fn copy(&mut self, from: u32, to: u32) {
        let router = self.routers[from as usize];
        let target = &mut self.routers[to as usize];
        let first_node = target.first_node;
        *target = router;
        target.first_node = first_node;
        for (a, b) in self.nodes_of(from).zip(self.nodes_of(to)) {
            let node = self.nodes[a];
            for (x, y) in node.to.into_iter().zip(self.nodes[b].to) {
                if let (Goal::Away(x), Goal::Away(y)) = (x.goal(), y.goal()) {
                    self.away[y as usize].held = self.away[x as usize].held;
                }
            }
            let target = &mut self.nodes[b];
            (target.fifo, target.pending, target.flags) = (node.fifo, node.pending, node.flags);
        }
        self.queues[to as usize] = self.queues[from as usize];
        if self.next_active.contains(from) {
            self.next_active.insert(to);
        }
    }

    /// Nothing is to be done for this site.
    pub(in super::super) fn forget(&mut self, site: u32) {
        self.next_active.remove(site);
    }

    /// True when a site holds no wavelets.
    pub(in super::super) fn is_empty_at(&self, site: u32) -> bool {
        let q = &self.queues[site as usize];
        let queues = q.input.iter().chain(&q.output).all(|f| f.len == 0);
        queues && self.nodes[self.nodes_of(site)].iter().all(|n| n.fifo.len == 0)
    }

    /// All of a site that may change and decides what happens.
    pub(in super::super) fn describe(&self, site: u32, out: &mut Vec<u64>) {
        let r = &self.routers[site as usize];
        out.extend(r.want.iter().zip(&r.space).map(|(&w, &s)| u64::from(w) << 32 | u64::from(s)));
        out.push(r.next_color.iter().fold(0, |all, &c| all << 8 | u64::from(c)));
        out.push(u64::from(self.next_active.contains(site)));
        for node in &self.nodes[self.nodes_of(site)] {
            let Buffer { len, ready, .. } = node.fifo;
            out.push(u64::from(len) << 32 | u64::from(ready) << 8 | u64::from(node.pending));
            for to in node.to {
                if let Goal::Away(link) = to.goal() {
                    out.push(u64::from(self.away[link as usize].held));
                }
            }
        }
        let q = &self.queues[site as usize];
        for Fifo { len, ready, drained, gone, .. } in q.input.iter().chain(&q.output) {
            out.push(u64::from(*len) << 48 | u64::from(*ready) << 32 | u64::from(*drained));
            out.push(u64::from(*gone));
        }
    }
}
