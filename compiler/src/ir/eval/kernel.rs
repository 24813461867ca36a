//! Elementwise loops over blocks of elements.
//!
//! A [`Kernel`] knows the types of its operands, its callers only their bytes: so one interpreter
//! (`tape`) runs any chain of operations. Knows no tensors and no broadcasting.

use super::simd::{Loop, widest};
use crate::ir::DType;
use bytemuck::{AnyBitPattern, NoUninit};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A loop over a block: the bytes of the operands and of the result, all of one number of elements
/// and aligned for their types.
pub(super) type Kernel = Box<dyn Fn(&[&[u8]], &mut [u8]) + Send + Sync>;

/// What an element may be.
pub(super) trait Element: AnyBitPattern + NoUninit {}
impl<T: AnyBitPattern + NoUninit> Element for T {}

/// A function of one element.
pub(super) trait Func1<T, R>: Copy + Send + Sync + 'static {
    /// Its value. Long bodies are marked `#[inline(always)]`, so that loops over them vectorise.
    fn at(self, x: T) -> R;
}

impl<T, R, F: Fn(T) -> R + Copy + Send + Sync + 'static> Func1<T, R> for F {
    #[inline(always)]
    fn at(self, x: T) -> R {
        self(x)
    }
}

struct Loop1<'a, T, R, F>(&'a [T], &'a mut [R], F);

impl<T: Copy, R, F: Func1<T, R>> Loop for Loop1<'_, T, R, F> {
    type Result = ();
    #[inline(always)]
    fn run(self) {
        let Loop1(x, out, f) = self;
        out.iter_mut().zip(x).for_each(|(o, &x)| *o = f.at(x));
    }
}

struct Loop2<'a, T, R, F>(&'a [T], &'a [T], &'a mut [R], F);

impl<T: Copy, R, F: Fn(T, T) -> R> Loop for Loop2<'_, T, R, F> {
    type Result = ();
    #[inline(always)]
    fn run(self) {
        let Loop2(x, y, out, f) = self;
        out.iter_mut().zip(x.iter().zip(y)).for_each(|(o, (&x, &y))| *o = f(x, y));
    }
}

struct Loop3<'a, T, R, F>(&'a [T], &'a [T], &'a [T], &'a mut [R], F);

impl<T: Copy, R, F: Fn(T, T, T) -> R> Loop for Loop3<'_, T, R, F> {
    type Result = ();
    #[inline(always)]
    fn run(self) {
        let Loop3(x, y, z, out, f) = self;
        let operands = x.iter().zip(y).zip(z);
        out.iter_mut().zip(operands).for_each(|(o, ((&x, &y), &z))| *o = f(x, y, z));
    }
}

struct Pick<'a, T>(&'a [u8], &'a [T], &'a [T], &'a mut [T]);

impl<T: Copy> Loop for Pick<'_, T> {
    type Result = ();
    #[inline(always)]
    fn run(self) {
        let Pick(cond, x, y, out) = self;
        let operands = cond.iter().zip(x.iter().zip(y));
        out.iter_mut().zip(operands).for_each(|(o, (&c, (&x, &y)))| *o = if c != 0 { x } else { y });
    }
}

/// The loop of a function of one operand.
pub(super) fn map1<T: Element, R: Element>(f: impl Func1<T, R>) -> Kernel {
    Box::new(move |args, out| {
        widest(Loop1(bytemuck::cast_slice::<u8, T>(args[0]), bytemuck::cast_slice_mut::<u8, R>(out), f));
    })
}

/// The loop of a function of two operands.
pub(super) fn map2<T: Element, R: Element>(f: impl Fn(T, T) -> R + Copy + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, out| {
        let (x, y) = (bytemuck::cast_slice::<u8, T>(args[0]), bytemuck::cast_slice::<u8, T>(args[1]));
        widest(Loop2(x, y, bytemuck::cast_slice_mut::<u8, R>(out), f));
    })
}

/// The loop of a function of three operands.
pub(super) fn map3<T: Element, R: Element>(f: impl Fn(T, T, T) -> R + Copy + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, out| {
        let [x, y, z] = [0, 1, 2].map(|i| bytemuck::cast_slice::<u8, T>(args[i]));
        widest(Loop3(x, y, z, bytemuck::cast_slice_mut::<u8, R>(out), f));
    })
}

/// The loop of a choice: `bool`, and two operands of one type.
pub(super) fn pick<T: Element>() -> Kernel {
    Box::new(move |args, out| {
        let (x, y) = (bytemuck::cast_slice::<u8, T>(args[1]), bytemuck::cast_slice::<u8, T>(args[2]));
        widest(Pick(args[0], x, y, bytemuck::cast_slice_mut::<u8, T>(out)));
    })
}

/// Elements that a half-precision loop widens at a time.
const WIDENED: usize = 256;

/// A loop in `f32` over operands of `dtype`: for `f16` and `bf16`, which compute there and round each
/// result once, unless the result is of another type (`compares`). Other types are left alone.
pub(super) fn for_halves(dtype: DType, compares: bool, inner: Kernel) -> Kernel {
    match dtype {
        DType::F16 => through_f32::<f16>(compares, inner),
        DType::BF16 => through_f32::<bf16>(compares, inner),
        _ => inner,
    }
}

/// A format of two bytes.
trait Half: Element {
    fn widen(x: &[Self], wide: &mut [f32]);
    fn narrow(wide: &[f32], x: &mut [Self]);
}

macro_rules! half_format {
    ($t:ty) => {
        impl Half for $t {
            fn widen(x: &[$t], wide: &mut [f32]) {
                x.convert_to_f32_slice(wide);
            }
            fn narrow(wide: &[f32], x: &mut [$t]) {
                x.convert_from_f32_slice(wide);
            }
        }
    };
}

half_format!(f16);
half_format!(bf16);

fn through_f32<H: Half>(compares: bool, inner: Kernel) -> Kernel {
    Box::new(move |args, out| {
        let mut wide = [[0f32; WIDENED]; 2];
        let mut result = [0f32; WIDENED];
        let operands = args.len().min(wide.len());
        let size = if compares { 1 } else { size_of::<H>() };
        for (i, out) in out.chunks_mut(WIDENED * size).enumerate() {
            let n = out.len() / size;
            let mut bytes: [&[u8]; 2] = [&[]; 2];
            for (k, wide) in wide.iter_mut().take(operands).enumerate() {
                let x = bytemuck::cast_slice::<u8, H>(args[k]);
                H::widen(&x[i * WIDENED..][..n], &mut wide[..n]);
                bytes[k] = bytemuck::cast_slice(&wide[..n]);
            }
            if compares {
                inner(&bytes[..operands], out);
            } else {
                inner(&bytes[..operands], bytemuck::cast_slice_mut(&mut result[..n]));
                H::narrow(&result[..n], bytemuck::cast_slice_mut(out));
            }
        }
    })
}
