//! The static checker of `wafer` programs: for each rule a program that breaks just it.

mod wafer_support;

use quadrille_isa::DType;
use quadrille_isa::wafer::*;
use quadrille_runtime::wafer::{CheckReport, Rule, check};
use std::collections::BTreeSet;
use wafer_support::*;

use ElemType::{F16, F32, I32};
use Port::{East, North, Ramp, South, West};

/// in (row 0) -> PE (4, 0), which adds one -> out (row 0), 16 f32.
fn good() -> Builder {
    with_tasks(vec![start(vec![op(PeOp::Add, 16, to(0, F32), &[from(0, F32), f32imm(1.0)])])])
}

fn with_tasks(tasks: Vec<Task>) -> Builder {
    let mut b = Builder::small();
    b.input(DType::F32, &[16], 0, 0);
    b.output(DType::F32, &[16], 0, 1);
    b.route(rect(0, 0, 4, 1), 0, West, &[East]);
    b.route(Rect::pe(4, 0), 0, West, &[Ramp]);
    b.region(Rect::pe(4, 0), tasks, &[0], &[1]);
    b.route(Rect::pe(4, 0), 1, Ramp, &[East]);
    b.route(rect(5, 0, 11, 1), 1, West, &[East]);
    b
}

fn relay() -> VecOp {
    op(PeOp::Mov, 16, to(0, F32), &[from(0, F32)])
}

fn small_op(addr: i32) -> VecOp {
    op(PeOp::Mov, 4, dst(mem(F32, addr)), &[f32imm(0.0)])
}

fn report(b: &Builder) -> CheckReport {
    check(&b.program, &b.machine)
}

fn broken(b: &Builder) -> BTreeSet<Rule> {
    report(b).errors.iter().map(|e| e.rule).collect()
}

