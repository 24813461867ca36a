//! Lane moves on the permuters, which take a byte of a row in a cycle each, and need no weights.
//!
//! A move leaves zeros in the lanes that its map does not name, and a permuter puts every lane somewhere. Where the lanes that do not
//! move hold zeros already, these go to the lanes that are not named; else a distributor puts zeros there behind the permuter.

use super::Scheduler;
use super::burst::{At, Burst, Def, Proto};
use super::rows::{Effects, repeat, whole};
use crate::error::CompileError;
use crate::tiled::{FILL, GROUP_LANES, Init, Kernel, Kind, MovePass, NOTHING, Rows, TiledGraph};
use quadrille_isa::tsp::{DISTRIBUTE_ZERO, Hemisphere, Machine, QueueId, SxmUnit};
use std::collections::HashMap;

/// Maps of all lanes, and by which of them each kernel moves.
#[derive(Default)]
pub(crate) struct LaneMaps {
    pub(crate) maps: Vec<Vec<u16>>,
    /// By kernel.
    of: Vec<Option<Way>>,
}

/// Numbers of the maps of a move.
#[derive(Clone, Copy)]
struct Way {
    /// Of the permuter: lane `i` gets lane `map[i]`.
    permute: u16,
    /// Superlanes that it crosses at most.
    crossed: u32,
    /// Of the distributor, where there must be one.
    distribute: Option<u16>,
}

impl LaneMaps {
    pub(super) fn of(g: &TiledGraph, m: &Machine) -> LaneMaps {
        let mut all = LaneMaps::default();
        let mut known: HashMap<Vec<u16>, u16> = HashMap::new();
        for k in &g.kernels {
            let way = match &k.kind {
                Kind::Move { passes, .. } if permutes(passes, m) => all.way(g, &passes[0], m.lanes(), &mut known),
                _ => None,
            };
            all.of.push(way);
        }
        all
    }

    fn way(
        &mut self,
        g: &TiledGraph,
        pass: &MovePass,
        lanes: usize,
        known: &mut HashMap<Vec<u16>, u16>,
    ) -> Option<Way> {
        let (permute, zeros) = bijection(pass, &zero_lanes(g, &pass.from, lanes))?;
        let mut number = |map: Vec<u16>| match known.get(&map) {
            Some(&n) => Some(n),
            None => {
                let n = u16::try_from(self.maps.len()).ok()?;
                self.maps.push(map.clone());
                known.insert(map, n);
                Some(n)
            }
        };
        let crossed = crossed(&permute);
        let permute = number(permute)?;
        let distribute = match zeros {
            Some(map) => Some(number(map)?),
            None => None,
        };
        Some(Way { permute, crossed, distribute })
    }
}

/// True for a move that permuters can take: one pass, no lane to several.
pub(crate) fn permutes(passes: &[MovePass], m: &Machine) -> bool {
    let [pass] = passes else { return false };
    let mut goes = vec![false; m.lanes()];
    let once = |from: u16| !std::mem::replace(&mut goes[usize::from(from)], true);
    m.geometry.sxm_distributors_per_hemisphere > 0 && pass.map.iter().map(|&(from, _)| from).all(once)
}

/// The map of a move as one of all lanes, and that of a distributor if lanes that it does not name are to become zero; nothing where a
/// lane goes to several.
fn bijection(pass: &MovePass, zeros: &[bool]) -> Option<(Vec<u16>, Option<Vec<u16>>)> {
    const UNKNOWN: u16 = u16::MAX;
    let lanes = zeros.len();
    let mut map = vec![UNKNOWN; lanes];
    let mut goes = vec![false; lanes];
    for &(from, to) in &pass.map {
        if std::mem::replace(&mut goes[usize::from(from)], true) {
            return None;
        }
        map[usize::from(to)] = from;
    }
    let clean = (0..lanes).all(|lane| goes[lane] || zeros[lane]);
    let keep =
        |(lane, &from): (usize, &u16)| if from == UNKNOWN { DISTRIBUTE_ZERO } else { (lane % GROUP_LANES) as u16 };
    let distribute = (!clean).then(|| map.iter().enumerate().map(keep).collect());
    // What can stay does, so that little is crossed.
    for lane in 0..lanes {
        if map[lane] == UNKNOWN && !goes[lane] {
            (map[lane], goes[lane]) = (lane as u16, true);
        }
    }
    let mut left = (0..lanes).filter(|&lane| !goes[lane]);
    for to in map.iter_mut().filter(|to| **to == UNKNOWN) {
        *to = left.next()? as u16;
    }
    Some((map, distribute))
}

