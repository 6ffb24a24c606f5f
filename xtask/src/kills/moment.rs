//! What a run is doing, told from its folder alone.

use super::view::View;

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Filling the pack.
    Packing,
    /// Anything else before the first step: opening, reading the checkpoint, loading.
    Loading,
    Step,
    /// Writing one, giving it its name, or removing older ones.
    Checkpoint,
    Validation,
    /// After the last checkpoint: the result, the last validation, the card.
    End,
}

/// When a run does what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cadence {
    pub steps: usize,
    pub checkpoints: usize,
    pub validations: usize,
    /// Checkpoints that stay.
    pub kept: usize,
}

impl Moment {
    pub(super) const ALL: [Self; 6] =
        [Self::Packing, Self::Loading, Self::Step, Self::Checkpoint, Self::Validation, Self::End];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Packing => "packing",
            Self::Loading => "loading",
            Self::Step => "step",
            Self::Checkpoint => "checkpoint",
            Self::Validation => "validation",
            Self::End => "end",
        }
    }

    /// How often it comes in a whole run; some less, so that runs that go on are killed too.
    pub(super) fn times(self, cadence: &Cadence) -> usize {
        match self {
            Self::Packing | Self::Loading | Self::End => 1,
            Self::Step => cadence.steps / 2,
            Self::Checkpoint => cadence.steps / cadence.checkpoints,
            Self::Validation => cadence.steps / cadence.validations,
        }
    }

    /// What a run is doing that found `before` when it began; a whole pack has `pack_bytes`.
    pub(super) fn of(before: &View, now: &View, cadence: &Cadence, pack_bytes: u64) -> Self {
        // The file is made anew when all is loaded.
        if now.metrics.is_none() || now.metrics == before.metrics {
            let is_packing = now.pack_bytes != before.pack_bytes && now.pack_bytes < pack_bytes;
            return if is_packing { Self::Packing } else { Self::Loading };
        }
        // What an earlier part has left in a bad state says nothing of this one.
        let is_half = now.half_checkpoints.iter().any(|half| !before.half_checkpoints.contains(half));
        let is_surplus = now.checkpoints.len() > cadence.kept.max(before.checkpoints.len());
        let is_due = |every: usize| now.steps.is_multiple_of(every);
        let is_unwritten = now.steps > 0 && is_due(cadence.checkpoints) && !now.checkpoints.contains(&now.steps);
        if is_half || is_surplus || is_unwritten {
            Self::Checkpoint
        } else if now.steps == cadence.steps {
            Self::End
        } else if is_due(cadence.validations) && !now.validated.contains(&now.steps) {
            Self::Validation
        } else {
            Self::Step
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CADENCE: Cadence = Cadence { steps: 12, checkpoints: 3, validations: 4, kept: 2 };

    fn of(before: &View, now: &View) -> Moment {
        Moment::of(before, now, &CADENCE, 100)
    }

    #[test]
    fn moments_are_told_from_the_folder() {
        let before = View { pack_bytes: 40, metrics: Some("old".into()), steps: 8, ..View::default() };
        assert_eq!(of(&before, &before), Moment::Loading);
        assert_eq!(of(&View::default(), &View::default()), Moment::Loading);
        assert_eq!(of(&before, &View { pack_bytes: 60, ..before.clone() }), Moment::Packing);
        assert_eq!(of(&before, &View { pack_bytes: 100, ..before.clone() }), Moment::Loading);
        let now = |steps, checkpoints: &[usize], validated: &[usize]| View {
            pack_bytes: 100,
            metrics: Some("new".into()),
            steps,
            checkpoints: checkpoints.to_vec(),
            validated: validated.to_vec(),
            ..View::default()
        };
        for (view, expected) in [
            (now(0, &[], &[]), Moment::Validation),
            (now(0, &[], &[0]), Moment::Step),
            (now(3, &[], &[0]), Moment::Checkpoint),
            (now(3, &[3], &[0]), Moment::Step),
            (now(4, &[3], &[0]), Moment::Validation),
            (now(9, &[3, 6, 9], &[0, 4, 8]), Moment::Checkpoint),
            (now(9, &[6, 9], &[0, 4, 8]), Moment::Step),
            (now(12, &[6, 9], &[0, 4, 8]), Moment::Checkpoint),
            (now(12, &[9, 12], &[0, 4, 8]), Moment::End),
            (now(12, &[9, 12], &[0, 4, 8, 12]), Moment::End),
        ] {
            assert_eq!(of(&before, &view), expected, "{view:?}");
        }
    }

    #[test]
    fn what_was_left_by_an_earlier_part_says_nothing() {
        let half = vec![".tmp-checkpoint-6".to_string()];
        let now = View { metrics: Some("new".into()), steps: 5, half_checkpoints: half.clone(), ..View::default() };
        assert_eq!(of(&View::default(), &now), Moment::Checkpoint);
        let before = View { half_checkpoints: half, checkpoints: vec![3, 6, 9], ..View::default() };
        assert_eq!(of(&before, &View { checkpoints: vec![3, 6, 9], ..now }), Moment::Step);
    }
}
