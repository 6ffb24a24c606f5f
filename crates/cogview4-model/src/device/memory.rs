//! How the C library's allocator treats large tensors of libtorch. Nothing is changed with C libraries other than
//! glibc, and where the environment has a `MALLOC_` variable.

use burn::tensor::Device;

use super::{is_flex, is_libtorch_cpu};

/// Lets glibc keep the memory of freed tensors for the next ones. By its defaults it gives each large block back to the
/// kernel and gets it again as fresh pages, every one a fault: that took a twentieth of a forward pass and a sixth of a
/// training step.
#[cfg(feature = "libtorch")]
pub(super) fn keep_freed_memory() {
    glibc::keep(true);
}

/// While this lives, the memory of large tensors that are freed goes back to the system instead of being kept for the
/// next ones; afterwards it is kept, on the pure-Rust CPU too, where that takes a tenth off a training step of small
/// pictures. Devices other than the CPU need nothing of the kind, and nothing is changed for them.
///
/// For work that keeps something small between large things that it frees, as packing does for each row: glibc before
/// 2.38 finds no place for libtorch's aligned memory between the small things, and 14,000 small pictures made it grow
/// by 8 GB.
#[derive(Debug)]
#[must_use = "it ends when this is dropped"]
pub struct ReturnFreedMemory {
    is_changed: bool,
}

impl ReturnFreedMemory {
    /// Begins, for work on this device.
    pub fn begin(device: &Device) -> Self {
        let is_changed = is_flex(device) || is_libtorch_cpu(device);
        if is_changed {
            glibc::keep(false);
        }
        Self { is_changed }
    }
}

impl Drop for ReturnFreedMemory {
    fn drop(&mut self) {
        if self.is_changed {
            glibc::keep(true);
        }
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
