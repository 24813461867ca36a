//! Both sides of every rule, evaluated on random tensors.

use super::legalize;
use crate::ir::arbitrary::Rng;
use crate::ir::eval::eval;
use crate::ir::verify::verify;
use crate::ir::{Binary, DType, Graph, Op, PadMode, ScatterMode, Tensor, TensorType, Window};

/// A graph of one operation over inputs of these types.
fn graph(op: Op, types: &[(DType, &[usize])]) -> Graph {
    let mut g = Graph::new("g");
    let origin = g.add_origin("n");
    let x: Vec<_> = types
        .iter()
        .enumerate()
        .map(|(i, (d, s))| g.add_input(format!("x{i}"), TensorType::new(*d, s.to_vec())))
        .collect();
    let y = g.add_node(op, &x, origin).expect("types agree");
    g.add_output("y", y);
    g
}

/// Integers in `lo .. hi` of a type, or floats in quarters.
fn tensor(rng: &mut Rng, d: DType, shape: &[usize], lo: i64, hi: i64) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<i64> = (0..n).map(|_| lo + rng.below((hi - lo) as usize) as i64).collect();
    let data: Vec<u8> = match d {
        DType::F32 => values.iter().flat_map(|&v| (v as f32 / 4.0).to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|&v| half::f16::from_f32(v as f32 / 4.0).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|&v| half::bf16::from_f32(v as f32 / 4.0).to_le_bytes()).collect(),
        d => values.iter().flat_map(|v| v.to_le_bytes()[..d.size()].to_vec()).collect(),
    };
    Tensor { dtype: d, shape: shape.to_vec(), data: data.into() }
}

/// Equal bits on both sides, and the operation is gone.
fn same(g: &Graph, inputs: &[Tensor]) {
    let op = g.nodes()[0].op.clone();
    let legal = legalize(g).expect("the rules agree with the types");
    verify(&legal.graph).expect("the new graph is well-formed");
    assert_eq!(legal.from.len(), legal.graph.nodes().len());
    let left = legal.graph.nodes().iter().any(|n| n.op == op && n.inputs == legal.graph.inputs);
    assert!(!left, "{op:?} is still there");
    let (want, got) = (eval(g, inputs).expect("evaluates"), eval(&legal.graph, inputs).expect("evaluates"));
    assert_eq!(got, want, "{op:?} of {inputs:?}");
}

#[test]
fn computed_indices() {
    let mut rng = Rng::new(1);
    for d in [DType::F32, DType::F16, DType::I32, DType::U8, DType::I64] {
        let data = tensor(&mut rng, d, &[3, 4, 5], 0, 100);
        let index = tensor(&mut rng, DType::I64, &[2, 3], -4, 4);
        let g = graph(Op::Gather { axis: 1 }, &[(d, &[3, 4, 5]), (DType::I64, &[2, 3])]);
        same(&g, &[data.clone(), index]);
        let index = tensor(&mut rng, DType::I32, &[3, 7, 2], -4, 4);
        let g = graph(Op::GatherElements { axis: 1 }, &[(d, &[3, 4, 5]), (DType::I32, &[3, 7, 2])]);
        same(&g, &[data.clone(), index]);
        for batch_dims in [0, 1] {
            let index = tensor(&mut rng, DType::I64, &[3, 2, 2], -3, 3);
            let g = graph(Op::GatherNd { batch_dims }, &[(d, &[3, 4, 5]), (DType::I64, &[3, 2, 2])]);
            same(&g, &[data.clone(), index]);
        }
    }
}

#[test]
fn scatters() {
    use ScatterMode::{Add, Max, Min, Mul, Replace};
    let mut rng = Rng::new(2);
    for (d, modes) in
        [(DType::F32, &[Replace, Add, Mul, Max, Min][..]), (DType::I32, &[Replace, Add, Max]), (DType::I64, &[Replace])]
    {
        for &mode in modes {
            let data = tensor(&mut rng, d, &[3, 4, 2], -9, 9);
            let index = tensor(&mut rng, DType::I64, &[2, 5, 2], -4, 4);
            let updates = tensor(&mut rng, d, &[2, 5, 2], -4, 5);
            let types: [(DType, &[usize]); 3] = [(d, &[3, 4, 2]), (DType::I64, &[2, 5, 2]), (d, &[2, 5, 2])];
            same(&graph(Op::ScatterElements { axis: 1, mode }, &types), &[data.clone(), index, updates]);
            let index = tensor(&mut rng, DType::I64, &[6, 2], -3, 3);
            let updates = tensor(&mut rng, d, &[6, 2], -4, 5);
            let types: [(DType, &[usize]); 3] = [(d, &[3, 4, 2]), (DType::I64, &[6, 2]), (d, &[6, 2])];
            same(&graph(Op::ScatterNd { mode }, &types), &[data, index, updates]);
        }
    }
}

