//! Single random changes of programs.

#![allow(unreachable_pub)]

use crate::tsp_programs::Noise;
use quadrille_isa::tsp::*;

/// A field of some width, changed by a little, by a bit, or to anything.
fn tweak(noise: &mut Noise, v: i64, max: i64) -> i64 {
    let new = match noise.below(4) {
        0 => v + 1,
        1 => v - 1,
        2 => v ^ (1 << noise.below(12)),
        _ => i64::from(noise.next()) % (max + 1),
    };
    let new = new.rem_euclid(max + 1);
    if new == v { (v + 1).rem_euclid(max + 1) } else { new }
}

fn stream(noise: &mut Noise, s: &mut Stream) {
    if noise.below(4) == 0 {
        s.dir = s.dir.opposite();
    } else {
        s.id = tweak(noise, i64::from(s.id), 33) as u8;
    }
}

fn group(noise: &mut Noise, g: &mut StreamGroup) {
    match noise.below(4) {
        0 => g.dir = g.dir.opposite(),
        1 => g.width = *[1u8, 2, 4].iter().filter(|w| **w != g.width).nth(noise.below(2)).expect("two others"),
        _ => g.base = tweak(noise, i64::from(g.base), 33) as u8,
    }
}

fn word(noise: &mut Noise, addr: &mut u16) {
    *addr = tweak(noise, i64::from(*addr), 600) as u16;
}

fn operand(noise: &mut Noise, o: &mut Operand) {
    match o {
        Operand::None => *o = Operand::Imm(noise.next()),
        Operand::Stream(g) => group(noise, g),
        Operand::Imm(v) => *v ^= 1 << noise.below(32),
        Operand::Alu(n) => *n = tweak(noise, i64::from(*n), 17) as u8,
    }
}

/// Another operation of the same number of operands.
fn operation(noise: &mut Noise, op: AluOp) -> AluOp {
    use AluOp::*;
    let all = [
        Add,
        AddSat,
        Sub,
        SubSat,
        Mul,
        MulSat,
        Min,
        Max,
        And,
        Or,
        Xor,
        Shl,
        Shr,
        CmpEq,
        CmpLt,
        CmpGt,
        Fma,
        Select,
        Abs,
        Neg,
        Not,
        Relu,
        Exp2,
        Log2,
        Rsqrt,
        Recip,
        Tanh,
        Sin,
        Floor,
        Round,
        Cast(AluType::I8),
        Cast(AluType::F32),
    ];
    let same: Vec<AluOp> = all.into_iter().filter(|o| o.arity() == op.arity() && *o != op).collect();
    same[noise.below(same.len())]
}

/// Changes one field of an instruction.
fn instruction(noise: &mut Noise, inst: &mut Inst) {
    match inst {
        Inst::Read { addr, stream: s } | Inst::Write { stream: s, addr } => match noise.below(2) {
            0 => word(noise, addr),
            _ => stream(noise, s),
        },
        Inst::Gather { map, lo, hi, stream: s } | Inst::Scatter { stream: s, map, lo, hi } => match noise.below(4) {
            0 => word(noise, lo),
            1 => word(noise, hi),
            2 => stream(noise, map),
            _ => stream(noise, s),
        },
        Inst::Alu { op, ty, a, b, c, dst } => match noise.below(6) {
            0 => *op = operation(noise, *op),
            1 => {
                let types = [AluType::I8, AluType::U8, AluType::I16, AluType::F16, AluType::I32, AluType::F32];
                let others: Vec<AluType> = types.into_iter().filter(|t| t != ty).collect();
                *ty = others[noise.below(others.len())];
            }
            2 => operand(noise, a),
            3 => operand(noise, b),
            4 => operand(noise, c),
            _ => match dst {
                Some(g) if noise.below(4) > 0 => group(noise, g),
                Some(_) => *dst = None,
                None => *dst = Some(StreamGroup { dir: Dir::East, base: 4, width: ty.bytes() }),
            },
        },
        Inst::LoadWeights { k0, streams } => match noise.below(3) {
            0 => *k0 = (i64::from(*k0) + [16, -16, 1][noise.below(3)]).max(0) as u16,
            _ => {
                let n = noise.below(16);
                streams[n] = tweak(noise, i64::from(streams[n]), 33) as u8;
            }
        },
        Inst::Activations { base, ty } => match noise.below(2) {
            0 => *base = tweak(noise, i64::from(*base), 33) as u8,
            _ => {
                let others: Vec<ActType> =
                    [ActType::I8, ActType::U8, ActType::F16].into_iter().filter(|t| t != ty).collect();
                *ty = others[noise.below(2)];
            }
        },
        Inst::Accumulate { row, mode, emit } => match noise.below(3) {
            0 => *row = tweak(noise, i64::from(*row), 130) as u16,
            1 => {
                let modes = [AccMode::Over, AccMode::Add, AccMode::Bypass];
                let others: Vec<AccMode> = modes.into_iter().filter(|m| m != mode).collect();
                *mode = others[noise.below(2)];
            }
            _ => *emit = if emit.is_some() && noise.below(3) == 0 { None } else { Some(4 * noise.below(9) as u8) },
        },
        Inst::Shift { from, to, lanes } => match noise.below(3) {
            0 => stream(noise, from),
            1 => stream(noise, to),
            _ => *lanes += [1, -1, 16, -64][noise.below(4)],
        },
        Inst::Select { a, b, map, to } => match noise.below(4) {
            0 => stream(noise, a),
            1 => stream(noise, b),
            2 => *map = 1 + noise.below(4) as u16,
            _ => stream(noise, to),
        },
        Inst::Permute { map, from, to } | Inst::Distribute { map, from, to } => match noise.below(3) {
            0 => stream(noise, from),
            1 => *map = 1 + noise.below(4) as u16,
            _ => stream(noise, to),
        },
        Inst::Rotate { n, from, to } => match noise.below(3) {
            0 => *n = if *n == 3 { 4 } else { 3 },
            1 => stream(noise, from),
            _ => stream(noise, to),
        },
        Inst::Transpose { from, to } => {
            let which = if noise.below(2) == 0 { from } else { to };
            stream(noise, which);
        }
        Inst::InstallWeights => *inst = Inst::Activations { base: 0, ty: ActType::I8 },
        Inst::Sync => *inst = Inst::Notify,
        Inst::Notify => *inst = Inst::Sync,
    }
}

