//! Maxima over windows of packed pixels.
//!
//! Rows of an image that start words fold on the VXM, word by word. What is left of a window lies in other
//! lane groups than the result, so it passes a plane whose weights are zeros and ones: in each pass a
//! lane group brings one position and each pixel of the result takes one group. f16 times one, plus
//! zeros, is exact, so the maximum of the passes is too. Bytes are summed in `i32`, which is exact as well; their planes
//! share rows, so each kernel has one pass where those of f16 have two.

use super::packed_conv::Conv;
use super::packing::{Class, PixelLayout, WindowPlan};
use super::tiles::Draft;
use super::view::{Axis, View};
use super::whole_words::{by_word, word_rows};
use super::{Form, Select, Val};
use crate::tiled::{FILL, GROUP_LANES, Init, Kind, NOTHING, Pass, Rows, Src, Step, TensorId};
use quadrille_compiler::ir::{Node, Window};
use quadrille_isa::tsp::{AluOp, AluType};

/// What a maximum sees outside the image: the least byte, or the least finite f16, since minus infinity times
/// zero would not be zero.
fn least(ty: AluType) -> u32 {
    match ty {
        AluType::I8 => 0x80,
        AluType::U8 => 0,
        _ => 0xFBFF,
    }
}

/// What a lane group brings in a pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Brings {
    Nothing,
    Position(usize),
    /// The least number, for a pixel that has had all of its window.
    Least,
}

/// One pass: what each lane group brings, and which group each pixel of the result takes.
#[derive(Clone, Debug)]
struct Choice {
    brings: Vec<Brings>,
    takes: Vec<Option<usize>>,
}

