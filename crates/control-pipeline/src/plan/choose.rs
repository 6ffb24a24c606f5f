//! The cheapest settings that fit.

use cogview4_model::ComputeDtype;

use super::{DrawingPlan, DrawingSettings, Placement, Planner, WeightStorage};

/// Sides of tiles that are tried, in pixels.
const TILES: [usize; 2] = [512, 256];
/// Times that differ by less than this part, or by less than so many seconds, are the same.
const SAME_PART: f64 = 0.1;
const SAME_SECONDS: f64 = 2.0;

impl Planner {
    /// The fastest plan that fits: of those that take about as long, the one that changes the settings and the numbers
    /// least. The number type is kept unless nothing fits with it, and so is what is not the default. `None` where
    /// nothing fits.
    pub fn cheapest(&self, settings: &DrawingSettings) -> Option<DrawingPlan> {
        let other = match settings.dtype {
            ComputeDtype::Float32 => ComputeDtype::BFloat16,
            _ => ComputeDtype::Float32,
        };
        let with = |dtype| {
            let candidates = self.candidates(&DrawingSettings { dtype, ..*settings });
            let plans = candidates.iter().map(|candidate| self.plan(candidate)).filter(DrawingPlan::fits);
            // In the order of how much they change, so that what comes first wins where times are about the same.
            plans.reduce(|best, plan| match (best.seconds(), plan.seconds()) {
                (Some(least), Some(seconds)) if seconds < (least * (1.0 - SAME_PART)).min(least - SAME_SECONDS) => plan,
                _ => best,
            })
        };
        with(settings.dtype).or_else(|| with(other))
    }

    /// The plan with the least memory, for when nothing fits.
    pub fn smallest(&self, settings: &DrawingSettings) -> DrawingPlan {
        let dtypes = [settings.dtype, ComputeDtype::BFloat16];
        let candidates = dtypes.map(|dtype| self.candidates(&DrawingSettings { dtype, ..*settings }));
        let plans = candidates.iter().flatten().map(|candidate| self.plan(candidate));
        plans.min_by_key(DrawingPlan::peak_total_bytes).unwrap_or_else(|| self.plan(settings))
    }

    /// Settings to try, those first that change least: where blocks are changes no number, tiles change a picture
    /// hardly, and weights as bytes a little.
    fn candidates(&self, settings: &DrawingSettings) -> Vec<DrawingSettings> {
        let placements = match (settings.placement, self.limit()) {
            (Placement::Resident, Some(limit)) => {
                vec![Placement::Resident, Placement::Streamed, Placement::Budget(round(limit))]
            }
            (Placement::Resident, None) => vec![Placement::Resident, Placement::Streamed],
            (Placement::Streamed, _) => vec![Placement::Streamed],
            (budget @ Placement::Budget(_), _) => vec![budget, Placement::Streamed],
        };
        let tiles = || {
            let is_smaller = |side: &usize| self.task.size.iter().any(|own| own > side);
            let own = settings.vae_tile.unwrap_or(usize::MAX);
            let smaller = TILES.into_iter().filter(move |side| is_smaller(side) && *side < own).map(Some);
            [settings.vae_tile].into_iter().chain(smaller)
        };
        let formats = match settings.weights {
            WeightStorage::Computed => vec![WeightStorage::Computed, WeightStorage::Int8],
            WeightStorage::Int8 => vec![WeightStorage::Int8],
        };
        let mut candidates = Vec::new();
        for &weights in &formats {
            for vae_tile in tiles() {
                let of = |&placement: &Placement| DrawingSettings { weights, vae_tile, placement, ..*settings };
                candidates.extend(placements.iter().map(of));
            }
        }
        candidates
    }
}

/// Whole units of 64 MiB, so that flags can be read.
fn round(bytes: u64) -> u64 {
    bytes >> 26 << 26
}
