//! Tests of the rewriter as a whole, and the property test of every rule.

use super::check;
use super::testing::{Gen, networks};
use super::*;
use crate::ir::{DType, Graph, ValueDef, arbitrary, builder, eval, text, verify};

/// Runs some rules on a graph and rebuilds it with as many of the rules' terms as can be.
fn apply_rules(g: &Graph, numbers: &[usize], strict: bool) -> Graph {
    let limits = Limits { strict_float: strict, epilogue_steps: 8, epilogue_operands: true, terms: 10_000 };
    let rewrites: Vec<_> = numbers.iter().map(|&n| rule::adapt(rules::TABLE[n], n, limits)).collect();
    let range = 0..g.nodes().len();
    let loaded = load::load(g, &range);
    let runner = Runner::<_, _, ()>::new(Region::default())
        .with_egraph(loaded.egraph)
        .with_iter_limit(2)
        .with_node_limit(10_000)
        .with_time_limit(Duration::from_secs(u32::MAX.into()))
        .with_scheduler(SimpleScheduler)
        .run(&rewrites);
    let mut loaded = Loaded { egraph: runner.egraph, ..loaded };
    assert_eq!(loaded.egraph.analysis.faults, Vec::<String>::new());
    let roots = region::roots(g, &range, &region::last_uses(g));
    let classes: HashMap<_, _> = loaded.values.iter().copied().collect();
    let ids: Vec<Id> = roots.iter().map(|v| loaded.egraph.find(classes[v])).collect();
    let mut born: std::collections::BTreeSet<language::Term> = Default::default();
    let egraph = &loaded.egraph;
    for (i, b) in egraph.analysis.births.iter().enumerate().filter(|(_, b)| b.rule.is_some()) {
        let _ = b;
        born.insert(egg::Language::map_children(egraph.nodes()[i].clone(), |c| egraph.find(c)));
    }
    let mut cost = |e: &Terms, _: Id, t: &language::Term| match e.op(t) {
        None => 0,
        Some(_) if born.contains(t) => 1,
        Some(_) => 1000,
    };
    let (_, chosen) = extraction(&loaded.egraph, &ids, &mut cost).expect("there is a choice without a cycle");
    let mut b = Builder::new(g, rules::TABLE.len());
    b.region(&mut loaded, &chosen, &roots, |r| rules::TABLE[r as usize].name).unwrap();
    b.finish().unwrap();
    b.out
}

/// Cases in which the rule must have changed the graph.
const CASES: usize = 250;

/// Tolerance of one application, relative to the largest magnitude of the output.
fn tolerance(dtype: crate::ir::DType) -> f64 {
    use crate::ir::DType::*;
    match dtype {
        F64 => 1e-13,
        F32 => 2e-5,
        F16 => 2e-2,
        BF16 => 1e-1,
        _ => 0.0,
    }
}

