//! Random programs for property tests, here and in other crates (feature `strategy`).
//!
//! They are programs that can be written down, not programs that are right: every field takes
//! all the values that its text and binary forms can hold, and queues are in order.

use crate::tensor::DType;
use crate::{tsp, wafer};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn dtype() -> impl Strategy<Value = DType> {
    proptest::sample::select(&DType::ALL[..])
}

fn name() -> impl Strategy<Value = String> {
    // Few plain names, so that some collide; and any characters at all.
    prop_oneof![3 => "[ab]/conv_[0-2]", 1 => any::<String>()]
}

fn shape() -> impl Strategy<Value = Vec<usize>> {
    vec(0usize..40, 0..4)
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..max).prop_map(Bytes::from),
        (any::<u8>(), 0..max).prop_map(|(b, n)| Bytes::from(vec![b; n])),
    ]
}

mod chip {
    use super::*;
    use crate::tsp::*;

    pub(super) fn dir() -> impl Strategy<Value = Dir> {
        prop_oneof![Just(Dir::East), Just(Dir::West)]
    }

    pub(super) fn hemisphere() -> impl Strategy<Value = Hemisphere> {
        prop_oneof![Just(Hemisphere::East), Just(Hemisphere::West)]
    }

    pub(super) fn slice() -> impl Strategy<Value = Slice> {
        (hemisphere(), any::<u8>()).prop_map(|(hemisphere, index)| Slice { hemisphere, index })
    }

    fn stream() -> impl Strategy<Value = Stream> {
        (dir(), 0..STREAM_IDS).prop_map(|(dir, id)| Stream { dir, id })
    }

    fn group() -> impl Strategy<Value = StreamGroup> {
        (stream(), 0u32..3).prop_map(|(s, w)| StreamGroup { dir: s.dir, base: s.id, width: 1 << w })
    }

    pub(super) fn queue() -> impl Strategy<Value = QueueId> {
        let unit = prop_oneof![
            Just(SxmUnit::Permuter),
            any::<u8>().prop_map(SxmUnit::Distributor),
            any::<u8>().prop_map(SxmUnit::Transposer),
        ];
        let part = proptest::sample::select(vec![MxmPart::Weights, MxmPart::Activations, MxmPart::Accumulators]);
        prop_oneof![
            (slice(), any::<bool>()).prop_map(|(s, r)| QueueId::Mem(s, if r { Thread::Read } else { Thread::Write })),
            any::<u8>().prop_map(QueueId::Vxm),
            (any::<u8>(), part).prop_map(|(p, part)| QueueId::Mxm(p, part)),
            (hemisphere(), unit, dir()).prop_map(|(h, u, d)| QueueId::Sxm(h, u, d)),
        ]
    }

    fn alu() -> impl Strategy<Value = Inst> {
        let plain =
            || prop_oneof![Just(Operand::None), group().prop_map(Operand::Stream), any::<u8>().prop_map(Operand::Alu),];
        let op = proptest::sample::select(&ALU_OPS[..]);
        let ty = proptest::sample::select(&ALU_TYPES[..]);
        let imm = option::of((0usize..3, any::<u32>()));
        (op, ty, [plain(), plain(), plain()], imm, option::of(group())).prop_map(|(op, ty, mut operands, imm, dst)| {
            if let Some((i, bits)) = imm {
                operands[i] = Operand::Imm(bits);
            }
            let [a, b, c] = operands;
            Inst::Alu { op: op.1, ty: ty.1, a, b, c, dst }
        })
    }

