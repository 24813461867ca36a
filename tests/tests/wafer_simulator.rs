//! The `wafer` simulator on programs built by hand: values, cycles, reference points.

mod wafer_support;

use quadrille_isa::wafer::*;
use quadrille_isa::{DType, Tensor};
use quadrille_runtime::wafer::{LinkLoad, Options, Peek, SimError, SimResult, check, simulate, simulate_with};
use wafer_support::*;

use ElemType::{F16, F32, I32};
use Port::{East, North, Ramp, South, West};

/// Checks, then runs, and reads SRAM.
fn run(b: &Builder, inputs: &[Tensor], peeks: &[(u16, u16, u32, u32)]) -> SimResult {
    let report = check(&b.program, &b.machine);
    assert!(report.ok(), "{}", report.errors.iter().map(|e| format!("{e}\n")).collect::<String>());
    let peeks = peeks.iter().map(|&(x, y, addr, len)| Peek { pe: Pe { x, y }, addr, len }).collect();
    simulate_with(&b.program, &b.machine, inputs, &Options { peeks, ..Options::default() }).unwrap()
}

#[test]
fn a_copy_in_sram_takes_launch_and_elements_over_rate() {
    let mut b = Builder::small();
    let values: Vec<f32> = (0..10).map(|i| i as f32).collect();
    b.data_f32(Rect::pe(3, 3), 0, &values);
    b.region(Rect::pe(3, 3), vec![start(vec![op(PeOp::Mov, 10, dst(mem(F32, 100)), &[src(mem(F32, 0))])])], &[], &[]);
    let r = run(&b, &[], &[(3, 3, 100, 40)]);
    assert_eq!(f32_values(&r.peeked[0]), values);
    // Task switch 8, launch 4, ten elements at two a cycle.
    assert_eq!(r.cycles, 8 + 4 + 5);
    assert_eq!(r.kernel_cycles, 4 + 5);
}

#[test]
fn casts_and_arithmetic_follow_the_types() {
    let mut b = Builder::small();
    let values = [1.0, -2.5, 3.25, 65504.0];
    b.data_f32(Rect::pe(0, 0), 0, &values);
    b.region(
        Rect::pe(0, 0),
        vec![start(vec![
            op(PeOp::Mov, 4, dst(mem(F16, 64)), &[src(mem(F32, 0))]),
            op(PeOp::Mov, 4, dst(mem(I32, 96)), &[src(mem(F16, 64))]),
            op(PeOp::Mul, 4, dst(mem(F32, 128)), &[src(mem(F16, 64)), src(mem(F16, 64))]),
            op(PeOp::Add, 4, dst(mem(F16, 160)), &[src(mem(F16, 64)), src(mem(F16, 64))]),
        ])],
        &[],
        &[],
    );
    let r = run(&b, &[], &[(0, 0, 64, 8), (0, 0, 96, 16), (0, 0, 128, 16), (0, 0, 160, 8)]);
    assert_eq!(f16_values(&r.peeked[0]), values);
    let ints: Vec<i32> = r.peeked[1].chunks_exact(4).map(|c| i32::from_le_bytes(c.try_into().unwrap())).collect();
    assert_eq!(ints, [1, -2, 3, 65504]);
    assert_eq!(f32_values(&r.peeked[2]), [1.0, 6.25, 10.5625, 65504.0f32 * 65504.0]);
    assert_eq!(f16_values(&r.peeked[3]), [2.0, -5.0, 6.5, f32::INFINITY]);
    // Casts one a cycle, mixed product two, f16 sum four.
    assert_eq!(r.cycles, 8 + 4 * 4 + 4 + 4 + 2 + 1);
}

