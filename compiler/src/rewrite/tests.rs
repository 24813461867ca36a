//! Tests of the rewriter as a whole, and the property test of every rule.

use super::check;
use super::testing::{Gen, PlainCost, networks};
use super::*;
use crate::ir::{DType, EpilogueStep, Graph, Op, Tensor, ValueDef, ValueId, arbitrary, builder, eval, text, verify};

/// Runs some rules on a graph and rebuilds it with as many of the rules' terms as can be.
fn apply_rules(g: &Graph, numbers: &[usize], strict: bool) -> Graph {
    let limits = Limits { strict_float: strict, epilogue_steps: 8, epilogue_operands: true, terms: 10_000 };
    let rewrites: Vec<_> = numbers.iter().map(|&n| rule::adapt(rules::TABLE[n], n, limits)).collect();
    let range = 0..g.nodes().len();
    let loaded = load::load(g, &range, &quantised::decides_a_step(g));
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
        None => (0, Cycles::default(), Wait::default()),
        Some(_) if born.contains(t) => (1, Cycles::default(), Wait::default()),
        Some(_) => (1000, Cycles::default(), Wait::default()),
    };
    let (_, chosen) = extraction(&loaded.egraph, &ids, ([true; RESOURCES], Objective::Sum), &mut cost)
        .expect("there is a choice without a cycle");
    let mut b = Builder::new(g, rules::TABLE.len());
    b.region(&mut loaded, &chosen, &roots, |r| rules::TABLE[r as usize].name).unwrap();
    b.finish().unwrap();
    b.out
}

/// Cases in which each rule must have changed the graph.
const CASES: usize = 1000;

/// Draws, at most.
const DRAWS: usize = 16 * CASES;

/// Draws that are looked at together, on all cores; counted in order, so that the cores change nothing.
const BATCH: usize = 250;

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

/// What the graph gives when no element has a sign, if it is of products, windows and sums alone: the sums of their products'
/// magnitudes. Rounding errors are relative to these, and may be all that is left of products that cancel.
fn magnitudes(g: &Graph, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
    let sums = |op: &Op| match op {
        Op::Conv { epilogue, .. } | Op::MatMul { epilogue } => {
            epilogue.iter().all(|s| matches!(s, EpilogueStep::Add | EpilogueStep::Relu))
        }
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Pad { .. } => true,
        _ => false,
    };
    if !g.nodes().iter().all(|n| sums(&n.op)) {
        return None;
    }
    let unsigned = |t: &Tensor| {
        let size = t.dtype.size();
        let mut data = t.data.to_vec();
        if t.dtype.is_float() {
            data.iter_mut().skip(size - 1).step_by(size).for_each(|b| *b &= 0x7f);
        }
        Tensor::new(t.dtype, t.shape.clone(), data).expect("as many bytes as before")
    };
    let mut all = Graph::new("magnitudes");
    let origin = all.add_origin("sum");
    let mut made: Vec<Option<ValueId>> = vec![None; g.values().len()];
    for &v in &g.inputs {
        made[v.0 as usize] = Some(all.add_input("x", g.ty(v).clone()));
    }
    for n in g.nodes() {
        for &v in &n.inputs {
            if let Some(t) = g.constant(v) {
                made[v.0 as usize].get_or_insert_with(|| all.add_const("w", unsigned(t)));
            }
        }
        let operands: Vec<ValueId> = n.inputs.iter().map(|v| made[v.0 as usize]).collect::<Option<_>>()?;
        made[n.output.0 as usize] = Some(all.add_node(n.op.clone(), &operands, origin).ok()?);
    }
    g.outputs.iter().try_for_each(|o| made[o.value.0 as usize].map(|v| all.add_output("y", v)).map(drop))?;
    eval::eval(&all, &inputs.iter().map(unsigned).collect::<Vec<_>>()).ok()
}

