//! Elementwise nodes and epilogues.

use super::{Obstacle, Partitioner, Source, View, through};
use crate::kernels::{ByChannel, Copy, Core, Join};
use crate::layout::{Layout, Loop, strides};
use crate::steps::{Arg, Step, Table};
use crate::streams::{KernelId, Producer, StreamId};
use quadrille_compiler::ir::{Binary, EpilogueStep, Node, Unary, ValueId};
use std::sync::Arc;

/// A step still without its constant: operand, swapped or not.
enum Wanted {
    Ready(Step),
    With(Binary, ValueId, bool),
}

/// Bytes of a constant that one PE holds beside its program and a block.
const MOST_CONSTANT: usize = 40960;

fn no_step(op: &str) -> Obstacle {
    Obstacle::new(
        format!("the PEs have no operation that {op} could be made of"),
        "use --target tsp, or approximate it with exp, reciprocal and products",
    )
}

impl Partitioner<'_> {
    pub(super) fn unary(&mut self, node: &Node, u: Unary) -> Result<Source, Obstacle> {
        let step = Step::unary(u).ok_or_else(|| no_step(u.name()))?;
        self.point(node, node.inputs[0], Wanted::Ready(step))
    }

    pub(super) fn binary(&mut self, node: &Node, b: Binary) -> Result<Source, Obstacle> {
        let (x, y) = (node.inputs[0], node.inputs[1]);
        let out = self.g.shape(node.output);
        let swapped = self.constant(x).is_some();
        if swapped || self.constant(y).is_some() {
            let (value, constant) = if swapped { (y, x) } else { (x, y) };
            if self.g.ty(value).elements() != self.g.ty(node.output).elements() {
                return Err(Obstacle::new(
                    "the stream would have to be repeated against a larger constant",
                    "give both operands the same extents",
                ));
            }
            return self.point(node, value, Wanted::With(b, constant, swapped));
        }
        if let Some(gated) = self.by_channel(node, b)? {
            return Ok(gated);
        }
        if self.g.shape(x) != out || self.g.shape(y) != out {
            return Err(Obstacle::new(
                "two streams of different extents cannot be joined element by element yet",
                "give both operands the same extents, or use --target tsp",
            ));
        }
        self.join(node, (x, y), |order| Join::new(b, order).ok_or_else(|| no_step(b.name())))
    }

    /// A stream times a number, plus another stream.
    pub(super) fn fma(&mut self, node: &Node) -> Result<Source, Obstacle> {
        let &[x, factor, y] = &node.inputs[..] else { return Err(no_step("fma")) };
        let factor = self.constant_f32(factor).map(|f| f.to_vec());
        let same = [x, y].iter().all(|&v| self.g.shape(v) == self.g.shape(node.output) && self.constant(v).is_none());
        let (Some([factor]), true) = (factor.as_deref(), same) else {
            return Err(Obstacle::new("it is not a stream times a number plus a stream", "use --target tsp"));
        };
        self.join(node, (x, y), |order| Ok(Join::scaled(*factor, order)))
    }

    fn join(
        &mut self,
        node: &Node,
        (x, y): (ValueId, ValueId),
        core: impl FnOnce(&Layout) -> Result<Join, Obstacle>,
    ) -> Result<Source, Obstacle> {
        let order = match (self.arrives(x)?, self.arrives(y)?) {
            (Some(l), _) | (None, Some(l)) => l,
            _ => Layout::row_major(self.g.shape(node.output)),
        };
        let core = core(&order)?;
        if self.source(x)?.0 == self.source(y)?.0 {
            return Err(Obstacle::new(
                "both operands are the same stream, which arrives only once",
                "write x + x as 2 x, x * x as a power",
            ));
        }
        let order = core.layout().clone();
        let inputs = vec![self.want(x, &order)?, self.want(y, &order)?];
        Ok(self.add(node, Box::new(core), inputs).1)
    }

    /// An image and a stream of one value a channel of it, in either order.
    fn by_channel(&mut self, node: &Node, b: Binary) -> Result<Option<Source>, Obstacle> {
        let &[n, c, h, w] = self.g.shape(node.output) else { return Ok(None) };
        if h * w == 1 {
            return Ok(None);
        }
        let of = |v: ValueId| (self.g.shape(v) == [n, c, h, w], self.g.shape(v) == [n, c, 1, 1]);
        let (x, y) = (node.inputs[0], node.inputs[1]);
        let (image, gate) = match (of(x), of(y)) {
            ((true, _), (_, true)) => (x, y),
            ((_, true), (true, _)) if b != Binary::Sub => (y, x),
            _ => return Ok(None),
        };
        let Some(core) = ByChannel::new(b, [n, c, h, w]) else { return Ok(None) };
        if self.source(image)?.0 == self.source(gate)?.0 {
            return Ok(None);
        }
        let image = self.want(image, &Layout::image([n, c, h, w]))?;
        let gate = self.want(gate, &Layout::new(&[(n, c), (c, 1)]))?;
        Ok(Some(self.add(node, Box::new(core), vec![image, gate]).1))
    }

    /// A step on one stream: part of the kernel that makes it when that kernel can take it and
    /// nobody else reads the stream, else a kernel of its own.
    fn point(&mut self, node: &Node, v: ValueId, wanted: Wanted) -> Result<Source, Obstacle> {
        let (id, views, solo) = self.source(v)?;
        if solo
            && let Producer::Kernel(k) = self.out.stream(id).producer
            && let Some(step) = self.resolve(&wanted, v, node.output, k, &views)?
        {
            self.push_step(k, step, self.g.origin_name(node).to_string());
            let solo = self.uses[node.output.0 as usize] == 1;
            return Ok(Source::Stream { id, views, solo });
        }
        let mut input = self.any_order(v)?;
        if let Wanted::With(_, constant, _) = &wanted {
            input.layout = along(&input.layout, self.g.shape(*constant), self.g.shape(node.output));
        }
        let mut core = Copy::new(&input.layout);
        if self.is_large(&wanted) || self.repeats(&wanted, node.output, core.layout()) {
            if let Wanted::With(_, constant, _) = &wanted {
                // Rows that were cut for the kernel before are whole here.
                let order = Layout { loops: input.layout.normalized() };
                input.layout = along(&order, self.g.shape(*constant), self.g.shape(node.output));
            }
            core = Copy::in_large_blocks(&input.layout);
        }
        let (k, source) = self.add(node, Box::new(core), vec![input]);
        let step = self
            .resolve(&wanted, v, node.output, k, &[])?
            .ok_or_else(|| Obstacle::new("its constant does not follow the order of the stream", "use --target tsp"))?;
        self.push_step(k, step, String::new());
        Ok(source)
    }

    /// True when the constant is more than one PE should hold.
    fn is_large(&self, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::With(_, constant, _) => self.g.ty(*constant).elements() * 4 > MOST_CONSTANT,
            Wanted::Ready(_) => false,
        }
    }

    /// True when a kernel of that order would hold the constant again and again, more than one PE should: it varies along a loop
    /// around others that it does not vary along.
    fn repeats(&self, wanted: &Wanted, out: ValueId, layout: &Layout) -> bool {
        let Wanted::With(_, constant, _) = wanted else { return false };
        let Some(data) = self.constant_f32(*constant) else { return false };
        let table = Table::new(data, self.g.shape(*constant), self.g.shape(out), layout);
        table.bytes_of_row() > MOST_CONSTANT
    }

    fn push_step(&mut self, k: KernelId, step: Step, name: String) {
        let kernel = &mut self.out.kernels[k.0];
        let first = kernel.steps.is_empty();
        let taken =
            first && step.added().is_some_and(|a| Arc::get_mut(&mut kernel.core).is_some_and(|c| c.take_bias(a)));
        if !taken {
            kernel.steps.push(step);
        }
        if !name.is_empty() && kernel.names.last() != Some(&name) {
            kernel.names.push(name);
        }
    }

    /// The step for kernel `k`, whose result is seen through `views`; `None` when that kernel
    /// cannot take it.
    fn resolve(
        &self,
        wanted: &Wanted,
        v: ValueId,
        out: ValueId,
        k: KernelId,
        views: &[View],
    ) -> Result<Option<Step>, Obstacle> {
        let kernel = &self.out.kernels[k.0];
        if !kernel.core.takes_steps() {
            return Ok(None);
        }
        let step = match wanted {
            Wanted::Ready(s) => s.clone(),
            Wanted::With(b, constant, swapped) => {
                let data = self
                    .constant_f32(*constant)
                    .ok_or_else(|| Obstacle::new("its constant operand is not f32", "use a float32 model"))?;
                let arg = if let [v] = data[..] {
                    Arg::Imm(v)
                } else {
                    // Extents of one in front of the value do not matter: indices are the same.
                    let shape = self.g.shape(out).to_vec();
                    let _ = v;
                    let Some(layout) = through(kernel.core.layout(), views) else { return Ok(None) };
                    let borders = borders(self.g.shape(*constant), &shape);
                    let follows = borders.iter().all(|b| layout.loops.iter().all(|l| !crosses(l, *b)));
                    if !follows || layout.loops.len() != kernel.core.layout().loops.len() {
                        return Ok(None);
                    }
                    Arg::Table(Table::new(data, self.g.shape(*constant), &shape, &layout))
                };
                Step::binary(*b, arg, *swapped).ok_or_else(|| no_step(b.name()))?
            }
        };
        // The PE of one unit holds that unit's constants of all blocks.
        let all = kernel.core.layout().elements() * 4 / kernel.core.units().max(1);
        let held = kernel.core.one_task() && (all <= MOST_CONSTANT || !self.is_large(wanted));
        let once = step.tables().all(|t| t.bytes_of_row() <= MOST_CONSTANT);
        let fits = once && held || !step.tables().any(Table::varies_outside_block);
        Ok(fits.then_some(step))
    }

    /// The steps of a node's epilogue, on the kernel just made for it.
    pub(super) fn epilogue(&mut self, node: &Node, source: Source, steps: &[EpilogueStep]) -> Result<Source, Obstacle> {
        let mut extra = node.inputs[2..].iter().copied();
        let mut source = source;
        for s in steps {
            let operand = |e: &mut dyn Iterator<Item = ValueId>| {
                e.next().ok_or_else(|| Obstacle::new("an epilogue operand is missing", "check the graph"))
            };
            let ready = |s: Option<Step>, name: &str| s.map(Wanted::Ready).ok_or_else(|| no_step(name));
            let wanted = match s {
                EpilogueStep::Add => Wanted::With(Binary::Add, operand(&mut extra)?, false),
                EpilogueStep::Mul => Wanted::With(Binary::Mul, operand(&mut extra)?, false),
                EpilogueStep::Prelu => Wanted::With(Binary::Prelu, operand(&mut extra)?, false),
                EpilogueStep::Relu => ready(Step::unary(Unary::Relu), "relu")?,
                EpilogueStep::Sigmoid => ready(Step::unary(Unary::Sigmoid), "sigmoid")?,
                EpilogueStep::Tanh => ready(Step::unary(Unary::Tanh), "tanh")?,
                EpilogueStep::Gelu => Wanted::Ready(Step::gelu()),
                EpilogueStep::GeluTanh => Wanted::Ready(Step::gelu_tanh()),
                EpilogueStep::Silu(bits) => Wanted::Ready(Step::silu(f32::from_bits(*bits))),
                EpilogueStep::HardSwish => Wanted::Ready(Step::hard_swish()),
                EpilogueStep::LeakyRelu(bits) => Wanted::Ready(Step::leaky(f32::from_bits(*bits))),
                EpilogueStep::MaxConst(bits) => {
                    ready(Step::binary(Binary::Max, Arg::Imm(f32::from_bits(*bits)), false), "max")?
                }
                EpilogueStep::MinConst(bits) => {
                    ready(Step::binary(Binary::Min, Arg::Imm(f32::from_bits(*bits)), false), "min")?
                }
            };
            source = self.epilogue_step(node, source, wanted)?;
        }
        Ok(source)
    }

    fn epilogue_step(&mut self, node: &Node, source: Source, wanted: Wanted) -> Result<Source, Obstacle> {
        let Source::Stream { id, views, solo } = source else { return Ok(source) };
        let Producer::Kernel(k) = self.out.stream(id).producer else {
            return Ok(Source::Stream { id, views, solo });
        };
        if let Wanted::With(b, other, _) = &wanted
            && self.constant(*other).is_none()
        {
            return self.epilogue_join(node, id, *b, *other);
        }
        if let Some(step) = self.resolve(&wanted, node.output, node.output, k, &views)? {
            self.push_step(k, step, String::new());
            return Ok(Source::Stream { id, views, solo });
        }
        // The kernel cannot hold the constant: one more kernel after it.
        let layout = self.out.stream(id).layout.clone().unwrap_or_else(|| Layout::row_major(self.g.shape(node.output)));
        let core = Copy::new(&layout);
        let input = crate::streams::Operand { stream: id, layout };
        let (k, source) = self.add(node, Box::new(core), vec![input]);
        let step = self
            .resolve(&wanted, node.output, node.output, k, &[])?
            .ok_or_else(|| Obstacle::new("its constant does not follow the order of the stream", "use --target tsp"))?;
        self.push_step(k, step, String::new());
        Ok(source)
    }

    /// An epilogue operand that is a stream: a residual.
    fn epilogue_join(&mut self, node: &Node, id: StreamId, b: Binary, other: ValueId) -> Result<Source, Obstacle> {
        if self.g.shape(other) != self.g.shape(node.output) {
            return Err(Obstacle::new(
                "an epilogue operand that is a stream must have the extents of the result",
                "give both operands the same extents, or use --target tsp",
            ));
        }
        let layout = self.out.stream(id).layout.clone().unwrap_or_else(|| Layout::row_major(self.g.shape(node.output)));
        let core = Join::new(b, &layout).ok_or_else(|| no_step(b.name()))?;
        let order = core.layout().clone();
        let first = crate::streams::Operand { stream: id, layout: order.clone() };
        let second = self.want(other, &order)?;
        Ok(self.add(node, Box::new(core), vec![first, second]).1)
    }
}

