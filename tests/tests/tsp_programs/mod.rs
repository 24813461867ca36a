//! Small `tsp` programs built by hand, each with its provenance: the material of the checker and
//! mutation tests.
//!
//! Knows the timing of docs/isa-tsp.md well enough to write programs, and does so from the
//! machine description, so that nothing here is one machine's number.

#![allow(dead_code, unreachable_pub)]

pub mod negatives;

use quadrille_isa::tsp::*;
use quadrille_isa::{DType, Tensor};

/// A program under construction.
pub struct Build {
    pub m: Machine,
    pub p: Program,
}

pub const W: Hemisphere = Hemisphere::West;
pub const E: Hemisphere = Hemisphere::East;

pub fn slice(hemisphere: Hemisphere, index: u8) -> Slice {
    Slice { hemisphere, index }
}

pub fn east(id: u8) -> Stream {
    Stream { dir: Dir::East, id }
}

pub fn west(id: u8) -> Stream {
    Stream { dir: Dir::West, id }
}

/// Deterministic bytes for test data.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n.max(1)
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

impl Build {
    pub fn new() -> Build {
        Build::on("tsp-small")
    }

    pub fn on(machine: &str) -> Build {
        let m = Machine::builtin(machine).expect("a built-in machine");
        let p = Program {
            machine: m.name.clone(),
            machine_hash: m.hash(),
            model: "by hand".into(),
            nodes: vec!["node".into()],
            ..Program::default()
        };
        Build { m, p }
    }

    pub fn lanes(&self) -> usize {
        self.m.lanes()
    }

    pub fn value(&mut self, name: &str) -> ValueIx {
        self.p.values.push(ValueInfo { name: name.into(), node: NodeIx(0) });
        ValueIx(self.p.values.len() as u32 - 1)
    }

    pub fn repeat(&mut self, queue: QueueId, cycle: u32, inst: Inst, n: u32, d: u32, a: i32) -> IssueRef {
        let start = if self.p.queues.is_empty() { Inst::Notify } else { Inst::Sync };
        let once = Repeat::default();
        let list = self
            .p
            .queues
            .entry(queue)
            .or_insert_with(|| vec![Issue { cycle: 0, inst: start, repeat: once, node: NodeIx(0) }]);
        list.push(Issue { cycle, inst, repeat: Repeat { n, d, a }, node: NodeIx(0) });
        IssueRef { queue, index: list.len() as u32 - 1 }
    }

    pub fn issue(&mut self, queue: QueueId, cycle: u32, inst: Inst) -> IssueRef {
        self.repeat(queue, cycle, inst, 0, 0, 0)
    }

    fn executions(&self, r: IssueRef) -> u32 {
        self.p.issue(r).expect("an issue of this program").executions()
    }

    /// Execution k of the use sees execution k of the definition.
    pub fn link(&mut self, use_: IssueRef, slot: u8, width: u8, def: IssueRef, out: u8) {
        let count = self.executions(use_);
        let def_step = u32::from(self.executions(def) > 1);
        self.p.provenance.push(Provenance { use_, slot, width, first: 0, count, def, out, def_first: 0, def_step });
    }

    /// The SRAM entry of a MEM instruction.
    pub fn holds(&mut self, issue: IssueRef, value: ValueIx) {
        let i = self.p.issue(issue).expect("an issue of this program");
        let (addr, step) = match i.inst {
            Inst::Read { addr, .. } | Inst::Write { addr, .. } => (addr, i.repeat.a),
            Inst::Gather { lo, hi, .. } | Inst::Scatter { lo, hi, .. } => (lo, i32::from(hi) - i32::from(lo)),
            _ => panic!("not a MEM instruction"),
        };
        self.p.mem_provenance.push(MemProvenance { issue, value, addr, step });
    }

    pub fn image(&mut self, value: ValueIx, slice: Slice, addr: u16, words: Vec<u8>) {
        self.p.image.push(ImageSegment { value, slice, addr, words: words.into() });
    }

    /// `words` whole words of bytes from `addr` on.
    pub fn words(&self, value: ValueIx, slice: Slice, addr: u16, words: u32, byte: u8) -> Placement {
        let lanes = self.lanes() as u32;
        Placement {
            value,
            slice,
            addr0: addr,
            lane0: 0,
            byte,
            elem0: 0,
            loops: vec![
                Loop { count: words, addr_step: 1, lane_step: 0, elem_step: i64::from(lanes) },
                Loop { count: lanes, addr_step: 0, lane_step: 1, elem_step: 1 },
            ],
        }
    }

