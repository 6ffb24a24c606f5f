//! What the optimiser keeps of each parameter: both moments, as f32 or in 8 bits, and the f32 values of one that is
//! computed with in a narrower type, its master. All of it exists once, in memory or on disk.

mod codes;
mod device;
mod lease;
mod moment;
mod store;

use std::{collections::BTreeMap, ops::Range};

use self::{
    codes::{SIGNED, UNSIGNED},
    moment::Moment,
};
use super::{
    memory::{Memory, Shared, StatePlace},
    rounding::RandomBits,
    stored::Slice,
};
use crate::error::Result;

pub(crate) use codes::BLOCK;
pub(crate) use lease::{Lease, Values};
pub(crate) use moment::StoredMoment;
pub(super) use moment::moment_layouts;
pub(super) use store::Store;

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

/// Which values of a parameter are kept here: whole chunks, unless it is the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    pub values: Range<usize>,
    /// Number of values of the parameter.
    pub whole: usize,
}

/// The state of a parameter.
#[derive(Debug, Default)]
struct ParameterState {
    /// Its f32 values, where it is not f32 itself and follows them.
    master: Option<Shared>,
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

    /// Lends values of a parameter and their moments to step `number`, in chunks of so many. Moments that are not there
    /// yet are zeros, a master the parameter's values.
    pub(super) fn lend<'a>(
        &'a mut self,
        (key, extent): (&str, &Extent),
        parameter: Values<'a>,
        chunk: usize,
        number: usize,
    ) -> Result<Chunks<'a>> {
        debug_assert!(chunk.is_multiple_of(BLOCK), "invariant: no block is in two chunks");
        let first = extent.values.start / chunk;
        self.moments(key, extent)?;
        let seed = self.options.stochastic_rounding;
        if let (Values::Narrow(narrow), None) = (&parameter, seed) {
            self.master(key, narrow.len(), |index| narrow[index].to_f32())?;
        }
        let ParameterState { master, moments } =
            self.parameters.get_mut(key).expect("invariant: what is asked for above");
        let parameter = match (parameter, seed, master) {
            (Values::Full(values), ..) => values.chunks_mut(chunk).map(Lease::Full).collect(),
            (Values::Narrow(narrow), Some(seed), _) => {
                let rounded = |(index, narrow)| {
                    let bits = Box::new(RandomBits::of_chunk(seed, number, key, first + index));
                    Lease::Rounded { narrow, bits }
                };
                narrow.chunks_mut(chunk).enumerate().map(rounded).collect()
            }
            (Values::Narrow(narrow), None, Some(master)) => {
                let masters = master.floats_mut()?.chunks_mut(chunk);
                let mastered = |(narrow, master)| Lease::Mastered { master, narrow };
                narrow.chunks_mut(chunk).zip(masters).map(mastered).collect()
            }
            (Values::Narrow(_), None, None) => unreachable!("invariant: made above"),
        };
        let [first, second] = moments.as_mut().expect("invariant: made above");
        Ok([parameter, first.chunks(chunk, &SIGNED)?, second.chunks(chunk, &UNSIGNED)?])
    }

    /// Keeps the f32 values of a parameter as its master, unless parameters are rounded at random.
    pub(super) fn keep_values(&mut self, key: &str, values: &[f32]) -> Result<()> {
        match self.options.stochastic_rounding {
            None => self.master(key, values.len(), |index| values[index]),
            Some(_) => Ok(()),
        }
    }

    /// The f32 values of a parameter that has a master.
    pub(super) fn master_of(&self, key: &str) -> Option<&Shared> {
        self.parameters.get(key)?.master.as_ref()
    }

    /// Puts moments of a parameter back, as a checkpoint has them.
    pub(super) fn restore(&mut self, key: &str, extent: &Extent, stored: [StoredMoment; 2]) -> Result<()> {
        let moments = self.moments(key, extent)?;
        for ((moment, stored), table) in moments.iter_mut().zip(stored).zip([&*SIGNED, &*UNSIGNED]) {
            moment.restore(stored, table)?;
        }
        Ok(())
    }

    /// Key and number of values of each parameter that has moments.
    pub(super) fn lengths(&self) -> Vec<(String, usize)> {
        let length = |state: &ParameterState| state.moments.as_ref().map(|[first, _]| first.len());
        self.parameters.iter().filter_map(|(key, state)| Some((key.clone(), length(state)?))).collect()
    }

    /// All moments, for a checkpoint; `first` is the number of the first value that is here, of a parameter by key.
    pub(super) fn slices(&self, first: impl Fn(&str) -> usize) -> Vec<Slice> {
        let mut slices = Vec::new();
        for (key, state) in &self.parameters {
            for (name, moment) in MOMENTS.into_iter().zip(state.moments.iter().flatten()) {
                slices.extend(moment.slices(name, key, first(key)));
            }
        }
        slices
    }

    /// Whether moments are in 8 bits.
    pub(super) fn use_8bit(&self) -> bool {
        self.options.use_8bit
    }

    /// Whether parameters are rounded at random, and have no masters.
    pub(super) fn is_rounding(&self) -> bool {
        self.options.stochastic_rounding.is_some()
    }

    fn moments(&mut self, key: &str, extent: &Extent) -> Result<&mut [Moment; 2]> {
        let state = self.parameters.entry(key.into()).or_default();
        if state.moments.is_none() {
            let mut moment = || Moment::new(&mut self.memory, extent, self.options.use_8bit);
            state.moments = Some([moment()?, moment()?]);
        }
        Ok(state.moments.as_mut().expect("invariant: made above"))
    }

    /// Makes the master of a parameter of so many values, unless it is there.
    fn master(&mut self, key: &str, len: usize, value: impl Fn(usize) -> f32) -> Result<()> {
        let state = self.parameters.entry(key.into()).or_default();
        if state.master.is_none() {
            let mut master = self.memory.zeros::<f32>(len)?;
            bytemuck::cast_slice_mut(&mut master).iter_mut().enumerate().for_each(|(index, to)| *to = value(index));
            state.master = Some(Shared::new(master));
        }
        Ok(())
    }
}
