//! A training on a machine: its costs, and what a step of it takes, sends and computes.

use super::{
    collective::{Algorithm, Placement, all_gather, reduce_scatter},
    hardware::{Compute, Machine},
    memory::Memory,
    model::{Batch, PASSES_OF_THE_MODEL, PASSES_WITH_RECOMPUTE, Sizes},
    simulate::{Costs, Step, simulate},
};

/// Bytes of a weight, and of a gradient, in bfloat16.
pub(crate) const BF16: f64 = 2.0;
/// Bytes that an update moves for each value: gradient, master and two moments in f32, of which the last three are
/// written too, and the new weight.
const UPDATE_BYTES: f64 = 4.0 + 3.0 * 8.0 + BF16;
/// Bytes for each value of an own slice that cross to the host and back: a sum in f32, a new weight.
const OFFLOAD_BYTES: f64 = 4.0 + BF16;
/// Times that each byte of a unit passes through the host's memory where MPI exchanges there: it comes from the
/// device, is read and written for its owner, and is read to be added.
const HOST_PASSES: f64 = 4.0;

/// Where something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Device,
    Host,
}

/// What is trained, and how. Weights and gradients are bfloat16, blocks are computed again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Job {
    pub(crate) sizes: Sizes,
    pub(crate) ranks: usize,
    /// A micro-batch of one rank.
    pub(crate) batch: Batch,
    pub(crate) micro_batches: usize,
    /// 0, 1 or 2.
    pub(crate) zero_stage: u8,
    pub(crate) algorithm: Algorithm,
    /// Where masters and moments are, and are updated.
    pub(crate) state: Place,
    /// Between which memories units are exchanged.
    pub(crate) exchange: Place,
}

/// What is expected of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Prediction {
    pub(crate) step: Step,
    pub(crate) samples_per_second: f64,
    /// Operations of the model, nothing computed twice, over what the peak would allow.
    pub(crate) mfu: f64,
    /// Operations of a rank, recomputing included.
    pub(crate) flops: f64,
    /// Bytes that leave a rank, and those of them that leave its node.
    pub(crate) sent: f64,
    pub(crate) sent_far: f64,
    pub(crate) memory: Memory,
}

impl Job {
    pub(crate) fn global_batch(&self) -> usize {
        self.ranks * self.batch.samples * self.micro_batches
    }

    /// Exchanges of all gradients in a step.
    pub(crate) fn exchanges(&self) -> usize {
        if self.zero_stage == 2 { self.micro_batches } else { 1 }
    }

    pub(crate) fn predict(&self, machine: &Machine) -> Prediction {
        let step = simulate(&self.costs(machine));
        let forward = self.sizes.forward_flops(self.batch) * self.micro_batches as f64;
        let again = self.sizes.outside_flops(self.batch) * self.micro_batches as f64;
        let bytes = BF16 * self.sizes.parameters() as f64;
        let place = Placement::new(self.ranks, machine);
        let exchanged = reduce_scatter(self.algorithm, bytes, place);
        // In stage 0 what is gathered is the sum of the gradients, else the new weights.
        let gathered = all_gather(self.algorithm, bytes, place);
        let exchanges = self.exchanges() as f64;
        Prediction {
            step,
            samples_per_second: self.global_batch() as f64 / step.seconds,
            mfu: PASSES_OF_THE_MODEL * forward / step.seconds / machine.compute.peak(self.ranks),
            flops: PASSES_WITH_RECOMPUTE * forward - again,
            sent: exchanges * exchanged.sent() + gathered.sent(),
            sent_far: exchanges * exchanged.far + gathered.far,
            memory: Memory::of(self),
        }
    }

    pub(crate) fn costs(&self, machine: &Machine) -> Costs {
        let rate = machine.compute.rate(self.ranks);
        let place = Placement::new(self.ranks, machine);
        let block = self.sizes.block_flops(self.batch);
        let mut backward = vec![(PASSES_WITH_RECOMPUTE - 1.0) * block / rate; self.sizes.num_layers as usize];
        // What is in no block keeps its graph.
        backward.push((PASSES_OF_THE_MODEL - 1.0) * self.sizes.outside_flops(self.batch) / rate);

        let units: Vec<f64> = self.sizes.unit_parameters().iter().map(|&values| values as f64).collect();
        let exchange = units.iter().map(|values| {
            let bytes = BF16 * values;
            let summed =
                self.exchange_seconds(reduce_scatter(self.algorithm, bytes, place).seconds(machine), bytes, machine);
            // Everybody needs all sums in stage 0, where everybody updates everything.
            summed + if self.zero_stage == 0 { self.gather_seconds(bytes, machine) } else { 0.0 }
        });
        let gather = units.iter().map(|values| match self.zero_stage {
            0 => 0.0,
            _ => self.gather_seconds(BF16 * values, machine),
        });
        Costs {
            micro_batches: self.micro_batches,
            exchanges_each: self.zero_stage == 2,
            forward: self.sizes.forward_flops(self.batch) / rate,
            backward,
            exchange: exchange.collect(),
            // A few bytes up and down a tree.
            norm: 2.0 * (self.ranks as f64).log2().ceil() * machine.far.latency,
            update: units.iter().map(|values| values * self.update_seconds(machine)).collect(),
            gather: gather.collect(),
            stolen: if matches!(machine.compute, Compute::SharedCores { .. }) { 1.0 } else { 0.0 },
        }
    }