#[test]
fn errors_are_relative_to_what_was_summed() {
    let text = "graph \"g\" {\n  %0 = input : f32[1x2] as \"x\"\n  %1 = const [3, -3] : f32[2x1]\n  \
                %2 = matmul %0, %1 : f32[1x1] from \"p\"\n  output \"y\" = %2\n}\n";
    let g = text::parse(text).unwrap();
    let x = Tensor::from_f32(&[1, 2], &[2.0, 2.0]);
    assert_eq!(check::magnitude(&eval::eval(&g, std::slice::from_ref(&x)).unwrap()[0]), 0.0);
    assert_eq!(check::magnitude(&magnitudes(&g, &[x]).unwrap()[0]), 12.0);
}

/// What a rule did to a drawn graph.
struct Case {
    /// Rules had to keep every bit.
    strict: bool,
    /// Some output has a number other than zero, so that a wrong one can show.
    telling: bool,
    /// How the outputs differ, with both graphs.
    failure: Option<String>,
}

/// Draws a graph for a rule, applies the rule and compares; `None` when the rule does not change it.
fn case(number: usize, draw: usize) -> Option<Case> {
    let rule = rules::TABLE[number];
    // Some cases are strict: whatever fires then must keep every bit.
    let strict = draw.is_multiple_of(4) && rule.rounding != Rounding::Exact;
    let exact = strict || rule.rounding == Rounding::Exact;
    let mut g = Gen::new((number * 1_000_003 + draw) as u64, exact);
    let before = (rule.example)(&mut g)?;
    let after = apply_rules(&before, &[number], strict);
    // Loading alone folds constants and joins equal terms; that is no merit of the rule.
    if after == before || after == apply_rules(&before, &[], strict) {
        return None;
    }
    let inputs = g.inputs_for(&before);
    let run = |g: &Graph| eval::eval(g, &inputs).unwrap();
    let (want, got) = (run(&before), run(&after));
    let summed = if exact { None } else { magnitudes(&before, &inputs) };
    let differs = want.iter().zip(&got).enumerate().find_map(|(i, (x, y))| {
        let rel = if exact { 0.0 } else { tolerance(x.dtype) };
        let summed = summed.as_ref().map_or(0.0, |s| check::magnitude(&s[i]));
        check::compare_by(x, y, rel, check::magnitude(x).max(summed)).err()
    });
    let failure = differs.map(|d| {
        format!("{} (draw {draw}, strict {strict}): {d}\n{}{}", rule.name, text::print(&before), text::print(&after))
    });
    let telling =
        want.iter().any(|t| (0..t.len()).filter_map(|i| fold::element(t, i)).any(|v| v.is_finite() && v != 0.0));
    Some(Case { strict, telling, failure })
}

