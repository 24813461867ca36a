//! One node being imported: its operands, attributes and the builder.

use super::build::Builder;
use super::error::{Fail, ImportErrorKind};
use super::importer::Importer;
use super::tensor;
use crate::ir::{DType, Tensor, ValueId};
use quadrille_onnx::{Attribute, Graph, Node};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// A value of the model while it is imported.
#[derive(Clone, Debug)]
pub(crate) enum Val {
    /// A tensor of the graph.
    Tensor(ValueId),
    /// A sequence of known length.
    Sequence(Rc<Vec<ValueId>>),
    /// An optional that holds nothing.
    Nothing,
    /// The node that makes it could not be imported.
    Failed,
}

/// A node's import: makes primitives from the operands and returns the results, in order;
/// trailing optional results may be left out.
pub(crate) type ImportFn = fn(&mut Call<'_, '_>) -> Result<Vec<Val>, Fail>;

/// The usual result: one tensor.
pub(crate) fn one(v: ValueId) -> Result<Vec<Val>, Fail> {
    Ok(vec![Val::Tensor(v)])
}

/// A node's operands, attributes and surroundings.
pub(crate) struct Call<'c, 'a> {
    pub(crate) importer: &'c mut Importer<'a>,
    pub(crate) node: &'a Node,
    /// Operator set version of the node's domain.
    pub(crate) opset: i64,
    /// Operands; `None` for an optional one that is not given.
    pub(crate) operands: Vec<Option<Val>>,
    /// Attributes with references resolved, and whether the import looked at them.
    pub(crate) attributes: Vec<(&'a str, &'a Attribute, bool)>,
}

impl Deref for Call<'_, '_> {
    type Target = Builder;
    fn deref(&self) -> &Builder {
        &self.importer.builder
    }
}

impl DerefMut for Call<'_, '_> {
    fn deref_mut(&mut self) -> &mut Builder {
        &mut self.importer.builder
    }
}

