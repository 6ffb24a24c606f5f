//! Gradients on their way to who owns them, unit by unit, while the backward pass goes on: each process sends every other
//! one its part, and adds what it receives in f32, in the order of ranks. So a sum depends neither on the engine nor on
//! its algorithms, and what is not owned is gone at once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use burn::tensor::{DType, TensorData};
use half::bf16;

use super::{Group, group::Pending, transport::Transport};
use crate::optimizer::{GradientMemory, Gradients, Partition, Piece};

/// Units that wait or are under way; a further one has the backward pass wait, since each holds its gradients.
const UNDER_WAY: usize = 2;

/// What a process has of the gradients of a step.
#[derive(Debug)]
pub(crate) struct Exchange {
    group: Group,
    partition: Arc<Partition>,
    own: Arc<Mutex<Gradients>>,
    under_way: VecDeque<Pending<Duration>>,
    times: ExchangeTimes,
}

/// How long communication takes, and how much of that somebody waits for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ExchangeTimes {
    /// Of the communicating thread.
    pub busy: Duration,
    /// Of the training thread.
    pub waited: Duration,
}

/// What a sum consists of.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// How much the gradients of each process count.
    pub weights: Arc<[f32]>,
    /// The type that gradients come in, where each comes once.
    pub dtype: DType,
}

impl Exchange {
    /// Begins a step; sums are kept in this memory, if there is any.
    pub(crate) fn begin(group: &Group, partition: &Arc<Partition>, memory: Option<&GradientMemory>) -> Self {
        Self {
            group: group.clone(),
            partition: Arc::clone(partition),
            own: Arc::new(Mutex::new(Gradients::kept_in(memory))),
            under_way: VecDeque::new(),
            times: ExchangeTimes::default(),
        }
    }

    /// Sends the gradients of a unit, and adds those that come to the own sums. What is missing counts as zeros.
    pub(crate) fn send(&mut self, prefix: &str, gradients: &mut Gradients, round: &Round) {
        let Some(unit) = self.partition.unit(prefix) else { return };
        // What is outside the blocks is a sum already.
        let dtype = if prefix.is_empty() { DType::F32 } else { round.dtype };
        let counts: Vec<usize> = unit.counts().iter().map(|count| count * dtype.size()).collect();
        let buffers = self.group.buffers();
        let mut send = buffers.take(counts.iter().sum());
        flatten((0..counts.len()).map(|rank| unit.part(rank)), gradients, dtype, &mut send);
        let (rank, own) = (self.partition.rank(), Arc::clone(&self.own));
        let (pieces, weights) = (unit.part(rank).to_vec(), Arc::clone(&round.weights));
        let job = move |transport: &mut dyn Transport| {
            let start = Instant::now();
            let received = vec![counts[rank]; counts.len()];
            let mut receive = buffers.take(counts[rank] * counts.len());
            transport.all_to_all(&send, &counts, &mut receive, &received);
            drop(send);
            let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
            let parts: Vec<&[u8]> = match counts[rank] {
                0 => Vec::new(),
                bytes => receive.chunks(bytes).collect(),
            };
            let mut first = 0;
            for Piece { key, values } in pieces {
                let bytes = first..first + values.len() * dtype.size();
                first = bytes.end;
                let parts = parts.iter().map(|part| &part[bytes.clone()]);
                own.add(&key, weighted_sum(parts.zip(&*weights), dtype, values.len()), 1.0);
            }
            start.elapsed()
        };
        while self.under_way.len() >= UNDER_WAY {
            self.wait_for_one();
        }
        self.under_way.extend(self.group.begin(format!("gradients of {}", name_of(prefix)), job));
    }

    /// Sends the gradients of every unit, in the order in which a backward pass has them.
    pub(crate) fn send_all(&mut self, gradients: &mut Gradients, round: &Round) {
        let partition = Arc::clone(&self.partition);
        partition.units().for_each(|(prefix, _)| self.send(prefix, gradients, round));
    }

    /// The own part of the sums, once all is there.
    pub(crate) fn finish(mut self) -> (Gradients, ExchangeTimes) {
        while !self.under_way.is_empty() {
            self.wait_for_one();
        }
        let own = std::mem::take(&mut *self.own.lock().unwrap_or_else(PoisonError::into_inner));
        (own, self.times)
    }

    fn wait_for_one(&mut self) {
        let start = Instant::now();
        if let Some(first) = self.under_way.pop_front() {
            self.times.busy += first.wait();
        }
        self.times.waited += start.elapsed();
    }
}

/// A unit, by what its keys begin with, for messages.
pub(super) fn name_of(prefix: &str) -> &str {
    if prefix.is_empty() { "what is outside the blocks" } else { prefix }
}

/// Writes the pieces of every process one after another, in this type.
fn flatten<'a>(parts: impl Iterator<Item = &'a [Piece]>, gradients: &mut Gradients, dtype: DType, mut flat: &mut [u8]) {
    let mut current: Option<(&str, Option<TensorData>)> = None;
    for Piece { key, values } in parts.flatten() {
        // The pieces of a parameter follow one another.
        if current.as_ref().is_none_or(|(of, _)| of != key) {
            current = Some((key, gradients.remove_data(key).map(|data| data.convert_dtype(dtype))));
        }
        let (own, rest) = flat.split_at_mut(values.len() * dtype.size());
        flat = rest;
        match current.as_ref().and_then(|(_, data)| data.as_ref()) {
            Some(data) => {
                own.copy_from_slice(&data.as_bytes()[values.start * dtype.size()..values.end * dtype.size()]);
            }
            None => own.fill(0),
        }
    }
}

/// The sum of values as bytes, each part with its weight, added in order.
fn weighted_sum<'a>(parts: impl Iterator<Item = (&'a [u8], &'a f32)>, dtype: DType, length: usize) -> TensorData {
    let mut sum: Vec<f32> = Vec::with_capacity(length);
    for (bytes, &weight) in parts {
        match dtype {
            DType::BF16 => {
                add(&mut sum, bytes.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32() * weight));
            }
            _ => add(&mut sum, bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes) * weight)),
        }
    }
    TensorData::new(sum, [length])
}

fn add(sum: &mut Vec<f32>, values: impl Iterator<Item = f32>) {
    match sum.is_empty() {
        true => sum.extend(values),
        false => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
    }
}
