//! docs/rewrite-results.md: what rewriting gains in scheduled cycles, and the published graphs of other rewriters.
//!
//! `QUADRILLE_BLESS=1 cargo test -p quadrille-tests --test rewrite_results -- --ignored --nocapture` writes the page in some
//! minutes (the first time much more: `quadrille_tests::kept`); the ordinary tests compare a small part of it. Times are measurements, and no test looks at them.

use quadrille::compare::Precision;
use quadrille::machine::{Machine, Target};
use quadrille::pipeline;
use quadrille_compiler::ir::Graph;
use quadrille_compiler::rewrite::{Extraction, Objective, RewriteOptions, RewriteReport, Theme, optimize};
use quadrille_tests::corpus;
use quadrille_tests::families::FAMILIES;
use quadrille_tests::graphs;
use quadrille_tests::kept::UNKNOWN;
use quadrille_tests::measure::used;
use quadrille_tests::rewritten::{COLUMNS, Row, Source, model, real, row};
use quadrille_tests::whole::prepared;
use std::fmt::Write;
use std::time::Instant;

const HEAD: &str = "# What rewriting gains\n\n\
    Written by `QUADRILLE_BLESS=1 cargo test -p quadrille-tests --test rewrite_results -- --ignored --nocapture` in some minutes;\n\
    the ordinary tests compare a small part of it. Figures are kept under `target/kept` as long as the graph, the compiler and the\n\
    simulator stay as they are; `QUADRILLE_ROWS=bert-tiny@tsp,digits@wafer` finds those of some rows only, in as many\n\
    processes as one likes, and `QUADRILLE_KEPT=1` writes the page of those that are there.\n";

const SCHEDULED: &str = "## Scheduled cycles\n\n\
    Of whole programs on the full-size machines: by the schedule on `tsp`, by the simulator on `wafer`. A third table has what the\n\
    planner of `wafer` expects, for models whose programs take too long to simulate in all their forms.\n\n\
    `untouched` is the graph as imported and cleaned. `sequential` is the yardstick without an e-graph: every rule in turn, kept where\n\
    it makes the graph cheaper, until none does. `overlap` is the e-graph with every rule, the choice by the bound on overlap, `sum` the\n\
    same by the plain sum of the operations' times. `compiled` is what the compiler takes: where programs are made quickly the\n\
    shortest of these four (on `wafer` by the plan), else `overlap`. The columns after it are `overlap` with one theme off.\n\
    A dash: that graph does not compile there. Forms that are the same graph are compiled once.\n";

