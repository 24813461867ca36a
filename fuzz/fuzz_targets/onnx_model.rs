//! Any choices: see `quadrille_tests::fuzz::onnx_model`.
#![no_main]

libfuzzer_sys::fuzz_target!(|choices: &[u8]| _ = quadrille_tests::fuzz::onnx_model(choices));
