//! `bisect`: the first application of a rewrite rule after which a model goes wrong.

use super::explain::read_model;
use super::model_args::ModelArgs;
use super::output::{self, Format};
use super::progress::Progress;
use crate::bisect::{Found, Verdict, search};
use crate::compare::{Precision, Tolerance, compare};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::pipeline::{self, Preparation, Rewritten};
use quadrille_compiler::ir::{Graph, Tensor};
use quadrille_compiler::rewrite::{self, Application, RewriteReport};
use serde_json::json;
use std::path::PathBuf;

/// Find the first application of a rewrite rule after which a model goes wrong
///
/// Rewrites the model again and again with fewer applications of rules and halves the way to the first after
/// which it is wrong. Exit code 1 if there is one.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// An ONNX model, or a graph in text form
    model: PathBuf,

    #[command(flatten)]
    args: ModelArgs,

    /// What goes wrong
    #[arg(long, value_enum, default_value_t)]
    wrong: Wrong,

    /// For `--wrong result`: any bit that changes is wrong
    #[arg(long)]
    exact: bool,

    /// For `--wrong cycles`: more than this is wrong [default: what the model takes without any rule]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// Seed of inputs that are not given
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,

    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What may go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Wrong {
    /// The rewritten graph, by the oracle, is not what it was
    #[default]
    Result,
    /// It does not compile, breaks a rule of the checker, or the simulation is too far from the oracle
    Program,
    /// The program takes too many cycles
    Cycles,
}

/// What is judged against what.
struct Subject {
    imported: Graph,
    machine: Machine,
    precision: Precision,
    how: Preparation,
    inputs: Vec<Tensor>,
    expected: Vec<Tensor>,
    limit: Option<u64>,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        if self.exact && self.wrong != Wrong::Result || self.limit.is_some() && self.wrong != Wrong::Cycles {
            return Err(Failure::usage("--exact is for --wrong result, --limit for --wrong cycles"));
        }
        let progress = Progress::new();
        let (prepared, _) = progress.stage("rewriting", || self.prepare());
        let (subject, all) = prepared?;
        let total = all.report.applications();
        let (found, _) = progress.stage("bisecting", || search(total, |n| self.judge(&subject, n)));
        let found = found?;
        let report = match found {
            Found::First { application, .. } => Some(subject.rewritten(application)?.1.report),
            _ => None,
        };
        drop(progress);
        self.print(total, &found, report.as_ref())?;
        Ok(u8::from(!matches!(found, Found::NothingWrong(_))))
    }

    fn prepare(&self) -> Result<(Subject, Rewritten), Failure> {
        let machine = self.args.machine()?;
        let (imported, feeds) = read_model(&self.model, &self.args)?;
        let mut how = self.args.preparation();
        // What differs is to be found, not to be refused.
        how.rewrite.check = None;
        let inputs = match (&self.args.data, self.args.inputs.is_empty()) {
            (None, true) => rewrite::random_inputs(&imported, self.seed),
            _ => feeds.for_graph(&imported, self.seed)?,
        };
        let expected = match self.wrong {
            Wrong::Program => pipeline::evaluate(&imported, &inputs)?,
            _ => Vec::new(),
        };
        let precision = self.args.precision(&imported, machine.target());
        let mut subject = Subject { imported, machine, precision, how, inputs, expected, limit: self.limit };
        // The form that is compiled is the one to look into.
        let whole = pipeline::prepare_reporting(&subject.imported, &subject.machine, &subject.how)?.1;
        if let [one] = &whole[..] {
            subject.how.rewrite.extraction = Some(one.report.extraction);
        }
        if self.wrong == Wrong::Cycles && self.limit.is_none() {
            let plain = subject.rewritten(0)?.0;
            subject.limit = Some(subject.compile(&plain).map(|c| c.estimate.cycles).map_err(|f| {
                Failure::usage(format!("without any rule the model does not compile; give --limit N ({})", f.message))
            })?);
        }
        let all = subject.rewritten(usize::MAX)?.1;
        Ok((subject, all))
    }

    fn judge(&self, s: &Subject, applications: usize) -> Result<Verdict, Failure> {
        let (graph, rewritten) = s.rewritten(applications)?;
        let mut cycles = None;
        let wrong = match self.wrong {
            Wrong::Result => {
                let r = rewrite::compare_graphs(&rewritten.before, &rewritten.after, &s.inputs, self.exact);
                r.err().map(|e| e.to_string())
            }
            Wrong::Program => s.run(&graph).err().map(|f| f.message),
            Wrong::Cycles => match s.compile(&graph) {
                Ok(c) => {
                    cycles = Some(c.estimate.cycles);
                    let over = s.limit.filter(|&l| c.estimate.cycles > l);
                    over.map(|l| format!("{} cycles, more than {l}", c.estimate.cycles))
                }
                Err(f) => Some(f.message),
            },
        };
        Ok(Verdict { wrong, cycles })
    }

    fn print(&self, total: usize, found: &Found, report: Option<&RewriteReport>) -> Result<(), Failure> {
        let last = report.and_then(|r| r.last.as_ref());
        let rests = report.zip(last).map_or_else(Vec::new, |(r, a)| rests_on(r, a));
        let reason = match found {
            Found::NothingWrong(_) => None,
            Found::WrongFromTheStart(v) | Found::First { after: v, .. } => v.wrong.as_deref(),
        };
        let number = match found {
            Found::First { application, .. } => Some(*application),
            _ => None,
        };
        if self.format == Format::Json {
            let (before, after) = match found {
                Found::First { before, after, .. } => (before.cycles, after.cycles),
                Found::NothingWrong(v) | Found::WrongFromTheStart(v) => (None, v.cycles),
            };
            return output::print_json(&json!({
                "model": self.model.display().to_string(),
                "applications": total,
                "verdict": match found {
                    Found::NothingWrong(_) => "nothing-wrong",
                    Found::WrongFromTheStart(_) => "wrong-without-rules",
                    Found::First { .. } => "found",
                },
                "reason": reason,
                "application": number,
                "rule": last.map(|a| a.rule),
                "nodes": last.map(|a| &a.nodes),
                "sweep": last.map(|a| a.sweep),
                "before": last.map(|a| &a.before),
                "after": last.map(|a| &a.after),
                "rests_on": rests,
                "cycles_before": before,
                "cycles_after": after,
            }));
        }
        let reason = reason.unwrap_or_default();
        let text = match (found, last) {
            (Found::NothingWrong(v), _) => {
                let cycles = v.cycles.map_or(String::new(), |c| format!(" ({c} cycles)"));
                format!("nothing is wrong after all {total} applications of rules{cycles}\n")
            }
            (Found::First { application, .. }, Some(a)) => {
                let nodes = if a.nodes.is_empty() { "a term of other rules".to_string() } else { a.nodes.join(" + ") };
                format!(
                    "application {application} of {total}: {} at {nodes}\n  {}\n  => {}\n  then: {reason}\n  \
                     the nodes that this went into rest on: {}\n",
                    a.rule,
                    a.before,
                    a.after,
                    rests.join(", ")
                )
            }
            _ => format!("wrong without any rule, and with the first parts of {total} applications: {reason}\n"),
        };
        output::print(&text)
    }
}

