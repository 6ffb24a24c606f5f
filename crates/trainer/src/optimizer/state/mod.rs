//! What the optimiser keeps of each parameter: both moments, as f32 or in 8 bits, and the f32 values of one that is
//! computed with in a narrower type, its master. All of it exists once, in memory or on disk.

mod codes;
mod lease;
mod memory;
mod moment;

use std::collections::BTreeMap;

use burn::tensor::{DType, TensorData};
use cogview4_model::weights::TensorSource;
use half::bf16;
use memmap2::MmapMut;

use self::{
    codes::{SIGNED, UNSIGNED},
    memory::{Memory, floats, floats_mut},
    moment::Moment,
};
use super::rounding::RandomBits;
use crate::error::Result;

pub(crate) use codes::BLOCK;
pub(crate) use lease::Lease;
pub use memory::StatePlace;
pub(crate) use moment::StoredMoment;

/// Names of the two moments, as in PyTorch's optimiser.
pub(crate) const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];
/// What follows them in the names of the scales of moments in 8 bits.
pub(crate) const SCALES: &str = "_absmax";

/// How the optimiser's state is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateOptions {
    /// Whether moments are in 8 bits.
    pub use_8bit: bool,
    /// The seed of the rounding of parameters in bfloat16, which then have no masters.
    pub stochastic_rounding: Option<u64>,
    /// Where it is.
    pub place: StatePlace,
}

/// The state of all parameters, by key: by default in memory and in f32.
#[derive(Debug, Default)]
pub(super) struct State {
    options: StateOptions,
    memory: Memory,
    parameters: BTreeMap<String, ParameterState>,
}

/// The state of a parameter.
#[derive(Debug, Default)]
struct ParameterState {
    /// Its f32 values, where it is not f32 itself and follows them.
    master: Option<MmapMut>,
    /// Both moments, where it is trained.
    moments: Option<[Moment; 2]>,
}

/// Chunks of a parameter, of its first moment, and of its second.
pub(super) type Chunks<'a> = [Vec<Lease<'a>>; 3];

impl State {
    pub(super) fn new(options: StateOptions) -> Result<Self> {
        let memory = Memory::open(&options.place)?;
        Ok(Self { options, memory, parameters: BTreeMap::new() })
    }

    /// Lends a parameter and its moments to step `number`, in chunks of so many values. Moments that are not there yet
    /// are zeros, a master the parameter's values.
    pub(super) fn lend<'a>(
        &'a mut self,
        key: &str,
        parameter: &'a mut TensorData,
        chunk: usize,
        number: usize,
    ) -> Result<Chunks<'a>> {
        debug_assert!(chunk.is_multiple_of(BLOCK), "invariant: no block is in two chunks");
        self.moments(key, parameter.num_elements())?;
        let seed = self.options.stochastic_rounding;
        if parameter.dtype() != DType::F32 {
            self.keep_values(key, parameter)?;
        }
        let ParameterState { master, moments } =
            self.parameters.get_mut(key).expect("invariant: what is asked for above");
        let parameter = if parameter.dtype() == DType::F32 {
            let values: &mut [f32] = parameter.as_mut_slice().expect("invariant: of this type");
            values.chunks_mut(chunk).map(Lease::Full).collect()
        } else {
            let narrow: &mut [bf16] = parameter.as_mut_slice().expect("invariant: parameters are f32 or bf16");
            let chunks = narrow.chunks_mut(chunk);
            match (seed, master) {
                (Some(seed), _) => {
                    let rounded = |(index, narrow)| {
                        let bits = Box::new(RandomBits::of_chunk(seed, number, key, index));
                        Lease::Rounded { narrow, bits }
                    };
                    chunks.enumerate().map(rounded).collect()
                }
                (None, Some(master)) => {
                    let masters = floats_mut(master).chunks_mut(chunk);
                    chunks.zip(masters).map(|(narrow, master)| Lease::Mastered { master, narrow }).collect()
                }
                (None, None) => unreachable!("invariant: made above"),
            }
        };
        let [first, second] = moments.as_mut().expect("invariant: made above");
        Ok([parameter, first.chunks(chunk, &SIGNED), second.chunks(chunk, &UNSIGNED)])
    }

    /// Keeps the values of a parameter as its master, unless parameters are rounded at random.
    pub(super) fn keep_values(&mut self, key: &str, parameter: &TensorData) -> Result<()> {
        match self.options.stochastic_rounding {
            None => self.master(key, parameter),
            Some(_) => Ok(()),
        }
    }

    /// The f32 values of a parameter that has a master.
    pub(super) fn master_of(&self, key: &str) -> Option<&[f32]> {
        self.parameters.get(key)?.master.as_ref().map(floats)
    }

    /// Puts the moments of a parameter of so many values back, as a checkpoint has them.
    pub(super) fn restore(&mut self, key: &str, len: usize, stored: [StoredMoment; 2]) -> Result<()> {
        let moments = self.moments(key, len)?;
        for ((moment, stored), table) in moments.iter_mut().zip(stored).zip([&*SIGNED, &*UNSIGNED]) {
            moment.restore(stored, table);
        }
        Ok(())
    }

    /// All moments, for a checkpoint.
    pub(super) fn tensors(&self) -> Vec<(String, TensorSource<'_>)> {
        let mut tensors = Vec::new();
        for (key, state) in &self.parameters {
            for (name, moment) in MOMENTS.into_iter().zip(state.moments.iter().flatten()) {
                tensors.extend(moment.tensors(name, key));
            }
        }
        tensors
    }

    fn moments(&mut self, key: &str, len: usize) -> Result<&mut [Moment; 2]> {
        let state = self.parameters.entry(key.into()).or_default();
        if state.moments.is_none() {
            let mut moment = || Moment::new(&mut self.memory, len, self.options.use_8bit);
            state.moments = Some([moment()?, moment()?]);
        }
        Ok(state.moments.as_mut().expect("invariant: made above"))
    }

    fn master(&mut self, key: &str, parameter: &TensorData) -> Result<()> {
        let state = self.parameters.entry(key.into()).or_default();
        if state.master.is_none() {
            let mut master = self.memory.zeros::<f32>(parameter.num_elements())?;
            match parameter.dtype() {
                DType::F32 => {
                    let values: &[f32] = parameter.as_slice().expect("invariant: of this type");
                    floats_mut(&mut master).copy_from_slice(values);
                }
                _ => {
                    let wide = parameter.clone().convert_dtype(DType::F32);
                    floats_mut(&mut master).copy_from_slice(wide.as_slice().expect("invariant: widened"));
                }
            }
            state.master = Some(master);
        }
        Ok(())
    }
}
