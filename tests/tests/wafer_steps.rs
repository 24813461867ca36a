//! The simulator that does decided steps together against the one that decides every step in its own
//! cycle, which is the definition: results, cycles and figures must be the same.

mod wafer_support;

use quadrille_isa::Tensor;
use quadrille_isa::wafer::*;
use quadrille_runtime::wafer::{Options, Peek, simulate_with};
use quadrille_wafer::collective::{self, Kind, Scheme, gemm, gemv, summa};
use wafer_support::*;

use ElemType::{F16, F32, I16, I32};
use Port::{East, Ramp, West};

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// 0 to n - 1.
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) % u64::from(n)) as u32
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u32) as usize]
    }
}

/// Everything a run says, step by step and not, as text; errors too. Runs of two and three threads must say the same.
fn both(program: &Program, machine: &Machine, inputs: &[Tensor], peeks: &[Peek]) -> [String; 2] {
    let [stepwise, together] = [true, false].map(|stepwise| said(program, machine, inputs, peeks, stepwise, 1));
    // Threads meet at every cycle, which takes its time on a computer that does other things.
    if together.len() % 3 == 0 {
        for threads in [2, 3] {
            assert!(said(program, machine, inputs, peeks, false, threads) == together, "{threads} threads");
        }
    }
    [stepwise, together]
}

/// Everything a run with so many threads says.
fn said(
    program: &Program,
    machine: &Machine,
    inputs: &[Tensor],
    peeks: &[Peek],
    stepwise: bool,
    threads: usize,
) -> String {
    {
        let peeks = peeks.to_vec();
        let max_cycles = Some(200_000);
        let threads = Some(threads);
        let records = Options { record_spans: true, record_links: true, ..Options::default() };
        let options = Options { peeks, stepwise, max_cycles, threads, ..records };
        match simulate_with(program, machine, inputs, &options) {
            Ok(r) => format!(
                "{} {} {:?} {} {} {:?} {:?} {:?} {:?}",
                r.cycles,
                r.kernel_cycles,
                r.interval_cycles,
                r.core_cycles,
                r.router_cycles,
                r.outputs,
                r.peeked,
                r.spans,
                r.links
            ),
            Err(e) => format!("{e:?}"),
        }
    }
}

/// Memory of the operation with this number: three places of 1 KiB.
fn place(ty: ElemType, op: usize, operand: i32, stride0: i32, stride1: i32) -> Mem {
    strided(ty, op as i32 * 3072 + operand * 1024, stride0, stride1)
}

/// An operation on memory alone.
fn in_memory(r: &mut Random, ix: usize) -> VecOp {
    let n = 1 + r.below(60) as i32;
    let (ty, to) = r.of(&[(F16, F16), (F16, F32), (F32, F32), (I32, I32), (I16, I16), (F32, F16)]);
    let one = || src(place(ty, ix, 0, 1, 0));
    match r.below(4) {
        0 => op(PeOp::Mov, n, dst(place(to, ix, 2, 1, 0)), &[one()]),
        1 => op(PeOp::Add, n, dst(place(to, ix, 2, 0, 0)), &[one(), src(place(ty, ix, 1, 1, 0))]),
        2 => op(PeOp::Mov, n, Dst::None, &[one()]),
        _ => {
            let sum = place(F32, ix, 2, 1, 0);
            let scalar = Src::RowScalar(place(F16, ix, 0, 0, 1));
            rows(op(PeOp::Fma, 1 + n / 6, dst(sum), &[scalar, src(place(F16, ix, 1, 1, 3)), src(sum)]), 1 + n / 9)
        }
    }
}

