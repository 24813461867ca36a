//! docs/rewrite-results.md: what rewriting gains in scheduled cycles, and the published graphs of other rewriters.
//!
//! `QUADRILLE_BLESS=1 cargo test -p quadrille-tests --test rewrite_results -- --ignored --nocapture` writes the page in some
//! minutes; the ordinary tests compare a small part of it. Times are measurements, and no test looks at them.

use quadrille::compare::Precision;
use quadrille::machine::{Machine, Target};
use quadrille::pipeline;
use quadrille_compiler::ir::{Graph, text};
use quadrille_compiler::passes::integer_kernels;
use quadrille_compiler::rewrite::{
    CostModel, RewriteOptions, RewriteReport, Theme, optimize, optimize_sequentially, random_inputs,
};
use quadrille_tests::corpus::{self, Model};
use quadrille_tests::families::FAMILIES;
use quadrille_tests::graphs;
use quadrille_tests::whole::imported;
use std::fmt::Write;
use std::time::Instant;

const HEAD: &str = "# What rewriting gains\n\n\
    Written by `QUADRILLE_BLESS=1 cargo test -p quadrille-tests --test rewrite_results -- --ignored --nocapture` in some minutes;\n\
    the ordinary tests compare a small part of it.\n";

const SCHEDULED: &str = "## Scheduled cycles\n\n\
    Of whole compiled programs on the full-size machines: by the schedule on `tsp`, by the simulator on `wafer`. `none` is the\n\
    graph as imported and cleaned. `sequential` is the yardstick without an e-graph: every rule in turn, kept where it makes the\n\
    graph cheaper, until none does. `all` is the e-graph with every rule; the columns after it switch one theme off.\n\
    A dash: that graph does not compile there.\n";

/// Models of the corpus that compile for a target and, on the mesh, are simulated in seconds.
const ON_TSP: [&str; 13] = [
    "digits",
    "lstm-gru",
    "gpt2-tiny",
    "llama-tiny",
    "mtcnn-rnet",
    "mtcnn-onet",
    "mtcnn-pnet",
    "oww-embedding",
    "bert-tiny",
    "romanizer-encoder",
    "ppocrv2-cls",
    "mobilenet-v2-int8-qdq",
    "resnet50-int8-qdq",
];
const ON_WAFER: [&str; 5] = ["digits", "lstm-gru", "gpt2-tiny", "llama-tiny", "mtcnn-rnet"];

fn machine(target: Target) -> Machine {
    Machine::full_size(target)
}

fn model(target: Target) -> Box<dyn CostModel> {
    pipeline::cost_model(&Machine::full_size(target))
}

/// A model of the corpus as a graph, cleaned; a quantised one in integers where the target multiplies them.
fn real(name: &str, target: Target) -> (Graph, Precision) {
    let files: Model = if name == "digits" { corpus::digits(0) } else { corpus::model(name) };
    let (graph, ..) = imported(&files);
    let precision = pipeline::precision(&graph, target, None);
    let mut passes = vec!["clean".to_string()];
    if precision == Precision::Int8 {
        passes.insert(0, integer_kernels::PASS.name.to_string());
    }
    (pipeline::run_passes(&graph, Some(&Machine::full_size(target)), &passes).expect("the passes run"), precision)
}

/// Networks of the generator that compile quickly.
fn generated() -> Vec<(&'static str, Graph)> {
    vec![("residual, 50 nodes", graphs::residual(50)), ("transformer, 100 nodes", graphs::transformer(100))]
}

/// Cycles of the program of a graph.
fn scheduled(g: &Graph, target: Target, precision: Precision) -> Option<u64> {
    let g = pipeline::run_passes(g, Some(&Machine::full_size(target)), &["clean".to_string()]).expect("the passes run");
    let machine = machine(target);
    let compiled = pipeline::compile(&g, &machine, precision).ok()?;
    if target == Target::Tsp {
        return Some(compiled.estimate.cycles);
    }
    Some(pipeline::simulate(&compiled.program, &machine, &random_inputs(&g, 1)).ok()?.cycles)
}