impl<'a> Call<'_, 'a> {
    // ---- operands ----

    /// Number of operands given, counting optional ones left out in between.
    pub(crate) fn operand_count(&self) -> usize {
        self.operands.len()
    }

    /// Number of results the node names.
    pub(crate) fn result_count(&self) -> usize {
        self.node.outputs.len()
    }

    /// True when a result is wanted.
    pub(crate) fn wants(&self, i: usize) -> bool {
        self.node.outputs.get(i).is_some_and(|o| !o.is_empty())
    }

    /// A tensor operand that must be there.
    pub(crate) fn x(&self, i: usize) -> Result<ValueId, Fail> {
        self.opt(i)?.ok_or_else(|| Fail::invalid(format!("operand {i} is missing")))
    }

    /// A tensor operand that may be left out.
    pub(crate) fn opt(&self, i: usize) -> Result<Option<ValueId>, Fail> {
        match self.operands.get(i) {
            None | Some(None) => Ok(None),
            Some(Some(Val::Tensor(v))) => Ok(Some(*v)),
            Some(Some(Val::Sequence(_))) => Err(Fail::invalid(format!("operand {i} is a sequence, not a tensor"))),
            Some(Some(Val::Nothing)) => Err(Fail::invalid(format!("operand {i} is an empty optional"))),
            Some(Some(Val::Failed)) => Err(Fail::invalid(format!("operand {i} failed"))),
        }
    }

    /// All operands, which must be tensors.
    pub(crate) fn all(&self) -> Result<Vec<ValueId>, Fail> {
        (0..self.operands.len()).map(|i| self.x(i)).collect()
    }

    /// Refuses operands beyond the first `n`.
    pub(crate) fn at_most(&self, n: usize) -> Result<(), Fail> {
        if self.operands.len() > n {
            return Err(Fail::invalid(format!("takes at most {n} operands, got {}", self.operands.len())));
        }
        Ok(())
    }

    /// The value of an operand that must be known now; `what` names it in the message.
    pub(crate) fn known(&self, i: usize, what: &str) -> Result<&Tensor, Fail> {
        let v = self.x(i)?;
        self.known_value(v, what)
    }

    /// The value of `v`, which must be known now.
    pub(crate) fn known_value(&self, v: ValueId, what: &str) -> Result<&Tensor, Fail> {
        self.constant(v).ok_or_else(|| {
            let needs = self.inputs_behind(v);
            let listed = needs.iter().map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ");
            Fail {
                kind: if needs.is_empty() { ImportErrorKind::Unsupported } else { ImportErrorKind::NeedsValue },
                reason: format!("{what} must be known when the model is compiled, but it is computed at run time"),
                remedy: if needs.is_empty() {
                    "make it a constant".to_string()
                } else {
                    format!("make it a constant, or bind the value of input {listed}")
                },
                needs,
            }
        })
    }

    /// The integers of an operand that must be known now.
    pub(crate) fn known_ints(&self, i: usize, what: &str) -> Result<Vec<i64>, Fail> {
        integers(self.known(i, what)?).ok_or_else(|| Fail::invalid(format!("{what} must hold integers")))
    }

    /// Like [`Call::known_ints`] for an operand that may be left out.
    pub(crate) fn known_ints_opt(&self, i: usize, what: &str) -> Result<Option<Vec<i64>>, Fail> {
        if self.opt(i)?.is_none() { Ok(None) } else { self.known_ints(i, what).map(Some) }
    }

    /// The numbers of an operand that must be known now.
    pub(crate) fn known_numbers(&self, i: usize, what: &str) -> Result<Vec<f64>, Fail> {
        Ok(numbers(self.known(i, what)?))
    }

    /// The one number of an operand that must be known now.
    pub(crate) fn known_number(&self, i: usize, what: &str) -> Result<f64, Fail> {
        match self.known_numbers(i, what)?[..] {
            [v] => Ok(v),
            ref v => Err(Fail::invalid(format!("{what} must be one number, got {}", v.len()))),
        }
    }

    // ---- attributes ----

    fn attribute(&mut self, name: &str) -> Option<&'a Attribute> {
        let entry = self.attributes.iter_mut().find(|(n, ..)| *n == name)?;
        entry.2 = true;
        Some(entry.1)
    }

    /// True when the attribute is given.
    pub(crate) fn has(&mut self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// An integer, or its default.
    pub(crate) fn int(&mut self, name: &str, default: i64) -> Result<i64, Fail> {
        Ok(self.int_opt(name)?.unwrap_or(default))
    }

    /// An integer that may be left out.
    pub(crate) fn int_opt(&mut self, name: &str) -> Result<Option<i64>, Fail> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Int(v)) => Ok(Some(*v)),
            Some(a) => wrong(name, "int", a),
        }
    }

    /// An integer used as yes or no.
    pub(crate) fn flag(&mut self, name: &str, default: bool) -> Result<bool, Fail> {
        Ok(self.int(name, i64::from(default))? != 0)
    }

    /// A float, or its default.
    pub(crate) fn float(&mut self, name: &str, default: f32) -> Result<f32, Fail> {
        Ok(self.float_opt(name)?.unwrap_or(default))
    }

    /// A float that may be left out.
    pub(crate) fn float_opt(&mut self, name: &str) -> Result<Option<f32>, Fail> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Float(v)) => Ok(Some(*v)),
            Some(a) => wrong(name, "float", a),
        }
    }

    /// Integers that may be left out.
    pub(crate) fn int_list(&mut self, name: &str) -> Result<Option<Vec<i64>>, Fail> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Ints(v)) => Ok(Some(v.clone())),
            // A writer may give an empty list any kind.
            Some(Attribute::Floats(v)) if v.is_empty() => Ok(Some(Vec::new())),
            Some(a) => wrong(name, "ints", a),
        }
    }

    /// Floats that may be left out.
    pub(crate) fn float_list(&mut self, name: &str) -> Result<Option<Vec<f32>>, Fail> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Floats(v)) => Ok(Some(v.clone())),
            Some(Attribute::Ints(v)) if v.is_empty() => Ok(Some(Vec::new())),
            Some(a) => wrong(name, "floats", a),
        }
    }

    /// A string, or its default.
    pub(crate) fn string(&mut self, name: &str, default: &str) -> Result<String, Fail> {
        match self.attribute(name) {
            None => Ok(default.to_string()),
            Some(Attribute::String(v)) => Ok(String::from_utf8_lossy(v).into_owned()),
            Some(a) => wrong(name, "string", a),
        }
    }

    /// A string that must be one of a list.
    pub(crate) fn choice(
        &mut self,
        name: &str,
        default: &'static str,
        options: &[&'static str],
    ) -> Result<&'static str, Fail> {
        let v = self.string(name, default)?;
        options.iter().find(|o| **o == v).copied().ok_or_else(|| {
            Fail::unsupported(format!("{name} = '{v}' is not supported"), format!("use one of {}", options.join(", ")))
        })
    }

    /// Strings that may be left out.
    pub(crate) fn string_list(&mut self, name: &str) -> Result<Option<Vec<String>>, Fail> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Strings(v)) => {
                Ok(Some(v.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()))
            }
            Some(a) => wrong(name, "strings", a),
        }
    }

    /// A tensor that may be left out.
    pub(crate) fn tensor_attribute(&mut self, name: &str) -> Result<Option<Tensor>, Fail> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Tensor(t)) => tensor::convert(t).map(Some),
            Some(a) => wrong(name, "tensor", a),
        }
    }

    /// A graph that must be there.
    pub(crate) fn graph_attribute(&mut self, name: &str) -> Result<&'a Graph, Fail> {
        match self.attribute(name) {
            None => Err(Fail::invalid(format!("attribute '{name}' is missing"))),
            Some(Attribute::Graph(g)) => Ok(g),
            Some(a) => wrong(name, "graph", a),
        }
    }

    /// An element type by its number, or `None` when it is left out.
    pub(crate) fn dtype_attribute(&mut self, name: &str) -> Result<Option<DType>, Fail> {
        self.int_opt(name)?.map(tensor::dtype_from_number).transpose()
    }

    /// The element type of ours for one of the format's.
    pub(crate) fn dtype_of(&self, e: quadrille_onnx::ElementType) -> Result<DType, Fail> {
        tensor::dtype_of(e)
    }

    /// Marks attributes that have no influence on inference.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        for n in names {
            self.attribute(n);
        }
    }
}