    /// Any instruction that has an encoding.
    pub(super) fn inst() -> impl Strategy<Value = Inst> {
        let act = proptest::sample::select(vec![ActType::I8, ActType::U8, ActType::F16]);
        let mode = proptest::sample::select(vec![AccMode::Over, AccMode::Add, AccMode::Bypass]);
        let two = || (any::<u16>(), stream(), stream());
        prop_oneof![
            (any::<u16>(), stream()).prop_map(|(addr, stream)| Inst::Read { addr, stream }),
            (any::<u16>(), stream()).prop_map(|(addr, stream)| Inst::Write { stream, addr }),
            (two(), any::<u16>()).prop_map(|((lo, map, stream), hi)| Inst::Gather { map, lo, hi, stream }),
            (two(), any::<u16>()).prop_map(|((lo, map, stream), hi)| Inst::Scatter { stream, map, lo, hi }),
            alu(),
            (any::<u16>(), proptest::array::uniform16(0..STREAM_IDS))
                .prop_map(|(k0, streams)| Inst::LoadWeights { k0, streams }),
            Just(Inst::InstallWeights),
            (0..STREAM_IDS, act).prop_map(|(base, ty)| Inst::Activations { base, ty }),
            (any::<u16>(), mode, option::of(0..STREAM_IDS)).prop_map(|(row, mode, emit)| Inst::Accumulate {
                row,
                mode,
                emit
            }),
            two().prop_map(|(lanes, from, to)| Inst::Shift { from, to, lanes: lanes as i16 }),
            (two(), stream()).prop_map(|((map, a, b), to)| Inst::Select { a, b, map, to }),
            two().prop_map(|(map, from, to)| Inst::Permute { map, from, to }),
            two().prop_map(|(map, from, to)| Inst::Distribute { map, from, to }),
            (any::<u8>(), stream(), stream()).prop_map(|(n, from, to)| Inst::Rotate { n, from, to }),
            (stream(), stream()).prop_map(|(from, to)| Inst::Transpose { from, to }),
            Just(Inst::Sync),
            Just(Inst::Notify),
        ]
    }

    /// The instruction list of a queue, in order.
    pub(super) fn issues() -> impl Strategy<Value = Vec<Issue>> {
        let repeat = option::of((1u32..1000, 1u32..1000, any::<i32>()));
        let step = (prop_oneof![Just(0u32), 0u32..5000], inst(), repeat, 0u32..8, any::<bool>());
        vec(step, 0..8).prop_map(|steps| {
            let (mut next, mut share) = (0, false);
            let mut issues = Vec::new();
            for (gap, inst, repeat, node, sharing) in steps {
                let repeat = repeat.map_or(Repeat::default(), |(n, d, a)| Repeat { n, d, a });
                let cycle = if share { next - 1 } else { next + gap };
                share = sharing && inst == Inst::InstallWeights && repeat.n == 0;
                let issue = Issue { cycle, inst, repeat, node: NodeIx(node) };
                next = issue.last_cycle() + 1;
                issues.push(issue);
            }
            issues
        })
    }

    fn layout() -> impl Strategy<Value = TensorLayout> {
        let a_loop = (any::<u32>(), any::<i32>(), any::<i32>(), any::<i64>())
            .prop_map(|(count, addr_step, lane_step, elem_step)| Loop { count, addr_step, lane_step, elem_step });
        let placement = (any::<u32>(), slice(), any::<[u16; 2]>(), any::<u8>(), any::<u64>(), vec(a_loop, 0..3))
            .prop_map(|(v, slice, [addr0, lane0], byte, elem0, loops)| Placement {
                value: ValueIx(v),
                slice,
                addr0,
                lane0,
                byte,
                elem0,
                loops,
            });
        (name(), dtype(), shape(), any::<u8>(), vec(placement, 0..3)).prop_map(
            |(name, dtype, shape, device_bytes, placements)| TensorLayout {
                name,
                dtype,
                shape,
                device_bytes,
                placements,
            },
        )
    }

    fn issue_ref() -> impl Strategy<Value = IssueRef> {
        (queue(), any::<u32>()).prop_map(|(queue, index)| IssueRef { queue, index })
    }

