//! Quantised networks on the tsp machines: the checker finds nothing, and the simulator gives the bits of
//! the integer graph's oracle, element for element.

use quadrille_compiler::ir::{DType, Graph, Node, Op, Tensor, TensorType, eval::eval};
use quadrille_compiler::passes::run_pipeline;
use quadrille_isa::tsp::Machine;
use quadrille_runtime::tsp::{check, simulate};
use quadrille_tests::quantised::{Net, classifier, inputs, residual, scores_and_mix};
use quadrille_tsp::{self as tsp, CompileError, Options};

/// The integer graph of a network, as it is compiled.
fn integers(mut g: Graph) -> Graph {
    run_pipeline(&mut g, &["integer-kernels", "clean"]).unwrap();
    let product = |n: &&Node| matches!(n.op, Op::Conv { .. } | Op::MatMul { .. });
    let float = g.nodes().iter().filter(product).any(|n| g.ty(n.inputs[0]).dtype == DType::F32);
    assert!(!float, "a product stayed float");
    g
}

/// Compiles, checks, simulates; the outputs are the oracle's to the bit. Gives the cycles.
fn prove(g: &Graph, machine: &str) -> u64 {
    prove_with(g, machine, &Options::default()).0
}

/// The same with options; also the tiled graph.
fn prove_with(g: &Graph, machine: &str, options: &Options) -> (u64, String) {
    prove_as(g, machine, options, |a, b| a == b)
}

/// The same numbers: a zero may have lost its sign where floats are quantised.
fn same_numbers(a: &[Tensor], b: &[Tensor]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.shape == b.shape && a.as_f32() == b.as_f32())
}

/// Outputs are alike, and those of the tiled graph and the simulator the same.
fn prove_as(
    g: &Graph,
    machine: &str,
    options: &Options,
    alike: impl Fn(&[Tensor], &[Tensor]) -> bool,
) -> (u64, String) {
    let m = Machine::builtin(machine).expect("a built-in machine");
    let c = tsp::compile(g, &m, options).unwrap_or_else(|e| panic!("{machine}: {e}"));
    let report = check(&c.program, &m);
    let errors: Vec<String> = report.errors.iter().take(5).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{machine}: {}\n{}", errors.join("\n"), c.tiled);
    assert_eq!(report.cycles, c.estimate.cycles, "cycles of checker and estimate");
    let inputs = inputs(g);
    let want = eval(g, &inputs).unwrap();
    let tiled = c.tiled.eval(&inputs).unwrap();
    assert!(alike(&tiled, &want), "{machine}: the tiled graph is not the oracle\n{}", c.tiled);
    let sim = simulate(&c.program, &m, &inputs).unwrap_or_else(|e| panic!("{machine}: {e}"));
    assert!(sim.outputs == tiled, "{machine}: the simulator is not the oracle\n{}", c.tiled);
    (report.cycles, c.tiled.to_string())
}

/// `small`: also on the machine of few slices, where the operands of a residual find no slices apart.
fn both(small: bool, build: impl Fn(u64, DType, bool) -> Graph) {
    for (n, (dtype, shifted)) in
        [(DType::I8, false), (DType::U8, false), (DType::I8, true), (DType::U8, true)].into_iter().enumerate()
    {
        let g = build(n as u64 + 1, dtype, shifted);
        if small {
            prove(&g, "tsp-small");
        }
        prove(&g, "tsp");
    }
}

#[test]
fn a_convolution_from_the_input() {
    both(true, |seed, dtype, shifted| {
        let mut n = Net::new(seed, dtype, shifted);
        let x = n.input(&[1, 3, 9, 10]);
        let y = n.conv(&x, 20, 3, 2, 1);
        let y = n.relu(y);
        let y = n.quantised(y, 0.03);
        integers(n.with_output(&y))
    });
}

#[test]
fn a_block_with_a_residual() {
    both(false, |seed, dtype, shifted| integers(residual(seed, dtype, shifted)));
}

#[test]
fn depthwise_pools_and_a_dense_layer() {
    both(true, |seed, dtype, shifted| integers(classifier(seed, dtype, shifted)));
}

/// With a zero point of -128 everything between the first quantisation and the last is kept from 0: padding, maxima, residuals and
/// the bias follow.
#[test]
fn the_lowest_zero_point_is_kept_as_zero() {
    let build = |zero: f32| {
        let mut n = Net::new(5, DType::I8, true);
        n.zero = Some(zero);
        let x = n.input(&[1, 3, 12, 11]);
        let x = n.conv(&x, 24, 3, 1, 1);
        let x = n.relu(x);
        let x = n.quantised(x, 0.03);
        let x = n.max_pool(&x);
        let x = n.quantised(x, 0.03);
        let y = n.residual_block(&x);
        let y = n.conv(&y, 9, 1, 1, 1);
        let y = n.quantised(y, 0.05);
        integers(n.with_output(&y))
    };
    let m = Machine::builtin("tsp").expect("a built-in machine");
    let bytes = |g: &Graph| {
        let c = tsp::compile(g, &m, &Options::default()).expect("it compiles");
        format!("{}", c.tiled).lines().filter(|l| l.contains(": u8[")).count()
    };
    let (lowest, other) = (build(-128.0), build(-127.0));
    assert!(bytes(&lowest) > 0, "nothing is kept from 0");
    assert_eq!(bytes(&other), 0, "only the lowest zero point can be");
    for g in [&lowest, &other] {
        prove(g, "tsp");
    }
}

