//! Asks for large pages: the state of a mesh is gigabytes that are walked through in an order that no processor could guess, and
//! with small pages every other step waits for a page table.

/// Bytes of a large page.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

/// From here on it pays.
#[cfg(target_os = "linux")]
const LEAST: usize = 64 << 10;

/// Asks that this memory, and what lies in the same large pages, be moved to large pages. Nothing depends on it but time.
#[cfg(target_os = "linux")]
pub(super) fn enlarge<T>(of: &[T]) {
    let bytes = size_of_val(of);
    if bytes < LEAST {
        return;
    }
    let first = of.as_ptr().addr() / LARGE * LARGE;
    let end = (of.as_ptr().addr() + bytes).next_multiple_of(LARGE);
    for page in (first..end).step_by(LARGE) {
        for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
            // SAFETY: neither advice changes what any byte of memory holds or who may touch it, and an address with no memory is
            // refused. A refusal leaves pages as they are, so it is of no matter.
            unsafe { libc::madvise(std::ptr::without_provenance_mut(page), LARGE, advice) };
        }
    }
}

/// Other systems are left to choose their pages.
#[cfg(not(target_os = "linux"))]
pub(super) fn enlarge<T>(_: &[T]) {}

#[cfg(test)]
mod tests {
    use super::enlarge;

    #[test]
    fn what_memory_holds_stays() {
        for len in [0, 1, 1 << 17, 5_000_000] {
            let mut bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            enlarge(&bytes);
            bytes.push(1);
            assert!(bytes[..len].iter().enumerate().all(|(i, &b)| b == i as u8));
        }
    }
}