impl Select<'_> {
    /// The maximum over a window of a packed value of f16 or bytes; nothing where the value is not packed.
    pub(super) fn packed_max_pool(&mut self, node: &Node, window: &Window, x: &View) -> Option<Val> {
        let pixels = self.pixels(x.tensor);
        if pixels == 1 || !Self::pixels_on_rows(x) {
            return None;
        }
        let shape = self.graph.shape(node.output).to_vec();
        let whole = self.out.tensors[x.tensor.0 as usize].rows as usize >= self.bank_words;
        let (mut x, window) = self.folded_rows(x, window, &shape, whole);
        let taps = super::conv::taps(&window.kernel);
        let c = Conv {
            node,
            x: node.inputs[0],
            fill: 0,
            window: &window,
            channels: shape[1],
            batch: shape[0],
            m: shape[1],
            spatial: &shape[2..],
            taps: &taps,
        };
        if whole {
            return self.max_by_word(&c, x);
        }
        let (out, p) = self.planned(&c, &x, pixels)?;
        let ty = self.out.tensors[x.tensor.0 as usize].ty;
        let lists: Vec<Vec<Choice>> = p.classes.iter().map(|k| choices(k, &p, pixels)).collect();
        x.tensor = self.filled(x.tensor, least(ty));
        let passes = if self.is_bytes(x.tensor) { 1 } else { 2 };
        let kernels = |l: &Vec<Choice>| l.len().div_ceil(passes);
        let most = lists.iter().map(kernels).max().unwrap_or(0);
        let made: Vec<TensorId> = (0..most)
            .map(|_| {
                let t = self.tensor("", ty, out.words, out.pixels * out.group, Init::Computed);
                self.out.tensors[t.0 as usize].pixels = out.pixels as u32;
                t
            })
            .collect();
        for (class, list) in p.classes.iter().zip(&lists) {
            // All classes end in the last tensor.
            let first = most - kernels(list);
            for (n, pair) in list.chunks(passes).enumerate() {
                let chains = pair.iter().map(|q| self.chosen_chain(&x, &out, class, q)).collect();
                let so_far = (n > 0).then(|| made[first + n - 1]);
                self.max_kernel(chains, &class.words, so_far, made[first + n]);
            }
        }
        let axes = out.axes(&shape);
        Some(Val::Forms(vec![Form { ty, view: View { tensor: *made.last()?, axes, row0: 0, lane0: 0 } }]))
    }

    /// Folds the outer axes of a window where their rows start words: words meet words, no pixel leaves its
    /// lanes. The view and window that are left.
    fn folded_rows(&mut self, x: &View, window: &Window, out_shape: &[usize], whole: bool) -> (View, Window) {
        let pixels = self.pixels(x.tensor) as i64;
        let rank = window.kernel.len();
        let same = (x.clone(), window.clone());
        let tables = x.tables();
        let outer_taps: usize = window.kernel[..rank - 1].iter().product();
        let last = &tables[rank + 1];
        let straight = last.iter().enumerate().all(|(i, t)| t.0 == i as i64);
        let starts = [0].into_iter().chain(2..rank + 1).all(|a| tables[a].iter().all(|t| t.0 % pixels == 0));
        if outer_taps == 1 || !straight || !starts || x.row0 % pixels != 0 {
            return same;
        }
        let a_row = (last.len() as i64 + pixels - 1) / pixels;
        let outer_out = &out_shape[2..rank + 1];
        let words = out_shape[0] * outer_out.iter().product::<usize>() * a_row as usize;
        if words >= self.bank_words && !whole {
            return same;
        }
        let from = self.filled(x.tensor, least(self.out.tensors[x.tensor.0 as usize].ty));
        let lists: Vec<Vec<u32>> = super::conv::taps(&window.kernel[..rank - 1])
            .iter()
            .map(|tap| {
                let mut rows: Vec<Option<i64>> = tables[0].iter().map(|t| Some(x.row0 + t.0)).collect();
                for (i, &extent) in outer_out.iter().enumerate() {
                    let table = &tables[i + 2];
                    rows = rows
                        .iter()
                        .flat_map(|r| {
                            (0..extent).map(move |o| {
                                let at = (o * window.stride[i] + tap[i] * window.dilation[i]) as i64;
                                let step =
                                    usize::try_from(at - window.before[i] as i64).ok().and_then(|p| table.get(p));
                                r.zip(step).map(|(r, s)| r + s.0)
                            })
                        })
                        .collect();
                }
                rows.iter().flat_map(|r| (0..a_row).map(move |k| r.map_or(FILL, |r| (r / pixels + k) as u32))).collect()
            })
            .collect();
        let lanes = self.out.tensors[from.0 as usize].lanes as usize;
        let out: Vec<u32> = (0..words as u32).collect();
        let ty = self.out.tensors[from.0 as usize].ty;
        let t = self.fold(AluOp::Max, ty, from, lists, out, words, lanes);
        self.out.tensors[t.0 as usize].pixels = pixels as u32;
        let mut step = a_row * pixels;
        let mut axes = x.axes.clone();
        axes[rank + 1] = Axis::rows(last.len(), 1);
        for i in (0..rank - 1).rev() {
            axes[i + 2] = Axis::rows(outer_out[i], step);
            step *= outer_out[i] as i64;
        }
        axes[0] = Axis::rows(out_shape[0], step);
        let mut left = window.clone();
        for i in 0..rank - 1 {
            (left.kernel[i], left.stride[i], left.dilation[i], left.before[i], left.after[i]) = (1, 1, 1, 0, 0);
        }
        (View { tensor: t, axes, row0: 0, lane0: x.lane0 }, left)
    }

    /// The maximum over a window of an image of more words than a gather can choose from: each tap is a sum of passes over whole words.
    fn max_by_word(&mut self, c: &Conv<'_>, mut x: View) -> Option<Val> {
        let pixels = self.pixels(x.tensor);
        let out = self.aligned(c, pixels);
        let p = by_word(&c.frame(&x, pixels, &out), true, self.long_runs)?;
        let ty = self.out.tensors[x.tensor.0 as usize].ty;
        if p.classes.iter().any(Class::reads_outside) {
            x.tensor = self.filled(x.tensor, least(ty));
        }
        let (group, lanes) = (out.group, out.pixels * out.group);
        let at_once = if self.is_bytes(x.tensor) { 1 } else { 2 };
        let made: Vec<TensorId> = (0..c.taps.len().div_ceil(at_once))
            .map(|_| {
                let t = self.tensor("", ty, out.words, lanes, Init::Computed);
                self.out.tensors[t.0 as usize].pixels = out.pixels as u32;
                t
            })
            .collect();
        for class in &p.classes {
            let taken: Vec<Vec<u32>> = class.keys.iter().map(|keys| word_rows(class, keys, pixels)).collect();
            let chain = |s: &mut Self, tap: usize| {
                let drafts = class.keys.iter().zip(&taken).filter_map(|(keys, rows)| {
                    let mut weights: Vec<(usize, Vec<f32>)> = Vec::new();
                    for (g, key) in keys.iter().enumerate().filter_map(|(g, k)| k.map(|k| (g, k))) {
                        let takers: Vec<usize> = (0..out.pixels).filter(|&slot| p.key_of[slot][tap] == key).collect();
                        for l in (0..group).filter(|_| !takers.is_empty()) {
                            let mut row = vec![0f32; lanes];
                            takers.iter().for_each(|slot| row[slot * group + l] = 1.0);
                            weights.push((g * group + l, row));
                        }
                    }
                    let act = Rows { tensor: x.tensor, rows: rows.clone() };
                    (!weights.is_empty()).then_some(Draft { act, weights })
                });
                s.chain(&drafts.collect::<Vec<_>>(), lanes)
            };
            let taps: Vec<usize> = (0..c.taps.len()).collect();
            for (n, some) in taps.chunks(at_once).enumerate() {
                let chains = some.iter().map(|&tap| chain(self, tap)).collect();
                let so_far = (n > 0).then(|| made[n - 1]);
                self.max_kernel(chains, &class.words, so_far, made[n]);
            }
        }
        let axes = out.axes(self.graph.shape(c.node.output));
        Some(Val::Forms(vec![Form { ty, view: View { tensor: *made.last()?, axes, row0: 0, lane0: 0 } }]))
    }

    /// `t = max(chains, so_far)` for some words.
    fn max_kernel(&mut self, chains: Vec<Vec<Pass>>, words: &[u32], so_far: Option<TensorId>, t: TensorId) {
        let n = chains.len() as u16;
        let ty = self.out.tensors[t.0 as usize].ty;
        // What a plane sums in.
        let wide = if self.is_bytes(t) { AluType::I32 } else { AluType::F32 };
        let mut steps = Vec::new();
        let mut step = |op, ty, a, b| {
            steps.push(Step { op, ty, src: [a, b, Src::None] });
            Src::Op(steps.len() as u16 - 1)
        };
        let mut best = Src::In(0);
        if n == 2 {
            best = step(AluOp::Max, wide, best, Src::In(1));
        }
        best = step(AluOp::Cast(ty), wide, best, Src::None);
        let mut ins = Vec::new();
        if let Some(a) = so_far {
            best = step(AluOp::Max, ty, best, Src::In(n));
            ins.push(Rows { tensor: a, rows: words.to_vec() });
        }
        let outs = vec![(best, Rows { tensor: t, rows: words.to_vec() })];
        self.kernel(words.len(), Kind::MatMul { chains, ins, steps, outs });
    }

    /// The passes of one choice: one, or two where a load brings half of its rows.
    fn chosen_chain(&mut self, x: &View, out: &PixelLayout, class: &Class, q: &Choice) -> Vec<Pass> {
        let (pixels, groups, group) = (out.pixels, self.lanes / GROUP_LANES, out.group);
        let mut sources = vec![NOTHING; class.words.len() * groups];
        for (w, list) in class.pixels.iter().enumerate() {
            for (g, b) in q.brings.iter().enumerate() {
                let source = match b {
                    Brings::Nothing => continue,
                    Brings::Least => FILL,
                    Brings::Position(key) => list[*key].map_or(FILL, |v| v / pixels as u32),
                };
                let first = w * groups + g * group / GROUP_LANES;
                sources[first..first + group / GROUP_LANES].fill(source);
            }
        }
        let t = self.gathered(x.tensor, sources, class.words.len());
        let lanes = pixels * group;
        let mut weights: Vec<(usize, Vec<f32>)> = Vec::new();
        for g in 0..pixels {
            for l in 0..group {
                let mut row = vec![0f32; lanes];
                let takers = (0..pixels).filter(|&s| q.takes[s] == Some(g));
                takers.for_each(|s| row[s * group + l] = 1.0);
                weights.push((g * group + l, row));
            }
        }
        let draft = Draft { act: Rows { tensor: t, rows: (0..class.words.len() as u32).collect() }, weights };
        self.chain(&[draft], lanes)
    }
}

