//! Attributes of operations: between [`Op`] and a list of names and values.

use super::literal::{f32_parse, f32_text};
use crate::ir::{Binary, EpilogueStep, Op, PadMode, Pool, Reduce, ScatterMode, TensorType, Unary, Window};
use std::fmt;

/// The value of an attribute.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Attr {
    /// A number or a name.
    Word(String),
    /// Numbers or names, each with an argument in parentheses perhaps.
    List(Vec<(String, Option<String>)>),
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Word(w) => f.write_str(w),
            Attr::List(items) => {
                f.write_str("[")?;
                for (i, (word, arg)) in items.iter().enumerate() {
                    f.write_str(if i > 0 { ", " } else { "" })?;
                    f.write_str(word)?;
                    if let Some(arg) = arg {
                        write!(f, "({arg})")?;
                    }
                }
                f.write_str("]")
            }
        }
    }
}

fn list<T: ToString>(items: &[T]) -> Attr {
    Attr::List(items.iter().map(|i| (i.to_string(), None)).collect())
}

/// What is written between the braces, in order; nothing for what is at its default.
#[derive(Default)]
struct Writer(Vec<(&'static str, Attr)>);

impl Writer {
    fn word(mut self, name: &'static str, value: impl ToString) -> Writer {
        self.0.push((name, Attr::Word(value.to_string())));
        self
    }

    fn flag(self, name: &'static str, value: bool) -> Writer {
        if value { self.word(name, true) } else { self }
    }

    fn list<T: ToString>(mut self, name: &'static str, items: &[T]) -> Writer {
        self.0.push((name, list(items)));
        self
    }

    fn list_unless<T: ToString + PartialEq>(self, default: &T, len: usize, name: &'static str, items: &[T]) -> Writer {
        let default = items.len() == len && items.iter().all(|i| i == default);
        if default { self } else { self.list(name, items) }
    }

    fn window(self, w: &Window) -> Writer {
        let n = w.kernel.len();
        self.list("kernel", &w.kernel)
            .list_unless(&1, n, "stride", &w.stride)
            .list_unless(&1, n, "dilation", &w.dilation)
            .list_unless(&0, n, "before", &w.before)
            .list_unless(&0, n, "after", &w.after)
    }

    fn groups(self, groups: usize) -> Writer {
        if groups == 1 { self } else { self.word("groups", groups) }
    }

    fn epilogue(mut self, steps: &[EpilogueStep]) -> Writer {
        if !steps.is_empty() {
            self.0.push(("epilogue", Attr::List(steps.iter().map(step_text).collect())));
        }
        self
    }
}

/// The attributes of an operation as they are printed; those that the result type tells are left
/// out.
pub(super) fn attributes(op: &Op) -> Vec<(&'static str, Attr)> {
    let w = Writer::default();
    match op {
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Fma
        | Op::Cast(_)
        | Op::BitCast(_)
        | Op::Reshape { .. }
        | Op::Broadcast { .. } => w,
        Op::MatMul { epilogue } => w.epilogue(epilogue),
        Op::Conv { window, groups, epilogue } => w.window(window).groups(*groups).epilogue(epilogue),
        Op::ConvTranspose { window, groups, extra } => {
            w.window(window).groups(*groups).list_unless(&0, window.kernel.len(), "extra", extra)
        }
        Op::Pool { kind, window } => w.window(window).flag("include_pad", *kind == Pool::AverageIncludePad),
        Op::Reduce { axes, keep, .. } => w.list("axes", axes).flag("keep", *keep),
        Op::ArgReduce { axis, keep, last, max: _ } => w.word("axis", axis).flag("keep", *keep).flag("last", *last),
        Op::CumSum { axis, exclusive, reverse } => {
            w.word("axis", axis).flag("exclusive", *exclusive).flag("reverse", *reverse)
        }
        Op::Softmax { axis } | Op::Concat { axis } | Op::Gather { axis } | Op::GatherElements { axis } => {
            w.word("axis", axis)
        }
        Op::Norm { axes, centered, epsilon } => {
            w.list("axes", axes).flag("centered", *centered).word("epsilon", f32_text(f32::from_bits(*epsilon)))
        }
        Op::Transpose { perm } => w.list("perm", perm),
        Op::Slice { start, step, shape } => w.list("start", start).list_unless(&1, shape.len(), "step", step),
        Op::Pad { mode, before, after } => {
            let w = if *mode == PadMode::Constant { w } else { w.word("mode", pad_name(*mode)) };
            w.list("before", before).list("after", after)
        }
        Op::GatherNd { batch_dims } => {
            if *batch_dims == 0 {
                w
            } else {
                w.word("batch_dims", batch_dims)
            }
        }
        Op::ScatterElements { axis, mode } => scatter(w.word("axis", axis), *mode),
        Op::ScatterNd { mode } => scatter(w, *mode),
        Op::TopKValues { k, axis, largest } | Op::TopKIndices { k, axis, largest } => {
            w.word("k", k).word("axis", axis).flag("smallest", !largest)
        }
    }
    .0
}

fn scatter(w: Writer, mode: ScatterMode) -> Writer {
    if mode == ScatterMode::Replace { w } else { w.word("mode", scatter_name(mode)) }
}

fn pad_name(m: PadMode) -> &'static str {
    match m {
        PadMode::Constant => "constant",
        PadMode::Reflect => "reflect",
        PadMode::Edge => "edge",
        PadMode::Wrap => "wrap",
    }
}

fn scatter_name(m: ScatterMode) -> &'static str {
    match m {
        ScatterMode::Replace => "replace",
        ScatterMode::Add => "add",
        ScatterMode::Mul => "mul",
        ScatterMode::Max => "max",
        ScatterMode::Min => "min",
    }
}

