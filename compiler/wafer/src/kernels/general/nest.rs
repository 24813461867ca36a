//! Vector operations over loop nests of any depth, and how they become operations of a PE,
//! whose operands have two dimensions.
//!
//! Knows buffers, strides and the shape of a PE's tasks; knows nothing of tensors, streams or
//! addresses. What is evaluated and what is emitted is one and the same lowered list, so the
//! order of every sum is that of the machine.

use quadrille_isa::wafer::{ElemType, PeOp};
use std::sync::Arc;

/// A buffer of a [`Prog`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct BufId(pub(crate) usize);

/// SRAM of a kernel with one element type for its size; a view may read it as another.
#[derive(Clone, Debug)]
pub(crate) struct Buf {
    pub(crate) ty: ElemType,
    /// Elements.
    pub(crate) len: usize,
    /// Contents at the start, one word an element; zeros without.
    pub(crate) init: Option<Arc<Vec<u32>>>,
}

/// Elements of a buffer: one stride for every loop of the nest that uses it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct View {
    pub(crate) buf: BufId,
    pub(crate) ty: ElemType,
    /// Of the first element, in elements of `ty`.
    pub(crate) offset: isize,
    pub(crate) strides: Vec<isize>,
    /// Elements that it moves on from one pass of a [`Stmt::Loop`] to the next.
    pub(crate) step: isize,
}

/// A source operand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Arg {
    View(View),
    /// Bits of a type.
    Imm(u32, ElemType),
}

/// One operation over a nest of loops, outermost first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Nest {
    pub(crate) op: PeOp,
    pub(crate) dims: Vec<usize>,
    pub(crate) dst: View,
    pub(crate) args: Vec<Arg>,
    /// Each element may need those before it: the loops keep their order.
    pub(crate) ordered: bool,
}

/// What a [`Prog`] does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stmt {
    One(Nest),
    /// The nests in turn, that often, with views moving by their steps.
    Loop(usize, Vec<Nest>),
}

/// A list of operations on buffers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prog {
    pub(crate) bufs: Vec<Buf>,
    pub(crate) stmts: Vec<Stmt>,
}

/// A nest cut down to the two dimensions of a PE's operands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Flat {
    pub(crate) op: PeOp,
    pub(crate) n1: usize,
    pub(crate) n0: usize,
    /// Views with two strides.
    pub(crate) dst: View,
    pub(crate) args: Vec<Arg>,
}

/// Operations in turn, `repeat` times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) repeat: usize,
    pub(crate) ops: Vec<Flat>,
}

/// A program as a PE runs it.
#[derive(Clone, Debug)]
pub(crate) struct Lowered {
    pub(crate) bufs: Vec<Buf>,
    pub(crate) parts: Vec<Part>,
}

/// Tasks that the operations of one program may become: a PE has 64, and some receive and send.
const MAX_PARTS: usize = 44;

/// Operations that a loop is written out as before it becomes a task of its own.
const UNROLL: usize = 8;

impl Nest {
    fn views(&self) -> impl Iterator<Item = &View> {
        self.args
            .iter()
            .filter_map(|a| match a {
                Arg::View(v) => Some(v),
                Arg::Imm(..) => None,
            })
            .chain([&self.dst])
    }

    fn views_mut(&mut self) -> impl Iterator<Item = &mut View> {
        self.args
            .iter_mut()
            .filter_map(|a| match a {
                Arg::View(v) => Some(v),
                Arg::Imm(..) => None,
            })
            .chain([&mut self.dst])
    }

    /// Without loops of one, neighbours joined where every view allows it.
    fn normalized(mut self) -> Nest {
        let keep: Vec<usize> = (0..self.dims.len()).filter(|&i| self.dims[i] != 1).collect();
        let pick = |v: &mut View| v.strides = keep.iter().map(|&i| v.strides[i]).collect();
        self.views_mut().for_each(pick);
        self.dims = keep.iter().map(|&i| self.dims[i]).collect();
        let mut i = 0;
        while i + 1 < self.dims.len() {
            let n = self.dims[i + 1] as isize;
            if self.views().all(|v| v.strides[i] == v.strides[i + 1] * n) {
                self.dims[i + 1] *= self.dims[i];
                self.dims.remove(i);
                self.views_mut().for_each(|v| {
                    v.strides.remove(i);
                });
            } else {
                i += 1;
            }
        }
        self
    }

    /// The loops in another order.
    fn permuted(mut self, order: &[usize]) -> Nest {
        self.views_mut().for_each(|v| v.strides = order.iter().map(|&i| v.strides[i]).collect());
        self.dims = order.iter().map(|&i| self.dims[i]).collect();
        self
    }

    /// The two innermost loops with the others at given digits.
    fn flat(&self, digits: &[usize]) -> Flat {
        let n = self.dims.len();
        let two = |v: &View| {
            let at: isize = digits.iter().zip(&v.strides).map(|(&d, &s)| d as isize * s).sum();
            let stride = |k: usize| n.checked_sub(k).map_or(0, |i| v.strides[i]);
            View { offset: v.offset + at, strides: vec![stride(2), stride(1)], ..v.clone() }
        };
        let extent = |k: usize| n.checked_sub(k).map_or(1, |i| self.dims[i]);
        Flat {
            op: self.op,
            n1: extent(2),
            n0: extent(1),
            dst: two(&self.dst),
            args: self
                .args
                .iter()
                .map(|a| match a {
                    Arg::View(v) => Arg::View(two(v)),
                    Arg::Imm(b, t) => Arg::Imm(*b, *t),
                })
                .collect(),
        }
    }

