//! `dead-code`: removes what no output depends on.

use super::Pass;
use crate::ir::builder::remove_dead;

/// The pass.
pub const PASS: Pass = Pass {
    name: "dead-code",
    summary: "Removes nodes, constants and origins that no output depends on.",
    details: "Inputs stay even when nothing reads them: they are the model's interface.",
    run: |g| Ok(remove_dead(g)),
};