/// One issue of the program, by a number over all.
pub fn pick_issue(noise: &mut Noise, p: &Program) -> IssueRef {
    let all: usize = p.queues.values().map(Vec::len).sum();
    let mut n = noise.below(all);
    for (&queue, issues) in &p.queues {
        if n < issues.len() {
            return IssueRef { queue, index: n as u32 };
        }
        n -= issues.len();
    }
    unreachable!("n is below the sum of the lengths")
}

fn provenance(noise: &mut Noise, p: &mut Program) -> String {
    if p.provenance.is_empty() {
        return "nothing".into();
    }
    let n = noise.below(p.provenance.len());
    let other = pick_issue(noise, p);
    let e = &mut p.provenance[n];
    let what = match noise.below(10) {
        0 => {
            p.provenance.remove(n);
            return format!("provenance {n} removed");
        }
        1 => {
            let e = *e;
            p.provenance.push(e);
            return format!("provenance {n} doubled");
        }
        2 => {
            e.slot = tweak(noise, i64::from(e.slot), 200) as u8;
            "slot"
        }
        3 => {
            e.width = tweak(noise, i64::from(e.width), 17) as u8;
            "width"
        }
        4 => {
            e.first = tweak(noise, i64::from(e.first), 9) as u32;
            "first"
        }
        5 => {
            e.count = tweak(noise, i64::from(e.count), 9) as u32;
            "count"
        }
        6 => {
            e.def = other;
            "definition"
        }
        7 => {
            e.out = tweak(noise, i64::from(e.out), 255) as u8;
            "result"
        }
        8 => {
            e.def_first = tweak(noise, i64::from(e.def_first), 9) as u32;
            "first execution of the definition"
        }
        _ => {
            e.def_step = tweak(noise, i64::from(e.def_step), 3) as u32;
            "step of the definition"
        }
    };
    format!("provenance {n}: {what}")
}

fn mem_provenance(noise: &mut Noise, p: &mut Program) -> String {
    if p.mem_provenance.is_empty() {
        return "nothing".into();
    }
    let n = noise.below(p.mem_provenance.len());
    let e = &mut p.mem_provenance[n];
    let what = match noise.below(4) {
        0 => {
            p.mem_provenance.remove(n);
            "removed"
        }
        1 => {
            e.value.0 = tweak(noise, i64::from(e.value.0), p.values.len() as i64) as u32;
            "value"
        }
        2 => {
            word(noise, &mut e.addr);
            "address"
        }
        _ => {
            e.step += 1 - 2 * noise.below(2) as i32;
            "step"
        }
    };
    format!("SRAM provenance {n}: {what}")
}

