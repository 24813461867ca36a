//! Convolutions over several pixels a word: random shapes through checker, simulator and oracle, and how
//! many gathers and passes the mappings take.

use super::*;
use quadrille_tsp::Packing;
use quadrille_tsp::tiled::{Init, Kind};

/// A stream of small numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
}

fn gathers(c: &Compiled) -> usize {
    c.program.queues.values().flatten().filter(|i| matches!(i.inst, Inst::Gather { .. })).count()
}

/// Rows that enter planes for products.
fn plane_rows(c: &Compiled) -> usize {
    let passes = c.tiled.kernels.iter().filter_map(|k| match &k.kind {
        Kind::MatMul { chains, .. } => Some(k.n as usize * chains.iter().map(Vec::len).sum::<usize>()),
        _ => None,
    });
    passes.sum()
}

fn conv_relu(b: &mut Build, x: ValueId, m: usize, groups: usize, w: Window) -> ValueId {
    let c = b.g.shape(x)[1];
    let fan = (c / groups * w.kernel.iter().product::<usize>()) as f32;
    let mut shape = vec![m, c / groups];
    shape.extend(&w.kernel);
    let k = b.weights(&shape, 2.0 / fan.sqrt());
    let bias = b.weights(&[1, m, 1, 1], 0.3);
    let y = b.node(conv(w, groups), &[x, k]);
    let y = b.node(binary(Binary::Add), &[y, bias]);
    b.node(unary(Unary::Relu), &[y])
}

#[test]
fn a_chain_of_narrow_convolutions_gathers_its_windows() {
    let mut b = Build::new();
    let x = b.input(&[1, 3, 20, 18]);
    let y = conv_relu(&mut b, x, 12, 1, window([3, 3], [1, 1], 1));
    let y = conv_relu(&mut b, y, 16, 1, window([3, 3], [1, 1], 1));
    let y = conv_relu(&mut b, y, 40, 1, window([3, 3], [2, 2], 1));
    let g = b.out(&[y]);
    let (c, _) = compile_on(&g, "tsp");
    assert!(gathers(&c) > 0, "{}", c.tiled);
    // 360 pixels at 20 a word; tap by tap would be 9 rows a pixel.
    let by_taps = 9 * 360 + 9 * 90;
    assert!(plane_rows(&c) * 8 < by_taps, "{} plane rows", plane_rows(&c));
    prove(&g, "tsp", F16);
}

#[test]
fn random_windows_over_packed_pixels() {
    let mut d = Dice(77);
    let mut gathered = 0;
    for case in 0..60 {
        let mut b = Build::new();
        let batch = 1 + d.roll(3);
        let channels = [1, 3, 8, 20, 40, 64][d.roll(6)];
        let (h, w) = (5 + d.roll(9), 5 + d.roll(9));
        let x = b.input(&[batch, channels, h, w]);
        let mut y = x;
        for _ in 0..1 + d.roll(3) {
            let s = b.g.shape(y).to_vec();
            let kernel = [1 + d.roll(3.min(s[2])), 1 + d.roll(3.min(s[3]))];
            let stride = [1 + d.roll(2), 1 + d.roll(2)];
            let pad = d.roll(kernel[0].min(kernel[1]));
            let m = [4, 16, 24, 40, 64, 100][d.roll(6)];
            let depthwise = d.roll(5) == 0;
            let (m, groups) = if depthwise { (s[1], s[1]) } else { (m, 1) };
            y = conv_relu(&mut b, y, m, groups, window(kernel, stride, pad));
            if d.roll(3) == 0 {
                let z = b.node(unary(Unary::Tanh), &[y]);
                y = b.node(binary(Binary::Add), &[y, z]);
            }
            let s = b.g.shape(y).to_vec();
            if d.roll(3) == 0 && s[2] >= 3 && s[3] >= 3 {
                let k = 2 + d.roll(2);
                let pad = d.roll(2) * (k / 2);
                y = b.node(Op::Pool { kind: Pool::Max, window: window([k, k], [2, 2], pad) }, &[y]);
            }
        }
        let g = b.out(&[y]);
        let mut machine = if case % 6 == 5 { "tsp-small" } else { "tsp" };
        let m = Machine::builtin(machine).expect("a built-in machine");
        if let Err(CompileError::DoesNotFit { .. }) = tsp::compile(&g, &m, &Options::default()) {
            machine = "tsp";
        }
        let (c, _) = compile_on(&g, machine);
        let virtual_rows = c.tiled.tensors.iter().any(|t| matches!(t.init, Init::Gather { .. }));
        gathered += usize::from(virtual_rows);
        println!("case {case}: {machine} {} cycles, {} gathers", c.estimate.cycles, gathers(&c));
        prove(&g, machine, F16);
    }
    assert!(gathered >= 20, "{gathered} of 60 cases gather");
}