/// Rules behind the nodes that serve what an application started from: one of them is at fault, and it need not
/// be the last, which may only have made the form of an earlier one worth taking.
fn rests_on(report: &RewriteReport, last: &Application) -> Vec<&'static str> {
    let mut rules = Vec::new();
    let serving = report.lineage.iter().filter(|l| l.serves.iter().any(|n| last.nodes.contains(n)));
    for step in serving.flat_map(|l| &l.steps) {
        if !rules.contains(&step.rule) {
            rules.push(step.rule);
        }
    }
    rules
}

impl Subject {
    /// The graph to compile after some applications of rules, and what the rewrite did.
    fn rewritten(&self, applications: usize) -> Result<(Graph, Rewritten), Failure> {
        let mut how = self.how.clone();
        how.rewrite.applications = Some(applications);
        let (graph, mut all) = pipeline::prepare_reporting(&self.imported, &self.machine, &how)?;
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => Ok((graph, one)),
            _ => Err(Failure::usage("bisect wants one `rewrite` among the --passes")),
        }
    }

    fn compile(&self, graph: &Graph) -> Result<pipeline::Compiled, Failure> {
        pipeline::compile_as(graph, &self.machine, &self.how.mapping)
    }

    /// Compiles, checks, simulates and compares.
    fn run(&self, graph: &Graph) -> Result<(), Failure> {
        let compiled = self.compile(graph)?;
        let checked = pipeline::check(&compiled.program, &self.machine)?;
        if let Some(e) = checked.errors.first() {
            return Err(Failure::wrong(format!("the checker objects: {}", e.message)));
        }
        let got = pipeline::simulate(&compiled.program, &self.machine, &self.inputs)?.outputs;
        let names: Vec<&str> = self.imported.outputs.iter().map(|o| o.name.as_str()).collect();
        let triples: Vec<_> = names.iter().zip(&got).zip(&self.expected).map(|((n, g), w)| (*n, g, w)).collect();
        let compared = compare(&triples, Tolerance::of(self.precision)).map_err(|e| Failure::wrong(e.to_string()))?;
        match compared {
            Some(c) if !c.ok => Err(Failure::wrong(format!("output `{}` is off by {}", c.worst_output, c.max_abs))),
            _ => Ok(()),
        }
    }
}
