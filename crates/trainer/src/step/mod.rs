//! Forward and backward of one micro-batch: flow matching towards `noise - image_latents`.

mod dump;
mod output;
pub(crate) mod parts;
mod recompute;
mod sink;
#[cfg(test)]
mod tests;
mod whole;

use std::time::Instant;

use burn::tensor::{DType, Tensor, TensorData};
use cogview4_model::{CogView4Transformer, ComputeDtype, transformer::TransformerInputs};

use crate::{error::Result, samples::MicroBatch};

pub(crate) use dump::dump;
pub(crate) use output::StepOutput;
pub(crate) use sink::{GradientSink, UpdateAtOnce, Updated};

/// Computes the loss, in f32, and hands the gradients of the mean loss to the sink. The model is in this type; with
/// `recompute`, its blocks are computed again in the backward pass. It is given back, changed where the sink changes it.
pub(crate) fn forward_backward(
    model: CogView4Transformer,
    batch: &MicroBatch,
    (dtype, recompute): (ComputeDtype, bool),
    sink: &mut GradientSink<'_>,
) -> Result<(CogView4Transformer, StepOutput)> {
    let (samples, start) = (batch.timesteps.len(), Instant::now());
    let parts = batch.parts(&model);
    let parts = parts.iter().map(|part| (part, inputs(&model, part, dtype).from_inner())).collect();
    let loss = |part: &MicroBatch, output| {
        let (loss, output) = loss(output, part, samples);
        let value = f64::from(loss.clone().into_scalar::<f32>());
        (loss, StepOutput { loss: value, model_output: output, forward: start.elapsed() })
    };
    let (model, outputs) = match recompute {
        true => recompute::forward_backward(model, parts, sink, loss)?,
        false => whole::forward_backward(model, parts, sink, loss)?,
    };
    Ok((model, StepOutput::joined(outputs)))
}

/// What a part's samples add to the mean loss of so many, and the model's output in f32.
fn loss(output: Tensor<4>, part: &MicroBatch, samples: usize) -> (Tensor<1>, Tensor<4>) {
    let (output, own) = (output.cast(DType::F32), part.timesteps.len());
    let target = Tensor::from_inner(part.noise.clone() - part.image_latents.clone());
    let weights = TensorData::new(part.loss_weights.clone(), [own, 1]);
    let weights = Tensor::<2>::from_data(weights, &output.device());
    let loss = (squares(output.clone(), target) * weights).sum() / samples as f64;
    (loss, output.inner())
}

/// The loss of each sample, unweighted, of a model that is not on an autodiff device.
pub(crate) fn sample_losses(model: &CogView4Transformer, batch: &MicroBatch, dtype: ComputeDtype) -> Result<Vec<f32>> {
    let output = model.forward(inputs(model, batch, dtype))?;
    let target = batch.noise.clone() - batch.image_latents.clone();
    let losses = squares(output.cast(DType::F32), target).into_data();
    Ok(losses.try_into_vec().expect("invariant: losses are f32"))
}

/// What the model is given, without autodiff: a base model sees no control latents.
pub(crate) fn inputs<'a>(
    model: &CogView4Transformer,
    batch: &'a MicroBatch,
    dtype: ComputeDtype,
) -> TransformerInputs<'a> {
    let (dtype, noisy) = (dtype.dtype(), batch.noisy.clone());
    let hidden_states = match model.config().in_channels == noisy.dims()[1] {
        true => noisy,
        false => Tensor::cat(vec![noisy, batch.control_latents.clone()], 1),
    };
    TransformerInputs {
        hidden_states: hidden_states.cast(dtype),
        encoder_hidden_states: batch.prompt_embeds.clone().cast(dtype),
        timesteps: &batch.timesteps,
        sizes: &batch.sizes,
        hidden_text: batch.hidden_text.clone(),
    }
}

/// The mean square of each sample's error, `[B, 1]`.
fn squares(output: Tensor<4>, target: Tensor<4>) -> Tensor<2> {
    let [samples, channels, height, width] = output.dims();
    (output - target).square().reshape([samples, channels * height * width]).mean_dim(1)
}
