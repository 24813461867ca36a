//! A node-test case on a machine: compiled, checked, simulated, compared.
//!
//! The small machine of a target is tried first; what it refuses goes to the full-size one.
//!
//! **Tolerance.** Integers and bools must be equal. A graph with float products is judged by the
//! f16 tolerance of `quadrille run`; any other by the case's own tolerances, plus 1e-6 of the
//! output's range, since sums and composed functions have absolute errors in f32.

use crate::node_cases::{DataSet, NodeCase};
use crate::scope;
use quadrille::compare::{Precision, Tolerance, compare};
use quadrille::failure::{Cause, Failure};
use quadrille::machine::{Machine, Target};
use quadrille::pipeline::{self, Preparation};
use quadrille_isa::Tensor;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came of a case on a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Every output is right, on the machine named.
    Pass(String),
    /// Right on the machine named, though nobody could ask for it: see [`scope`].
    Beyond(String),
    /// Not in scope, and refused.
    OutOfScope(String),
    /// The compiler says why it does not.
    Refused(String),
    /// Accepted, and then something went wrong.
    Bug(String),
}

impl fmt::Display for Verdict {
    /// The form of the committed lists.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Pass(machine) => write!(f, "pass: {machine}"),
            Verdict::Beyond(machine) => write!(f, "beyond: {machine}"),
            Verdict::OutOfScope(why) => write!(f, "out of scope: {why}"),
            Verdict::Refused(why) => write!(f, "refused: {why}"),
            Verdict::Bug(why) => write!(f, "bug: {why}"),
        }
    }
}

impl Verdict {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Verdict> {
        let (kind, rest) = text.split_once(": ")?;
        let make = match kind {
            "pass" => Verdict::Pass,
            "beyond" => Verdict::Beyond,
            "out of scope" => Verdict::OutOfScope,
            "refused" => Verdict::Refused,
            "bug" => Verdict::Bug,
            _ => return None,
        };
        Some(make(rest.to_string()))
    }

    /// True when every output is right.
    pub fn is_right(&self) -> bool {
        matches!(self, Verdict::Pass(_) | Verdict::Beyond(_))
    }