/// Inputs lie in SRAM before the first cycle and outputs after the last, in the types in which they are kept.
#[test]
fn tensors_in_sram() {
    let mut b = Builder::small();
    let tensor = |name: &str, dtype, n| IoTensor { name: name.to_owned(), dtype, shape: vec![n] };
    b.program.inputs = vec![tensor("x", DType::F32, 3), tensor("n", DType::I64, 1)];
    b.program.outputs = vec![tensor("y", DType::F32, 3), tensor("m", DType::I64, 2)];
    let pes = rect(3, 3, 2, 1);
    let none = Resident::NONE;
    let at = |tensor, addr, ty, len, index| Resident { tensor, rect: pes, addr, ty, len, index };
    // PE 0 has x[2] and x[0], PE 1 has x[1]; both have n.
    b.program.in_sram = vec![at(0, 0, F16, 2, vec![2, 0, 1, none]), at(1, 8, I32, 1, vec![0])];
    b.program.out_sram = vec![at(0, 16, F32, 2, vec![2, 0, 1, none]), at(1, 24, I32, 1, vec![1, 0])];
    let halved = op(PeOp::Mul, 2, dst(mem(F32, 16)), &[src(mem(F16, 0)), f32imm(0.5)]);
    let less = op(PeOp::Sub, 1, dst(mem(I32, 24)), &[src(mem(I32, 8)), Src::Imm(3, I32)]);
    b.region(pes, vec![start(vec![halved, less])], &[], &[]);
    let x = Tensor::new(DType::F32, vec![3], f32_bytes(&[1.0, 1.0 / 3.0, -4.0])).unwrap();
    let n = Tensor::new(DType::I64, vec![1], 1i64.to_le_bytes().to_vec()).unwrap();
    let r = run(&b, &[x, n], &[]);
    let third = half::f16::from_f32(1.0 / 3.0).to_f32();
    assert_eq!(f32_values(&r.outputs[0].data), [0.5, third * 0.5, -2.0]);
    assert_eq!(r.outputs[1].data[..], [(-2i64).to_le_bytes(), (-2i64).to_le_bytes()].concat());
    assert_eq!((r.cycles, r.kernel_cycles, r.interval_cycles), (8 + 4 + 2 + 4 + 1, 4 + 2 + 4 + 1, None));
}

/// Sends `n` f32 elements from (0, 0) eastwards through the row to every one of `p` PEs.
fn broadcast(p: u16, n: i32) -> Builder {
    let mut b = Builder::on("wafer");
    b.data_f32(Rect::pe(0, 0), 0, &(0..n).map(|i| i as f32).collect::<Vec<_>>());
    b.region(Rect::pe(0, 0), vec![start(vec![op(PeOp::Mov, n, to(0, F32), &[src(mem(F32, 0))])])], &[], &[5]);
    b.region(rect(1, 0, p - 1, 1), vec![start(vec![op(PeOp::Mov, n, dst(mem(F32, 0)), &[from(0, F32)])])], &[5], &[]);
    b.route(Rect::pe(0, 0), 5, Ramp, &[East]);
    if p > 2 {
        b.route(rect(1, 0, p - 2, 1), 5, West, &[East, Ramp]);
    }
    b.route(Rect::pe(p - 1, 0), 5, West, &[Ramp]);
    b
}

#[test]
fn links_are_counted() {
    let b = broadcast(4, 10);
    let options = Options { record_links: true, ..Options::default() };
    let r = simulate_with(&b.program, &b.machine, &[], &options).unwrap();
    let load = |x| LinkLoad { pe: Pe { x, y: 0 }, port: East, wavelets: 10, colors: 1 << 5 };
    assert_eq!(r.links, [load(0), load(1), load(2)]);
    let r = simulate_with(&b.program, &b.machine, &[], &Options::default()).unwrap();
    assert_eq!(r.links, [], "only on request");
}

#[test]
fn broadcast_takes_b_plus_p_plus_two_ramps() {
    for (p, n) in [(2, 1), (2, 64), (15, 128), (100, 32), (300, 1000)] {
        let b = broadcast(p, n);
        let r = run(&b, &[], &[(p - 1, 0, 0, n as u32 * 4)]);
        assert_eq!(f32_values(&r.peeked[0]), (0..n).map(|i| i as f32).collect::<Vec<_>>());
        // Plus the launch of the sender; its task switch is not in the kernel's cycles.
        let published = u64::from(p) + n as u64 + 2 * 2;
        assert_eq!(r.kernel_cycles, published + 4, "{p} PEs, {n} wavelets");
    }
}