    pub fn layout(&self, name: &str, dtype: DType, words: u32, placements: Vec<Placement>) -> TensorLayout {
        TensorLayout {
            name: name.into(),
            dtype,
            shape: vec![words as usize, self.lanes()],
            device_bytes: dtype.size() as u8,
            placements,
        }
    }

    /// An input of one byte a lane in one slice.
    pub fn byte_input(&mut self, name: &str, slice: Slice, addr: u16, words: u32) -> ValueIx {
        let v = self.value(name);
        let place = self.words(v, slice, addr, words, 0);
        let layout = self.layout(name, DType::U8, words, vec![place]);
        self.p.inputs.push(layout);
        v
    }

    /// An output of one byte a lane in one slice.
    pub fn byte_output(&mut self, name: &str, value: ValueIx, slice: Slice, addr: u16, words: u32) {
        let place = self.words(value, slice, addr, words, 0);
        let layout = self.layout(name, DType::U8, words, vec![place]);
        self.p.outputs.push(layout);
    }

    /// Hops between the columns of two queues.
    pub fn hops(&self, stream: Stream, from: QueueId, to: QueueId) -> u32 {
        let (from, to) = (self.m.queue_column(from), self.m.queue_column(to));
        self.m.hops(stream.dir, from, to).unwrap_or_else(|| panic!("{stream} does not flow from {from:?} to {to:?}"))
    }

    #[allow(clippy::too_many_arguments)]
    /// Reads `n` words so that the first is at `to` in cycle `at`.
    pub fn read_for(
        &mut self,
        s: Slice,
        addr: u16,
        stream: Stream,
        to: QueueId,
        at: u32,
        n: u32,
        value: ValueIx,
    ) -> IssueRef {
        let q = QueueId::Mem(s, Thread::Read);
        let cycle = at - self.hops(stream, q, to) - self.m.latency.mem_read;
        let (n, d, a) = if n > 1 { (n - 1, 1, 1) } else { (0, 0, 0) };
        let r = self.repeat(q, cycle, Inst::Read { addr, stream }, n, d, a);
        self.holds(r, value);
        r
    }

    /// Writes `n` vectors that are driven at `from` from cycle `at` on, result `out` of `def`.
    #[allow(clippy::too_many_arguments)]
    pub fn write_from(
        &mut self,
        def: IssueRef,
        out: u8,
        stream: Stream,
        at: u32,
        s: Slice,
        addr: u16,
        n: u32,
        d: u32,
        value: ValueIx,
    ) -> IssueRef {
        let q = QueueId::Mem(s, Thread::Write);
        let cycle = at + self.hops(stream, def.queue, q) - self.m.latency.mem_write_sample;
        let (n, d, a) = if n > 1 { (n - 1, d, 1) } else { (0, 0, 0) };
        let w = self.repeat(q, cycle, Inst::Write { stream, addr }, n, d, a);
        self.holds(w, value);
        self.link(w, 0, 1, def, out);
        w
    }
}

/// Bytes tensor of whole words.
pub fn bytes(m: &Machine, data: Vec<u8>) -> Tensor {
    let words = data.len() / m.lanes();
    Tensor::new(DType::U8, vec![words, m.lanes()], data).expect("whole words")
}

/// A program with inputs to run it on and a name.
pub struct Case {
    pub name: &'static str,
    pub m: Machine,
    pub p: Program,
    pub inputs: Vec<Tensor>,
}

impl Build {
    pub fn case(self, name: &'static str, inputs: Vec<Tensor>) -> Case {
        Case { name, m: self.m, p: self.p, inputs }
    }
}

/// First cycle at which units do anything in these programs, well after the barrier.
pub const T0: u32 = 80;

