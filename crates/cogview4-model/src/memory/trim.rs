//! Giving memory back.

/// Gives what was freed, and what the C library keeps of it for what comes next, back to the system: between stages that
/// need memory of different sizes. Does nothing with C libraries other than glibc.
pub fn trim_heap() {
    #[cfg(all(any(feature = "flex", feature = "libtorch"), target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library's allocator")]
    // SAFETY: takes a number, and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Tensors of so many bytes and more are given back to the system at once.
const LARGE: u64 = 32 << 20;

/// Bytes that the C library keeps of a computation's tensors when it comes again, beside the tensors themselves: glibc
/// takes those below 32 MiB from its heap, and leaves one or two of the largest of them at the heap's end, as threads come
/// by, while those above have memory of their own. Where all are small, the next ones are where the last were.
pub(crate) fn kept_bytes(tensors: impl Iterator<Item = u64> + Clone) -> u64 {
    let is_glibc = cfg!(all(target_os = "linux", target_env = "gnu"));
    let has_large = tensors.clone().any(|bytes| bytes >= LARGE);
    let largest = tensors.filter(|&bytes| bytes < LARGE).max().unwrap_or(0);
    if is_glibc && has_large { largest + largest / 2 } else { 0 }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;
    use crate::memory::anonymous_bytes;

    #[test]
    fn what_was_freed_goes_back() {
        const PART: usize = 64 << 10;
        // Every second part stays, so that the heap cannot shrink by itself.
        let mut parts: Vec<Option<Vec<u8>>> = (0..4096).map(|_| Some(vec![1; PART])).collect();
        parts.iter_mut().step_by(2).for_each(|part| *part = None);
        let before = anonymous_bytes();
        trim_heap();
        let after = anonymous_bytes();
        let freed = 2048 * PART as u64;
        assert!(before.saturating_sub(after) > freed / 2, "{before} {after}");
        assert!(parts.iter().flatten().all(|part| part[PART - 1] == 1));
    }
}
