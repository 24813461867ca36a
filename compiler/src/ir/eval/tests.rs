//! Small cases whose results can be checked by hand. The ONNX node tests and whole models against
//! ONNX Runtime are in the tests crate.

use super::*;
use crate::ir::{Binary, DType, EpilogueStep, Pool, Reduce, Unary, Window};

fn f32s(shape: &[usize], v: &[f32]) -> Tensor {
    Tensor::from_f32(shape, v)
}

fn run1(op: Op, inputs: &[&Tensor]) -> Tensor {
    eval_op(&op, inputs).expect("operands fit")
}

fn window(kernel: usize, stride: usize, pad: usize, rank: usize) -> Window {
    Window {
        kernel: vec![kernel; rank],
        stride: vec![stride; rank],
        dilation: vec![1; rank],
        before: vec![pad; rank],
        after: vec![pad; rank],
    }
}

#[test]
fn adds_with_broadcasting() {
    let a = f32s(&[2, 1, 3], &[1., 2., 3., 4., 5., 6.]);
    let b = f32s(&[2, 1], &[10., 20.]);
    let y = run1(Op::Binary(Binary::Add), &[&a, &b]);
    assert_eq!(y.shape, [2, 2, 3]);
    assert_eq!(y.as_f32().unwrap(), [11., 12., 13., 21., 22., 23., 14., 15., 16., 24., 25., 26.]);
}

#[test]
fn fma_rounds_once() {
    let (a, b) = (f32s(&[1], &[1.0 + f32::EPSILON]), f32s(&[1], &[1.0 - f32::EPSILON]));
    let y = run1(Op::Fma, &[&a, &b, &f32s(&[2], &[-1.0, 1.0])]);
    // The product alone rounds to 1.
    assert_eq!(y.as_f32().unwrap(), [-f32::EPSILON * f32::EPSILON, 2.0]);
    let text = "graph \"g\" {\n  %0 = input : f32[2] as \"x\"\n  %1 = fma %0, %0, %0 : f32[2] from \"n\"\n  output \"y\" = %1\n}\n";
    assert_eq!(crate::ir::text::print(&crate::ir::text::parse(text).unwrap()), text);
}

#[test]
fn integer_division_never_traps() {
    let a = Tensor::new(DType::I8, vec![4], vec![0x80, 7, 0x80, 0xF9]).unwrap();
    let b = Tensor::new(DType::I8, vec![4], vec![0xFF, 0, 2, 2]).unwrap();
    assert_eq!(run1(Op::Binary(Binary::Div), &[&a, &b]).data[..], [0x80, 0, 0xC0, 0xFD]);
    assert_eq!(run1(Op::Binary(Binary::Mod), &[&a, &b]).data[..], [0, 0, 0, 1]);
    assert_eq!(run1(Op::Binary(Binary::Rem), &[&a, &b]).data[..], [0, 0, 0, 0xFF]);
}

#[test]
fn matmul_with_epilogue() {
    let a = f32s(&[2, 2], &[1., 2., 3., 4.]);
    let b = f32s(&[2, 2], &[1., -1., 0., 1.]);
    let bias = f32s(&[2], &[-2., 0.5]);
    let y = run1(Op::MatMul { epilogue: vec![EpilogueStep::Add, EpilogueStep::Relu] }, &[&a, &b, &bias]);
    assert_eq!(y.as_f32().unwrap(), [0., 1.5, 1., 1.5]);
}

#[test]
fn conv_dense_and_depthwise_agree_with_a_direct_sum() {
    for (groups, cg) in [(1, 4), (2, 2), (4, 1)] {
        let (c, m, h, k) = (4, 8, 6, 3);
        let x: Vec<f32> = (0..c * h * h).map(|i| ((i * 7 % 13) as f32) - 6.0).collect();
        let w: Vec<f32> = (0..m * cg * k * k).map(|i| ((i * 5 % 11) as f32) - 5.0).collect();
        for (stride, pad) in [(1, 1), (2, 0), (2, 2)] {
            let y = run1(
                Op::Conv { window: window(k, stride, pad, 2), groups, epilogue: vec![] },
                &[&f32s(&[1, c, h, h], &x), &f32s(&[m, cg, k, k], &w)],
            );
            let o = (h + 2 * pad - k) / stride + 1;
            assert_eq!(y.shape, [1, m, o, o]);
            let y = y.as_f32().unwrap();
            for (i, &got) in y.iter().enumerate() {
                let (mo, oy, ox) = (i / (o * o), i / o % o, i % o);
                let mut want = 0.0;
                for ci in 0..cg {
                    for ky in 0..k {
                        for kx in 0..k {
                            let (iy, ix) = (oy * stride + ky, ox * stride + kx);
                            if iy < pad || ix < pad || iy - pad >= h || ix - pad >= h {
                                continue;
                            }
                            let channel = mo / (m / groups) * cg + ci;
                            want += x[(channel * h + iy - pad) * h + ix - pad] * w[((mo * cg + ci) * k + ky) * k + kx];
                        }
                    }
                }
                assert_eq!(got, want, "groups {groups} stride {stride} pad {pad} at {i}");
            }
        }
    }
}

