//! What of the packing is one process's.

use cogview4_data::PackKey;

/// A process of those that pack together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub rank: usize,
    pub size: usize,
}

impl Share {
    /// All of it.
    pub(crate) const ALL: Self = Self { rank: 0, size: 1 };

    /// Whether a record is this process's to compute. By its key, so that what is there twice is computed once.
    pub(super) fn has_record(&self, key: &PackKey) -> bool {
        // Hexadecimal digits of a hash.
        let digits = std::str::from_utf8(&key.as_bytes()[..8]).expect("invariant: a key is text");
        self.has(usize::from_str_radix(digits, 16).expect("invariant: in hexadecimal"))
    }

    /// Whether something of this number is this process's.
    pub(crate) fn has(&self, number: usize) -> bool {
        number % self.size == self.rank
    }
}
