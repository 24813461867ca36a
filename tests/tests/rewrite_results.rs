//! docs/rewrite-results.md: what rewriting gains in scheduled cycles, and the published graphs of other rewriters.
//!
//! `QUADRILLE_BLESS=1 cargo test -p quadrille-tests --test rewrite_results -- --ignored --nocapture` writes the page in some
//! minutes; the ordinary tests compare a small part of it. Times are measurements, and no test looks at them.

use quadrille::compare::Precision;
use quadrille::machine::{Machine, Target};
use quadrille::pipeline;
use quadrille_compiler::ir::{Graph, text};
use quadrille_compiler::passes::integer_kernels;
use quadrille_compiler::rewrite::cost::graph_cost;
use quadrille_compiler::rewrite::{
    CostModel, GraphCost, Objective, RewriteOptions, RewriteReport, Theme, optimize, optimize_sequentially,
    random_inputs,
};
use quadrille_tests::corpus::{self, Model};
use quadrille_tests::families::FAMILIES;
use quadrille_tests::graphs;
use quadrille_tests::measure::used;
use quadrille_tests::whole::imported;
use std::cmp::Ordering;
use std::fmt::Write;
use std::time::Instant;

const HEAD: &str = "# What rewriting gains\n\n\
    Written by `QUADRILLE_BLESS=1 cargo test -p quadrille-tests --test rewrite_results -- --ignored --nocapture` in some minutes;\n\
    the ordinary tests compare a small part of it.\n";

const SCHEDULED: &str = "## Scheduled cycles\n\n\
    Of whole compiled programs on the full-size machines: by the schedule on `tsp`, by the simulator on `wafer`. `none` is the\n\
    graph as imported and cleaned. `sequential` is the yardstick without an e-graph: every rule in turn, kept where it makes the\n\
    graph cheaper, until none does. `all` is the e-graph with every rule; `by the sum` the same with the choice by the plain sum of the\n\
    operations' times; the columns after it switch one theme off.\n\
    A dash: that graph does not compile there.\n";

/// Models of the corpus that compile for a target and, on the mesh, are simulated in seconds.
const ON_TSP: [&str; 19] = [
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
    "pplcnet-orientation",
    "silero-vad-op18-ifless",
    "decoder-tiny",
    "decoder-uneven",
    "decoder-static",
    "gemm-1024",
];
const ON_WAFER: [&str; 7] =
    ["digits", "lstm-gru", "gpt2-tiny", "llama-tiny", "mtcnn-rnet", "decoder-tiny", "decoder-uneven"];

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

/// Cycles of the program of a graph, or why there is none.
fn scheduled(g: &Graph, target: Target, precision: Precision) -> Result<u64, String> {
    let machine = machine(target);
    let compiled = pipeline::compile(g, &machine, precision).map_err(|e| e.to_string())?;
    if target == Target::Tsp {
        return Ok(compiled.estimate.cycles);
    }
    let ran = pipeline::simulate(&compiled.program, &machine, &random_inputs(g, 1));
    ran.map(|r| r.cycles).map_err(|e| e.to_string())
}

/// A form of a graph: what the cost model says of it, and the cycles of its program.
struct Form {
    text: String,
    cost: GraphCost,
    cycles: Option<u64>,
}

/// A graph in its forms, each different one once.
struct Row {
    name: String,
    forms: Vec<Form>,
    /// The form of each column.
    columns: Vec<usize>,
}

/// The forms of a graph: without rules, with the sequential pass, with all rules, by the sum, and without each theme.
fn row(name: &str, g: &Graph, target: Target, precision: Precision) -> Row {
    let model = model(target);
    let mut row = Row { name: name.to_string(), forms: Vec::new(), columns: Vec::new() };
    let mut add = |g: &Graph| {
        let machine = machine(target);
        let g = pipeline::run_passes(g, Some(&machine), &["clean".to_string()]).expect("the passes run");
        let text = text::print(&g);
        // Equal graphs have equal programs.
        let known = row.forms.iter().position(|f| f.text == text);
        let at = known.unwrap_or_else(|| {
            let cost = graph_cost(&g, &*model);
            row.forms.push(Form { text, cost, cycles: scheduled(&g, target, precision).ok() });
            row.forms.len() - 1
        });
        row.columns.push(at);
    };
    let rewritten = |options: RewriteOptions| optimize(g, &*model, &options).expect("it rewrites").0;
    add(g);
    add(&optimize_sequentially(g, &*model, &RewriteOptions::default()).expect("it rewrites").0);
    add(&rewritten(RewriteOptions::default()));
    add(&rewritten(RewriteOptions { objective: Objective::Sum, ..Default::default() }));
    for theme in Theme::ALL {
        add(&rewritten(RewriteOptions { disable_rules: vec![theme.name().to_string()], ..Default::default() }));
    }
    row
}

impl Row {
    fn line(&self) -> String {
        let cycles = |i: &usize| self.forms[*i].cycles.map_or("-".to_string(), |c| c.to_string());
        let all: Vec<String> = self.columns.iter().map(cycles).collect();
        format!("| {} | {} |", self.name, all.join(" | "))
    }

