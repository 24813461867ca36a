//! Selection and tiling: a tensor graph becomes kernels over rows.
//!
//! Elementwise nodes with one consumer stay unfinished ([`Lazy`]) so that they join the ALU sequence
//! of what follows or of the product before. Movement of data is a change of [`View`] wherever
//! that can express it. Knows the machine's widths; knows no slices and no cycles.

mod affine;
mod apart;
mod assemble;
mod byte_product;
mod cast;
mod constant;
mod conv;
mod elementwise;
mod expr;
mod finish;
mod fuse;
mod gather;
mod gemm;
mod heads;
mod lane_max;
mod lane_sums;
mod math;
mod matmul;
mod moments;
mod movement;
mod norm;
mod packed;
mod packed_conv;
mod packed_pool;
mod packing;
mod padding;
mod pool;
mod product_way;
mod prune;
mod quotient;
mod reduce;
mod shorten;
mod softmax;
mod softmax_words;
mod sums;
mod tiles;
mod turned;
pub(crate) mod view;
mod wants;
mod whole_words;

pub(crate) use byte_product::factors;

use super::Plan;
use super::cost::Cost;
use super::error::{CompileError, Unsupported};
use super::tiled::{HostPiece, Init, InputDef, Kernel, Kind, NodeNo, OutputDef, RowTensor, TensorId, TiledGraph};
use super::way::ProductWay;
use expr::{Expr, Why};
use quadrille_compiler::ir::{Graph, Node, Op, ValueDef, ValueId};
use quadrille_compiler::legalize::taken_over;
use quadrille_isa::tsp::{AluType, Machine};
use quadrille_isa::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use view::{Axis, View};
use wants::Wants;

/// A materialised value in one element type.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) ty: AluType,
    pub(crate) view: View,
}

/// Operand of an unfinished sequence.
#[derive(Clone, Debug)]
pub(crate) enum LazyIn {
    View(View),
    Const(Tensor),
}

/// Passes whose sums start an unfinished sequence.
#[derive(Clone, Debug)]
pub(crate) struct MatBase {
    /// One kernel a block of output rows: chains, and the first output row.
    pub(crate) blocks: Vec<MatBlock>,
    pub(crate) axes: Vec<Axis>,
    pub(crate) lane0: i64,
    pub(crate) rows: usize,
    pub(crate) lanes: usize,
    pub(crate) chains: usize,
    /// Pixels a word of the result.
    pub(crate) pixels: usize,
    /// The first sum over the second, instead of both added.
    pub(crate) quotient: bool,
}

/// A kernel of a product: which output rows, by which passes.
#[derive(Clone, Debug)]
pub(crate) struct MatBlock {
    pub(crate) out_rows: Vec<u32>,
    pub(crate) chains: Vec<Vec<super::tiled::Pass>>,
}

/// An unfinished ALU sequence. Operands `0 .. chains` of the steps are the sums of `mat`.
#[derive(Clone, Debug)]
pub(crate) struct Lazy {
    pub(crate) mat: Option<MatBase>,
    pub(crate) ins: Vec<LazyIn>,
    pub(crate) expr: Expr,
    pub(crate) result: super::tiled::Src,
    pub(crate) ty: AluType,
    pub(crate) shape: Vec<usize>,
    pub(crate) node: NodeNo,
}

#[derive(Clone, Debug)]
enum Val {
    None,
    Forms(Vec<Form>),
    Lazy(Box<Lazy>),
    Const(Tensor),
    /// An input: forms are made when the first consumer is known.
    Input(u32),
    Failed,
}

