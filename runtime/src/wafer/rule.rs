//! The rules that a `wafer` program keeps, and how a broken one is reported.
//!
//! Knows names and wording only; which rule is broken where is decided in `fabric` and `check`.

use quadrille_isa::wafer::{Color, Pe};
use std::fmt;

macro_rules! rules {
    ($($name:ident $id:literal $text:literal;)*) => {
        /// A rule of the static checker; the list is also in `docs/isa-wafer.md`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Rule { $(#[doc = $text] $name,)* }

        impl Rule {
            /// Every rule, in order of their stages.
            pub const ALL: &[Rule] = &[$(Rule::$name),*];

            /// Stable id, as printed.
            pub const fn id(self) -> &'static str {
                match self { $(Rule::$name => $id,)* }
            }

            /// What the rule asks for, in a sentence.
            pub const fn summary(self) -> &'static str {
                match self { $(Rule::$name => $text,)* }
            }
        }
    };
}

rules! {
    Machine "machine" "The program names this machine description and carries its hash.";
    Reference "reference" "Every index (class, node, task, tensor) refers to something that exists.";
    RegionPlace "region-place" "Regions are not empty, lie on the mesh and do not overlap.";
    Param "param" "Every parameter that a class uses exists, has one value for each PE and does not overflow.";
    QueueColor "queue-color" "At most 8 input and 6 output queues, each bound to one valid color, a color once per direction; queues in use are bound.";
    RoutePlace "route-place" "Routes are not empty, lie on the mesh, use a valid color, and a PE has one route per color.";
    RoutePort "route-port" "A route sends somewhere, never back where it received from, and leaves the mesh only at an output port.";
    RouteSource "route-source" "What a route receives from exists: an output queue, a neighbour that sends here, or an input port.";
    RouteTwoInputs "route-two-inputs" "No wavelet arrives at a router by a port that is not the receive port of its color.";
    RouteSink "route-sink" "Whatever is sent is received: by a neighbour's route, an input queue or an output port.";
    RouteLoop "route-loop" "Following a color from router to router never returns to a router.";
    DataPlace "data-place" "Initial data lies on the mesh, in SRAM, has as many bytes as its rectangle needs, and does not overlap.";
    Sram "sram" "Data and operands lie in the SRAM that program text leaves free.";
    Align "align" "Operands are aligned to their element.";
    Operand "operand" "Operand kinds fit the operation: arity, row scalars, counts, each queue once.";
    Type "type" "Element types fit the operation.";
    Microthread "microthread" "Microthreads exist and are not reused while in flight.";
    QueueUse "queue-use" "No two operations in flight share a queue, and no data task can fire on one in use.";
    InFlight "in-flight" "Operations possibly in flight together do not touch overlapping words if one writes.";
    TaskOrder "task-order" "Tasks that can be ready together have an order.";
    Activation "activation" "Activations are not lost, and go to local tasks.";
    Traffic "traffic" "As many wavelets are received as are sent, per color and receiver.";
    Deadlock "deadlock" "With bounded buffers, everything sent is received and every task that starts ends.";
    Runaway "runaway" "The program ends.";
    Port "port" "Ports lie on port rows, name existing elements, and one color of a row carries one direction.";
    Resident "resident" "Tensors in SRAM lie on PEs that run a program, in a type that can hold them, and name existing elements.";
    Output "output" "Every element of every output leaves exactly once, by a port or in SRAM.";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// A broken rule, with both ends of what is wrong where there are two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckError {
    /// The rule.
    pub rule: Rule,
    /// The PE where it shows.
    pub pe: Option<Pe>,
    /// The color concerned.
    pub color: Option<Color>,
    /// The PE at the other end (sender, receiver, neighbour), when there is one.
    pub other: Option<Pe>,
    /// What is wrong and with what numbers, in words.
    pub message: String,
}

impl CheckError {
    /// An error that belongs to the program as a whole.
    pub fn new(rule: Rule, message: impl Into<String>) -> CheckError {
        CheckError { rule, pe: None, color: None, other: None, message: message.into() }
    }

    /// Adds the PE.
    pub fn at(mut self, pe: Pe) -> CheckError {
        self.pe = Some(pe);
        self
    }

    /// Adds the color.
    pub fn color(mut self, color: Color) -> CheckError {
        self.color = Some(color);
        self
    }

    /// Adds the other end.
    pub fn other(mut self, pe: Pe) -> CheckError {
        self.other = Some(pe);
        self
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.rule)?;
        if let Some(pe) = self.pe {
            write!(f, " PE ({}, {})", pe.x, pe.y)?;
        }
        if let Some(Color(c)) = self.color {
            write!(f, " color {c}")?;
        }
        if let Some(pe) = self.other {
            write!(f, " (other end: PE ({}, {}))", pe.x, pe.y)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Errors collected up to a bound; how many there were beyond it is counted.
#[derive(Clone, Debug)]
pub(crate) struct Errors {
    pub(crate) list: Vec<CheckError>,
    pub(crate) total: u64,
    per_rule: [u32; Rule::ALL.len()],
}

/// At most this many errors of one rule are kept: a wrong rectangle breaks a rule on each of
/// its PEs, and the first few tell it all.
const KEEP_PER_RULE: u32 = 8;

impl Errors {
    pub(crate) fn new() -> Errors {
        Errors { list: Vec::new(), total: 0, per_rule: [0; Rule::ALL.len()] }
    }

    pub(crate) fn push(&mut self, error: CheckError) {
        self.total += 1;
        let count = &mut self.per_rule[error.rule as usize];
        *count += 1;
        if *count <= KEEP_PER_RULE {
            self.list.push(error);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }
}
