//! Memory for what is sent and received, used again from unit to unit and step to step: fresh memory is cleared by the
//! system page by page, which takes longer than to copy it.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

/// Buffers that nobody uses at the moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// So many bytes, of any value at first. Dropped, they are for the next who wants some.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Vec<u8>,
    len: usize,
    home: Buffers,
}

impl Buffers {
    fn with<R>(&self, change: impl FnOnce(&mut Vec<Vec<u8>>) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// So many bytes.
    pub(super) fn take(&self, len: usize) -> Buffer {
        let found = self.with(|free| {
            let fitting = (0..free.len()).filter(|&index| free[index].len() >= len);
            let least = fitting.min_by_key(|&index| free[index].len());
            // None is large enough: the largest makes room for one that is, so that there are never more than are used.
            let index = least.or_else(|| (0..free.len()).max_by_key(|&index| free[index].len()))?;
            Some(free.swap_remove(index))
        });
        let memory = found.filter(|memory| memory.len() >= len).unwrap_or_else(|| vec![0; len]);
        Buffer { memory, len, home: self.clone() }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        self.home.with(|free| free.push(memory));
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again() {
        let buffers = Buffers::default();
        let (mut first, second) = (buffers.take(10), buffers.take(5));
        first[9] = 7;
        drop((first, second));
        assert_eq!((buffers.take(4).len(), buffers.take(8)[..].len()), (4, 8));
        assert_eq!(buffers.take(10)[9], 7);
        let larger = buffers.take(20);
        assert_eq!(larger.len(), 20);
        drop(larger);
        // The one of ten made room.
        let mut sizes = buffers.with(|free| free.iter().map(Vec::len).collect::<Vec<_>>());
        sizes.sort_unstable();
        assert_eq!(sizes, [5, 20]);
    }
}
