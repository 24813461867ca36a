//! A batch in groups of images, each group with kernels, rows of the mesh and ports of its own.
//!
//! ```text
//!  port, images 0..4  ====> conv ====> conv ====> ...      no stream goes from one group to another
//!  port, images 4..8  ====> conv ====> conv ====> ...
//! ```
//!
//! Where no node of a model looks from one image at another, the model for fewer images is made of the same nodes.
//! Knows nothing of kernels.

use super::layout::Part;
use super::streams::{Exit, Kernel, KernelId, Lane, Operand, Producer, Stream, StreamId, WaferGraph};
use quadrille_compiler::ir::builder::live_nodes;
use quadrille_compiler::ir::{Graph, Node, Op, TensorType, ValueDef, ValueId};

/// The same model for `images` of the `all` images that its inputs and outputs have; `None` when some node is none of single
/// images, or cannot be told to be.
pub(crate) fn fewer(g: &Graph, images: usize, all: usize) -> Option<Graph> {
    let mut new = Graph::new(g.name.clone());
    g.origins().iter().for_each(|o| _ = new.push_origin(o.name.clone()));
    let mut map: Vec<Option<ValueId>> = vec![None; g.values().len()];
    let mut of_images = vec![false; g.values().len()];
    for &v in &g.inputs {
        let (value, mut shape) = (g.value(v), g.shape(v).to_vec());
        *shape.first_mut().filter(|n| **n == all)? = images;
        map[v.0 as usize] = Some(new.add_input(value.name.clone(), TensorType::new(value.ty.dtype, shape)));
        of_images[v.0 as usize] = true;
    }
    let live = live_nodes(g);
    for (_, node) in g.nodes().iter().enumerate().filter(|(i, _)| live[*i]) {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &v in &node.inputs {
            let made = match (map[v.0 as usize], &g.value(v).def) {
                (Some(made), _) => made,
                (None, ValueDef::Const(t)) => new.add_const(g.value(v).name.clone(), t.clone()),
                _ => return None,
            };
            map[v.0 as usize] = Some(made);
            inputs.push(made);
        }
        let batched = node.inputs.iter().any(|v| of_images[v.0 as usize]);
        let op = if batched { of_fewer(g, node, &of_images, images, all)? } else { node.op.clone() };
        let out = new.add_node(op, &inputs, node.origin).ok()?;
        let (old, made) = (g.shape(node.output), new.shape(out));
        let same = match batched {
            true => old.first() == Some(&all) && made.first() == Some(&images) && old[1..] == made[1..],
            false => old == made,
        };
        if !same {
            return None;
        }
        new.set_name(out, g.value(node.output).name.clone());
        map[node.output.0 as usize] = Some(out);
        of_images[node.output.0 as usize] = batched;
    }
    for o in &g.outputs {
        let v = map[o.value.0 as usize].filter(|_| of_images[o.value.0 as usize])?;
        new.add_output(o.name.clone(), v);
    }
    Some(new)
}

