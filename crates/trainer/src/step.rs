//! Forward and backward of one micro-batch: flow matching towards `noise - image_latents`.

use burn::{
    module::Module,
    tensor::{DType, Tensor, TensorData},
};
use cogview4_model::{
    CogView4Transformer, ComputeDtype,
    transformer::{SizeConditions, TransformerInputs},
    weights::{cast_parameters, named_gradients},
};

use crate::{batch::MicroBatch, config::Numerics};

/// What a micro-batch gives.
pub(crate) struct StepOutput {
    /// Mean loss of its samples.
    pub loss: f64,
    /// `[B, C, h, w]`.
    pub model_output: TensorData,
    /// Gradients of the mean loss, by key, in the module's order.
    pub gradients: Vec<(String, Vec<f32>)>,
}

/// A copy of the model that gradients are computed of; it shares the parameters where the type is theirs.
pub(crate) fn training_copy(model: &CogView4Transformer, dtype: ComputeDtype) -> CogView4Transformer {
    // Cast before the move to autodiff: behind it, the cast would be part of the graph.
    cast_parameters(model.clone(), dtype.dtype()).train()
}

/// Computes loss, in f32, and gradients.
pub(crate) fn forward_backward(model: &CogView4Transformer, batch: &MicroBatch, numerics: &Numerics) -> StepOutput {
    let samples = batch.timesteps.len();
    let (output, squares) = squares(model, batch, numerics, true);
    let model_output = output.inner().into_data();
    let weights = TensorData::new(batch.loss_weights.clone(), [samples, 1]);
    let loss = (squares * Tensor::<2>::from_data(weights, &batch_device(model))).mean();
    let gradients = loss.backward();
    let gradients = named_gradients(model, &gradients)
        .into_iter()
        .map(|(key, data)| (key, data.convert_dtype(DType::F32).try_into_vec().expect("invariant: gradients are f32")))
        .collect();
    StepOutput { loss: f64::from(loss.into_scalar::<f32>()), model_output, gradients }
}

/// The loss of each sample, unweighted, of a model that is not on an autodiff device.
pub(crate) fn sample_losses(model: &CogView4Transformer, batch: &MicroBatch, numerics: &Numerics) -> Vec<f32> {
    let (_, squares) = squares(model, batch, numerics, false);
    squares.into_data().try_into_vec().expect("invariant: losses are f32")
}

/// What the model predicts, `[B, C, h, w]`, and the mean square of its error, `[B, 1]`; both f32.
fn squares(
    model: &CogView4Transformer,
    batch: &MicroBatch,
    numerics: &Numerics,
    autodiff: bool,
) -> (Tensor<4>, Tensor<2>) {
    let samples = batch.timesteps.len();
    let dtype = numerics.compute_dtype.dtype();
    let resolution = numerics.resolution as usize;
    let input = Tensor::cat(vec![batch.noisy.clone(), batch.control_latents.clone()], 1).cast(dtype);
    let text = batch.prompt_embeds.clone().cast(dtype);
    let target = batch.noise.clone() - batch.image_latents.clone();
    let hidden = batch.hidden_text.clone();
    let output = model.forward(TransformerInputs {
        hidden_states: if autodiff { Tensor::from_inner(input) } else { input },
        encoder_hidden_states: if autodiff { Tensor::from_inner(text) } else { text },
        timesteps: &batch.timesteps,
        sizes: &vec![SizeConditions::uncropped(resolution, resolution); samples],
        hidden_text: if autodiff { hidden.map(Tensor::from_inner) } else { hidden },
    });
    let output = output.cast(DType::F32);
    let target = if autodiff { Tensor::from_inner(target) } else { target };
    let values: usize = output.dims()[1..].iter().product();
    let squares = (output.clone() - target).square().reshape([samples, values]).mean_dim(1);
    (output, squares)
}

fn batch_device(model: &CogView4Transformer) -> burn::tensor::Device {
    model.devices().swap_remove(0)
}
