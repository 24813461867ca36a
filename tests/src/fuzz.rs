//! What must hold for any bytes: one function for each place where bytes come in.
//!
//! The fuzz targets in `fuzz/` and the smoke test `tests/tests/fuzz_smoke.rs` call the same
//! functions. Each takes any input and panics only when a promise is broken; the readers
//! themselves must answer with a result or an error, in bounded time and memory.

use bytes::Bytes;
use quadrille::machine::Machine;
use quadrille::pipeline::{self, Preparation};
use quadrille_compiler::import::{self, ImportOptions};
use quadrille_compiler::ir::{self, Graph};
use quadrille_isa::container::{self, AnyProgram};

/// Graphs with more elements than this are not evaluated: the reader promises bounded memory, the
/// oracle needs the tensors that the model asks for.
const MAX_ELEMENTS: usize = 1 << 16;
const MAX_NODES: usize = 64;

/// How far a model came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// No model: damaged, or not well formed.
    NotRead,
    /// A model that does not import.
    Refused,
    /// A graph that verifies, too large to evaluate here.
    Imported,
    /// Evaluated: a result, or an error that depends on data.
    Evaluated,
}

/// Bytes as an ONNX file: load, import with every open dim bound to 2 or 3, verify, evaluate and ask
/// both targets when small. A survey must find problems exactly where import does.
pub fn onnx_file(data: &[u8]) -> Outcome {
    let Ok(model) = quadrille_onnx::from_bytes(Bytes::copy_from_slice(data), None) else { return Outcome::NotRead };
    let mut options = ImportOptions::default();
    for input in &model.graph.inputs {
        for (axis, name) in open_dims(&input.name, input) {
            options.dims.insert(name, 2 + axis % 2);
        }
    }
    let imported = import::import(&model, &options);
    let survey = import::survey(&model, &options);
    assert_eq!(imported.is_ok(), survey.errors.is_empty(), "import and survey disagree");
    if let Some(part) = &survey.graph {
        verified(part);
    }
    let Ok(graph) = imported else {
        // What is left of a refused model goes to the targets as well.
        if let Some(part) = survey.graph.filter(is_small) {
            ask_targets(&part);
        }
        return Outcome::Refused;
    };
    verified(&graph);
    if !is_small(&graph) {
        return Outcome::Imported;
    }
    evaluate(&graph);
    ask_targets(&graph);
    Outcome::Evaluated
}

/// Bytes as choices: a model that is often nearly right. See [`fuzz_model`](crate::fuzz_model).
pub fn onnx_model(choices: &[u8]) -> Outcome {
    onnx_file(&crate::fuzz_model::model_bytes(choices))
}

fn verified(graph: &Graph) {
    if let Err(errors) = ir::verify::verify(graph) {
        panic!("the importer made a graph that does not verify: {errors:?}");
    }
}

fn is_small(graph: &Graph) -> bool {
    let elements: usize = graph.values().iter().map(|v| v.ty.elements()).fold(0, usize::saturating_add);
    graph.nodes().len() <= MAX_NODES && elements <= MAX_ELEMENTS
}

/// What `quadrille check` does with a graph, on the small machines.
fn ask_targets(graph: &Graph) {
    for name in ["tsp-small", "wafer-small"] {
        let machine = Machine::load(name).expect("it ships");
        let optimised = pipeline::prepare(graph, &machine, &Preparation::default())
            .unwrap_or_else(|e| panic!("a graph that verifies cannot be rewritten for {name}: {e}"));
        let problems = pipeline::unsupported_nodes(&optimised, &machine, &Default::default());
        if problems.is_empty() {
            // An error is an answer: it may not fit.
            let _ = pipeline::compile(&optimised, &machine);
        }
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