#[test]
fn pools_count_padding_as_told() {
    let x = f32s(&[1, 1, 2, 2], &[1., 2., 3., 4.]);
    let pool = |kind| run1(Op::Pool { kind, window: window(2, 1, 1, 2) }, &[&x]).as_f32().unwrap();
    assert_eq!(pool(Pool::Max), [1., 2., 2., 3., 4., 4., 3., 4., 4.]);
    assert_eq!(pool(Pool::AverageExcludePad), [1., 1.5, 2., 2., 2.5, 3., 3., 3.5, 4.]);
    assert_eq!(pool(Pool::AverageIncludePad), [0.25, 0.75, 0.5, 1., 2.5, 1.5, 0.75, 1.75, 1.]);
}

#[test]
fn reduces_any_axes() {
    let x = f32s(&[2, 2, 3], &(0..12).map(|i| i as f32).collect::<Vec<_>>());
    let reduce =
        |kind, axes: &[usize]| run1(Op::Reduce { kind, axes: axes.to_vec(), keep: false }, &[&x]).as_f32().unwrap();
    assert_eq!(reduce(Reduce::Sum, &[1]), [3., 5., 7., 15., 17., 19.]);
    assert_eq!(reduce(Reduce::Mean, &[0, 2]), [4., 7.]);
    assert_eq!(reduce(Reduce::Max, &[0, 1, 2]), [11.]);
}

#[test]
fn softmax_is_stable() {
    let x = f32s(&[1, 2], &[1000., 1000.]);
    assert_eq!(run1(Op::Softmax { axis: 1 }, &[&x]).as_f32().unwrap(), [0.5, 0.5]);
}

#[test]
fn slices_backwards() {
    let x = f32s(&[5], &[0., 1., 2., 3., 4.]);
    let y = run1(Op::Slice { start: vec![4], step: vec![-2], shape: vec![3] }, &[&x]);
    assert_eq!(y.as_f32().unwrap(), [4., 2., 0.]);
}

#[test]
fn gather_outside_is_an_error() {
    let x = f32s(&[2], &[0., 1.]);
    let at = |i| eval_op(&Op::Gather { axis: 0 }, &[&x, &Tensor::from_i64(&[], &[i])]);
    assert_eq!(at(-1).unwrap().as_f32().unwrap(), [1.]);
    assert_eq!(at(2).unwrap_err(), "index 2 is outside an axis of extent 2");
}

#[test]
fn frees_and_keeps_the_right_values() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::new(DType::F32, [2]));
    let o = g.add_origin("n");
    let a = g.add_node(Op::Unary(Unary::Neg), &[x], o).unwrap();
    let b = g.add_node(Op::Unary(Unary::Abs), &[a], o).unwrap();
    g.add_output("a", a);
    g.add_output("b", b);
    g.add_output("x", x);
    let x = f32s(&[2], &[1., -2.]);
    let y = eval(&g, std::slice::from_ref(&x)).unwrap();
    assert_eq!(y[0].as_f32().unwrap(), [-1., 2.]);
    assert_eq!(y[1].as_f32().unwrap(), [1., 2.]);
    assert_eq!(y[2], x);
    assert_eq!(eval_all(&g, &[x]).unwrap().len(), 3);
    assert!(matches!(eval(&g, &[]), Err(EvalError::InputCount { want: 1, got: 0 })));
}

