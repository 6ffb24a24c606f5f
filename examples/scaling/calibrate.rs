//! What measured runs say about a machine, and what that predicts of runs with other numbers of processes.
//!
//! Runs of one process give what computing takes, those of two sizes of a micro-batch also what of it each micro-batch
//! takes whatever its size: weights are read, and their gradients written. The run of the next larger number gives what
//! communication takes. Any further run is a prediction in full.

use super::{
    hardware::Compute,
    model::Sizes,
    predict::BF16,
    simulate::{Costs, Step, simulate},
};

/// A measured run: seconds of a step, each the median over its steps.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Run {
    pub(crate) processes: usize,
    /// Samples of a micro-batch of one process.
    pub(crate) samples: usize,
    pub(crate) micro_batches: usize,
    pub(crate) step: f64,
    pub(crate) forward: f64,
    pub(crate) backward: f64,
    pub(crate) update: f64,
    /// What the communicating thread was busy with gradients, and with weights.
    pub(crate) exchange: f64,
    pub(crate) gather: f64,
}

/// What all runs have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Setting {
    pub(crate) sizes: Sizes,
    pub(crate) zero_stage: u8,
    /// What processes compute with: its ratios are what counts, the seconds are measured.
    pub(crate) compute: Compute,
}

/// A machine as the runs show it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Calibration {
    /// Seconds of a process that is alone: forward and backward of a sample, an update of all parameters, and what
    /// else a sample takes.
    pub(crate) forward: f64,
    pub(crate) backward: f64,
    /// Those of a micro-batch that come to those of its samples.
    pub(crate) forward_each: f64,
    pub(crate) backward_each: f64,
    pub(crate) update: f64,
    pub(crate) rest: f64,
    /// What computing takes of several processes over what it would if one process used all cores as well as they do.
    pub(crate) split: f64,
    /// Bytes a second that leave a process while gradients are exchanged, and while weights are gathered, if the
    /// others did not share its machine.
    pub(crate) exchange: f64,
    pub(crate) gather: f64,
    /// What a second of communication takes of computing.
    pub(crate) stolen: f64,
}

impl Run {
    fn samples(&self) -> f64 {
        (self.samples * self.micro_batches) as f64
    }
}

impl Calibration {
    /// Seconds of a micro-batch.
    fn forward_of(&self, run: &Run) -> f64 {
        self.forward * run.samples as f64 + self.forward_each
    }

    fn backward_of(&self, run: &Run) -> f64 {
        self.backward * run.samples as f64 + self.backward_each
    }
}

impl Setting {
    /// Bytes that leave a process for all units.
    fn sent(&self, processes: usize) -> f64 {
        BF16 * self.sizes.parameters() as f64 * (1.0 - 1.0 / processes as f64)
    }

    /// Exchanges of a step.
    fn exchanges(&self, run: &Run) -> f64 {
        if self.zero_stage == 2 { run.micro_batches as f64 } else { 1.0 }
    }

    /// Learns from a run of one process, from another one with other micro-batches, and from one of several processes, where
    /// there are any.
    pub(crate) fn calibrate(&self, alone: &Run, other: Option<&Run>, several: Option<&Run>) -> Calibration {
        let rest = alone.step - alone.forward - alone.backward - alone.update;
        // Seconds of a sample, and of a micro-batch beside them.
        let line = |seconds: fn(&Run) -> f64| {
            let of = |run: &Run| seconds(run) / run.micro_batches as f64;
            let slope = other
                .filter(|other| other.samples != alone.samples)
                .map(|other| (of(alone) - of(other)) / (alone.samples as f64 - other.samples as f64));
            let sample = slope.unwrap_or(of(alone) / alone.samples as f64).max(0.0);
            (sample, (of(alone) - sample * alone.samples as f64).max(0.0))
        };
        let ((forward, forward_each), (backward, backward_each)) = (line(|run| run.forward), line(|run| run.backward));
        let mut found = Calibration {
            forward,
            backward,
            forward_each,
            backward_each,
            update: alone.update,
            rest: rest.max(0.0) / alone.samples(),
            split: 1.0,
            exchange: f64::INFINITY,
            gather: f64::INFINITY,
            stolen: 0.0,
        };
        let Some(run) = several else { return found };
        let slowdown = self.compute.slowdown(run.processes);
        let computed = |run: &Run| run.forward + run.backward;
        let whole = found.forward_of(run) + found.backward_of(run);
        found.split = computed(run) / (whole * run.micro_batches as f64 * slowdown);
        let sent = self.sent(run.processes) * slowdown;
        found.exchange = sent * self.exchanges(run) / run.exchange;
        found.gather = sent / run.gather;
        // The longer a step is than these explain, the more was taken from computing: halved until it is found.
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..40 {
            found.stolen = f64::midpoint(low, high);
            if self.seconds(&found, run) < run.step { low = found.stolen } else { high = found.stolen }
        }
        found
    }

    /// Seconds that a step of such a run should take; what it measured is not looked at.
    pub(crate) fn seconds(&self, calibration: &Calibration, run: &Run) -> f64 {
        let slowdown = self.compute.slowdown(run.processes);
        self.step(calibration, run).seconds + calibration.rest * run.samples() * slowdown
    }

