//! Messages and broadcasts as routes, and their colors.

use super::tree::Message;
use quadrille_isa::wafer::{Color, Pe, Port, PortSet, Rect, Route};

/// Which way a line runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Axis {
    /// Places are columns.
    Row,
    /// Places are rows.
    Column,
}

impl Axis {
    /// Port towards smaller and larger places.
    fn ports(self) -> (Port, Port) {
        match self {
            Axis::Row => (Port::West, Port::East),
            Axis::Column => (Port::North, Port::South),
        }
    }

    /// Places `from..to` of the lines `across`: (first, count).
    pub(crate) fn rect(self, (from, to): (u16, u16), across: (u16, u16)) -> Rect {
        let n = to - from;
        match self {
            Axis::Row => Rect { x: from, y: across.0, w: n, h: across.1 },
            Axis::Column => Rect { x: across.0, y: from, w: across.1, h: n },
        }
    }
}

fn set(ports: &[Port]) -> PortSet {
    ports.iter().fold(PortSet::default(), |s, &p| s.with(p))
}

/// Colors in use, from 0 on.
pub(crate) struct Colors {
    used: u32,
    limit: u32,
}

impl Colors {
    pub(crate) fn new(limit: u32) -> Colors {
        Colors { used: 0, limit }
    }

    /// The first of `parts` equal parts of the colors that are left.
    pub(crate) fn part(&self, parts: u32) -> Colors {
        Colors { used: self.used, limit: self.used + (self.limit - self.used).div_ceil(parts) }
    }

    /// Colors not taken.
    pub(crate) fn left(&self) -> usize {
        (self.limit - self.used) as usize
    }

    /// Goes on where `other` has stopped.
    pub(crate) fn continue_after(&mut self, other: &Colors) {
        self.used = other.used;
    }

    /// One more color; `Err` with the number needed when there is none.
    pub(crate) fn next(&mut self) -> Result<u8, u32> {
        if self.used == self.limit {
            return Err(self.limit + 1);
        }
        self.used += 1;
        Ok((self.used - 1) as u8)
    }

    /// Colors for messages on one line: those that share a router differ. Fewest, as the spans are
    /// intervals taken from left to right. `Err` with the number needed takes none.
    pub(crate) fn assign(&mut self, messages: &[Message]) -> Result<Vec<u8>, u32> {
        let mut order: Vec<usize> = (0..messages.len()).collect();
        order.sort_by_key(|&k| messages[k].span());
        let mut ends: Vec<u16> = Vec::new();
        let mut colors = vec![0u32; messages.len()];
        for k in order {
            let (low, high) = messages[k].span();
            let color = ends.iter().position(|&e| e < low).unwrap_or_else(|| {
                ends.push(0);
                ends.len() - 1
            });
            ends[color] = high;
            colors[k] = self.used + color as u32;
        }
        let need = self.used + ends.len() as u32;
        if need > self.limit {
            return Err(need);
        }
        self.used = need;
        Ok(colors.into_iter().map(|c| c as u8).collect())
    }
}

/// Routes of a message on every line of `across`.
pub(crate) fn message(routes: &mut Vec<Route>, axis: Axis, across: (u16, u16), m: Message, color: u8) {
    let (low, high) = m.span();
    let (down, up) = axis.ports();
    // Towards smaller places, words come in from larger ones.
    let (rx, tx) = if m.to < m.from { (up, down) } else { (down, up) };
    let mut add = |range, rx, tx: Port| {
        routes.push(Route { rect: axis.rect(range, across), color: Color(color), rx, tx: set(&[tx]) });
    };
    add((m.from, m.from + 1), Port::Ramp, tx);
    if high > low + 1 {
        add((low + 1, high), rx, tx);
    }
    add((m.to, m.to + 1), rx, Port::Ramp);
}

/// Routes of a vector from place `from` of `n` to all others, on every line of `across`.
pub(crate) fn spread(routes: &mut Vec<Route>, axis: Axis, across: (u16, u16), (from, n): (u16, u16), color: u8) {
    spread_within(routes, axis, across, (0, n), from, color);
}