/// Four words from a west slice to an east slice, by a repeat of reads and one of writes.
pub fn copy() -> Case {
    let mut b = Build::new();
    let x = b.byte_input("x", slice(W, 5), 3, 4);
    let y = b.value("y");
    let read = b.repeat(QueueId::Mem(slice(W, 5), Thread::Read), 50, Inst::Read { addr: 3, stream: east(7) }, 3, 1, 1);
    b.holds(read, x);
    let at = 50 + b.m.latency.mem_read;
    b.write_from(read, 0, east(7), at, slice(E, 6), 300, 4, 1, y);
    b.byte_output("y", y, slice(E, 6), 300, 4);
    let data = Noise(1).bytes(4 * b.lanes());
    let input = bytes(&b.m, data);
    b.case("copy", vec![input])
}

fn map_word(m: &Machine, entry: impl Fn(usize) -> u16) -> Vec<u8> {
    let mut word = vec![0u8; m.lanes()];
    for (s, lanes) in word.chunks_exact_mut(m.geometry.lanes_per_superlane as usize).enumerate() {
        lanes[..2].copy_from_slice(&entry(s).to_le_bytes());
    }
    word
}

/// A gather by a constant map, then a scatter by another, each with one superlane that has none.
pub fn gather_scatter() -> Case {
    let mut b = Build::new();
    let lanes = b.lanes();
    let x = b.byte_input("x", slice(W, 0), 10, 4);
    let maps = b.value("maps");
    let gather_map = map_word(&b.m, |s| if s == 1 { MAP_NONE } else { 10 + (s as u16 * 3 + 1) % 4 });
    let scatter_map = map_word(&b.m, |s| if s == 2 { MAP_NONE } else { 40 + (s as u16 + 1) % 4 });
    b.image(maps, slice(W, 1), 0, [gather_map, scatter_map].concat());
    let gather_q = QueueId::Mem(slice(W, 0), Thread::Read);
    let map = b.read_for(slice(W, 1), 0, east(1), gather_q, 60, 1, maps);
    let gather = b.issue(gather_q, 60, Inst::Gather { map: east(1), lo: 10, hi: 14, stream: east(2) });
    b.holds(gather, x);
    b.link(gather, 0, 1, map, 0);
    let driven = 60 + b.m.latency.mem_gather;
    let y = b.value("y");
    // The same vector is scattered over words 40 to 43 of a slice and stored whole in another.
    let scatter_q = QueueId::Mem(slice(E, 3), Thread::Write);
    let at = driven + b.hops(east(2), gather_q, scatter_q) - b.m.latency.mem_scatter_sample;
    let smap = b.read_for(slice(W, 1), 1, east(3), scatter_q, at, 1, maps);
    let scatter = b.issue(scatter_q, at, Inst::Scatter { stream: east(2), map: east(3), lo: 40, hi: 44 });
    b.holds(scatter, y);
    b.link(scatter, 0, 1, gather, 0);
    b.link(scatter, 1, 1, smap, 0);
    let z = b.value("z");
    b.write_from(gather, 0, east(2), driven, slice(E, 0), 9, 1, 1, z);
    b.byte_output("z", z, slice(E, 0), 9, 1);
    // Superlanes 0, 1 and 3 of the scatter, as an output of 3 x 16 bytes.
    let mut out = b.layout("y", DType::U8, 1, Vec::new());
    out.shape = vec![3, 16];
    for (row, s) in [0u16, 1, 3].into_iter().enumerate() {
        out.placements.push(Placement {
            value: y,
            slice: slice(E, 3),
            addr0: 40 + (s + 1) % 4,
            lane0: 16 * s,
            byte: 0,
            elem0: 16 * row as u64,
            loops: vec![Loop { count: 16, addr_step: 0, lane_step: 1, elem_step: 1 }],
        });
    }
    b.p.outputs.push(out);
    let input = bytes(&b.m, Noise(2).bytes(4 * lanes));
    b.case("gather-scatter", vec![input])
}

