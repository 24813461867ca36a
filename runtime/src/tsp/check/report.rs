//! What the checker says: rules, errors, the report.
//!
//! Knows how to say an error to a person; knows no rule's logic.

use quadrille_isa::tsp::{IssueRef, QueueId};
use std::collections::BTreeMap;
use std::fmt;

macro_rules! rules {
    ($($(#[doc = $doc:literal])* $name:ident = $id:literal, $what:literal;)*) => {
        /// A rule of the checker. docs/isa-tsp.md lists them with their ids.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Rule { $(#[doc = $what] $name,)* }

        impl Rule {
            /// Every rule, in the order of the documentation.
            pub const ALL: &'static [Rule] = &[$(Rule::$name,)*];

            /// The rule's id: what `verify` prints in brackets.
            pub const fn id(self) -> &'static str {
                match self { $(Rule::$name => $id,)* }
            }

            /// What the rule asks of a program.
            pub const fn summary(self) -> &'static str {
                match self { $(Rule::$name => $what,)* }
            }
        }
    };
}

rules! {
    Machine = "machine", "The program is for this machine description, by name and hash, and its latencies can be judged.";
    Limit = "limit", "The program is within the bounds that the checker works in.";
    Reference = "reference", "Every index names something that exists: node, value, map, issue, execution.";
    Queue = "queue", "Every queue exists on the machine and takes the instructions that it holds.";
    Operand = "operand", "Operands are in range, aligned, of the right width, number, direction and type.";
    Repeat = "repeat", "A repeat has a distance, steps only what can be stepped, and ends in time.";
    Map = "map", "A lane map has one entry a lane and is what its instruction needs: 0/1, a bijection, within a superlane.";
    QueueOrder = "queue-order", "A queue issues in order, one instruction a cycle, repeats included; only an activation may share an install's cycle.";
    Start = "start", "One notify, else syncs, first in every queue at cycle 0; nothing else before the barrier.";
    StreamConflict = "stream-conflict", "One driver for each stream register and cycle.";
    StreamEmpty = "stream-empty", "No sample of an empty register.";
    StreamOverrun = "stream-overrun", "The vector that a sample was compiled to see was not driven over on its way.";
    StreamProvenance = "stream-provenance", "A sample sees the very definition that the provenance table names.";
    StateProvenance = "state-provenance", "A chained result, installed weights, a sum and an accumulator row come from the very instruction that the table names.";
    ProvenanceMissing = "provenance-missing", "Every slot of every execution has a provenance entry.";
    ProvenanceTwice = "provenance-twice", "No slot of an execution has two provenance entries.";
    ProvenanceForm = "provenance-form", "A provenance entry names slots that its instruction has and results that its definition gives there.";
    MemProvenance = "mem-provenance", "Every SRAM access has one entry in the SRAM table, with the instruction's own address and step.";
    MemRange = "mem-range", "Addresses lie in the slice, outside the reserved slices; a gather's or scatter's range lies in one bank.";
    MemBank = "mem-bank", "A read and a write that issue in one cycle on one slice use different banks.";
    MemUnwritten = "mem-unwritten", "No read of a word that nothing was ever stored in.";
    MemEarly = "mem-early", "No read of a value before its store has landed.";
    MemValue = "mem-value", "A word still holds the value that its reader names.";
    MemTwice = "mem-twice", "A word of a value is stored at most once.";
    MemLanding = "mem-landing", "Two stores do not land in one word in one cycle.";
    MemMap = "mem-map", "Entries of a constant address map lie in the declared range; a scatter's map is constant.";
    AluChain = "alu-chain", "A chained operand's ALU issued exactly one ALU latency earlier, and its result is as wide as the operand.";
    MxmLoad = "mxm-load", "A weight row is loaded at most once between two installs, and not in the last moment before one.";
    MxmInstall = "mxm-install", "Installs of a plane keep their distance.";
    MxmActivation = "mxm-activation", "A row enters a plane with installed weights, one at a time, the f16 pair undisturbed.";
    MxmWeights = "mxm-weights", "The weights of one install are used as integers or as f16, not both.";
    MxmSum = "mxm-sum", "Exactly one accumulate for each activation, in the cycle in which its sum is due.";
    MxmAccumulator = "mxm-accumulator", "An add finds a row that holds a sum of the same kind.";
    MxmInt32 = "mxm-int32", "Integer sums cannot leave 32 bits, by the number of rows multiplied.";
    SxmUnit = "sxm-unit", "An SXM unit takes one issue a cycle over its two queues.";
    Text = "text", "Program text and maps fit the reserved slices.";
    Layout = "layout", "Inputs, outputs and image are well placed and do not overlap.";
    Output = "output", "Every byte of an output is placed once and lies, at the end, in a word that holds its value.";
}

