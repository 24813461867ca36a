//! What a porter asks of a model: is it supported, where is it not and why, does it fit, how fast
//! can it be, what binds.
//!
//! A problem does not end the look: import goes on behind a node that failed where the model
//! states the types of its results, and each target is asked about everything that was imported.

mod facts;
pub(crate) mod groups;
mod support;

pub use facts::Facts;
pub use groups::{ProblemGroup, grouped};
pub use support::{Estimated, NodeSupport, TargetSupport};

use crate::compare::Precision;
use crate::failure::{Failure, Problem};
use crate::machine::{Machine, Target};
use crate::pipeline::{self, Feeds, Preparation};
use quadrille_onnx::Model;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Whether cycles come from compiling or from the bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Estimate {
    /// Compile where that is cheap, else the bound.
    #[default]
    Auto,
    /// Compile always.
    Compile,
    /// Never compile: support by node, and the bound.
    Bound,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The model's file, for messages.
    pub path: &'a Path,
    /// The model.
    pub model: &'a Model,
    /// Extents by name.
    pub dims: &'a BTreeMap<String, usize>,
    /// Data that bind what the model leaves open.
    pub feeds: &'a Feeds,
    /// Machines to ask about.
    pub machines: &'a [Machine],
    /// Arithmetic; without it, what suits the model and the target.
    pub precision: Option<Precision>,
    /// What happens between import and a target.
    pub preparation: &'a Preparation,
    /// How far to go.
    pub estimate: Estimate,
}

/// What `check --format json` prints.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CheckReport {
    /// The model's file.
    pub model: String,
    /// Figures of the model alone.
    pub facts: Facts,
    /// Every node of the main graph.
    pub nodes: Vec<NodeSupport>,
    /// Every machine asked about.
    pub targets: Vec<TargetSupport>,
    /// Every problem once, even if both targets have it.
    pub problems: Vec<Problem>,
    /// Problems that read the same, together.
    pub groups: Vec<ProblemGroup>,
    /// The first failure's exit code; 0 if there is none. Problems of the model come before those
    /// of a machine.
    #[serde(skip)]
    pub exit_code: u8,
}

/// Answers a question. `stage` runs each longer stage under its name.
pub fn check(q: &Question<'_>, stage: &mut dyn FnMut(&'static str, &mut dyn FnMut())) -> CheckReport {
    let mut looked = None;
    stage("importing", &mut || looked = Some(pipeline::survey(q.path, q.model, q.dims, q.feeds)));
    let (survey, refused) = looked.expect("a stage runs what it is given");
    let facts = Facts::of(q.model, &survey, q.dims, refused.is_none());
    let mut targets = Vec::new();
    let mut failures: Vec<(Target, Failure)> = Vec::new();
    for m in q.machines {
        let what = if m.target() == Target::Tsp { "trying tsp" } else { "trying wafer" };
        let mut tried = None;
        stage(what, &mut || tried = Some(support::ask(q, m, survey.graph.as_ref(), refused.as_ref())));
        let (support, failure) = tried.expect("a stage runs what it is given");
        targets.push(support);
        failures.extend(failure.map(|f| (m.target(), f.locate(q.model))));
    }
    let exit_code = failures.first().map_or(0, |(_, f)| f.cause.exit_code());
    CheckReport {
        model: q.path.display().to_string(),
        nodes: support::nodes(q.model, q.machines, &survey, &failures),
        facts,
        targets,
        problems: groups::distinct(&failures),
        groups: grouped(&failures),
        exit_code,
    }
}
