//! Pooling: a fold over taps, a few taps a kernel.

use super::conv::{tap_rows, taps};
use super::expr::Why;
use super::finish::tree;
use super::view::{View, layout};
use super::{Form, Select, Val};
use crate::tiled::{FILL, Init, Kind, Rows, Src, Step, TensorId};
use quadrille_compiler::ir::Node;
use quadrille_compiler::ir::{Pool, Window};
use quadrille_isa::tsp::{AluOp, AluType};
use quadrille_isa::{DType, Tensor};

impl Select<'_> {
    pub(super) fn pool(&mut self, node: &Node, kind: Pool, window: &Window) -> Result<Val, Why> {
        let wanted = self.wants.forms(node.output);
        let max = kind == Pool::Max;
        let bytes = match self.graph.ty(node.output).dtype {
            DType::F32 => None,
            d @ (DType::I8 | DType::U8) if max => Some(d),
            _ => return Err(("pooling of other types than f32, i8 and u8".into(), "cast to f32 first".into())),
        };
        let half = max && wanted == [AluType::F16];
        let shape = self.graph.shape(node.inputs[0]).to_vec();
        if half || bytes.is_some() {
            let ty = if half { AluType::F16 } else { self.ty(node.output) };
            let x = self.any_form(node.inputs[0], ty)?;
            if let Some(v) = self.packed_max_pool(node, window, &x) {
                return Ok(v);
            }
        }
        let x = if half { self.half(node.inputs[0])? } else { self.view(node.inputs[0])? };
        let mut x = self.pixel_rows(x, &shape)?;
        let out_shape = self.graph.shape(node.output).to_vec();
        let (batch, spatial) = (out_shape[0], out_shape[2..].to_vec());
        let all = taps(&window.kernel);
        let blocks: Vec<i64> = {
            let mut b: Vec<i64> = x.axes[1].table().iter().map(|t| t.0).collect();
            b.sort_unstable();
            b.dedup();
            b
        };
        // Output rows in the order of blocks, then pixels: as the layout of the result has them.
        let (mut axes, rows, _) = layout(&out_shape, Some(1), self.lanes);
        axes[1] = x.axes[1].clone();
        let pixels: usize = batch * spatial.iter().product::<usize>();
        let numbers: std::collections::BTreeMap<i64, i64> =
            blocks.iter().enumerate().map(|(i, &b)| (b, (i * pixels) as i64)).collect();
        let uneven = axes[1].digits.iter().filter(|d| d.lane == 0 && d.extent > 1).count() > 1;
        if uneven {
            return Err(("its channels lie in several blocks of blocks".into(), "reshape in the model".into()));
        }
        for d in &mut axes[1].digits {
            if d.lane == 0 && d.extent > 1 {
                d.row = pixels as i64;
            }
        }
        let rows = rows.max(pixels * blocks.len());
        let lanes = Self::reach(&axes, x.lane0);
        let ty = if half { AluType::F16 } else { self.ty(node.output) };
        let fill = match (max, half) {
            _ if bytes == Some(DType::I8) => 0x80,
            _ if bytes.is_some() => 0,
            (true, true) => 0xFC00,
            (true, false) => f32::NEG_INFINITY.to_bits(),
            (false, _) => 0,
        };
        let lists: Vec<Vec<u32>> = all
            .iter()
            .map(|tap| blocks.iter().flat_map(|&b| tap_rows(&x, &spatial, window, tap, batch, b)).collect())
            .collect();
        if lists.iter().any(|l| l.contains(&FILL)) && !self.want_fill(x.tensor, fill) {
            x.tensor = self.copied(x.tensor);
            self.want_fill(x.tensor, fill);
        }
        let op = if max { AluOp::Max } else { AluOp::Add };
        let out: Vec<u32> = blocks.iter().flat_map(|b| (0..pixels as u32).map(|p| numbers[b] as u32 + p)).collect();
        let sum = self.fold(op, ty, x.tensor, lists, out, rows, lanes);
        let view = View { tensor: sum, axes, row0: 0, lane0: x.lane0 };
        if max {
            return Ok(Val::Forms(vec![Form { ty, view }]));
        }
        let counts = counts(kind, window, &shape[2..], &spatial);
        let scale: Vec<f32> = counts.iter().map(|&c| 1.0 / c as f32).collect();
        let mut lazy = self.start(&out_shape);
        let a = super::elementwise::add_in(&mut lazy, super::LazyIn::View(view));
        let factor = if scale.iter().all(|s| *s == scale[0]) {
            Src::Imm(scale[0].to_bits())
        } else {
            let mut s = vec![1, 1];
            s.extend(&spatial);
            super::elementwise::add_in(&mut lazy, super::LazyIn::Const(Tensor::from_f32(&s, &scale)))
        };
        lazy.result = lazy.expr.f2(AluOp::Mul, a, factor);
        Ok(Val::Lazy(Box::new(lazy)))
    }

    /// Folds row lists of one tensor into new rows, as many lists a kernel as slices allow.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn fold(
        &mut self,
        op: AluOp,
        ty: AluType,
        from: TensorId,
        lists: Vec<Vec<u32>>,
        out: Vec<u32>,
        rows: usize,
        lanes: usize,
    ) -> TensorId {
        // Each list at once is a copy of the tensor, so large ones are folded in more steps.
        let words = self.out.tensors[from.0 as usize].rows as usize * usize::from(ty.bytes());
        let room = (self.row_words / (6 * words.max(1))).max(1);
        let fold = self.fold.min(room);
        let most = if lists.len() <= fold { fold } else { fold.saturating_sub(1).max(1) };
        let tail = self.out.tensors[from.0 as usize].tail;
        let mut acc: Option<TensorId> = None;
        let mut left = lists.into_iter().peekable();
        while left.peek().is_some() {
            let mut ins: Vec<Rows> = Vec::new();
            if let Some(t) = acc {
                ins.push(Rows { tensor: t, rows: out.clone() });
            }
            ins.extend(left.by_ref().take(most).map(|rows| Rows { tensor: from, rows }));
            let mut steps = tree(op, ty, ins.len());
            if steps.is_empty() {
                let int = [AluType::I8, AluType::I8, AluType::I16, AluType::I32, AluType::I32][usize::from(ty.bytes())];
                steps.push(Step { op: AluOp::Or, ty: int, src: [Src::In(0), Src::Imm(0), Src::None] });
            }
            let t = self.tensor("", ty, rows, lanes, Init::Computed);
            let tails: Vec<u32> = ins
                .iter()
                .map(|r| if r.tensor == from { tail } else { self.out.tensors[r.tensor.0 as usize].tail })
                .collect();
            let after = super::finish::tails_of(&steps, &tails);
            self.out.tensors[t.0 as usize].tail = after.last().copied().unwrap_or(0);
            let n = out.len();
            let result = Src::Op(steps.len() as u16 - 1);
            let outs = vec![(result, Rows { tensor: t, rows: out.clone() })];
            self.kernel(n, Kind::Map { ins, steps, outs });
            acc = Some(t);
        }
        acc.unwrap_or(from)
    }
}

/// Cells that the average of each output pixel divides by.
fn counts(kind: Pool, w: &Window, input: &[usize], output: &[usize]) -> Vec<usize> {
    let mut all = vec![1usize];
    for i in 0..output.len() {
        let own: Vec<usize> = (0..output[i])
            .map(|o| {
                (0..w.kernel[i])
                    .filter(|&k| {
                        let at = (o * w.stride[i] + k * w.dilation[i]) as i64 - w.before[i] as i64;
                        match kind {
                            Pool::AverageIncludePad => at < (input[i] + w.after[i]) as i64,
                            _ => at >= 0 && at < input[i] as i64,
                        }
                    })
                    .count()
                    .max(1)
            })
            .collect();
        all = all.iter().flat_map(|a| own.iter().map(move |b| a * b)).collect();
    }
    all
}