pub(crate) struct Select<'a> {
    graph: &'a Graph,
    lanes: usize,
    alus: usize,
    /// Streams of operands that one kernel may take besides activations, in groups of four.
    groups: usize,
    /// Operands of a fold at once.
    fold: usize,
    weight_slots: usize,
    /// There are slices for the weights of two planes at once.
    two_loads: bool,
    /// Words of all slices together.
    row_words: usize,
    transposers: bool,
    /// Several pixels a word where that saves passes.
    packing: bool,
    /// Small axes side by side on lanes.
    compact: bool,
    /// What ways to map products cost, and the one that is wanted.
    cost: Cost,
    product_way: Option<ProductWay>,
    /// Words that one gather can choose from.
    bank_words: usize,
    /// Program text is short: rows in an order in which they are read in long runs.
    long_runs: bool,
    /// Products of bytes, between which others go in pieces.
    pieces: bool,
    /// There are images of floats of more words than that, which leave few runs of words for address maps.
    crowded: bool,
    out: TiledGraph,
    vals: Vec<Val>,
    wants: Wants,
    node: NodeNo,
    maps: BTreeMap<Vec<(u16, u16)>, TensorId>,
    ones: BTreeMap<(lane_sums::Runs, u32), lane_sums::Ones>,
    /// Of one number, by where it goes; whether they are bytes.
    spreads: BTreeMap<(quotient::Spread, i32, bool), lane_sums::Ones>,
    /// Rows that are added to sums of bytes, in `i32` until somebody scales them.
    zero_rows: BTreeSet<TensorId>,
    /// Exponentials of softmaxes that one product takes.
    powers: BTreeMap<ValueId, View>,
    /// Ranges of tensors of which something is known.
    ranges: BTreeMap<TensorId, shorten::Range>,
    /// Zeros keep their signs: nothing sums floats, so results are right to the bit.
    zeros: bool,
    /// What is added to the arguments of softmaxes, less its maximum along an axis, and how much lower.
    lowered: Vec<(View, usize, f32, View)>,
    /// The maxima of such, along an axis.
    maxima: Vec<(View, usize, View)>,
    /// Model outputs that lie in rows as no view can say.
    laid: Vec<gemm::Laid>,
}

/// Element type on the device of a host element type. bf16, u16 and u32 are kept as bits: only movement and
/// conversions see them.
pub(crate) fn device_type(d: DType) -> Option<AluType> {
    Some(match d {
        DType::F32 => AluType::F32,
        DType::I8 => AluType::I8,
        DType::U8 | DType::Bool => AluType::U8,
        DType::F16 => AluType::F16,
        DType::I16 | DType::U16 | DType::BF16 => AluType::I16,
        DType::I32 | DType::U32 | DType::I64 => AluType::I32,
        _ => return None,
    })
}

/// A finished selection: the tiled graph, and every node that could not be selected.
pub(crate) struct Selection {
    pub(crate) tiled: TiledGraph,
    pub(crate) failed: Vec<(usize, Unsupported)>,
}

/// True for a product of bytes.
fn multiplies_bytes(g: &Graph, n: &Node) -> bool {
    let product = matches!(n.op, Op::MatMul { .. } | Op::Conv { .. });
    product && (g.ty(n.inputs[0]).dtype.is_int() || byte_product::factors(g, n).is_some())
}

/// True for operations whose sums of floats have an order of their own.
fn sums_floats(g: &Graph, n: &Node) -> bool {
    let sums = matches!(n.op, Op::MatMul { .. } | Op::Conv { .. } | Op::Norm { .. } | Op::Softmax { .. });
    sums && g.ty(n.inputs[0]).dtype == DType::F32
}