fn rule_programs() -> Vec<(Rule, &'static str, Builder)> {
    let mut out: Vec<(Rule, &'static str, Builder)> = Vec::new();
    let mut add = |rule: Rule, what: &'static str, make: &dyn Fn() -> Builder| out.push((rule, what, make()));
    let edit = |f: &dyn Fn(&mut Builder)| {
        let mut b = good();
        f(&mut b);
        b
    };

    add(Rule::Machine, "another hash", &|| edit(&|b| b.program.machine_hash = "0".repeat(64)));
    add(Rule::Reference, "no such class", &|| {
        edit(&|b| {
            b.region(Rect::pe(9, 9), vec![], &[], &[]).class = ClassIx(7);
        })
    });
    add(Rule::Reference, "no such node", &|| edit(&|b| b.program.regions[0].node = NodeIx(3)));
    add(Rule::Reference, "no such task", &|| {
        edit(&|b| b.program.classes[0].tasks[0].on_end = vec![Action::Block(TaskIx(5))])
    });
    add(Rule::Reference, "no such tensor", &|| {
        edit(&|b| {
            b.program.in_ports.push(port(4, 0, 0, 0, 1));
        })
    });
    add(Rule::RegionPlace, "two regions on one PE", &|| {
        edit(&|b| {
            b.region(rect(8, 8, 2, 2), vec![], &[], &[]);
            b.region(rect(9, 9, 2, 2), vec![], &[], &[]);
        })
    });
    add(Rule::RegionPlace, "off the mesh", &|| {
        edit(&|b| {
            b.region(rect(15, 8, 2, 2), vec![], &[], &[]);
        })
    });
    add(Rule::Param, "missing", &|| edit(&|b| b.program.classes[0].tasks[0].body[0].n0 = Val::Param(0)));
    add(Rule::Param, "short table", &|| edit(&|b| b.program.regions[0].params = vec![ParamFn::Table(vec![])]));
    add(Rule::Param, "overflow in a corner", &|| {
        edit(&|b| {
            b.region(rect(8, 8, 2, 2), vec![], &[], &[]).params =
                vec![ParamFn::Affine { base: i32::MAX, dx: 0, dy: 1 }];
        })
    });
    add(Rule::QueueColor, "a color twice", &|| {
        edit(&|b| b.program.regions[0].in_colors = vec![Some(Color(0)), Some(Color(0))])
    });
    add(Rule::QueueColor, "nine input queues", &|| edit(&|b| b.program.regions[0].in_colors.resize(9, None)));
    add(Rule::QueueColor, "an unbound queue", &|| {
        edit(&|b| b.program.classes[0].tasks.push(data_task("never", 3, vec![])))
    });
    add(Rule::RoutePlace, "two routes of a color", &|| {
        edit(&|b| {
            let again = b.program.routes[0];
            b.program.routes.push(Route { rect: Rect::pe(2, 0), ..again });
        })
    });
    add(Rule::RoutePlace, "color 24", &|| edit(&|b| b.route(Rect::pe(7, 7), 24, West, &[East])));
    add(Rule::RoutePort, "sends back", &|| edit(&|b| b.program.routes[0].tx = set(&[East, West])));
    add(Rule::RoutePort, "leaves the mesh", &|| {
        edit(&|b| {
            b.route(Rect::pe(8, 0), 9, Ramp, &[North]);
            b.program.regions.push(Region { rect: Rect::pe(8, 0), ..b.program.regions[0].clone() });
            let last = b.program.regions.last_mut().unwrap();
            last.in_colors = vec![None];
            last.out_colors = vec![Some(Color(9))];
            last.class = ClassIx(1);
            b.program.classes.push(PeClass { name: "idle".to_owned(), tasks: vec![] });
        })
    });
    add(Rule::RouteSource, "nobody sends", &|| {
        edit(&|b| {
            b.region(Rect::pe(8, 8), vec![], &[7], &[]);
            b.route(Rect::pe(8, 8), 7, North, &[Ramp]);
        })
    });
    add(Rule::RouteTwoInputs, "a second sender", &|| {
        edit(&|b| {
            b.region(Rect::pe(2, 1), vec![], &[], &[0]);
            b.route(Rect::pe(2, 1), 0, Ramp, &[North]);
        })
    });
    add(Rule::RouteSink, "no route at the neighbour", &|| {
        edit(&|b| {
            b.region(Rect::pe(8, 8), vec![], &[], &[7]);
            b.route(Rect::pe(8, 8), 7, Ramp, &[East]);
        })
    });
    add(Rule::RouteSink, "no queue at the ramp", &|| edit(&|b| b.program.routes[0].tx = set(&[East, Ramp])));
    add(Rule::RouteLoop, "four routers in a ring", &|| {
        edit(&|b| {
            b.route(Rect::pe(8, 8), 7, South, &[East]);
            b.route(Rect::pe(9, 8), 7, West, &[South]);
            b.route(Rect::pe(9, 9), 7, North, &[West]);
            b.route(Rect::pe(8, 9), 7, East, &[North]);
        })
    });
    add(Rule::DataPlace, "overlap", &|| {
        edit(&|b| {
            b.data_f32(rect(4, 0, 1, 1), 0, &[1.0, 2.0]);
            b.data_f32(rect(3, 0, 2, 2), 4, &[1.0]);
        })
    });
    add(Rule::DataPlace, "too few bytes", &|| edit(&|b| b.data(rect(4, 0, 2, 2), 0, 8, vec![0; 24])));
    add(Rule::Sram, "an operand beyond the end", &|| {
        edit(&|b| b.program.classes[0].tasks[0].body.push(small_op(49152 - 8)))
    });
    add(Rule::Sram, "an operand in program text", &|| {
        // Two operations and a task take 64 bytes: 49,088 are free.
        edit(&|b| b.program.classes[0].tasks[0].body.push(small_op(49088 - 12)))
    });
    add(Rule::Sram, "data in program text", &|| edit(&|b| b.data(Rect::pe(4, 0), 49104 - 8, 16, vec![0; 16])));
    add(Rule::Align, "f32 at byte 2", &|| edit(&|b| b.program.classes[0].tasks[0].body.push(small_op(2))));
    add(Rule::Operand, "a row scalar outside Fma", &|| {
        edit(&|b| {
            let scalar = Src::RowScalar(mem(F32, 0));
            b.program.classes[0].tasks[0].body.push(op(PeOp::Add, 4, dst(mem(F32, 64)), &[f32imm(1.0), scalar]));
        })
    });
    add(Rule::Operand, "a negative count", &|| {
        edit(&|b| {
            let bad = VecOp { n0: Val::Const(-1), ..small_op(0) };
            b.program.classes[0].tasks[0].body.push(bad);
        })
    });
    add(Rule::Type, "an i32 product", &|| {
        edit(&|b| {
            let x = src(mem(I32, 0));
            b.program.classes[0].tasks[0].body.push(op(PeOp::Mul, 4, dst(mem(I32, 64)), &[x, x]));
        })
    });
    add(Rule::Type, "integer plus float", &|| {
        edit(&|b| {
            let (x, y) = (src(mem(I32, 0)), src(mem(F16, 0)));
            b.program.classes[0].tasks[0].body.push(op(PeOp::Add, 4, dst(mem(F32, 64)), &[x, y]));
        })
    });
    add(Rule::Microthread, "number 8", &|| {
        edit(&|b| b.program.classes[0].tasks[0].body[0].issue = IssueMode::Async(8))
    });
    add(Rule::Microthread, "reused in flight", &|| {
        edit(&|b| {
            let body = &mut b.program.classes[0].tasks[0].body;
            body[0].issue = IssueMode::Async(1);
            body.push(asynch(small_op(0), 1, &[]));
        })
    });
    add(Rule::QueueUse, "two operations on one queue", &|| {
        with_tasks(vec![start(vec![
            asynch(op(PeOp::Mov, 8, dst(mem(F32, 0)), &[from(0, F32)]), 0, &[]),
            op(PeOp::Mov, 8, dst(mem(F32, 64)), &[from(0, F32)]),
            op(PeOp::Mov, 16, to(0, F32), &[src(mem(F32, 128))]),
        ])])
    });
    add(Rule::QueueUse, "one operation, one queue, two operands", &|| {
        edit(&|b| b.program.classes[0].tasks[0].body[0].b = from(0, F32))
    });
    add(Rule::QueueUse, "a data task on a queue in use", &|| {
        with_tasks(vec![start(vec![asynch(relay(), 0, &[])]), data_task("eager", 0, vec![small_op(0)])])
    });
    add(Rule::InFlight, "written while read", &|| {
        with_tasks(vec![start(vec![
            relay(),
            asynch(op(PeOp::Mov, 8, dst(mem(F32, 64)), &[src(mem(F32, 0))]), 0, &[]),
            small_op(28),
        ])])
    });
    add(Rule::TaskOrder, "two data tasks", &|| {
        let mut b = with_tasks(vec![
            data_task("a", 0, vec![op(PeOp::Mov, 1, to(0, F32), &[from(0, F32)])]),
            data_task("b", 1, vec![op(PeOp::Mov, 1, dst(mem(F32, 0)), &[from(1, F32)])]),
        ]);
        b.program.regions[0].in_colors.push(Some(Color(2)));
        b.route(Rect::pe(4, 0), 2, South, &[Ramp]);
        b.route(Rect::pe(4, 1), 2, Ramp, &[North]);
        b.region(Rect::pe(4, 1), vec![start(vec![op(PeOp::Mov, 4, to(0, F32), &[src(mem(F32, 0))])])], &[], &[2]);
        b
    });
    add(Rule::TaskOrder, "an operation in flight against a later task", &|| {
        let first = asynch(relay(), 0, &[Action::Activate(TaskIx(1))]);
        let mut s = start(vec![first]);
        s.on_end = vec![Action::Activate(TaskIx(2))];
        with_tasks(vec![s, local("when sent", vec![small_op(0)]), local("after start", vec![small_op(64)])])
    });
    add(Rule::Activation, "twice", &|| {
        let mut s = start(vec![relay()]);
        s.on_end = vec![Action::Activate(TaskIx(1)), Action::Activate(TaskIx(1))];
        with_tasks(vec![s, local("once", vec![small_op(0)])])
    });
    add(Rule::Activation, "of a data task", &|| {
        let mut s = start(vec![relay()]);
        s.on_end = vec![Action::Activate(TaskIx(1))];
        let mut d = data_task("data", 0, vec![small_op(0)]);
        d.blocked = true;
        with_tasks(vec![s, d])
    });
    add(Rule::Traffic, "more received than sent", &|| {
        with_tasks(vec![start(vec![op(PeOp::Add, 16, to(0, F32), &[from(0, F32), f32imm(1.0)]), {
            op(PeOp::Mov, 1, dst(mem(F32, 0)), &[from(0, F32)])
        }])])
    });
    add(Rule::Traffic, "fewer received than sent", &|| {
        with_tasks(vec![start(vec![
            op(PeOp::Mov, 12, to(0, F32), &[from(0, F32)]),
            op(PeOp::Mov, 4, to(0, F32), &[f32imm(0.0)]),
        ])])
    });
    add(Rule::Deadlock, "each waits for the other", &|| {
        edit(&|b| {
            for (x, get, put, port) in [(8, 2, 3, East), (9, 3, 2, West)] {
                let body = vec![
                    op(PeOp::Mov, 4, dst(mem(F32, 0)), &[from(0, F32)]),
                    op(PeOp::Mov, 4, to(0, F32), &[src(mem(F32, 0))]),
                ];
                b.region(Rect::pe(x, 8), vec![start(body)], &[get], &[put]);
                b.route(Rect::pe(x, 8), get, port, &[Ramp]);
                b.route(Rect::pe(x, 8), put, Ramp, &[port]);
            }
        })
    });
    add(Rule::Deadlock, "each sends more than the buffers hold before it receives", &|| swap(40));
    add(Rule::Runaway, "a task that activates itself", &|| {
        edit(&|b| {
            let mut s = start(vec![small_op(0)]);
            s.on_end = vec![Action::Activate(TaskIx(0))];
            b.region(Rect::pe(8, 8), vec![s], &[], &[]);
        })
    });
    add(Rule::Port, "row 1 has no port", &|| {
        edit(&|b| {
            b.program.inputs.push(b.program.inputs[0].clone());
            b.program.in_ports.push(port(1, 1, 3, 0, 16));
            b.region(
                Rect::pe(0, 1),
                vec![start(vec![op(PeOp::Mov, 16, dst(mem(F32, 0)), &[from(0, F32)])])],
                &[3],
                &[],
            );
            b.route(Rect::pe(0, 1), 3, West, &[Ramp]);
        })
    });
    add(Rule::Port, "beyond the tensor", &|| edit(&|b| b.program.in_ports[0].elem0 = 1));
    add(Rule::Traffic, "an input of two wavelets an element", &|| edit(&|b| b.program.inputs[0].dtype = DType::F64));
    let kept = |f: &dyn Fn(&mut Resident)| {
        edit(&|b| {
            b.program.inputs.push(IoTensor { name: "kept".to_owned(), dtype: DType::F32, shape: vec![8] });
            b.program.in_sram.push(Resident {
                tensor: 1,
                rect: Rect::pe(4, 0),
                addr: 64,
                ty: F16,
                len: 4,
                index: vec![3, Resident::NONE, 0, 7],
            });
            b.data(Rect::pe(4, 0), 72, 4, vec![0; 4]);
            f(b.program.in_sram.last_mut().unwrap());
        })
    };
    let whole = report(&kept(&|_| {}));
    assert!(whole.ok() && whole.sram_bytes >= 76, "{:?}", whole.errors);
    add(Rule::Resident, "no program there", &|| kept(&|m| m.rect.w = 2));
    add(Rule::Resident, "off the mesh", &|| kept(&|m| m.rect.w = 13));
    add(Rule::Resident, "no such element", &|| kept(&|m| m.index[3] = 8));
    add(Rule::Resident, "too few elements", &|| kept(&|m| m.len = 5));
    add(Rule::Resident, "floats as integers", &|| kept(&|m| m.ty = I32));
    add(Rule::Reference, "no such tensor in SRAM", &|| kept(&|m| m.tensor = 2));
    add(Rule::Align, "an odd address", &|| kept(&|m| m.addr = 63));
    add(Rule::Sram, "a tensor in the program text", &|| kept(&|m| m.addr = 48 * 1024 - 8));
    add(Rule::DataPlace, "a tensor on other data", &|| kept(&|m| m.addr = 66));
    add(Rule::Output, "an element that leaves is in SRAM, too", &|| {
        edit(&|b| {
            let index = vec![5];
            let m = Resident { tensor: 0, rect: Rect::pe(4, 0), addr: 0, ty: F32, len: 1, index };
            b.program.out_sram.push(m);
        })
    });
    add(Rule::Output, "an element in SRAM twice", &|| {
        edit(&|b| {
            let t = IoTensor { name: "kept".to_owned(), dtype: DType::F32, shape: vec![2] };
            b.program.outputs.push(t);
            let m = Resident { tensor: 1, rect: Rect::pe(4, 0), addr: 0, ty: F32, len: 2, index: vec![1, 1] };
            b.program.out_sram.push(m);
        })
    });
    add(Rule::Output, "an element never leaves", &|| edit(&|b| b.program.outputs[0].shape = vec![17]));
    add(Rule::Output, "an element leaves twice", &|| {
        edit(&|b| b.program.out_ports[0].loops = vec![PortLoop { count: 16, elem_step: 0 }])
    });
    add(Rule::Output, "fewer wavelets than named", &|| {
        with_tasks(vec![start(vec![
            op(PeOp::Mov, 12, to(0, F32), &[from(0, F32)]),
            op(PeOp::Mov, 4, dst(mem(F32, 0)), &[from(0, F32)]),
        ])])
    });
    add(Rule::Output, "more wavelets than named", &|| {
        with_tasks(vec![start(vec![relay(), op(PeOp::Mov, 3, to(0, F32), &[f32imm(0.0)])])])
    });
    out
}

/// Two neighbours that each send `n` wavelets and then receive `n`.
fn swap(n: i32) -> Builder {
    let mut b = Builder::small();
    for (x, get, put, port) in [(8, 2, 3, East), (9, 3, 2, West)] {
        let body = vec![
            op(PeOp::Mov, n, to(0, F32), &[src(mem(F32, 0))]),
            op(PeOp::Mov, n, dst(mem(F32, 1024)), &[from(0, F32)]),
        ];
        b.region(Rect::pe(x, 8), vec![start(body)], &[get], &[put]);
        b.route(Rect::pe(x, 8), get, port, &[Ramp]);
        b.route(Rect::pe(x, 8), put, Ramp, &[port]);
    }
    b
}

#[test]
fn the_program_that_the_others_change_is_sound() {
    let r = report(&good());
    assert!(r.ok(), "{:?}", r.errors);
    assert_eq!(r.operations, 1);
    assert_eq!(r.program_bytes, 16 + 32);
}

#[test]
fn each_broken_program_breaks_just_its_rule() {
    let mut wrong = Vec::new();
    for (rule, what, b) in rule_programs() {
        let got = broken(&b);
        if got != BTreeSet::from([rule]) {
            wrong.push(format!("{rule} ({what}): {:#?}", report(&b).errors));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_a_program_that_breaks_it() {
    let covered: BTreeSet<Rule> = rule_programs().iter().map(|p| p.0).collect();
    let missing: Vec<&Rule> = Rule::ALL.iter().filter(|r| !covered.contains(r)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn errors_name_both_ends() {
    for (rule, what, b) in rule_programs() {
        for e in report(&b).errors {
            match rule {
                Rule::Traffic | Rule::Deadlock | Rule::RouteTwoInputs => {
                    assert!(e.pe.is_some() && e.other.is_some() && e.color.is_some(), "{what}: {e}");
                }
                Rule::InFlight | Rule::TaskOrder | Rule::Align => assert!(e.pe.is_some(), "{what}: {e}"),
                _ => {}
            }
        }
    }
    let e = &report(&swap(40)).errors[0];
    assert!(e.message.contains("(8, 8) waits for space on color 3 -> (9, 8) waits for space on color 2"), "{e}");
}

#[test]
fn the_buffers_on_the_way_are_counted_exactly() {
    // Output queue 2, ramp 2 + 2, link 2, ramp 2, input queue 6: sixteen wavelets are under way
    // at most before the receiver takes one. The simulator agrees on both sides of the edge.
    for n in 1..40 {
        let b = swap(n);
        let sound = report(&b).ok();
        let runs = quadrille_runtime::wafer::simulate(&b.program, &b.machine, &[]).is_ok();
        assert_eq!(sound, runs, "{n}");
        assert_eq!(sound, n <= 16, "{n}");
    }
}

#[test]
fn one_wrong_rectangle_is_reported_a_bounded_number_of_times() {
    let mut b = Builder::on("wafer");
    b.route(rect(0, 0, 700, 900), 3, North, &[Ramp]);
    let r = report(&b);
    assert!(r.total_errors >= 700 * 900 && r.errors.len() <= 32, "{} of {}", r.errors.len(), r.total_errors);
}

#[test]
fn a_later_start_of_a_data_task_is_not_mistaken_for_a_race() {
    // The data task has the higher id and is unblocked from the start; the local task surely
    // goes first.
    let b = with_tasks(vec![
        start(vec![small_op(0)]),
        data_task("add", 0, vec![op(PeOp::Add, 1, to(0, F32), &[from(0, F32), f32imm(1.0)])]),
    ]);
    assert!(report(&b).ok(), "{:?}", report(&b).errors);
}

#[test]
fn unused_ports_and_south_routes_are_fine() {
    let mut b = good();
    b.route(Rect::pe(8, 8), 7, Ramp, &[South]);
    b.region(Rect::pe(8, 8), vec![start(vec![op(PeOp::Mov, 3, to(0, F32), &[f32imm(0.0)])])], &[], &[7]);
    b.route(Rect::pe(8, 9), 7, North, &[Ramp]);
    b.region(Rect::pe(8, 9), vec![start(vec![op(PeOp::Mov, 3, Dst::None, &[from(0, F32)])])], &[7], &[]);
    assert!(report(&b).ok(), "{:?}", report(&b).errors);
}
