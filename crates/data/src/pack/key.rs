//! What records are found by.

use serde::{Deserialize, Serialize};

/// The hash of everything a record depends on, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackKey(String);

impl PackKey {
    /// Hashes the parts that a record depends on; where one part ends and the next begins counts.
    pub fn new(parts: &[&[u8]]) -> Self {
        Self(hash_of(parts))
    }

    /// The hash as text, to make further keys of it.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Hash of parts with their lengths, in hexadecimal.
pub(super) fn hash_of(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}
