//! Passes over the tensor graph, as data: a table of passes and named pipelines of them.
//!
//! One pass a file, and the file's name is the pass's name. A pass makes a new graph from an old one;
//! it knows no machine (what a target gains from is the rewrite's business). After every pass the
//! graph is verified, and an error names the pass that broke it.
//!
//! A pass keeps what the graph computes, to the bit where no float sum is reordered, and keeps its
//! inputs and outputs with their names and types. `integer-kernels` and `whole-numbers` alone change values,
//! by a stated amount, and run where that precision is asked for.

pub mod common_subexpressions;
pub mod dead_code;
pub mod drop_identities;
pub mod fold_constants;
pub mod integer_kernels;
pub mod simplify_reshapes;
pub mod simplify_transposes;
pub mod whole_numbers;

mod docs;
#[cfg(test)]
mod tests;

use crate::ir::verify::{VerifyError, verify};
use crate::ir::{Graph, TypeError};

pub use docs::markdown;

/// A pass.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Name on the command line, in kebab-case; the file has the same name.
    pub name: &'static str,
    /// One sentence: what changes.
    pub summary: &'static str,
    /// When it applies, what it leaves alone and why. Paragraphs of Markdown.
    pub details: &'static str,
    /// Makes the new graph.
    pub run: fn(&Graph) -> Result<Graph, TypeError>,
}

/// Every pass, by name.
pub const TABLE: &[Pass] = &[
    common_subexpressions::PASS,
    dead_code::PASS,
    drop_identities::PASS,
    fold_constants::PASS,
    integer_kernels::PASS,
    simplify_reshapes::PASS,
    simplify_transposes::PASS,
    whole_numbers::PASS,
];

/// A named list of passes.
#[derive(Clone, Copy, Debug)]
pub struct Pipeline {
    /// Name; usable wherever a pass's name is.
    pub name: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// Passes in order.
    pub passes: &'static [&'static str],
}

/// Every pipeline.
pub const PIPELINES: &[Pipeline] = &[Pipeline {
    name: "clean",
    summary: "What every import goes through before it is rewritten for a target: constants computed, \
              movements merged, nothing twice, nothing unused.",
    passes: &[
        "fold-constants",
        "drop-identities",
        "simplify-transposes",
        "simplify-reshapes",
        "drop-identities",
        "common-subexpressions",
        "dead-code",
    ],
}];

/// What one pass did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct PassReport {
    pub pass: &'static str,
    pub nodes_before: usize,
    pub nodes_after: usize,
}

/// Why a pipeline stopped. The graph is then as it was before it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PipelineError {
    /// No pass or pipeline has this name.
    #[error("there is no pass or pipeline `{name}`; there are: {known}")]
    Unknown {
        /// The name given.
        name: String,
        /// All names, separated by commas.
        known: String,
    },
    /// The graph was broken before the first pass.
    #[error("the graph is not well-formed: {}", list(.0))]
    Input(Vec<VerifyError>),
    /// A pass made an operation that its operands do not fit: a bug of the pass.
    #[error("the pass `{pass}` failed: {error}")]
    Failed {
        /// The pass.
        pass: &'static str,
        /// What it made.
        error: TypeError,
    },
    /// A pass left a graph that does not verify: a bug of the pass.
    #[error("the pass `{pass}` broke the graph: {}", list(.errors))]
    Broke {
        /// The pass.
        pass: &'static str,
        /// The broken rules.
        errors: Vec<VerifyError>,
    },
}

fn list(errors: &[VerifyError]) -> String {
    errors.iter().map(VerifyError::to_string).collect::<Vec<_>>().join("; ")
}

/// The pass of this name.
pub fn find(name: &str) -> Option<&'static Pass> {
    TABLE.iter().find(|p| p.name == name)
}

/// The passes that names of passes and pipelines stand for.
pub fn resolve<S: AsRef<str>>(names: &[S]) -> Result<Vec<&'static Pass>, PipelineError> {
    let mut passes = Vec::new();
    for name in names {
        let name = name.as_ref();
        if let Some(pass) = find(name) {
            passes.push(pass);
        } else if let Some(pipeline) = PIPELINES.iter().find(|p| p.name == name) {
            // A test holds that pipelines name passes only.
            passes.extend(pipeline.passes.iter().filter_map(|n| find(n)));
        } else {
            let known = TABLE.iter().map(|p| p.name).chain(PIPELINES.iter().map(|p| p.name));
            return Err(PipelineError::Unknown { name: name.to_string(), known: known.collect::<Vec<_>>().join(", ") });
        }
    }
    Ok(passes)
}

/// Runs passes and pipelines by name, in order, and verifies before the first and after each.
pub fn run_pipeline<S: AsRef<str>>(graph: &mut Graph, names: &[S]) -> Result<Vec<PassReport>, PipelineError> {
    run_passes(graph, &resolve(names)?)
}

/// Runs passes in order, and verifies before the first and after each.
pub fn run_passes(graph: &mut Graph, passes: &[&'static Pass]) -> Result<Vec<PassReport>, PipelineError> {
    verify(graph).map_err(PipelineError::Input)?;
    let mut reports = Vec::with_capacity(passes.len());
    let mut current = graph.clone();
    for pass in passes {
        let new = (pass.run)(&current).map_err(|error| PipelineError::Failed { pass: pass.name, error })?;
        verify(&new).map_err(|errors| PipelineError::Broke { pass: pass.name, errors })?;
        reports.push(PassReport {
            pass: pass.name,
            nodes_before: current.nodes().len(),
            nodes_after: new.nodes().len(),
        });
        current = new;
    }
    *graph = current;
    Ok(reports)
}