/// Sums a vector of `n` f32 from every PE of a row of `p` into the western one. Colors
/// alternate, since a PE both receives and sends.
fn chain_reduce(p: u16, n: i32) -> Builder {
    let mut b = Builder::on("wafer");
    for x in 0..p {
        b.data_f32(Rect::pe(x, 0), 0, &(0..n).map(|i| (i + i32::from(x)) as f32).collect::<Vec<_>>());
        let (get, put) = (u8::from(x % 2 == 0), u8::from(x % 2 == 1));
        let body = if x + 1 == p {
            op(PeOp::Mov, n, to(2, F32), &[src(mem(F32, 0))])
        } else {
            let out = if x == 0 { dst(mem(F32, 0)) } else { to(2, F32) };
            op(PeOp::Add, n, out, &[src(mem(F32, 0)), from(0, F32)])
        };
        let region = b.region(Rect::pe(x, 0), vec![start(vec![body])], &[], &[]);
        if x + 1 < p {
            region.in_colors = vec![Some(Color(get))];
        }
        if x > 0 {
            region.out_colors = vec![None, None, Some(Color(put))];
        }
        if x + 1 < p {
            b.route(Rect::pe(x, 0), get, East, &[Ramp]);
        }
        if x > 0 {
            b.route(Rect::pe(x, 0), put, Ramp, &[West]);
        }
    }
    b
}

#[test]
fn chain_reduce_is_within_four_percent_of_the_published_model() {
    for (p, n) in [(2, 1), (15, 128), (64, 256), (200, 1000)] {
        let b = chain_reduce(p, n);
        let r = run(&b, &[], &[(0, 0, 0, n as u32 * 4)]);
        let want: Vec<f32> = (0..n).map(|i| (0..i32::from(p)).map(|x| (i + x) as f32).sum::<f32>()).collect();
        assert_eq!(f32_values(&r.peeked[0]), want);
        let published = n as u64 + (2 * 2 + 2) * (u64::from(p) - 1);
        // All launches happen at once before the first wavelet, so one launch adds in all.
        assert_eq!(r.kernel_cycles, published + 4, "{p} PEs, {n} wavelets");
    }
}

#[test]
fn a_copy_to_the_neighbour() {
    let r = run(&broadcast(2, 8), &[], &[(1, 0, 0, 32)]);
    // Published for a vector copy: 22. Launch 4 + 8 wavelets + 2 PEs + 4 ramp cycles.
    assert_eq!(r.kernel_cycles, 18);
}

/// in (row 0, west) -> PE (x, 0) -> out (row 0, east), f32, with this class.
fn pipeline(tasks: Vec<Task>, dtype_in: DType, n_in: usize, dtype_out: DType, n_out: usize) -> Builder {
    let mut b = Builder::small();
    b.input(dtype_in, &[n_in], 0, 0);
    b.output(dtype_out, &[n_out], 0, 1);
    b.route(rect(0, 0, 4, 1), 0, West, &[East]);
    b.route(Rect::pe(4, 0), 0, West, &[Ramp]);
    b.region(Rect::pe(4, 0), tasks, &[0], &[1]);
    b.route(Rect::pe(4, 0), 1, Ramp, &[East]);
    b.route(rect(5, 0, 11, 1), 1, West, &[East]);
    b
}

#[test]
fn a_stream_through_one_pe() {
    let n = 500;
    let b = pipeline(
        vec![start(vec![op(PeOp::Add, n, to(0, F32), &[from(0, F32), f32imm(1.0)])])],
        DType::F32,
        n as usize,
        DType::F32,
        n as usize,
    );
    let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let r = run(&b, &[Tensor::from_f32(&[n as usize], &values)], &[]);
    assert_eq!(r.outputs[0].as_f32().unwrap(), values.iter().map(|v| v + 1.0).collect::<Vec<_>>());
    // Task switch and launch (12) end while the first wavelets come; then one a cycle, the
    // ramp up, the step, and 11 hops to the edge.
    assert_eq!(r.cycles, 12 + n as u64 + 1 + 2 + 11);
}

