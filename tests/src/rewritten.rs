//! A graph in the forms that docs/rewrite-results.md compares, and what their programs take.

use crate::corpus::{self, Model};
use crate::kept::{Key, UNKNOWN, figure};
use crate::whole::imported;
use quadrille::compare::Precision;
use quadrille::failure::Failure;
use quadrille::machine::{Machine, Target};
use quadrille::pipeline::{self, Mapping, Programs};
use quadrille_compiler::ir::{Graph, ValueDef, text};
use quadrille_compiler::rewrite::cost::graph_cost;
use quadrille_compiler::rewrite::{
    CostModel, Extraction, GraphCost, Objective, RewriteOptions, Theme, optimize, random_inputs, worth_a_program,
};
use quadrille_isa::container::{self, AnyProgram};
use sha2::{Digest, Sha256};
use std::cell::OnceCell;
use std::cmp::Ordering;

/// Where the cycles of a program come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The schedule, which is exact (`tsp`), or a simulation (`wafer`).
    Program,
    /// What the planner expects (`wafer`), where a simulation takes too long.
    Plan,
}

/// A form of a graph: what the cost model says of it, and the cycles of its program, or why there is none.
pub struct Form {
    digest: Vec<u8>,
    cost: GraphCost,
    /// Of its program.
    pub cycles: Result<u64, String>,
    /// By the plan.
    pub expected: Option<u64>,
}

/// A graph in its forms, each different one once.
pub struct Row {
    name: String,
    /// The form that is compiled.
    compiled: usize,
    /// The forms.
    pub forms: Vec<Form>,
    /// The form of each column.
    columns: Vec<usize>,
}

/// Columns before those of the themes.
pub const COLUMNS: [&str; 5] = ["compiled", "untouched", "sequential", "sum", "overlap"];

/// The cost model of a full-size machine.
pub fn model(target: Target) -> Box<dyn CostModel> {
    pipeline::cost_model(&Machine::full_size(target))
}

/// A model of the corpus as a graph, cleaned; a quantised one in integers where the target multiplies them.
pub fn real(name: &str, target: Target) -> (Graph, Precision) {
    let files: Model = corpus::any(name);
    let (graph, ..) = imported(&files);
    let precision = pipeline::precision(&graph, target, None);
    let mut passes = vec!["clean".to_string()];
    if precision == Precision::Int8 {
        passes.insert(0, pipeline::integers_on(target).0.name.to_string());
    }
    (pipeline::run_passes(&graph, Some(&Machine::full_size(target)), &passes).expect("the passes run"), precision)
}

/// The forms of a graph by each extraction, and without each theme; no more of them after one whose figures are not known.
pub fn row(name: &str, g: &Graph, (target, source): (Target, Source), precision: Precision) -> Row {
    let model = model(target);
    let machine = Machine::full_size(target);
    let mut row = Row { name: name.to_string(), compiled: 0, forms: Vec::new(), columns: Vec::new() };
    let mut add = |g: &Graph| {
        let g = pipeline::run_passes(g, Some(&machine), &["clean".to_string()]).expect("the passes run");
        let digest = digest(&g);
        // Equal graphs have equal programs: compilation depends on nothing else.
        let known = row.forms.iter().position(|f| f.digest == digest);
        let at = known.unwrap_or_else(|| {
            let cost = graph_cost(&g, &*model);
            let cut = Program { g: &g, digest: &digest, machine: &machine, precision, program: OnceCell::new() };
            let (cycles, expected) = cut.cycles(source);
            row.forms.push(Form { digest, cost, cycles, expected });
            row.forms.len() - 1
        });
        row.columns.push(at);
        row.forms[at].is_known()
    };
    let by = |extraction| RewriteOptions { extraction: Some(extraction), ..Default::default() };
    let without = |t: Theme| RewriteOptions { disable_rules: vec![t.name().to_string()], ..Default::default() };
    let first = [Extraction::Untouched, Extraction::Sequential, Extraction::By(Objective::Sum), Extraction::default()];
    for options in first.map(by).into_iter().chain(Theme::ALL.map(without)) {
        let is_known = add(&optimize(g, &*model, &options).expect("it rewrites").0);
        if !is_known {
            return row;
        }
    }
    // As the compiler chooses; a test compares.
    let programs = Programs { machine: &machine, mapping: Mapping::default() };
    let [untouched, sequential, sum, overlap] = [0, 1, 2, 3].map(|c| row.columns[c]);
    let candidates = [overlap, sum, sequential, untouched];
    let costs = candidates.map(|f| &row.forms[f].cost);
    let worth = worth_a_program(&programs, Objective::default(), &row.forms[untouched].cost, &costs);
    let fewest = worth.into_iter().map(|i| candidates[i]).min_by_key(|&f| row.forms[f].expected.unwrap_or(u64::MAX));
    row.compiled = fewest.expect("there is one");
    row
}

