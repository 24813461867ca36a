//! What the PEs do in turn, and the buffers that they do it on.

use crate::collective::gemv::Grid;
use crate::collective::wires::Axis;
use quadrille_compiler::ir::DType;
use quadrille_isa::wafer::{ElemType, PeOp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Columns times rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) x: Vec<u16>,
    pub(super) y: Vec<u16>,
}

impl Place {
    pub(super) fn len(&self) -> usize {
        self.x.len() * self.y.len()
    }

    pub(super) fn contains(&self, x: u16, y: u16) -> bool {
        self.x.binary_search(&x).is_ok() && self.y.binary_search(&y).is_ok()
    }

    /// Number of a PE among those of the place, row by row.
    pub(super) fn number(&self, x: u16, y: u16) -> Option<usize> {
        let (i, j) = (self.x.binary_search(&x).ok()?, self.y.binary_search(&y).ok()?);
        Some(j * self.x.len() + i)
    }

    /// True when some PE is in both.
    pub(super) fn meets(&self, other: &Place) -> bool {
        let common = |a: &[u16], b: &[u16]| a.iter().any(|p| b.binary_search(p).is_ok());
        common(&self.x, &other.x) && common(&self.y, &other.y)
    }

    pub(super) fn pes(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.y.iter().flat_map(move |&y| self.x.iter().map(move |&x| (x, y)))
    }
}

/// The mesh seen from a line along which vectors lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mesh {
    pub(super) grid: Grid,
}

pub(super) fn other(axis: Axis) -> Axis {
    match axis {
        Axis::Row => Axis::Column,
        Axis::Column => Axis::Row,
    }
}

impl Mesh {
    /// PEs along an axis.
    pub(super) fn len(self, axis: Axis) -> u16 {
        match axis {
            Axis::Row => self.grid.width,
            Axis::Column => self.grid.height,
        }
    }

    /// Where the line across an axis lies.
    pub(super) fn middle(self, axis: Axis) -> u16 {
        self.len(axis) / 2
    }

    /// Some places along an axis, on some lines.
    pub(super) fn place(self, axis: Axis, along: Vec<u16>, across: Vec<u16>) -> Place {
        match axis {
            Axis::Row => Place { x: along, y: across },
            Axis::Column => Place { x: across, y: along },
        }
    }

    pub(super) fn all(self, axis: Axis) -> Vec<u16> {
        (0..self.len(axis)).collect()
    }

    /// The middle line along an axis.
    pub(super) fn line(self, axis: Axis) -> Place {
        self.place(axis, self.all(axis), vec![self.middle(other(axis))])
    }

    /// Every PE.
    pub(super) fn whole(self) -> Place {
        Place { x: self.all(Axis::Row), y: self.all(Axis::Column) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct BufId(pub(super) usize);

/// No element.
pub(super) const NONE: u32 = u32::MAX;

/// What lies in a buffer at the start, PE by PE of its place.
#[derive(Clone, Debug)]
pub(super) enum Init {
    /// Anything: it is written before it is read.
    Free,
    /// Zeros, at the start or when its turn comes.
    Zero,
    Bytes(bytes::Bytes),
    /// Elements of a graph input.
    Input(usize, Arc<Vec<u32>>),
}

/// A buffer: the same address on every PE of a place.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    pub(super) ty: ElemType,
    pub(super) len: usize,
    pub(super) at: Place,
    pub(super) init: Init,
    /// Given out by [`super::memory`].
    pub(super) addr: u32,
    /// Elements between its place in one round and the next.
    pub(super) step: usize,
    /// Elements for each position that a PE holds, when its length depends on them.
    pub(super) of_position: usize,
    /// The same for all layers.
    pub(super) shared: bool,
}

impl Buffer {
    pub(super) fn bytes(&self) -> u64 {
        (self.len as u64 * u64::from(self.ty.bytes())).next_multiple_of(4)
    }

    /// True when it holds something from the start.
    pub(super) fn is_given(&self) -> bool {
        matches!(self.init, Init::Bytes(_) | Init::Input(..))
    }
}

/// Elements of a buffer: `offset + i1 * s1 + i0 * s0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct View {
    pub(super) buf: BufId,
    pub(super) offset: usize,
    pub(super) s1: usize,
    pub(super) s0: usize,
}

impl View {
    /// One element after the other.
    pub(super) fn dense(buf: BufId, offset: usize) -> View {
        View { buf, offset, s1: 0, s0: 1 }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Arg {
    View(View),
    /// One element a row of the operation.
    Row(View),
    Imm(f32),
}

/// An operation on a PE's own buffers.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct LocalOp {
    pub(super) op: PeOp,
    pub(super) n1: usize,
    pub(super) n0: usize,
    pub(super) dst: View,
    pub(super) args: Vec<Arg>,
}

/// A step of all PEs. Lines are named by their places across the axis.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Work {
    Local {
        at: Place,
        ops: Vec<LocalOp>,
    },
    /// The middle PE of each line sends `n` elements of a buffer to the others.
    Spread {
        axis: Axis,
        lines: Vec<u16>,
        buf: BufId,
        n: usize,
    },
    /// The middle PE of each line sends elements, `ks` of it by line; all multiply them with their rows of weights, `ns`
    /// by place. A block holds the weights of some PEs. While they wait, they clear buffers.
    Product {
        axis: Axis,
        x: View,
        ks: Vec<usize>,
        ns: Vec<usize>,
        blocks: Vec<(Place, BufId)>,
        sums: BufId,
        clears: Vec<BufId>,
    },
    /// Sums (or maxima) of `n` elements along each line, into the middle PE's buffer.
    Reduce {
        axis: Axis,
        lines: Vec<u16>,
        op: PeOp,
        from: BufId,
        n: usize,
        into: BufId,
    },
    /// Sums over the places of each group, into its middle place's buffer.
    GroupReduce {
        from: BufId,
        n: usize,
        into: BufId,
    },
    /// The middle place of each group sends.
    GroupSpread {
        buf: BufId,
        n: usize,
    },
}

impl Work {
    /// Every buffer named, in a fixed order; those that a product clears are left out.
    pub(super) fn bufs(&mut self) -> Vec<&mut BufId> {
        match self {
            Work::Local { ops, .. } => {
                let mut out = Vec::new();
                for o in ops {
                    out.push(&mut o.dst.buf);
                    for a in &mut o.args {
                        if let Arg::View(v) | Arg::Row(v) = a {
                            out.push(&mut v.buf);
                        }
                    }
                }
                out
            }
            Work::Spread { buf, .. } | Work::GroupSpread { buf, .. } => vec![buf],
            Work::Product { x, blocks, sums, .. } => {
                let weights = blocks.iter_mut().map(|b| &mut b.1);
                [&mut x.buf, sums].into_iter().chain(weights).collect()
            }
            Work::Reduce { from, into, .. } | Work::GroupReduce { from, into, .. } => vec![from, into],
        }
    }