    /// True for two passes on the same machine or two failures of the same kind; reasons may differ.
    pub fn same_kind(&self, other: &Verdict) -> bool {
        match (self, other) {
            (Verdict::Pass(a), Verdict::Pass(b)) | (Verdict::Beyond(a), Verdict::Beyond(b)) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

/// The machines of a target, the small one first.
pub struct Machines {
    target: Target,
    machines: Vec<Machine>,
}

/// Why one data set did not pass on one machine.
enum Trouble {
    Refused(String),
    Bug(String),
}

impl Machines {
    /// The machine descriptions of a target that ship.
    pub fn of(target: Target) -> Machines {
        let name = target.name();
        let load = |n: &str| Machine::load(n).expect("the machines ship");
        Machines { target, machines: vec![load(&format!("{name}-small")), load(name)] }
    }

    /// The one that graphs are rewritten for.
    fn full_size(&self) -> &Machine {
        &self.machines[self.machines.len() - 1]
    }

    /// Which target.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Runs a case that the oracle gets right. A panic anywhere is a bug, not the end of the run.
    pub fn judge(&self, case: &NodeCase) -> Verdict {
        match catch_unwind(AssertUnwindSafe(|| self.judge_here(case))) {
            Ok(v) => v,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                Verdict::Bug(one_line(&format!("panic: {text}")))
            }
        }
    }

    fn judge_here(&self, case: &NodeCase) -> Verdict {
        let sets = match case.data_sets() {
            Ok(sets) if !sets.is_empty() => sets,
            Ok(_) => return Verdict::Bug("the case has no data".to_string()),
            Err(e) => return Verdict::Bug(one_line(&e)),
        };
        let mut beyond = None;
        for set in &sets {
            match pipeline::run_passes(&set.graph, None, &["clean".to_string()]) {
                // Where nothing is computed there is nothing to be right about.
                Ok(clean) if clean.nodes().is_empty() => {
                    return Verdict::OutOfScope(scope::out_of_scope(&clean).unwrap_or_default());
                }
                Ok(clean) => beyond = beyond.or(scope::out_of_scope(&clean)),
                Err(e) => return Verdict::Bug(one_line(&e.message)),
            }
        }
        let mut verdict = Verdict::Bug("no machine".to_string());
        for machine in &self.machines {
            verdict = match sets.iter().try_for_each(|set| self.run(case, set, machine)) {
                Ok(()) if beyond.is_some() => return Verdict::Beyond(machine.name().to_string()),
                Ok(()) => return Verdict::Pass(machine.name().to_string()),
                Err(Trouble::Bug(why)) => return Verdict::Bug(format!("on {}: {}", machine.name(), one_line(&why))),
                Err(Trouble::Refused(why)) => Verdict::Refused(one_line(&why)),
            };
        }
        match (verdict, beyond) {
            (Verdict::Refused(_), Some(why)) => Verdict::OutOfScope(why),
            (verdict, _) => verdict,
        }
    }

    fn run(&self, case: &NodeCase, set: &DataSet, machine: &Machine) -> Result<(), Trouble> {
        let bug = |what: &'static str| move |e: Failure| Trouble::Bug(format!("{what}: {}", said(&e)));
        let graph = pipeline::prepare(&set.graph, self.full_size(), &Preparation::default()).map_err(bug("passes"))?;
        let compiled = pipeline::compile(&graph, machine).map_err(|e| match e.cause {
            Cause::Unsupported | Cause::DoesNotFit => Trouble::Refused(said(&e)),
            _ => Trouble::Bug(format!("compiler: {}", said(&e))),
        })?;
        let checked = pipeline::check(&compiled.program, machine).map_err(bug("checker"))?;
        if let Some(first) = checked.errors.first() {
            return Err(Trouble::Bug(format!("checker: {} ({} in all)", first.message, checked.error_count)));
        }
        let simulated = pipeline::simulate(&compiled.program, machine, &set.inputs).map_err(bug("simulator"))?;
        let tiled = compiled.tiled.eval(&set.inputs).map_err(bug("tiled graph"))?;
        if tiled != simulated.outputs {
            return Err(Trouble::Bug("simulated bits differ from the tiled graph's".to_string()));
        }
        let tolerance = if scope::has_products(&set.graph) {
            Tolerance::of(Precision::F16)
        } else {
            let (rtol, atol) = case.tolerances().map_err(Trouble::Bug)?;
            Tolerance { of_range: 1e-6, ..Tolerance::numpy(Some(rtol), Some(atol)) }
        };
        if simulated.outputs.len() != set.expected.len() || set.expected.is_empty() {
            return Err(Trouble::Bug(format!("{} outputs", simulated.outputs.len())));
        }
        let triples: Vec<(&str, &Tensor, &Tensor)> =
            set.expected.iter().zip(&simulated.outputs).map(|((n, want), got)| (n.as_str(), got, want)).collect();
        match compare(&triples, tolerance) {
            Ok(Some(c)) if c.ok => Ok(()),
            Ok(Some(c)) => Err(Trouble::Bug(format!(
                "wrong result: output `{}`: max_abs {:e}, max_rel {:e}",
                c.worst_output, c.max_abs, c.max_rel
            ))),
            Ok(None) => Err(Trouble::Bug("nothing was compared".to_string())),
            Err(e) => Err(Trouble::Bug(e.to_string())),
        }
    }
}

/// The problems of a failure, each reason once.
fn said(e: &Failure) -> String {
    let mut parts: Vec<String> = Vec::new();
    for p in &e.problems {
        let part = match &p.op {
            Some(op) => format!("{op}: {}", p.reason),
            None => p.reason.clone(),
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    if parts.is_empty() || e.cause == Cause::DoesNotFit {
        parts.insert(0, e.message.clone())
    }
    parts.join("; ")
}

/// A list has one line a case.
fn one_line(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(240) {
        line.truncate(cut);
    }
    line
}
