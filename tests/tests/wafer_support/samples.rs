//! Accepted programs on `wafer-small`, with inputs: what the mutation tests change.

use super::*;
use ElemType::{F16, F32};
use Port::{East, North, Ramp, South, West};

pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) builder: Builder,
    pub(crate) inputs: Vec<Tensor>,
}

fn ramp_values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 - 7.0) / 4.0).collect()
}

/// A row: in -> PE 4 -> out.
fn one_pe(tasks: Vec<Task>, dtype: DType, n_in: usize, n_out: usize) -> Builder {
    let mut b = Builder::small();
    b.input(dtype, &[n_in], 0, 0);
    b.output(dtype, &[n_out], 0, 1);
    b.route(rect(0, 0, 4, 1), 0, West, &[East]);
    b.route(Rect::pe(4, 0), 0, West, &[Ramp]);
    b.region(Rect::pe(4, 0), tasks, &[0], &[1]);
    b.route(Rect::pe(4, 0), 1, Ramp, &[East]);
    b.route(rect(5, 0, 11, 1), 1, West, &[East]);
    b
}

/// A ring buffer that holds the last four values and sends their sum.
fn window() -> Sample {
    let body = vec![
        op(PeOp::Mov, 1, dst(stepping(mem(F32, 0), 1, 4)), &[from(0, F32)]),
        op(PeOp::Mov, 1, dst(mem(F32, 64)), &[f32imm(0.0)]),
        op(PeOp::Add, 4, dst(strided(F32, 64, 0, 0)), &[src(strided(F32, 64, 0, 0)), src(mem(F32, 0))]),
        op(PeOp::Mov, 1, to(0, F32), &[src(mem(F32, 64))]),
    ];
    let builder = one_pe(vec![data_task("window", 0, body)], DType::F32, 12, 12);
    Sample { name: "window", builder, inputs: vec![Tensor::from_f32(&[12], &ramp_values(12))] }
}

/// Receives while it computes, then joins by activation and unblocking.
fn join() -> Sample {
    let body = vec![
        asynch(op(PeOp::Mov, 20, dst(mem(F16, 0)), &[from(0, F16)]), 3, &[Action::Activate(TaskIx(1))]),
        asynch(
            op(PeOp::Mul, 20, dst(mem(F16, 1024)), &[src(mem(F16, 1024)), Src::Imm(0x4000, F16)]),
            4,
            &[Action::Unblock(TaskIx(1))],
        ),
    ];
    let mut second = local(
        "join",
        vec![
            op(PeOp::Add, 20, dst(mem(F16, 0)), &[src(mem(F16, 0)), src(mem(F16, 1024))]),
            op(PeOp::Mov, 20, to(0, F16), &[src(mem(F16, 0))]),
        ],
    );
    second.blocked = true;
    let mut builder = one_pe(vec![start(body), second], DType::F16, 20, 20);
    builder.data(Rect::pe(4, 0), 1024, 40, f16_bytes(&ramp_values(20)));
    Sample { name: "join", builder, inputs: vec![f16_tensor(&[20], &ramp_values(20))] }
}

