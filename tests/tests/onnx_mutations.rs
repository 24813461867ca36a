//! Damaged models at the importer: thousands of node tests with a few bytes changed. Whatever
//! they have become, the answer is a graph or an error, soon, and never a panic.

use quadrille_compiler::ir::verify::verify;
use quadrille_tests::node_cases::node_cases;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// xorshift64: the same mutations on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// Bytes that are likely to matter in a varint or a size.
const INTERESTING: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xff, 0xfe, 16];

#[test]
fn mutated_node_tests_never_panic() {
    let cases = node_cases().expect("the node tests are generated");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut graphs, mut errors) = (0, 0);
    for round in 0..30 {
        for case in &cases {
            let mut bytes = case.model_bytes().expect("the case has a model");
            for _ in 0..1 + random.below(3) {
                let at = random.below(bytes.len());
                bytes[at] = match random.below(3) {
                    0 => INTERESTING[random.below(INTERESTING.len())],
                    1 => bytes[at] ^ (1 << random.below(8)),
                    _ => random.below(256) as u8,
                };
            }
            let start = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let model = quadrille_onnx::from_bytes(bytes.into(), None).ok()?;
                let graph = case.import_instead(&model).ok()?;
                Some(verify(&graph))
            }));
            match outcome {
                Ok(Some(Ok(()))) => graphs += 1,
                Ok(None) => errors += 1,
                Ok(Some(Err(e))) => panic!("round {round}, {}: an imported graph does not verify: {e:?}", case.name),
                Err(_) => panic!("round {round}, {}: panicked", case.name),
            }
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "round {round}, {}: took {:?}",
                case.name,
                start.elapsed()
            );
        }
    }
    // Both outcomes must be common, or the mutations test nothing.
    assert!(graphs > 1000 && errors > 1000, "{graphs} graphs, {errors} errors");
}
