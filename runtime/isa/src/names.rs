//! How the text forms name a node of the user's model.
//!
//! By its quoted name; by name and number where an earlier node has the same name; by number
//! alone where the table has no such node (such a program is printable, if not right).

use crate::text::{Quoted, Scanner, TextError};
use std::collections::BTreeMap;
use std::fmt;

/// The node table with the first index of every name.
pub(crate) struct Names<'a> {
    names: &'a [String],
    first: BTreeMap<&'a str, u32>,
}

/// A node as it is written.
pub(crate) struct NodeName<'a> {
    ix: u32,
    name: Option<&'a str>,
    ambiguous: bool,
}

impl<'a> Names<'a> {
    pub(crate) fn new(names: &'a [String]) -> Names<'a> {
        let mut first = BTreeMap::new();
        for (i, n) in names.iter().enumerate() {
            first.entry(n.as_str()).or_insert(i as u32);
        }
        Names { names, first }
    }

    /// How node `ix` is written.
    pub(crate) fn show(&self, ix: u32) -> NodeName<'a> {
        let name = self.names.get(ix as usize).map(String::as_str);
        NodeName { ix, name, ambiguous: name.is_none_or(|n| self.first[n] != ix) }
    }

    /// Reads what [`Names::show`] writes.
    pub(crate) fn parse(&self, s: &mut Scanner<'_>) -> Result<u32, TextError> {
        if s.eat("#") {
            return s.number("a node number");
        }
        let at = s.here();
        let name = s.string("a node name in quotes, or `#` and its number")?;
        let Some(&first) = self.first.get(name.as_str()) else {
            return Err(s.error_at(at, format!("no node is called {}", Quoted(&name))));
        };
        if !s.eat("#") {
            return Ok(first);
        }
        let ix: u32 = s.number("a node number")?;
        if self.names.get(ix as usize) != Some(&name) {
            return Err(s.error_at(at, format!("node {ix} is not called {}", Quoted(&name))));
        }
        Ok(ix)
    }
}

impl fmt::Display for NodeName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(n) = self.name {
            Quoted(n).fmt(f)?;
        }
        if self.ambiguous { write!(f, "#{}", self.ix) } else { Ok(()) }
    }
}
