//! Colors for trees: two trees that share a router get different ones.
//!
//! The conflict graph is never built: per router a mask says which colors are taken, and each
//! tree takes the lowest color free on all of its routers. Trees of a chain's hops, which meet
//! only their neighbours, alternate between two by themselves.

use super::route::Tree;
use quadrille_isa::wafer::{Color, Machine};

/// One color a tree, or the router where more are needed than there are.
pub(crate) fn color(trees: &[Tree], m: &Machine) -> Result<Vec<Color>, quadrille_isa::wafer::Pe> {
    let width = m.geometry.width_pes as usize;
    let mut taken = vec![0u32; width * m.geometry.height_pes as usize];
    let mut colors = Vec::with_capacity(trees.len());
    for t in trees {
        let at = |p: &quadrille_isa::wafer::Pe| usize::from(p.y) * width + usize::from(p.x);
        let used = t.hops.keys().fold(0, |mask, p| mask | taken[at(p)]);
        let c = used.trailing_ones();
        if c >= m.geometry.colors {
            let crowded = t.hops.keys().max_by_key(|p| taken[at(p)].count_ones());
            return Err(crowded.copied().unwrap_or(quadrille_isa::wafer::Pe { x: 0, y: 0 }));
        }
        for p in t.hops.keys() {
            taken[at(p)] |= 1 << c;
        }
        colors.push(Color(c as u8));
    }
    Ok(colors)
}
