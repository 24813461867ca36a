//! Asks for memory before it is needed: a mesh does not fit in the caches, and its sites are visited in no order that
//! the processor could guess.

/// Asks for the first line of an element, when it exists.
#[inline(always)]
pub(super) fn fetch<T>(of: &[T], ix: usize) {
    if let Some(element) = of.get(ix) {
        fetch_line(element);
    }
}

/// Asks for all lines of an element, when it exists.
#[inline(always)]
pub(super) fn fetch_all<T>(of: &[T], ix: usize) {
    if let Some(element) = of.get(ix) {
        let first = std::ptr::from_ref(element).cast::<u8>();
        for line in 0..size_of::<T>().div_ceil(64) {
            fetch_line(first.wrapping_add(line * 64));
        }
    }
}

#[inline(always)]
fn fetch_line<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it reads nothing that the program could see, and no address makes it fault.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