/// Images of more words than a bank holds, which no gather can choose from: passes take whole words.
#[test]
fn windows_over_images_of_more_words_than_a_bank() {
    let mut m = Machine::builtin("tsp").expect("a built-in machine");
    m.geometry.words_per_slice = 256;
    let bank = m.words_per_bank();
    let mut d = Dice(41);
    let (mut fits, mut by_word, mut pooled) = (0, 0, 0);
    for case in 0..36 {
        let mut b = Build::new();
        let (h, w) = (30 + d.roll(12), 17 + d.roll(40));
        // One channel made on the chip, its rows on lanes.
        let x = b.input(&[1, h, w]);
        let x = b.node(unary(Unary::Abs), &[x]);
        let mut y = b.node(Op::Reshape { shape: vec![1, 1, h, w] }, &[x]);
        for _ in 0..1 + d.roll(3) {
            let kernel = [1 + d.roll(3), 1 + d.roll(3)];
            let pad = d.roll(kernel[0].min(kernel[1]));
            let stride = [1, if d.roll(4) == 0 { 2 } else { 1 }];
            let m = [16, 24, 64, 100][d.roll(4)];
            y = conv_relu(&mut b, y, m, 1, window(kernel, stride, pad));
        }
        let k = 2 + d.roll(2);
        y = b.node(Op::Pool { kind: Pool::Max, window: window([k, k], [2, 2], 0) }, &[y]);
        y = conv_relu(&mut b, y, 32, 1, window([1, 1], [1, 1], 0));
        let g = b.out(&[y]);
        let c = match tsp::compile(&g, &m, &Options { packing: Packing::Always, ..Options::default() }) {
            Ok(c) => c,
            Err(CompileError::DoesNotFit { .. }) => continue,
            Err(e) => panic!("case {case}: {e}"),
        };
        fits += 1;
        let large = |t: &quadrille_tsp::tiled::RowTensor| t.pixels > 1 && t.rows >= bank;
        let kernels = c.tiled.kernels.iter().filter(|k| match &k.kind {
            Kind::MatMul { chains, outs, .. } => {
                let acts = chains.iter().flatten().map(|p| p.act.tensor);
                acts.chain(outs.iter().map(|(_, r)| r.tensor)).any(|t| large(c.tiled.tensor(t)))
            }
            _ => false,
        });
        let read = kernels.count();
        by_word += usize::from(read > 0);
        pooled += usize::from(c.tiled.kernels.iter().any(|k| match &k.kind {
            Kind::Map { ins, .. } => ins.len() > 1 && ins.iter().all(|r| large(c.tiled.tensor(r.tensor))),
            _ => false,
        }));
        println!("case {case}: {h} x {w}, {} cycles, {read} kernels by word", c.estimate.cycles);
        prove_compiled(&g, &c, &m, &inputs_of(&g), F16);
    }
    assert!(fits >= 10 && by_word >= 8 && pooled >= 4, "{fits} fit, {by_word} by word, {pooled} pooled");
}

