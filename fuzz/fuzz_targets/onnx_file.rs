//! Any bytes: see `quadrille_tests::fuzz::onnx_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| _ = quadrille_tests::fuzz::onnx_file(data));
