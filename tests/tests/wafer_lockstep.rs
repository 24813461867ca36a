//! PEs that do the same in the same cycle, counted once, against the simulator that decides every step of every PE in its own
//! cycle, which is the definition: random programs whose PEs share their text and differ in their place, in what they are
//! told, and in how long they take.

mod wafer_support;

use quadrille_isa::wafer::*;
use quadrille_runtime::wafer::{Options, Peek, SimResult, simulate_with};
use quadrille_wafer::collective::{self, Kind, Scheme, gemm, gemv, summa};
use wafer_support::*;

use ElemType::{F16, F32, I16};
use Port::{East, North, Ramp, South, West};

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        let mut r = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..4).for_each(|_| _ = r.below(2));
        r
    }

    /// 0 to n - 1.
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) % u64::from(n)) as u32
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

/// What all PEs do in their turn, as far as their place lets them.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// So many elements to the next PE of the row or column: in f16 or f32, added or only taken, at once or beside.
    Shift { down: bool, n: i32, ty: ElemType, adds: bool, sends_beside: bool, takes_beside: bool, takes_first: bool },
    /// From the first PE of each column to all others of it.
    Spread { n: i32, beside: bool },
    /// What comes goes on to the next PE at once.
    Pass { n: i32 },
    /// Outer products of what a PE holds.
    Products { columns: i32, rows: i32 },
    /// Sums of as many elements as a parameter says.
    Sums,
    /// Rows of products with scalars that come from the PE before.
    Scaled { n0: i32, rows: i32 },
}

fn phase(r: &mut Random) -> Phase {
    let ty = [F16, F16, F32, I16][r.below(4) as usize];
    let n = if r.one_in(4) { 1 + r.below(60) } else { 2 * (1 + r.below(8)) } as i32;
    match r.below(9) {
        0 => Phase::Spread { n: 1 + r.below(30) as i32, beside: r.one_in(2) },
        1 => Phase::Pass { n: 1 + r.below(20) as i32 },
        2 | 3 => Phase::Products { columns: 8 * (1 + r.below(3)) as i32, rows: 1 + r.below(9) as i32 },
        4 => Phase::Sums,
        5 => Phase::Scaled { n0: 1 + r.below(12) as i32, rows: 1 + r.below(6) as i32 },
        _ => Phase::Shift {
            down: r.one_in(2),
            n,
            ty,
            adds: r.one_in(3),
            sends_beside: r.one_in(4),
            takes_beside: r.one_in(4),
            takes_first: r.one_in(30),
        },
    }
}