    fn gather_seconds(&self, bytes: f64, machine: &Machine) -> f64 {
        let place = Placement::new(self.ranks, machine);
        self.exchange_seconds(all_gather(self.algorithm, bytes, place).seconds(machine), bytes, machine)
    }

    /// A collective that takes so long between devices; through the host's memory, what is slowest decides.
    fn exchange_seconds(&self, between_devices: f64, bytes: f64, machine: &Machine) -> f64 {
        if self.exchange == Place::Device || self.ranks == 1 {
            return between_devices;
        }
        let ranks_of_node = machine.ranks_per_node.min(self.ranks) as f64;
        let copied = bytes / machine.host_link;
        let passed = HOST_PASSES * ranks_of_node * bytes / machine.host_bandwidth;
        between_devices.max(copied).max(passed)
    }

    /// Seconds of an update for each value of a unit: of the own slice, or of all in stage 0.
    fn update_seconds(&self, machine: &Machine) -> f64 {
        let owned = if self.zero_stage == 0 { 1.0 } else { 1.0 / self.ranks as f64 };
        let ranks_of_node = machine.ranks_per_node.min(self.ranks) as f64;
        let on_host = UPDATE_BYTES * ranks_of_node / machine.host_bandwidth;
        let each = match (self.state, machine.compute) {
            (Place::Device, Compute::Cards { bandwidth, .. }) => UPDATE_BYTES / bandwidth,
            (Place::Host, Compute::Cards { .. }) => on_host.max(OFFLOAD_BYTES / machine.host_link),
            (_, Compute::SharedCores { .. }) => on_host,
        };
        owned * each
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        hardware::{A100, H100},
        model::RELEASED,
    };

    /// What the reference recommends a card, at stage 2.
    pub(crate) fn job(ranks: usize) -> Job {
        Job {
            sizes: RELEASED,
            ranks,
            batch: Batch { samples: 8, resolution: 1024, text_tokens: 128 },
            micro_batches: 1,
            zero_stage: 2,
            algorithm: Algorithm::AllToAll,
            state: Place::Device,
            exchange: Place::Device,
        }
    }

    #[test]
    fn one_rank_communicates_nothing() {
        for stage in 0..=2 {
            for exchange in [Place::Device, Place::Host] {
                let one = Job { zero_stage: stage, exchange, ..job(1) }.predict(&A100);
                assert_eq!((one.sent, one.step.hidden()), (0.0, None));
                assert_eq!(one.step.seconds, one.step.compute);
            }
        }
    }

    #[test]
    fn computing_is_four_forward_passes_at_the_rate_of_the_card() {
        let one = job(1).predict(&A100);
        let update = UPDATE_BYTES * RELEASED.parameters() as f64 / 1.6e12;
        let expected = one.flops / (0.6 * 312e12) + update;
        assert!((one.step.seconds / expected - 1.0).abs() < 1e-12);
        assert!(one.mfu < 0.6 * 0.75 + 1e-3 && one.mfu > 0.44, "{}", one.mfu);
    }

    #[test]
    fn more_ranks_draw_more_samples_but_no_more_a_rank() {
        let predicted: Vec<f64> =
            [1, 2, 8, 16, 64, 256, 1024].iter().map(|&ranks| job(ranks).predict(&H100).samples_per_second).collect();
        assert!(predicted.is_sorted());
        let one = predicted[0];
        assert!(
            predicted
                .iter()
                .zip([1.0, 2.0, 8.0, 16.0, 64.0, 256.0, 1024.0])
                .all(|(all, ranks)| *all < one * ranks * 1.03)
        );
    }

    #[test]
    fn stages_send_the_same_once_and_stage_2_sends_again_for_each_micro_batch() {
        let sent = |zero_stage, micro_batches| {
            let bytes = Job { zero_stage, micro_batches, ..job(8) }.predict(&A100).sent;
            (bytes / (BF16 * RELEASED.parameters() as f64 * 7.0 / 8.0)).round()
        };
        assert_eq!([sent(0, 1), sent(1, 1), sent(2, 1)], [2.0; 3]);
        assert_eq!([sent(0, 4), sent(1, 4), sent(2, 4)], [2.0, 2.0, 5.0]);
    }

    #[test]
    fn the_host_is_never_faster() {
        for machine in [A100, H100] {
            let seconds = |state, exchange| Job { state, exchange, ..job(8) }.predict(&machine).step.seconds;
            let device = seconds(Place::Device, Place::Device);
            assert!(seconds(Place::Host, Place::Device) > device && seconds(Place::Device, Place::Host) > device);
        }
    }

    #[test]
    fn processes_that_share_cores_gain_no_more_than_of_the_update() {
        let machine = Machine { compute: Compute::SharedCores { cores: 2.0, each: 1e12 }, ..A100 };
        let rates = [1, 2, 4].map(|ranks| job(ranks).predict(&machine).samples_per_second);
        assert!(rates.iter().all(|rate| *rate <= rates[0] * 1.001), "{rates:?}");
    }
}