/// A matrix-vector product over a column of four PEs: x is broadcast down the column, each PE
/// holds three rows of the weights (its own data), and partial sums go back up the chain; PEs
/// take their slice of x by a parameter.
fn matvec() -> Sample {
    let mut b = Builder::small();
    let (k, n) = (12, 5);
    b.input(DType::F32, &[k], 0, 0);
    b.output(DType::F32, &[n], 0, 1);
    b.route(rect(0, 0, 6, 1), 0, West, &[East]);
    b.route(Rect::pe(6, 0), 0, West, &[South, Ramp]);
    b.route(rect(6, 1, 1, 2), 0, North, &[South, Ramp]);
    b.route(Rect::pe(6, 3), 0, North, &[Ramp]);
    let x_at = 0;
    let (w_at, y_at) = (256, 512);
    let slice = Mem { base: Val::Param(0), ..strided(F32, 0, 0, 1) };
    let receive = || op(PeOp::Mov, 12, dst(mem(F32, x_at)), &[from(0, F32)]);
    let product = || {
        rows(
            op(
                PeOp::Fma,
                5,
                dst(strided(F32, y_at, 1, 0)),
                &[Src::RowScalar(slice), src(strided(F32, w_at, 1, 5)), src(strided(F32, y_at, 1, 0))],
            ),
            3,
        )
    };
    let table = |row: i32| vec![ParamFn::Affine { base: row * 12, dx: 0, dy: 12 }];
    // Colors 2 and 3 alternate on the way up.
    let add = |q: u8| op(PeOp::Add, 5, to(q, F32), &[src(mem(F32, y_at)), from(1, F32)]);
    b.region(
        rect(6, 3, 1, 1),
        vec![start(vec![receive(), product(), op(PeOp::Mov, 5, to(0, F32), &[src(mem(F32, y_at))])])],
        &[0],
        &[2],
    )
    .params = table(3);
    b.route(Rect::pe(6, 3), 2, Ramp, &[North]);
    b.route(Rect::pe(6, 2), 2, South, &[Ramp]);
    b.region(rect(6, 2, 1, 1), vec![start(vec![receive(), product(), add(0)])], &[0, 2], &[3]).params = table(2);
    b.route(Rect::pe(6, 2), 3, Ramp, &[North]);
    b.route(Rect::pe(6, 1), 3, South, &[Ramp]);
    b.region(rect(6, 1, 1, 1), vec![start(vec![receive(), product(), add(0)])], &[0, 3], &[2]).params = table(1);
    b.route(Rect::pe(6, 1), 2, Ramp, &[North]);
    b.route(Rect::pe(6, 0), 2, South, &[Ramp]);
    b.region(rect(6, 0, 1, 1), vec![start(vec![receive(), product(), add(0)])], &[0, 2], &[1]).params = table(0);
    b.route(Rect::pe(6, 0), 1, Ramp, &[East]);
    b.route(rect(7, 0, 9, 1), 1, West, &[East]);
    let weights: Vec<f32> = (0..12 * 5).map(|i| ((i * 7) % 11) as f32 - 5.0).collect();
    b.data(rect(6, 0, 1, 4), w_at as u32, 60, f32_bytes(&weights));
    Sample { name: "matvec", builder: b, inputs: vec![Tensor::from_f32(&[k], &ramp_values(k))] }
}

/// Two inputs on two rows and two colors of one PE, compared and selected, in a loop.
fn select() -> Sample {
    let mut b = Builder::small();
    b.input(DType::F32, &[4, 6], 0, 0);
    b.input(DType::F32, &[4, 6], 4, 2);
    b.output(DType::F32, &[4, 6], 4, 1);
    b.route(rect(0, 0, 5, 1), 0, West, &[East]);
    b.route(Rect::pe(5, 0), 0, West, &[South]);
    b.route(rect(5, 1, 1, 3), 0, North, &[South]);
    b.route(Rect::pe(5, 4), 0, North, &[Ramp]);
    b.route(rect(0, 4, 5, 1), 2, West, &[East]);
    b.route(Rect::pe(5, 4), 2, West, &[Ramp]);
    let body = vec![
        op(PeOp::Mov, 6, dst(mem(F32, 0)), &[from(0, F32)]),
        op(PeOp::Mov, 6, dst(mem(F32, 32)), &[from(2, F32)]),
        op(PeOp::CmpLt, 6, dst(mem(F32, 64)), &[src(mem(F32, 0)), src(mem(F32, 32))]),
        op(PeOp::Select, 6, dst(mem(F32, 96)), &[src(mem(F32, 64)), src(mem(F32, 0)), src(mem(F32, 32))]),
        op(PeOp::Max, 6, to(1, F32), &[src(mem(F32, 96)), f32imm(-1.0)]),
    ];
    let region = b.region(Rect::pe(5, 4), vec![repeated(start(body), 4)], &[], &[]);
    region.in_colors = vec![Some(Color(0)), None, Some(Color(2))];
    region.out_colors = vec![None, Some(Color(1))];
    b.route(Rect::pe(5, 4), 1, Ramp, &[East]);
    b.route(rect(6, 4, 10, 1), 1, West, &[East]);
    let (x, y) = (ramp_values(24), ramp_values(24).into_iter().rev().collect::<Vec<_>>());
    Sample { name: "select", builder: b, inputs: vec![Tensor::from_f32(&[4, 6], &x), Tensor::from_f32(&[4, 6], &y)] }
}

pub(crate) fn all() -> Vec<Sample> {
    vec![window(), join(), matvec(), select()]
}
