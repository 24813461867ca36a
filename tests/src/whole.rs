//! A model all the way to a program, as the command line goes.

use crate::corpus;
use quadrille::compare::Precision;
use quadrille::machine::Machine;
use quadrille::pipeline::{self, Compiled, Feeds, Preparation};
use quadrille_compiler::ir::Graph;
use quadrille_isa::Tensor;

/// A compiled model, and what it was compiled from.
pub struct Whole {
    /// The machine.
    pub machine: Machine,
    /// Its data set.
    pub feeds: Feeds,
    /// The graph that was compiled: of integers, for a quantised model on a chip.
    pub graph: Graph,
    /// The program.
    pub compiled: Compiled,
    /// Values of the graph's inputs.
    pub inputs: Vec<Tensor>,
    /// The model's outputs, by name.
    pub outputs: Vec<String>,
}

/// The graph as imported, with its data set and the names of the model's outputs.
pub fn imported(files: &corpus::Model) -> (Graph, Feeds, Vec<String>) {
    let model = pipeline::load(&files.path).expect("the model loads");
    let (ins, outs) = (pipeline::input_names(&model), pipeline::output_names(&model));
    let feeds = Feeds::read(Some(&files.data), &[], &[], &ins, &outs, &[]).expect("the data set reads");
    let graph = pipeline::import(&files.path, &model, &Default::default(), &feeds).expect("the model imports");
    (graph, feeds, outs)
}

/// The graph that is compiled for a machine, its data set, its precision, and the names of the model's outputs.
pub type Prepared = (Graph, Feeds, Precision, Vec<String>);

/// See [`Prepared`].
pub fn prepared(files: &corpus::Model, machine: &Machine) -> Prepared {
    let (graph, feeds, outs) = imported(files);
    let precision = pipeline::precision(&graph, machine.target(), None);
    let ready = pipeline::prepare(&graph, machine, &Preparation::default()).expect("the passes run");
    (ready, feeds, precision, outs)
}

/// Compiles it.
///
/// Panics with the compiler's words.
pub fn whole(files: &corpus::Model, machine: &str) -> Whole {
    let machine = Machine::load(machine).expect("a machine that ships with the compiler");
    compiled(prepared(files, &machine), machine)
}

/// Compiles what was prepared for the machine.
///
/// Panics with the compiler's words.
pub fn compiled(ready: Prepared, machine: Machine) -> Whole {
    let (graph, feeds, _, outputs) = ready;
    let compiled = pipeline::compile(&graph, &machine).unwrap_or_else(|e| panic!("{e}"));
    let inputs = feeds.for_graph(&graph, 0).expect("inputs for every input of the graph");
    Whole { machine, feeds, graph, compiled, inputs, outputs }
}
