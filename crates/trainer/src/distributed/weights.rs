//! Parameters on their way from who has updated them to all: a unit is under way while the next one is updated.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use burn::{module::Module, tensor::DType};
use cogview4_model::CogView4Transformer;

use super::{
    Group,
    buffers::Buffer,
    exchange::{ExchangeTimes, name_of},
    group::Pending,
    transport::Transport,
};
use crate::{
    error::Result,
    optimizer::{AdamW, Gradients, Partition, Unit, block_index},
};

/// A step of the optimiser that each process makes for what it owns.
pub(crate) struct SharedStep<'a> {
    group: &'a Group,
    partition: &'a Partition,
    optimizer: &'a mut AdamW,
    numbers: (usize, f64),
    dtype: DType,
    /// Whether all that was updated here is finite.
    is_finite: bool,
    times: ExchangeTimes,
}

/// A unit whose values are under way.
struct UnderWay<'a> {
    prefix: &'a str,
    unit: &'a Unit,
    values: Pending<(Buffer, Duration)>,
}

impl<'a> SharedStep<'a> {
    /// Makes step `number`, the first is 1, at a learning rate, of parameters in this type.
    pub(crate) fn new(
        group: &'a Group,
        partition: &'a Partition,
        optimizer: &'a mut AdamW,
        numbers: (usize, f64),
        dtype: DType,
    ) -> Self {
        Self { group, partition, optimizer, numbers, dtype, is_finite: true, times: ExchangeTimes::default() }
    }

    /// Updates what is owned by its gradients, and takes the rest from the others.
    ///
    /// # Errors
    /// No memory or space for moments.
    pub(crate) fn run(
        mut self,
        mut model: CogView4Transformer,
        mut gradients: Gradients,
    ) -> Result<(CogView4Transformer, bool, ExchangeTimes)> {
        let partition = self.partition;
        let mut under_way = None;
        for (prefix, unit) in partition.units() {
            let own = gradients.split_off(prefix);
            let mut sent = self.group.buffers().take(unit.counts()[partition.rank()] * self.dtype.size());
            model = match block_index(prefix) {
                Some(index) => model.map_block(index, |block| self.update((prefix, unit), block, own, &mut sent)),
                None => model.map_outside(|outside| self.update((prefix, unit), outside, own, &mut sent)),
            }?;
            let begun = self.begin((prefix, unit), sent);
            if let Some(before) = std::mem::replace(&mut under_way, begun) {
                model = self.finish(model, before)?;
            }
        }
        if let Some(last) = under_way {
            model = self.finish(model, last)?;
        }
        Ok((model, self.is_finite, self.times))
    }

    /// Updates the own values of a unit, and gives their bytes in the order of the pieces.
    fn update<M: Module>(
        &mut self,
        (prefix, unit): (&str, &Unit),
        part: M,
        own: Gradients,
        sent: &mut [u8],
    ) -> Result<M> {
        let (rank, size) = (self.partition.rank(), self.dtype.size());
        let places: BTreeMap<&str, usize> =
            unit.places(rank..rank + 1).map(|(piece, place)| (piece.key.as_str(), place * size)).collect();
        let write = |key: &str, values: &[u8]| {
            let place = places[key];
            sent[place..place + values.len()].copy_from_slice(values);
        };
        let (part, finite) = self.optimizer.step_own(self.numbers, prefix, part, own, write)?;
        self.is_finite &= finite.is_finite();
        Ok(part)
    }

    /// Sends the own values of a unit.
    fn begin(&self, (prefix, unit): (&'a str, &'a Unit), own: Buffer) -> Option<UnderWay<'a>> {
        let counts: Vec<usize> = unit.counts().into_iter().map(|count| count * self.dtype.size()).collect();
        let buffers = self.group.buffers();
        let job = move |transport: &mut dyn Transport| {
            let start = Instant::now();
            let mut all = buffers.take(counts.iter().sum());
            transport.all_gather(&own, &mut all, &counts);
            (all, start.elapsed())
        };
        Some(UnderWay { prefix, unit, values: self.group.begin(format!("weights of {}", name_of(prefix)), job)? })
    }

    /// Writes the values of a unit to the model.
    fn finish(&mut self, model: CogView4Transformer, under_way: UnderWay<'_>) -> Result<CogView4Transformer> {
        let UnderWay { prefix, unit, values } = under_way;
        let start = Instant::now();
        let (all, busy) = values.wait();
        self.times.busy += busy;
        self.times.waited += start.elapsed();
        let size = self.dtype.size();
        let mut places: BTreeMap<&str, Vec<(Range<usize>, usize)>> = BTreeMap::new();
        for (piece, place) in unit.places(0..self.group.size()) {
            let bytes = piece.values.start * size..piece.values.end * size;
            places.entry(&piece.key).or_default().push((bytes, place * size));
        }
        let write = |key: &str, bytes: &mut [u8]| {
            for (range, place) in places.get(key).into_iter().flatten() {
                bytes[range.clone()].copy_from_slice(&all[*place..place + range.len()]);
            }
        };
        let optimizer = &mut *self.optimizer;
        match block_index(prefix) {
            Some(index) => model.map_block(index, |block| Ok(optimizer.write_part(prefix, block, write))),
            None => model.map_outside(|outside| Ok(optimizer.write_part(prefix, outside, write))),
        }
    }
}