/// The operation of a node for fewer images, when each image of its result is made of that image of its operands.
fn of_fewer(g: &Graph, node: &Node, of_images: &[bool], images: usize, all: usize) -> Option<Op> {
    let rank = g.shape(node.output).len();
    let batched = |i: usize| of_images[node.inputs[i].0 as usize];
    // An operand that is the same for all images has no axis for them.
    let broadcasts = |i: usize| {
        let shape = g.shape(node.inputs[i]);
        if batched(i) { shape.len() == rank } else { shape.len() < rank || shape[0] == 1 }
    };
    let elementwise = |from: usize| (from..node.inputs.len()).all(broadcasts);
    let with_images = |shape: &[usize]| -> Option<Vec<usize>> {
        let mut shape = shape.to_vec();
        *shape.first_mut().filter(|n| **n == all)? = images;
        Some(shape)
    };
    let same = || Some(node.op.clone());
    let apart = match &node.op {
        Op::Unary(_) | Op::Cast(_) => true,
        Op::Binary(_) | Op::Select | Op::Fma => elementwise(0),
        Op::MatMul { .. } => {
            let right = g.shape(node.inputs[1]);
            let constant = !batched(1) && right[..right.len() - 2].iter().all(|&d| d == 1);
            let both = batched(1) && rank > 2 && right.len() == rank;
            batched(0) && g.shape(node.inputs[0]).len() == rank && (constant || both) && elementwise(2)
        }
        Op::Conv { .. } => batched(0) && !batched(1) && elementwise(2),
        Op::ConvTranspose { .. } | Op::Pool { .. } => batched(0) && (1..node.inputs.len()).all(|i| !batched(i)),
        Op::Softmax { axis } | Op::ArgReduce { axis, .. } | Op::CumSum { axis, .. } => *axis > 0,
        Op::Reduce { axes, .. } | Op::Norm { axes, .. } => !axes.contains(&0),
        Op::Transpose { perm } => perm.first() == Some(&0),
        Op::Concat { axis } => *axis > 0 && (0..node.inputs.len()).all(batched),
        Op::Pad { before, after, .. } => before.first() == Some(&0) && after.first() == Some(&0),
        Op::Reshape { shape } => return Some(Op::Reshape { shape: with_images(shape)? }),
        Op::Broadcast { shape } => {
            let shape = with_images(shape)?;
            return broadcasts(0).then_some(Op::Broadcast { shape });
        }
        Op::Slice { start, step, shape } => {
            let shape = with_images(shape)?;
            let whole = start[0] == 0 && step[0] == 1;
            return whole.then(|| Op::Slice { start: start.clone(), step: step.clone(), shape });
        }
        _ => false,
    };
    apart.then(same).flatten()
}

/// So many copies of a graph for some images, each for the images that follow; `inputs` and `outputs` are the elements that
/// the graph has of each.
pub(crate) fn copies(part: &WaferGraph, copies: usize, inputs: &[usize], outputs: &[usize]) -> WaferGraph {
    let mut g = WaferGraph::default();
    let (streams, kernels) = (part.streams.len(), part.kernels.len());
    for c in 0..copies {
        let stream = |s: StreamId| StreamId(s.0 + c * streams);
        let kernel = |k: KernelId| KernelId(k.0 + c * kernels);
        for s in &part.streams {
            let mut s: Stream = s.clone();
            match s.producer {
                Producer::Input(i) if i < inputs.len() => {
                    s.part = s.part.or_else(|| s.layout.clone().map(Part::whole)).map(|p| further(p, c * inputs[i]));
                }
                Producer::Kernel(k) => s.producer = Producer::Kernel(kernel(k)),
                Producer::Input(_) | Producer::Gone => {}
            }
            s.readers.iter_mut().for_each(|(k, _)| *k = kernel(*k));
            let exits = s.outputs.into_iter();
            s.outputs =
                exits.map(|Exit { output, part }| Exit { output, part: further(part, c * outputs[output]) }).collect();
            g.streams.push(s);
        }
        for (i, k) in part.kernels.iter().enumerate() {
            let Lane { index, of } = k.lane;
            let operand = |o: &Operand| Operand { stream: stream(o.stream), layout: o.layout.clone() };
            g.kernels.push(Kernel {
                names: k.names.clone(),
                core: k.core.clone(),
                steps: k.steps.clone(),
                inputs: k.inputs.iter().map(operand).collect(),
                output: stream(k.output),
                cut: k.cut,
                lane: Lane { index: c * of + index, of: of * copies },
                // The first copy's kernels are those that the others are like.
                twin: if c == 0 { k.twin } else { Some(k.twin.unwrap_or(KernelId(i))) },
            });
        }
    }
    g
}

/// The same elements of images that come later.
fn further(part: Part, elements: usize) -> Part {
    Part { first: part.first + elements, ..part }
}
