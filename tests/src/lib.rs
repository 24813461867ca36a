//! The test harness: what the integration tests share.
//!
//! It knows where outside truth comes from ([`corpus`]) and how to compare with it. It must not
//! know how the compiler or the runtime work inside.

pub mod browser;
pub mod corpus;
pub mod exact;
pub mod families;
pub mod fuzz;
pub mod fuzz_model;
pub mod graphs;
pub mod kept;
pub mod listed;
pub mod machine_cases;
pub mod machine_lists;
pub mod measure;
pub mod node_cases;
pub mod operator_cases;
pub mod quantised;
pub mod rewritten;
pub mod scope;
pub mod suite_cases;
pub mod whole;
