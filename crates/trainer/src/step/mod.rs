//! Forward and backward of one micro-batch: flow matching towards `noise - image_latents`.

mod dump;
mod output;
mod recompute;
#[cfg(test)]
mod tests;

use burn::{
    module::Module,
    tensor::{DType, Tensor, TensorData},
};
use cogview4_model::{CogView4Transformer, ComputeDtype, Result, transformer::TransformerInputs};

use crate::{optimizer::Gradients, samples::MicroBatch};

pub(crate) use dump::dump;
pub(crate) use output::StepOutput;

/// The model twice, of which one computes gradients; they share the parameters.
pub(crate) struct TrainingModel {
    plain: CogView4Transformer,
    autodiff: CogView4Transformer,
    dtype: ComputeDtype,
    recompute: bool,
}

impl TrainingModel {
    /// Of a model in the type that is computed in. With `recompute`, blocks are computed again in the backward pass.
    pub(crate) fn new(model: &CogView4Transformer, dtype: ComputeDtype, recompute: bool) -> Self {
        Self { autodiff: model.clone().train(), plain: model.clone(), dtype, recompute }
    }

    /// Computes the loss, in f32, and adds the gradients of the mean loss, which count `weight`.
    pub(crate) fn forward_backward(
        &self,
        batch: &MicroBatch,
        weight: f32,
        gradients: &mut Gradients,
    ) -> Result<StepOutput> {
        let model = &self.autodiff;
        let samples = batch.timesteps.len();
        let loss = |output: Tensor<4>| {
            let output = output.cast(DType::F32);
            let target = Tensor::from_inner(batch.noise.clone() - batch.image_latents.clone());
            let weights = TensorData::new(batch.loss_weights.clone(), [samples, 1]);
            let weights = Tensor::<2>::from_data(weights, &output.device());
            let loss = (squares(output.clone(), target) * weights).mean();
            let value = f64::from(loss.clone().into_scalar::<f32>());
            (loss, StepOutput { loss: value, model_output: output.inner().into_data() })
        };
        let inputs = inputs(model, batch, self.dtype).from_inner();
        if self.recompute {
            let take = |pass| gradients.take(model, pass, weight);
            return recompute::forward_backward((model, &self.plain), inputs, take, loss);
        }
        let (loss, output) = loss(model.forward(inputs)?);
        gradients.take(model, loss.backward(), weight);
        Ok(output)
    }
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