/// Takes `n` elements from a queue.
fn taking(r: &mut Random, ix: usize, queue: u8, n: i32, ty: ElemType) -> VecOp {
    let to = place(ty, ix, 2, 1, 0);
    match r.below(if matches!(ty, F16 | F32) { 4 } else { 2 }) {
        0 => op(PeOp::Mov, n, dst(to), &[from(queue, ty)]),
        1 => op(PeOp::Add, n, dst(to), &[from(queue, ty), src(place(ty, ix, 1, 1, 0))]),
        // As many rows as there are elements.
        k => {
            let n0 = 1 + r.below(9) as i32;
            let sum = place(F32, ix, 2, 1, i32::from(k == 2));
            let block = src(place(ty, ix, 1, 1, 2));
            rows(op(PeOp::Fma, n0, dst(sum), &[Src::FabricRowScalar(InQueue(queue), ty), block, src(sum)]), n)
        }
    }
}

/// Two PEs: one sends streams, the other takes them, both compute besides, in any order and mode.
fn random_program(seed: u64) -> (Builder, Vec<Peek>) {
    let mut r = Random::new(seed);
    let mut b = Builder::small();
    let streams = 1 + r.below(3) as usize;
    let far = 1 + r.below(4) as u16;
    let (mut sends, mut takes) = (Vec::new(), Vec::new());
    for s in 0..streams {
        let (n, ty) = (1 + r.below(40) as i32, r.of(&[F16, F32, I16, I32]));
        let q = s as u8;
        sends.push(asynch(op(PeOp::Mov, n, to(q, ty), &[src(place(ty, s, 0, 1, 0))]), q, &[]));
        let take = taking(&mut r, s, q, n, ty);
        takes.push(if r.below(3) > 0 { asynch(take, q, &[]) } else { take });
        b.route(Rect::pe(2, 0), q, Ramp, &[East]);
        if far > 1 {
            b.route(rect(3, 0, far - 1, 1), q, West, &[East]);
        }
        b.route(Rect::pe(2 + far, 0), q, West, &[Ramp]);
    }
    for list in [&mut sends, &mut takes] {
        for k in 0..r.below(5) as usize {
            let work = in_memory(&mut r, 4 + k);
            let work = if r.below(2) == 0 { asynch(work, 3 + k as u8, &[]) } else { work };
            let at = r.below(list.len() as u32 + 1) as usize;
            list.insert(at, work);
        }
    }
    let colors: Vec<u8> = (0..streams as u8).collect();
    b.region(Rect::pe(2, 0), vec![start(sends)], &[], &colors);
    b.region(Rect::pe(2 + far, 0), vec![start(takes)], &colors, &[]);
    for x in [2, 2 + far] {
        b.data(Rect::pe(x, 0), 0, 27_648, (0..27_648).map(|_| r.below(120) as u8).collect());
    }
    let peeks = [2, 2 + far].map(|x| Peek { pe: Pe { x, y: 0 }, addr: 0, len: 27_648 });
    (b, peeks.to_vec())
}

#[test]
fn random_programs_run_the_same() {
    let mut finished = 0;
    for seed in 0..600 {
        let (b, peeks) = random_program(seed);
        let [a, c] = both(&b.program, &b.machine, &[], &peeks);
        assert!(a == c, "seed {seed}:\n{}\n{}", &a[..a.len().min(300)], &c[..c.len().min(300)]);
        finished += usize::from(a.starts_with(|c: char| c.is_ascii_digit()));
    }
    println!("{finished} of 600 run to their end");
    assert!(finished >= 500, "{finished} of 600 programs run to their end");
}

#[test]
fn programs_by_hand_run_the_same() {
    for sample in samples::all() {
        let [a, c] = both(&sample.builder.program, &sample.builder.machine, &sample.inputs, &[]);
        assert_eq!(a, c, "{}", sample.name);
        assert!(a.starts_with(|c: char| c.is_ascii_digit()), "{}: {a}", sample.name);
    }
}

