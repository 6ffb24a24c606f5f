//! How long the stages take: operations at the rate that was measured, and weights that are read meanwhile.

use super::{DrawingSettings, Planner, stages::Costs};

/// Bytes a second of files that the system has in its cache.
const CACHED_RATE: f64 = 4e9;

/// How long a stage takes; `None` where rates are not known.
pub(super) fn seconds(
    stage: &str,
    planner: &Planner,
    settings: &DrawingSettings,
    costs: &Costs,
    [transformer, text]: [usize; 2],
) -> Option<f64> {
    let rates = planner.machine.rates(settings.dtype)?;
    let read_rate = planner.machine.read_rate.unwrap_or(CACHED_RATE);
    let task = &planner.task;
    Some(match stage {
        "load" => {
            let resident = [costs.transformer.resident(transformer), costs.text_encoder.resident(text)];
            let rest = [costs.transformer.outside, costs.text_encoder.outside, costs.vae[0], costs.vae[1]];
            resident.iter().chain(&rest).map(|bytes| bytes.stored).sum::<u64>() as f64 / read_rate
        }
        "text" => {
            let reading = passes(costs.text_encoder.streamed(text), task.prompts.len(), planner, read_rate);
            (costs.text.flops / rates.products).max(reading)
        }
        "control image" => costs.control.flops / rates.convolutions,
        "denoise" => {
            let reading = passes(costs.transformer.streamed(transformer), task.steps, planner, read_rate);
            (costs.step.flops * task.steps as f64 / rates.products).max(reading)
        }
        _ => costs.decode.flops / rates.convolutions,
    })
}

/// Reading so many bytes again and again: after the first time from the system's cache, where that has room for them.
fn passes(bytes: u64, count: usize, planner: &Planner, read_rate: f64) -> f64 {
    let is_cached = planner.machine.available_bytes.is_some_and(|available| available / 4 * 3 > bytes);
    let again = if is_cached { CACHED_RATE.max(read_rate) } else { read_rate };
    let bytes = bytes as f64;
    bytes / read_rate + bytes * count.saturating_sub(1) as f64 / again
}
