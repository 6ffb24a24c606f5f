//! Forward and backward with all graphs there at once.

use burn::{module::Module, tensor::Tensor};
use cogview4_model::{CogView4Transformer, each};

use super::{GradientSink, parts::Part};
use crate::{error::Result, samples::MicroBatch};

/// Runs the model on each part of a micro-batch, hands the output to `loss`, and hands the gradients to the sink. The model is not on the
/// autodiff device.
///
/// # Errors
/// A block that has to be read and cannot, or what the sink refuses.
pub(super) fn forward_backward<T: Send>(
    mut model: CogView4Transformer,
    parts: Vec<Part<'_>>,
    sink: &mut GradientSink<'_>,
    loss: impl Fn(&MicroBatch, Tensor<4>) -> (Tensor<1>, T) + Sync + Send,
) -> Result<(CogView4Transformer, Vec<T>)> {
    let device = parts[0].1.hidden_states.device();
    let passed = each(&device, parts, |(batch, inputs)| -> Result<_> {
        let recorded = model.clone().train();
        let (loss, result) = loss(batch, recorded.forward(inputs)?);
        Ok(((recorded, loss), result))
    });
    let (recorded, results): (Vec<_>, Vec<_>) = passed.into_iter().collect::<Result<Vec<_>>>()?.into_iter().unzip();
    sink.add(each(&device, recorded, |(recorded, loss)| (recorded, loss.backward())));
    for index in (0..model.num_blocks()).rev() {
        model = sink.block_is_complete(index, model)?;
    }
    Ok((sink.all_is_complete(model)?, results))
}