    /// Pairs of forms whose programs differ by more than a hundredth, and how many of them an objective ranks as the schedules do;
    /// a tie is half of one.
    fn ranked(&self, objective: Objective) -> (f64, usize) {
        let known: Vec<(u64, u64)> =
            self.forms.iter().filter_map(|f| Some((objective.cycles(&f.cost), f.cycles?))).collect();
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

/// Why a model has no row.
enum Why {
    /// The page has the compiler's words: why it refuses, or what it expects.
    Asked,
    /// It compiles, and its programs take this to run.
    Long(&'static str),
    /// The target is not asked.
    NotAsked(&'static str),
}

const SIMULATION: &str =
    "compiles and runs (`--test models`, `--test wafer_models`); its forms take too long to simulate for this page";
const COMPILATION: &str = "compiles; its forms take tens of seconds each, too long for this page";
const WHOLE_MESH: &str = "for whole-mesh mode, which takes the graph as it is";
const ONE_PRODUCT: &str = "one product of one row: there is nothing to rewrite";
const OTHER_DEPTH: &str = "ResNet-50's blocks, fewer or more of them: its row stands for it";
const WEIGHTS: &str = "a file of 180 MB and more, made only for its own test; its layer has the same rules";

/// Models of the corpus without a row, by target.
const WITHOUT: [(&str, Target, Why); 44] = [
    ("bert-base", Target::Tsp, Why::NotAsked(WEIGHTS)),
    ("bert-base-int8-qdq", Target::Tsp, Why::NotAsked(WEIGHTS)),
    ("bert-layer", Target::Tsp, Why::Long(COMPILATION)),
    ("bert-layer-int8-qdq", Target::Tsp, Why::Long(COMPILATION)),
    ("decoder-llama-8b", Target::Tsp, Why::NotAsked("weights of 437 MB in f16: they do not fit in 220 MB of SRAM")),
    (
        "decoder-llama-8b-static",
        Target::Tsp,
        Why::NotAsked("weights of 437 MB in f16: they do not fit in 220 MB of SRAM"),
    ),
    ("dnsmos", Target::Tsp, Why::Long("minutes of compilation a form")),
    ("gemv-4096", Target::Tsp, Why::NotAsked(ONE_PRODUCT)),
    ("magika-v3_3", Target::Tsp, Why::Long(COMPILATION)),
    ("minilm-l3-fp32", Target::Tsp, Why::Long(COMPILATION)),
    ("ppocrv4-det", Target::Tsp, Why::Asked),
    ("smart-turn-v3.2-int8", Target::Tsp, Why::Long(COMPILATION)),
    ("voicefilter-lite-int8", Target::Tsp, Why::Long(COMPILATION)),
    ("bert-base", Target::Wafer, Why::NotAsked(WEIGHTS)),
    ("bert-base-int8-qdq", Target::Wafer, Why::NotAsked(WEIGHTS)),
    ("bert-layer", Target::Wafer, Why::Long("compiles; 1.4 million cycles a form to simulate")),
    ("bert-layer-int8-qdq", Target::Wafer, Why::Long("compiles; 8 million cycles a form to simulate")),
    ("bert-tiny", Target::Wafer, Why::Long(SIMULATION)),
    ("decoder-llama-8b", Target::Wafer, Why::NotAsked(WHOLE_MESH)),
    ("decoder-llama-8b-static", Target::Wafer, Why::NotAsked(WHOLE_MESH)),
    ("decoder-static", Target::Wafer, Why::NotAsked(WHOLE_MESH)),
    ("dnsmos", Target::Wafer, Why::Asked),
    ("gemm-1024", Target::Wafer, Why::Long("one product, 2.6 million cycles to simulate: there is nothing to rewrite")),
    ("gemv-4096", Target::Wafer, Why::NotAsked(ONE_PRODUCT)),
    ("magika-v3_3", Target::Wafer, Why::Long("is placed (`--test models`); too long to simulate")),
    ("minilm-l3-fp32", Target::Wafer, Why::Long("is placed (`--test models`); too long to simulate")),
    ("mobilenet-v2-int8-qdq", Target::Wafer, Why::Long("compiles; minutes a form to simulate")),
    ("mtcnn-onet", Target::Wafer, Why::Long(SIMULATION)),
    ("mtcnn-pnet", Target::Wafer, Why::Long(SIMULATION)),
    ("oww-embedding", Target::Wafer, Why::Long(SIMULATION)),
    ("pplcnet-orientation", Target::Wafer, Why::Long(SIMULATION)),
    ("ppocrv2-cls", Target::Wafer, Why::Long(SIMULATION)),
    ("ppocrv4-det", Target::Wafer, Why::Asked),
    ("resnet50-int8-qdq", Target::Wafer, Why::Long("minutes to place, hours to simulate in its forms")),
    ("romanizer-encoder", Target::Wafer, Why::Long(SIMULATION)),
    ("silero-vad-op18-ifless", Target::Wafer, Why::Long(SIMULATION)),
    ("smart-turn-v3.2-int8", Target::Wafer, Why::Asked),
    ("voicefilter-lite-int8", Target::Wafer, Why::Asked),
    ("resnet18-int8-qdq", Target::Tsp, Why::NotAsked(OTHER_DEPTH)),
    ("resnet101-int8-qdq", Target::Tsp, Why::NotAsked(OTHER_DEPTH)),
    ("resnet152-int8-qdq", Target::Tsp, Why::NotAsked(OTHER_DEPTH)),
    ("resnet18-int8-qdq", Target::Wafer, Why::NotAsked(OTHER_DEPTH)),
    ("resnet101-int8-qdq", Target::Wafer, Why::NotAsked(OTHER_DEPTH)),
    ("resnet152-int8-qdq", Target::Wafer, Why::NotAsked(OTHER_DEPTH)),
];

/// The models without a row, and why.
fn without_rows() -> String {
    let mut page = WITHOUT_HEAD.to_string();
    for (name, target, why) in WITHOUT {
        let why = match why {
            Why::Asked => {
                let (g, precision) = real(name, target);
                let g = optimize(&g, &*model(target), &RewriteOptions::default()).expect("it rewrites").0;
                match pipeline::compile(&g, &machine(target), precision) {
                    Ok(c) => format!("compiles, {} cycles expected; too long to run in its forms", c.estimate.cycles),
                    Err(e) => format!("refused: {}", e.to_string().lines().next().unwrap_or("")),
                }
            }
            Why::Long(what) | Why::NotAsked(what) => what.to_string(),
        };
        println!("{name}, {}: {why}", target.name());
        let _ = writeln!(page, "| {name} | {} | {} |", target.name(), why.replace('|', "\\|"));
    }
    page
}

const WITHOUT_HEAD: &str = "\n### Models without a row\n\n\
    All other models of the corpus (`tests/corpus`), with the reason.\n\n| model | target | why |\n|---|---|---|\n";

#[test]
fn every_model_of_the_corpus_has_a_row_or_a_reason() {
    let names = corpus::names();
    assert!(names.len() >= 30, "{names:?}");
    for (target, rows) in [(Target::Tsp, &ON_TSP[..]), (Target::Wafer, &ON_WAFER[..])] {
        for name in &names {
            let row = usize::from(rows.contains(&name.as_str()));
            let reasons = WITHOUT.iter().filter(|(n, t, _)| n == name && *t == target).count();
            assert_eq!(row + reasons, 1, "{name} on {}: {row} rows, {reasons} reasons", target.name());
        }
    }
}

const OBJECTIVES: [Objective; 3] = [Objective::Sum, Objective::Overlap, Objective::Both];

const RANK_HEAD: &str = "\n## Which objective ranks the schedules\n\n\
    All pairs of forms of a graph in the tables above whose programs differ by more than 1 %: how many of them each objective puts in the\n\
    order in which the schedules are (a tie is half of one). `sum`: all operations one after the other. `overlap`: the busiest resource or\n\
    the longest chain of operations that wait for each other, and a sixteenth of the sum. `both`: that bound and the whole sum.\n\n\
    | target | graphs | pairs | sum | overlap | both |\n|---|---|---|---|---|---|\n";

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

fn head(target: Target) -> String {
    let mut s = format!("\n### {}\n\n| graph | none | sequential | all | by the sum |", target.name());
    Theme::ALL.iter().for_each(|t| _ = write!(s, " no {t} |"));
    let _ = writeln!(s, "\n|---|{}", "---|".repeat(4 + Theme::ALL.len()));
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

fn page() -> String {
    let mut page = format!("{HEAD}\n{SCHEDULED}");
    let mut models = Gap::default();
    let mut ranks = String::new();
    for (target, names) in [(Target::Tsp, &ON_TSP[..]), (Target::Wafer, &ON_WAFER[..])] {
        page += &head(target);
        let mut rows = Vec::new();
        let mut put = |row: Row, page: &mut String| {
            println!("{}", row.line());
            *page += &format!("{}\n", row.line());
            rows.push(row);
        };
        for name in names {
            let (g, precision) = real(name, target);
            put(row(name, &g, target, precision), &mut page);
            models.add(&optimize(&g, &*model(target), &RewriteOptions::default()).expect("it rewrites").1);
        }
        for (name, g) in generated() {
            put(row(name, &g, target, Precision::F16), &mut page);
        }
        ranks += &format!("{}\n", ranking(target.name(), &rows));
    }
    page += &without_rows();
    page += RANK_HEAD;
    page += &ranks;
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
    page += &growth();
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
        has(&row(name, &g, target, precision).line());
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
        rows.push(row(name, &g, Target::Tsp, precision));
    }
    rows.extend(generated().iter().map(|(name, g)| row(name, g, Target::Tsp, Precision::F16)));
    println!("{}", ranking("tsp", &rows));
    let objective = Objective::default();
    let (right, pairs) = rows.iter().map(|r| r.ranked(objective)).fold((0.0, 0), |(a, b), (c, d)| (a + c, b + d));
    assert!(pairs >= 40, "only {pairs} pairs");
    assert!(right >= 0.9 * pairs as f64, "{right} of {pairs} ranked as the schedules are");
}
