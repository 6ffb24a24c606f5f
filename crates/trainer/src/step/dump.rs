//! `--dump_step`: every tensor of a micro-batch, to compare with other implementations.

use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use cogview4_model::{transformer::SizeConditions, weights::save_tensors};

use super::output::StepOutput;
use crate::{error::Result, samples::MicroBatch};

/// Writes every tensor of a micro-batch.
pub(crate) fn dump(path: &Path, batch: &MicroBatch, output: &StepOutput) -> Result<()> {
    let samples = batch.timesteps.len();
    let numbers = |values: Vec<f32>| TensorData::new(values, [samples]);
    let pairs = |pair: fn(&SizeConditions) -> [usize; 2]| {
        let values: Vec<f32> = batch.sizes.iter().flat_map(pair).map(|value| value as f32).collect();
        TensorData::new(values, [samples, 2])
    };
    let data = |tensor: &Tensor<4>| tensor.to_data();
    let lengths = batch.prompt_lengths.iter().map(|&length| length as f32).collect();
    let tensors = [
        ("image_latents", data(&batch.image_latents)),
        ("control_latents", data(&batch.control_latents)),
        ("noise", data(&batch.noise)),
        ("timesteps", numbers(batch.timesteps.clone())),
        ("sigmas", numbers(batch.sigmas.clone())),
        ("noisy", data(&batch.noisy)),
        ("prompt_embeds", batch.prompt_embeds.to_data()),
        ("prompt_lengths", numbers(lengths)),
        ("original_size", pairs(|sizes| sizes.original_size)),
        ("target_size", pairs(|sizes| sizes.target_size)),
        ("crop", pairs(|sizes| sizes.crop_coords)),
        ("model_output", data(&output.model_output)),
        ("loss", TensorData::new(vec![output.loss as f32], [1])),
    ];
    Ok(save_tensors(path, tensors)?)
}