/// A gather by a map that is itself an input: dynamic.
pub fn dynamic_gather() -> Case {
    let mut b = Build::new();
    let lanes = b.lanes();
    let table = b.byte_input("table", slice(E, 2), 16, 8);
    let ids = b.byte_input("ids", slice(E, 1), 0, 1);
    let gather_q = QueueId::Mem(slice(E, 2), Thread::Read);
    let map = b.read_for(slice(E, 1), 0, west(4), gather_q, 70, 1, ids);
    let gather = b.issue(gather_q, 70, Inst::Gather { map: west(4), lo: 16, hi: 24, stream: west(5) });
    b.holds(gather, table);
    b.link(gather, 0, 1, map, 0);
    let y = b.value("y");
    let at = 70 + b.m.latency.mem_gather;
    b.write_from(gather, 0, west(5), at, slice(W, 2), 0, 1, 1, y);
    b.byte_output("y", y, slice(W, 2), 0, 1);
    let rows = bytes(&b.m, Noise(3).bytes(8 * lanes));
    let ids = bytes(&b.m, map_word(&b.m, |s| 16 + (5 * s as u16 + 2) % 8));
    b.case("dynamic-gather", vec![rows, ids])
}

/// One ALU operation on streamed operands; a third operand of four bytes is an immediate.
pub fn alu(op: AluOp, ty: AluType, data: [&[u32]; 2], c: u32) -> Case {
    let mut b = Build::new();
    let (lanes, width) = (b.lanes(), ty.bytes());
    let unit = QueueId::Vxm(5);
    let mut operands = [Operand::None; 3];
    let mut reads = Vec::new();
    let mut inputs = Vec::new();
    for n in 0..op.arity().min(2) {
        let (hemisphere, dir) = if n == 0 { (W, Dir::East) } else { (E, Dir::West) };
        let group = StreamGroup { dir, base: 8, width };
        operands[n] = Operand::Stream(group);
        for k in 0..width {
            let s = slice(hemisphere, k);
            let v = b.byte_input(&format!("{}{k}", ["a", "b"][n]), s, 20, 1);
            reads.push((4 * n as u8 + k, b.read_for(s, 20, group.stream(k), unit, T0, 1, v)));
            let data: Vec<u8> = (0..lanes).map(|i| (data[n][i % data[n].len()] >> (8 * k)) as u8).collect();
            inputs.push(bytes(&b.m, data));
        }
    }
    if op.arity() == 3 {
        operands[2] = Operand::Imm(c);
    }
    let [a, bb, cc] = operands;
    let dst = StreamGroup { dir: Dir::East, base: 16, width: op.result(ty).bytes() };
    let alu = b.issue(unit, T0, Inst::Alu { op, ty, a, b: bb, c: cc, dst: Some(dst) });
    for (slot, read) in reads {
        b.link(alu, slot, 1, read, 0);
    }
    let at = T0 + b.m.latency.vxm_entry + b.m.latency.vxm_alu + b.m.latency.vxm_exit;
    let y = b.value("y");
    for k in 0..dst.width {
        b.write_from(alu, k, dst.stream(k), at, slice(E, k), 30, 1, 1, y);
        b.byte_output(&format!("y{k}"), y, slice(E, k), 30, 1);
    }
    b.case("alu", inputs)
}

/// relu((a + b) * 3) in i16 over three chained ALUs, eight vectors in a row.
pub fn chain() -> Case {
    let mut b = Build::new();
    let lanes = b.lanes();
    let n = 8;
    let lat = b.m.latency.clone();
    let (first, second, third) = (QueueId::Vxm(0), QueueId::Vxm(9), QueueId::Vxm(15));
    let group = |base| StreamGroup { dir: Dir::East, base, width: 2 };
    let mut reads = Vec::new();
    let mut inputs = Vec::new();
    for (operand, base) in [(0u8, 2u8), (1, 4)] {
        for k in 0..2u8 {
            let s = slice(W, operand * 2 + k);
            let v = b.byte_input(&format!("x{operand}{k}"), s, 0, n);
            reads.push((operand * 4 + k, b.read_for(s, 0, east(base + k), first, T0, n, v)));
            inputs.push(bytes(&b.m, Noise(u64::from(operand * 2 + k) + 9).bytes(n as usize * lanes)));
        }
    }
    let ty = AluType::I16;
    let none = Operand::None;
    let add = b.repeat(
        first,
        T0,
        Inst::Alu {
            op: AluOp::Add,
            ty,
            a: Operand::Stream(group(2)),
            b: Operand::Stream(group(4)),
            c: none,
            dst: None,
        },
        n - 1,
        1,
        0,
    );
    for (slot, read) in reads {
        b.link(add, slot, 1, read, 0);
    }
    let mul = Inst::Alu { op: AluOp::Mul, ty, a: Operand::Alu(0), b: Operand::Imm(3), c: none, dst: None };
    let mul = b.repeat(second, T0 + lat.vxm_alu, mul, n - 1, 1, 0);
    b.link(mul, 0, 1, add, OUT_CHAIN);
    let dst = StreamGroup { dir: Dir::West, base: 10, width: 2 };
    let relu = Inst::Alu { op: AluOp::Relu, ty, a: Operand::Alu(9), b: none, c: none, dst: Some(dst) };
    let relu = b.repeat(third, T0 + 2 * lat.vxm_alu, relu, n - 1, 1, 0);
    b.link(relu, 0, 1, mul, OUT_CHAIN);
    let at = T0 + 3 * lat.vxm_alu + lat.vxm_entry + lat.vxm_exit;
    let y = b.value("y");
    for k in 0..2 {
        b.write_from(relu, k, dst.stream(k), at, slice(W, 4 + k), 100, n, 1, y);
        b.byte_output(&format!("y{k}"), y, slice(W, 4 + k), 100, n);
    }
    b.case("chain", inputs)
}

