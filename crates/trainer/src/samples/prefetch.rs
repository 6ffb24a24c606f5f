//! Reading ahead: the samples of a run in their order, by worker threads if asked for. With a pack the workers deliver
//! what the step needs; without one, decoded pictures, since the frozen models are the training thread's. Threads
//! change when something is read, never what.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use super::{
    PackedSamples, Rows, SampleEncoder,
    sample::{EncodedSample, RawSample},
};
use crate::{
    error::{Result, TrainError},
    schedule::order::{Division, Sample, SampleOrder},
};

/// Samples that a worker holds ready.
const READY_PER_WORKER: usize = 4;

/// The samples of a run, one after another.
pub(crate) struct Loader {
    source: Source,
    /// One for each worker; they take samples in turn. None where the caller reads.
    workers: Vec<Receiver<Result<Ready>>>,
    taken: usize,
}

/// As far as a thread without models gets.
enum Ready {
    Encoded(Box<EncodedSample>),
    Raw(RawSample),
}

#[derive(Clone)]
struct Source {
    rows: Arc<Rows>,
    packed: Option<Arc<PackedSamples>>,
    seed: u64,
}

impl Source {
    fn load(&self, sample: Sample) -> Result<Ready> {
        let raw = self.rows.load(self.seed, sample)?;
        match &self.packed {
            Some(packed) => packed.encode(raw).map(Box::new).map(Ready::Encoded),
            None => Ok(Ready::Raw(raw)),
        }
    }
}

impl Loader {
    /// Begins reading the samples of one process at a step.
    pub(crate) fn start(
        rows: Arc<Rows>,
        encoder: &SampleEncoder,
        order: &SampleOrder,
        (steps, division): (std::ops::Range<usize>, Division),
        workers: usize,
    ) -> Result<Self> {
        let source = Source { rows, packed: encoder.packed.clone(), seed: order.seed };
        let start_worker = |worker: usize| -> Result<_> {
            let (sender, receiver) = sync_channel(READY_PER_WORKER);
            let (source, mut order, steps) = (source.clone(), order.clone(), steps.clone());
            let work = move || {
                let samples = steps.flat_map(|step| division.own(&order.step(step)));
                for (_, sample) in samples.enumerate().filter(|(number, _)| number % workers == worker) {
                    // Nobody waits for samples any more once the run has ended.
                    if sender.send(source.load(sample)).is_err() {
                        return;
                    }
                }
            };
            let started = thread::Builder::new().name(format!("samples-{worker}")).spawn(work);
            started.map_err(|error| TrainError::setting("dataloader_num_workers", error.to_string()))?;
            Ok(receiver)
        };
        let workers = (0..workers).map(start_worker).collect::<Result<_>>()?;
        Ok(Self { source, workers, taken: 0 })
    }

    /// The next sample, which the caller names.
    pub(crate) fn next(&mut self, sample: Sample, encoder: &SampleEncoder) -> Result<EncodedSample> {
        let worker = self.taken.checked_rem(self.workers.len());
        self.taken += 1;
        let ready = match worker {
            None => self.source.load(sample),
            Some(worker) => self.workers[worker].recv().unwrap_or_else(|_| {
                Err(TrainError::setting("dataloader_num_workers", "a thread that reads ahead has panicked"))
            }),
        };
        match ready? {
            Ready::Encoded(encoded) => Ok(*encoded),
            Ready::Raw(raw) => encoder.encode(raw),
        }
    }
}
