//! A step on two lanes: what the training thread computes, and what the communicating thread exchanges meanwhile.

/// Units that may wait for the communicating thread before the backward waits.
const WAITING_UNITS: usize = 2;
/// Units that may wait for their gathering before the update waits: none, one is gathered while the next is updated.
const WAITING_GATHERS: usize = 0;

/// Seconds of everything that a step does. Units are in the order of the backward.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Costs {
    pub(crate) micro_batches: usize,
    /// Whether each micro-batch is exchanged (ZeRO-2), or only the last.
    pub(crate) exchanges_each: bool,
    /// Forward of a micro-batch.
    pub(crate) forward: f64,
    /// Backward of each unit, with what is computed again.
    pub(crate) backward: Vec<f64>,
    /// Exchange of each unit's gradients.
    pub(crate) exchange: Vec<f64>,
    /// The joint norm, which every rank has to know before it updates.
    pub(crate) norm: f64,
    /// Update of the own part of each unit.
    pub(crate) update: Vec<f64>,
    /// Gathering of each unit's new weights.
    pub(crate) gather: Vec<f64>,
    /// What a second of communication takes of computing at the same time: 0 where cards copy by themselves, up to 1
    /// where both want the same cores.
    pub(crate) stolen: f64,
}

/// What came of a step, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Step {
    pub(crate) seconds: f64,
    /// Computing, as if there were no communication.
    pub(crate) compute: f64,
    /// What the communicating thread was busy, with gradients and with weights.
    pub(crate) exchange: f64,
    pub(crate) gather: f64,
    /// What the training thread waited for gradients, and for weights.
    pub(crate) exchange_wait: f64,
    pub(crate) gather_wait: f64,
}

impl Step {
    /// The part of communication that lengthens no step; none where nothing is communicated.
    pub(crate) fn hidden(&self) -> Option<f64> {
        let busy = self.exchange + self.gather;
        (busy > 0.0).then(|| (1.0 - (self.seconds - self.compute) / busy).clamp(0.0, 1.0))
    }

    /// The part of the exchange of gradients that nobody waits for, and of the gathering of weights.
    pub(crate) fn not_waited_for(&self) -> [Option<f64>; 2] {
        let pairs = [(self.exchange_wait, self.exchange), (self.gather_wait, self.gather)];
        pairs.map(|(wait, busy)| (busy > 0.0).then(|| (1.0 - wait / busy).clamp(0.0, 1.0)))
    }
}

/// The communicating thread.
#[derive(Debug, Default)]
struct Lane {
    waiting: usize,
    starts: Vec<f64>,
    ends: Vec<f64>,
}

impl Lane {
    fn new(waiting: usize) -> Self {
        Self { waiting, ..Self::default() }
    }

    /// Hands over work that is ready at a time and takes so long; gives the time at which it was taken.
    fn hand_over(&mut self, ready: f64, seconds: f64) -> f64 {
        let index = self.starts.len();
        let free = match self.waiting {
            0 => self.ends.last(),
            waiting => index.checked_sub(waiting).and_then(|before| self.starts.get(before)),
        };
        let taken = ready.max(free.copied().unwrap_or_default());
        let start = taken.max(self.end());
        self.starts.push(start);
        self.ends.push(start + seconds);
        taken
    }

    /// When all that was handed over is done.
    fn end(&self) -> f64 {
        self.ends.last().copied().unwrap_or_default()
    }

    fn busy(&self) -> f64 {
        self.starts.iter().zip(&self.ends).map(|(start, end)| end - start).sum()
    }
}

