//! The table and the pipelines as such, and what every pass must keep.

use super::*;
use crate::ir::arbitrary::{self, Config, Rng};
use crate::ir::eval::{eval, eval_op};
use crate::ir::text::{parse, print};
use crate::ir::{DType, Op, Tensor, TensorType, Unary, ValueId};
use std::path::Path;

#[test]
fn names_are_sorted_and_are_the_files_names() {
    let names: Vec<&str> = TABLE.iter().map(|p| p.name).collect();
    assert!(names.is_sorted());
    for name in names {
        let file = format!("{}/src/passes/{}.rs", env!("CARGO_MANIFEST_DIR"), name.replace('-', "_"));
        assert!(Path::new(&file).exists(), "{file}");
    }
    for pipeline in PIPELINES {
        assert!(find(pipeline.name).is_none(), "{} is a pass as well", pipeline.name);
        for pass in pipeline.passes {
            assert!(find(pass).is_some(), "{} names {pass}", pipeline.name);
        }
    }
}

#[test]
fn the_page_is_current() {
    let file = format!("{}/../docs/passes.md", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("QUADRILLE_BLESS").is_some() {
        std::fs::write(&file, markdown()).unwrap();
    }
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page == markdown(), "docs/passes.md is out of date: run this test with QUADRILLE_BLESS=1");
}

/// Every pass and pipeline on random graphs: verified by the runner, the same interface, the same
/// bits (`eval` sums such small products in one order).
#[test]
fn passes_keep_what_the_graph_computes() {
    let names: Vec<&str> = TABLE.iter().map(|p| p.name).chain(PIPELINES.iter().map(|p| p.name)).collect();
    let mut changed = vec![0; names.len()];
    for seed in 0..600 {
        let mut rng = Rng::new(seed);
        let config = Config { nodes: 14, empty: seed % 5 == 0, ..Config::default() };
        let g = arbitrary::graph(&mut rng, &config);
        let inputs = arbitrary::inputs(&mut rng, &g);
        let want = eval(&g, &inputs).unwrap();
        for (name, changed) in names.iter().zip(&mut changed) {
            let mut new = g.clone();
            run_pipeline(&mut new, &[name]).unwrap_or_else(|e| panic!("seed {seed}, {name}: {e}\n{}", print(&g)));
            assert_eq!(interface(&g), interface(&new), "seed {seed}, {name}");
            let got = eval(&new, &inputs).unwrap_or_else(|e| panic!("seed {seed}, {name}: {e}"));
            let equal = got.iter().zip(&want).all(|(a, b)| agree(a, b));
            assert!(equal && got.len() == want.len(), "seed {seed}, {name}:\n{}\nbecame\n{}", print(&g), print(&new));
            *changed += usize::from(new != g);
            let mut again = new.clone();
            run_pipeline(&mut again, &[name]).unwrap();
            assert!(again.nodes().len() <= new.nodes().len(), "seed {seed}, {name} grows the graph");
        }
    }
    for (name, changed) in names.iter().zip(changed) {
        assert!(changed > 20, "{name} changed only {changed} graphs");
    }
}

/// Equal, floats up to the order of their sums: what is folded is summed in the fixed order, what is
/// evaluated in the fastest.
fn agree(a: &Tensor, b: &Tensor) -> bool {
    let wide = |t: &Tensor| -> Vec<f64> {
        let t = eval_op(&Op::Cast(DType::F64), &[t]).expect("every type casts to f64");
        t.data.chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().expect("eight bytes"))).collect()
    };
    let close = |(x, y): (f64, f64)| x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= 1e-5 * y.abs().max(1.0);
    let same_type = a.dtype == b.dtype && a.shape == b.shape;
    same_type && (a == b || a.dtype.is_float() && wide(a).into_iter().zip(wide(b)).all(close))
}

fn interface(g: &Graph) -> Vec<(String, TensorType)> {
    let inputs = g.inputs.iter().map(|&v| (g.value(v).name.clone(), g.ty(v).clone()));
    inputs.chain(g.outputs.iter().map(|o| (o.name.clone(), g.ty(o.value).clone()))).collect()
}

#[test]
fn unknown_names_are_listed() {
    let e = run_pipeline(&mut Graph::new("g"), &["fold"]).unwrap_err().to_string();
    assert!(e.starts_with("there is no pass or pipeline `fold`; there are: common-subexpressions, dead-code"), "{e}");
}

#[test]
fn a_pass_that_breaks_the_graph_is_named() {
    const BAD: Pass = Pass {
        name: "bad",
        summary: "",
        details: "",
        run: |g| {
            let mut g = g.clone();
            g.add_output("y", ValueId(1000));
            Ok(g)
        },
    };
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::new(DType::F32, [2]));
    let o = g.add_origin("n");
    g.add_node(Op::Unary(Unary::Neg), &[x], o).unwrap();
    let before = g.clone();
    let e = run_passes(&mut g, &[find("dead-code").unwrap(), &BAD]).unwrap_err();
    assert_eq!(e.to_string(), "the pass `bad` broke the graph: outputs: output `y` is %1000, which does not exist");
    assert!(g == before);
    g.add_output("", x);
    assert!(matches!(run_pipeline(&mut g, &["dead-code"]), Err(PipelineError::Input(_))));
}

fn optimised(text: &str, passes: &[&str]) -> String {
    let mut g = parse(text).unwrap();
    run_pipeline(&mut g, passes).unwrap();
    print(&g)
}

#[test]
fn large_fills_stay_small() {
    let text = "graph \"g\" {
      %0 = const [1.0] : f32[]
      %1 = broadcast %0 : f32[1000x1000]
      output \"y\" = %1
    }";
    assert!(optimised(text, &["fold-constants"]).contains("broadcast"));
    assert!(!optimised(&text.replace("1000x1000", "10x10"), &["fold-constants"]).contains("broadcast"));
}