/// Selects kernels for every node; nodes that depend on a failed one are skipped, not reported.
pub(crate) fn select(graph: &Graph, m: &Machine, plan: Plan) -> Result<Selection, CompileError> {
    let usable = (m.geometry.mem_slices_per_hemisphere - m.program.reserved_slices_per_hemisphere) as usize;
    let mut s = Select {
        graph,
        lanes: m.lanes(),
        alus: m.geometry.alus as usize,
        groups: if usable >= 32 { 6 } else { 2 * (usable / 4).min(3) },
        fold: if usable >= 32 && !plan.compact { 4 } else { 1 },
        weight_slots: super::sched::memory::weight_slices(m) as usize,
        two_loads: usable >= 40 && m.geometry.planes_per_hemisphere == 2 && !plan.compact,
        row_words: 2 * usable * m.geometry.words_per_slice as usize,
        transposers: m.geometry.sxm_transposers_per_hemisphere > 0 && usable >= 16,
        packing: plan.packing,
        compact: plan.compact,
        long_runs: plan.long_runs,
        cost: Cost::new(m),
        product_way: plan.product,
        bank_words: m.words_per_bank() as usize,
        pieces: graph.nodes().iter().any(|n| multiplies_bytes(graph, n)),
        crowded: false,
        out: TiledGraph { name: graph.name.clone(), ..TiledGraph::default() },
        vals: vec![Val::None; graph.values().len()],
        wants: Wants::of(graph),
        node: NodeNo(0),
        maps: BTreeMap::new(),
        ones: BTreeMap::new(),
        spreads: BTreeMap::new(),
        zero_rows: BTreeSet::new(),
        powers: BTreeMap::new(),
        ranges: BTreeMap::new(),
        zeros: !graph.nodes().iter().any(|n| sums_floats(graph, n)),
        lowered: Vec::new(),
        maxima: Vec::new(),
        laid: Vec::new(),
    };
    s.out.nodes = graph.origins().iter().map(|o| o.name.clone()).collect();
    if s.out.nodes.is_empty() {
        s.out.nodes.push(graph.name.clone());
    }
    let mut failed = Vec::new();
    for (n, &v) in graph.inputs.iter().enumerate() {
        let value = graph.value(v);
        s.out.inputs.push(InputDef { name: value.name.clone(), dtype: value.ty.dtype, shape: value.ty.shape.clone() });
        s.vals[v.0 as usize] = Val::Input(n as u32);
    }
    for (n, v) in graph.values().iter().enumerate() {
        if let ValueDef::Const(t) = &v.def {
            s.vals[n] = Val::Const(t.clone());
        }
    }
    for (number, node) in graph.nodes().iter().enumerate() {
        if !s.wants.alive(node.output) {
            continue;
        }
        s.node = NodeNo(node.origin.0);
        if node.inputs.iter().any(|v| matches!(s.vals[v.0 as usize], Val::Failed)) {
            s.vals[node.output.0 as usize] = Val::Failed;
            continue;
        }
        if let Err((reason, remedy)) = s.select_node(node) {
            s.vals[node.output.0 as usize] = Val::Failed;
            failed.push((number, s.unsupported(node, reason, remedy)));
        }
    }
    if failed.is_empty() {
        s.outputs()?;
        prune::prune(&mut s.out);
        fuse::fuse(&mut s.out, s.alus, s.groups, s.zeros);
        apart::apart(&mut s.out);
    }
    Ok(Selection { tiled: s.out, failed })
}