/// Lanes in which all of some rows are known to hold zero.
fn zero_lanes(g: &TiledGraph, rows: &Rows, lanes: usize) -> Vec<bool> {
    let stored = g.tensor(g.stored(rows.tensor));
    let beyond = |lane: usize| lane >= stored.lanes as usize && stored.tail == 0;
    let filled = stored.fill == Some(0);
    match &g.tensor(rows.tensor).init {
        Init::Gather { sources, groups, .. } => {
            let n = *groups as usize;
            let mut zeros: Vec<bool> = vec![true; n];
            for &row in &rows.rows {
                let own = &sources[row as usize * n..(row as usize + 1) * n];
                zeros.iter_mut().zip(own).for_each(|(z, &s)| *z &= s == NOTHING || s == FILL && filled);
            }
            (0..lanes).map(|lane| beyond(lane) || zeros.get(lane / GROUP_LANES).copied().unwrap_or(false)).collect()
        }
        _ => {
            let plain = rows.rows.iter().all(|&r| r != FILL || filled);
            (0..lanes).map(|lane| plain && beyond(lane)).collect()
        }
    }
}

/// Largest distance in superlanes between a lane and its source.
pub(crate) fn crossed(map: &[u16]) -> u32 {
    let group = |lane: u16| u32::from(lane) / GROUP_LANES as u32;
    map.iter().enumerate().map(|(to, &from)| group(to as u16).abs_diff(group(from))).max().unwrap_or(0)
}

/// A permuter each.
const SIDES: [Hemisphere; 2] = [Hemisphere::West, Hemisphere::East];

/// The one that can start first.
fn first(starts: &[(Hemisphere, i64)]) -> Option<(Hemisphere, i64)> {
    starts.iter().copied().min_by_key(|s| s.1)
}