/// Rows through a plane (`u8`/`i8`) or an even plane's pair (`f16`): two passes of `k_rows` weight rows
/// each, the first `over`, the second `add` with emission; `rows` activations a pass.
pub fn mxm(ty: ActType, rows: u32) -> Case {
    let mut b = Build::new();
    let lanes = b.lanes();
    let lat = b.m.latency.clone();
    let f16 = ty == ActType::F16;
    // East planes take eastward streams; weights come from west and east slices alike.
    let plane = 2u8;
    let interval = if f16 { lat.mxm_f16_row_interval } else { 1 };
    let planes: Vec<u8> = if f16 { vec![2, 3] } else { vec![2] };
    let act_q = |p| QueueId::Mxm(p, MxmPart::Activations);
    let weights = b.value("weights");
    let mut noise = Noise(77);
    // A pass loads two blocks of 16 rows, 0 and 2; the others stay zero. Slices of the west, seven
    // of data each hold one stream; more rows than slices come from the east side's inner column.
    let sources: Vec<Slice> = (0..7).map(|i| slice(W, i)).chain((0..7).map(|i| slice(E, i))).collect();
    let mut installs = Vec::new();
    let mut t = T0;
    let mut addr = 0u16;
    let mut activations: Vec<Vec<IssueRef>> = Vec::new();
    let mut entered = Vec::new();
    let x = b.value("x");
    let act_bytes: u8 = if f16 { 2 } else { 1 };
    let act_slices = [slice(E, 0), slice(E, 1)];
    for pass in 0..2u16 {
        let mut pass_installs = Vec::new();
        let mut loads = Vec::new();
        for &p in &planes {
            for k0 in [0u16, 32] {
                // 16 streams for a load: 14 slices can give 14 of them at once, so the last two repeat
                // the vectors of the first two: rows k0 + 14 and k0 + 15 equal rows k0 and k0 + 1.
                let q = QueueId::Mxm(p, MxmPart::Weights);
                let mut streams = [0u8; 16];
                let mut refs = Vec::new();
                for (i, s) in sources.iter().enumerate() {
                    streams[i] = 8 + i as u8;
                    let mut word = noise.bytes(lanes);
                    if f16 && p == 3 {
                        // High bytes of halves: keep them finite and mild.
                        word.iter_mut().for_each(|b| *b = (*b & 0x83) | 0x38);
                    }
                    b.image(weights, *s, 100 + addr, word);
                    refs.push(b.read_for(*s, 100 + addr, east(streams[i]), q, t, 1, weights));
                }
                streams[14] = streams[0];
                streams[15] = streams[1];
                let load = b.issue(q, t, Inst::LoadWeights { k0, streams });
                for i in 0..16u8 {
                    b.link(load, i, 1, refs[usize::from(i) % 14], 0);
                }
                loads.push((p, load));
                addr += 1;
                t += 2;
            }
        }
        // The last row of the pass before may still enter in the install's cycle minus one.
        for &p in &planes {
            let install = b.issue(act_q(p), t, Inst::InstallWeights);
            for (i, (_, load)) in loads.iter().filter(|(lp, _)| *lp == p).enumerate() {
                b.link(install, i as u8, 1, *load, 0);
            }
            pass_installs.push(install);
        }
        let act = b.repeat(act_q(plane), t, Inst::Activations { base: 4, ty }, rows - 1, interval, 0);
        for k in 0..act_bytes {
            let s = act_slices[usize::from(k)];
            let q = QueueId::Mem(s, Thread::Read);
            let cycle = t - b.hops(east(4 + k), q, act_q(plane)) - lat.mem_read;
            let first = pass * rows as u16;
            let inst = Inst::Read { addr: first, stream: east(4 + k) };
            let read = b.repeat(q, cycle, inst, rows - 1, interval, 1);
            b.holds(read, x);
            b.link(act, k, 1, read, 0);
        }
        for (i, install) in pass_installs.iter().enumerate() {
            b.link(act, SLOT_STATE + i as u8, 1, *install, 0);
        }
        activations.push(vec![act]);
        entered.push(t);
        installs.push(pass_installs);
        t += rows * interval + 4;
    }
    let acc_q = QueueId::Mxm(plane, MxmPart::Accumulators);
    let due = |t: u32| t + lat.mxm_activation_to_sum;
    let over = Inst::Accumulate { row: 6, mode: AccMode::Over, emit: None };
    let over = b.repeat(acc_q, due(entered[0]), over, rows - 1, interval, 1);
    b.link(over, 0, 1, activations[0][0], 0);
    let add = Inst::Accumulate { row: 6, mode: AccMode::Add, emit: Some(20) };
    let add = b.repeat(acc_q, due(entered[1]), add, rows - 1, interval, 1);
    b.link(add, 0, 1, activations[1][0], 0);
    b.link(add, SLOT_STATE, 1, over, 0);
    let y = b.value("y");
    for k in 0..4u8 {
        let at = due(entered[1]) + lat.mxm_sum_to_stream;
        b.write_from(add, k, west(20 + k), at, slice(W, 3 + k), 50, rows, interval, y);
    }
    let dtype = if f16 { DType::F32 } else { DType::I32 };
    let places = (0..4u8).map(|k| b.words(y, slice(W, 3 + k), 50, rows, k)).collect();
    let out = b.layout("y", dtype, rows, places);
    b.p.outputs.push(out);
    let in_type = match ty {
        ActType::I8 => DType::I8,
        ActType::U8 => DType::U8,
        ActType::F16 => DType::F16,
    };
    let places = (0..act_bytes).map(|k| b.words(x, act_slices[usize::from(k)], 0, 2 * rows, k)).collect();
    let layout = b.layout("x", in_type, 2 * rows, places);
    b.p.inputs.push(layout);
    let mut data = noise.bytes(2 * rows as usize * lanes * usize::from(act_bytes));
    if f16 {
        data.chunks_exact_mut(2).for_each(|h| h[1] = (h[1] & 0x83) | 0x38);
    }
    let input = Tensor::new(in_type, vec![2 * rows as usize, lanes], data).expect("rows of lanes");
    let name = match ty {
        ActType::I8 => "mxm-i8",
        ActType::U8 => "mxm-u8",
        ActType::F16 => "mxm-f16",
    };
    b.case(name, vec![input])
}