/// Steps of a value of `shape` at which a constant begins or ends to vary.
fn borders(constant: &[usize], shape: &[usize]) -> Vec<usize> {
    let lead = shape.len().saturating_sub(constant.len());
    let varies = |a: usize| a >= lead && constant[a - lead] > 1;
    let axes: Vec<usize> = (0..shape.len()).filter(|&a| shape[a] > 1).collect();
    let steps = strides(shape);
    axes.windows(2).filter(|w| varies(w[0]) != varies(w[1])).map(|w| steps[w[0]]).collect()
}

/// True when a loop goes on beyond such a step: it alone does not say where in the constant it is.
fn crosses(l: &Loop, border: usize) -> bool {
    l.step < border && l.step * l.count > border
}

/// The same order in loops that end at the borders of a constant, as far as they can.
fn along(order: &Layout, constant: &[usize], shape: &[usize]) -> Layout {
    let mut layout = order.clone();
    for border in borders(constant, shape) {
        let Some(i) = layout.loops.iter().position(|l| crosses(l, border)) else { continue };
        let Loop { count, step } = layout.loops[i];
        let inner = border / step.max(1);
        if border.is_multiple_of(step.max(1)) && count.is_multiple_of(inner) {
            layout.loops[i] = Loop { count: inner, step };
            layout.loops.insert(i, Loop { count: count / inner, step: border });
        }
    }
    layout
}
