//! Streams over a mesh: multicast along rows and columns, links that several share, queues of all depths, back-pressure,
//! operations beside each other. The simulator that takes what it can together, against the one that decides every step in its
//! own cycle, which is the definition.

mod wafer_support;

use quadrille_isa::DType;
use quadrille_isa::Tensor;
use quadrille_isa::wafer::*;
use quadrille_runtime::wafer::{Options, Peek, simulate_with};
use wafer_support::*;

use ElemType::{F16, F32, I8, I16, I32};
use std::collections::BTreeMap;

struct Random(u64);

impl Random {
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

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

/// A PE while its program is written.
#[derive(Clone, Default)]
struct Draft {
    body: Vec<VecOp>,
    ins: Vec<Option<Color>>,
    outs: Vec<Option<Color>>,
    threads: u8,
    place: i32,
    /// Input queues and colors of the streams that it passes on.
    pass: Vec<(u8, u8)>,
}

impl Draft {
    /// Memory for `n` elements; now and then where another operation's is.
    fn memory(&mut self, r: &mut Random, ty: ElemType, n: i32) -> Mem {
        let bytes = n * ty.bytes() as i32;
        let base = if r.one_in(40) { 64 * r.below(8) as i32 } else { self.place };
        if base == self.place {
            self.place = (self.place + bytes + 7) / 8 * 8;
        }
        mem(ty, base)
    }

    fn put(&mut self, r: &mut Random, work: VecOp) {
        let beside = self.threads < 8 && r.one_in(3);
        let work = if beside { asynch(work, self.threads, &[]) } else { work };
        self.threads += u8::from(beside);
        self.body.push(work);
    }