#[test]
fn every_rule_keeps_the_meaning_on_random_graphs() {
    let mut failures = Vec::new();
    for (number, rule) in rules::TABLE.iter().enumerate() {
        let (mut changed, mut drawn, mut strict_changed) = (0, 0, 0);
        while changed < CASES && drawn < 12 * CASES {
            drawn += 1;
            // Half of the cases are strict: whatever fires then must keep every bit.
            let strict = drawn % 2 == 0 && rule.rounding != Rounding::Exact;
            let exact = strict || rule.rounding == Rounding::Exact;
            let mut g = Gen::new((number * 1_000_003 + drawn) as u64, exact);
            let Some(before) = (rule.example)(&mut g) else { continue };
            let after = apply_rules(&before, &[number], strict);
            // Loading alone folds constants and joins equal terms; that is no merit of the rule.
            if after == apply_rules(&before, &[], strict) {
                continue;
            }
            if strict {
                strict_changed += 1;
            } else {
                changed += 1;
            }
            let inputs = g.inputs_for(&before);
            let run = |g: &Graph| eval::eval(g, &inputs).unwrap();
            for (x, y) in run(&before).iter().zip(&run(&after)) {
                let rel = if exact { 0.0 } else { tolerance(x.dtype) };
                if let Err(d) = check::compare(x, y, rel) {
                    failures.push(format!(
                        "{} (draw {drawn}, strict {strict}): {d}\n{}{}",
                        rule.name,
                        text::print(&before),
                        text::print(&after)
                    ));
                }
            }
            if failures.len() > 12 {
                break;
            }
        }
        println!("{:<32} {changed:>4} changed of {drawn:>4} drawn, {strict_changed:>4} of them strict", rule.name);
        if changed < 200 {
            failures.push(format!("{}: only {changed} of {drawn} examples changed", rule.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// What the order of a sum may change, of the largest element; integers not at all.
fn last_bits(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-12,
        DType::F32 => 1e-5,
        DType::F16 | DType::BF16 => 2e-2,
        _ => 0.0,
    }
}

#[test]
fn a_graph_goes_into_an_e_graph_and_back_unchanged() {
    let mut same = 0;
    for seed in 0..400 {
        let mut rng = arbitrary::Rng::new(seed);
        let nodes = 2 + (seed as usize % 24);
        let g = arbitrary::graph(&mut rng, &arbitrary::Config { nodes, ..Default::default() });
        let back = apply_rules(&g, &[], false);
        verify::verify(&back).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
        let inputs = arbitrary::inputs(&mut rng, &g);
        // Constants fold in a fixed order of sums, `eval` takes the fastest: last bits may differ.
        for (x, y) in eval::eval(&g, &inputs).unwrap().iter().zip(&eval::eval(&back, &inputs).unwrap()) {
            check::compare(x, y, last_bits(x.dtype)).unwrap_or_else(|d| panic!("seed {seed}: {d}"));
        }
        // What is joined and folded is so after the first time, and constants then have their place.
        let twice = apply_rules(&back, &[], false);
        assert_eq!(text::print(&apply_rules(&twice, &[], false)), text::print(&twice), "seed {seed}");
        let live = builder::remove_dead(&g);
        if live.nodes().len() == back.nodes().len() {
            same += 1;
            assert_eq!(text::print(&back), text::print(&live), "seed {seed}");
        }
    }
    println!("{same} of 400 graphs had nothing to fold or to join and came back letter for letter");
    assert!(same >= 100);
}

#[test]
fn optimising_random_graphs_keeps_their_meaning() {
    let (mut changed, mut networks) = (0, 0);
    for seed in 0..400 {
        let mut rng = arbitrary::Rng::new(seed);
        let size = 1 + (seed as usize % 10);
        let mut draw = Gen::new(seed, false);
        let g = match seed % 3 {
            0 => arbitrary::graph(&mut rng, &arbitrary::Config { nodes: 4 * size, ..Default::default() }),
            1 => networks::convolutional(&mut draw, size).unwrap(),
            _ => networks::transformer(&mut draw, size.div_ceil(4)).unwrap(),
        };
        let target = if seed % 4 < 2 { Target::Tsp } else { Target::Wafer };
        let strict_float = seed % 3 == 0 || seed % 5 == 0;
        let options = RewriteOptions { strict_float, ..Default::default() };
        let (after, report) = optimize(&g, target, &options).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        verify::verify(&after).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
        assert!(report.after.serial_cycles <= report.before.serial_cycles, "seed {seed}: {report}");
        let used = report.rules().iter().any(|r| r.used > 0);
        changed += usize::from(used);
        networks += usize::from(used && seed % 3 > 0);
        let inputs = arbitrary::inputs(&mut rng, &g);
        let outputs = |g: &Graph| eval::eval(g, &inputs).unwrap();
        for (x, y) in outputs(&g).iter().zip(&outputs(&after)) {
            // Folded constants have their own order of sums.
            let rel = if strict_float { last_bits(x.dtype) } else { 1e-4 };
            check::compare(x, y, rel)
                .unwrap_or_else(|d| panic!("seed {seed}: {d}\n{}\n{}", text::print(&g), text::print(&after)));
        }
        // The same once more, to the byte.
        let (again, report_again) = optimize(&g, target, &options).unwrap();
        assert_eq!((text::print(&again), report_again), (text::print(&after), report));
    }
    println!("{changed} of 400 graphs were changed by rules, {networks} of them networks");
    assert!(networks >= 260 && changed > networks);
}

#[test]
fn every_node_names_the_users_nodes_that_it_serves() {
    for seed in 0..100 {
        let mut rng = arbitrary::Rng::new(seed);
        let g = arbitrary::graph(&mut rng, &arbitrary::Config { nodes: 20, ..arbitrary::Config::f32() });
        let known: Vec<&str> = g.origins().iter().map(|o| o.name.as_str()).collect();
        let (after, _) = optimize(&g, Target::Tsp, &RewriteOptions::default()).unwrap();
        for n in after.nodes() {
            let name = after.origin_name(n);
            assert!(name.split(JOINT).all(|part| known.contains(&part)), "seed {seed}: {name}");
        }
        assert!(after.values().iter().all(|v| !matches!(v.def, ValueDef::Input(_)) || !v.name.is_empty()));
    }
}

#[test]
fn the_rules_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rules.md");
    let page = docs::rules_page();
    if std::env::var_os("QUADRILLE_BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let have = std::fs::read_to_string(path).unwrap_or_default();
    assert!(have == page, "docs/rules.md is stale: run this test with QUADRILLE_BLESS=1");
}

#[test]
fn rule_names_are_unique_and_kebab_case() {
    let mut names: Vec<&str> = rules::TABLE.iter().map(|r| r.name).chain(Theme::ALL.map(Theme::name)).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|w| w[0] != w[1]));
    assert!(names.iter().all(|n| n.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
}