/// The operations of a PE with these neighbours.
fn body(phases: &[Phase], [north, east, south, west]: [bool; 4], extra: i32) -> Vec<VecOp> {
    let mut body = Vec::new();
    let mut threads = 0u8;
    let mut put = |body: &mut Vec<VecOp>, work: VecOp, beside: bool| {
        let beside = beside && threads < 6;
        body.push(if beside { asynch(work, threads, &[]) } else { work });
        threads += u8::from(beside);
    };
    for (k, &phase) in phases.iter().enumerate() {
        // Each phase has bytes of its own; what one takes the next but one may send.
        let place = |ty, part: i32| mem(ty, 1024 * k as i32 + 512 * part);
        match phase {
            Phase::Shift { down, n, ty, adds, sends_beside, takes_beside, takes_first } => {
                let (sends, takes) = if down { (south, north) } else { (east, west) };
                let (q, from_place) = (u8::from(down), 1024 * ((k as i32 + 4) % phases.len() as i32) + 512);
                let send = op(PeOp::Mov, n, to(q, ty), &[src(stepping(mem(ty, from_place), 2, 32))]);
                let held = stepping(place(ty, 1), 2, 32);
                let take = match adds {
                    true => op(PeOp::Add, n, dst(held), &[from(q, ty), src(held)]),
                    false => op(PeOp::Mov, n, dst(held), &[from(q, ty)]),
                };
                let mut list = vec![(send, sends_beside, sends), (take, takes_beside, takes)];
                if takes_first {
                    list.reverse();
                }
                list.into_iter().filter(|x| x.2).for_each(|(work, beside, _)| put(&mut body, work, beside));
            }
            Phase::Spread { n, beside } if north => {
                put(&mut body, op(PeOp::Mov, n, dst(place(F32, 0)), &[from(2, F32)]), beside);
            }
            Phase::Spread { n, beside } if south => {
                put(&mut body, op(PeOp::Mov, n, to(2, F32), &[src(place(F32, 0))]), beside);
            }
            Phase::Spread { .. } => {}
            Phase::Pass { n } => match (west, east) {
                (true, true) => put(&mut body, op(PeOp::Mov, n, to(0, F32), &[from(0, F32)]), false),
                (true, false) => put(&mut body, op(PeOp::Mov, n, dst(place(F32, 0)), &[from(0, F32)]), false),
                (false, true) => put(&mut body, op(PeOp::Mov, n, to(0, F32), &[src(place(F32, 0))]), false),
                _ => {}
            },
            Phase::Products { columns, rows: n1 } => {
                let sums = strided(F32, 1024 * phases.len() as i32, 1, columns);
                let vector = stepping(place(F16, 0), columns, 4 * columns);
                let scalars = stepping(strided(F16, 1024 * k as i32 + 512, 0, 1), n1, 3 * n1);
                let work = op(PeOp::Fma, columns, dst(sums), &[Src::RowScalar(scalars), src(vector), src(sums)]);
                put(&mut body, rows(work, n1), false);
            }
            Phase::Sums => {
                let work = op(PeOp::Add, 4, dst(place(F32, 0)), &[src(place(F32, 0)), src(place(F32, 1))]);
                put(&mut body, VecOp { n0: Val::Param(0), ..work }, false);
                (0..extra).for_each(|_| {
                    put(&mut body, op(PeOp::Mov, 9, dst(place(F32, 0)), &[src(place(F32, 1))]), false);
                });
            }
            Phase::Scaled { n0, rows: n1 } => {
                let (sums, block) = (place(F32, 1), strided(F16, 1024 * k as i32, 1, 3));
                if west {
                    let scalars = Src::FabricRowScalar(InQueue(0), F16);
                    put(&mut body, rows(op(PeOp::Fma, n0, dst(sums), &[scalars, src(block), src(sums)]), n1), false);
                }
                if east {
                    put(&mut body, op(PeOp::Mov, n1, to(0, F16), &[src(mem(F16, 1024 * k as i32))]), true);
                }
            }
        }
    }
    body
}

