//! A short run of what the fuzz targets do, over mutated real files. Seeds are fixed.

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use prost::Message;
use quadrille_onnx::proto::ModelProto;
use quadrille_tests::fuzz::Outcome;
use quadrille_tests::node_cases::node_cases;
use quadrille_tests::{corpus, fuzz, fuzz_model};
use std::fs;
use std::time::{Duration, Instant};

const CASES: usize = 400;

/// Runs cases, the seconds of `FUZZ_SECONDS` if it is set; counts how far they came: not read, refused, imported,
/// evaluated. For long runs: `FUZZ_SECONDS=600 FUZZ_SEED=7 cargo test -p quadrille-tests --test fuzz_smoke NAME`.
fn counted(cases: usize, mut case: impl FnMut(&mut TestRng) -> Outcome) -> [usize; 4] {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let mut rng = match number("FUZZ_SEED") {
        Some(seed) => TestRng::from_seed(RngAlgorithm::ChaCha, &[&seed.to_le_bytes()[..], &[0; 24]].concat()),
        None => TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    };
    let until = number("FUZZ_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    let mut counts = [0; 4];
    let (mut done, mut slowest) = (0, Duration::ZERO);
    while until.map_or(done < cases, |end| Instant::now() < end) {
        let start = Instant::now();
        counts[case(&mut rng) as usize] += 1;
        done += 1;
        slowest = slowest.max(start.elapsed());
    }
    println!("{done} cases: {counts:?} not read, refused, imported, evaluated; the slowest took {slowest:?}");
    assert!(slowest < Duration::from_secs(60), "a case took {slowest:?}");
    counts
}

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
    let digits = fs::read(corpus::digits(0).path).expect("the digits model is in the repository");
    // Nine in ten do not decode, which is why the models below are changed by their fields.
    let [not_read, _, _, evaluated] = counted(CASES, |rng| fuzz::onnx_file(&mutated(&digits, rng)));
    assert!(not_read >= CASES / 4 && evaluated >= CASES / 40, "{not_read} not read, {evaluated} evaluated");
}

#[test]
fn made_up_models_give_an_answer() {
    let [_, refused, _, evaluated] = counted(5 * CASES, |rng| {
        let mut bytes = vec![0; 32 + (rng.next_u64() % 256) as usize];
        rng.fill_bytes(&mut bytes);
        // The failing case can be made again from the bytes.
        let outcome = std::panic::catch_unwind(|| fuzz::onnx_model(&bytes));
        outcome.unwrap_or_else(|_| panic!("choices {bytes:?}"))
    });
    assert!(refused >= CASES / 4 && evaluated >= CASES / 4, "{refused} refused, {evaluated} evaluated");
}

#[test]
fn changed_node_tests_give_an_answer() {
    let cases = node_cases().expect("the node tests are generated");
    let decode = |bytes: Vec<u8>| ModelProto::decode(bytes.as_slice()).expect("official models are ONNX");
    let seeds: Vec<ModelProto> = cases.iter().map(|c| decode(c.model_bytes().expect("the case has a model"))).collect();
    let [_, refused, _, evaluated] = counted(4 * CASES, |rng| {
        let mut bytes = [0u8; 48];
        rng.fill_bytes(&mut bytes);
        let which = (rng.next_u64() % seeds.len() as u64) as usize;
        let mut model = seeds[which].clone();
        fuzz_model::mutate(&mut model, &bytes);
        let outcome = std::panic::catch_unwind(|| fuzz::onnx_file(&model.encode_to_vec()));
        outcome.unwrap_or_else(|_| panic!("{} changed by {bytes:?}", cases[which].name))
    });
    assert!(refused >= CASES / 4 && evaluated >= CASES / 4, "{refused} refused, {evaluated} evaluated");
}

#[test]
fn random_bytes_give_an_answer() {
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for n in 0..CASES {
        let mut bytes = vec![0; n];
        rng.fill_bytes(&mut bytes);
        let _ = fuzz::onnx_file(&bytes);
        fuzz::program_file(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        fuzz::graph_text(&text);
        fuzz::program_text(&text);
    }
}