/// An instruction that an error is about, in one of its executions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Involved {
    /// Where the instruction stands.
    pub issue: IssueRef,
    /// Which execution of its repeat.
    pub execution: u32,
    /// Issue cycle of that execution.
    pub cycle: u64,
    /// The instruction, to read.
    pub text: String,
}

/// One broken rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckError {
    /// The rule.
    pub rule: Rule,
    /// Cycle in which it breaks, where it breaks in one.
    pub cycle: Option<u64>,
    /// Unit (queue) that breaks it, or the table or tensor at fault.
    pub unit: String,
    /// Stream and column, or slice and word, or row; empty where there is none.
    pub place: String,
    /// What is wrong, as a sentence.
    pub message: String,
    /// The instruction at fault.
    pub at: Option<Involved>,
    /// The other instruction involved.
    pub other: Option<Involved>,
}

impl fmt::Display for Involved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IssueRef { queue, index } = self.issue;
        write!(f, "{queue}[{index}]")?;
        if self.execution > 0 {
            write!(f, " execution {}", self.execution)?;
        }
        write!(f, " at cycle {}: {}", self.cycle, self.text)
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.rule.id())?;
        if let Some(c) = self.cycle {
            write!(f, " cycle {c}")?;
        }
        write!(f, " {}", self.unit)?;
        if !self.place.is_empty() {
            write!(f, " {}", self.place)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(at) = &self.at {
            write!(f, "\n    {at}")?;
        }
        if let Some(other) = &self.other {
            write!(f, "\n    {other}")?;
        }
        Ok(())
    }
}

/// Text of one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueText {
    /// The queue (each thread of a MEM queue by itself).
    pub queue: QueueId,
    /// Instructions written down.
    pub instructions: u32,
    /// Executions, repeats included.
    pub executions: u64,
    /// Bytes of text: instructions, repeats and the NOPs that wait.
    pub bytes: u64,
}

/// The checker's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckReport {
    /// The first errors, by cycle; at most [`CheckReport::MAX_ERRORS`].
    pub errors: Vec<CheckError>,
    /// All errors found, those not kept included.
    pub error_count: u64,
    /// How many errors each broken rule has.
    pub by_rule: BTreeMap<Rule, u64>,
    /// Length of the program: last event + superlanes - 1.
    pub cycles: u64,
    /// Text of each queue.
    pub text: Vec<QueueText>,
    /// Text of all queues and maps in bytes.
    pub text_bytes: u64,
    /// Instruction executions.
    pub executions: u64,
    /// Stream samples, chained operands and unit states that were compared with the provenance.
    pub samples: u64,
}

impl CheckReport {
    /// Errors kept.
    pub const MAX_ERRORS: usize = 100;

    /// True when nothing is wrong.
    pub fn ok(&self) -> bool {
        self.error_count == 0
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ok() {
            return write!(f, "ok: {} executions in {} cycles", self.executions, self.cycles);
        }
        for e in &self.errors {
            writeln!(f, "{e}")?;
        }
        write!(f, "{} errors", self.error_count)?;
        match self.error_count - self.errors.len() as u64 {
            0 => {}
            hidden => write!(f, ", {hidden} of them not shown")?,
        }
        let rules: Vec<String> = self.by_rule.iter().map(|(r, n)| format!("{} {n}", r.id())).collect();
        write!(f, ": {}", rules.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn the_page_lists_every_rule() {
        let page = include_str!("../../../../docs/isa-tsp.md");
        for r in Rule::ALL {
            let line = format!("| `{}` | {} |", r.id(), r.summary());
            assert!(page.contains(&line), "docs/isa-tsp.md lacks the line {line}");
        }
    }
}
