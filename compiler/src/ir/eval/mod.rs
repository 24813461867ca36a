//! The oracle: what a tensor graph computes, by numpy's and ONNX's definitions.
//!
//! Knows the meaning of every primitive, one family a file; must not know where a graph comes
//! from nor any machine. `f16` and `bf16` compute in `f32` and round each result once; sums in
//! reductions are kept in `f64`. It is the reference for everything else, so it is checked
//! against outside truth: numpy, the ONNX node tests and ONNX Runtime.
//!
//! A graph that verifies never panics here. What can still go wrong depends on data (an index
//! outside its axis) or on size (a result beyond the memory limit) and is an [`EvalError`].

mod binary;
mod broadcast;
mod buffer;
mod cast;
mod concat;
mod conv;
mod conv_transpose;
mod depthwise;
mod epilogue;
mod gather;
mod gemm;
mod gemm_int;
mod kernel;
mod math;
mod matmul;
mod norm;
mod num;
mod pad;
mod plan;
mod pool;
mod reduce;
mod scan;
mod scatter;
mod simd;
mod strided;
mod tape;
#[cfg(test)]
mod tests;
mod unary;
mod window;

use gemm::Order;

use super::{DType, Graph, Op, PadMode, Tensor, TensorType, ValueDef};
use smallvec::SmallVec;

/// Bytes that live values may take by default: 16 GiB.
pub const MEMORY_LIMIT: usize = 16 << 30;