    /// Digits of the loops before the two innermost, in order.
    fn outer_digits(&self) -> Vec<Vec<usize>> {
        let outer = &self.dims[..self.dims.len().saturating_sub(2)];
        let total: usize = outer.iter().product();
        (0..total)
            .map(|mut i| {
                let mut d = vec![0; outer.len()];
                for k in (0..outer.len()).rev() {
                    d[k] = i % outer[k];
                    i /= outer[k];
                }
                d
            })
            .collect()
    }

    /// In the order that needs the fewest operations: the longest loops innermost.
    fn arranged(self) -> Nest {
        let n = self.normalized();
        if n.ordered || n.dims.len() < 3 {
            return n;
        }
        let mut order: Vec<usize> = (0..n.dims.len()).collect();
        order.sort_by_key(|&i| n.dims[i]);
        // The longest as n0; among the others the order of before, which sums follow.
        n.permuted(&order)
    }
}

impl Prog {
    /// Appends an operation.
    pub(crate) fn push(&mut self, nest: Nest) {
        if nest.dims.iter().all(|&d| d > 0) {
            self.stmts.push(Stmt::One(nest));
        }
    }

    /// A new buffer.
    pub(crate) fn buf(&mut self, ty: ElemType, len: usize, init: Option<Arc<Vec<u32>>>) -> BufId {
        self.bufs.push(Buf { ty, len, init });
        BufId(self.bufs.len() - 1)
    }

    /// Operations of a PE for all nests; `None` when they are more than `max_ops`.
    pub(crate) fn lower(self, max_ops: usize) -> Option<Lowered> {
        let mut parts: Vec<Part> = Vec::new();
        let mut ops = 0usize;
        for s in self.stmts {
            match s {
                Stmt::One(n) => {
                    let n = n.arranged();
                    let outer: usize = n.dims[..n.dims.len().saturating_sub(2)].iter().product();
                    let steps_up = |n: &Nest| n.views().all(|v| v.strides[n.dims.len() - 3] >= 0);
                    if outer > UNROLL && parts.len() + 2 < MAX_PARTS && steps_up(&n) && !n.ordered {
                        // The innermost of the outer loops becomes the repetition of a task.
                        let at = n.dims.len() - 3;
                        let repeat = n.dims[at];
                        let mut body = n.clone();
                        body.views_mut().for_each(|v| {
                            v.step = v.strides[at];
                            v.strides.remove(at);
                        });
                        body.dims.remove(at);
                        ops += outer / repeat;
                        if ops > max_ops {
                            return None;
                        }
                        let ops = body.outer_digits().iter().map(|d| body.flat(d)).collect();
                        parts.push(Part { repeat, ops });
                    } else {
                        ops += outer;
                        if ops > max_ops {
                            return None;
                        }
                        let flat = n.outer_digits();
                        let flat = flat.iter().map(|d| n.flat(d));
                        match parts.last_mut() {
                            Some(p) if p.repeat == 1 => p.ops.extend(flat),
                            _ => parts.push(Part { repeat: 1, ops: flat.collect() }),
                        }
                    }
                }
                Stmt::Loop(repeat, body) => {
                    let mut all = Vec::new();
                    for n in body {
                        let n = n.arranged();
                        ops += n.dims[..n.dims.len().saturating_sub(2)].iter().product::<usize>();
                        if ops > max_ops {
                            return None;
                        }
                        all.extend(n.outer_digits().iter().map(|d| n.flat(d)));
                    }
                    parts.push(Part { repeat, ops: all });
                }
            }
        }
        (parts.len() <= MAX_PARTS + 6).then_some(Lowered { bufs: self.bufs, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(buf: usize, strides: &[isize]) -> View {
        View { buf: BufId(buf), ty: ElemType::F32, offset: 0, strides: strides.to_vec(), step: 0 }
    }

    #[test]
    fn loops_join_where_all_views_allow() {
        let n = Nest {
            op: PeOp::Mov,
            dims: vec![2, 3, 1, 4],
            dst: view(0, &[12, 4, 4, 1]),
            args: vec![Arg::View(view(1, &[0, 4, 4, 1]))],
            ordered: false,
        };
        let n = n.normalized();
        assert_eq!(n.dims, [2, 12]);
        assert_eq!(n.dst.strides, [12, 1]);
        assert_eq!(n.args, [Arg::View(view(1, &[0, 1]))]);
    }

    #[test]
    fn deep_nests_become_tasks_that_repeat() {
        let n = Nest {
            op: PeOp::Mov,
            dims: vec![2, 30, 40, 50],
            dst: view(0, &[1, 2, 60, 2400]),
            args: vec![Arg::View(view(1, &[60000, 2000, 50, 1]))],
            ordered: false,
        };
        let mut p = Prog::default();
        p.push(n);
        let l = p.lower(100).expect("few operations");
        assert_eq!(l.parts.len(), 1);
        assert_eq!((l.parts[0].repeat, l.parts[0].ops.len()), (30, 2));
        let o = &l.parts[0].ops[1];
        assert_eq!((o.n1, o.n0, o.dst.offset, o.dst.step), (40, 50, 1, 2));
        assert_eq!(o.dst.strides, [60, 2400]);
    }
}
