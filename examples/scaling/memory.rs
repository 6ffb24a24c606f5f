//! What a rank holds.

use super::predict::{BF16, Job, Place};

const F32: f64 = 4.0;
/// Master and two moments in f32.
const STATE_BYTES: f64 = 3.0 * F32;
/// Units in bfloat16 that are alive at once: one that is being made, two that wait, one that is sent, and what is
/// received for it.
const UNITS_ALIVE: f64 = 5.0;
/// The driver's context, libraries, their workspaces, and what the allocator cannot use: assumed.
const RUNTIME_BYTES: f64 = 3e9;

/// Bytes of one rank.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Memory {
    /// All weights, in bfloat16.
    pub(crate) weights: f64,
    /// Sums of gradients, in f32.
    pub(crate) gradients: f64,
    /// Units on their way.
    pub(crate) units: f64,
    pub(crate) activations: f64,
    pub(crate) runtime: f64,
    /// Masters and moments on the device, and on the host.
    pub(crate) state: f64,
    pub(crate) host: f64,
}

impl Memory {
    pub(crate) fn of(job: &Job) -> Self {
        let parameters = job.sizes.parameters() as f64;
        let slice = parameters / job.ranks as f64;
        // Where the last micro-batch alone is exchanged, the sums of all before are there in full.
        let summed = match job.zero_stage {
            0 => parameters,
            1 if job.micro_batches > 1 => parameters,
            _ => slice,
        };
        let state = STATE_BYTES * if job.zero_stage == 0 { parameters } else { slice };
        let is_on_device = job.state == Place::Device;
        let largest = job.sizes.unit_parameters().into_iter().max().unwrap_or_default() as f64;
        Self {
            weights: BF16 * parameters,
            gradients: F32 * summed,
            units: BF16 * largest * UNITS_ALIVE,
            activations: job.sizes.activation_bytes(job.batch) as f64,
            runtime: RUNTIME_BYTES,
            state: if is_on_device { state } else { 0.0 },
            host: if is_on_device { 0.0 } else { state },
        }
    }

    /// What the device holds.
    pub(crate) fn device(&self) -> f64 {
        let Self { weights, gradients, units, activations, runtime, state, host: _ } = self;
        weights + gradients + units + activations + runtime + state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::RELEASED, predict::tests::job};

    #[test]
    fn slices_of_all_ranks_are_the_whole_state() {
        let whole = STATE_BYTES * RELEASED.parameters() as f64;
        for ranks in [1, 8, 64] {
            let memory = Memory::of(&job(ranks));
            assert!((memory.state * ranks as f64 / whole - 1.0).abs() < 1e-12);
            let moved = Memory::of(&Job { state: Place::Host, ..job(ranks) });
            assert_eq!((moved.state, moved.host), (0.0, memory.state));
        }
    }

    #[test]
    fn each_stage_and_each_rank_more_holds_less() {
        let of_stage = |zero_stage| Memory::of(&Job { zero_stage, micro_batches: 2, ..job(8) }).device();
        assert!(of_stage(0) > of_stage(1) && of_stage(1) > of_stage(2));
        let of_ranks: Vec<f64> = [1024, 64, 16, 8, 2, 1].map(|ranks| Memory::of(&job(ranks)).device()).into();
        assert!(of_ranks.is_sorted());
        // The replica of the weights stays.
        assert!(of_ranks[0] > BF16 * RELEASED.parameters() as f64);
    }
}
