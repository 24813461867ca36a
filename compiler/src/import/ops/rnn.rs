//! `RNN`, `GRU`, `LSTM` and ONNX Runtime's `DynamicQuantizeLSTM`, unrolled over time. The products of all
//! inputs with the weights are one matrix product; each step then adds the product with the state.

use super::rnn_activation::{Activation, activations};
use super::rnn_weights::Weights;
use crate::import::call::{Call, Val, numbers};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft, onnx};
use crate::ir::{Binary, DType, ValueId};

pub(super) const OPS: &[OpDef] = &[
    onnx("GRU", 1, |c| recurrent(c, Cell::Gru, Kind::Float)),
    onnx("LSTM", 1, |c| recurrent(c, Cell::Lstm, Kind::Float)),
    onnx("RNN", 1, |c| recurrent(c, Cell::Rnn, Kind::Float)),
    microsoft("DynamicQuantizeLSTM", |c| recurrent(c, Cell::Lstm, Kind::Integer)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Rnn,
    Gru,
    Lstm,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Gru => 3,
            Cell::Lstm => 4,
        }
    }
}

/// What the weights are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `[directions, gates * hidden, inputs]` of floats.
    Float,
    /// `[directions, inputs, gates * hidden]` of integers; scales and zero points are operands 8 to 11.
    Integer,
}

/// Steps a sequence may have: each becomes a dozen primitives.
const MAX_STEPS: usize = 1 << 16;

/// What holds for all steps of one direction.
struct Direction {
    cell: Cell,
    hidden: usize,
    /// `[H, gates * H]`.
    recurrence: Weights,
    /// Bias of the recurrence of the GRU's last gate, kept apart for `linear_before_reset`.
    candidate_bias: Option<ValueId>,
    linear_before_reset: bool,
    peepholes: Option<[ValueId; 3]>,
    input_forget: bool,
    clip: Option<f32>,
    activations: Vec<Activation>,
}

