//! What weight files say of their tensors, without the tensors.

use std::path::Path;

use super::WeightFiles;

impl WeightFiles {
    /// Key, type as safetensors calls it, shape and file of all tensors, by key.
    pub fn headers(&self) -> impl Iterator<Item = (&str, String, &[usize], &Path)> {
        self.keys().filter_map(|key| {
            let entry = self.entry(key)?;
            Some((key, entry.dtype, entry.shape, entry.path))
        })
    }
}
