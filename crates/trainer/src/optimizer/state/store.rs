//! Where the state is: in the host's memory or a file, or on the device that computes.

use burn::tensor::{DType, TensorData};
use cogview4_model::weights::TensorSource;

use super::{Extent, State, StateOptions, StoredMoment, device::DeviceState};
use crate::{
    error::Result,
    optimizer::{memory::StatePlace, stored::Slice, sum::shaped},
};

#[derive(Debug)]
pub(in crate::optimizer) enum Store {
    Host(State),
    Device(DeviceState),
}

impl Default for Store {
    fn default() -> Self {
        Self::Host(State::default())
    }
}

impl Store {
    pub(in crate::optimizer) fn new(options: StateOptions) -> Result<Self> {
        Ok(match options {
            StateOptions { place: StatePlace::Device(device), use_8bit: false, stochastic_rounding: None } => {
                Self::Device(DeviceState::new(device))
            }
            options => Self::Host(State::new(options)?),
        })
    }

    /// The f32 values of a parameter that has a master, to be written in this type.
    pub(in crate::optimizer) fn master(
        &self,
        key: &str,
        dtype: DType,
        shape: &[usize],
    ) -> Option<TensorSource<'static>> {
        let own = shape.to_vec();
        match self {
            Self::Host(state) => {
                let master = state.master_of(key)?.clone();
                let read = move || TensorData::new(master.floats().to_vec(), own);
                Some(TensorSource::new(dtype, shape, read))
            }
            Self::Device(state) => {
                let master = state.master_of(key)?.clone();
                Some(TensorSource::new(dtype, shape, move || shaped(master.into_data(), &own)))
            }
        }
    }

    /// Puts moments of a parameter back, as a checkpoint has them.
    pub(in crate::optimizer) fn restore(
        &mut self,
        key: &str,
        extent: &Extent,
        stored: [StoredMoment; 2],
    ) -> Result<()> {
        match self {
            Self::Host(state) => state.restore(key, extent, stored),
            Self::Device(state) => {
                state.restore(key, stored);
                Ok(())
            }
        }
    }

    /// Key and number of values of each parameter that has moments.
    pub(in crate::optimizer) fn lengths(&self) -> Vec<(String, usize)> {
        match self {
            Self::Host(state) => state.lengths(),
            Self::Device(state) => state.lengths(),
        }
    }

    /// All moments, for a checkpoint; `first` is the number of the first value that is here, of a parameter by key.
    pub(in crate::optimizer) fn slices(&self, first: impl Fn(&str) -> usize) -> Vec<Slice> {
        match self {
            Self::Host(state) => state.slices(first),
            Self::Device(state) => state.slices(),
        }
    }

    /// Whether moments are in 8 bits.
    pub(in crate::optimizer) fn use_8bit(&self) -> bool {
        matches!(self, Self::Host(state) if state.use_8bit())
    }

    /// Whether parameters are rounded at random, and have no masters.
    pub(in crate::optimizer) fn is_rounding(&self) -> bool {
        matches!(self, Self::Host(state) if state.is_rounding())
    }
}