/// Each rule of a theme must keep the meaning in at least [`CASES`] graphs that it changed.
fn keep_the_meaning(theme: Theme) {
    let mut failures = Vec::new();
    for (number, rule) in rules::TABLE.iter().enumerate().filter(|(_, r)| r.theme == theme) {
        let (mut changed, mut drawn, mut strict, mut telling) = (0, 0, 0, 0);
        while changed < CASES && drawn < DRAWS && failures.len() <= 12 {
            let cases: Vec<_> = (drawn + 1..=drawn + BATCH).into_par_iter().filter_map(|d| case(number, d)).collect();
            drawn += BATCH;
            changed += cases.len();
            strict += cases.iter().filter(|c| c.strict).count();
            telling += cases.iter().filter(|c| c.telling).count();
            failures.extend(cases.into_iter().filter_map(|c| c.failure));
        }
        println!(
            "{:<32} {changed:>5} changed of {drawn:>5} drawn; {telling:>5} with results to tell by, {strict:>4} strict",
            rule.name
        );
        if changed < CASES || telling < CASES / 2 {
            failures.push(format!("{}: {changed} of {drawn} examples changed, {telling} tell anything", rule.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn every_algebra_rule_keeps_the_meaning() {
    keep_the_meaning(Theme::Algebra);
}

#[test]
fn every_layout_rule_keeps_the_meaning() {
    keep_the_meaning(Theme::Layout);
}

#[test]
fn every_convolution_rule_keeps_the_meaning() {
    keep_the_meaning(Theme::Convolution);
}

#[test]
fn every_fusion_rule_keeps_the_meaning() {
    keep_the_meaning(Theme::Fusion);
}

#[test]
fn every_merging_rule_keeps_the_meaning() {
    keep_the_meaning(Theme::Merging);
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
    for seed in 0..480 {
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
    for seed in 0..480 {
        let mut rng = arbitrary::Rng::new(seed);
        let size = 1 + (seed as usize % 10);
        let mut draw = Gen::new(seed, false);
        let g = match seed % 3 {
            0 => arbitrary::graph(&mut rng, &arbitrary::Config { nodes: 4 * size, ..Default::default() }),
            1 => networks::convolutional(&mut draw, size).unwrap(),
            _ => networks::transformer(&mut draw, size.div_ceil(4)).unwrap(),
        };
        let model = PlainCost { operands: seed % 4 < 2 };
        let strict_float = seed % 3 == 0 || seed % 5 == 0;
        // Most by the default, every other way beside it.
        let extraction = (seed % 2 == 1).then(|| Extraction::ALL[1 + seed as usize / 2 % 4]);
        let options = RewriteOptions { strict_float, extraction, ..Default::default() };
        let (after, report) = optimize(&g, &model, &options).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        verify::verify(&after).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
        let by = |c: &GraphCost| Objective::default().cycles(c);
        match report.extraction {
            Extraction::By(Objective::Overlap) => {
                assert!(by(&report.after) <= by(&report.before), "seed {seed}: {report}")
            }
            Extraction::Sequential => assert!(report.after.serial_cycles <= report.before.serial_cycles),
            Extraction::Untouched => assert_eq!((report.applications(), text::print(&after)), (0, text::print(&g))),
            Extraction::By(_) => {}
        }
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
        let (again, report_again) = optimize(&g, &model, &options).unwrap();
        assert_eq!((text::print(&again), report_again), (text::print(&after), report));
    }
    println!("{changed} of 480 graphs were changed by rules, {networks} of them networks");
    assert!(networks >= 260 && changed > networks);
}

#[test]
fn regions_of_networks_are_mostly_proven_cheapest() {
    let (mut regions, mut searched, mut proven) = (0, 0, 0);
    let (mut greedy, mut cost, mut bound) = (0, 0, 0);
    let (mut first, mut taken, mut lowest) = (0, 0, 0);
    for seed in 0..160 {
        let mut draw = Gen::new(seed, false);
        let size = 1 + seed as usize % 8;
        let g = match seed % 2 {
            0 => networks::convolutional(&mut draw, size),
            _ => networks::transformer(&mut draw, size.div_ceil(4)),
        };
        let model = PlainCost { operands: seed % 4 < 2 };
        let (_, report) = optimize(&g.unwrap(), &model, &RewriteOptions::default()).unwrap();
        for r in &report.regions {
            regions += 1;
            let Some(b) = r.bound_cycles else { continue };
            assert!(b <= r.cost_cycles && r.cost_cycles <= r.greedy_cycles, "seed {seed}: {r:?}");
            (searched, proven) = (searched + 1, proven + usize::from(r.proven));
            (greedy, cost, bound) = (greedy + r.greedy_cycles, cost + r.cost_cycles, bound + b);
            let o = r.overlap;
            let least = o.bound_cycles.unwrap_or(0);
            assert!(least <= o.taken_cycles && o.taken_cycles <= o.first_cycles, "seed {seed}: {r:?}");
            (first, taken, lowest) = (first + o.first_cycles, taken + o.taken_cycles, lowest + least);
        }
    }
    println!(
        "{searched} of {regions} regions searched, {proven} proven; cycles: greedy {greedy}, found {cost}, bound {bound}; \
         with overlap: by the sum {first}, found {taken}, bound {lowest}"
    );
    assert!(searched * 10 >= regions * 9 && proven * 100 >= searched * 85);
}

#[test]
fn every_node_names_the_users_nodes_that_it_serves() {
    for seed in 0..100 {
        let mut rng = arbitrary::Rng::new(seed);
        let g = arbitrary::graph(&mut rng, &arbitrary::Config { nodes: 20, ..arbitrary::Config::f32() });
        let known: Vec<&str> = g.origins().iter().map(|o| o.name.as_str()).collect();
        let (after, _) = optimize(&g, &PlainCost { operands: true }, &RewriteOptions::default()).unwrap();
        for n in after.nodes() {
            let name = after.origin_name(n);
            assert!(name.split(JOINT).all(|part| known.contains(&part)), "seed {seed}: {name}");
        }
        assert!(after.values().iter().all(|v| !matches!(v.def, ValueDef::Input(_)) || !v.name.is_empty()));
    }
}

#[test]
fn a_limit_on_applications_is_a_prefix_of_the_whole() {
    let mut counts = 0;
    for seed in 0..12 {
        let mut draw = Gen::new(seed, false);
        // The largest have several regions and two sweeps.
        let g = networks::convolutional(&mut draw, 1 + 16 * seed as usize).unwrap();
        let extraction = (seed % 3 == 2).then_some(Extraction::Sequential);
        let run = |applications| {
            let options = RewriteOptions { applications, extraction, ..Default::default() };
            optimize(&g, &PlainCost { operands: true }, &options).unwrap()
        };
        let (whole, report) = run(None);
        let total = report.applications();
        let (limited, limited_report) = run(Some(total));
        assert_eq!(text::print(&limited), text::print(&whole), "seed {seed}");
        assert_eq!(limited_report.lineage, report.lineage);
        assert!(limited_report.last.is_some() || total == 0);
        for n in [0, 1, total / 3, total / 2, total.saturating_sub(1)] {
            let (after, report) = run(Some(n.min(total)));
            assert_eq!(report.applications(), n.min(total), "seed {seed}");
            assert_eq!(report.last.is_some(), n > 0 && total > 0);
            verify::verify(&after).unwrap();
            counts += n;
        }
    }
    assert!(counts > 1000, "{counts}");
}

/// Says what a test tells it to.
struct Told<'a> {
    trials: Trials,
    cycles: &'a (dyn Fn(&Graph) -> Option<u64> + Sync),
}

impl Judge for Told<'_> {
    fn trials(&self, _: &GraphCost) -> Trials {
        self.trials
    }

    fn cycles(&self, g: &Graph) -> Option<u64> {
        (self.cycles)(g)
    }
}

#[test]
fn of_the_candidates_the_shortest_program_is_taken() {
    let model = PlainCost { operands: true };
    let g = networks::transformer(&mut Gen::new(3, false), 2).unwrap();
    let judged = |quick, cycles: &(dyn Fn(&Graph) -> Option<u64> + Sync), extraction| {
        let options = RewriteOptions { extraction, ..Default::default() };
        let trials = if quick { Trials::All } else { Trials::One };
        optimize_judged(&g, &model, &options, &Told { trials, cycles }).unwrap()
    };
    let nodes = |g: &Graph| Some(g.nodes().len() as u64);
    // More nodes are better: the graph as it came.
    let (most, report) = judged(true, &|g| nodes(g).map(|n| 1000 - n), None);
    assert_eq!((report.extraction, text::print(&most)), (Extraction::Untouched, text::print(&g)));
    assert!(report.candidates.len() >= 2 && report.lineage.is_empty(), "{:?}", report.candidates);
    // Of equals, and of those without a program, the first.
    for cycles in [Some(7), None] {
        let (_, report) = judged(true, &|_| cycles, None);
        assert_eq!(report.extraction, Extraction::default());
        assert!(report.candidates.iter().all(|c| c.cycles == cycles));
    }
    // Only the graph as it came has a program.
    let only = |h: &Graph| (h.nodes().len() == g.nodes().len()).then_some(9);
    assert_eq!(judged(true, &only, None).1.extraction, Extraction::Untouched);
    // Nobody is asked, where that takes long or the extraction is named.
    let never = |_: &Graph| -> Option<u64> { panic!("it is not asked") };
    let (unasked, report) = judged(false, &never, None);
    assert!(report.candidates.is_empty());
    assert_eq!(text::print(&unasked), text::print(&optimize(&g, &model, &RewriteOptions::default()).unwrap().0));
    let (_, report) = judged(true, &never, Some(Extraction::Sequential));
    assert_eq!(report.extraction, Extraction::Sequential);
}

/// Where there is time for few programs, forms whose costs say clearly which is shorter get none.
#[test]
fn forms_of_nearly_equal_costs_get_programs() {
    let told = Told { trials: Trials::Near, cycles: &|_| None };
    let cost = |cycles| GraphCost { nodes: 1, serial_cycles: 0, overlapped_cycles: cycles, ..GraphCost::default() };
    let worth = |before: u64, forms: &[u64]| {
        let forms: Vec<GraphCost> = forms.iter().map(|c| cost(*c)).collect();
        worth_a_program(&told, Objective::Overlap, &cost(before), &forms.iter().collect::<Vec<_>>())
    };
    assert_eq!(worth(1200, &[1000, 1001, 1200]), [0]);
    assert_eq!(worth(1080, &[1000, 1200, 1040, 1080]), [0, 2, 3]);
    // The same work.
    assert_eq!(worth(1_000_001, &[1_000_000, 1_000_000, 1_000_001]), [0]);
    // Cheaper before than after.
    assert_eq!(worth(900, &[1000, 950, 900]), [1, 2]);
}

#[test]
fn rules_that_round_leave_alone_what_goes_on_to_a_rounding() {
    let graph = |rounding: &str| {
        let text = format!(
            "graph \"q\" {{\n  %0 = input : f32[4096] as \"x\"\n  %1 = const [0.3] : f32[1]\n  \
             %2 = div %0, %1 : f32[4096] from \"q\"\n  %3 = {rounding} %2 : f32[4096] from \"q\"\n  \
             output \"y\" = %3\n}}\n"
        );
        text::parse(&text).unwrap()
    };
    // Multiples of half the scale: half of them lie between two steps.
    let halves: Vec<u8> = (0..4096).flat_map(|i| (0.15f32 * i as f32).to_le_bytes()).collect();
    let inputs = [Tensor::new(DType::F32, vec![4096], halves).unwrap()];
    let options = RewriteOptions::default();
    for rounding in ["round", "floor", "ceil", "cast"] {
        let g = graph(rounding);
        let g = if rounding == "cast" {
            text::parse(&text::print(&g).replace("%3 = cast %2 : f32", "%3 = cast %2 : i32")).unwrap()
        } else {
            g
        };
        let (after, report) = optimize(&g, &PlainCost { operands: false }, &options).unwrap();
        assert!(report.rules().iter().all(|r| r.name != "div-constant"), "{rounding}: {report}");
        assert_eq!(eval::eval(&g, &inputs).unwrap(), eval::eval(&after, &inputs).unwrap(), "{rounding}");
    }
    // The same division by a reciprocal gives other steps, so the precondition is not idle.
    let recip = text::print(&graph("round")).replace("div %0, %1", "mul %0, %1").replace("[0.3]", "[3.3333333]");
    let (want, got) = (eval::eval(&graph("round"), &inputs), eval::eval(&text::parse(&recip).unwrap(), &inputs));
    assert_ne!(want.unwrap(), got.unwrap());
    let (free, report) = optimize(&graph("abs"), &PlainCost { operands: false }, &options).unwrap();
    assert!(report.rules().iter().any(|r| r.name == "div-constant"), "{}", text::print(&free));
}

#[test]
fn an_explanation_has_every_node_once() {
    for seed in 0..60 {
        let mut draw = Gen::new(seed, false);
        let g = networks::transformer(&mut draw, 1 + seed as usize % 3).unwrap();
        let model = PlainCost { operands: true };
        let (after, report) = optimize(&g, &model, &RewriteOptions::default()).unwrap();
        let e = explain(&g, &after, &report, &model);
        let mut names: Vec<&str> = e.names().collect();
        names.sort_unstable();
        let mut known: Vec<&str> = g.nodes().iter().map(|n| g.origin_name(n)).collect();
        known.sort_unstable();
        known.dedup();
        assert_eq!(names, known, "seed {seed}");
        assert_eq!(e.groups.iter().map(|g| g.after.len()).sum::<usize>(), after.nodes().len());
        assert_eq!(e.groups.iter().map(|g| g.cycles_after).sum::<u64>(), report.after.serial_cycles);
        let before: u64 = e.groups.iter().map(|g| g.cycles_before).sum();
        assert!(before <= report.before.serial_cycles);
        let made = e.groups.iter().flat_map(|g| &g.after).filter(|m| !m.steps.is_empty()).count();
        assert_eq!(made, report.lineage.len(), "seed {seed}");
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