#[test]
fn f16_packs_two_and_pads_the_tail() {
    let n = 7;
    let b = pipeline(
        vec![start(vec![op(PeOp::Mul, n, to(0, F16), &[from(0, F16), Src::Imm(0x4000, F16)])])],
        DType::F16,
        n as usize,
        DType::F16,
        n as usize,
    );
    let values: Vec<f32> = (0..n).map(|i| i as f32 / 2.0).collect();
    let r = run(&b, &[f16_tensor(&[n as usize], &values)], &[]);
    assert_eq!(f16_values(&r.outputs[0].data), values.iter().map(|v| v * 2.0).collect::<Vec<_>>());
}

#[test]
fn a_data_task_with_a_circular_buffer() {
    // Keeps the last four values in a ring of four, and sends their sum each time.
    let ring = stepping(mem(F32, 0), 1, 4);
    let body = vec![
        op(PeOp::Mov, 1, dst(ring), &[from(0, F32)]),
        op(PeOp::Mov, 1, dst(mem(F32, 64)), &[f32imm(0.0)]),
        op(PeOp::Add, 4, dst(strided(F32, 64, 0, 0)), &[src(strided(F32, 64, 0, 0)), src(mem(F32, 0))]),
        op(PeOp::Mov, 1, to(0, F32), &[src(mem(F32, 64))]),
    ];
    let b = pipeline(vec![data_task("window", 0, body)], DType::F32, 6, DType::F32, 6);
    let r = run(&b, &[Tensor::from_f32(&[6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], &[]);
    assert_eq!(r.outputs[0].as_f32().unwrap(), [1.0, 3.0, 6.0, 10.0, 14.0, 18.0]);
}

#[test]
fn fma_with_a_row_scalar_is_a_matrix_vector_product() {
    // y (3) += x[r] * W[r][..] for 4 rows, x from the fabric one scalar a row.
    let w: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let body = vec![
        rows(
            op(
                PeOp::Fma,
                3,
                dst(strided(F32, 128, 1, 0)),
                &[Src::FabricRowScalar(InQueue(0), F32), src(strided(F32, 0, 1, 3)), src(strided(F32, 128, 1, 0))],
            ),
            4,
        ),
        op(PeOp::Mov, 3, to(0, F32), &[src(mem(F32, 128))]),
    ];
    let mut b = pipeline(vec![start(body)], DType::F32, 4, DType::F32, 3);
    b.data_f32(Rect::pe(4, 0), 0, &w);
    let x = [1.0, 10.0, 100.0, 1000.0];
    let r = run(&b, &[Tensor::from_f32(&[4], &x)], &[]);
    let want: Vec<f32> = (0..3).map(|c| (0..4).map(|k| x[k] * w[k * 3 + c]).sum()).collect();
    assert_eq!(r.outputs[0].as_f32().unwrap(), want);
}

#[test]
fn asynchronous_operations_overlap_and_activate() {
    // Receives into one buffer while doubling another, joined by activate and unblock.
    let join = TaskIx(1);
    let body = vec![
        asynch(op(PeOp::Mov, 50, dst(mem(F32, 0)), &[from(0, F32)]), 3, &[Action::Activate(join)]),
        asynch(
            op(PeOp::Mul, 40, dst(mem(F32, 1024)), &[src(mem(F32, 1024)), f32imm(2.0)]),
            4,
            &[Action::Unblock(join)],
        ),
    ];
    let mut second = local(
        "join",
        vec![
            op(PeOp::Add, 40, dst(mem(F32, 0)), &[src(mem(F32, 0)), src(mem(F32, 1024))]),
            op(PeOp::Mov, 50, to(0, F32), &[src(mem(F32, 0))]),
        ],
    );
    second.blocked = true;
    let mut b = pipeline(vec![start(body), second], DType::F32, 50, DType::F32, 50);
    b.data_f32(Rect::pe(4, 0), 1024, &[3.0; 40]);
    let values: Vec<f32> = (0..50).map(|i| i as f32).collect();
    let r = run(&b, &[Tensor::from_f32(&[50], &values)], &[]);
    let want: Vec<f32> = (0..50).map(|i| i as f32 + if i < 40 { 6.0 } else { 0.0 }).collect();
    assert_eq!(r.outputs[0].as_f32().unwrap(), want);
}

#[test]
fn multicast_reaches_all_and_a_slow_receiver_holds_back_the_sender() {
    let mut b = Builder::small();
    let n = 64;
    b.data_f32(Rect::pe(5, 5), 0, &(0..n).map(|i| i as f32).collect::<Vec<_>>());
    b.region(Rect::pe(5, 5), vec![start(vec![op(PeOp::Mov, n, to(0, F32), &[src(mem(F32, 0))])])], &[], &[9]);
    b.route(Rect::pe(5, 5), 9, Ramp, &[North, South, East, West]);
    let receive = |n: i32| op(PeOp::Mov, n, dst(mem(F32, 0)), &[from(0, F32)]);
    for (x, y, rx) in [(5, 4, South), (5, 6, North), (4, 5, East)] {
        b.region(Rect::pe(x, y), vec![start(vec![receive(n)])], &[9], &[]);
        b.route(Rect::pe(x, y), 9, rx, &[Ramp]);
    }
    // The eastern one first works for 1,000 cycles.
    let busy = op(PeOp::Max, 1000, dst(strided(F32, 1000, 0, 0)), &[f32imm(1.0), f32imm(2.0)]);
    b.region(Rect::pe(6, 5), vec![start(vec![busy, receive(n)])], &[9], &[]);
    b.route(Rect::pe(6, 5), 9, West, &[Ramp]);
    let r = run(&b, &[], &[(5, 4, 0, 256), (5, 6, 0, 256), (4, 5, 0, 256), (6, 5, 0, 256)]);
    for bytes in &r.peeked {
        assert_eq!(f32_values(bytes), (0..n).map(|i| i as f32).collect::<Vec<_>>());
    }
    // The slow one starts at 8 + 4 + 1000 + 4 and then takes a wavelet a cycle; f32 Mov could
    // do two, so what waits in its queue lets it catch up a little at the start.
    assert!((1016 + 50..1016 + 70).contains(&r.cycles), "{}", r.cycles);
}

#[test]
fn interval_of_a_batch() {
    let n = 4 * 16;
    let mut b = pipeline(
        vec![start(vec![op(PeOp::Exp2, n, to(0, F32), &[from(0, F32)])])],
        DType::F32,
        n as usize,
        DType::F32,
        n as usize,
    );
    b.program.outputs[0].shape = vec![4, 16];
    let r = run(&b, &[Tensor::from_f32(&[n as usize], &[0.0; 64])], &[]);
    assert_eq!(r.interval_cycles, Some(16));
}

#[test]
fn a_deadlock_is_reported_not_waited_for() {
    // Two PEs that each wait for the other before they send.
    let mut b = Builder::small();
    for (x, get, put, rx, tx) in [(0, 0, 1, East, East), (1, 1, 0, West, West)] {
        let body = vec![
            op(PeOp::Mov, 4, dst(mem(F32, 0)), &[from(0, F32)]),
            op(PeOp::Mov, 4, to(0, F32), &[src(mem(F32, 0))]),
        ];
        b.region(Rect::pe(x, 0), vec![start(body)], &[get], &[put]);
        b.route(Rect::pe(x, 0), get, rx, &[Ramp]);
        b.route(Rect::pe(x, 0), put, Ramp, &[tx]);
    }
    match simulate(&b.program, &b.machine, &[]) {
        Err(SimError::Deadlock { waiting, .. }) => assert_eq!(waiting.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_without_end_is_stopped() {
    let mut b = Builder::small();
    let mut forever = start(vec![op(PeOp::Mov, 1, dst(mem(F32, 0)), &[f32imm(1.0)])]);
    forever.on_end = vec![Action::Activate(TaskIx(0))];
    b.region(Rect::pe(0, 0), vec![forever], &[], &[]);
    assert!(matches!(simulate(&b.program, &b.machine, &[]), Err(SimError::Runaway { .. })));
}
