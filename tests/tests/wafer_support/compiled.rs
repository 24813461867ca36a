//! Small graphs compiled for `wafer-small`, for the mutation tests.

use crate::wafer_support::mutate::Rng;
use quadrille_compiler::ir::{Binary, DType, Graph, Op, TensorType, Unary, ValueId, Window};
use quadrille_isa::Tensor;
use quadrille_isa::wafer::{Machine, Program};
use quadrille_wafer::{Options, compile};

/// A compiled program with seeded inputs.
pub(crate) struct CompiledSample {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) inputs: Vec<Tensor>,
}

struct Net {
    graph: Graph,
    rng: Rng,
}

impl Net {
    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| (self.rng.below(4001) as f32 - 2000.0) / 1500.0).collect();
        Tensor::from_f32(shape, &values)
    }

    fn op(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let origin = self.graph.add_origin(op.name());
        self.graph.add_node(op, inputs, origin).expect("the graph is well-typed")
    }

    fn conv(&mut self, x: ValueId, m: usize, k: usize) -> ValueId {
        let c = self.graph.shape(x)[1];
        let w = self.tensor(&[m, c, k, k]);
        let w = self.graph.add_const("w", w);
        let window = Window {
            kernel: vec![k, k],
            stride: vec![1, 1],
            dilation: vec![1, 1],
            before: vec![k / 2, k / 2],
            after: vec![k / 2, k / 2],
        };
        self.op(Op::Conv { window, groups: 1, epilogue: vec![] }, &[x, w])
    }
}

fn build(name: &'static str, shape: &[usize], body: impl Fn(&mut Net, ValueId) -> ValueId) -> CompiledSample {
    let mut net = Net { graph: Graph::new(name), rng: Rng(11) };
    let x = net.graph.add_input("x", TensorType::new(DType::F32, shape));
    let y = body(&mut net, x);
    net.graph.add_output("y", y);
    let machine = Machine::builtin("wafer-small").expect("it ships");
    let compiled = compile(&net.graph, &machine, &Options::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let inputs = vec![net.tensor(shape)];
    CompiledSample { name, program: compiled.program, inputs }
}

pub(crate) fn all() -> Vec<CompiledSample> {
    vec![
        build("dense-relu-softmax", &[2, 12], |n, x| {
            let w = n.tensor(&[12, 6]);
            let w = n.graph.add_const("w", w);
            let y = n.op(Op::MatMul { epilogue: vec![] }, &[x, w]);
            let y = n.op(Op::Unary(Unary::Relu), &[y]);
            n.op(Op::Softmax { axis: 1 }, &[y])
        }),
        build("residual", &[1, 2, 5, 4], |n, x| {
            let s = n.conv(x, 3, 1);
            let y = n.conv(s, 3, 3);
            n.op(Op::Binary(Binary::Add), &[y, s])
        }),
    ]
}
