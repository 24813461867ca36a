//! The thin library behind the `quadrille` command line, for embedders: load, import, rewrite,
//! compile, check, simulate, compare.
//!
//! It joins the other crates and holds what belongs to none of them: files of tensors, the
//! comparison with its tolerances, exit causes, the trace. It must not know how any of the
//! joined parts work inside.

pub mod bisect;
pub mod bound;
pub mod check;
pub mod commands;
pub mod compare;
pub mod data;
pub mod difference;
pub mod failure;
mod figures;
pub mod file;
pub mod html;
pub mod machine;
pub mod nodes;
pub mod pipeline;
pub mod reduce;
pub mod report;
pub mod trace;
pub mod usage;

pub use failure::{Cause, Failure, Problem};
