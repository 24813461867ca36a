//! The arithmetic of resizing one axis: where each output element reads, and with what weight.
//!
//! All in f64, as the operator's reference implementation has it.

/// How a place in the output maps to one in the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    CropAndResize,
    TfHalfPixelForNearest,
}

/// Which neighbour is nearest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nearest {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

/// How values between elements are made.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Interpolation {
    Nearest(Nearest),
    Linear,
    /// With the coefficient a.
    Cubic(f64),
}

/// The resizing of one axis.
pub(super) struct Axis {
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) scale: f64,
    pub(super) coordinates: Coordinates,
    pub(super) interpolation: Interpolation,
    pub(super) antialias: bool,
    pub(super) exclude_outside: bool,
    /// Start and end of the crop, as fractions of the input.
    pub(super) roi: (f64, f64),
}

impl Axis {
    /// True when the axis comes out as it is.
    pub(super) fn is_identity(&self) -> bool {
        self.input == self.output && self.scale == 1.0 && self.coordinates != Coordinates::CropAndResize
    }

    /// Place in the input of output element `i`.
    fn place(&self, i: usize) -> f64 {
        let (x, n) = (i as f64, self.input as f64);
        // The unrounded extent.
        let width = self.scale * n;
        match self.coordinates {
            Coordinates::HalfPixel => (x + 0.5) / self.scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = self.output as f64 / width;
                n / 2.0 * (1.0 - adjustment) + (x + 0.5) / self.scale - 0.5
            }
            Coordinates::PytorchHalfPixel => {
                if self.output > 1 {
                    (x + 0.5) / self.scale - 0.5
                } else {
                    -0.5
                }
            }
            Coordinates::AlignCorners => {
                if width == 1.0 || self.output == 1 {
                    0.0
                } else {
                    x * (n - 1.0) / (width - 1.0)
                }
            }
            Coordinates::Asymmetric => x / self.scale,
            Coordinates::TfHalfPixelForNearest => (x + 0.5) / self.scale,
            Coordinates::CropAndResize => {
                let (start, end) = self.roi;
                if self.output > 1 {
                    start * (n - 1.0) + x * (end - start) * (n - 1.0) / (width - 1.0)
                } else {
                    0.5 * (start + end) * (n - 1.0)
                }
            }
        }
    }

    /// True when output element `i` reads outside the input.
    pub(super) fn is_outside(&self, i: usize) -> bool {
        let p = self.place(i);
        p < 0.0 || p > self.input as f64 - 1.0
    }

    fn clamp(&self, p: f64) -> usize {
        p.clamp(0.0, self.input as f64 - 1.0) as usize
    }

    /// For nearest: the element each output element is.
    pub(super) fn nearest(&self) -> Vec<i64> {
        let Interpolation::Nearest(mode) = self.interpolation else { return Vec::new() };
        (0..self.output)
            .map(|i| {
                let p = self.place(i);
                let at = match mode {
                    Nearest::PreferFloor => (p - 0.5).ceil(),
                    Nearest::PreferCeil => (p + 0.5).floor(),
                    Nearest::Floor => p.floor(),
                    Nearest::Ceil => p.ceil(),
                };
                self.clamp(at) as i64
            })
            .collect()
    }

    /// For linear and cubic: weights `[output, input]`.
    pub(super) fn matrix(&self) -> Vec<f64> {
        let mut m = vec![0.0; self.output * self.input];
        for (i, row) in m.chunks_exact_mut(self.input.max(1)).enumerate() {
            let p = self.place(i);
            let base = p.floor();
            let mut taps = self.taps(p - base);
            if self.exclude_outside {
                let inside = |k: i64| (0.0..self.input as f64).contains(&(base + k as f64));
                taps.retain(|&(k, _)| inside(k));
                let total: f64 = taps.iter().map(|t| t.1).sum();
                taps.iter_mut().for_each(|t| t.1 /= total);
            }
            for (k, w) in taps {
                row[self.clamp(base + k as f64)] += w;
            }
        }
        m
    }

    /// Offsets from the element at or below the place, and weights, for a fraction above it.
    fn taps(&self, fraction: f64) -> Vec<(i64, f64)> {
        // A filter is stretched when it has to cover more than its own width.
        let stretch = if self.antialias { self.scale.min(1.0) } else { 1.0 };
        let (reach, kernel): (f64, Box<dyn Fn(f64) -> f64>) = match self.interpolation {
            Interpolation::Cubic(a) => (2.0, Box::new(move |d| cubic(a, d))),
            _ => (1.0, Box::new(|d: f64| (1.0 - d).clamp(0.0, 1.0))),
        };
        let start = (-reach / stretch).floor() as i64 + 1;
        let end = 2 - start;
        let mut taps: Vec<(i64, f64)> =
            (start..end).map(|k| (k, kernel(((k as f64 - fraction) * stretch).abs()))).collect();
        if self.antialias {
            let total: f64 = taps.iter().map(|t| t.1).sum();
            taps.iter_mut().for_each(|t| t.1 /= total);
        }
        taps
    }
}

/// Keys' cubic convolution kernel.
fn cubic(a: f64, d: f64) -> f64 {
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}
