//! A short run of what the fuzz targets do, over mutated real files. Seeds are fixed.

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use quadrille_tests::{corpus, fuzz};
use std::fs;

const CASES: usize = 400;

/// A few bytes changed, removed, doubled, or the end cut off.
fn mutated(seed: &[u8], rng: &mut TestRng) -> Vec<u8> {
    let mut at = |n: usize| (rng.next_u64() % n.max(1) as u64) as usize;
    let mut bytes = seed.to_vec();
    for _ in 0..1 + at(8) {
        let (i, len) = (at(bytes.len()), 1 + at(16));
        let end = (i + len).min(bytes.len());
        match at(6) {
            0 => bytes.truncate(i),
            1 => drop(bytes.drain(i..end)),
            2 => bytes.extend_from_within(i..end),
            3 => bytes[i..end].fill([0, 0xFF, 0x7F, 0x80][at(4)]),
            _ if !bytes.is_empty() => bytes[i] ^= 1 << at(8),
            _ => {}
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn mutated_models_give_an_answer() {
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let digits = fs::read(corpus::digits(0).path).expect("the digits model is in the repository");
    for _ in 0..CASES {
        fuzz::onnx_file(&mutated(&digits, &mut rng));
    }
}

#[test]
fn random_bytes_give_an_answer() {
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for n in 0..CASES {
        let mut bytes = vec![0; n];
        rng.fill_bytes(&mut bytes);
        fuzz::onnx_file(&bytes);
        fuzz::program_file(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        fuzz::graph_text(&text);
        fuzz::program_text(&text);
    }
}