    fn compute(&mut self, r: &mut Random) {
        let n = 1 + r.below(70) as i32;
        let (a, b, c) = (self.memory(r, F16, n), self.memory(r, F16, 1), self.memory(r, F32, n));
        let work = match r.below(3) {
            0 => op(PeOp::Fma, n, dst(c), &[src(a), Src::RowScalar(b), src(c)]),
            1 => op(PeOp::Mov, n, dst(c), &[src(a)]),
            _ => op(PeOp::Add, n, dst(c), &[src(c), src(c)]),
        };
        self.put(r, work);
    }
}

/// Sends `n` elements in one or several operations, whole words but for the last.
fn parts(r: &mut Random, n: i32) -> Vec<i32> {
    let mut list = Vec::new();
    let mut left = n;
    while left > 0 {
        let part = if r.one_in(2) { left } else { (2 * (1 + r.below(40) as i32)).min(left) };
        list.push(part);
        left -= part;
    }
    list
}

struct Stream {
    ty: ElemType,
    n: i32,
    color: u8,
    source: (u16, u16),
    takers: Vec<(u16, u16)>,
}

/// A path of routes from a PE in one direction and then in another, some PEs on the way taking what passes.
fn lay(r: &mut Random, b: &mut Builder, s: &mut Stream, (w, h): (u16, u16), from_host: bool) {
    let (mut x, mut y) = s.source;
    let mut rx = if from_host { Port::West } else { Port::Ramp };
    let horizontal = if from_host || r.one_in(2) { Port::East } else { Port::West };
    let vertical = if r.one_in(2) { Port::South } else { Port::North };
    let turn = r.below(u32::from(w)) as u16;
    let long = r.below(u32::from(w + h)) as u16 + 1;
    let mut direction = if r.one_in(3) && !from_host { vertical } else { horizontal };
    for step in 0.. {
        if step == turn && direction == horizontal && r.one_in(2) {
            direction = vertical;
        }
        let ahead = match direction {
            Port::East => (x + 1 < w).then_some((x + 1, y)),
            Port::West => (x > 0).then(|| (x - 1, y)),
            Port::South => (y + 1 < h).then_some((x, y + 1)),
            _ => (y > 0).then(|| (x, y - 1)),
        };
        let ahead = ahead.filter(|_| step < long);
        let ramp = rx != Port::Ramp && (ahead.is_none() || !r.one_in(3));
        if ramp {
            s.takers.push((x, y));
        }
        let mut tx = if ramp { vec![Port::Ramp] } else { vec![] };
        if ahead.is_some() {
            tx.push(direction);
        }
        if !tx.is_empty() {
            b.route(Rect::pe(x, y), s.color, rx, &tx);
        }
        let Some(next) = ahead else { break };
        (x, y) = next;
        rx = match direction {
            Port::East => Port::West,
            Port::West => Port::East,
            Port::South => Port::North,
            _ => Port::South,
        };
    }
}

fn random_mesh(seed: u64) -> (Builder, Vec<Tensor>, Vec<Peek>) {
    let mut r = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..4 {
        r.below(2);
    }
    let mut b = Builder::small();
    let (w, h) = (2 + r.below(6) as u16, 1 + r.below(4) as u16);
    let mut drafts = vec![Draft::default(); usize::from(w) * usize::from(h)];
    let at = |(x, y): (u16, u16)| usize::from(y) * usize::from(w) + usize::from(x);
    let mut inputs = Vec::new();
    for color in 0..1 + r.below(7) as u8 {
        let from_host = r.one_in(6) && inputs.is_empty();
        let ty = if from_host { F32 } else { r.of(&[F16, F16, F32, F32, I16, I32, I8]) };
        let source = if from_host { (0, 0) } else { (r.below(w.into()) as u16, r.below(h.into()) as u16) };
        let n = if r.one_in(3) { 1 + r.below(400) } else { 1 + r.below(60) } as i32;
        let mut s = Stream { ty, n, color, source, takers: vec![] };
        let routes = b.program.routes.len();
        lay(&mut r, &mut b, &mut s, (w, h), from_host);
        let full = |d: &Draft| d.ins.len() >= 8;
        if s.takers.is_empty()
            || s.takers.iter().any(|&p| full(&drafts[at(p)]))
            || (!from_host && drafts[at(source)].outs.len() >= 6)
        {
            b.program.routes.truncate(routes);
            continue;
        }
        // What this PE takes of another stream it may pass on.
        if from_host {
            b.input(DType::F32, &[n as usize], 0, color);
            let values: Vec<f32> = (0..n).map(|k| (k % 97) as f32 * 0.37 - 9.0).collect();
            inputs.push(Tensor::from_f32(&[n as usize], &values));
        } else {
            let d = &mut drafts[at(source)];
            if r.one_in(3) && d.outs.len() < 4 {
                (0..1 + r.below(2)).for_each(|_| d.outs.push(None));
            }
            let q = d.outs.len() as u8;
            d.outs.push(Some(Color(color)));
            for part in parts(&mut r, n) {
                let from = d.memory(&mut r, ty, part);
                let cast = matches!(ty, F16) && r.one_in(4);
                let from = if cast { d.memory(&mut r, F32, part) } else { from };
                let work = match r.below(5) {
                    0 if matches!(ty, F32) => op(PeOp::Add, part, to(q, ty), &[src(from), src(from)]),
                    _ => op(PeOp::Mov, part, to(q, ty), &[src(from)]),
                };
                d.put(&mut r, work);
                if r.one_in(4) {
                    d.compute(&mut r);
                }
            }
        }
        for &p in &s.takers {
            let d = &mut drafts[at(p)];
            if r.one_in(4) && d.ins.len() < 5 {
                (0..1 + r.below(3)).for_each(|_| d.ins.push(None));
            }
            let q = d.ins.len() as u8;
            d.ins.push(Some(Color(color)));
            let passes = r.one_in(3) && d.outs.len() < 6 && d.pass.len() < 2;
            if passes {
                // To the next stream that begins here: a color of its own, one hop.
                let own = 23 - d.pass.len() as u8 - 2 * (at(p) % 4) as u8;
                let beyond = (p.0 + 1 < w).then_some((p.0 + 1, p.1));
                let free = beyond.filter(|&n| {
                    let taken = |pe: (u16, u16)| {
                        b.program.routes.iter().any(|t| t.color.0 == own && (t.rect.x, t.rect.y) == pe)
                    };
                    at(n) != at(source) && !taken(n) && !taken(p)
                });
                if let Some(next) = free
                    && drafts[at(next)].ins.len() < 8
                {
                    b.route(Rect::pe(p.0, p.1), own, Port::Ramp, &[Port::East]);
                    b.route(Rect::pe(next.0, next.1), own, Port::West, &[Port::Ramp]);
                    let d = &mut drafts[at(p)];
                    let out = d.outs.len() as u8;
                    d.outs.push(Some(Color(own)));
                    d.pass.push((q, own));
                    let moved = op(PeOp::Mov, s.n, to(out, s.ty), &[from(q, s.ty)]);
                    d.put(&mut r, moved);
                    let t = &mut drafts[at(next)];
                    let into = t.ins.len() as u8;
                    t.ins.push(Some(Color(own)));
                    let place = t.memory(&mut r, s.ty, s.n);
                    let taken = op(PeOp::Mov, s.n, dst(place), &[from(into, s.ty)]);
                    t.put(&mut r, taken);
                    continue;
                }
            }
            let d = &mut drafts[at(p)];
            for part in parts(&mut r, s.n) {
                if r.one_in(4) {
                    d.compute(&mut r);
                }
                let place = d.memory(&mut r, s.ty, part);
                let work = match r.below(6) {
                    0 if s.ty != I8 => op(PeOp::Add, part, dst(place), &[from(q, s.ty), src(place)]),
                    1 if matches!(s.ty, F16 | F32) => {
                        let n0 = 1 + r.below(5) as i32;
                        let sum = d.memory(&mut r, F32, n0);
                        let of = d.memory(&mut r, s.ty, n0);
                        rows(
                            op(PeOp::Fma, n0, dst(sum), &[Src::FabricRowScalar(InQueue(q), s.ty), src(of), src(sum)]),
                            part,
                        )
                    }
                    2 if s.ty == F16 => {
                        let wide = d.memory(&mut r, F32, part);
                        op(PeOp::Mov, part, dst(wide), &[from(q, s.ty)])
                    }
                    3 => op(PeOp::Mov, part, Dst::None, &[from(q, s.ty)]),
                    _ => op(PeOp::Mov, part, dst(place), &[from(q, s.ty)]),
                };
                d.put(&mut r, work);
            }
        }
    }
    let mut peeks = Vec::new();
    for (k, d) in drafts.into_iter().enumerate() {
        if d.body.is_empty() {
            continue;
        }
        let (x, y) = (k as u16 % w, k as u16 / w);
        let len = (d.place as u32 + 512).min(40_000);
        b.region(Rect::pe(x, y), vec![start(d.body)], &[], &[]);
        let region = b.program.regions.last_mut().unwrap();
        (region.in_colors, region.out_colors) = (d.ins, d.outs);
        b.data(Rect::pe(x, y), 0, len, (0..len).map(|_| r.below(120) as u8).collect());
        peeks.push(Peek { pe: Pe { x, y }, addr: 0, len });
    }
    (b, inputs, peeks)
}

fn said(b: &Builder, inputs: &[Tensor], peeks: &[Peek], stepwise: bool, threads: usize) -> String {
    let options = Options {
        peeks: peeks.to_vec(),
        record_spans: true,
        sample_every: None,
        record_links: true,
        stepwise,
        max_cycles: Some(100_000),
        threads: Some(threads),
        lockstep: None,
    };
    match simulate_with(&b.program, &b.machine, inputs, &options) {
        Ok(r) => format!(
            "{} {} {:?} {} {} {:?} {:?} {:?} {:?}",
            r.cycles,
            r.kernel_cycles,
            r.interval_cycles,
            r.core_cycles,
            r.router_cycles,
            r.links,
            r.spans,
            r.outputs,
            r.peeked
        ),
        Err(e) => format!("{e:?}"),
    }
}

/// Whoever looks at PEs sees each of them once at a time, and changes nothing.
#[test]
fn samples_count_every_pe_and_change_nothing() {
    let mut looked = 0;
    for seed in 0..200 {
        let (b, inputs, peeks) = random_mesh(seed);
        let run = |sample_every, threads| {
            let options = Options { peeks: peeks.clone(), sample_every, threads: Some(threads), ..Options::default() };
            simulate_with(&b.program, &b.machine, &inputs, &options)
        };
        let Ok(plain) = run(None, 1) else { continue };
        assert!(plain.samples.is_empty());
        let pes: u64 = b.program.regions.iter().map(|r| r.rect.pes().count() as u64).sum();
        for threads in [1, 2] {
            let watched = run(Some(16), threads).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!((watched.cycles, watched.core_cycles), (plain.cycles, plain.core_cycles), "seed {seed}");
            assert_eq!((&watched.outputs, &watched.peeked), (&plain.outputs, &plain.peeked), "seed {seed}");
            let mut at: BTreeMap<u64, u64> = BTreeMap::new();
            for s in &watched.samples {
                let seen = [s.works, s.waits_for_words, s.waits_for_room, s.idle];
                *at.entry(s.cycle).or_default() += seen.iter().map(|&n| u64::from(n)).sum::<u64>();
            }
            // Bands in which nothing happens any more are not looked at.
            let first = at.get(&0).copied().unwrap_or(0);
            assert!(at.values().all(|&n| n <= pes) && first == pes, "seed {seed}: {at:?} of {pes}");
            // A core may wake once more when all is done.
            assert!(at.keys().all(|c| c % 16 == 0 && *c < watched.cycles + 16), "seed {seed}: {at:?}");
            looked += at.len();
        }
    }
    assert!(looked > 400, "{looked} looks");
}

#[test]
fn streams_over_meshes_run_the_same() {
    let (mut finished, mut stuck, mut other) = (0, 0, 0);
    for seed in 0..1200 {
        eprintln!("seed {seed}");
        let (b, inputs, peeks) = random_mesh(seed);
        let want = said(&b, &inputs, &peeks, true, 1);
        for threads in [1, 2, 3] {
            // Threads meet often, which takes its time on a computer that does other things.
            if threads > 1 && (seed % 100 != 7 || want.len() > 20_000) {
                continue;
            }
            let got = said(&b, &inputs, &peeks, false, threads);
            let at = want.bytes().zip(got.bytes()).position(|(a, b)| a != b).unwrap_or(0);
            let near = |s: &str| s[at.saturating_sub(40).min(s.len())..s.len().min(at + 200)].to_owned();
            let (a, c) = (near(&want), near(&got));
            let head = |s: &str| s[..s.len().min(60)].to_owned();
            assert!(
                want == got,
                "seed {seed}, {threads} threads, at {at}:\n{}\n{}\n...\n{a}\n{c}",
                head(&want),
                head(&got)
            );
        }
        finished += usize::from(want.starts_with(|c: char| c.is_ascii_digit()));
        stuck += usize::from(want.starts_with("Deadlock"));
        other += usize::from(want.starts_with("Invalid"));
    }
    println!("of 1200 programs {finished} run to their end, {stuck} get stuck, {other} are refused");
    assert!(finished >= 500, "{finished} of 1200 programs run to their end");
}