#[test]
fn places_and_order() {
    let mut rng = Rng::new(3);
    for d in [DType::F32, DType::I32, DType::U8] {
        // Few values, so that many are equal.
        let x = tensor(&mut rng, d, &[3, 7, 2], 0, 4);
        for (max, last, keep) in [(true, false, true), (true, true, false), (false, false, false), (false, true, true)]
        {
            same(&graph(Op::ArgReduce { max, axis: 1, keep, last }, &[(d, &[3, 7, 2])]), std::slice::from_ref(&x));
        }
        for largest in [false, true] {
            same(&graph(Op::TopKValues { k: 3, axis: 1, largest }, &[(d, &[3, 7, 2])]), std::slice::from_ref(&x));
            same(&graph(Op::TopKIndices { k: 7, axis: 1, largest }, &[(d, &[3, 7, 2])]), std::slice::from_ref(&x));
        }
        for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
            let op = Op::CumSum { axis: 1, exclusive, reverse };
            same(&graph(op, &[(d, &[3, 7, 2])]), std::slice::from_ref(&x));
        }
    }
}

#[test]
fn integers() {
    let mut rng = Rng::new(4);
    for (d, lo, hi) in [
        (DType::I32, i64::from(i32::MIN) + 1, i64::from(i32::MAX)),
        (DType::I32, -100, 100),
        (DType::I16, -32768, 32768),
        (DType::I8, -128, 128),
        (DType::U8, 0, 256),
        (DType::U16, 0, 65536),
        (DType::U32, 0, 1 << 32),
        (DType::U32, 0, 50),
    ] {
        for b in [Binary::Div, Binary::Mod, Binary::Rem] {
            let x = tensor(&mut rng, d, &[500], lo, hi);
            let y = tensor(&mut rng, d, &[500], lo / 7, hi / 3);
            let g = graph(Op::Binary(b), &[(d, &[500]), (d, &[500])]);
            same(&g, &[x.clone(), y]);
            // By small divisors, zero among them, quotients are large.
            let y = tensor(&mut rng, d, &[500], 0, 5);
            same(&g, &[x, y]);
        }
    }
    for d in [DType::U16, DType::U32] {
        for b in [
            Binary::Add,
            Binary::Mul,
            Binary::Lt,
            Binary::Ge,
            Binary::Max,
            Binary::Min,
            Binary::Xor,
            Binary::Shr,
            Binary::Shl,
        ] {
            let shift = matches!(b, Binary::Shl | Binary::Shr);
            let x = tensor(&mut rng, d, &[300], 0, 1 << (8 * d.size()));
            let y = tensor(&mut rng, d, &[300], 0, if shift { 40 } else { 1 << (8 * d.size()) });
            same(&graph(Op::Binary(b), &[(d, &[300]), (d, &[300])]), &[x, y]);
        }
    }
}

#[test]
fn padding() {
    let mut rng = Rng::new(5);
    let x = tensor(&mut rng, DType::F32, &[3, 5], -9, 9);
    for mode in [PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
        let op = Op::Pad { mode, before: vec![1, 2], after: vec![2, 3] };
        same(&graph(op, &[(DType::F32, &[3, 5])]), std::slice::from_ref(&x));
    }
    let op = Op::Pad { mode: PadMode::Constant, before: vec![1, -2], after: vec![0, 3] };
    same(&graph(op, &[(DType::F32, &[3, 5]), (DType::F32, &[])]), &[x, tensor(&mut rng, DType::F32, &[], 3, 4)]);
}

/// A padding of bytes stays only where convolutions take it over: a constant, along spatial axes.
#[test]
fn padding_before_a_convolution() {
    let mut rng = Rng::new(11);
    let x = tensor(&mut rng, DType::I8, &[1, 2, 4, 4], -9, 9);
    let fill = Tensor { dtype: DType::I8, shape: Vec::new(), data: vec![3].into() };
    for (computed, before, stays) in
        [(false, [0, 0, 1, 1], true), (true, [0, 0, 1, 1], false), (false, [0, 1, 1, 1], false)]
    {
        let mut g = Graph::new("g");
        let origin = g.add_origin("n");
        let input = g.add_input("x", TensorType::new(DType::I8, x.shape.clone()));
        let (mut inputs, value) = (vec![x.clone()], "value");
        let value = if computed {
            inputs.push(fill.clone());
            g.add_input(value, TensorType::new(DType::I8, Vec::new()))
        } else {
            g.add_const(value, fill.clone())
        };
        let pad = Op::Pad { mode: PadMode::Constant, before: before.to_vec(), after: vec![0; 4] };
        let y = g.add_node(pad.clone(), &[input, value], origin).expect("types agree");
        let w = tensor(&mut rng, DType::I8, &[2, 2 + before[1] as usize, 2, 2], -9, 9);
        let w = g.add_const("w", w);
        let window = Window {
            kernel: vec![2; 2],
            stride: vec![1; 2],
            dilation: vec![1; 2],
            before: vec![0; 2],
            after: vec![0; 2],
        };
        let conv = Op::Conv { window, groups: 1, epilogue: Vec::new() };
        let y = g.add_node(conv, &[y, w], origin).expect("types agree");
        g.add_output("y", y);
        let legal = legalize(&g).expect("the rules agree with the types").graph;
        let as_it_was = |n: &crate::ir::Node| n.op == pad && legal.constant(n.inputs[1]).is_none_or(|t| t.data[0] != 0);
        assert_eq!(legal.nodes().iter().any(as_it_was), stays, "{pad:?}, computed: {computed}");
        let (want, got) = (eval(&g, &inputs).expect("evaluates"), eval(&legal, &inputs).expect("evaluates"));
        assert_eq!(got, want);
    }
}