/// Products of constants and of computed operands in every way, as the scheduler is told.
#[test]
fn products_in_every_way() {
    use quadrille_tsp::ProductWay;
    let (mut taken, mut small) = (std::collections::BTreeMap::new(), 0);
    for (left, right, fixed) in [
        (&[40, 48][..], &[48, 20][..], [false, true]),
        (&[40, 352], &[352, 48], [false, true]),
        (&[33, 96], &[96, 320], [true, false]),
        (&[2, 3, 24, 32], &[2, 3, 32, 40], [false, false]),
        (&[48, 352], &[352, 64], [false, false]),
        (&[3, 16, 64], &[64, 32], [false, false]),
        (&[64, 48], &[3, 48, 32], [true, false]),
        // Columns that go evenly into five blocks, and in three as wide as the planes.
        (&[48, 352], &[352, 815], [false, true]),
        (&[815, 352], &[352, 48], [true, false]),
    ] {
        for machine in ["tsp", "tsp-small"] {
            let mut programs = std::collections::BTreeSet::new();
            for way in ProductWay::all() {
                let mut b = Build::new();
                let operands = [(left, fixed[0]), (right, fixed[1])]
                    .map(|(s, fixed)| if fixed { b.weights(s, 0.2) } else { b.input(s) });
                let bias = b.weights(&[right[right.len() - 1]], 0.5);
                let y = b.node(Op::MatMul { epilogue: vec![EpilogueStep::Add] }, &[operands[0], operands[1], bias]);
                let y = b.node(unary(Unary::Relu), &[y]);
                let g = b.out(&[y]);
                let options = Options { product: Some(way), ..Options::default() };
                let m = Machine::builtin(machine).expect("a built-in machine");
                let c = match tsp::compile(&g, &m, &options) {
                    Ok(c) => c,
                    // What turns a large operand may be too much.
                    Err(CompileError::DoesNotFit { .. }) => continue,
                    Err(e) => panic!("{machine}, {way}: {e}"),
                };
                prove_compiled(&g, &c, &m, &inputs_of(&g), F16);
                *taken.entry(way.to_string()).or_insert(0) += usize::from(programs.insert(format!("{}", c.tiled)));
            }
            println!("{machine} {left:?} x {right:?}: {} programs", programs.len());
            small += if machine == "tsp-small" { programs.len() } else { 0 };
            assert!(programs.len() > 1 || machine == "tsp-small", "{machine} {left:?} x {right:?}");
        }
    }
    println!("{taken:#?}\n{small} programs for the small machine");
    assert!(small >= 8, "{small}");
    let idle = |w: &&ProductWay| taken[&w.to_string()] == 0;
    assert_eq!(ProductWay::all().iter().filter(idle).count(), 0, "{taken:#?}");
}

/// `QUADRILLE_MODEL=mtcnn-pnet cargo test -p quadrille-tests --test tsp_compile -- --ignored --nocapture profile`
#[test]
#[ignore = "prints the profile of the model that QUADRILLE_MODEL names"]
fn profile_of_a_model() {
    let name = std::env::var("QUADRILLE_MODEL").unwrap_or_else(|_| "mtcnn-pnet".into());
    use quadrille::machine::Machine as AnyMachine;
    use quadrille_tests::whole::prepared;
    let files = quadrille_tests::corpus::model(&name);
    let mut m = Machine::builtin("tsp").expect("a built-in machine");
    if let Ok(n) = std::env::var("QUADRILLE_RESERVED") {
        m.program.reserved_slices_per_hemisphere = n.parse().expect("a number of slices");
    }
    let graph = prepared(&files, &AnyMachine::Tsp(Box::new(m.clone()))).0;
    let start = std::time::Instant::now();
    let c = tsp::compile(&graph, &m, &Options::default()).expect("the model compiles");
    println!("{name}: {} cycles, {} ms", c.estimate.cycles, start.elapsed().as_millis());
    if std::env::var("QUADRILLE_TILED").is_ok() {
        println!("{}", c.tiled);
    }
    let mut text: std::collections::BTreeMap<(&str, String), (usize, u64)> = Default::default();
    for issues in c.program.queues.values() {
        for (i, (_, slots)) in issues.iter().zip(quadrille_isa::tsp::text_slots(issues)) {
            let kind = format!("{:?}", i.inst);
            let kind = kind.split([' ', '(', '{']).next().unwrap_or("").to_string();
            let sum = text.entry((&c.program.nodes[i.node.0 as usize], kind)).or_default();
            *sum = (sum.0 + 1, sum.1 + slots);
        }
    }
    let mut text: Vec<_> = text.into_iter().collect();
    text.sort_by_key(|t| std::cmp::Reverse(t.1.1));
    text.iter().take(40).for_each(|((node, kind), (n, slots))| println!("{slots:>8} slots {n:>8} {kind} of {node}"));
    let profile = tsp::profile::profile(&c, &m);
    println!("planes take rows in {} cycles; {:?}", profile.busy, profile.losses);
    for p in profile.nodes {
        let (what, cycles) = p.demand.busiest(&m);
        println!("{:>7} {cycles:>6}  {:>4} kernels  {}  {:?}  {:?}", what.name(), p.kernels, p.node, p.demand, p.waits);
    }
}