/// The row of a graph: cycles without rules, with the sequential pass, with all rules and without each theme.
fn row(name: &str, g: &Graph, target: Target, precision: Precision) -> String {
    let model = model(target);
    // Equal graphs have equal programs.
    let mut known: Vec<(String, Option<u64>)> = Vec::new();
    let mut cycles = |g: &Graph| {
        let text = text::print(g);
        if let Some((_, c)) = known.iter().find(|(t, _)| *t == text) {
            return *c;
        }
        let c = scheduled(g, target, precision);
        known.push((text, c));
        c
    };
    let with = |off: Option<Theme>| {
        let disable_rules = off.iter().map(|t| t.name().to_string()).collect();
        optimize(g, &*model, &RewriteOptions { disable_rules, ..Default::default() }).expect("it rewrites").0
    };
    let sequential = optimize_sequentially(g, &*model, &RewriteOptions::default()).expect("it rewrites").0;
    let mut line = format!("| {name} |");
    let mut put = |c: Option<u64>| _ = write!(line, " {} |", c.map_or("-".to_string(), |c| c.to_string()));
    put(cycles(g));
    put(cycles(&sequential));
    put(cycles(&with(None)));
    for theme in Theme::ALL {
        put(cycles(&with(Some(theme))));
    }
    line
}

fn head(target: Target) -> String {
    let mut s = format!("\n### {}\n\n| graph | none | sequential | all |", target.name());
    Theme::ALL.iter().for_each(|t| _ = write!(s, " no {t} |"));
    let _ = writeln!(s, "\n|---|{}", "---|".repeat(3 + Theme::ALL.len()));
    s
}

/// Regions that were searched exactly, and what greedy choice had reached in them.
#[derive(Default)]
struct Gap {
    regions: usize,
    searched: usize,
    proven: usize,
    greedy: u64,
    found: u64,
    bound: u64,
    first: u64,
    taken: u64,
    least: u64,
    beyond: u64,
}

impl Gap {
    fn add(&mut self, r: &RewriteReport) {
        for g in &r.regions {
            self.regions += 1;
            let Some(bound) = g.bound_cycles else {
                self.beyond += g.cost_cycles;
                continue;
            };
            self.searched += 1;
            self.proven += usize::from(g.proven);
            self.greedy += g.greedy_cycles;
            self.found += g.cost_cycles;
            self.bound += bound;
            self.first += g.overlap.first_cycles;
            self.taken += g.overlap.taken_cycles;
            self.least += g.overlap.bound_cycles.unwrap_or(0);
        }
    }

    fn row(&self, name: &str) -> String {
        format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.regions,
            self.searched,
            self.proven,
            self.greedy,
            self.found,
            self.bound,
            self.first,
            self.taken,
            self.least
        )
    }
}

/// The cost of a published graph before and after, on both targets.
fn family_row(name: &str, g: &Graph, gaps: &mut Gap) -> (String, [f64; 2]) {
    let mut line = format!("| {name} | {} |", g.nodes().len());
    let mut seconds = [0.0; 2];
    for (target, seconds) in [Target::Tsp, Target::Wafer].into_iter().zip(&mut seconds) {
        let model = model(target);
        let start = Instant::now();
        let (_, report) = optimize(g, &*model, &RewriteOptions::default()).expect("it rewrites");
        *seconds = start.elapsed().as_secs_f64();
        let (b, a) = (report.before.serial_cycles, report.after.serial_cycles);
        let (sequential, _) = optimize_sequentially(g, &*model, &RewriteOptions::default())
            .map(|(_, c)| (c.serial_cycles, ()))
            .expect("it rewrites");
        let less = 100.0 * (1.0 - a as f64 / b as f64);
        let _ = write!(line, " {} | {b} | {sequential} | {a} | {less:.1} % |", report.after.nodes);
        gaps.add(&report);
    }
    (line, seconds)
}