impl Scheduler<'_> {
    /// When the first rows of a move that permuters take could be at the ALUs; nothing where planes take it.
    pub(super) fn permute_start(&mut self, number: usize, k: &Kernel) -> Option<i64> {
        let (way, starts) = self.taken(number, k)?;
        let (h, start) = first(&starts)?;
        let hops = self.hops(h.inward(), self.m.sxm_column(h), self.m.vxm_column());
        Some(start + self.permute_drive(way) + hops)
    }

    /// Places a move on the permuters; false where they don't take it, or planes have done it sooner.
    pub(super) fn permute(&mut self, number: usize, k: &Kernel, out: &Rows) -> Result<bool, CompileError> {
        let Some((way, mut starts)) = self.taken(number, k) else { return Ok(false) };
        let width = self.g.tensor(out.tensor).ty.bytes();
        if (1..width).any(|byte| SIDES.iter().all(|&h| self.permute_burst(k, way, byte, h).0.collides().is_some())) {
            return Ok(false);
        }
        for byte in 0..width {
            if byte > 0 {
                starts = self.permuters(k, way, byte);
            }
            // Where none can, placing says why.
            let h = first(&starts).map_or(SIDES[0], |s| s.0);
            let (b, e) = self.permute_burst(k, way, byte, h);
            self.place(k, b, e)?;
        }
        Ok(true)
    }

    /// How permuters take a move, and when they could start; nothing where they don't take it, or planes have done it sooner.
    fn taken(&mut self, number: usize, k: &Kernel) -> Option<(Way, Vec<(Hemisphere, i64)>)> {
        let way = self.lane_maps.of[number]?;
        let starts = self.permuters(k, way, 0);
        (!starts.is_empty() && self.sooner(k, way, &starts)).then_some((way, starts))
    }

    /// True when permuters that could start then have done a move sooner than planes.
    fn sooner(&mut self, k: &Kernel, way: Way, starts: &[(Hemisphere, i64)]) -> bool {
        let Kind::Move { out, .. } = &k.kind else { return false };
        let mut free: Vec<i64> = starts.iter().map(|s| s.1).collect();
        for _ in 0..self.g.tensor(out.tensor).ty.bytes() {
            if let Some(first) = free.iter_mut().min() {
                *first += i64::from(k.n);
            }
        }
        let end = free.into_iter().max().unwrap_or(i64::MAX) + self.permute_drive(way);
        !self.way.planes_move || self.planes_end(k).is_none_or(|planes| end <= planes)
    }

    /// When the permuter of each hemisphere that can could take a byte of all rows.
    fn permuters(&mut self, k: &Kernel, way: Way, byte: u8) -> Vec<(Hemisphere, i64)> {
        let start = |h: &Hemisphere| {
            let (b, _) = self.permute_burst(k, way, byte, *h);
            if b.collides().is_some() {
                return None;
            }
            Some((*h, b.earliest_start(self.m, &mut self.board)?))
        };
        SIDES.iter().filter_map(start).collect()
    }

    /// Issue to drive of the permuter.
    fn permuted(&self, way: Way) -> i64 {
        let l = &self.m.latency;
        i64::from(l.sxm_entry + l.sxm_permute + way.crossed)
    }

    /// Issue of the permuter to the last drive.
    fn permute_drive(&self, way: Way) -> i64 {
        let l = &self.m.latency;
        let zeros = if way.distribute.is_some() { l.sxm_entry + l.sxm_distribute } else { 0 };
        self.permuted(way) + i64::from(zeros)
    }

    fn permute_burst(&self, k: &Kernel, way: Way, byte: u8, h: Hemisphere) -> (Burst, Effects) {
        let (mut b, mut e) = (Burst::new(k.node.0), Effects::default());
        let Kind::Move { passes, out } = &k.kind else { return (b, e) };
        let (column, n) = (self.m.sxm_column(h), k.n);
        let (t, rows) = (passes[0].from.tensor, &passes[0].from.rows);
        let mut from = self.outward(&mut b, &mut e, (t, rows), byte..byte + 1, h, column);
        let mut step = |b: &mut Burst, unit, dir, map, at: i64, drive: i64| {
            let to = b.stream(h.inward(), 1, 1);
            let proto = match unit {
                SxmUnit::Permuter => Proto::Permute { map, from, to },
                _ => Proto::Distribute { map, from, to },
            };
            let inst = b.inst(At::Queue(QueueId::Sxm(h, unit, dir)), at, repeat(n, 1, 0), proto, None);
            b.use_(from, whole(inst, 0, 1, n, column));
            b.def(to, Def { inst, byte: 0, bytes: 1, out: 0, off: 0, n, t: drive, column });
            from = to;
        };
        let (permuted, last) = (self.permuted(way), self.permute_drive(way));
        step(&mut b, SxmUnit::Permuter, h.outward(), way.permute, 0, permuted);
        if let Some(map) = way.distribute {
            step(&mut b, SxmUnit::Distributor(0), h.inward(), map, permuted, last);
        }
        self.write_byte(&mut b, &mut e, from, 0, (out.tensor, byte), &out.rows, column, last, None);
        (b, e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LANES: usize = 64;

    /// What a permuter and a distributor make of a row.
    fn through(row: &[u32], (map, zeros): (Vec<u16>, Option<Vec<u16>>)) -> Vec<u32> {
        let mut sorted = map.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..LANES as u16), "a permuter moves every lane");
        let moved: Vec<u32> = map.iter().map(|&from| row[usize::from(from)]).collect();
        let Some(zeros) = zeros else { return moved };
        let at = |(lane, &from): (usize, &u16)| match from {
            DISTRIBUTE_ZERO => 0,
            _ => moved[lane / GROUP_LANES * GROUP_LANES + usize::from(from)],
        };
        zeros.iter().enumerate().map(at).collect()
    }

    proptest! {
        #[test]
        fn a_move_is_what_the_units_do(
            order in Just((0..LANES as u16).collect::<Vec<_>>()).prop_shuffle(),
            to in Just((0..LANES as u16).collect::<Vec<_>>()).prop_shuffle(),
            count in 0..=LANES,
            zeros in proptest::collection::vec(any::<bool>(), LANES),
        ) {
            let map: Vec<(u16, u16)> = order.into_iter().zip(to).take(count).collect();
            let from = Rows { tensor: crate::tiled::TensorId(0), rows: vec![0] };
            let pass =
                MovePass { from, map: map.clone(), weights: crate::tiled::TensorId(1), loads: Vec::new(), slots: (0, 16) };
            let row: Vec<u32> = zeros.iter().enumerate().map(|(l, &z)| if z { 0 } else { l as u32 + 1 }).collect();
            let mut want = vec![0; LANES];
            map.iter().for_each(|&(from, to)| want[usize::from(to)] = row[usize::from(from)]);
            let made = bijection(&pass, &zeros).expect("no lane goes to several");
            prop_assert_eq!(through(&row, made), want);
        }
    }

    #[test]
    fn a_lane_that_goes_to_several_is_for_planes() {
        let from = Rows { tensor: crate::tiled::TensorId(0), rows: vec![0] };
        let map = vec![(3, 0), (3, 1)];
        let pass = MovePass { from, map, weights: crate::tiled::TensorId(1), loads: Vec::new(), slots: (0, 16) };
        assert_eq!(bijection(&pass, &[false; LANES]), None);
        assert!(!permutes(&[pass], &Machine::builtin("tsp").expect("it ships with the compiler")));
    }
}