/// Why a graph has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The caller gave another number of tensors than the graph has inputs.
    #[error("the graph has {want} inputs, but {got} tensors were given")]
    InputCount {
        /// Inputs of the graph.
        want: usize,
        /// Tensors given.
        got: usize,
    },
    /// A tensor does not have the declared type.
    #[error("input `{name}` is declared {want}, but a tensor {got} was given")]
    InputType {
        /// Name of the input.
        name: String,
        /// Declared type.
        want: TensorType,
        /// Type of the tensor given.
        got: TensorType,
    },
    /// A primitive has no result for its operands.
    #[error("{op} of node `{node}`: {reason}")]
    Node {
        /// The user's node.
        node: String,
        /// The primitive.
        op: String,
        /// What is wrong with the operands.
        reason: String,
    },
    /// A result would exceed the memory limit.
    #[error("{op} of node `{node}` makes {ty}, which would take the live values to {need} bytes; the limit is {limit}")]
    Memory {
        /// The user's node.
        node: String,
        /// The primitive.
        op: String,
        /// Type of the result.
        ty: TensorType,
        /// Bytes of all live values with this one.
        need: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// The outputs of `graph` for `inputs`, in the graph's order. Values are freed after their last
/// use.
pub fn eval(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let values = on_the_pool(graph, || run(graph, inputs, true))?;
    // An output may be named twice, so its value is cloned (which shares the bytes).
    Ok(graph.outputs.iter().map(|o| values[o.value.0 as usize].clone().expect("outputs outlive the run")).collect())
}

/// The value of every value of `graph`, by id: inputs, constants and the result of each node.
pub fn eval_all(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let values = on_the_pool(graph, || run(graph, inputs, false))?;
    Ok(values.into_iter().map(|v| v.expect("every value was computed")).collect())
}

/// Runs on a thread of the pool when there is work for several: work that no other thread takes is then
/// done here, and nobody waits for a thread to wake.
fn on_the_pool<R: Send>(graph: &Graph, run: impl FnOnce() -> R + Send) -> R {
    const LARGE: usize = 1 << 15;
    if graph.values().iter().any(|v| v.ty.elements() >= LARGE) { rayon::scope(|_| run()) } else { run() }
}

fn run(graph: &Graph, inputs: &[Tensor], free: bool) -> Result<Vec<Option<Tensor>>, EvalError> {
    check_inputs(graph, inputs)?;
    let tasks = plan::tasks(graph, free);
    let mut values: Vec<Option<Tensor>> = vec![None; graph.values().len()];
    for (&v, t) in graph.inputs.iter().zip(inputs) {
        values[v.0 as usize] = Some(t.clone());
    }
    for (slot, value) in values.iter_mut().zip(graph.values()) {
        if let ValueDef::Const(t) = &value.def {
            *slot = Some(t.clone());
        }
    }
    let mut live = 0usize;
    for task in &tasks {
        let node = &graph.nodes()[task.node];
        let ty = graph.ty(node.output);
        let need = live.saturating_add(ty.bytes());
        if need > MEMORY_LIMIT {
            return Err(EvalError::Memory {
                node: graph.origin_name(node).to_string(),
                op: node.op.name().to_string(),
                ty: ty.clone(),
                need,
                limit: MEMORY_LIMIT,
            });
        }
        let operands: SmallVec<[&Tensor; 3]> =
            task.reads.iter().map(|v| values[v.0 as usize].as_ref().expect("operands come first")).collect();
        let result = match plan::steps(graph, task).filter(|s| !s.is_empty()) {
            Some(steps) => tape::run(&steps, &operands, ty),
            None => eval_typed(Order::Fast, &node.op, &operands, ty).map_err(|reason| EvalError::Node {
                node: graph.origin_name(node).to_string(),
                op: node.op.name().to_string(),
                reason,
            })?,
        };
        drop(operands);
        values[node.output.0 as usize] = Some(result);
        live = need;
        for &dead in &task.last {
            if let Some(t) = values[dead.0 as usize].take()
                && matches!(graph.value(dead).def, ValueDef::Node(_))
            {
                live = live.saturating_sub(t.data.len());
            }
        }
    }
    Ok(values)
}

fn check_inputs(graph: &Graph, inputs: &[Tensor]) -> Result<(), EvalError> {
    if graph.inputs.len() != inputs.len() {
        return Err(EvalError::InputCount { want: graph.inputs.len(), got: inputs.len() });
    }
    for (&v, t) in graph.inputs.iter().zip(inputs) {
        let got = TensorType::new(t.dtype, t.shape.clone());
        if graph.ty(v) != &got {
            return Err(EvalError::InputType { name: graph.value(v).name.clone(), want: graph.ty(v).clone(), got });
        }
    }
    Ok(())
}

/// The result of one primitive. Operands that do not fit are an error, as is an index outside
/// its axis.
///
/// For constants that go into programs: sums run in a fixed order, so that the bits are the same on
/// every processor. [`eval`] sums in the fastest order instead and may differ in the last places.
pub fn eval_op(op: &Op, inputs: &[&Tensor]) -> Result<Tensor, String> {
    let types: Vec<TensorType> = inputs.iter().map(|t| TensorType::new(t.dtype, t.shape.clone())).collect();
    let types: Vec<&TensorType> = types.iter().collect();
    let ty = op.result_type(&types).map_err(|e| e.reason)?;
    eval_typed(Order::Fixed, op, inputs, &ty)
}

/// The result of a primitive whose operands are known to fit and to give `ty`.
fn eval_typed(order: Order, op: &Op, inputs: &[&Tensor], ty: &TensorType) -> Result<Tensor, String> {
    let dtypes: SmallVec<[DType; 3]> = inputs.iter().map(|t| t.dtype).collect();
    if let Some(kernel) = plan::kernel(op, &dtypes) {
        return Ok(tape::one(kernel, inputs, ty));
    }
    Ok(match op {
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Fma | Op::Cast(_) => {
            return Err("no loop is known for the operation".to_string());
        }
        Op::BitCast(to) => cast::bits(inputs[0], *to),
        Op::MatMul { epilogue } => matmul::eval(order, inputs, epilogue, ty),
        Op::Conv { window, groups, epilogue } => conv::eval(order, inputs, window, *groups, epilogue, ty),
        Op::ConvTranspose { window, groups, .. } => {
            conv_transpose::eval(order, inputs[0], inputs[1], window, *groups, ty)
        }
        Op::Pool { kind, window } => pool::eval(inputs[0], *kind, window, ty),
        Op::Reduce { kind, axes, .. } => reduce::eval(inputs[0], *kind, axes, ty),
        Op::ArgReduce { max, axis, last, .. } => scan::arg_reduce(inputs[0], *max, *axis, *last, &ty.shape)?,
        Op::CumSum { axis, exclusive, reverse } => scan::cumsum(inputs[0], *axis, *exclusive, *reverse),
        Op::Softmax { axis } => scan::softmax(inputs[0], *axis),
        Op::Norm { axes, centered, epsilon } => {
            norm::eval(order, inputs[0], axes, *centered, f32::from_bits(*epsilon))?
        }
        Op::Reshape { shape } => buffer::reshaped(inputs[0], shape),
        Op::Transpose { perm } => strided::transpose(inputs[0], perm),
        Op::Broadcast { shape } => strided::broadcast(inputs[0], shape),
        Op::Slice { start, step, shape } => strided::slice(inputs[0], start, step, shape),
        Op::Concat { axis } => concat::eval(inputs, *axis, ty),
        Op::Pad { mode, before, .. } => {
            let fill = (*mode == PadMode::Constant).then(|| inputs[1]);
            pad::eval(inputs[0], fill, *mode, before, ty)
        }
        Op::Gather { axis } => gather::gather(inputs[0], inputs[1], *axis, ty)?,
        Op::GatherElements { axis } => gather::elements(inputs[0], inputs[1], *axis, ty)?,
        Op::GatherNd { batch_dims } => gather::nd(inputs[0], inputs[1], *batch_dims, ty)?,
        Op::ScatterElements { axis, mode } => scatter::elements(inputs[0], inputs[1], inputs[2], *axis, *mode)?,
        Op::ScatterNd { mode } => scatter::nd(inputs[0], inputs[1], inputs[2], *mode)?,
        Op::TopKValues { k, axis, largest } => scan::top_k(inputs[0], *k, *axis, *largest, false),
        Op::TopKIndices { k, axis, largest } => scan::top_k(inputs[0], *k, *axis, *largest, true),
    })
}
