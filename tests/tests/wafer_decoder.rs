//! Decoder layers in whole-mesh mode: from the ONNX file to results in SRAM, checked and simulated, against the
//! declared order of sums bit for bit and ONNX Runtime within the tolerance of f16.

use quadrille::compare::{Precision, Tolerance, compare};
use quadrille::pipeline;
use quadrille_compiler::ir::Graph;
use quadrille_isa::Tensor;
use quadrille_isa::wafer::Machine;
use quadrille_runtime::wafer::{check, simulate};
use quadrille_tests::corpus;
use quadrille_tests::whole::imported;
use quadrille_wafer::collective::gemv::Grid;
use quadrille_wafer::whole_mesh::{self, WholeMesh};

struct Ran {
    mesh: WholeMesh,
    cycles: u64,
}

fn clean(graph: &Graph) -> Graph {
    pipeline::run_passes(graph, None, &["clean".to_string()]).expect("the passes run")
}

fn run(name: &str, machine: &Machine, grid: Grid) -> Ran {
    run_with(name, machine, grid, &whole_mesh::Options::default())
}

fn run_with(name: &str, machine: &Machine, grid: Grid, options: &whole_mesh::Options) -> Ran {
    let (graph, feeds, names) = imported(&corpus::model(name));
    let graph = clean(&graph);
    let inputs = feeds.for_graph(&graph, 0).expect("inputs for every input of the graph");
    let mesh = whole_mesh::compile(&graph, machine, grid, options).unwrap_or_else(|e| panic!("{e}"));
    let report = check(&mesh.program, machine);
    assert!(report.ok(), "{:#?}", report.errors);
    let r = simulate(&mesh.program, machine, &inputs).expect("it ends");
    let got = r.outputs;
    let want = mesh.eval(&inputs).expect("the inputs are the graph's");
    for (name, (a, b)) in names.iter().zip(got.iter().zip(&want)) {
        assert!(a == b, "output `{name}`: simulated bits differ from the declared ones");
    }
    let triples: Vec<(&str, &Tensor, &Tensor)> =
        names.iter().zip(&got).map(|(n, got)| (n.as_str(), got, &feeds.expected[n])).collect();
    let comparison = compare(&triples, Tolerance::of(Precision::F16)).expect("types and shapes agree");
    let comparison = comparison.expect("there are outputs");
    assert!(comparison.ok, "too far from ONNX Runtime: {comparison:?}");
    println!("{name} {grid:?}: {} cycles, declared {}", r.kernel_cycles, mesh.declared_cycles());
    println!("{} bytes; context {:?}", mesh.sram_bytes, [1, 16].map(|n| mesh.longest_context(machine, n)));
    let mut last = 0;
    for p in &mesh.phases {
        println!("{:6} {:5} {} {}", p.end, p.end - last, p.what, p.node);
        last = p.end;
    }
    Ran { mesh, cycles: r.kernel_cycles }
}

/// Declared cycles are those of the simulator, but for some words that wait for each other.
fn agree(r: &Ran) {
    let declared = r.mesh.declared_cycles();
    assert!(declared.abs_diff(r.cycles) <= (r.cycles / 25).max(8), "declared {declared}, simulated {}", r.cycles);
}

#[test]
fn a_layer_on_a_small_mesh() {
    let machine = Machine::builtin("wafer-small").unwrap();
    agree(&run("decoder-tiny", &machine, Grid { width: 16, height: 16 }));
}

#[test]
fn the_grid_may_have_any_extent() {
    let machine = Machine::builtin("wafer").unwrap();
    for (width, height) in [(3, 3), (7, 12), (31, 18), (40, 41)] {
        agree(&run("decoder-tiny", &machine, Grid { width, height }));
    }
}

#[test]
fn layers_whose_extents_divide_by_nothing() {
    let machine = Machine::builtin("wafer").unwrap();
    for (width, height) in [(16, 16), (17, 9), (9, 23)] {
        agree(&run("decoder-uneven", &machine, Grid { width, height }));
    }
}

/// A whole step of a small Llama: token and place at run time, an embedding, tables of the rotary embedding looked up, static
/// caches written in their place under a mask, two layers, logits.
#[test]
fn a_step_with_static_caches() {
    let small = Machine::builtin("wafer-small").unwrap();
    let r = run("llama-tiny", &small, Grid { width: 16, height: 16 });
    agree(&r);
    let class = r.mesh.program.classes.first().expect("a class");
    let repeats: Vec<_> = class.tasks.iter().map(|t| t.repeat).collect();
    assert_eq!(repeats, [1, 2, 1].map(quadrille_isa::wafer::Val::Const), "look-ups, two layers, logits");
    let machine = Machine::builtin("wafer").unwrap();
    for (width, height) in [(9, 50), (41, 33)] {
        agree(&run("llama-tiny", &machine, Grid { width, height }));
        agree(&run("decoder-static", &machine, Grid { width, height }));
    }
}

