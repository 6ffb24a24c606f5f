//! Forward and backward with all graphs there at once.

use burn::{module::Module, tensor::Tensor};
use cogview4_model::{CogView4Transformer, transformer::TransformerInputs};

use super::{GradientSink, parts::each};
use crate::error::Result;

/// Runs the model on each part, hands the output to `loss`, and hands the gradients to the sink. The model is not on the
/// autodiff device.
///
/// # Errors
/// A block that has to be read and cannot, or what the sink refuses.
pub(super) fn forward_backward<T: Send>(
    mut model: CogView4Transformer,
    parts: Vec<TransformerInputs<'_>>,
    sink: &mut GradientSink<'_>,
    loss: impl Fn(usize, Tensor<4>) -> (Tensor<1>, T) + Sync,
) -> Result<(CogView4Transformer, Vec<T>)> {
    let passed = each(parts, |index, inputs| -> Result<_> {
        let recorded = model.clone().train();
        let (loss, result) = loss(index, recorded.forward(inputs)?);
        Ok(((recorded, loss), result))
    });
    let (recorded, results): (Vec<_>, Vec<_>) = passed.into_iter().collect::<Result<Vec<_>>>()?.into_iter().unzip();
    sink.add(each(recorded, |_, (recorded, loss): (CogView4Transformer, Tensor<1>)| (recorded, loss.backward())));
    for index in (0..model.num_blocks()).rev() {
        model = sink.block_is_complete(index, model)?;
    }
    Ok((sink.all_is_complete(model)?, results))
}
