//! Programs that can be written down but mean nothing: checkers and simulators must say so, in
//! words, whatever the fields hold.

use proptest::prelude::*;
use quadrille_isa::{Tensor, strategy, tsp, wafer};
use quadrille_runtime as runtime;

fn zeros(dtype: quadrille_isa::DType, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::new(dtype, shape.to_vec(), vec![0u8; n * dtype.size()]).expect("as many bytes as the shape needs")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chips_survive(mut p in strategy::tsp_program()) {
        let m = tsp::Machine::builtin("tsp-small").expect("it ships");
        p.machine = m.name.clone();
        p.machine_hash = m.hash();
        let report = runtime::tsp::check(&p, &m);
        let inputs: Vec<Tensor> = p.inputs.iter().map(|t| zeros(t.dtype, &t.shape)).collect();
        let run = runtime::tsp::simulate(&p, &m, &inputs);
        // The simulator runs whatever the checker passes.
        prop_assert!(!report.ok() || run.is_ok(), "{run:?}");
    }

    #[test]
    fn meshes_survive(mut p in strategy::wafer_program()) {
        let m = wafer::Machine::builtin("wafer-small").expect("it ships");
        p.machine = m.name.clone();
        p.machine_hash = m.hash();
        let report = runtime::wafer::check(&p, &m);
        let inputs: Vec<Tensor> = p.inputs.iter().map(|t| zeros(t.dtype, &t.shape)).collect();
        let run = runtime::wafer::simulate(&p, &m, &inputs);
        prop_assert!(!report.ok() || run.is_ok(), "{run:?}");
    }
}