fn recurrent(c: &mut Call<'_, '_>, cell: Cell, kind: Kind) -> Result<Vec<Val>, Fail> {
    c.at_most(match (cell, kind) {
        (Cell::Lstm, Kind::Integer) => 12,
        (Cell::Lstm, Kind::Float) => 8,
        _ => 6,
    })?;
    let directions: &[bool] = match c.choice("direction", "forward", &["forward", "reverse", "bidirectional"])? {
        "forward" => &[false],
        "reverse" => &[true],
        _ => &[false, true],
    };
    let batch_first = c.flag("layout", false)?;
    let clip = c.float_opt("clip")?;
    let linear_before_reset = cell == Cell::Gru && c.flag("linear_before_reset", false)?;
    let input_forget = cell == Cell::Lstm && c.flag("input_forget", false)?;
    let defaults: &[&str] = match cell {
        Cell::Rnn => &["Tanh"],
        Cell::Gru => &["Sigmoid", "Tanh"],
        Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"],
    };
    let acts = activations(c, defaults, directions.len())?;
    let declared = c.int_opt("hidden_size")?;
    // Before version 14 the shape of the result could be asked for; it is static here.
    c.ignore(&["output_sequence"]);

    let mut x = c.x(0)?;
    if batch_first {
        x = c.transpose(x, &[1, 0, 2])?;
    }
    let (xs, rs) = (c.shape(x), c.shape(c.x(2)?));
    if xs.len() != 3 || rs.len() != 3 {
        return Err(Fail::invalid(format!("{} and recurrence weights {rs:?} need 3 axes", c.ty(x))));
    }
    let hidden = if kind == Kind::Float { rs[2] } else { rs[1] };
    let wide = cell.gates() * hidden;
    let n = directions.len();
    if declared.is_some_and(|d| d != hidden as i64) {
        return Err(Fail::invalid(format!("hidden_size contradicts the weights, which have {hidden}")));
    }
    let (time, batch) = (xs[0], xs[1]);
    if time > MAX_STEPS {
        return Err(Fail::unsupported(format!("{time} steps are too many to unroll"), "use a shorter sequence"));
    }
    let lengths = lengths(c, time, batch)?;
    let mut outputs: Vec<Vec<ValueId>> = Vec::new();
    let (mut last_h, mut last_c) = (Vec::new(), Vec::new());
    for (d, &reverse) in directions.iter().enumerate() {
        let input_weights = weights(c, kind, 1, d, [n, xs[2], wide])?;
        let recurrence = weights(c, kind, 2, d, [n, hidden, wide])?;
        let flat = c.reshape(x, &[time * batch, xs[2]])?;
        let mut projected = input_weights.product(c, flat)?;
        let mut candidate_bias = None;
        if let Some(b) = c.opt(3)? {
            if c.shape(b) != [n, 2 * wide] {
                return Err(Fail::invalid(format!("a bias {} does not fit {} gates", c.ty(b), cell.gates())));
            }
            let b = part(c, b, d)?;
            let wb = c.slice_axis(b, 0, 0, wide)?;
            let mut rb = c.slice_axis(b, 0, wide, wide)?;
            if linear_before_reset {
                candidate_bias = Some(c.slice_axis(rb, 0, 2 * hidden, hidden)?);
                let gates = c.slice_axis(rb, 0, 0, 2 * hidden)?;
                rb = c.pad(gates, &[0], &[hidden as isize], 0.0)?;
            }
            let sum = c.add(wb, rb)?;
            projected = c.add(projected, sum)?;
        }
        let projected = c.reshape(projected, &[time, batch, wide])?;
        let mut h = initial(c, 5, d, batch_first, batch, hidden, x)?;
        let mut state = if cell == Cell::Lstm { Some(initial(c, 6, d, batch_first, batch, hidden, x)?) } else { None };
        let peepholes = if cell == Cell::Lstm { peepholes(c, d, n, hidden)? } else { None };
        let dir = Direction {
            cell,
            hidden,
            recurrence,
            candidate_bias,
            linear_before_reset,
            peepholes,
            input_forget,
            clip,
            activations: acts[d].clone(),
        };
        let mut steps = vec![None; time];
        for i in 0..time {
            let t = if reverse { time - 1 - i } else { i };
            let xt = c.slice_axis(projected, 0, t, 1)?;
            let xt = c.reshape(xt, &[batch, wide])?;
            let (mut new_h, mut new_c) = dir.step(c, xt, h, state)?;
            let mut shown = new_h;
            if let Some(lengths) = lengths {
                // A sequence that is over keeps its state and shows zeros.
                let now = c.scalar(DType::I64, t as f64);
                let on = c.binary(Binary::Gt, lengths, now)?;
                let zero = c.scalar_like(new_h, 0.0);
                shown = c.select(on, new_h, zero)?;
                new_h = c.select(on, new_h, h)?;
                if let (Some(new), Some(old)) = (new_c, state) {
                    new_c = Some(c.select(on, new, old)?);
                }
            }
            (h, state) = (new_h, new_c);
            steps[t] = Some(shown);
        }
        outputs.push(steps.into_iter().flatten().collect());
        last_h.push(h);
        last_c.extend(state);
    }
    let mut results = vec![sequence(c, &outputs, batch, hidden, batch_first, x)?];
    for last in [last_h, last_c] {
        if !last.is_empty() {
            results.push(Val::Tensor(directions_joined(c, &last, batch, hidden, batch_first)?));
        }
    }
    Ok(results)
}

/// The weights of one direction, from operand 1 (of the inputs) or 2 (of the states); `shape` is
/// `[directions, inputs, gates * hidden]`.
fn weights(c: &mut Call<'_, '_>, kind: Kind, operand: usize, d: usize, shape: [usize; 3]) -> Result<Weights, Fail> {
    let w = c.x(operand)?;
    let [n, inputs, wide] = shape;
    let want = if kind == Kind::Float { [n, wide, inputs] } else { shape };
    if c.shape(w) != want {
        return Err(Fail::invalid(format!("weights {} are not of shape {want:?}", c.ty(w))));
    }
    let w = part(c, w, d)?;
    if kind == Kind::Float {
        return Ok(Weights::Float(c.transpose(w, &[1, 0])?));
    }
    let mut of = |i: usize| {
        let v = c.x(i)?;
        if c.shape(v) != [n] && c.shape(v) != [n, wide] {
            return Err(Fail::invalid(format!("{} is neither one a direction nor one a column", c.ty(v))));
        }
        part(c, v, d)
    };
    let first = if operand == 1 { 8 } else { 10 };
    Ok(Weights::Quantised { w, scale: of(first)?, zero: of(first + 1)? })
}