fn step_text(s: &EpilogueStep) -> (String, Option<String>) {
    let arg = match s {
        EpilogueStep::LeakyRelu(b) | EpilogueStep::MaxConst(b) | EpilogueStep::MinConst(b) | EpilogueStep::Silu(b) => {
            Some(f32_text(f32::from_bits(*b)))
        }
        _ => None,
    };
    let name = match s {
        EpilogueStep::Add => "add",
        EpilogueStep::Mul => "mul",
        EpilogueStep::Relu => "relu",
        EpilogueStep::LeakyRelu(_) => "leaky_relu",
        EpilogueStep::Prelu => "prelu",
        EpilogueStep::MaxConst(_) => "max",
        EpilogueStep::MinConst(_) => "min",
        EpilogueStep::Sigmoid => "sigmoid",
        EpilogueStep::Tanh => "tanh",
        EpilogueStep::Gelu => "gelu",
        EpilogueStep::GeluTanh => "gelu_tanh",
        EpilogueStep::Silu(_) => "silu",
        EpilogueStep::HardSwish => "hard_swish",
    };
    (name.to_string(), arg)
}

fn step_parse(name: &str, arg: Option<&str>) -> Option<EpilogueStep> {
    let bits = |arg: Option<&str>| arg.and_then(f32_parse).map(f32::to_bits);
    Some(match (name, arg) {
        ("leaky_relu", _) => EpilogueStep::LeakyRelu(bits(arg)?),
        ("max", _) => EpilogueStep::MaxConst(bits(arg)?),
        ("min", _) => EpilogueStep::MinConst(bits(arg)?),
        ("silu", _) => EpilogueStep::Silu(bits(arg)?),
        (_, Some(_)) => return None,
        ("add", _) => EpilogueStep::Add,
        ("mul", _) => EpilogueStep::Mul,
        ("relu", _) => EpilogueStep::Relu,
        ("prelu", _) => EpilogueStep::Prelu,
        ("sigmoid", _) => EpilogueStep::Sigmoid,
        ("tanh", _) => EpilogueStep::Tanh,
        ("gelu", _) => EpilogueStep::Gelu,
        ("gelu_tanh", _) => EpilogueStep::GeluTanh,
        ("hard_swish", _) => EpilogueStep::HardSwish,
        _ => return None,
    })
}

/// Attributes while an operation is read from them; each is taken once, and what is left over is an
/// error.
struct Reader(Vec<(String, Attr)>);