impl Select<'_> {
    fn unsupported(&self, node: &Node, reason: String, remedy: String) -> Unsupported {
        let shape = self.graph.ty(node.output);
        Unsupported {
            node: self.graph.origin_name(node).to_string(),
            op: node.op.name().to_string(),
            shape: format!("{shape}"),
            reason,
            remedy,
        }
    }

    fn select_node(&mut self, node: &Node) -> Result<(), Why> {
        let out = self.graph.ty(node.output).clone();
        if out.elements() == 0 {
            return Err(("it has no elements".into(), "remove it from the model".into()));
        }
        if self.fold_constant(node)? {
            return Ok(());
        }
        for &v in node.inputs.iter().chain([&node.output]) {
            let d = self.graph.ty(v).dtype;
            if device_type(d).is_none() {
                return Err((format!("the VXM has no {d} elements"), "convert the model to f32".into()));
            }
        }
        let val = match &node.op {
            _ if self.laid.iter().any(|l| l.value == node.output) => Val::None,
            // The convolutions behind read the value inside, or a plane sums the bytes.
            Op::Pad { .. } if taken_over(self.graph, node).is_some() => Val::None,
            Op::Cast(_) if self.summed_cast(node) => Val::None,
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Fma | Op::Cast(_) => self.elementwise(node)?,
            Op::MatMul { epilogue } if self.gemm(node, epilogue)? => Val::None,
            Op::MatMul { epilogue } => self.matmul(node, epilogue)?,
            Op::Conv { window, groups, epilogue } => self.conv(node, window, *groups, epilogue)?,
            Op::Pool { kind, window } => self.pool(node, *kind, window)?,
            Op::Reduce { kind, axes, keep } => self.reduce(node, *kind, axes, *keep)?,
            Op::Softmax { axis } => self.softmax(node, *axis)?,
            Op::Norm { axes, centered, epsilon } => match axes[..] {
                [axis] => {
                    let epsilon = f32::from_bits(*epsilon);
                    self.norm(node, norm::Norm { axis, centered: *centered, epsilon })?
                }
                _ => return Err(("a norm over several axes".into(), "this is a bug of the compiler".into())),
            },
            Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Broadcast { .. }
            | Op::Slice { .. }
            | Op::Concat { .. }
            | Op::Pad { .. } => self.movement(node)?,
            Op::Gather { axis } => self.gather(node, *axis)?,
            _ => {
                return Err((
                    format!("there is no mapping of {} to this machine", node.op.name()),
                    "compute it outside the model".into(),
                ));
            }
        };
        let val = match val {
            Val::Lazy(l) if !self.wants.stays_lazy(self.graph, node.output) => {
                Val::Forms(self.finish(*l, self.wants.forms(node.output))?)
            }
            v => v,
        };
        self.vals[node.output.0 as usize] = val;
        Ok(())
    }

    /// A new row tensor.
    fn tensor(&mut self, name: &str, ty: AluType, rows: usize, lanes: usize, init: Init) -> TensorId {
        let name = if name.is_empty() { self.out.nodes[self.node.0 as usize].clone() } else { name.to_string() };
        self.out.tensors.push(RowTensor::new(name, self.node, ty, (rows, lanes), init));
        TensorId(self.out.tensors.len() as u32 - 1)
    }

    fn kernel(&mut self, n: usize, kind: Kind) {
        self.out.kernels.push(Kernel { node: self.node, n: n as u32, kind });
    }

    /// Element type of a value on the device.
    fn ty(&self, v: ValueId) -> AluType {
        // Types without one were refused before.
        device_type(self.graph.ty(v).dtype).unwrap_or(AluType::F32)
    }

    /// The forms of a value; a lazy one is finished.
    fn forms(&mut self, v: ValueId) -> Result<Vec<Form>, Why> {
        let i = v.0 as usize;
        match std::mem::replace(&mut self.vals[i], Val::None) {
            Val::Forms(f) => {
                self.vals[i] = Val::Forms(f.clone());
                Ok(f)
            }
            Val::Lazy(l) => {
                let f = self.finish(*l, self.wants.forms(v))?;
                self.vals[i] = Val::Forms(f.clone());
                Ok(f)
            }
            Val::Const(t) => {
                self.vals[i] = Val::Const(t.clone());
                let view = self.constant_view(&t, None)?;
                Ok(vec![Form { ty: self.ty(v), view }])
            }
            Val::Input(n) => {
                let f = self.input_form(v, n)?;
                self.vals[i] = Val::Forms(vec![f.clone()]);
                Ok(vec![f])
            }
            Val::None | Val::Failed => Err(("an operand has no value".into(), "this is a bug of the compiler".into())),
        }
    }

    /// The value in its own element type.
    fn view(&mut self, v: ValueId) -> Result<View, Why> {
        self.plain_form(v, self.ty(v))
    }

    /// The value in f16.
    fn half(&mut self, v: ValueId) -> Result<View, Why> {
        self.plain_form(v, AluType::F16)
    }

    /// Adds a form of another type by a cast kernel.
    fn converted(&mut self, v: ValueId, from: Form, to: AluType) -> Result<View, Why> {
        let mut expr = Expr::default();
        let result = expr.cast(from.ty, to, super::tiled::Src::In(0));
        let lazy = Lazy {
            mat: None,
            ins: vec![LazyIn::View(from.view.clone())],
            expr,
            result,
            ty: to,
            shape: from.view.shape(),
            node: self.node,
        };
        let made = self.finish(lazy, vec![to])?;
        let view = made[0].view.clone();
        if let Val::Forms(f) = &mut self.vals[v.0 as usize] {
            f.push(Form { ty: to, view: view.clone() });
        }
        Ok(view)
    }

    /// Places an input for its first consumer.
    fn input_form(&mut self, v: ValueId, n: u32) -> Result<Form, Why> {
        let ty = self.graph.ty(v).clone();
        let Some(device) = device_type(ty.dtype) else {
            return Err((format!("the VXM has no {} elements", ty.dtype), "convert the input to f32".into()));
        };
        let axis = self.wants.lane_axis(self.graph, v);
        let (axes, rows, lanes) = self.layout(&ty.shape, axis);
        let name = self.graph.value(v).name.clone();
        let tensor = self.tensor(&name, device, rows, lanes, Init::Computed);
        let view = View { tensor, axes, row0: 0, lane0: 0 };
        let pieces: Vec<HostPiece> = view.host_pieces();
        self.out.tensors[tensor.0 as usize].init = Init::Input { index: n, pieces };
        Ok(Form { ty: device, view })
    }

    /// [`view::layout`], or a layout with as many of the innermost axes on lanes as fit.
    fn layout(&self, shape: &[usize], on_lanes: Option<usize>) -> (Vec<Axis>, usize, usize) {
        let last = (0..shape.len()).rev().find(|&i| shape[i] != 1);
        match on_lanes {
            Some(i) if self.compact && last == on_lanes && shape[i] <= self.lanes => {
                view::layout_many(shape, self.lanes)
            }
            _ => view::layout(shape, on_lanes, self.lanes),
        }
    }

    fn outputs(&mut self) -> Result<(), CompileError> {
        for o in &self.graph.outputs {
            let ty = self.graph.ty(o.value).clone();
            if ty.elements() == 0 {
                let device = device_type(ty.dtype).unwrap_or(AluType::F32);
                let zero = vec![0; usize::from(device.bytes())];
                let tensor = self.tensor(&o.name, device, 1, 1, Init::Const(zero.into()));
                let (name, dtype, shape) = (o.name.clone(), ty.dtype, ty.shape.clone());
                self.out.outputs.push(OutputDef { name, dtype, shape, tensor, pieces: Vec::new() });
                continue;
            }
            if let Some(l) = self.laid.iter().find(|l| l.value == o.value) {
                let (name, dtype, shape) = (o.name.clone(), ty.dtype, ty.shape.clone());
                let (tensor, pieces) = (l.tensor, l.pieces.clone());
                self.out.outputs.push(OutputDef { name, dtype, shape, tensor, pieces });
                continue;
            }
            let view = self.any_form(o.value, self.ty(o.value)).and_then(|v| {
                // The host reads a place per element, so broadcast views are fine as they are.
                if device_type(ty.dtype).is_none() {
                    return Err((format!("the VXM has no {} elements", ty.dtype), "convert the output to f32".into()));
                }
                Ok(v)
            });
            let view = view.map_err(|(reason, remedy)| CompileError::Unsupported {
                node: o.name.clone(),
                op: "output".into(),
                shape: format!("{ty}"),
                reason,
                remedy,
            })?;
            self.out.outputs.push(OutputDef {
                name: o.name.clone(),
                dtype: ty.dtype,
                shape: ty.shape.clone(),
                tensor: view.tensor,
                pieces: self.host_places(&view),
            });
        }
        Ok(())
    }
}
