//! Quantised networks on the mesh: whole numbers in f16 and sums in f32 give the integers of the oracle, element for element.

use quadrille::machine::Machine;
use quadrille::pipeline::{self, Preparation};
use quadrille_compiler::ir::{DType, Graph, Tensor, eval::eval};
use quadrille_isa::container::AnyProgram;
use quadrille_isa::wafer::{ElemType, PeOp, Src, VecOp};
use quadrille_tests::quantised::{classifier, inputs, residual};

/// Compiles as a user does, checks, simulates.
fn prove(network: &Graph, machine: &str) -> AnyProgram {
    let machine = Machine::load(machine).expect("it ships");
    let whole = pipeline::prepare(network, &machine, &Preparation::default()).unwrap_or_else(|e| panic!("{e}"));
    let compiled = pipeline::compile(&whole, &machine).unwrap_or_else(|e| panic!("{e}"));
    let checked = pipeline::check(&compiled.program, &machine).expect("the checker runs");
    assert_eq!(checked.error_count, 0, "{:#?}", checked.errors);
    let inputs = inputs(network);
    let got = pipeline::simulate(&compiled.program, &machine, &inputs).unwrap_or_else(|e| panic!("{e}")).outputs;
    let want = eval(&whole, &inputs).expect("the whole numbers evaluate");
    let floats = |t: &[Tensor]| t[0].as_f32().expect("f32");
    // As numbers: a rounding by additions has no negative zero.
    let got = floats(&got);
    assert!(got == floats(&want), "the simulator is not the oracle");
    // The quantiser's own graph: a float near a tie may be rounded to the other side, a step that weights make two.
    let float = floats(&eval(network, &inputs).expect("the network evaluates"));
    let step = float.iter().zip(&float[1..]).map(|(a, b)| (a - b).abs()).filter(|d| *d > 1e-6).fold(1.0, f32::min);
    let beside = float.iter().zip(&got).filter(|(a, b)| (**a - **b).abs() > 0.5 * step).count();
    assert!(float.iter().zip(&got).all(|(a, b)| (a - b).abs() < 2.5 * step), "more than two steps beside");
    assert!(beside * 20 <= float.len(), "{beside} of {} elements are beside", float.len());
    compiled.program
}

fn kinds() -> impl Iterator<Item = (u64, DType, bool)> {
    [(1, DType::I8, false), (2, DType::U8, false), (3, DType::I8, true), (4, DType::U8, true)].into_iter()
}

/// Both sides come as f16, two elements a wavelet: one `fma` joins them.
#[test]
fn a_residual_joins_narrow_streams() {
    for (seed, dtype, shifted) in kinds() {
        let AnyProgram::Wafer(p) = prove(&residual(seed, dtype, shifted), "wafer-small") else {
            panic!("another target")
        };
        let narrow = |s: &Src| matches!(s, Src::Fabric(_, ElemType::F16));
        let joins = |o: &VecOp| o.op == PeOp::Fma && narrow(&o.a) && narrow(&o.c);
        let ops = p.classes.iter().flat_map(|c| &c.tasks).flat_map(|t| &t.body);
        assert!(ops.into_iter().any(joins), "seed {seed}");
    }
}

#[test]
fn depthwise_pools_and_a_dense_layer() {
    for (seed, dtype, shifted) in kinds() {
        prove(&classifier(seed, dtype, shifted), "wafer-small");
    }
}
