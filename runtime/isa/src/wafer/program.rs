//! A `wafer` program: classes and the regions that run them, routes, data, and the ports by
//! which tensors enter and leave, or the SRAM in which they lie.
//!
//! Everything is stored by rectangle: a program for the full mesh holds no per-PE copy of
//! anything but data that differs from PE to PE.

use super::pe::{Color, ElemType, PeClass, Val};
use crate::tensor::DType;
use bytes::Bytes;

/// Index into [`Program::nodes`]: the node of the user's model that something serves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeIx(pub u32);

/// Index into [`Program::classes`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClassIx(pub u32);

/// A PE: column x from the west, row y from the north, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct Pe {
    pub x: u16,
    pub y: u16,
}

/// `w` x `h` PEs, the north-west one at (x, y).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct Rect {
    pub x: u16,
    pub y: u16,
    pub w: u16,
    pub h: u16,
}

impl Rect {
    /// One PE.
    pub fn pe(x: u16, y: u16) -> Rect {
        Rect { x, y, w: 1, h: 1 }
    }

    /// True when the coordinates of every PE inside can be written down.
    pub fn is_possible(self) -> bool {
        self.x.checked_add(self.w).is_some() && self.y.checked_add(self.h).is_some()
    }

    /// Number of PEs.
    pub fn area(self) -> u32 {
        u32::from(self.w) * u32::from(self.h)
    }

    /// True when `p` lies inside.
    pub fn contains(self, p: Pe) -> bool {
        (self.x..self.x.saturating_add(self.w)).contains(&p.x) && (self.y..self.y.saturating_add(self.h)).contains(&p.y)
    }

    /// The PEs, row by row.
    pub fn pes(self) -> impl Iterator<Item = Pe> {
        (self.y..self.y + self.h).flat_map(move |y| (self.x..self.x + self.w).map(move |x| Pe { x, y }))
    }
}

/// A parameter as a function of the PE's place (x, y) relative to the region's corner.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum ParamFn {
    Const(i32),
    /// `base + x*dx + y*dy`.
    Affine {
        base: i32,
        dx: i32,
        dy: i32,
    },
    /// One value a PE, row by row.
    Table(Vec<i32>),
}

/// PEs that run one class. Regions do not overlap.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Region {
    pub rect: Rect,
    pub class: ClassIx,
    pub node: NodeIx,
    /// Color of each input queue; at most 8, each color once.
    pub in_colors: Vec<Option<Color>>,
    /// Color of each output queue; at most 6, each color once.
    pub out_colors: Vec<Option<Color>>,
    /// Values of [`Val::Param`].
    pub params: Vec<ParamFn>,
}

impl Region {
    /// Value of a field on PE `p`; `None` when the parameter does not exist there.
    pub fn value(&self, v: Val, p: Pe) -> Option<i32> {
        let ix = match v {
            Val::Const(c) => return Some(c),
            Val::Param(ix) => ix,
        };
        let (x, y) = (i32::from(p.x) - i32::from(self.rect.x), i32::from(p.y) - i32::from(self.rect.y));
        match self.params.get(usize::from(ix))? {
            ParamFn::Const(c) => Some(*c),
            ParamFn::Affine { base, dx, dy } => base.checked_add(x.checked_mul(*dx)?)?.checked_add(y.checked_mul(*dy)?),
            ParamFn::Table(t) => t.get((y * i32::from(self.rect.w) + x) as usize).copied(),
        }
    }
}

/// A port of a router.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Port {
    North,
    East,
    South,
    West,
    Ramp,
}

/// A set of router ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct PortSet(pub u8);

impl PortSet {
    /// The set with `port` added.
    pub fn with(self, port: Port) -> PortSet {
        PortSet(self.0 | 1 << port as u8)
    }

    /// True when `port` is in the set.
    pub fn has(self, port: Port) -> bool {
        self.0 >> port as u8 & 1 == 1
    }

    /// The ports in it, in declaration order.
    pub fn ports(self) -> impl Iterator<Item = Port> {
        [Port::North, Port::East, Port::South, Port::West, Port::Ramp].into_iter().filter(move |&p| self.has(p))
    }
}