    /// The step on its two lanes.
    pub(crate) fn step(&self, calibration: &Calibration, run: &Run) -> Step {
        let slowdown = self.compute.slowdown(run.processes);
        let is_split = run.processes > 1;
        let each = slowdown * if is_split { calibration.split } else { 1.0 };
        let all = self.sizes.parameters() as f64;
        let parts: Vec<f64> = self.sizes.unit_parameters().iter().map(|&values| values as f64 / all).collect();
        let spread = |seconds: f64| parts.iter().map(|part| part * seconds).collect::<Vec<f64>>();
        let sent = self.sent(run.processes) * slowdown;
        // Everybody updates everything in stage 0, where sums are gathered instead of weights.
        let (owned, [exchange, gather]) = match self.zero_stage {
            0 => (1.0, [sent / calibration.exchange + sent / calibration.gather, 0.0]),
            _ => (1.0 / run.processes as f64, [sent / calibration.exchange, sent / calibration.gather]),
        };
        simulate(&Costs {
            micro_batches: run.micro_batches,
            exchanges_each: self.zero_stage == 2,
            forward: calibration.forward_of(run) * each,
            backward: spread(calibration.backward_of(run) * each),
            exchange: spread(exchange),
            norm: 0.0,
            update: spread(calibration.update * owned * slowdown),
            gather: spread(gather),
            stolen: calibration.stolen,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::RELEASED;

    pub(crate) const SETTING: Setting = Setting {
        sizes: Sizes { num_layers: 4, inner_dim: 512, ..RELEASED },
        zero_stage: 2,
        compute: Compute::SharedCores { cores: 2.0, each: 1.0 },
    };

    fn truth() -> Calibration {
        Calibration {
            forward: 0.1,
            backward: 0.3,
            forward_each: 0.05,
            backward_each: 0.2,
            update: 0.2,
            rest: 0.01,
            split: 0.9,
            exchange: 1e9,
            gather: 2e9,
            stolen: 0.4,
        }
    }

    /// A run as a machine would measure it.
    fn run(setting: &Setting, processes: usize, samples: usize) -> Run {
        let shape = Run { processes, samples, micro_batches: 2, ..Run::default() };
        let step = setting.step(&truth(), &shape);
        let slowdown = setting.compute.slowdown(processes);
        let split = if processes > 1 { truth().split } else { 1.0 };
        Run {
            step: setting.seconds(&truth(), &shape),
            forward: (0.1 * samples as f64 + 0.05) * 2.0 * slowdown * split,
            backward: (0.3 * samples as f64 + 0.2) * 2.0 * slowdown * split,
            update: 0.2,
            exchange: step.exchange,
            gather: step.gather,
            ..shape
        }
    }

    #[test]
    fn runs_give_back_what_they_were_made_with_and_predict_others() {
        let [alone, two, four] = [1, 2, 4].map(|processes| run(&SETTING, processes, 2));
        let found = SETTING.calibrate(&alone, Some(&run(&SETTING, 1, 6)), Some(&two));
        let pairs = [
            (found.split, 0.9),
            (found.forward_each, 0.05),
            (found.backward, 0.3),
            (found.exchange, 1e9),
            (found.gather, 2e9),
            (found.stolen, 0.4),
        ];
        assert!(pairs.iter().all(|(found, truth)| (found / truth - 1.0).abs() < 1e-6), "{found:?}");
        for run in [alone, two, four] {
            let ratio = run.step / SETTING.seconds(&found, &run);
            assert!((ratio - 1.0).abs() < 1e-6, "{}: {ratio}", run.processes);
        }
    }

    #[test]
    fn what_is_sent_through_shared_memory_takes_all_their_turns() {
        let exchange = |setting: &Setting, processes| {
            let shape = Run { processes, samples: 2, micro_batches: 2, ..Run::default() };
            setting.step(&truth(), &shape).exchange
        };
        // A half and three quarters of all bytes leave each process; where all share a memory, of two and of four.
        assert!((exchange(&SETTING, 4) / exchange(&SETTING, 2) - 3.0).abs() < 1e-9);
        let own = Setting { compute: crate::hardware::A100.compute, ..SETTING };
        assert!((exchange(&own, 4) / exchange(&own, 2) - 1.5).abs() < 1e-9);
        let bytes = 2.0 * BF16 * SETTING.sizes.parameters() as f64 / 2.0;
        assert!((exchange(&own, 2) / (bytes / 1e9) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_run_that_is_slower_than_predicted_is_seen() {
        let [alone, two, four] = [1, 2, 4].map(|processes| run(&SETTING, processes, 2));
        let found = SETTING.calibrate(&alone, Some(&run(&SETTING, 1, 6)), Some(&two));
        let slower = Run { step: four.step * 1.3, ..four };
        assert!(slower.step / SETTING.seconds(&found, &slower) > 1.29);
    }

    #[test]
    fn one_run_alone_predicts_what_communicates_for_nothing() {
        let alone = run(&SETTING, 1, 2);
        let found = SETTING.calibrate(&alone, None, None);
        let two = Run { processes: 2, ..alone };
        assert!((SETTING.seconds(&found, &alone) / alone.step - 1.0).abs() < 1e-9);
        // Twice the samples on the same cores, and one update.
        let expected = 2.0 * (alone.step - alone.update) + alone.update;
        assert!((SETTING.seconds(&found, &two) / expected - 1.0).abs() < 1e-9);
    }
}