/// More rows than accumulators, more channels than lanes, an odd number of output blocks.
#[test]
fn wide_and_long_products() {
    let mut n = Net::new(9, DType::I8, false);
    let x = n.input(&[1, 2, 30, 23]);
    let x = n.conv(&x, 70, 1, 1, 1);
    let x = n.quantised(x, 0.02);
    let x = n.conv(&x, 130, 1, 1, 1);
    let y = n.quantised(x, 0.1);
    let g = integers(n.with_output(&y));
    prove(&g, "tsp");
    let mut n = Net::new(10, DType::I8, false);
    let x = n.input(&[1, 2, 60, 50]);
    let x = n.conv(&x, 400, 1, 1, 1);
    let x = n.quantised(x, 0.02);
    let x = n.conv(&x, 700, 1, 1, 1);
    let y = n.quantised(x, 0.1);
    prove(&integers(n.with_output(&y)), "tsp");
}

/// Passes of the inner axis whole and halved, columns in five even blocks and in three as wide as the planes.
#[test]
fn products_of_bytes_in_every_way() {
    for shape in [[24, 352, 815], [3, 700, 128]] {
        let mut n = Net::new(11, DType::I8, true);
        let x = n.input(&shape[..2]);
        let w = n.weights(&shape[1..], 1);
        let y = n.node(Op::MatMul { epilogue: Vec::new() }, &[x.id, w]);
        let y = n.quantised(y, 0.1);
        let g = integers(n.with_output(&y));
        let mut programs = std::collections::BTreeMap::new();
        for way in quadrille_tsp::ProductWay::all() {
            let options = Options { product: Some(way), ..Options::default() };
            let (cycles, tiled) = prove_with(&g, "tsp", &options);
            programs.entry(tiled).or_insert((way.to_string(), cycles));
        }
        println!("{shape:?}: {:?}", programs.values());
        assert!(programs.len() >= if shape[2] > 320 { 4 } else { 2 }, "{:?}", programs.values());
    }
}

#[test]
fn what_is_not_mapped_is_named() {
    let mut g = Graph::new("computed");
    let a = g.add_input("a", TensorType::new(DType::I8, [2, 4]));
    let b = g.add_input("b", TensorType::new(DType::I8, [4, 3]));
    let o = g.add_origin("product");
    let y = g.add_node(Op::MatMul { epilogue: Vec::new() }, &[a, b], o).unwrap();
    g.add_output("y", y);
    let m = Machine::builtin("tsp").unwrap();
    match tsp::compile(&g, &m, &Options::default()) {
        Err(CompileError::Unsupported { node, reason, .. }) => {
            assert_eq!(node, "product");
            assert!(reason.contains("two computed operands"), "{reason}");
        }
        r => panic!("{r:?}"),
    }
}

/// True when rows of bytes pass all planes of a tiled graph.
fn all_of_bytes(tiled: &str) -> bool {
    let rows = tiled.lines().filter_map(|l| l.split_once("+= ")?.1.split_once('['));
    rows.map(|(t, _)| t).all(|t| [": i8[", ": u8["].iter().any(|ty| tiled.contains(&format!("\n{t}{ty}"))))
}

/// Products of two computed operands take the bytes as they are, whatever their zero points.
#[test]
fn scores_and_mixes_of_bytes() {
    let zeros = |case: &str, name: &str| match (case, name) {
        ("some", name) => [3.0, -5.0, 17.0, -1.0][name.len() % 4],
        ("scores from the lowest", "scores") => -128.0,
        ("scores from the lowest", _) => 7.0,
        ("at the ends", "q") => -128.0,
        ("at the ends", "v") => -127.0,
        ("at the ends", _) => 127.0,
        _ => 0.0,
    };
    let cases = ["none", "some", "scores from the lowest", "at the ends"];
    // Heads that share words, heads that do not, and a word that is not full.
    for shape in [(1, 8, 16), (4, 48, 64), (3, 20, 16), (5, 33, 32), (12, 128, 64)] {
        for case in &cases[..if shape.1 == 128 { 2 } else { 4 }] {
            let mut g = scores_and_mix(shape, DType::I8, |name| zeros(case, name));
            run_pipeline(&mut g, &["clean"]).unwrap();
            let (_, tiled) = prove_as(&g, "tsp", &Options::default(), same_numbers);
            assert!(all_of_bytes(&tiled), "{shape:?}, zero points {case}: a product stayed float\n{tiled}");
            if shape.1 == 8 {
                prove_as(&g, "tsp-small", &Options::default(), same_numbers);
            }
        }
    }
}

/// Unsigned ones, too; but a zero point of -128 has no negative among signed bytes: what has it goes as floats, and is right.
#[test]
fn scores_and_mixes_of_other_bytes() {
    let of = |dtype, zero: &dyn Fn(&str) -> f32| {
        let mut g = scores_and_mix((4, 48, 64), dtype, zero);
        run_pipeline(&mut g, &["clean"]).unwrap();
        all_of_bytes(&prove_as(&g, "tsp", &Options::default(), same_numbers).1)
    };
    assert!(of(DType::U8, &|_| 128.0), "the middle of unsigned bytes");
    assert!(of(DType::U8, &|name| if name == "k" || name == "v" { 3.0 } else { 0.0 }), "the beginning");
    assert!(of(DType::U8, &|_| 255.0), "the end");
    assert!(!of(DType::U8, &|name| if name == "k" { 0.0 } else { 128.0 }), "the first of unsigned bytes");
    assert!(!of(DType::I8, &|name| if name == "k" { -128.0 } else { 0.0 }), "the first of signed ones");
}