#[test]
fn fast_and_fixed_order_agree_where_sums_are_exact() {
    // Large enough for several blocks of columns and for both cores.
    let (c, m, l, k) = (3, 20, 10_000, 5);
    let x: Vec<f32> = (0..c * l).map(|i| ((i * 7 % 3) as f32) - 1.0).collect();
    let w: Vec<f32> = (0..m * c * k).map(|i| ((i * 5 % 3) as f32) - 1.0).collect();
    let mut g = Graph::new("g");
    let (x, w) = (f32s(&[1, c, l], &x), f32s(&[m, c, k], &w));
    let input = g.add_input("x", TensorType::new(DType::F32, [1, c, l]));
    let weights = g.add_const("w", w.clone());
    let o = g.add_origin("n");
    let op = Op::Conv { window: window(k, 3, 2, 1), groups: 1, epilogue: vec![] };
    let y = g.add_node(op.clone(), &[input, weights], o).unwrap();
    let t = g.add_node(Op::Transpose { perm: vec![0, 2, 1] }, &[y], o).unwrap();
    let z = g.add_node(Op::MatMul { epilogue: vec![] }, &[y, t], o).unwrap();
    g.add_output("y", y);
    g.add_output("z", z);
    let fast = eval(&g, std::slice::from_ref(&x)).unwrap();
    let conv = eval_op(&op, &[&x, &w]).unwrap();
    assert!(fast[0] == conv);
    let turned = eval_op(&Op::Transpose { perm: vec![0, 2, 1] }, &[&conv]).unwrap();
    assert!(fast[1] == eval_op(&Op::MatMul { epilogue: vec![] }, &[&conv, &turned]).unwrap());
}

#[test]
fn transposes_of_every_order() {
    let shape = [3, 20, 2, 37];
    let n: usize = shape.iter().product();
    let x = f32s(&shape, &(0..n).map(|i| i as f32).collect::<Vec<_>>());
    let mut steps = [1; 4];
    (0..3).rev().for_each(|i| steps[i] = steps[i + 1] * shape[i + 1]);
    for code in 0..256 {
        let perm: Vec<usize> = (0..4).map(|i| code >> (2 * i) & 3).collect();
        if (0..4).any(|a| !perm.contains(&a)) {
            continue;
        }
        let y = run1(Op::Transpose { perm: perm.clone() }, &[&x]);
        for (i, &got) in y.as_f32().unwrap().iter().enumerate() {
            let mut rest = i;
            let mut at = 0;
            for d in (0..4).rev() {
                at += rest % y.shape[d] * steps[perm[d]];
                rest /= y.shape[d];
            }
            assert_eq!(got, at as f32, "{perm:?} at {i}");
        }
    }
}

#[test]
fn chains_have_the_bits_of_their_operations() {
    // Fused in `eval`, one by one in `eval_all`; every primitive, dtype and broadcast that the generator knows.
    use crate::ir::arbitrary::{self, Rng};
    let mut chains = 0;
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let g = arbitrary::graph(&mut rng, &arbitrary::Config::default());
        let inputs = arbitrary::inputs(&mut rng, &g);
        chains += plan::tasks(&g, true).iter().filter(|t| !t.chain.is_empty()).count();
        let (Ok(all), Ok(fused)) = (eval_all(&g, &inputs), eval(&g, &inputs)) else { continue };
        for (o, got) in g.outputs.iter().zip(fused) {
            assert!(got == all[o.value.0 as usize], "seed {seed}, output {}", o.name);
        }
    }
    assert!(chains > 50, "only {chains} chains");
}

#[test]
fn long_chains_through_blocks_and_threads() {
    let (rows, columns) = (300, 4001);
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::new(DType::F32, [rows, columns]));
    let column = g.add_input("c", TensorType::new(DType::F32, [rows, 1]));
    let row = g.add_input("r", TensorType::new(DType::F32, [columns]));
    let one = g.add_const("one", f32s(&[], &[1.0]));
    let o = g.add_origin("n");
    let mut y = x;
    for (op, operand) in [(Binary::Mul, column), (Binary::Add, row), (Binary::Max, one), (Binary::Sub, x)] {
        y = g.add_node(Op::Binary(op), &[y, operand], o).unwrap();
        y = g.add_node(Op::Unary(Unary::Tanh), &[y], o).unwrap();
    }
    let byte = g.add_node(Op::Cast(DType::I8), &[y], o).unwrap();
    let y = g.add_node(Op::Cast(DType::F32), &[byte], o).unwrap();
    let y = g.add_node(Op::Binary(Binary::Add), &[y, row], o).unwrap();
    g.add_output("y", y);
    let value = |n: usize| (0..n).map(|i| (i * 7 % 23) as f32 / 5.0 - 2.0).collect::<Vec<_>>();
    let inputs = [
        f32s(&[rows, columns], &value(rows * columns)),
        f32s(&[rows, 1], &value(rows)),
        f32s(&[columns], &value(columns)),
    ];
    assert_eq!(plan::tasks(&g, true).len(), 1);
    let all = eval_all(&g, &inputs).unwrap();
    assert!(eval(&g, &inputs).unwrap()[0] == all[y.0 as usize]);
}