/// Passes that bring every pixel of a word its whole window, as few as a greedy choice finds.
fn choices(class: &Class, p: &WindowPlan, pixels: usize) -> Vec<Choice> {
    let mut group: Vec<Option<usize>> = vec![None; p.key_of.iter().flatten().max().map_or(0, |m| m + 1)];
    for pass in &class.keys {
        for (g, key) in pass.iter().enumerate() {
            if let Some(k) = *key {
                group[k] = Some(g);
            }
        }
    }
    // Positions outside of every image of the class have no group, and nothing to bring.
    let mut left: Vec<Vec<usize>> = (0..pixels)
        .map(|s| {
            let mut keys: Vec<usize> = p.key_of[s].iter().copied().filter(|&k| group[k].is_some()).collect();
            keys.sort_unstable();
            keys.dedup();
            keys
        })
        .collect();
    let mut list = Vec::new();
    while left.iter().any(|l| !l.is_empty()) {
        let mut c = Choice { brings: vec![Brings::Nothing; pixels], takes: vec![None; pixels] };
        for (s, keys) in left.iter_mut().enumerate() {
            let rank = |&k: &usize| {
                let g = group[k]?;
                match c.brings[g] {
                    Brings::Position(held) if held == k => Some(0),
                    Brings::Nothing => Some(1),
                    _ => None,
                }
            };
            let best = (0..keys.len()).filter_map(|i| rank(&keys[i]).map(|r| (r, i))).min();
            if let Some((_, i)) = best {
                let k = keys.remove(i);
                c.takes[s] = group[k];
                if let Some(g) = group[k] {
                    c.brings[g] = Brings::Position(k);
                }
            }
        }
        // Every group that brings a position serves a pixel, so some group is left for the others.
        if let Some(free) = c.brings.iter().position(|b| *b == Brings::Nothing) {
            let idle: Vec<usize> = (0..pixels).filter(|&s| c.takes[s].is_none()).collect();
            if !idle.is_empty() {
                c.brings[free] = Brings::Least;
                idle.into_iter().for_each(|s| c.takes[s] = Some(free));
            }
        }
        list.push(c);
    }
    list
}
