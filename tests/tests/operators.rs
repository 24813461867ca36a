//! Operators that the official node tests leave out, each against ONNX Runtime: those of `com.microsoft`, the
//! recurrent layers in all directions, control flow. One test a case; `corpus/operators.py` makes them.
//!
//! Floats agree within a tolerance of their type. Quantised results are equal, but for one quantum where
//! ONNX Runtime approximates: it scales by rounded quotients, and looks sigmoids up.

use libtest_mimic::{Arguments, Failed, Trial};
use quadrille_compiler::ir::{DType, Tensor, eval, verify};
use quadrille_tests::node_cases::NodeCase;
use quadrille_tests::operator_cases::operator_cases;
use std::process::ExitCode;

/// Part of the elements of a quantised result that may be off by one, beside one element at least.
const OFF_BY_ONE: f64 = 0.01;

fn main() -> ExitCode {
    let cases = match operator_cases() {
        Ok(cases) => cases,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let trials =
        cases.into_iter().map(|c| Trial::test(c.name.clone(), move || run(&c).map_err(Failed::from))).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run(case: &NodeCase) -> Result<(), String> {
    let sets = case.data_sets()?;
    if sets.iter().map(|s| s.expected.len()).sum::<usize>() == 0 {
        return Err("the case has no output to compare".to_string());
    }
    for set in sets {
        verify::verify(&set.graph).map_err(|e| format!("{e:?}"))?;
        let got = eval::eval(&set.graph, &set.inputs).map_err(|e| e.to_string())?;
        for (got, (name, want)) in got.iter().zip(&set.expected) {
            compare(got, want).map_err(|e| format!("output '{name}': {e}"))?;
        }
    }
    Ok(())
}

fn compare(got: &Tensor, want: &Tensor) -> Result<(), String> {
    if got.dtype != want.dtype || got.shape != want.shape {
        return Err(format!("got {:?} {:?}, want {:?} {:?}", got.dtype, got.shape, want.dtype, want.shape));
    }
    let (g, w) = (numbers(got), numbers(want));
    let largest = w.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    let tolerance = match got.dtype {
        DType::F16 => 4e-3,
        DType::BF16 => 3e-2,
        d if d.is_float() => 2e-5,
        _ => 0.0,
    };
    let differs =
        |&(&g, &w): &(&f64, &f64)| !(g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= tolerance * largest);
    let off: Vec<(&f64, &f64)> = g.iter().zip(&w).filter(differs).collect();
    let quantised = matches!(got.dtype, DType::I8 | DType::U8);
    let few = off.len() <= 1.max((OFF_BY_ONE * g.len() as f64) as usize);
    match off.iter().find(|(g, w)| !quantised || !few || (*g - *w).abs() > 1.0) {
        None => Ok(()),
        Some((a, b)) => Err(format!("{} of {} elements differ; got {a}, want {b}", off.len(), g.len())),
    }
}

fn numbers(t: &Tensor) -> Vec<f64> {
    let wide = eval::eval_op(&quadrille_compiler::ir::Op::Cast(DType::F64), &[t]).expect("every type has a cast");
    wide.data.chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().expect("eight bytes"))).collect()
}