    pub(super) fn program() -> impl Strategy<Value = Program> {
        let names = (name(), name(), name(), vec(name(), 0..6));
        let value = (name(), 0u32..8).prop_map(|(name, node)| ValueInfo { name, node: NodeIx(node) });
        let map = prop_oneof![
            vec(any::<u16>(), 0..40),
            vec(Just(MAP_NONE), 0..40),
            (0u16..100).prop_map(|n| (n..n + 64).collect())
        ];
        let segment = (any::<u32>(), slice(), any::<u16>(), bytes(200))
            .prop_map(|(v, slice, addr, words)| ImageSegment { value: ValueIx(v), slice, addr, words });
        let provenance = (issue_ref(), issue_ref(), any::<[u8; 3]>(), any::<[u32; 4]>()).prop_map(
            |(use_, def, [slot, width, out], [first, count, def_first, def_step])| Provenance {
                use_,
                slot,
                width,
                first,
                count,
                def,
                out,
                def_first,
                def_step,
            },
        );
        let memory = (issue_ref(), any::<u32>(), any::<u16>(), any::<i32>())
            .prop_map(|(issue, v, addr, step)| MemProvenance { issue, value: ValueIx(v), addr, step });
        let tables = (vec(value, 0..3), vec(map, 0..3), vec(segment, 0..3), vec(provenance, 0..3), vec(memory, 0..3));
        let queues = proptest::collection::btree_map(queue(), issues(), 0..5);
        (names, tables, queues, vec(layout(), 0..3), vec(layout(), 0..3)).prop_map(
            |(
                (machine, machine_hash, model, nodes),
                (values, maps, image, provenance, mem_provenance),
                queues,
                inputs,
                outputs,
            )| Program {
                machine,
                machine_hash,
                model,
                nodes,
                values,
                maps,
                queues,
                image,
                inputs,
                outputs,
                provenance,
                mem_provenance,
            },
        )
    }
}

mod mesh {
    use super::*;
    use crate::wafer::*;

    fn rect() -> impl Strategy<Value = Rect> {
        (any::<[u16; 2]>(), any::<[u16; 2]>()).prop_map(|([x, y], [w, h])| Rect {
            x,
            y,
            w: w.min(u16::MAX - x),
            h: h.min(u16::MAX - y),
        })
    }

    fn val() -> impl Strategy<Value = Val> {
        prop_oneof![any::<i32>().prop_map(Val::Const), any::<u16>().prop_map(Val::Param), Just(Val::Const(0))]
    }

    fn elem() -> impl Strategy<Value = ElemType> {
        proptest::sample::select(&ELEM_TYPES[..]).prop_map(|r| r.1)
    }

    fn mem() -> impl Strategy<Value = Mem> {
        (elem(), [val(), val(), val(), val(), val()]).prop_map(|(ty, [base, stride0, stride1, step, modulo])| Mem {
            ty,
            base,
            stride0,
            stride1,
            step,
            modulo,
        })
    }

    fn src() -> impl Strategy<Value = Src> {
        prop_oneof![
            Just(Src::None),
            mem().prop_map(Src::Mem),
            mem().prop_map(Src::RowScalar),
            (any::<u8>(), elem()).prop_map(|(q, t)| Src::Fabric(InQueue(q), t)),
            (any::<u8>(), elem()).prop_map(|(q, t)| Src::FabricRowScalar(InQueue(q), t)),
            (any::<u32>(), elem()).prop_map(|(b, t)| Src::Imm(b, t)),
        ]
    }

