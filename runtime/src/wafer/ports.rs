//! Ports: the order in which tensor elements cross the edge of the mesh, and which port
//! descriptions are legal.
//!
//! Knows loops and packing; the host copies elements and computes nothing.

use super::rule::{CheckError, Errors, Rule};
use quadrille_isa::tensor::element_count;
use quadrille_isa::wafer::{IoPort, IoTensor, Machine, Pe, Program, Resident};
use quadrille_isa::{DType, Tensor};

/// Elements of a type in one wavelet: two for 16-bit types, else one.
pub(crate) fn per_wavelet(dtype: DType) -> u32 {
    if dtype.size() == 2 { 2 } else { 1 }
}

/// Wavelets of one element: 64-bit types go as two, the low word first.
fn words(dtype: DType) -> u8 {
    if dtype.size() == 8 { 2 } else { 1 }
}

/// What one wavelet carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    /// Elements by host index, low half first; of 16-bit types there may be two.
    pub(crate) elements: [u64; 2],
    pub(crate) n: usize,
    /// Which word of a 64-bit element it is: 0 the low one.
    pub(crate) word: u8,
    /// Its elements are complete with it.
    pub(crate) last: bool,
}

impl Carried {
    /// The elements.
    pub(crate) fn elements(&self) -> &[u64] {
        &self.elements[..self.n]
    }
}

/// Walks the elements of a port in order, a wavelet at a time.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// Next element, by host index.
    element: i64,
    counts: Vec<u32>,
    steps: Vec<i64>,
    at: Vec<u32>,
    per_wavelet: u32,
    left: u64,
    /// Words of an element, and those of the next one that have gone.
    words: u8,
    word: u8,
}

impl Cursor {
    pub(crate) fn new(port: &IoPort, dtype: DType) -> Cursor {
        let mut counts: Vec<u32> = port.loops.iter().map(|l| l.count).collect();
        let mut steps: Vec<i64> = port.loops.iter().map(|l| l.elem_step).collect();
        if counts.is_empty() {
            (counts, steps) = (vec![1], vec![0]);
        }
        Cursor {
            element: port.elem0 as i64,
            at: vec![0; counts.len()],
            left: elements(port).unwrap_or(0),
            counts,
            steps,
            per_wavelet: per_wavelet(dtype),
            words: words(dtype),
            word: 0,
        }
    }

    /// Elements not yet taken.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// What the next wavelet carries; `None` at the end.
    pub(crate) fn next_wavelet(&mut self) -> Option<Carried> {
        if self.left == 0 {
            return None;
        }
        let word = self.word;
        if word + 1 < self.words {
            self.word += 1;
            return Some(Carried { elements: [self.element as u64, 0], n: 1, word, last: false });
        }
        self.word = 0;
        let mut out = [0u64; 2];
        let mut n = 0;
        let inner = self.counts.len() - 1;
        while n < self.per_wavelet as usize {
            out[n] = self.element as u64;
            n += 1;
            self.left -= 1;
            self.at[inner] += 1;
            self.element += self.steps[inner];
            if self.at[inner] == self.counts[inner] {
                self.carry(inner);
                break;
            }
        }
        Some(Carried { elements: out, n, word, last: true })
    }

    fn carry(&mut self, mut k: usize) {
        while self.at[k] == self.counts[k] {
            self.element -= i64::from(self.counts[k]) * self.steps[k];
            self.at[k] = 0;
            if k == 0 {
                return;
            }
            k -= 1;
            self.at[k] += 1;
            self.element += self.steps[k];
        }
    }
}

/// Elements that a port carries; `None` on overflow (or beyond 2^40).
pub(crate) fn elements(port: &IoPort) -> Option<u64> {
    let n = port.loops.iter().try_fold(1u64, |n, l| n.checked_mul(u64::from(l.count)))?;
    (n <= 1 << 40).then_some(n)
}

/// Wavelets that a port carries.
pub(crate) fn wavelets(port: &IoPort, dtype: DType) -> u64 {
    let inner = u64::from(port.loops.last().map_or(1, |l| l.count));
    match elements(port) {
        Some(n) if inner > 0 => n / inner * inner.div_ceil(u64::from(per_wavelet(dtype))) * u64::from(words(dtype)),
        _ => 0,
    }
}

/// First and last element index a port names, for a port that names any.
fn range(port: &IoPort) -> Option<(i128, i128)> {
    let (mut lo, mut hi) = (i128::from(port.elem0), i128::from(port.elem0));
    for l in &port.loops {
        let d = i128::from(l.count.checked_sub(1)?) * i128::from(l.elem_step);
        lo += d.min(0);
        hi += d.max(0);
    }
    Some((lo, hi))
}

/// The wavelet that carries these elements of a tensor.
pub(crate) fn pack(tensor: &Tensor, carried: Carried) -> u32 {
    let size = tensor.dtype.size();
    let mut word = 0u32;
    for (k, &e) in carried.elements().iter().enumerate() {
        let at = e as usize * size + usize::from(carried.word) * 4;
        let bytes = &tensor.data[at..at + size.min(4)];
        word |= match size {
            1 if tensor.dtype == DType::I8 => i32::from(bytes[0] as i8) as u32,
            1 => u32::from(bytes[0]),
            2 => u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << (16 * k),
            _ => u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        };
    }
    word
}

