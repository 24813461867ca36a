//! `report`: the page is whole, needs no network, and its numbers are those of the run.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/digits.onnx")
}

fn quadrille(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_quadrille")).args(args).output().expect("the binary runs")
}

/// The page and the numbers inside it.
fn report(target: &str) -> (String, Value) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("report.html");
    let model = digits();
    let out = quadrille(&["report", model.to_str().unwrap(), "--target", target, "-o", file.to_str().unwrap()]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let page = std::fs::read_to_string(&file).expect("written");
    let head = r#"<script type="application/json" id="data">"#;
    let from = page.find(head).expect("has data") + head.len();
    let to = from + page[from..].find("</script>").expect("the data ends");
    let data = serde_json::from_str(&page[from..to]).expect("the data is JSON");
    (page, data)
}

fn cycles(target: &str) -> u64 {
    let model = digits();
    let out = quadrille(&["run", model.to_str().unwrap(), "--target", target, "--format", "json"]);
    let run: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    run["cycles"].as_u64().expect("cycles")
}

fn stands_alone(page: &str) {
    assert!(!page.contains("{{"), "every blank is filled");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "the page refers to something outside: {outside}");
    }
}

#[test]
fn a_chip_report_has_every_instruction_and_the_cycles_of_the_run() {
    let (page, data) = report("tsp");
    stands_alone(&page);
    assert_eq!(data["kind"], "chip");
    assert_eq!(data["cycles"].as_u64(), Some(cycles("tsp")));
    let mut drawn = 0;
    for queue in data["units"].as_array().unwrap().iter().flat_map(|u| u["queues"].as_array().unwrap()) {
        let numbers: Vec<u64> = queue["issues"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!(numbers.len() % 5, 0);
        drawn += numbers.len() / 5;
        // In order, within the program, and naming nodes and texts that exist.
        for issue in numbers.chunks(5) {
            assert!(issue[0] + issue[1] * issue[2] < data["cycles"].as_u64().unwrap());
            assert!((issue[3] as usize) < data["names"].as_array().unwrap().len());
            assert!((issue[4] as usize) < data["texts"].as_array().unwrap().len());
        }
        assert!(numbers.chunks(5).map(|i| i[0]).is_sorted());
    }
    // All but the start of each queue.
    let queues: usize = data["units"].as_array().unwrap().iter().map(|u| u["queues"].as_array().unwrap().len()).sum();
    assert_eq!(drawn + queues, data["instructions"].as_u64().unwrap() as usize);
    for curve in data["curves"].as_array().unwrap() {
        let share: Vec<f64> = curve["share"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert!(share.iter().all(|s| (0.0..=1.0).contains(s)), "{}", curve["name"]);
        assert!(share.iter().any(|s| *s > 0.0), "{}", curve["name"]);
    }
    for node in data["nodes"].as_array().unwrap() {
        assert!(node["span"].as_u64() >= node["bound"].as_u64(), "{node}");
    }
    // Every cycle of the planes has a cause, but for what rounding drops from each.
    let losses = data["losses"].as_array().unwrap();
    let lost: u64 = losses.iter().map(|l| l["cycles"].as_u64().unwrap()).sum();
    let accounted = lost + data["planes_busy"].as_u64().unwrap();
    let all = data["cycles"].as_u64().unwrap();
    assert!(accounted <= all && accounted + 9 >= all, "{accounted} of {all}");
    // What nodes move the end by adds up to when the last of them ends.
    let shares: u64 = data["nodes"].as_array().unwrap().iter().map(|n| n["share"].as_u64().unwrap()).sum();
    let last = data["nodes"].as_array().unwrap().iter().map(|n| n["last"].as_u64().unwrap()).max();
    assert_eq!(Some(shares), last.map(|l| l + 1));
    let text: u64 = data["units"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|u| u["queues"].as_array().unwrap())
        .map(|q| q["text"].as_u64().unwrap())
        .sum();
    assert!(text <= data["text_bytes"].as_u64().unwrap());
}

#[test]
fn a_mesh_report_has_every_pe_and_the_cycles_of_the_run() {
    let (page, data) = report("wafer");
    stands_alone(&page);
    assert_eq!(data["kind"], "mesh");
    let cycles = cycles("wafer");
    assert_eq!(data["cycles"].as_u64(), Some(cycles));
    let frame: Vec<u64> = data["frame"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
    for map in ["busy", "sram", "links"] {
        assert_eq!(data[map].as_array().unwrap().len() as u64, frame[2] * frame[3], "{map}");
    }
    let busy: Vec<u64> = data["busy"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
    assert!(busy.iter().all(|&b| b <= cycles));
    let working = busy.iter().filter(|&&b| b > 0).count() as u64;
    assert_eq!(working, data["pes"].as_u64().unwrap(), "every PE of the model runs something");
    let kernels: u64 = data["nodes"].as_array().unwrap().iter().map(|n| n["pes"].as_u64().unwrap()).sum();
    assert_eq!(kernels, data["pes"].as_u64().unwrap());
}

#[test]
fn a_name_cannot_end_the_script() {
    let machine = quadrille_isa::tsp::Machine::builtin("tsp-small").expect("built in");
    let program = quadrille_isa::tsp::Program { model: "</script><b>&".into(), ..Default::default() };
    let page = quadrille::html::of_chip(&program, &machine, quadrille::html::Known::default());
    assert_eq!(page.matches("</script>").count(), 2, "the two that the page itself has");
    assert!(page.contains("&lt;/script>&lt;b>&amp;"));
}
