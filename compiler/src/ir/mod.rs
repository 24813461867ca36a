//! The tensor graph: types, operations, builder, text form, verifier and the oracle.
//!
//! | module | knows |
//! |---|---|
//! | [`Graph`], [`Op`] | values, primitives, and the type rules of each |
//! | [`builder`] | how to copy a graph while changing it |
//! | [`text`] | the text form |
//! | [`verify`] | what a well-formed graph is |
//! | [`eval`] | what a graph computes |
//! | [`arbitrary`] | random graphs for property tests |
//!
//! Nothing here knows ONNX or a machine.

pub mod arbitrary;
pub mod builder;
pub mod eval;
mod graph;
mod op;
pub mod text;
pub mod verify;

pub use graph::*;
pub use op::*;
pub use quadrille_isa::{DType, Tensor};

#[cfg(test)]
mod docs_tests {
    //! The page that people read has every primitive and every rule of the verifier.

    use super::verify::Rule;
    use super::{Binary, Unary, arbitrary};
    use std::collections::BTreeSet;

    #[test]
    fn the_page_names_every_primitive_and_rule() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ir.md")).unwrap();
        let mut names: BTreeSet<&str> = Unary::ALL.iter().map(|u| u.name()).collect();
        names.extend(Binary::ALL.iter().map(|b| b.name()));
        names.extend(Rule::ALL.iter().map(|r| r.id()));
        for seed in 0..800 {
            let g = arbitrary::graph(&mut arbitrary::Rng::new(seed), &arbitrary::Config::default());
            names.extend(g.nodes().iter().map(|n| n.op.name()));
        }
        for name in names {
            assert!(page.contains(&format!("`{name}`")), "docs/ir.md says nothing of `{name}`");
        }
    }
}
