//! How the C library's allocator treats large tensors.

/// Lets glibc keep the memory of freed tensors for the next ones. By its defaults it gives each large block back to the
/// kernel and gets it again as fresh pages, every one a fault: that took a twentieth of a forward pass and a sixth of a training
/// step. Nothing is changed where the environment has a `MALLOC_` variable, and with other C libraries.
pub(crate) fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::sync::Once;

        /// The largest value that glibc takes.
        const MMAP_THRESHOLD: i32 = 32 << 20;
        /// Free memory at the end of the heap that is kept.
        const TRIM_THRESHOLD: i32 = 1 << 30;
        /// By so much the heap grows at a time.
        const TOP_PAD: i32 = 64 << 20;
        static ONCE: Once = Once::new();

        let is_set = |(name, _): (std::ffi::OsString, _)| name.to_string_lossy().starts_with("MALLOC_");
        ONCE.call_once(|| {
            if !std::env::vars_os().any(is_set) {
                let options = [
                    (libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD),
                    (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD),
                    (libc::M_TOP_PAD, TOP_PAD),
                ];
                for (option, value) in options {
                    #[expect(unsafe_code, reason = "the C library's settings")]
                    // SAFETY: takes two numbers, and may be called at any time.
                    unsafe {
                        libc::mallopt(option, value);
                    }
                }
            }
        });
    }
}