    /// The buffers that it writes.
    pub(super) fn written(&self) -> Vec<BufId> {
        match self {
            Work::Local { ops, .. } => ops.iter().map(|o| o.dst.buf).collect(),
            Work::Spread { buf, .. } | Work::GroupSpread { buf, .. } => vec![*buf],
            Work::Product { sums, .. } => vec![*sums],
            Work::Reduce { from, into, .. } | Work::GroupReduce { from, into, .. } => vec![*from, *into],
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Phase {
    /// The user's node.
    pub(super) node: String,
    pub(super) what: &'static str,
    pub(super) work: Work,
}

/// Equal groups of places along an axis: keys and values of one head and the queries on them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Groups {
    pub(super) axis: Axis,
    /// First place.
    pub(super) first: u16,
    pub(super) count: u16,
    /// Places of a group.
    pub(super) size: u16,
}

impl Groups {
    pub(super) fn members(self) -> Vec<u16> {
        (self.first..self.first + self.count * self.size).collect()
    }

    /// The middle place of each group.
    pub(super) fn roots(self) -> Vec<u16> {
        (0..self.count).map(|g| self.first + g * self.size + self.size / 2).collect()
    }

    /// Place within its group.
    pub(super) fn within(self, place: u16) -> Option<u16> {
        let end = self.first + self.count * self.size;
        (self.first..end).contains(&place).then(|| (place - self.first) % self.size)
    }
}

/// A graph output: element numbers PE by PE of the buffers' places.
#[derive(Clone, Debug)]
pub(super) struct Out {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) buf: BufId,
    pub(super) offset: usize,
    /// Elements of a PE that are read.
    pub(super) len: usize,
    pub(super) index: Arc<Vec<u32>>,
}

/// A graph input.
#[derive(Clone, Debug)]
pub(super) struct In {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
}

/// Of the attentions: positions on a PE, and PEs that they go round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attentions {
    pub(super) held: u64,
    pub(super) rows: u64,
}

/// A graph as phases.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) mesh: Mesh,
    pub(super) bufs: Vec<Buffer>,
    pub(super) phases: Vec<Phase>,
    /// So many phases come before the rounds, so many make one, and all rounds are alike.
    pub(super) before: usize,
    pub(super) round: usize,
    pub(super) rounds: usize,
    pub(super) groups: Option<Groups>,
    pub(super) attentions: Option<Attentions>,
    pub(super) inputs: Vec<In>,
    pub(super) outs: Vec<Out>,
    /// When the buffers of a round are in use, and their counterparts in the next round.
    pub(super) spans: BTreeMap<BufId, (usize, usize)>,
    pub(super) next: BTreeMap<BufId, BufId>,
    /// Bytes given out.
    pub(super) top: u64,
}

impl Plan {
    pub(super) fn buf(&self, b: BufId) -> &Buffer {
        &self.bufs[b.0]
    }

    /// The phases that are program text: those before the rounds, the first round, those after the last.
    pub(super) fn once(&self) -> impl Iterator<Item = (usize, &Phase)> {
        let rounds = self.before + self.round..self.before + self.round * self.rounds;
        self.phases.iter().enumerate().filter(move |(i, _)| !rounds.contains(i))
    }
}
