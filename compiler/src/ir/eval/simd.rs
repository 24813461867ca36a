//! One source for a loop, compiled for the baseline processor and for AVX2 with FMA, chosen at run time.
//!
//! Rust never contracts a product and a sum into one rounding by itself, and every operation of a lane
//! is the scalar one, so both versions give the same bits.

/// A loop to compile twice. `run` must be `#[inline(always)]`, as must be what it calls.
pub(super) trait Loop {
    /// What the loop returns.
    type Result;
    /// The loop.
    fn run(self) -> Self::Result;
}

/// Runs a loop with the widest lanes that this processor has.
#[inline]
pub(super) fn widest<L: Loop>(l: L) -> L::Result {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both, as was just asked.
        return unsafe { with_avx2(l) };
    }
    l.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<L: Loop>(l: L) -> L::Result {
    l.run()
}