/// A mesh of PEs that shift, spread and compute, over and over.
fn random_mesh(seed: u64) -> (Builder, Vec<Peek>) {
    let mut r = Random::new(seed);
    let mut b = Builder::small();
    let most = if r.one_in(2) { 3 } else { 12 };
    let (w, h) = (1 + r.below(16) as u16, 1 + r.below(most) as u16);
    let mut phases: Vec<Phase> = (0..1 + r.below(6)).map(|_| phase(&mut r)).collect();
    if r.one_in(2) {
        phases.push(Phase::Products { columns: 16, rows: 4 });
    }
    let most = if r.one_in(3) { 30 } else { 6 };
    let times = 1 + r.below(most) as i32;
    // PEs of one row, or in one column, may be slower.
    let slow = (r.one_in(2).then(|| r.below(w.into()) as u16), r.one_in(3).then(|| r.below(h.into()) as u16));
    let counts = (2 + r.below(5) as i32, i32::from(r.one_in(4)));
    for y in 0..h {
        for x in 0..w {
            let [north, east, south, west] = [y > 0, x + 1 < w, y + 1 < h, x > 0];
            let extra = i32::from(slow.0 == Some(x)) + 2 * i32::from(slow.1 == Some(y));
            let mut body = body(&phases, [north, east, south, west], extra);
            if body.is_empty() {
                body.push(op(PeOp::Mov, 3, dst(mem(F32, 0)), &[src(mem(F32, 512))]));
            }
            let task = repeated(start(body), times);
            let known = b.program.classes.iter().position(|c| c.tasks[..] == [task.clone()]);
            let class = known.unwrap_or_else(|| {
                b.program.classes.push(PeClass { name: "of many".to_owned(), tasks: vec![task] });
                b.program.classes.len() - 1
            });
            // Colors change from PE to PE, as each is sent and taken by one of two neighbours.
            let color = |base: u8, odd: u16| Color(base + (odd % 2) as u8);
            let used = |on: bool, c: Color| on.then_some(c);
            let spread = h > 1;
            b.program.regions.push(Region {
                rect: Rect::pe(x, y),
                class: ClassIx(class as u32),
                node: NodeIx(0),
                in_colors: vec![
                    used(west, color(0, x + 1)),
                    used(north, color(2, y + 1)),
                    used(spread && north, Color(4)),
                ],
                out_colors: vec![used(east, color(0, x)), used(south, color(2, y)), used(spread && !north, Color(4))],
                params: vec![ParamFn::Const(counts.0 + counts.1 * i32::from(x % 3))],
            });
            let mut route = |c: Color, rx: Port, tx: &[Port]| b.route(Rect::pe(x, y), c.0, rx, tx);
            if east {
                route(color(0, x), Ramp, &[East]);
            }
            if west {
                route(color(0, x + 1), West, &[Ramp]);
            }
            if south {
                route(color(2, y), Ramp, &[South]);
            }
            if north {
                route(color(2, y + 1), North, &[Ramp]);
            }
            if spread {
                match (north, south) {
                    (false, _) => route(Color(4), Ramp, &[South]),
                    (true, true) => route(Color(4), North, &[South, Ramp]),
                    (true, false) => route(Color(4), North, &[Ramp]),
                }
            }
        }
    }
    let len = 1024 * phases.len() as u32 + 2048;
    let all = rect(0, 0, w, h);
    b.data(all, 0, len, (0..len * all.area()).map(|_| r.below(61) as u8).collect());
    (b, all.pes().map(|pe| Peek { pe, addr: 0, len }).collect())
}

fn said(r: &SimResult) -> String {
    let SimResult { cycles, kernel_cycles, interval_cycles, core_cycles, router_cycles, outputs, peeked, .. } = r;
    format!("{cycles} {kernel_cycles} {interval_cycles:?} {core_cycles} {router_cycles} {outputs:?} {peeked:?}")
}

/// Runs step by step, and with PEs counted once, which must say the same; the classes that there were.
fn both(what: &str, program: &Program, machine: &Machine, peeks: &[Peek]) -> Option<u32> {
    let options = Options { peeks: peeks.to_vec(), max_cycles: Some(200_000), ..Options::default() };
    let stepwise =
        simulate_with(program, machine, &[], &Options { stepwise: true, threads: Some(1), ..options.clone() });
    let mut classes = None;
    for threads in [1, 3] {
        let options = Options { lockstep: Some(true), threads: Some(threads), ..options.clone() };
        match (&stepwise, simulate_with(program, machine, &[], &options)) {
            (Ok(want), Ok(got)) => {
                let (want, have) = (said(want), said(&got));
                let at = want.bytes().zip(have.bytes()).position(|(a, b)| a != b).unwrap_or(0);
                let near = |s: &str| s[at.saturating_sub(60).min(s.len())..s.len().min(at + 60)].to_owned();
                assert!(want == have, "{what}, {threads} threads:\n{}\n{}", near(&want), near(&have));
                classes = got.classes;
            }
            (Err(want), Err(got)) => assert_eq!(format!("{want:?}"), format!("{got:?}"), "{what}"),
            (want, got) => panic!("{what}: {:?} and {:?}", want.as_ref().err(), got.as_ref().err()),
        }
    }
    classes
}