#[test]
fn collectives_and_products_run_the_same() {
    let machine = Machine::builtin("wafer").unwrap();
    let mut r = Random::new(1);
    for k in 0..60 {
        let (w, h, n) = (2 + r.below(12) as u16, 1 + r.below(9) as u16, 1 + r.below(80));
        let kind = match r.below(6) {
            0 => Kind::Broadcast,
            1 => Kind::AllReduce(Scheme::Auto),
            s => Kind::Reduce(Scheme::ALL[s as usize - 1]),
        };
        let mut c = collective::compile(&machine, w, h, n, kind).unwrap();
        let values: Vec<f32> = (0..u32::from(w) * u32::from(h) * n).map(|i| (i % 97) as f32 * 0.37).collect();
        c.fill(&values);
        let peeks = [Peek { pe: Pe { x: 0, y: 0 }, addr: 0, len: 4 * n }];
        let [a, c] = both(&c.program, &machine, &[], &peeks);
        assert!(a == c, "{k}: {kind:?} {w}x{h} x {n}");
    }
    for k in 0..20 {
        let sizes: Vec<u32> = (0..2 + r.below(2)).map(|_| 5 + r.below(90)).collect();
        let grid = gemv::Grid { width: 3 + r.below(9) as u16, height: 3 + r.below(9) as u16 };
        let (g, vector, matrices) = product(&machine, &sizes, grid);
        let last = g.products.last().unwrap();
        let peeks: Vec<Peek> = g.results().iter().map(|&(pe, addr)| Peek { pe, addr, len: 2 * last.n }).collect();
        let [a, c] = both(&g.program, &machine, &[], &peeks);
        assert!(a == c, "{k}: {sizes:?} on {grid:?}");
        let matrices: Vec<&[u16]> = matrices.iter().map(Vec::as_slice).collect();
        let run = simulate_with(&g.program, &machine, &[], &Options { peeks, ..Options::default() }).unwrap();
        let got: Vec<u16> = run.peeked.concat().chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
        let want = g.expected(&vector, &matrices);
        assert_eq!(got[..want.len()], want, "{sizes:?} on {grid:?}");
        let apart = run.kernel_cycles.abs_diff(g.declared_cycles);
        assert!(
            apart <= 8.max(run.kernel_cycles / 25),
            "{sizes:?} on {grid:?}: {} cycles, declared {}",
            run.kernel_cycles,
            g.declared_cycles
        );
        assert!(quadrille_runtime::wafer::check(&g.program, &machine).ok());
    }
}

#[test]
fn matrix_products_are_right_and_take_what_is_declared() {
    let machine = Machine::builtin("wafer").unwrap();
    for (side, block) in [(2, 2), (3, 8), (5, 16), (8, 6), (9, 16), (4, 20)] {
        let mut g = gemm::compile(&machine, side, block).unwrap();
        let n = g.size();
        let values = |salt: usize| -> Vec<u16> {
            let value = |k: usize| ((k * 7919 + salt * 104_729) % 4093) as f32 / 2046.5 - 1.0;
            (0..n * n).map(|k| half::f16::from_f32(value(k)).to_bits()).collect()
        };
        let (a, b) = (values(1), values(2));
        g.fill(&a, &b);
        let report = quadrille_runtime::wafer::check(&g.program, &machine);
        assert!(report.ok(), "{side} x {block}: {:?}", report.errors);
        let pes: Vec<Pe> = rect(0, 0, side, side).pes().collect();
        let (addr, len) = g.result();
        let peeks: Vec<Peek> = pes.iter().map(|&pe| Peek { pe, addr, len }).collect();
        let [stepwise, together] = both(&g.program, &machine, &[], &peeks);
        assert!(stepwise == together, "{side} x {block}");
        let run = simulate_with(&g.program, &machine, &[], &Options { peeks, ..Options::default() }).unwrap();
        for (&pe, bytes) in pes.iter().zip(&run.peeked) {
            let got: Vec<u32> = bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
            assert!(got == g.expected(pe, &a, &b), "{side} x {block} at {pe:?}");
        }
        println!("side {side}, block {block}: {} cycles, declared {}", run.kernel_cycles, g.declared_cycles);
        let apart = run.kernel_cycles.abs_diff(g.declared_cycles);
        assert!(apart <= 8.max(run.kernel_cycles / 25), "{} cycles, declared {}", run.kernel_cycles, g.declared_cycles);
        if block == 16 {
            let least = u64::from(block * block) * n as u64 / u64::from(machine.rate.f16_mixed_fma);
            assert!(run.kernel_cycles * 7 < least * 10, "{} cycles, at peak {least}", run.kernel_cycles);
        }
    }
    for (side, block) in [(1, 16), (4, 15), (4, 0), (4, 64), (751, 16)] {
        let e = gemm::compile(&machine, side, block).unwrap_err().to_string();
        assert!(e.contains("does not fit"), "{e}");
    }
}

