//! Attributes of a sliding window (`kernel_shape`, `strides`, `dilations`, `pads`, `auto_pad`,
//! `ceil_mode`) to explicit extents and pads.

use crate::import::call::Call;
use crate::import::error::Fail;
use crate::ir::Window;

/// Kernels, strides, dilations and pads beyond this are errors; products of two of them with an
/// extent stay far from overflow.
const MAX_PARAMETER: i64 = 1 << 20;

/// A window as a node gives it.
pub(super) struct WindowAttributes {
    pub(super) kernel: Option<Vec<usize>>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Option<Vec<usize>>,
    auto_pad: &'static str,
    spatial: usize,
}

/// A resolved window; `after` includes what `ceil_mode` adds, of which `ceil` says how much.
pub(super) struct Resolved {
    pub(super) window: Window,
    pub(super) ceil: Vec<usize>,
}

/// Reads the attributes for `spatial` axes.
pub(super) fn read(c: &mut Call<'_, '_>, spatial: usize) -> Result<WindowAttributes, Fail> {
    let kernel = list(c, "kernel_shape", spatial, 1)?;
    let strides = list(c, "strides", spatial, 1)?.unwrap_or(vec![1; spatial]);
    let dilations = list(c, "dilations", spatial, 1)?.unwrap_or(vec![1; spatial]);
    let pads = list(c, "pads", spatial * 2, 0)?;
    let auto_pad = c.choice("auto_pad", "NOTSET", &["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])?;
    Ok(WindowAttributes { kernel, strides, dilations, pads, auto_pad, spatial })
}

fn list(c: &mut Call<'_, '_>, name: &str, n: usize, least: i64) -> Result<Option<Vec<usize>>, Fail> {
    let Some(v) = c.int_list(name)? else { return Ok(None) };
    if v.len() != n {
        return Err(Fail::invalid(format!("attribute '{name}' needs {n} entries, got {}", v.len())));
    }
    if let Some(bad) = v.iter().find(|&&x| x < least || x > MAX_PARAMETER) {
        let what = format!("attribute '{name}' has entry {bad}, allowed are {least} to {MAX_PARAMETER}");
        return Err(if *bad < least { Fail::invalid(what) } else { Fail::unsupported(what, "") });
    }
    Ok(Some(v.into_iter().map(|x| x as usize).collect()))
}

impl WindowAttributes {
    /// The window with a kernel over an input of these spatial extents.
    pub(super) fn resolve(&self, kernel: &[usize], input: &[usize], ceil_mode: bool) -> Result<Resolved, Fail> {
        let mut w = Window {
            kernel: kernel.to_vec(),
            stride: self.strides.clone(),
            dilation: self.dilations.clone(),
            before: vec![0; self.spatial],
            after: vec![0; self.spatial],
        };
        if kernel.len() != self.spatial || input.len() != self.spatial {
            return Err(Fail::invalid(format!("a kernel of {kernel:?} does not fit {} spatial axes", self.spatial)));
        }
        if kernel.iter().any(|&k| k == 0 || k as i64 > MAX_PARAMETER) {
            return Err(Fail::invalid(format!("a kernel of {kernel:?} is empty or too large")));
        }
        let mut ceil = vec![0; self.spatial];
        for i in 0..self.spatial {
            let span = (kernel[i] - 1) * w.dilation[i] + 1;
            match self.auto_pad {
                "SAME_UPPER" | "SAME_LOWER" => {
                    let out = input[i].div_ceil(w.stride[i]);
                    let need = (out.max(1) - 1) * w.stride[i] + span;
                    let total = need.saturating_sub(input[i]);
                    let small = total / 2;
                    (w.before[i], w.after[i]) =
                        if self.auto_pad == "SAME_UPPER" { (small, total - small) } else { (total - small, small) };
                }
                "NOTSET" => {
                    if let Some(p) = &self.pads {
                        (w.before[i], w.after[i]) = (p[i], p[i + self.spatial]);
                    }
                }
                _ => {}
            }
            if ceil_mode {
                let padded = input[i] + w.before[i] + w.after[i];
                let Some(free) = padded.checked_sub(span) else { continue };
                let mut out = free.div_ceil(w.stride[i]) + 1;
                // A window must not start in what lies beyond the input.
                if (out - 1) * w.stride[i] >= input[i] + w.before[i] {
                    out -= 1;
                }
                let need = (out.max(1) - 1) * w.stride[i] + span;
                ceil[i] = need.saturating_sub(padded);
                w.after[i] += ceil[i];
            }
        }
        Ok(Resolved { window: w, ceil })
    }

    /// How pads are chosen.
    pub(super) fn auto_pad(&self) -> &'static str {
        self.auto_pad
    }
}