#[test]
fn random_meshes_of_like_pes_run_the_same() {
    let (mut runs, mut fewer, mut many) = (0, 0, 0);
    for seed in 0..900 {
        let (b, peeks) = random_mesh(seed);
        if let Some(classes) = both(&format!("seed {seed}"), &b.program, &b.machine, &peeks) {
            runs += 1;
            fewer += usize::from(classes as usize * 2 < peeks.len());
            many += usize::from(classes as usize > b.program.classes.len() * 4 + 8);
        }
    }
    println!(
        "of 900 programs {runs} run in lockstep, {fewer} in classes of more than two PEs, {many} in many more than their texts"
    );
    assert!(runs >= 500 && fewer >= 100 && many >= 50, "{runs}, {fewer}, {many}");
}

#[test]
fn collectives_and_products_run_the_same_in_lockstep() {
    let machine = Machine::builtin("wafer").unwrap();
    let mut r = Random::new(1);
    let mut runs = 0;
    for k in 0..30 {
        let (w, h, n) = (2 + r.below(12) as u16, 1 + r.below(9) as u16, 1 + r.below(80));
        let kind = match r.below(6) {
            0 => Kind::Broadcast,
            1 => Kind::AllReduce(Scheme::Auto),
            s => Kind::Reduce(Scheme::ALL[s as usize - 1]),
        };
        let mut c = collective::compile(&machine, w, h, n, kind).unwrap();
        c.fill(&(0..u32::from(w) * u32::from(h) * n).map(|i| (i % 97) as f32 * 0.37).collect::<Vec<_>>());
        let peeks = [Peek { pe: Pe { x: 0, y: 0 }, addr: 0, len: 4 * n }];
        runs += usize::from(both(&format!("{k}: {kind:?}"), &c.program, &machine, &peeks).is_some());
    }
    let bits = |n: usize, salt: usize| -> Vec<u16> {
        let value = |k: usize| ((k * 7919 + salt * 104_729) % 4093) as f32 / 2046.5 - 1.0;
        (0..n).map(|k| half::f16::from_f32(value(k)).to_bits()).collect()
    };
    for k in 0..10 {
        let sizes: Vec<u32> = (0..2 + r.below(2)).map(|_| 5 + r.below(90)).collect();
        let grid = gemv::Grid { width: 3 + r.below(9) as u16, height: 3 + r.below(9) as u16 };
        let mut g = gemv::compile(&machine, &sizes, grid).unwrap();
        let matrices: Vec<Vec<u16>> = sizes.windows(2).map(|s| bits((s[0] * s[1]) as usize, 7)).collect();
        g.fill(&bits(sizes[0] as usize, 5), &matrices.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let len = 2 * g.products.last().unwrap().n;
        let peeks: Vec<Peek> = g.results().iter().map(|&(pe, addr)| Peek { pe, addr, len }).collect();
        runs += usize::from(both(&format!("{k}: {sizes:?}"), &g.program, &machine, &peeks).is_some());
    }
    for (side, block) in [(2, 2), (3, 8), (5, 16), (8, 6), (9, 16), (4, 20)] {
        let n = usize::from(side) * block as usize;
        let pes = || rect(0, 0, side, side).pes();
        for ring in [gemm::Ring::Folded, gemm::Ring::Wrapped] {
            let mut g = gemm::compile_on(&machine, side, block, ring).unwrap();
            g.fill(&bits(n * n, 1), &bits(n * n, 2));
            let (addr, len) = g.result();
            let peeks: Vec<Peek> = pes().map(|pe| Peek { pe, addr, len }).collect();
            runs += usize::from(both(&format!("{ring:?} {side} x {block}"), &g.program, &machine, &peeks).is_some());
        }
        let mut s = summa::compile(&machine, side, block).unwrap();
        s.fill(&bits(n * n, 1), &bits(n * n, 2));
        let (addr, len) = s.result();
        let peeks: Vec<Peek> = pes().map(|pe| Peek { pe, addr, len }).collect();
        runs += usize::from(both(&format!("SUMMA {side} x {block}"), &s.program, &machine, &peeks).is_some());
    }
    println!("{runs} of 58 run in lockstep");
    assert!(runs >= 50, "{runs} of 58 run in lockstep");
}