/// The route of one color through the routers of a rectangle: what comes in at `rx` goes out
/// at every port of `tx`. A PE has at most one route per color.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub struct Route {
    pub rect: Rect,
    pub color: Color,
    pub rx: Port,
    pub tx: PortSet,
}

/// SRAM contents at the start.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Data {
    pub rect: Rect,
    /// Byte address, the same on every PE.
    pub addr: u32,
    /// Bytes per PE.
    pub len: u32,
    /// `len` bytes shared by all PEs, or `len` bytes for each PE, row by row.
    pub bytes: Bytes,
}

/// A loop of a port's element order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub struct PortLoop {
    pub count: u32,
    /// In elements of the host tensor; may be zero (an element sent again).
    pub elem_step: i64,
}

/// A port on the west edge (input) or on the east edge (output), one wavelet a cycle.
///
/// Elements go in the order of the loops, outermost first, starting at `elem0`, packed two to
/// a wavelet for 16-bit types; an odd tail of the innermost loop is padded with zero. The host
/// copies elements and does not compute: an f32 tensor goes over the wires as f32.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct IoPort {
    /// Index into `inputs` or `outputs`.
    pub tensor: u32,
    /// Mesh row; the PE is (0, row) for inputs and (width - 1, row) for outputs.
    pub row: u16,
    pub color: Color,
    pub elem0: u64,
    pub loops: Vec<PortLoop>,
}

/// Elements of a tensor in SRAM: of an input before the first cycle, of an output after the last.
///
/// The host rounds floats to the type in which they are kept and keeps the low word of 64-bit
/// integers, which come out sign-extended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resident {
    /// Index into `inputs` or `outputs`.
    pub tensor: u32,
    /// The PEs.
    pub rect: Rect,
    /// Byte address of the first element, the same on every PE.
    pub addr: u32,
    /// Type in SRAM.
    pub ty: ElemType,
    /// Elements a PE, one after the other.
    pub len: u32,
    /// Which element of the tensor each is, or [`Resident::NONE`]: `len` numbers shared by all PEs, or `len` for each
    /// PE, row by row.
    pub index: Vec<u32>,
}

impl Resident {
    /// No element: zero in an input, and left out of an output.
    pub const NONE: u32 = u32::MAX;

    /// Bytes a PE.
    pub fn bytes(&self) -> u64 {
        u64::from(self.len) * u64::from(self.ty.bytes())
    }

    /// One past the last byte.
    pub fn end(&self) -> u64 {
        u64::from(self.addr) + self.bytes()
    }

    /// Elements of each PE, row by row.
    pub fn by_pe(&self) -> impl Iterator<Item = (Pe, &[u32])> {
        let len = self.len as usize;
        let of = move |k: usize| if self.index.len() == len { 0 } else { k * len };
        self.rect.pes().enumerate().map(move |(k, pe)| (pe, &self.index[of(k)..of(k) + len]))
    }
}

/// An input or an output of the model.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct IoTensor {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
}

/// A program for one machine description.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Program {
    /// Name of the machine description.
    pub machine: String,
    /// [`super::Machine::hash`] of it.
    pub machine_hash: String,
    /// Name of the model.
    pub model: String,
    /// Node names of the user's model.
    pub nodes: Vec<String>,
    /// PE programs.
    pub classes: Vec<PeClass>,
    /// Who runs what.
    pub regions: Vec<Region>,
    /// Static routes.
    pub routes: Vec<Route>,
    /// SRAM contents at the start.
    pub data: Vec<Data>,
    /// Inputs, in the model's order.
    pub inputs: Vec<IoTensor>,
    /// Outputs, in the model's order.
    pub outputs: Vec<IoTensor>,
    /// Where inputs enter.
    pub in_ports: Vec<IoPort>,
    /// Where outputs leave; over all ports and SRAM of a tensor every element is named exactly once.
    pub out_ports: Vec<IoPort>,
    /// Inputs that lie in SRAM before the first cycle.
    pub in_sram: Vec<Resident>,
    /// Outputs that lie in SRAM after the last cycle.
    pub out_sram: Vec<Resident>,
}