impl Reader {
    fn take(&mut self, name: &str) -> Option<Attr> {
        let i = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(i).1)
    }

    fn number(&mut self, name: &str) -> Result<usize, String> {
        self.number_or(name, None)
    }

    fn number_or(&mut self, name: &str, default: Option<usize>) -> Result<usize, String> {
        match (self.take(name), default) {
            (Some(Attr::Word(w)), _) => w.parse().map_err(|_| format!("`{name}` is a number, not `{w}`")),
            (Some(_), _) => Err(format!("`{name}` is a number, not a list")),
            (None, Some(d)) => Ok(d),
            (None, None) => Err(format!("the attribute `{name}` is missing")),
        }
    }

    fn float_bits(&mut self, name: &str) -> Result<u32, String> {
        match self.take(name) {
            Some(Attr::Word(w)) => {
                f32_parse(&w).map(f32::to_bits).ok_or_else(|| format!("`{name}` is a number, not `{w}`"))
            }
            Some(_) => Err(format!("`{name}` is a number, not a list")),
            None => Err(format!("the attribute `{name}` is missing")),
        }
    }

    fn flag(&mut self, name: &str) -> Result<bool, String> {
        match self.take(name) {
            None => Ok(false),
            Some(Attr::Word(w)) if w == "true" => Ok(true),
            Some(Attr::Word(w)) if w == "false" => Ok(false),
            Some(_) => Err(format!("`{name}` is `true` or `false`")),
        }
    }

    fn numbers<T: std::str::FromStr>(&mut self, name: &str) -> Result<Vec<T>, String> {
        self.maybe_numbers(name)?.ok_or_else(|| format!("the attribute `{name}` is missing"))
    }

    fn maybe_numbers<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<Vec<T>>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Attr::Word(_)) => Err(format!("`{name}` is a list of numbers")),
            Some(Attr::List(items)) => items
                .into_iter()
                .map(|(w, arg)| match (w.parse(), arg) {
                    (Ok(v), None) => Ok(v),
                    _ => Err(format!("`{name}` is a list of numbers, `{w}` does not belong there")),
                })
                .collect::<Result<Vec<T>, String>>()
                .map(Some),
        }
    }

    fn window(&mut self) -> Result<Window, String> {
        let kernel: Vec<usize> = self.numbers("kernel")?;
        let n = kernel.len();
        let mut or = |name, default| Ok::<_, String>(self.maybe_numbers(name)?.unwrap_or(vec![default; n]));
        let (stride, dilation) = (or("stride", 1)?, or("dilation", 1)?);
        let (before, after) = (or("before", 0)?, or("after", 0)?);
        Ok(Window { kernel, stride, dilation, before, after })
    }

    fn epilogue(&mut self) -> Result<Vec<EpilogueStep>, String> {
        match self.take("epilogue") {
            None => Ok(Vec::new()),
            Some(Attr::Word(_)) => Err("`epilogue` is a list of steps".to_string()),
            Some(Attr::List(items)) => items
                .iter()
                .map(|(w, arg)| {
                    step_parse(w, arg.as_deref())
                        .ok_or_else(|| format!("`{w}` is no epilogue step, or has a wrong argument"))
                })
                .collect(),
        }
    }

    fn choice<T: Copy>(&mut self, name: &str, choices: &[T], text: fn(T) -> &'static str) -> Result<T, String> {
        match self.take(name) {
            None => Ok(choices[0]),
            Some(Attr::Word(w)) => {
                choices.iter().copied().find(|&c| text(c) == w).ok_or_else(|| format!("`{w}` is no {name}"))
            }
            Some(_) => Err(format!("`{name}` is a name")),
        }
    }
}

const PAD_MODES: [PadMode; 4] = [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap];
const SCATTER_MODES: [ScatterMode; 5] =
    [ScatterMode::Replace, ScatterMode::Add, ScatterMode::Mul, ScatterMode::Max, ScatterMode::Min];
const REDUCTIONS: [Reduce; 5] = [Reduce::Sum, Reduce::Mean, Reduce::Max, Reduce::Min, Reduce::Prod];