/// One SXM instruction at SXM_E on eastward inputs; its outputs leave westward, of which `outs` are
/// stored (a slice can take one of those that pass at a moment, so not all 16 of a transpose).
pub fn sxm(
    name: &'static str,
    inst: Inst,
    unit: SxmUnit,
    maps: Vec<Vec<u16>>,
    ins: u8,
    outs: std::ops::Range<u8>,
    offset: u32,
) -> Case {
    let mut b = Build::new();
    let lanes = b.lanes();
    b.p.maps = maps;
    let q = QueueId::Sxm(E, unit, Dir::East);
    let mut reads = Vec::new();
    let mut inputs = Vec::new();
    let slices: Vec<Slice> = (0..7).map(|i| slice(W, i)).chain((0..7).map(|i| slice(E, i))).collect();
    for i in 0..ins {
        if let Some(&s) = slices.get(usize::from(i)) {
            let v = b.byte_input(&format!("x{i}"), s, 0, 1);
            reads.push(b.read_for(s, 0, east(i), q, T0, 1, v));
            inputs.push(bytes(&b.m, Noise(u64::from(i) + 40).bytes(lanes)));
        } else {
            // More inputs than slices: the VXM gives a constant.
            let vxm = QueueId::Vxm(i % 16);
            let lat = &b.m.latency;
            let drive = lat.vxm_entry + lat.vxm_alu + lat.vxm_exit;
            let at = T0 - b.hops(east(i), vxm, q) - drive;
            let dst = StreamGroup { dir: Dir::East, base: i, width: 1 };
            let (a, none) = (Operand::Imm(u32::from(i) * 7), Operand::None);
            let not = Inst::Alu { op: AluOp::Not, ty: AluType::U8, a, b: none, c: none, dst: Some(dst) };
            reads.push(b.issue(vxm, at, not));
        }
    }
    let op = b.issue(q, T0, inst);
    for (i, read) in reads.iter().enumerate() {
        b.link(op, i as u8, 1, *read, 0);
    }
    let y = b.value("y");
    for (o, s) in outs.zip(slices) {
        b.write_from(op, o, west(o), T0 + offset, s, 200, 1, 1, y);
        b.byte_output(&format!("y{o}"), y, s, 200, 1);
    }
    b.case(name, inputs)
}