/// Goes through a step.
pub(crate) fn simulate(costs: &Costs) -> Step {
    let (mut now, mut compute, mut exchange_wait) = (0.0, 0.0, 0.0);
    let (mut lane, mut stolen) = (Lane::new(WAITING_UNITS), 0.0);
    for micro_batch in 1..=costs.micro_batches {
        let exchanges = costs.exchanges_each || micro_batch == costs.micro_batches;
        now += costs.forward + stolen;
        compute += costs.forward;
        stolen = 0.0;
        for (backward, exchange) in costs.backward.iter().zip(&costs.exchange) {
            now += backward + stolen;
            compute += backward;
            if exchanges {
                let taken = lane.hand_over(now, *exchange);
                exchange_wait += taken - now;
                now = taken;
                stolen = costs.stolen * exchange;
            }
        }
    }
    let exchanged = now.max(lane.end()) + costs.norm;
    exchange_wait += exchanged - now;
    now = exchanged;

    let (mut gathers, mut gather_wait, mut stolen) = (Lane::new(WAITING_GATHERS), 0.0, 0.0);
    for (update, gather) in costs.update.iter().zip(&costs.gather) {
        now += update + stolen;
        compute += update;
        let taken = gathers.hand_over(now, *gather);
        gather_wait += taken - now;
        now = taken;
        stolen = costs.stolen * gather;
    }
    let seconds = now.max(gathers.end());
    gather_wait += seconds - now;
    let exchange = lane.busy() + costs.norm;
    Step { seconds, compute, exchange, gather: gathers.busy(), exchange_wait, gather_wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four units.
    fn costs(exchange: f64, gather: f64) -> Costs {
        Costs {
            micro_batches: 1,
            exchanges_each: true,
            forward: 1.0,
            backward: vec![3.0, 3.0, 3.0, 0.5],
            exchange: vec![exchange, exchange, exchange, exchange / 4.0],
            norm: 0.0,
            update: vec![1.0, 1.0, 1.0, 0.25],
            gather: vec![gather, gather, gather, gather / 4.0],
            stolen: 0.0,
        }
    }

    #[test]
    fn without_communication_a_step_is_what_it_computes() {
        let step = simulate(&costs(0.0, 0.0));
        assert_eq!((step.seconds, step.compute, step.hidden()), (13.75, 13.75, None));
    }

    #[test]
    fn what_is_short_hides_but_for_the_last_unit() {
        let step = simulate(&costs(2.0, 0.0));
        // The third unit is done at 12; the last is ready at 10.5 and waits for it.
        assert_eq!((step.exchange_wait, step.seconds), (2.0, 15.75));
        assert_eq!(step.hidden(), Some(1.0 - 2.0 / 6.5));
        assert_eq!(step.not_waited_for(), [step.hidden(), None]);
    }

    #[test]
    fn what_is_long_makes_the_backward_wait() {
        // Each exchange begins when the one before is over: 4, 14, 24, 34; the last waits from 24 on, as two do before.
        let step = simulate(&costs(10.0, 0.0));
        assert_eq!(step.exchange_wait, 36.5 - 10.5);
        let mut lane = Lane::new(WAITING_UNITS);
        let taken: Vec<f64> = (0..5).map(|unit| lane.hand_over(f64::from(unit), 10.0)).collect();
        assert_eq!(taken, [0.0, 1.0, 2.0, 10.0, 20.0]);
        let mut lane = Lane::new(WAITING_GATHERS);
        let taken: Vec<f64> = (0..4).map(|unit| lane.hand_over(f64::from(unit), 10.0)).collect();
        assert_eq!(taken, [0.0, 10.0, 20.0, 30.0]);
    }

    #[test]
    fn a_step_is_never_shorter_than_a_lane_nor_longer_than_both() {
        for exchange in [0.1, 1.0, 3.0, 5.0, 20.0] {
            for gather in [0.1, 1.0, 4.0] {
                for stolen in [0.0, 0.5, 1.0] {
                    for exchanges_each in [false, true] {
                        let costs = Costs { stolen, exchanges_each, micro_batches: 2, ..costs(exchange, gather) };
                        let step = simulate(&costs);
                        let busy = step.exchange + step.gather;
                        assert!(step.seconds >= step.compute.max(busy), "{costs:?}: {step:?}");
                        assert!(step.seconds <= step.compute + (1.0 + stolen) * busy + 1e-9, "{costs:?}: {step:?}");
                        assert!((0.0..=1.0).contains(&step.hidden().expect("communication")));
                        let exposed = step.exchange_wait + step.gather_wait;
                        let least = step.seconds - step.compute - stolen * busy;
                        assert!(exposed >= least - 1e-9 && exposed <= busy + 1e-9, "{costs:?}: {step:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn each_micro_batch_is_exchanged_only_where_it_must() {
        let twice = Costs { micro_batches: 2, ..costs(1.0, 1.0) };
        let last = Costs { exchanges_each: false, ..twice.clone() };
        assert_eq!(simulate(&twice).exchange, 2.0 * simulate(&last).exchange);
        assert!(simulate(&twice).seconds >= simulate(&last).seconds);
    }

    #[test]
    fn what_is_stolen_lengthens_a_step() {
        let seconds = |stolen| simulate(&Costs { stolen, ..costs(2.0, 0.5) }).seconds;
        assert!([0.0, 0.25, 0.5, 1.0].map(seconds).is_sorted() && seconds(1.0) > seconds(0.0));
    }
}
