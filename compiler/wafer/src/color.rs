//! Colors for trees: two trees that share a router get different ones.
//!
//! First each tree takes the lowest color free on all of its routers, by a mask a router. Where that runs
//! out, the conflict graph is built and colored by saturation (DSATUR): next is always the tree
//! that has fewest colors left, and of those the one with most conflicts.

use super::route::Tree;
use quadrille_isa::wafer::{Color, Machine, Pe};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// One color a tree, or the router where more are needed than there are.
pub(crate) fn color(trees: &[Tree], m: &Machine) -> Result<Vec<Color>, Pe> {
    lowest_first(trees, m).or_else(|_| by_saturation(trees, m))
}

fn place(p: &Pe, m: &Machine) -> usize {
    usize::from(p.y) * m.geometry.width_pes as usize + usize::from(p.x)
}

fn routers(m: &Machine) -> usize {
    m.geometry.width_pes as usize * m.geometry.height_pes as usize
}

fn lowest_first(trees: &[Tree], m: &Machine) -> Result<Vec<Color>, Pe> {
    let mut taken = vec![0u32; routers(m)];
    let mut colors = Vec::with_capacity(trees.len());
    for t in trees {
        let used = t.hops.keys().fold(0, |mask, p| mask | taken[place(p, m)]);
        let c = used.trailing_ones();
        if c >= m.geometry.colors {
            let crowded = t.hops.keys().max_by_key(|p| taken[place(p, m)].count_ones());
            return Err(crowded.copied().unwrap_or(Pe { x: 0, y: 0 }));
        }
        for p in t.hops.keys() {
            taken[place(p, m)] |= 1 << c;
        }
        colors.push(Color(c as u8));
    }
    Ok(colors)
}

/// For every tree the others that it shares a router with.
fn conflicts(trees: &[Tree], m: &Machine) -> Vec<Vec<u32>> {
    let mut through: Vec<Vec<u32>> = vec![Vec::new(); routers(m)];
    for (i, t) in trees.iter().enumerate() {
        t.hops.keys().for_each(|p| through[place(p, m)].push(i as u32));
    }
    let conflicts = trees.iter().enumerate().map(|(i, t)| {
        let mut all: Vec<u32> = t.hops.keys().flat_map(|p| through[place(p, m)].iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|&o| o != i as u32);
        all
    });
    conflicts.collect()
}

fn by_saturation(trees: &[Tree], m: &Machine) -> Result<Vec<Color>, Pe> {
    let conflicts = conflicts(trees, m);
    let mut taken = vec![0u32; trees.len()];
    let mut colors: Vec<Option<Color>> = vec![None; trees.len()];
    let key = |i: usize, taken: &[u32]| (taken[i].count_ones(), conflicts[i].len(), Reverse(i));
    let mut open: BTreeSet<_> = (0..trees.len()).map(|i| key(i, &taken)).collect();
    while let Some((_, _, Reverse(i))) = open.pop_last() {
        let c = taken[i].trailing_ones();
        if c >= m.geometry.colors {
            return Err(most_crowded(&trees[i], trees, &conflicts[i]));
        }
        colors[i] = Some(Color(c as u8));
        for &o in &conflicts[i] {
            let o = o as usize;
            if colors[o].is_none() && taken[o] >> c & 1 == 0 {
                open.remove(&key(o, &taken));
                taken[o] |= 1 << c;
                open.insert(key(o, &taken));
            }
        }
    }
    Ok(colors.into_iter().flatten().collect())
}

/// The router of a tree through which most others go.
fn most_crowded(t: &Tree, trees: &[Tree], conflicts: &[u32]) -> Pe {
    let crowd = |p: &&Pe| conflicts.iter().filter(|&&o| trees[o as usize].hops.contains_key(p)).count();
    t.hops.keys().max_by_key(crowd).copied().unwrap_or(Pe { x: 0, y: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Hop;
    use quadrille_isa::wafer::{Port, PortSet};

    /// Trees that all cross one router each with the next: a ring of an odd number needs three colors.
    fn ring(n: u16) -> Vec<Tree> {
        let hop = Hop { rx: Port::Ramp, tx: PortSet::default() };
        let at = |i: u16| Pe { x: i % n, y: 0 };
        (0..n).map(|i| Tree { hops: [(at(i), hop), (at(i + 1), hop)].into_iter().collect() }).collect()
    }

    #[test]
    fn saturation_colors_a_ring_and_says_where_it_cannot() {
        let mut m = Machine::builtin("wafer-small").expect("built in");
        let trees = ring(7);
        for (colors, fits) in [(3, true), (2, false)] {
            m.geometry.colors = colors;
            match by_saturation(&trees, &m) {
                Ok(c) => {
                    assert!(fits);
                    assert!((0..7).all(|i| c[i] != c[(i + 1) % 7] && u32::from(c[i].0) < colors));
                }
                Err(p) => assert!(!fits && p.x < 7),
            }
        }
    }
}