/// What the page has of a model on a target.
#[derive(Clone, Copy)]
enum Page {
    /// A row, or the compiler's words.
    Row(Source),
    /// Not asked, and why.
    Not(&'static str),
}

const RUN: Page = Page::Row(Source::Program);
const PLAN: Page = Page::Row(Source::Plan);
const WHOLE_MESH: Page = Page::Not("for whole-mesh mode, which takes the graph as it is");
const WEIGHTS: Page = Page::Not(
    "twelve times bert-layer, whose row stands for it; a file of 180 MB and more, made only for its own test",
);

/// The models of the corpus, on `tsp` and on `wafer`.
const MODELS: [(&str, Page, Page); 35] = [
    ("digits", RUN, RUN),
    ("lstm-gru", RUN, RUN),
    ("gpt2-tiny", RUN, RUN),
    ("llama-tiny", RUN, RUN),
    ("mtcnn-rnet", RUN, RUN),
    ("mtcnn-onet", RUN, PLAN),
    ("mtcnn-pnet", RUN, PLAN),
    ("oww-embedding", RUN, PLAN),
    ("bert-tiny", RUN, PLAN),
    ("bert-layer", RUN, PLAN),
    ("bert-layer-int8-qdq", RUN, PLAN),
    (
        "bert-base",
        Page::Not("weights of 200 MB in f16 and a table of 59 MB: they do not fit in 220 MB of SRAM"),
        WEIGHTS,
    ),
    ("bert-base-int8-qdq", RUN, PLAN),
    ("minilm-l3-fp32", RUN, PLAN),
    ("magika-v3_3", RUN, PLAN),
    ("romanizer-encoder", RUN, PLAN),
    ("ppocrv2-cls", RUN, PLAN),
    ("ppocrv4-det", RUN, PLAN),
    ("pplcnet-orientation", RUN, PLAN),
    ("mobilenet-v2-int8-qdq", RUN, PLAN),
    ("resnet18-int8-qdq", RUN, PLAN),
    ("resnet50-int8-qdq", RUN, PLAN),
    ("resnet101-int8-qdq", RUN, PLAN),
    ("resnet152-int8-qdq", RUN, PLAN),
    ("silero-vad-op18-ifless", RUN, PLAN),
    ("smart-turn-v3.2-int8", RUN, PLAN),
    ("voicefilter-lite-int8", RUN, PLAN),
    ("dnsmos", RUN, PLAN),
    ("decoder-tiny", RUN, RUN),
    ("decoder-uneven", RUN, RUN),
    ("decoder-static", RUN, RUN),
    ("decoder-llama-8b", Page::Not("weights of 437 MB in f16: they do not fit in 220 MB of SRAM"), WHOLE_MESH),
    ("decoder-llama-8b-static", Page::Not("weights of 437 MB in f16: they do not fit in 220 MB of SRAM"), WHOLE_MESH),
    ("gemm-1024", RUN, PLAN),
    ("gemv-4096", RUN, PLAN),
];

impl Page {
    fn of(name: &str, target: Target) -> Option<Page> {
        let (_, tsp, wafer) = MODELS.iter().find(|(n, ..)| *n == name)?;
        Some(*if target == Target::Tsp { tsp } else { wafer })
    }
}

/// Networks of the generator that compile quickly.
fn generated() -> Vec<(&'static str, Graph)> {
    vec![("residual, 50 nodes", graphs::residual(50)), ("transformer, 100 nodes", graphs::transformer(100))]
}

/// The row of a model, with how long it took.
fn timed(name: &str, target: Target, source: Source) -> Row {
    let start = Instant::now();
    let (g, precision) = real(name, target);
    let row = row(name, &g, (target, source), precision);
    println!("{} {} {:.0} s", row.line(), target.name(), start.elapsed().as_secs_f64());
    println!("operations of the forms: {:?}", row.operations());
    if let Err(why) = &row.compiled().cycles {
        println!("{why}");
    }
    row
}

const WITHOUT_HEAD: &str = "\n### Models without a row\n\n\
    All other models of the corpus (`tests/corpus`), with the reason; of those that are refused, the compiler's.\n\n\
    | model | target | why |\n|---|---|---|\n";

/// A table for each target and source of cycles, the models without a row, and the rows.
fn tables(models: &mut Gap) -> (String, Vec<(Target, Source, Vec<Row>)>) {
    let (mut page, mut without, mut all) = (String::new(), WITHOUT_HEAD.to_string(), Vec::new());
    for (target, source) in
        [(Target::Tsp, Source::Program), (Target::Wafer, Source::Program), (Target::Wafer, Source::Plan)]
    {
        page += &head(target, source);
        let mut rows = Vec::new();
        let mut put = |row: Row| {
            let _ = writeln!(page, "{}", row.line());
            rows.push(row);
        };
        for (name, ..) in MODELS {
            match Page::of(name, target).expect("it is in the list") {
                Page::Row(s) if s == source => {
                    let row = timed(name, target, source);
                    if !row.is_finished() {
                        let _ = writeln!(without, "| {name} | {} | {UNKNOWN} |", target.name());
                        continue;
                    }
                    if let Err(why) = &row.compiled().cycles {
                        let _ = writeln!(without, "| {name} | {} | {} |", target.name(), why.replace('|', "\\|"));
                        continue;
                    }
                    put(row);
                    let g = real(name, target).0;
                    models.add(&optimize(&g, &*model(target), &RewriteOptions::default()).expect("it rewrites").1);
                }
                Page::Not(why) if source == Source::Program => {
                    let _ = writeln!(without, "| {name} | {} | {why} |", target.name());
                }
                _ => {}
            }
        }
        if source == Source::Program {
            for (name, g) in generated() {
                let row = row(name, &g, (target, source), Precision::F16);
                if row.is_finished() {
                    put(row);
                }
            }
        }
        all.push((target, source, rows));
    }
    (page + &without, all)
}

#[test]
fn every_model_of_the_corpus_has_a_row_or_a_reason() {
    let names = corpus::names();
    assert!(names.len() >= 30, "{names:?}");
    for name in &names {
        assert_eq!(MODELS.iter().filter(|(n, ..)| n == name).count(), 1, "{name}");
    }
    for (name, ..) in MODELS {
        assert!(name == "digits" || names.iter().any(|n| n == name), "{name} is not in the corpus");
    }
}

const OBJECTIVES: [Objective; 3] = [Objective::Sum, Objective::Overlap, Objective::Both];

const RANK_HEAD: &str = "\n## Which objective ranks the schedules\n\n\
    All pairs of forms of a graph in the tables above whose programs differ by more than 1 %: how many of them each objective puts in the\n\
    order in which the schedules are (a tie is half of one). `sum`: all operations one after the other. `overlap`: the busiest resource or\n\
    the longest chain of operations that wait for each other, and a sixteenth of the sum. `both`: that bound and the whole sum.\n\n\
    | target | graphs | pairs | sum | overlap | both |\n|---|---|---|---|---|---|\n";

/// How near the plan is to the simulation, where the page has both.
fn planned(rows: &[(Target, Source, Vec<Row>)]) -> String {
    let simulated = rows.iter().filter(|(t, s, _)| (*t, *s) == (Target::Wafer, Source::Program));
    let forms = simulated.flat_map(|(.., rows)| rows).flat_map(|r| &r.forms);
    let ratios: Vec<f64> = forms.filter_map(|f| Some(f.expected? as f64 / *f.cycles.as_ref().ok()? as f64)).collect();
    let (least, most) = ratios.iter().fold((f64::MAX, 0.0_f64), |(a, b), r| (a.min(*r), b.max(*r)));
    format!(
        "\nWhat the planner of `wafer` expects is {least:.2} to {most:.2} of what is simulated, over the {} programs of the table above\n\
         that is simulated.\n",
        ratios.len()
    )
}

/// How well the objectives rank the rows of a target.
fn ranking(target: &str, rows: &[Row]) -> String {
    let pairs: usize = rows.iter().map(|r| r.ranked(Objective::Sum).1).sum();
    let graphs = rows.iter().filter(|r| r.ranked(Objective::Sum).1 > 0).count();
    let mut line = format!("| {target} | {graphs} | {pairs} |");
    for o in OBJECTIVES {
        let right: f64 = rows.iter().map(|r| r.ranked(o).0).sum();
        let _ = write!(line, " {right:.1} ({:.1} %) |", 100.0 * right / pairs.max(1) as f64);
    }
    line
}

fn head(target: Target, source: Source) -> String {
    let of = match (target, source) {
        (Target::Wafer, Source::Plan) => "wafer, as the planner expects",
        (Target::Wafer, Source::Program) => "wafer, simulated",
        (Target::Tsp, _) => "tsp",
    };
    let mut s = format!("\n### {of}\n\n| graph |");
    COLUMNS.iter().for_each(|c| _ = write!(s, " {c} |"));
    Theme::ALL.iter().for_each(|t| _ = write!(s, " no {t} |"));
    let _ = writeln!(s, "\n|---|{}", "---|".repeat(COLUMNS.len() + Theme::ALL.len()));
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
        let one_by_one = RewriteOptions { extraction: Some(Extraction::Sequential), ..Default::default() };
        let sequential = optimize(g, &*model, &one_by_one).expect("it rewrites").1.after.serial_cycles;
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

const GROWTH_HEAD: &str = "\n## Large graphs\n\n\
    Networks of the generator, region by region: seconds by the clock and of the processor (all threads), on two cores of a machine that did\n\
    other things too. `cargo bench -p quadrille-tests --bench rewrite` measures the same, with memory.\n\n\
    | graph | nodes | tsp, s | tsp, processor s | wafer, s | wafer, processor s |\n|---|---|---|---|---|---|\n";

/// How long rewriting takes by the size of the graph.
fn growth() -> String {
    let mut page = GROWTH_HEAD.to_string();
    for (name, build) in [("residual", graphs::residual as fn(usize) -> Graph), ("transformer", graphs::transformer)] {
        for nodes in [1_000, 3_000, 10_000] {
            let g = build(nodes);
            let mut line = format!("| {name} | {} |", g.nodes().len());
            for target in [Target::Tsp, Target::Wafer] {
                let model = model(target);
                let (start, before) = (Instant::now(), used().0);
                optimize(&g, &*model, &RewriteOptions::default()).expect("it rewrites");
                let (clock, processor) = (start.elapsed().as_secs_f64(), used().0 - before);
                let _ = write!(line, " {clock:.2} | {processor:.2} |");
            }
            println!("{line}");
            let _ = writeln!(page, "{line}");
        }
    }
    page
}

const GAP_HEAD: &str = "\n## How good the choice is\n\n\
    Regions of up to 1,600 classes are searched by branch and bound; the sums are cycles of the cost model over these regions. By the\n\
    sum of all operations: what greedy choice and local search reach, what is found, and a bound below which nothing is. By the objective\n\
    (the bound on overlap and a sixteenth of the sum): the choice by the sum, what is taken, and a bound.\n\n\
    | graphs | regions | searched | proven cheapest | greedy | found | bound | overlap, by the sum | taken | bound |\n\
    |---|---|---|---|---|---|---|---|---|---|\n";

const TIMES_HEAD: &str = "\n| graph | tsp, s | wafer, s | TASO, s | TENSAT, s |\n";

fn page() -> String {
    let mut page = format!("{HEAD}\n{SCHEDULED}");
    let mut models = Gap::default();
    let (tables, rows) = tables(&mut models);
    page += &tables;
    page += RANK_HEAD;
    for (target, _, rows) in rows.iter().filter(|(_, source, _)| *source == Source::Program) {
        page += &format!("{}\n", ranking(target.name(), rows));
    }
    page += &planned(&rows);
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
    page += &format!("{TIMES_HEAD}|---|---|---|---|---|\n{times}{}", growth());
    page += GAP_HEAD;
    page += &format!("{}\n{}\n", models.row("models above"), gaps.row("graphs of TASO and TENSAT"));
    page
}

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rewrite-results.md");

/// Some rows of the page, `QUADRILLE_ROWS=model@target,…` (`generated@target` for the networks of the generator), or the whole page.
#[test]
#[ignore = "takes minutes: writes the page"]
fn the_results_page() {
    if let Ok(some) = std::env::var("QUADRILLE_ROWS") {
        for name in some.split(',') {
            let (name, target) = name.split_once('@').expect("model@target");
            let target = [Target::Tsp, Target::Wafer].into_iter().find(|t| t.name() == target).expect("a target");
            if name == "generated" {
                for (name, g) in generated() {
                    println!("{}", row(name, &g, (target, Source::Program), Precision::F16).line());
                }
                continue;
            }
            match Page::of(name, target).expect("a model of the corpus") {
                Page::Row(source) => _ = timed(name, target, source),
                Page::Not(why) => println!("{name}, {}: {why}", target.name()),
            }
        }
        return;
    }
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
        has(&row(name, &g, (target, Source::Program), precision).line());
    }
}

/// `compiled` is the form that the compiler takes.
#[test]
fn the_page_has_what_the_compiler_takes() {
    for (name, target) in [("digits", Target::Tsp), ("llama-tiny", Target::Tsp), ("mtcnn-rnet", Target::Wafer)] {
        let files = corpus::any(name);
        let machine = Machine::full_size(target);
        let (graph, ..) = prepared(&files, &machine);
        let cycles = pipeline::compile(&graph, &machine).expect("it compiles").estimate.cycles;
        let (g, precision) = real(name, target);
        let row = row(name, &g, (target, Source::Plan), precision);
        assert_eq!(row.compiled().expected, Some(cycles), "{name} on {}: {}", target.name(), row.line());
        let least = row.forms.iter().filter_map(|f| f.expected).min();
        println!("{name} on {}: {cycles}, of all forms the least is {least:?}", target.name());
    }
}

#[test]
fn some_published_graphs_gain_what_the_page_says() {
    for f in FAMILIES.iter().filter(|f| ["SqueezeNet", "NasRNN"].contains(&f.name)) {
        has(&family_row(&format!("{}: {}", f.name, f.what), &(f.build)(), &mut Gap::default()).0);
    }
}

/// Forms of small models: the objective puts their programs in the order of their schedules.
#[test]
fn the_objective_ranks_the_schedules() {
    let mut rows = Vec::new();
    for name in ["digits", "gpt2-tiny", "llama-tiny", "mtcnn-rnet"] {
        let (g, precision) = real(name, Target::Tsp);
        rows.push(row(name, &g, (Target::Tsp, Source::Program), precision));
    }
    let source = (Target::Tsp, Source::Program);
    rows.extend(generated().iter().map(|(name, g)| row(name, g, source, Precision::F16)));
    println!("{}", ranking("tsp", &rows));
    let objective = Objective::default();
    let (right, pairs) = rows.iter().map(|r| r.ranked(objective)).fold((0.0, 0), |(a, b), (c, d)| (a + c, b + d));
    assert!(pairs >= 40, "only {pairs} pairs");
    assert!(right >= 0.9 * pairs as f64, "{right} of {pairs} ranked as the schedules are");
}
