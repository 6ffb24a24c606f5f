//! Memory of a file that tensors borrow, and that changes while none does.

use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes, DType, TensorData};
use memmap2::MmapMut;

use crate::ops;

/// Mapped memory that is lent to tensors. It changes only while no tensor has it, which is known at any time.
///
/// ```
/// use burn::tensor::{DType, Device, Tensor};
/// use cogview4_model::weights::LentMemory;
///
/// let mut memory = LentMemory::new(memmap2::MmapMut::map_anon(8)?);
/// let tensor = Tensor::<1>::from_data(memory.lend([2], DType::F32), &Device::flex());
/// assert!(memory.get_mut().is_none());
/// drop(tensor);
/// memory.get_mut().unwrap()[..4].copy_from_slice(&1.5_f32.to_ne_bytes());
/// assert_eq!(memory.lend([2], DType::F32).as_slice::<f32>(), Ok([1.5, 0.0].as_slice()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct LentMemory(Arc<MmapMut>);

impl LentMemory {
    /// Takes memory over.
    pub fn new(memory: MmapMut) -> Self {
        Self(Arc::new(memory))
    }

    /// The first values as a tensor's, not copied.
    ///
    /// # Panics
    /// When there are not as many bytes.
    pub fn lend(&self, shape: impl Into<Vec<usize>>, dtype: DType) -> TensorData {
        let shape: Vec<usize> = shape.into();
        let length = shape.iter().product::<usize>() * dtype.size();
        assert!(length <= self.0.len(), "invariant: {length} bytes are there");
        let part = bytes::Bytes::from_owner(Part { memory: Arc::clone(&self.0), length });
        TensorData::from_bytes(Bytes::from_shared(part, AllocationProperty::File), shape, dtype)
    }

    /// All bytes, to change them; `None` while a tensor has them.
    pub fn get_mut(&mut self) -> Option<&mut [u8]> {
        if Arc::strong_count(&self.0) > 1 {
            // Those that are gone may not have been noticed.
            ops::forget_returned();
        }
        Arc::get_mut(&mut self.0).map(|memory| &mut **memory)
    }
}

/// What a tensor has.
struct Part {
    memory: Arc<MmapMut>,
    length: usize,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}