const FAMILY_HEAD: &str = "\n## The graphs of TASO and TENSAT\n\n\
    By their published layouts, in full depth (`tests/src/families.rs`). First the cost in cycles of the targets' cost models: the sum\n\
    over all operations; the sequential pass beside it. Then the seconds that the search takes, measured on two cores of a\n\
    machine that did other things too, beside what TASO and TENSAT have published of theirs, on other machines and with other rules:\n\
    their gains are times on a GPU and not comparable.\n\n\
    | graph | operations | tsp after | before | sequential | all | less | wafer after | before | sequential | all | less |\n\
    |---|---|---|---|---|---|---|---|---|---|---|---|\n";

const GAP_HEAD: &str = "\n## How good the choice is\n\n\
    Regions of up to 1,600 classes are searched by branch and bound; the sums are cycles of the cost model over these regions. By the\n\
    sum of all operations: what greedy choice and local search reach, what is found, and a bound below which nothing is. By the mean of\n\
    that sum and the bound on overlap (busiest resource and longest chain of fills): the choice by the sum, what is taken (the best by\n\
    the mean of those that cost no more by the sum), and a bound.\n\n\
    | graphs | regions | searched | proven cheapest | greedy | found | bound | overlap, by the sum | taken | bound |\n\
    |---|---|---|---|---|---|---|---|---|---|\n";

fn page() -> String {
    let mut page = format!("{HEAD}\n{SCHEDULED}");
    let mut models = Gap::default();
    for (target, names) in [(Target::Tsp, &ON_TSP[..]), (Target::Wafer, &ON_WAFER[..])] {
        page += &head(target);
        for name in names {
            let (g, precision) = real(name, target);
            let line = row(name, &g, target, precision);
            println!("{line}");
            page += &format!("{line}\n");
            models.add(&optimize(&g, &*model(target), &RewriteOptions::default()).expect("it rewrites").1);
        }
        for (name, g) in generated() {
            let line = row(name, &g, target, Precision::F16);
            println!("{line}");
            page += &format!("{line}\n");
        }
    }
    page += FAMILY_HEAD;
    let mut gaps = Gap::default();
    let mut times = String::new();
    for f in FAMILIES {
        let (line, seconds) = family_row(&format!("{}: {}", f.name, f.what), &(f.build)(), &mut gaps);
        println!("{line}");
        page += &format!("{line}\n");
        let (taso, tensat) = f.published;
        let _ = writeln!(times, "| {} | {:.2} | {:.2} | {taso} | {tensat} |", f.name, seconds[0], seconds[1]);
    }
    page += "\n| graph | tsp, s | wafer, s | TASO, s | TENSAT, s |\n|---|---|---|---|---|\n";
    page += &times;
    page += GAP_HEAD;
    page += &format!("{}\n{}\n", models.row("models above"), gaps.row("graphs of TASO and TENSAT"));
    page
}

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rewrite-results.md");

#[test]
#[ignore = "takes minutes: writes the page"]
fn the_results_page() {
    let page = page();
    if std::env::var_os("QUADRILLE_BLESS").is_some() {
        std::fs::write(PATH, &page).expect("docs can be written");
    }
}

/// The page has these lines.
fn has(line: &str) {
    let page = std::fs::read_to_string(PATH).expect("the page is in the repository");
    let stale = "docs/rewrite-results.md is stale: write it anew, as it says at its top";
    assert!(page.lines().any(|l| l == line), "{stale}; it lacks\n{line}");
}

#[test]
fn some_models_gain_what_the_page_says() {
    for (name, target) in [
        ("digits", Target::Tsp),
        ("gpt2-tiny", Target::Tsp),
        ("mtcnn-rnet", Target::Tsp),
        ("digits", Target::Wafer),
        ("gpt2-tiny", Target::Wafer),
    ] {
        let (g, precision) = real(name, target);
        has(&row(name, &g, target, precision));
    }
}

#[test]
fn some_published_graphs_gain_what_the_page_says() {
    for f in FAMILIES.iter().filter(|f| ["SqueezeNet", "NasRNN"].contains(&f.name)) {
        has(&family_row(&format!("{}: {}", f.name, f.what), &(f.build)(), &mut Gap::default()).0);
    }
}