/// One direction of weights or biases.
fn part(c: &mut Call<'_, '_>, v: ValueId, d: usize) -> Result<ValueId, Fail> {
    let shape = c.shape(v);
    let y = c.slice_axis(v, 0, d, 1)?;
    c.reshape(y, &shape[1..])
}

/// Lengths as `[batch, 1]`, unless all sequences are known to be as long as the time axis.
fn lengths(c: &mut Call<'_, '_>, time: usize, batch: usize) -> Result<Option<ValueId>, Fail> {
    let Some(v) = c.opt(4)? else { return Ok(None) };
    if c.shape(v) != [batch] {
        return Err(Fail::invalid(format!("sequence_lens {} do not fit batch {batch}", c.ty(v))));
    }
    if c.constant(v).is_some_and(|t| numbers(t).iter().all(|&n| n >= time as f64)) {
        return Ok(None);
    }
    let v = c.cast(v, DType::I64)?;
    c.reshape(v, &[batch, 1]).map(Some)
}

/// The initial state of a direction, `[batch, hidden]`; zeros when it is not given.
fn initial(
    c: &mut Call<'_, '_>,
    operand: usize,
    d: usize,
    batch_first: bool,
    batch: usize,
    hidden: usize,
    like: ValueId,
) -> Result<ValueId, Fail> {
    let Some(mut v) = c.opt(operand)? else {
        let dtype = c.dtype(like);
        return c.full(dtype, &[batch, hidden], 0.0);
    };
    if batch_first {
        v = c.transpose(v, &[1, 0, 2])?;
    }
    let v = part(c, v, d)?;
    if c.shape(v) != [batch, hidden] {
        return Err(Fail::invalid(format!("an initial state {} does not fit {batch} x {hidden}", c.ty(v))));
    }
    Ok(v)
}

/// Peephole weights of input, output and forget gate.
fn peepholes(c: &mut Call<'_, '_>, d: usize, n: usize, hidden: usize) -> Result<Option<[ValueId; 3]>, Fail> {
    let Some(p) = c.opt(7)? else { return Ok(None) };
    if c.shape(p) != [n, 3 * hidden] {
        return Err(Fail::invalid(format!("peepholes {} do not fit hidden size {hidden}", c.ty(p))));
    }
    let p = part(c, p, d)?;
    Ok(Some([
        c.slice_axis(p, 0, 0, hidden)?,
        c.slice_axis(p, 0, hidden, hidden)?,
        c.slice_axis(p, 0, 2 * hidden, hidden)?,
    ]))
}

impl Direction {
    /// The next hidden and cell state.
    fn step(
        &self,
        c: &mut Call<'_, '_>,
        x: ValueId,
        h: ValueId,
        state: Option<ValueId>,
    ) -> Result<(ValueId, Option<ValueId>), Fail> {
        match (self.cell, state) {
            (Cell::Rnn, _) => {
                let hr = self.recurrence.product(c, h)?;
                let sum = c.add(x, hr)?;
                Ok((self.activate(c, 0, sum)?, None))
            }
            (Cell::Gru, _) => Ok((self.gru(c, x, h)?, None)),
            (Cell::Lstm, Some(state)) => self.lstm(c, x, h, state).map(|(h, s)| (h, Some(s))),
            (Cell::Lstm, None) => Err(Fail::invalid("an LSTM needs a cell state")),
        }
    }

    fn gate(&self, c: &mut Call<'_, '_>, v: ValueId, i: usize) -> Result<ValueId, Fail> {
        c.slice_axis(v, 1, i * self.hidden, self.hidden)
    }

    fn activate(&self, c: &mut Call<'_, '_>, i: usize, x: ValueId) -> Result<ValueId, Fail> {
        let x = match self.clip {
            Some(limit) => c.clamp(x, -f64::from(limit), f64::from(limit))?,
            None => x,
        };
        self.activations[i].apply(c, x)
    }