/// The operation of this name with these attributes. `ty` is the declared result type, which some
/// operations take their shape from.
pub(super) fn operation(name: &str, attrs: Vec<(String, Attr)>, ty: Option<&TensorType>) -> Result<Op, String> {
    let mut r = Reader(attrs);
    let declared = || ty.ok_or_else(|| format!("`{name}` needs its result type written out"));
    let op = match name {
        "select" => Op::Select,
        "fma" => Op::Fma,
        "cast" => Op::Cast(declared()?.dtype),
        "bitcast" => Op::BitCast(declared()?.dtype),
        "matmul" => Op::MatMul { epilogue: r.epilogue()? },
        "conv" => Op::Conv { window: r.window()?, groups: r.number_or("groups", Some(1))?, epilogue: r.epilogue()? },
        "conv_transpose" => {
            let (window, groups) = (r.window()?, r.number_or("groups", Some(1))?);
            let extra = r.maybe_numbers("extra")?.unwrap_or(vec![0; window.kernel.len()]);
            Op::ConvTranspose { window, groups, extra }
        }
        "max_pool" => Op::Pool { kind: Pool::Max, window: r.window()? },
        "average_pool" => {
            let kind = if r.flag("include_pad")? { Pool::AverageIncludePad } else { Pool::AverageExcludePad };
            Op::Pool { kind, window: r.window()? }
        }
        "arg_max" | "arg_min" => Op::ArgReduce {
            max: name == "arg_max",
            axis: r.number("axis")?,
            keep: r.flag("keep")?,
            last: r.flag("last")?,
        },
        "cumsum" => {
            Op::CumSum { axis: r.number("axis")?, exclusive: r.flag("exclusive")?, reverse: r.flag("reverse")? }
        }
        "softmax" => Op::Softmax { axis: r.number("axis")? },
        "norm" => {
            Op::Norm { axes: r.numbers("axes")?, centered: r.flag("centered")?, epsilon: r.float_bits("epsilon")? }
        }
        "reshape" => Op::Reshape { shape: declared()?.shape.clone() },
        "transpose" => Op::Transpose { perm: r.numbers("perm")? },
        "broadcast" => Op::Broadcast { shape: declared()?.shape.clone() },
        "slice" => {
            let shape = declared()?.shape.clone();
            let step = r.maybe_numbers("step")?.unwrap_or(vec![1; shape.len()]);
            Op::Slice { start: r.numbers("start")?, step, shape }
        }
        "concat" => Op::Concat { axis: r.number("axis")? },
        "pad" => Op::Pad {
            mode: r.choice("mode", &PAD_MODES, pad_name)?,
            before: r.numbers("before")?,
            after: r.numbers("after")?,
        },
        "gather" => Op::Gather { axis: r.number("axis")? },
        "gather_elements" => Op::GatherElements { axis: r.number("axis")? },
        "gather_nd" => Op::GatherNd { batch_dims: r.number_or("batch_dims", Some(0))? },
        "scatter_elements" => {
            Op::ScatterElements { axis: r.number("axis")?, mode: r.choice("mode", &SCATTER_MODES, scatter_name)? }
        }
        "scatter_nd" => Op::ScatterNd { mode: r.choice("mode", &SCATTER_MODES, scatter_name)? },
        "top_k_values" => Op::TopKValues { k: r.number("k")?, axis: r.number("axis")?, largest: !r.flag("smallest")? },
        "top_k_indices" => {
            Op::TopKIndices { k: r.number("k")?, axis: r.number("axis")?, largest: !r.flag("smallest")? }
        }
        _ => {
            if let Some(u) = Unary::ALL.into_iter().find(|u| u.name() == name) {
                Op::Unary(u)
            } else if let Some(b) = Binary::ALL.into_iter().find(|b| b.name() == name) {
                Op::Binary(b)
            } else if let Some(kind) = REDUCTIONS.into_iter().find(|k| k.name() == name) {
                Op::Reduce { kind, axes: r.numbers("axes")?, keep: r.flag("keep")? }
            } else {
                return Err(format!("unknown operation `{name}`"));
            }
        }
    };
    match r.0.first() {
        Some((left, _)) => Err(format!("`{name}` has no attribute `{left}`, or has it twice")),
        None => Ok(op),
    }
}
