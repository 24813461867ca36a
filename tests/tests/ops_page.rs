//! docs/ops.md, made from the table of operators and from the lists of node-test cases that run: it
//! fails when the page is stale. `QUADRILLE_BLESS=1 cargo test -p quadrille-tests --test ops_page` writes it.

use quadrille::machine::Target;
use quadrille_compiler::import::supported_ops;
use quadrille_tests::corpus::repository;
use quadrille_tests::machine_cases::Verdict;
use quadrille_tests::machine_lists;
use quadrille_tests::node_cases::node_cases;
use quadrille_tests::operator_cases::operator_cases;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Domain and name; the standard domain is the empty string and comes first.
type Op = (String, String);

const HEAD: &str = "\
# Operators

Generated from the importer's table and the lists in `tests/corpus`; a test compares (run it with `QUADRILLE_BLESS=1` to
write this page).

Counts are official node tests of ONNX whose model is this one operator, and our own of that kind with ONNX Runtime's results
(`tests/corpus/operators.py`). **since** is the operator set that introduced it;
all later versions up to 28 are covered. **imports** counts cases that import and whose values the
oracle gets right. **tsp** and **wafer** count cases that compile, pass the checker, simulate and give the right values, out of
those that a machine with lanes of 32 bits can be asked to run: `yes` is all of them, and where it is none, the reason of
the first is given. `-` is no such case. What a target does with a model of yours: `quadrille check MODEL`.
";

/// Names of the lists of `machine_lists`.
const STEMS: [&str; 2] = ["", "-operators"];

#[derive(Default)]
struct Row {
    cases: Vec<String>,
}

fn list(name: &str) -> Vec<String> {
    let path = repository().join("tests/corpus").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(str::to_string).collect()
}

/// What the machines do with the official cases and with ours.
fn verdicts(target: Target) -> BTreeMap<String, Verdict> {
    let lists = STEMS.map(|stem| machine_lists::read(stem, target).expect("the lists can be read"));
    lists.into_iter().flatten().collect()
}

/// The operators of all node tests, each with the cases that are nothing but it.
fn rows() -> BTreeMap<Op, Row> {
    let mut rows: BTreeMap<Op, Row> = BTreeMap::new();
    for o in supported_ops() {
        rows.entry((o.domain.to_string(), o.name.to_string())).or_default();
    }
    let ours = operator_cases().expect("our own are generated");
    for case in node_cases().expect("the node tests are generated").into_iter().chain(ours) {
        let bytes = case.model_bytes().expect("the case has a model");
        let Ok(model) = quadrille_onnx::from_bytes(bytes.into(), None) else { continue };
        if let [n] = &model.graph.nodes[..] {
            rows.entry((n.domain.clone(), n.op.clone())).or_default().cases.push(case.name);
        }
    }
    rows
}

fn on_target(cases: &[String], verdicts: &BTreeMap<String, Verdict>) -> String {
    let found: Vec<&Verdict> = cases.iter().filter_map(|c| verdicts.get(c)).collect();
    let passes = found.iter().filter(|v| matches!(v, Verdict::Pass(_))).count();
    let reasons: Vec<&str> = found
        .iter()
        .filter_map(|v| match v {
            Verdict::Refused(why) | Verdict::Bug(why) => Some(why.as_str()),
            _ => None,
        })
        .collect();
    match (passes, reasons.first()) {
        (0, Some(why)) => format!("no: {}", why.replace('|', "\\|")),
        (0, None) if found.is_empty() => "-".to_string(),
        (0, None) => "out of scope".to_string(),
        (_, None) => "yes".to_string(),
        (_, Some(_)) => format!("{passes} of {}", passes + reasons.len()),
    }
}

fn page() -> String {
    // All of ours must be right.
    let ours = operator_cases().expect("our own are generated").into_iter().map(|c| c.name);
    let right: BTreeSet<String> = list("node-pass.txt").into_iter().chain(ours).collect();
    let (tsp, wafer) = (verdicts(Target::Tsp), verdicts(Target::Wafer));
    let since: BTreeMap<Op, i64> =
        supported_ops().iter().map(|o| ((o.domain.to_string(), o.name.to_string()), o.since)).collect();
    let mut page = HEAD.to_string();
    let mut domain = None;
    for (op, row) in &rows() {
        if domain != Some(&op.0) {
            let shown = if op.0.is_empty() { "ai.onnx" } else { &op.0 };
            let head = "| operator | since | imports | tsp | wafer |\n|---|---|---|---|---|";
            let _ = write!(page, "\n## {shown}\n\n{head}\n");
            domain = Some(&op.0);
        }
        let n = row.cases.iter().filter(|c| right.contains(*c)).count();
        let imports = match (since.contains_key(op), row.cases.len()) {
            (false, _) => "no".to_string(),
            (true, 0) => "yes".to_string(),
            (true, all) if n == all => format!("yes ({all})"),
            (true, all) => format!("{n} of {all}"),
        };
        let since = since.get(op).map_or("-".to_string(), i64::to_string);
        let (t, w) = (on_target(&row.cases, &tsp), on_target(&row.cases, &wafer));
        let _ = writeln!(page, "| `{}` | {since} | {imports} | {t} | {w} |", op.1);
    }
    page
}

#[test]
fn the_page_of_operators_is_true() {
    let path = repository().join("docs/ops.md");
    let new = page();
    if std::env::var_os("QUADRILLE_BLESS").is_some() {
        std::fs::write(&path, &new).expect("docs/ops.md is writable");
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let first = old.lines().zip(new.lines()).find(|(a, b)| a != b);
    assert!(old == new, "docs/ops.md is stale (QUADRILLE_BLESS=1 writes it): {first:?}");
}