/// SUMMA and Cannon's algorithm with the same local product: right, clean, and never faster.
#[test]
fn other_algorithms_for_products_take_longer() {
    let machine = Machine::builtin("wafer").unwrap();
    for (side, block) in [(2, 2), (3, 8), (5, 16), (9, 16), (12, 16), (7, 40)] {
        let n = usize::from(side) * block as usize;
        let values = |salt: usize| -> Vec<u16> {
            let value = |k: usize| ((k * 7919 + salt * 104_729) % 4093) as f32 / 2046.5 - 1.0;
            (0..n * n).map(|k| half::f16::from_f32(value(k)).to_bits()).collect()
        };
        let (a, b) = (values(1), values(2));
        let mut s = summa::compile(&machine, side, block).unwrap();
        s.fill(&a, &b);
        let mut cycles = vec![];
        let mut run = |program: &Program, (addr, len): (u32, u32), expected: &dyn Fn(Pe) -> Vec<u32>| {
            let report = quadrille_runtime::wafer::check(program, &machine);
            assert!(report.ok(), "{side} x {block}: {:?}", report.errors);
            let pes: Vec<Pe> = rect(0, 0, side, side).pes().collect();
            let peeks: Vec<Peek> = pes.iter().map(|&pe| Peek { pe, addr, len }).collect();
            let [stepwise, together] = both(program, &machine, &[], &peeks);
            assert!(stepwise == together, "{side} x {block}");
            let r = simulate_with(program, &machine, &[], &Options { peeks, ..Options::default() }).unwrap();
            for (&pe, bytes) in pes.iter().zip(&r.peeked) {
                let got: Vec<u32> = bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
                assert!(got == expected(pe), "{side} x {block} at {pe:?}");
            }
            cycles.push(r.kernel_cycles);
        };
        run(&s.program, s.result(), &|pe| s.expected(pe, &a, &b));
        // Longer columns than buffers hold go round no ring.
        if block <= 32 {
            for ring in [gemm::Ring::Wrapped, gemm::Ring::Folded] {
                let mut g = gemm::compile_on(&machine, side, block, ring).unwrap();
                g.fill(&a, &b);
                run(&g.program, g.result(), &|pe| g.expected(pe, &a, &b));
            }
            // On 2 x 2 PEs nobody has anything to pass on.
            assert!(cycles[2] <= cycles[1] && (side == 2 || cycles[2] <= cycles[0]), "{cycles:?}");
        }
        println!("side {side}, block {block}: SUMMA, Cannon, folded: {cycles:?}");
    }
    for (side, block) in [(1, 16), (4, 15), (4, 0), (4, 90), (751, 16)] {
        let e = summa::compile(&machine, side, block).unwrap_err().to_string();
        assert!(e.contains("does not fit"), "{e}");
    }
}

/// A chain of products with data.
fn product(machine: &Machine, sizes: &[u32], grid: gemv::Grid) -> (gemv::Gemv, Vec<u16>, Vec<Vec<u16>>) {
    let mut g = gemv::compile(machine, sizes, grid).unwrap();
    let values = |n: u32, salt: u32| -> Vec<u16> {
        let value = |k: u32| (k.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 20) as f32 / 2048.0 - 1.0;
        (0..n).map(|k| half::f16::from_f32(value(k)).to_bits()).collect()
    };
    let vector = values(sizes[0], 5);
    let matrices: Vec<Vec<u16>> = sizes.windows(2).map(|s| values(s[0] * s[1], s[0] + 7)).collect();
    let borrowed: Vec<&[u16]> = matrices.iter().map(Vec::as_slice).collect();
    g.fill(&vector, &borrowed);
    (g, vector, matrices)
}
