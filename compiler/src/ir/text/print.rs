//! From graph to text.

use super::attr::attributes;
use super::lex::quote;
use super::{base64, literal};
use crate::ir::{Graph, Node, Op, Tensor, Value, ValueDef};
use std::fmt::Write;

/// Constants of up to this many elements are written as a list.
const LIST_LIMIT: usize = 16;

/// The graph as text; [`parse`](super::parse) gives it back.
pub fn print(graph: &Graph) -> String {
    Printer { graph, outline: false, table: origin_table_needed(graph) }.print()
}

/// The graph as text with the bytes of large constants left out, for reading only: a digest of the
/// bytes stands in their place, and [`parse`](super::parse) refuses it.
pub fn print_outline(graph: &Graph) -> String {
    Printer { graph, outline: true, table: origin_table_needed(graph) }.print()
}

/// An operation with its attributes, as it stands in the text form.
pub fn operation(op: &Op) -> String {
    let attrs: Vec<String> = attributes(op).iter().map(|(n, v)| format!("{n}={v}")).collect();
    if attrs.is_empty() { op.name().to_string() } else { format!("{} {{{}}}", op.name(), attrs.join(", ")) }
}

/// True unless the origins are the names that nodes refer to, in order of first use.
fn origin_table_needed(graph: &Graph) -> bool {
    let mut next = 0;
    for node in graph.nodes() {
        match node.origin.0.cmp(&next) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => next += 1,
            std::cmp::Ordering::Greater => return true,
        }
    }
    let mut names: Vec<&str> = graph.origins().iter().map(|o| o.name.as_str()).collect();
    names.sort_unstable();
    next as usize != names.len() || names.windows(2).any(|w| w[0] == w[1])
}

struct Printer<'a> {
    graph: &'a Graph,
    outline: bool,
    table: bool,
}

impl Printer<'_> {
    fn print(&self) -> String {
        // Growing by doubling would hold the weights twice.
        let bytes = |v: &Value| if let ValueDef::Const(t) = &v.def { t.data.len() } else { 0 };
        let weights: usize = self.graph.values().iter().map(bytes).sum();
        let mut out = String::with_capacity(if self.outline { 0 } else { weights / 3 * 4 + weights / 64 });
        let _ = writeln!(out, "graph {} {{", quote(&self.graph.name));
        if self.table {
            let names: Vec<String> = self.graph.origins().iter().map(|o| quote(&o.name)).collect();
            let _ = writeln!(out, "  origins [{}]", names.join(", "));
        }
        for (i, value) in self.graph.values().iter().enumerate() {
            let _ = write!(out, "  %{i} = ");
            self.definition(&mut out, value);
            if !value.name.is_empty() {
                let _ = write!(out, " as {}", quote(&value.name));
            }
            out.push('\n');
        }
        for o in &self.graph.outputs {
            let _ = writeln!(out, "  output {} = {}", quote(&o.name), o.value);
        }
        out.push_str("}\n");
        out
    }

    fn definition(&self, out: &mut String, value: &Value) {
        match &value.def {
            ValueDef::Input(_) => {
                let _ = write!(out, "input : {}", value.ty);
            }
            ValueDef::Const(t) => {
                out.push_str("const ");
                self.constant(out, t);
                let _ = write!(out, " : {}", value.ty);
            }
            ValueDef::Node(n) => self.node(out, self.graph.node(*n), value),
        }
    }

    fn node(&self, out: &mut String, node: &Node, value: &Value) {
        out.push_str(node.op.name());
        for (i, v) in node.inputs.iter().enumerate() {
            let _ = write!(out, "{} {v}", if i > 0 { "," } else { "" });
        }
        let attrs = attributes(&node.op);
        if !attrs.is_empty() {
            let attrs: Vec<String> = attrs.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let _ = write!(out, " {{{}}}", attrs.join(", "));
        }
        let _ = write!(out, " : {} from ", value.ty);
        if self.table {
            let _ = write!(out, "@{}", node.origin.0);
        } else {
            out.push_str(&quote(self.graph.origin_name(node)));
        }
    }

    fn constant(&self, out: &mut String, t: &Tensor) {
        let size = t.dtype.size();
        let n = t.len();
        let _ = if n > 1 && t.data.chunks_exact(size).all(|e| e == &t.data[..size]) {
            write!(out, "splat {}", literal::elements(t).next().unwrap_or_default())
        } else if n <= LIST_LIMIT {
            write!(out, "[{}]", literal::elements(t).collect::<Vec<_>>().join(", "))
        } else if self.outline {
            write!(out, "elided {:016x}", digest(&t.data))
        } else {
            out.push_str("base64 \"");
            base64::encode_into(out, &t.data);
            out.write_char('"')
        };
    }
}

/// FNV-1a over eight bytes at a time: tells changed weights from unchanged ones, nothing more.
fn digest(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0xCBF2_9CE4_8422_2325, |h, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (h ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
