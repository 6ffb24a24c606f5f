//! Forward and backward of one micro-batch: flow matching towards `noise - image_latents`.

mod dump;
mod output;
mod recompute;
mod sink;
#[cfg(test)]
mod tests;

use std::time::Instant;

use burn::{
    module::Module,
    tensor::{DType, Tensor, TensorData},
};
use cogview4_model::{CogView4Transformer, ComputeDtype, transformer::TransformerInputs};

use crate::{error::Result, samples::MicroBatch};

pub(crate) use dump::dump;
pub(crate) use output::StepOutput;
pub(crate) use sink::{GradientSink, UpdateAtOnce, Updated};

/// Computes the loss, in f32, and hands the gradients of the mean loss to the sink. The model is in this type; with
/// `recompute`, its blocks are computed again in the backward pass. It is given back, changed where the sink changes it.
pub(crate) fn forward_backward(
    mut model: CogView4Transformer,
    batch: &MicroBatch,
    (dtype, recompute): (ComputeDtype, bool),
    sink: &mut GradientSink<'_>,
) -> Result<(CogView4Transformer, StepOutput)> {
    let (samples, start) = (batch.timesteps.len(), Instant::now());
    let loss = |output: Tensor<4>| {
        let output = output.cast(DType::F32);
        let target = Tensor::from_inner(batch.noise.clone() - batch.image_latents.clone());
        let weights = TensorData::new(batch.loss_weights.clone(), [samples, 1]);
        let weights = Tensor::<2>::from_data(weights, &output.device());
        let loss = (squares(output.clone(), target) * weights).mean();
        let value = f64::from(loss.clone().into_scalar::<f32>());
        (loss, StepOutput { loss: value, model_output: output.inner(), forward: start.elapsed() })
    };
    let inputs = inputs(&model, batch, dtype).from_inner();
    if recompute {
        return recompute::forward_backward(model, inputs, sink, loss);
    }
    let recorded = model.clone().train();
    let (loss, output) = loss(recorded.forward(inputs)?);
    sink.add(&recorded, loss.backward());
    drop(recorded);
    for index in (0..model.num_blocks()).rev() {
        model = sink.block_is_complete(index, model)?;
    }
    Ok((sink.all_is_complete(model)?, output))
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