/// The same among places `first..end`.
pub(crate) fn spread_within(
    routes: &mut Vec<Route>,
    axis: Axis,
    across: (u16, u16),
    (first, end): (u16, u16),
    from: u16,
    color: u8,
) {
    let (down, up) = axis.ports();
    let mut add = |range: (u16, u16), rx, tx: &[Port]| {
        if range.1 > range.0 {
            routes.push(Route { rect: axis.rect(range, across), color: Color(color), rx, tx: set(tx) });
        }
    };
    let both = [(from > first, down), (from + 1 < end, up)];
    let tx: Vec<Port> = both.iter().filter(|b| b.0).map(|b| b.1).collect();
    if !tx.is_empty() {
        add((from, from + 1), Port::Ramp, &tx);
    }
    if from > first {
        add((first + 1, from), up, &[down, Port::Ramp]);
        add((first, first + 1), up, &[Port::Ramp]);
    }
    if from + 1 < end {
        add((from + 1, end - 1), down, &[up, Port::Ramp]);
        add((end - 1, end), down, &[Port::Ramp]);
    }
}

/// `whole` without `root`, and `root`, as rectangles.
pub(crate) fn around(whole: Rect, root: Pe) -> Vec<Rect> {
    let (right, bottom) = (whole.x + whole.w, whole.y + whole.h);
    let all = [
        Rect { h: root.y - whole.y, ..whole },
        Rect { y: root.y, h: 1, w: root.x - whole.x, ..whole },
        Rect::pe(root.x, root.y),
        Rect { x: root.x + 1, y: root.y, w: right - root.x - 1, h: 1 },
        Rect { y: root.y + 1, h: bottom - root.y - 1, ..whole },
    ];
    all.into_iter().filter(|r| r.area() > 0).collect()
}

/// Routes from `root` to every other PE: along its row, then along columns.
pub(crate) fn flood(routes: &mut Vec<Route>, whole: Rect, root: Pe, color: u8) {
    let (right, bottom) = (whole.x + whole.w - 1, whole.y + whole.h - 1);
    let up_down = [(root.y > whole.y, Port::North), (root.y < bottom, Port::South)];
    let color = Color(color);
    let ports = |extra: &[(bool, Port)]| -> PortSet {
        extra.iter().filter(|(wanted, _)| *wanted).fold(PortSet::default(), |s, &(_, p)| s.with(p))
    };
    let mut add = |rect: Rect, rx, tx: PortSet| {
        if rect.area() > 0 && tx != PortSet::default() {
            routes.push(Route { rect, color, rx, tx });
        }
    };
    let cross = [up_down[0], up_down[1]];
    let [n, s] = cross;
    add(
        Rect::pe(root.x, root.y),
        Port::Ramp,
        ports(&[n, s, (root.x > whole.x, Port::West), (root.x < right, Port::East)]),
    );
    let ramp = (true, Port::Ramp);
    let row = |x: u16, w: u16| Rect { x, y: root.y, w, h: 1 };
    if root.x < right {
        add(row(root.x + 1, right - root.x - 1), Port::West, ports(&[n, s, ramp, (true, Port::East)]));
        add(row(right, 1), Port::West, ports(&[n, s, ramp]));
    }
    if root.x > whole.x {
        add(row(whole.x + 1, root.x - whole.x - 1), Port::East, ports(&[n, s, ramp, (true, Port::West)]));
        add(row(whole.x, 1), Port::East, ports(&[n, s, ramp]));
    }
    let rows = |y: u16, h: u16| Rect { y, h, ..whole };
    if root.y < bottom {
        add(rows(root.y + 1, bottom - root.y - 1), Port::North, ports(&[ramp, (true, Port::South)]));
        add(rows(bottom, 1), Port::North, ports(&[ramp]));
    }
    if root.y > whole.y {
        add(rows(whole.y + 1, root.y - whole.y - 1), Port::South, ports(&[ramp, (true, Port::North)]));
        add(rows(whole.y, 1), Port::South, ports(&[ramp]));
    }
}