fn wrong<T>(name: &str, want: &str, got: &Attribute) -> Result<T, Fail> {
    Err(Fail::invalid(format!("attribute '{name}' must be {want}, got {}", got.kind())))
}

/// An axis, counted from the end when negative.
pub(crate) fn axis(a: i64, rank: usize) -> Result<usize, Fail> {
    let r = rank as i64;
    if a < -r || a >= r {
        return Err(Fail::invalid(format!("axis {a} is out of range for rank {rank}")));
    }
    Ok(if a < 0 { a + r } else { a } as usize)
}

/// Sorted axes without duplicates.
pub(crate) fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, Fail> {
    let mut v = list.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    v.sort_unstable();
    if v.windows(2).any(|w| w[0] == w[1]) {
        return Err(Fail::invalid(format!("axes {list:?} repeat")));
    }
    Ok(v)
}

/// An extent that the model computed; negative and absurd ones are errors.
pub(crate) fn extent(v: i64) -> Result<usize, Fail> {
    match usize::try_from(v) {
        Ok(d) if d <= 1 << 40 => Ok(d),
        _ => Err(Fail::invalid(format!("extent {v} is out of range"))),
    }
}

/// The elements of an integer or bool tensor.
pub(crate) fn integers(t: &Tensor) -> Option<Vec<i64>> {
    let bytes = &t.data[..];
    macro_rules! read {
        ($t:ty) => {
            bytes
                .chunks_exact(size_of::<$t>())
                .map(|c| <$t>::from_le_bytes(c.try_into().expect("chunk size")) as i64)
                .collect()
        };
    }
    Some(match t.dtype {
        DType::I8 => read!(i8),
        DType::I16 => read!(i16),
        DType::I32 => read!(i32),
        DType::I64 => read!(i64),
        DType::U8 | DType::Bool => read!(u8),
        DType::U16 => read!(u16),
        DType::U32 => read!(u32),
        DType::U64 => read!(u64),
        _ => return None,
    })
}

/// The elements as numbers.
pub(crate) fn numbers(t: &Tensor) -> Vec<f64> {
    let bytes = &t.data[..];
    match t.dtype {
        DType::F16 => bytes.chunks_exact(2).map(|c| half::f16::from_le_bytes([c[0], c[1]]).to_f64()).collect(),
        DType::BF16 => bytes.chunks_exact(2).map(|c| half::bf16::from_le_bytes([c[0], c[1]]).to_f64()).collect(),
        DType::F32 => {
            bytes.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes(c.try_into().expect("chunk size")))).collect()
        }
        DType::F64 => bytes.chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().expect("chunk size"))).collect(),
        d if d.is_narrow() => bytes.iter().map(|&b| quadrille_isa::narrow::decode(d, b)).collect(),
        _ => integers(t).unwrap_or_default().into_iter().map(|v| v as f64).collect(),
    }
}