/// Writes the elements that a wavelet carries into a tensor's bytes.
pub(crate) fn unpack(word: u32, carried: Carried, size: usize, bytes: &mut [u8]) {
    let part_size = size.min(4);
    for (k, &e) in carried.elements().iter().enumerate() {
        let at = e as usize * size + usize::from(carried.word) * 4;
        let part = if size == 2 { word >> (16 * k) } else { word };
        bytes[at..at + part_size].copy_from_slice(&part.to_le_bytes()[..part_size]);
    }
}

/// Checks tensors and ports: rows, loops, element ranges.
pub(crate) fn check(program: &Program, machine: &Machine, errors: &mut Errors) {
    for (what, tensors) in [("input", &program.inputs), ("output", &program.outputs)] {
        for (ix, t) in tensors.iter().enumerate() {
            if tensor_len(t).is_none() {
                errors.push(CheckError::new(Rule::Port, format!("{what} {ix} `{}`: its size overflows", t.name)));
            }
        }
    }
    for (x, what, ports, tensors) in [
        (0, "input", &program.in_ports, &program.inputs),
        (machine.geometry.width_pes - 1, "output", &program.out_ports, &program.outputs),
    ] {
        for (ix, port) in ports.iter().enumerate() {
            let pe = Pe { x: x as u16, y: port.row };
            let mut fail = |rule: Rule, message: String| {
                errors.push(CheckError::new(rule, format!("{what} port {ix}: {message}")).at(pe).color(port.color));
            };
            let Some(tensor) = tensors.get(port.tensor as usize) else {
                fail(Rule::Reference, format!("tensor {} does not exist", port.tensor));
                continue;
            };
            if u32::from(port.row) >= machine.geometry.height_pes {
                fail(Rule::Port, format!("row {} is not on the mesh", port.row));
            } else if !u32::from(port.row).is_multiple_of(machine.geometry.io_port_rows) {
                fail(
                    Rule::Port,
                    format!("row {} has no port; ports are on every {}th row", port.row, machine.geometry.io_port_rows),
                );
            }
            if u32::from(port.color.0) >= machine.geometry.colors {
                fail(Rule::Port, "its color does not exist".to_owned());
            }
            let len = tensor_len(tensor).unwrap_or(0);
            match (elements(port), range(port)) {
                (None, _) => fail(Rule::Port, "the element count of its loops overflows".to_owned()),
                (Some(_), Some((lo, hi))) if lo < 0 || hi >= i128::from(len) => {
                    fail(Rule::Port, format!("names elements {lo} to {hi}, but `{}` has {len} elements", tensor.name))
                }
                _ => {}
            }
        }
    }
}

/// Number of elements of a port tensor, up to 2^30.
pub(crate) fn tensor_len(t: &IoTensor) -> Option<u64> {
    element_count(&t.shape).map(|n| n as u64).filter(|&n| n <= 1 << 30)
}

/// Checks that every element of every output leaves once, of a program whose ports and tensors in SRAM are legal.
pub(crate) fn check_coverage(program: &Program, errors: &mut Errors) {
    for (ix, tensor) in program.outputs.iter().enumerate() {
        let len = tensor_len(tensor).unwrap_or(0);
        let ports = || program.out_ports.iter().filter(|p| p.tensor as usize == ix);
        let resident = || program.out_sram.iter().filter(|m| m.tensor as usize == ix);
        let kept = || {
            let all = resident().flat_map(Resident::by_pe).flat_map(|(_, index)| index);
            all.copied().filter(|&i| i != Resident::NONE).map(u64::from)
        };
        let named: u128 = ports().map(|p| u128::from(elements(p).unwrap_or(0))).sum();
        let named = named + kept().count() as u128;
        if named != u128::from(len) {
            errors.push(CheckError::new(
                Rule::Output,
                format!("output `{}` has {len} elements, its ports and SRAM name {named}", tensor.name),
            ));
            continue;
        }
        // As many names as elements: covered exactly once if and only if no name repeats.
        let mut seen = vec![0u64; (len as usize).div_ceil(64)];
        let mut again = |e: u64| {
            let (word, bit) = (&mut seen[e as usize / 64], 1 << (e % 64));
            let again = *word & bit != 0;
            *word |= bit;
            again
        };
        let twice = |e: u64| {
            CheckError::new(Rule::Output, format!("element {e} of output `{}` leaves more than once", tensor.name))
        };
        for port in ports() {
            let mut cursor = Cursor::new(port, tensor.dtype);
            while let Some(carried) = cursor.next_wavelet() {
                let mut done = carried.elements().iter().copied().filter(|_| carried.last);
                if let Some(e) = done.find(|&e| again(e)) {
                    errors.push(twice(e).color(port.color));
                    return;
                }
            }
        }
        if let Some(e) = kept().find(|&e| again(e)) {
            errors.push(twice(e));
            return;
        }
    }
}