    /// Gates in the order update, reset, candidate.
    fn gru(&self, c: &mut Call<'_, '_>, x: ValueId, h: ValueId) -> Result<ValueId, Fail> {
        let n = self.hidden;
        let gates = self.recurrence.columns(c, 0, 2 * n)?;
        let candidate = self.recurrence.columns(c, 2 * n, n)?;
        let xg = c.slice_axis(x, 1, 0, 2 * n)?;
        let hg = gates.product(c, h)?;
        let sum = c.add(xg, hg)?;
        let sum = self.activate(c, 0, sum)?;
        let (z, r) = (self.gate(c, sum, 0)?, self.gate(c, sum, 1)?);
        let xc = self.gate(c, x, 2)?;
        let hc = if self.linear_before_reset {
            let mut hc = candidate.product(c, h)?;
            if let Some(b) = self.candidate_bias {
                hc = c.add(hc, b)?;
            }
            c.mul(r, hc)?
        } else {
            let rh = c.mul(r, h)?;
            candidate.product(c, rh)?
        };
        let sum = c.add(xc, hc)?;
        let new = self.activate(c, 1, sum)?;
        // (1 - z) * new + z * h
        let d = c.sub(h, new)?;
        let d = c.mul(z, d)?;
        c.add(new, d)
    }

    /// Gates in the order input, output, forget, cell.
    fn lstm(&self, c: &mut Call<'_, '_>, x: ValueId, h: ValueId, state: ValueId) -> Result<(ValueId, ValueId), Fail> {
        let hr = self.recurrence.product(c, h)?;
        let sum = c.add(x, hr)?;
        let peep = |c: &mut Call<'_, '_>, g: ValueId, p: usize, s: ValueId| match self.peepholes {
            Some(w) => {
                let v = c.mul(w[p], s)?;
                c.add(g, v)
            }
            None => Ok(g),
        };
        let input = self.gate(c, sum, 0)?;
        let input = peep(c, input, 0, state)?;
        let input = self.activate(c, 0, input)?;
        let forget = if self.input_forget {
            let one = c.scalar_like(input, 1.0);
            c.sub(one, input)?
        } else {
            let g = self.gate(c, sum, 2)?;
            let g = peep(c, g, 2, state)?;
            self.activate(c, 0, g)?
        };
        let new = self.gate(c, sum, 3)?;
        let new = self.activate(c, 1, new)?;
        let kept = c.mul(forget, state)?;
        let added = c.mul(input, new)?;
        let state = c.add(kept, added)?;
        let output = self.gate(c, sum, 1)?;
        let output = peep(c, output, 1, state)?;
        let output = self.activate(c, 0, output)?;
        let shown = self.activations[2].apply(c, state)?;
        Ok((c.mul(output, shown)?, state))
    }
}

/// `[time, directions, batch, hidden]`, or `[batch, time, directions, hidden]` batch first.
fn sequence(
    c: &mut Call<'_, '_>,
    outputs: &[Vec<ValueId>],
    batch: usize,
    hidden: usize,
    batch_first: bool,
    like: ValueId,
) -> Result<Val, Fail> {
    let time = outputs[0].len();
    if time == 0 {
        let dtype = c.dtype(like);
        return Ok(Val::Tensor(c.full(dtype, &[0, outputs.len(), batch, hidden], 0.0)?));
    }
    let mut directions = Vec::new();
    for steps in outputs {
        let parts = steps.iter().map(|&v| c.reshape(v, &[1, 1, batch, hidden])).collect::<Result<Vec<_>, _>>()?;
        directions.push(c.concat(0, &parts)?);
    }
    let y = c.concat(1, &directions)?;
    Ok(Val::Tensor(if batch_first { c.transpose(y, &[2, 0, 1, 3])? } else { y }))
}

/// `[directions, batch, hidden]`, or `[batch, directions, hidden]` batch first.
fn directions_joined(
    c: &mut Call<'_, '_>,
    last: &[ValueId],
    batch: usize,
    hidden: usize,
    batch_first: bool,
) -> Result<ValueId, Fail> {
    let parts = last.iter().map(|&v| c.reshape(v, &[1, batch, hidden])).collect::<Result<Vec<_>, _>>()?;
    let y = c.concat(0, &parts)?;
    if batch_first { c.transpose(y, &[1, 0, 2]) } else { Ok(y) }
}
