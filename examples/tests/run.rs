//! Every example program runs on a small input and prints what it says it prints.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

fn run<A: AsRef<OsStr>>(program: &str, args: &[A]) -> Output {
    Command::new(program).args(args).output().expect("starts")
}

fn text(out: &Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout.clone()).expect("prints text")
}

#[test]
fn draw_schedule_draws_every_busy_queue() {
    use quadrille_compiler::import;
    use quadrille_isa::container;
    use quadrille_tsp as tsp;
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/digits.onnx");
    let model = quadrille_onnx::load(&model).expect("loads");
    let graph = import::import(&model, &import::ImportOptions::default()).expect("imports");
    let machine = quadrille_isa::tsp::Machine::builtin("tsp").expect("built in");
    let program = tsp::compile(&graph, &machine, &tsp::Options::default()).expect("compiles").program;
    let busy = program.queues.values().filter(|issues| issues.len() > 1).count();
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("digits.qdl");
    let bytes = container::write(&container::AnyProgram::Tsp(program)).expect("has a binary form");
    std::fs::write(&file, bytes).expect("writes");
    let svg = text(&run(env!("CARGO_BIN_EXE_draw_schedule"), &[&file]));
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    // One grey band a queue.
    assert_eq!(svg.matches("#f2f2f2").count(), busy);
}

/// Two residual blocks and what leads in and out, in the contest's format.
const GRAPH: &str = "(*
test=small
width=60
height=60
wdeltat=1
wlength=1
wadapter=0
memlimit=24576
*)
input[ 0] n=[28 28 64] name='k0'
conv[1] W=28 H=28 R=3 S=3 C=64 K=64 T=1 U=1 name='k1'
conv[2] W=28 H=28 R=1 S=1 C=64 K=128 T=2 U=2 name='k2'
dblock[ 3] f=128 h=14 w=14 name='k3'
cblock[ 4] f=256 h=14 w=14 name='k4'
output[ 5] n=[7 7 256] name='k5'
input[ 0]:_ -> conv[1]:x, shape:[28][28][64]
conv[1]:y -> conv[2]:x, shape:[28][28][64]
conv[2]:y -> dblock[ 3]:x, shape:[14][14][128]
dblock[ 3]:y -> cblock[ 4]:x, shape:[14][14][128]
cblock[ 4]:y -> output[ 5]:_, shape:[7][7][256]
";

#[test]
fn place_kernels_prints_a_legal_plan_and_its_cost() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("small.kgraph"), GRAPH).expect("writes");
    let table = text(&run(env!("CARGO_BIN_EXE_place_kernels"), &[dir.path()]));
    let row: Vec<&str> = table.lines().last().expect("a row").split(" | ").collect();
    assert_eq!((row[0], row[1]), ("small", "4"));
    let number = |i: usize| row[i].parse::<f64>().expect("a number");
    let (time, length, cost, bound) = (number(2), number(3), number(4), number(5));
    assert!(time >= bound && time < 1.5 * bound, "{time} against {bound}");
    assert!(length > 0.0 && cost == time + length);
}

#[test]
fn place_kernels_names_the_line_at_fault() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("bad.kgraph"), GRAPH.replace("K=128", "K=x")).expect("writes");
    let out = run(env!("CARGO_BIN_EXE_place_kernels"), &[dir.path()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("line 12: no K"));
}

#[test]
fn wafer_gemv_and_wafer_gemm_agree_with_the_declared_order_of_sums() {
    let out = text(&run(env!("CARGO_BIN_EXE_wafer_gemv"), &["300", "--grid", "9x12"]));
    assert!(out.contains("all 300 results equal"), "{out}");
    let out = text(&run(env!("CARGO_BIN_EXE_wafer_gemv"), &["300", "--chained", "--grid", "12x9"]));
    assert!(out.contains("all 300 results equal"), "{out}");
    let out = text(&run(env!("CARGO_BIN_EXE_wafer_gemm"), &["3", "16", "--compare"]));
    assert!(out.contains("78.0 % of peak") && out.contains("| SUMMA |") && out.contains("bit for bit"), "{out}");
    for bad in [&["0"][..], &["many"], &["300", "--grid", "2x2"], &["300", "--grid", "9"]] {
        let out = run(env!("CARGO_BIN_EXE_wafer_gemv"), bad);
        assert!(!out.status.success() && !out.stderr.is_empty(), "{bad:?}");
    }
}
