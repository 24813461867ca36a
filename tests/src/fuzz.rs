//! What must hold for any bytes: one function for each place where bytes come in.
//!
//! The fuzz targets in `fuzz/` and the smoke test `tests/tests/fuzz_smoke.rs` call the same
//! functions. Each takes any input and panics only when a promise is broken; the readers
//! themselves must answer with a result or an error, in bounded time and memory.

use bytes::Bytes;
use quadrille_compiler::import::{self, ImportOptions};
use quadrille_compiler::ir::{self, Graph};
use quadrille_isa::container::{self, AnyProgram};

/// Graphs with more elements than this in one value are not evaluated: the reader promises bounded
/// memory, the oracle needs the tensors that the model asks for.
const MAX_ELEMENTS: usize = 1 << 16;

/// Bytes as an ONNX file: load, import with every open dim bound to 2, verify, evaluate when small.
pub fn onnx_file(data: &[u8]) {
    let Ok(model) = quadrille_onnx::from_bytes(Bytes::copy_from_slice(data), None) else { return };
    let mut options = ImportOptions::default();
    for input in &model.graph.inputs {
        for (axis, name) in open_dims(&input.name, input) {
            options.dims.insert(name, 2 + axis % 2);
        }
    }
    if let Ok(graph) = import::import(&model, &options) {
        if let Err(errors) = ir::verify::verify(&graph) {
            panic!("the importer made a graph that does not verify: {errors:?}");
        }
        evaluate(&graph);
    }
}

fn open_dims(input: &str, info: &quadrille_onnx::ValueInfo) -> Vec<(usize, String)> {
    use quadrille_onnx::{Dim, ValueType};
    let ValueType::Tensor { shape: Some(dims), .. } = &info.ty else { return Vec::new() };
    dims.iter()
        .enumerate()
        .filter_map(|(axis, d)| match d {
            Dim::Fixed(_) => None,
            Dim::Symbol(n) => Some((axis, n.clone())),
            Dim::Unknown => Some((axis, format!("{input}.{axis}"))),
        })
        .collect()
}

fn evaluate(graph: &Graph) {
    if graph.nodes().len() > 64 || graph.values().iter().any(|v| v.ty.elements() > MAX_ELEMENTS) {
        return;
    }
    let inputs: Vec<ir::Tensor> = graph
        .inputs
        .iter()
        .map(|&v| {
            let ty = graph.ty(v);
            let zeros = vec![0u8; ty.elements() * ty.dtype.size()];
            ir::Tensor::new(ty.dtype, ty.shape.clone(), zeros).expect("zeros fill the type")
        })
        .collect();
    // An error is an answer (an index out of range, say); a panic is not.
    let _ = ir::eval::eval(graph, &inputs);
}

/// Text as a tensor graph: what parses prints to a text that parses to the same graph.
pub fn graph_text(text: &str) {
    if let Ok(graph) = ir::text::parse(text) {
        let printed = ir::text::print(&graph);
        let again = ir::text::parse(&printed).expect("what we print, we parse");
        assert_eq!(printed, ir::text::print(&again));
    }
}

/// Bytes as a program file: what reads is checked and simulated without a panic, and writes back.
pub fn program_file(data: &[u8]) {
    if let Ok(program) = container::read(&Bytes::copy_from_slice(data)) {
        judge(&program);
        let written = container::write(&program).expect("what was read can be written");
        assert!(container::read(&Bytes::from(written)).is_ok_and(|p| p == program));
    }
}

/// Text as a program: as [`program_file`].
pub fn program_text(text: &str) {
    if let Ok(program) = AnyProgram::parse(text) {
        judge(&program);
        let printed = program.print();
        assert_eq!(AnyProgram::parse(&printed).expect("what we print, we parse"), program);
    }
}

fn judge(program: &AnyProgram) {
    match program {
        AnyProgram::Tsp(p) => {
            if let Some(m) = quadrille_isa::tsp::Machine::builtin(&p.machine) {
                let _ = quadrille_runtime::tsp::check(p, &m);
            }
        }
        AnyProgram::Wafer(p) => {
            if let Some(m) = quadrille_isa::wafer::Machine::builtin(&p.machine) {
                let _ = quadrille_runtime::wafer::check(p, &m);
            }
        }
    }
}