/// PEs without heads take more of the other weights: the fullest PE has less, and more positions fit.
#[test]
fn memory_may_be_even() {
    let machine = Machine::builtin("wafer").unwrap();
    for (name, width, height) in [("decoder-tiny", 24, 16), ("decoder-uneven", 40, 9)] {
        let grid = Grid { width, height };
        let (plain, even) = (
            run(name, &machine, grid),
            run_with(name, &machine, grid, &whole_mesh::Options { even_memory: true, ..Default::default() }),
        );
        agree(&even);
        assert!(even.mesh.sram_bytes < plain.mesh.sram_bytes, "{name}");
        assert!(even.mesh.longest_context(&machine, 4) > plain.mesh.longest_context(&machine, 4), "{name}");
    }
}

/// Equal layers are rounds of one program text, and share what they do not hold: memory of a second layer is that of
/// its weights and caches.
#[test]
fn equal_layers_are_rounds() {
    let machine = Machine::builtin("wafer").unwrap();
    let r = run("decoder-uneven", &machine, Grid { width: 16, height: 16 });
    let tasks: Vec<_> = r.mesh.program.classes.iter().flat_map(|c| &c.tasks).collect();
    assert!(tasks.iter().all(|t| t.repeat == quadrille_isa::wafer::Val::Const(2)), "two rounds");
    let bytes = u64::from(machine.geometry.sram_bytes_per_pe);
    let (one, many) = (r.mesh.longest_context(&machine, 1), r.mesh.longest_context(&machine, 16));
    assert!(one > many && many > Some(21), "{one:?} {many:?}");
    assert_eq!(r.mesh.longest_context(&machine, bytes), None);
}

/// LLaMA-3-8B's layer at position 2047.
#[test]
#[ignore = "makes a model of 870 MB and runs for minutes"]
fn a_layer_of_llama_8b() {
    let machine = Machine::builtin("wafer").unwrap();
    let r = run("decoder-llama-8b", &machine, Grid { width: 420, height: 420 });
    agree(&r);
    assert!(r.cycles < 12_700, "{} cycles", r.cycles);
    let r = run("decoder-llama-8b-static", &machine, Grid { width: 420, height: 420 });
    agree(&r);
    assert!(r.cycles < 12_700, "{} cycles", r.cycles);
    let even = whole_mesh::Options { even_memory: true, ..Default::default() };
    let r = run_with("decoder-llama-8b", &machine, Grid { width: 420, height: 420 }, &even);
    agree(&r);
    assert!(r.cycles < 12_700, "{} cycles", r.cycles);
}

fn refusal(graph: &Graph, machine: &Machine, (width, height): (u16, u16)) -> String {
    whole_mesh::compile(graph, machine, Grid { width, height }, &whole_mesh::Options::default())
        .expect_err("it is refused")
        .to_string()
}

/// What is no decoder step is refused by the name of the node in the way, with a remedy.
#[test]
fn other_graphs_are_refused() {
    let machine = Machine::builtin("wafer").unwrap();
    let of = |name: &str| clean(&imported(&corpus::model(name)).0);
    let images = refusal(&clean(&imported(&corpus::digits(3)).0), &machine, (16, 16));
    assert!(images.contains("compile the model as a pipeline"), "{images}");
    let prefill = refusal(&of("gpt2-tiny"), &machine, (16, 16));
    assert!(prefill.contains("pipeline"), "{prefill}");
}

#[test]
fn grids_that_cannot_be_are_refused() {
    let graph = clean(&imported(&corpus::model("decoder-tiny")).0);
    let small = Machine::builtin("wafer-small").unwrap();
    for grid in [(2, 16), (16, 2), (17, 16), (16, 17), (0, 0)] {
        let e = refusal(&graph, &small, grid);
        assert!(e.contains("choose another grid"), "{grid:?}: {e}");
    }
    let mut tight = small.clone();
    tight.geometry.sram_bytes_per_pe = 1024;
    let e = refusal(&graph, &tight, (16, 16));
    assert!(e.contains("use more PEs"), "{e}");
}
