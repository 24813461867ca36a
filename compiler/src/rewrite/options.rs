//! What a caller may switch.

use super::RewriteError;
use super::cost::Objective;
use super::rule::Theme;
use super::rules::TABLE;
use std::fmt;

/// How one of the equal forms of a graph is found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Extraction {
    /// Of all forms that the rules find, the best by an objective.
    By(Objective),
    /// One rule after the other, as a peephole pass has them: each wherever it makes the graph cheaper, until none does.
    Sequential,
    /// No rule.
    Untouched,
}

impl Default for Extraction {
    fn default() -> Extraction {
        Extraction::By(Objective::default())
    }
}

impl Extraction {
    /// All.
    pub const ALL: [Extraction; 5] = [
        Extraction::By(Objective::Overlap),
        Extraction::By(Objective::Both),
        Extraction::By(Objective::Sum),
        Extraction::Sequential,
        Extraction::Untouched,
    ];

    /// Those whose programs are compared, the most likely first.
    pub const CANDIDATES: [Extraction; 4] = [
        Extraction::By(Objective::Overlap),
        Extraction::By(Objective::Sum),
        Extraction::Sequential,
        Extraction::Untouched,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Extraction::By(Objective::Overlap) => "overlap",
            Extraction::By(Objective::Both) => "both",
            Extraction::By(Objective::Sum) => "sum",
            Extraction::Sequential => "sequential",
            Extraction::Untouched => "untouched",
        }
    }
}

impl fmt::Display for Extraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Switches and limits of the rewriter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RewriteOptions {
    /// Rules, or themes, that alone may be used; empty for all.
    pub only_rules: Vec<String>,
    /// Rules, or themes, that must not be used.
    pub disable_rules: Vec<String>,
    /// Rules fire only where no bit of a float result changes.
    pub strict_float: bool,
    /// Evaluate both graphs on random inputs of this seed and compare.
    pub check: Option<u64>,
    /// Rounds of rule application in a region, at most.
    pub iterations: usize,
    /// Terms of a region's e-graph, at most, for each term that it starts with.
    pub growth: usize,
    /// Applications of rules, at most, counted in order through the regions: what came before an application
    /// can be looked at. `None` is no limit.
    pub applications: Option<usize>,
    /// How one of the equal forms is found; `None` leaves it to programs where these are made quickly
    /// ([`optimize_judged`](super::optimize_judged)), else to the default.
    pub extraction: Option<Extraction>,
}

impl Default for RewriteOptions {
    fn default() -> RewriteOptions {
        RewriteOptions {
            only_rules: Vec::new(),
            disable_rules: Vec::new(),
            strict_float: false,
            check: None,
            iterations: 24,
            growth: 24,
            applications: None,
            extraction: None,
        }
    }
}

impl RewriteOptions {
    /// What the choice among equal forms minimises.
    pub(super) fn objective(&self) -> Objective {
        match self.extraction {
            Some(Extraction::By(objective)) => objective,
            _ => Objective::default(),
        }
    }

    /// Limit on terms for a region that starts with `terms`.
    pub(super) fn node_limit(&self, terms: usize) -> usize {
        // Small regions may grow more: their alternatives are few in number anyway.
        terms.saturating_mul(self.growth).max(2000)
    }

    /// Places in the table of the rules to use.
    pub(super) fn rules(&self) -> Result<Vec<usize>, RewriteError> {
        for name in self.only_rules.iter().chain(&self.disable_rules) {
            if !known_names().any(|n| n == name) {
                let nearest = known_names().min_by_key(|n| distance(n, name)).unwrap_or("");
                return Err(RewriteError::UnknownRule { name: name.clone(), nearest });
            }
        }
        let is = |list: &[String], i: usize| list.iter().any(|n| n == TABLE[i].name || n == TABLE[i].theme.name());
        let on = |i: usize| self.only_rules.is_empty() || is(&self.only_rules, i);
        Ok((0..TABLE.len()).filter(|&i| on(i) && !is(&self.disable_rules, i)).collect())
    }
}

fn known_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|r| r.name).chain(Theme::ALL.iter().map(|t| t.name()))
}

/// Edits from one name to another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let change = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