#[test]
fn convolutions() {
    let mut rng = Rng::new(6);
    // Small whole numbers: every order of sums gives the same bits.
    let mut window =
        Window { kernel: vec![3, 2], stride: vec![2, 1], dilation: vec![1, 2], before: vec![1, 0], after: vec![0, 2] };
    let x = tensor(&mut rng, DType::F32, &[2, 4, 6, 5], -9, 9);
    let w = tensor(&mut rng, DType::F32, &[6, 2, 3, 2], -9, 9);
    let op = Op::Conv { window: window.clone(), groups: 2, epilogue: Vec::new() };
    same(&graph(op, &[(DType::F32, &[2, 4, 6, 5]), (DType::F32, &[6, 2, 3, 2])]), &[x.clone(), w]);
    let w = tensor(&mut rng, DType::F32, &[4, 3, 3, 2], -9, 9);
    for extra in [[0, 0], [1, 1]] {
        window.before = vec![1, 3];
        let op = Op::ConvTranspose { window: window.clone(), groups: 2, extra: extra.to_vec() };
        same(&graph(op, &[(DType::F32, &[2, 4, 6, 5]), (DType::F32, &[4, 3, 3, 2])]), &[x.clone(), w.clone()]);
    }
}

#[test]
fn norms() {
    let mut rng = Rng::new(7);
    let x = tensor(&mut rng, DType::F32, &[2, 3, 4, 5], -9, 9);
    for centered in [true, false] {
        for axes in [vec![1], vec![2, 3], vec![0, 1, 2, 3], vec![3]] {
            let op = Op::Norm { axes: axes.clone(), centered, epsilon: 0.5f32.to_bits() };
            let g = graph(op, &[(DType::F32, &[2, 3, 4, 5])]);
            if axes != [3] {
                same(&g, std::slice::from_ref(&x));
            }
            let spelled = super::without_norms(&g).expect("legal");
            assert!(!spelled.graph.nodes().iter().any(|n| matches!(n.op, Op::Norm { .. })));
            assert_eq!(spelled.from, vec![0; spelled.graph.nodes().len()]);
            let (want, got) = (eval(&g, std::slice::from_ref(&x)), eval(&spelled.graph, std::slice::from_ref(&x)));
            assert_eq!(got.expect("evaluates"), want.expect("evaluates"));
        }
    }
}

#[test]
fn nothing_to_do_is_nothing_done() {
    let g = graph(Op::Binary(Binary::Add), &[(DType::F32, &[3]), (DType::F32, &[3])]);
    assert_eq!(legalize(&g).expect("legal").graph, g);
}

/// Products of whole numbers become products of floats, in as many parts as keep every sum exact; at the very bound, too.
#[test]
fn products_of_whole_numbers_in_floats() {
    let i32s = |shape: &[usize], f: &dyn Fn(usize) -> i32| {
        let data: Vec<u8> = (0..shape.iter().product()).flat_map(|i| f(i).to_le_bytes()).collect();
        Tensor { dtype: DType::I32, shape: shape.to_vec(), data: data.into() }
    };
    for (k, parts) in [(3, 1), (514, 1), (515, 2), (700, 2), (1600, 4)] {
        let mut g = Graph::new("product");
        let origin = g.add_origin("product");
        let x = g.add_input("x", TensorType::new(DType::I32, [2, k]));
        let w = g.add_const("w", i32s(&[k, 3], &|i| if i % 3 == 0 { -128 } else { (i % 251) as i32 - 125 }));
        let y = g.add_node(Op::MatMul { epilogue: Vec::new() }, &[x, w], origin).expect("typed");
        g.add_output("y", y);
        let bound = |v: crate::ir::ValueId| Some(if v == x { 255.0 } else { 128.0 });
        let legal = super::exact_products(&g, &bound).expect("legal").graph;
        let products = legal.nodes().iter().filter(|n| matches!(n.op, Op::MatMul { .. }));
        assert!(products.clone().all(|n| legal.ty(n.output).dtype == DType::F32), "{k}");
        assert_eq!(products.count(), parts, "{k}");
        let extreme = i32s(&[2, k], &|i| if i < k { -255 } else { (i * 37 % 511) as i32 - 255 });
        let (want, got) = (eval(&g, std::slice::from_ref(&extreme)), eval(&legal, std::slice::from_ref(&extreme)));
        assert_eq!(got.expect("evaluates"), want.expect("evaluates"), "{k}");
        // Without bounds, or with numbers that f16 does not hold, it stays as it is.
        assert_eq!(super::exact_products(&g, &|_| None).expect("legal").graph, g);
        assert_eq!(super::exact_products(&g, &|_| Some(2049.0)).expect("legal").graph, g);
    }
}
