//! Gradients in a file, until all of a step are there: so that the joint norm is known before the first is used.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use burn::tensor::TensorData;
use cogview4_model::weights::LentMemory;

use super::memory::{Memory, StatePlace};
use crate::error::Result;

/// Room for gradients, which those of each step take anew.
#[derive(Debug, Clone)]
pub(crate) struct GradientMemory(Arc<Mutex<BTreeMap<String, LentMemory>>>);

impl GradientMemory {
    /// Room for the gradients of parameters of so many values, of so many bytes each.
    ///
    /// # Errors
    /// No memory or space.
    pub(crate) fn new(
        place: &StatePlace,
        parameters: impl IntoIterator<Item = (String, usize)>,
        value_bytes: usize,
    ) -> Result<Self> {
        let mut memory = Memory::open(place)?;
        let room = |(key, count): (String, usize)| {
            memory.zeros::<u8>(count * value_bytes).map(|room| (key, LentMemory::new(room)))
        };
        let rooms = parameters.into_iter().map(room).collect::<Result<_>>()?;
        Ok(Self(Arc::new(Mutex::new(rooms))))
    }

    /// Moves a gradient to its room; that of the step before, or the sum before, must be gone.
    pub(super) fn keep(&self, key: &str, data: TensorData) -> TensorData {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.get_mut(key).expect("invariant: a parameter that is trained");
        let bytes = data.as_bytes();
        room.get_mut().expect("invariant: nobody has the gradient before")[..bytes.len()].copy_from_slice(bytes);
        room.lend(data.shape().to_vec(), data.dtype())
    }
}