    fn dst() -> impl Strategy<Value = Dst> {
        prop_oneof![
            Just(Dst::None),
            mem().prop_map(Dst::Mem),
            (any::<u8>(), elem()).prop_map(|(q, t)| Dst::Fabric(OutQueue(q), t)),
        ]
    }

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let action = prop_oneof![
            any::<u8>().prop_map(|t| Action::Activate(TaskIx(t))),
            any::<u8>().prop_map(|t| Action::Block(TaskIx(t))),
            any::<u8>().prop_map(|t| Action::Unblock(TaskIx(t))),
        ];
        vec(action, 0..3)
    }

    fn class() -> impl Strategy<Value = PeClass> {
        let issue = option::of(any::<u8>()).prop_map(|u| u.map_or(IssueMode::Sync, IssueMode::Async));
        let op = proptest::sample::select(&PE_OPS[..]);
        let vec_op = (op, [val(), val()], dst(), [src(), src(), src()], issue, actions()).prop_map(
            |(op, [n0, n1], dst, [a, b, c], issue, on_done)| VecOp { op: op.1, n0, n1, dst, a, b, c, issue, on_done },
        );
        let trigger = option::of(any::<u8>()).prop_map(|q| q.map_or(Trigger::Local, |q| Trigger::Data(InQueue(q))));
        let task = (name(), trigger, any::<[bool; 2]>(), val(), vec(vec_op, 0..3), actions()).prop_map(
            |(name, trigger, [active, blocked], repeat, body, on_end)| Task {
                name,
                trigger,
                active,
                blocked,
                repeat,
                body,
                on_end,
            },
        );
        (name(), vec(task, 0..3)).prop_map(|(name, tasks)| PeClass { name, tasks })
    }

    fn color() -> impl Strategy<Value = Color> {
        any::<u8>().prop_map(Color)
    }

    fn region() -> impl Strategy<Value = Region> {
        let colors = || vec(option::of(color()), 0..4);
        let param = prop_oneof![
            any::<i32>().prop_map(ParamFn::Const),
            any::<[i32; 3]>().prop_map(|[base, dx, dy]| ParamFn::Affine { base, dx, dy }),
            vec(any::<i32>(), 0..5).prop_map(ParamFn::Table),
        ];
        (rect(), any::<u32>(), 0u32..8, colors(), colors(), vec(param, 0..4)).prop_map(
            |(rect, class, node, in_colors, out_colors, params)| Region {
                rect,
                class: ClassIx(class),
                node: NodeIx(node),
                in_colors,
                out_colors,
                params,
            },
        )
    }

    fn io_port() -> impl Strategy<Value = IoPort> {
        let a_loop = (any::<u32>(), any::<i64>()).prop_map(|(count, elem_step)| PortLoop { count, elem_step });
        (any::<u32>(), any::<u16>(), color(), any::<u64>(), vec(a_loop, 0..3))
            .prop_map(|(tensor, row, color, elem0, loops)| IoPort { tensor, row, color, elem0, loops })
    }

    fn resident() -> impl Strategy<Value = Resident> {
        let index = prop_oneof![Just(Resident::NONE), any::<u32>(), 0u32..4];
        (any::<[u32; 3]>(), rect(), elem(), vec(index, 0..6))
            .prop_map(|([tensor, addr, len], rect, ty, index)| Resident { tensor, rect, addr, ty, len, index })
    }

    pub(super) fn program() -> impl Strategy<Value = Program> {
        let names = (name(), name(), name(), vec(name(), 0..6));
        let port = proptest::sample::select(vec![Port::North, Port::East, Port::South, Port::West, Port::Ramp]);
        let route = (rect(), color(), port, 0u8..32).prop_map(|(rect, color, rx, tx)| Route {
            rect,
            color,
            rx,
            tx: PortSet(tx),
        });
        let data = (rect(), any::<[u32; 2]>(), bytes(200)).prop_map(|(rect, [addr, len], bytes)| Data {
            rect,
            addr,
            len,
            bytes,
        });
        let tensor = || {
            let t = (name(), dtype(), shape()).prop_map(|(name, dtype, shape)| IoTensor { name, dtype, shape });
            vec(t, 0..3)
        };
        let code = (vec(class(), 0..3), vec(region(), 0..3), vec(route, 0..4), vec(data, 0..3));
        let ports = [vec(io_port(), 0..3), vec(io_port(), 0..3)];
        let in_place = [vec(resident(), 0..2), vec(resident(), 0..2)];
        (names, code, [tensor(), tensor()], ports, in_place).prop_map(
            |(
                (machine, machine_hash, model, nodes),
                (classes, regions, routes, data),
                [inputs, outputs],
                [in_ports, out_ports],
                [in_sram, out_sram],
            )| Program {
                machine,
                machine_hash,
                model,
                nodes,
                classes,
                regions,
                routes,
                data,
                inputs,
                outputs,
                in_ports,
                out_ports,
                in_sram,
                out_sram,
            },
        )
    }
}

/// Any instruction of the chip that has an encoding.
pub fn tsp_inst() -> impl Strategy<Value = tsp::Inst> {
    chip::inst()
}

/// The instruction list of one queue of the chip, in order.
pub fn tsp_issues() -> impl Strategy<Value = Vec<tsp::Issue>> {
    chip::issues()
}

/// A chip program that can be written down.
pub fn tsp_program() -> impl Strategy<Value = tsp::Program> {
    chip::program()
}

/// A mesh program that can be written down.
pub fn wafer_program() -> impl Strategy<Value = wafer::Program> {
    mesh::program()
}
