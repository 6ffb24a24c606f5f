//! Parameters on their way from who has updated them to all: a unit is under way while the next one is updated.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use burn::{module::Module, tensor::DType};
use cogview4_model::CogView4Transformer;

use super::{Group, buffers::Buffer, exchange::ExchangeTimes, group::Pending, transport::Transport};
use crate::{
    error::Result,
    optimizer::{AdamW, Gradients, Partition, block_index},
};

/// A step of the optimiser that each process makes for what it owns.
pub(crate) struct SharedStep<'a> {
    group: &'a Group,
    partition: &'a Arc<Partition>,
    optimizer: &'a mut AdamW,
    numbers: (usize, f64),
    dtype: DType,
    /// Whether all that was updated here is finite.
    is_finite: bool,
    times: ExchangeTimes,
}

/// A unit whose values are under way.
type UnderWay = Option<(String, Pending<(Buffer, Duration)>)>;

impl<'a> SharedStep<'a> {
    /// Makes step `number`, the first is 1, at a learning rate, of parameters in this type.
    pub(crate) fn new(
        group: &'a Group,
        partition: &'a Arc<Partition>,
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
        let mut under_way: UnderWay = None;
        for prefix in self.partition.order() {
            let own = gradients.split_off(prefix);
            let count = self.partition.unit(prefix).map_or(0, |unit| unit.counts()[self.partition.rank()]);
            let mut sent = self.group.buffers().take(count * self.dtype.size());
            model = match block_index(prefix) {
                Some(index) => model.map_block(index, |block| self.update(prefix, block, own, &mut sent)),
                None => model.map_outside(|outside| self.update(prefix, outside, own, &mut sent)),
            }?;
            let begun = self.begin(prefix, sent);
            model = self.finish(model, std::mem::replace(&mut under_way, begun))?;
        }
        model = self.finish(model, under_way)?;
        Ok((model, self.is_finite, self.times))
    }

    /// Updates the own values of a unit, and gives their bytes in the order of the pieces.
    fn update<M: Module>(&mut self, prefix: &str, part: M, own: Gradients, sent: &mut [u8]) -> Result<M> {
        let Some(unit) = self.partition.unit(prefix) else { return Ok(part) };
        let (rank, size) = (self.partition.rank(), self.dtype.size());
        let places: BTreeMap<&str, usize> =
            unit.places(rank..rank + 1).map(|(piece, place)| (piece.key.as_str(), place * size)).collect();
        let write = |key: &str, values: &[u8]| {
            let place = places[key];
            sent[place..place + values.len()].copy_from_slice(values);
        };
        let (part, is_finite) = self.optimizer.step_own(self.numbers, prefix, part, own, write)?;
        self.is_finite &= is_finite;
        Ok(part)
    }

    /// Sends the own values of a unit.
    fn begin(&self, prefix: &str, own: Buffer) -> UnderWay {
        let counts = self.partition.unit(prefix)?.counts();
        let counts: Vec<usize> = counts.into_iter().map(|count| count * self.dtype.size()).collect();
        let buffers = self.group.buffers();
        let job = move |transport: &mut dyn Transport| {
            let start = Instant::now();
            let mut all = buffers.take(counts.iter().sum());
            transport.all_gather(&own, &mut all, &counts);
            (all, start.elapsed())
        };
        Some((prefix.to_owned(), self.group.begin(format!("weights of {prefix}"), job)?))
    }

    /// Writes the values of a unit to the model.
    fn finish(&mut self, model: CogView4Transformer, under_way: UnderWay) -> Result<CogView4Transformer> {
        let Some((prefix, pending)) = under_way else { return Ok(model) };
        let start = Instant::now();
        let (all, busy) = pending.wait();
        self.times.busy += busy;
        self.times.waited += start.elapsed();
        let unit = self.partition.unit(&prefix).expect("invariant: a unit that was sent");
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
        match block_index(&prefix) {
            Some(index) => model.map_block(index, |block| Ok(optimizer.write_part(&prefix, block, write))),
            None => model.map_outside(|outside| Ok(optimizer.write_part(&prefix, outside, write))),
        }
    }
}
