//! `diff`: shares add up, what changed is named, and programs that are equal have no change.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/digits.onnx")
}

fn quadrille(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_quadrille")).args(args).output().expect("the binary runs")
}

/// Two programs of the digits, the second with other options.
fn difference(target: &str, b: &[&str], more: &[&str]) -> std::process::Output {
    let dir = tempfile::tempdir().expect("a folder");
    let model = digits();
    let files = ["a", "b"].map(|n| dir.path().join(n));
    for (file, flags) in files.iter().zip([&[][..], b]) {
        let mut args = vec!["compile", model.to_str().unwrap(), "--target", target, "-o", file.to_str().unwrap()];
        args.extend(flags);
        let out = quadrille(&args);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let mut args = vec!["diff", files[0].to_str().unwrap(), files[1].to_str().unwrap()];
    args.extend(more);
    quadrille(&args)
}

fn json(target: &str, b: &[&str]) -> Value {
    let out = difference(target, b, &["--format", "json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("one JSON object")
}

#[test]
fn the_changes_of_the_nodes_are_the_change_of_the_program() {
    for (target, other) in [("tsp", ["--passes", "clean"]), ("wafer", ["--machine", "wafer-small"])] {
        let d = json(target, &other);
        let nodes = d["nodes"].as_array().expect("nodes");
        let sum = |side: &str| nodes.iter().filter_map(|n| n["cycles"][side].as_u64()).sum::<u64>();
        let total = |side: &str| d["cycles"][side].as_u64().expect("cycles");
        assert_ne!(total("a"), total("b"), "{target}: the options do something");
        let change: i64 = nodes.iter().map(|n| n["change"].as_i64().expect("a number")).sum();
        assert_eq!(change, sum("b") as i64 - sum("a") as i64);
        for side in ["a", "b"] {
            assert_eq!(sum(side), total(side), "{target}");
        }
        let any_work = nodes.iter().any(|n| !n["work"].as_array().expect("units").is_empty());
        // The other mesh runs the same kernels elsewhere.
        assert!(any_work || target == "wafer");
        assert_eq!(d["first_difference"].is_object(), target == "tsp");
    }
}

#[test]
fn equal_programs_have_no_difference() {
    for target in ["tsp", "wafer"] {
        let d = json(target, &[]);
        assert_eq!(d["cycles"]["a"], d["cycles"]["b"]);
        assert_eq!(d["first_difference"], Value::Null);
        assert!(d["nodes"].as_array().expect("nodes").iter().all(|n| n["why"] == "nothing changed"), "{d}");
        let text = difference(target, &[], &[]).stdout;
        assert!(String::from_utf8_lossy(&text).contains("No node changed."));
    }
}

#[test]
fn programs_of_different_targets_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = digits();
    let files = ["tsp", "wafer"].map(|t| (t, dir.path().join(t)));
    for (target, file) in &files {
        let out = quadrille(&["compile", model.to_str().unwrap(), "--target", target, "-o", file.to_str().unwrap()]);
        assert!(out.status.success());
    }
    let out = quadrille(&["diff", files[0].1.to_str().unwrap(), files[1].1.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("only programs of one target"));
}