fn data(noise: &mut Noise, p: &mut Program) -> String {
    match noise.below(4) {
        0 if !p.maps.is_empty() => {
            let (n, lane) = (noise.below(p.maps.len()), noise.below(p.maps[0].len()));
            let v = &mut p.maps[n][lane];
            *v = tweak(noise, i64::from(*v), 64) as u16;
            format!("map {n} lane {lane}")
        }
        1 if !p.image.is_empty() => {
            let n = noise.below(p.image.len());
            let mut words = p.image[n].words.to_vec();
            let at = noise.below(words.len());
            words[at] ^= 1 << noise.below(8);
            p.image[n].words = words.into();
            format!("image segment {n} byte {at}")
        }
        2 if !p.image.is_empty() => {
            let n = noise.below(p.image.len());
            word(noise, &mut p.image[n].addr);
            format!("image segment {n} address")
        }
        _ => {
            let outputs = noise.below(2) == 0 || p.inputs.is_empty();
            let list = if outputs { &mut p.outputs } else { &mut p.inputs };
            let n = noise.below(list.len());
            let t = &mut list[n];
            let at = noise.below(t.placements.len());
            let place = &mut t.placements[at];
            let what = match noise.below(4) {
                0 => {
                    word(noise, &mut place.addr0);
                    "address"
                }
                1 => {
                    place.lane0 = tweak(noise, i64::from(place.lane0), 70) as u16;
                    "lane"
                }
                2 => {
                    place.slice.index = tweak(noise, i64::from(place.slice.index), 8) as u8;
                    "slice"
                }
                _ => {
                    let at = noise.below(place.loops.len());
                    place.loops[at].count += 1;
                    "loop"
                }
            };
            format!("{} {n} placement {at}: {what}", if outputs { "output" } else { "input" })
        }
    }
}

/// One random change of a program.
pub struct Mutation {
    pub p: Program,
    /// What was changed.
    pub what: String,
    /// The change is of when, where or in which order something happens, or of what the tables say
    /// about it: what changes an output then has to be rejected. Other changes are of what is
    /// computed (an operation, an immediate, a map's entries, the image), which nobody but the
    /// comparison of outputs can notice.
    pub dataflow: bool,
}

pub fn mutate(p: &Program, noise: &mut Noise) -> Mutation {
    let mut p = p.clone();
    let kind = noise.below(16);
    if kind >= 13 {
        let (what, dataflow) = match kind {
            13 => (provenance(noise, &mut p), true),
            14 => (mem_provenance(noise, &mut p), true),
            _ => (data(noise, &mut p), false),
        };
        return Mutation { p, what, dataflow };
    }
    let r = pick_issue(noise, &p);
    let name = format!("{}[{}]", r.queue, r.index);
    let list = p.queues.get_mut(&r.queue).expect("picked from the program");
    let at = r.index as usize;
    let mut dataflow = true;
    let what = match kind {
        0..=3 => {
            let before = list[at].cycle;
            let by = [1, -1, 2, -2, 7, -30, 500][noise.below(7)];
            list[at].cycle = (i64::from(before) + by).max(0) as u32;
            format!("{name}: cycle {before} moved by {by}")
        }
        4 => {
            list[at].repeat.n = tweak(noise, i64::from(list[at].repeat.n), 9) as u32;
            format!("{name}: repeat count")
        }
        5 => {
            list[at].repeat.d = tweak(noise, i64::from(list[at].repeat.d), 9) as u32;
            format!("{name}: repeat distance")
        }
        6 => {
            list[at].repeat.a += [1, -1, 3][noise.below(3)];
            format!("{name}: repeat step")
        }
        7 => {
            list.remove(at);
            format!("{name}: removed")
        }
        8 => {
            let other = noise.below(list.len());
            list.swap(at, other);
            format!("{name}: swapped with {other}")
        }
        _ => {
            let before = list[at].inst.clone();
            instruction(noise, &mut list[at].inst);
            // Which row of the plane a weight row fills is what is computed: the table names the row that is sampled.
            let moved = match (&before, &list[at].inst) {
                (Inst::LoadWeights { k0: a, .. }, Inst::LoadWeights { k0: b, .. }) => a != b,
                _ => false,
            };
            dataflow = !moved
                && matches!(
                    before,
                    Inst::Read { .. }
                        | Inst::Write { .. }
                        | Inst::Gather { .. }
                        | Inst::Scatter { .. }
                        | Inst::LoadWeights { .. }
                        | Inst::InstallWeights
                        | Inst::Accumulate { .. }
                        | Inst::Transpose { .. }
                        | Inst::Sync
                        | Inst::Notify
                );
            format!("{name}: {before:?} became {:?}", list[at].inst)
        }
    };
    Mutation { p, what, dataflow }
}