/// Every SXM instruction once.
pub fn sxm_cases() -> Vec<Case> {
    use SxmUnit::{Distributor, Permuter, Transposer};
    let m = Machine::builtin("tsp-small").expect("built in");
    let lat = &m.latency;
    let lanes = m.lanes() as u16;
    let mut noise = Noise(5);
    let select: Vec<u16> = (0..lanes).map(|_| (noise.next() & 1) as u16).collect();
    let permute: Vec<u16> = (0..lanes).map(|i| (i * 27 + 5) % lanes).collect();
    let crossed =
        permute.iter().enumerate().map(|(i, &f)| (i as u32 / 16).abs_diff(u32::from(f) / 16)).max().unwrap_or(0);
    let distribute: Vec<u16> =
        (0..lanes).map(|i| if i % 7 == 3 { DISTRIBUTE_ZERO } else { (noise.next() % 16) as u16 }).collect();
    let e = lat.sxm_entry;
    let (from, to) = (east(0), west(0));
    let shift = |lanes| Inst::Shift { from, to, lanes };
    let both = Inst::Select { a: from, b: east(1), map: 0, to };
    let turn = |n| Inst::Rotate { n, from, to };
    let block = Inst::Transpose { from, to };
    vec![
        sxm("shift-up", shift(5), Permuter, vec![], 1, 0..1, e + lat.sxm_shift),
        sxm("shift-down", shift(-21), Permuter, vec![], 1, 0..1, e + lat.sxm_shift),
        sxm("select", both, Permuter, vec![select], 2, 0..1, e + lat.sxm_select),
        sxm(
            "permute",
            Inst::Permute { map: 0, from, to },
            Permuter,
            vec![permute],
            1,
            0..1,
            e + lat.sxm_permute + crossed,
        ),
        sxm(
            "distribute",
            Inst::Distribute { map: 0, from, to },
            Distributor(3),
            vec![distribute],
            1,
            0..1,
            e + lat.sxm_distribute,
        ),
        sxm("rotate3", turn(3), Transposer(1), vec![], 3, 0..9, e + lat.sxm_rotate),
        sxm("rotate4", turn(4), Transposer(0), vec![], 4, 2..16, e + lat.sxm_rotate),
        sxm("transpose", block.clone(), Transposer(1), vec![], 16, 0..14, e + lat.sxm_transpose),
        sxm("transpose-end", block, Transposer(0), vec![], 16, 2..16, e + lat.sxm_transpose),
    ]
}

/// Programs for the mutation harness.
pub fn all_cases() -> Vec<Case> {
    let f = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    let (a, b) = (f(&[1.5, -2.25, 1e30, 3.0]), f(&[0.5, 7.0, -1e30]));
    let mut cases = vec![copy(), gather_scatter(), dynamic_gather(), chain()];
    cases.push(alu(AluOp::Fma, AluType::F32, [&a, &b], 2.5f32.to_bits()));
    cases.extend([mxm(ActType::I8, 5), mxm(ActType::U8, 3), mxm(ActType::F16, 4)]);
    cases.extend(sxm_cases());
    cases
}