/// Tells graphs apart, their constants included.
fn digest(g: &Graph) -> Vec<u8> {
    let mut hash = Sha256::new_with_prefix(text::print_outline(g));
    for v in g.values() {
        if let ValueDef::Const(t) = &v.def {
            hash.update(&t.data);
        }
    }
    hash.finalize().to_vec()
}

/// A graph whose program may be known already.
struct Program<'a> {
    g: &'a Graph,
    digest: &'a [u8],
    machine: &'a Machine,
    precision: Precision,
    program: OnceCell<Result<(AnyProgram, u64), Failure>>,
}

impl Program<'_> {
    /// The program and its cycles by schedule or plan.
    fn compiled(&self) -> &Result<(AnyProgram, u64), Failure> {
        self.program.get_or_init(|| {
            let compiled = pipeline::compile(self.g, self.machine)?;
            Ok((compiled.program, compiled.estimate.cycles))
        })
    }

    /// Cycles of the program, and those that its plan expects; both are the schedule's on a chip.
    fn cycles(&self, source: Source) -> (Result<u64, String>, Option<u64>) {
        let key = Key::of_compiler(self.machine.target())
            .and(self.machine.name())
            .and(self.precision.name())
            .and(self.digest);
        if self.machine.target() == Target::Wafer && source == Source::Plan {
            // The program itself is not needed.
            let planned =
                figure(key.and("plan"), || match pipeline::expected_as(self.g, self.machine, &Mapping::default()) {
                    Ok(e) => e.cycles.to_string(),
                    Err(e) => refused(&e),
                });
            let cycles = planned.parse().ok();
            return (cycles.ok_or(planned), cycles);
        }
        let planned = figure(key, || match self.compiled() {
            Ok((program, cycles)) => format!("{cycles} {}", named(program)),
            Err(e) => refused(e),
        });
        let words = planned.split_once(' ').and_then(|(cycles, program)| Some((cycles.parse::<u64>().ok()?, program)));
        let Some((expected, program)) = words else { return (Err(planned), None) };
        if self.machine.target() == Target::Tsp {
            return (Ok(expected), Some(expected));
        }
        let simulated = figure(Key::of_runtime().and(self.machine.name()).and(program), || {
            let (program, _) = self.compiled().as_ref().expect("it compiled before");
            match pipeline::simulate(program, self.machine, &random_inputs(self.g, 1)) {
                Ok(ran) => ran.cycles.to_string(),
                Err(e) => format!("fails when simulated: {e}"),
            }
        });
        (simulated.parse().map_err(|_| simulated), Some(expected))
    }
}

/// A compiler's words on a graph that it refuses.
fn refused(e: &Failure) -> String {
    let reason = e.problems.first().map_or(String::new(), |p| format!("; {}", p.reason));
    format!("refused: {}{reason}", e.message).replace('\n', " ")
}

/// A program by its bytes.
fn named(program: &AnyProgram) -> String {
    let bytes = container::write(program).expect("a program can be written");
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

impl Form {
    fn is_known(&self) -> bool {
        !self.cycles.as_ref().is_err_and(|e| e == UNKNOWN)
    }
}

impl Row {
    /// The row of a table.
    pub fn line(&self) -> String {
        let cycles = |i: &usize| self.forms[*i].cycles.as_ref().map_or("-".to_string(), |c| c.to_string());
        let all: Vec<String> = [&self.compiled].into_iter().chain(&self.columns).map(cycles).collect();
        format!("| {} | {} |", self.name, all.join(" | "))
    }

    /// Operations of each form, in the order of the columns.
    pub fn operations(&self) -> Vec<usize> {
        self.columns.iter().map(|&f| self.forms[f].cost.nodes).collect()
    }

    /// True when all its figures are known.
    pub fn is_finished(&self) -> bool {
        self.forms.iter().all(Form::is_known)
    }

    /// The form that is compiled.
    pub fn compiled(&self) -> &Form {
        &self.forms[self.compiled]
    }

    /// Pairs of forms whose programs differ by more than a hundredth, and how many of them an objective ranks as the schedules do;
    /// a tie is half of one.
    pub fn ranked(&self, objective: Objective) -> (f64, usize) {
        let known = self.forms.iter().filter_map(|f| Some((objective.cycles(&f.cost), *f.cycles.as_ref().ok()?)));
        let known: Vec<(u64, u64)> = known.collect();
        let (mut right, mut pairs) = (0.0, 0);
        for (i, a) in known.iter().enumerate() {
            for b in &known[..i] {
                if a.1.abs_diff(b.1) * 100 > a.1.min(b.1) {
                    pairs += 1;
                    right += match a.0.cmp(&b.0) {
                        Ordering::Equal => 0.5,
                        o if o == a.1.cmp(&b.1) => 1.0,
                        _ => 0.0,
                    };
                }
            }
        }
        (right, pairs)
    }
}
