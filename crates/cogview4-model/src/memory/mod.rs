//! Memory as Linux counts it: what the process holds, and what it may still take.
//!
//! Anonymous memory is what the process needs: it can go nowhere but to swap. Pages of mapped files, such as weights
//! that are used where the page cache has them, are the kernel's to give and to take; the usual peak of a process,
//! `VmHWM`, counts both together.

mod available;
#[cfg(target_os = "linux")]
mod cut;
mod meter;
mod trim;

pub use available::available_bytes;
#[cfg(target_os = "linux")]
pub(crate) use cut::NamedMap;
#[cfg(target_os = "linux")]
pub use cut::name_cut_files;
pub use meter::MemoryMeter;
pub(crate) use trim::kept_bytes;
pub use trim::trim_heap;

/// Does nothing on this system.
#[cfg(not(target_os = "linux"))]
pub fn name_cut_files() {}

/// The process's own table.
const STATUS: &str = "/proc/self/status";

/// Bytes of anonymous memory that this process holds now, `RssAnon`; 0 where the system does not tell.
pub fn anonymous_bytes() -> u64 {
    Held::now().anonymous
}

/// Bytes of mapped files and shared memory that this process has in memory now, `RssFile` and `RssShmem`; 0 where the
/// system does not tell.
pub fn mapped_bytes() -> u64 {
    Held::now().mapped
}

/// The most bytes that this process has held since it began, mapped files among them, `VmHWM`; 0 where the system does
/// not tell.
pub fn peak_resident_bytes() -> u64 {
    table(STATUS).and_then(|table| bytes(&table, "VmHWM:")).unwrap_or_default()
}

/// What the process holds, of both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    anonymous: u64,
    mapped: u64,
}

impl Held {
    fn now() -> Self {
        table(STATUS).map_or(Self { anonymous: 0, mapped: 0 }, |table| Self::of(&table))
    }

    fn of(table: &str) -> Self {
        let [anonymous, file, shared] = ["RssAnon:", "RssFile:", "RssShmem:"].map(|name| bytes(table, name));
        Self { anonymous: anonymous.unwrap_or_default(), mapped: file.unwrap_or_default() + shared.unwrap_or_default() }
    }
}

/// One of the kernel's tables, where it has it.
fn table(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// A line of a table that counts in kB.
fn bytes(table: &str, name: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_apart() {
        let table = "VmHWM:\t 9 kB\nRssAnon:\t     116 kB\nRssFile:\t    1664 kB\nRssShmem:\t       2 kB\n";
        assert_eq!(Held::of(table), Held { anonymous: 116 * 1024, mapped: 1666 * 1024 });
        assert_eq!(Held::of("RssAnon:\tmany kB\n"), Held { anonymous: 0, mapped: 0 });
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_map_is_no_anonymous_memory() {
        use std::io::Write;

        const BYTES: usize = 64 << 20;
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&vec![1; BYTES]).expect("written");
        #[expect(unsafe_code, reason = "memory-mapping a file is unsafe by definition")]
        // SAFETY: nobody else has the file.
        let map = unsafe { memmap2::Mmap::map(&file) }.expect("a map");
        let before = Held::now();
        let sum: usize = map.iter().step_by(4096).map(|&byte| usize::from(byte)).sum();
        assert_eq!(sum, BYTES / 4096);
        let after = Held::now();
        assert!(after.mapped - before.mapped > BYTES as u64 * 9 / 10, "{before:?} {after:?}");
        // Other tests run beside.
        assert!(after.anonymous.saturating_sub(before.anonymous) < BYTES as u64 / 2, "{before:?} {after:?}");
        assert!(peak_resident_bytes() >= after.mapped);
    }
}
