//! How the C library's allocator treats large tensors of libtorch. Nothing is changed with C libraries other than glibc, and
//! where the environment has a `MALLOC_` variable.

/// Lets glibc keep the memory of freed tensors for the next ones. By its defaults it gives each large block back to the
/// kernel and gets it again as fresh pages, every one a fault: that took a twentieth of a forward pass and a sixth of a training
/// step.
#[cfg(feature = "libtorch")]
pub(crate) fn keep_freed_memory() {
    glibc::keep(true);
}

/// While this lives, blocks of 256 KiB and more come from the kernel, and go back to it.
///
/// For work that keeps something small between large things that it frees, as packing does for each row: glibc before 2.38 finds
/// no place for libtorch's aligned memory between the small things, and 14,000 small pictures made it grow by 8 GB.
#[derive(Debug)]
pub struct LargeBlocksApart(());

impl LargeBlocksApart {
    /// Begins.
    #[must_use = "it ends when this is dropped"]
    pub fn begin() -> Self {
        glibc::keep(false);
        Self(())
    }
}

impl Drop for LargeBlocksApart {
    fn drop(&mut self) {
        glibc::keep(true);
    }
}

#[cfg(all(feature = "libtorch", target_os = "linux", target_env = "gnu"))]
mod glibc {
    /// The largest value that glibc takes.
    const MMAP_THRESHOLD: i32 = 32 << 20;
    /// What is still kept when large blocks are not.
    const SMALL: i32 = 256 << 10;
    /// Free memory at the end of the heap that is kept.
    const TRIM_THRESHOLD: i32 = 1 << 30;
    /// By so much the heap grows at a time.
    const TOP_PAD: i32 = 64 << 20;

    pub(super) fn keep(large: bool) {
        let is_set = |(name, _): (std::ffi::OsString, _)| name.to_string_lossy().starts_with("MALLOC_");
        if std::env::vars_os().any(is_set) {
            return;
        }
        let options = [
            (libc::M_MMAP_THRESHOLD, if large { MMAP_THRESHOLD } else { SMALL }),
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
}

#[cfg(not(all(feature = "libtorch", target_os = "linux", target_env = "gnu")))]
mod glibc {
    pub(super) fn keep(_: bool) {}
}
