//! Whether values are finite numbers: of others, a picture is black and says nothing of why.

use burn::tensor::{DType, Tensor};

use crate::error::{PipelineError, Result};

/// Checks that all values are finite numbers; `what` says of what they are.
///
/// # Errors
/// [`PipelineError::NotFinite`].
pub fn check_finite<const D: usize>(tensor: &Tensor<D>, what: &'static str) -> Result<()> {
    let data = tensor.clone().cast(DType::F32).into_data();
    match data.as_slice::<f32>() {
        Ok(values) if values.iter().all(|value| value.is_finite()) => Ok(()),
        _ => Err(PipelineError::NotFinite { what }),
    }
}
