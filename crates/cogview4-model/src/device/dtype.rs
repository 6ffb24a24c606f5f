//! The number type of the computation by name, `--dtype`.

use std::{fmt, str::FromStr};

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result};

/// The number type that weights and activations are held in.
///
/// ```
/// use cogview4_model::ComputeDtype;
///
/// let dtype: ComputeDtype = "bfloat16".parse()?;
/// assert_eq!(dtype.to_string(), "bfloat16");
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
///
/// The policy: norms, reductions, the schedule and the latents between steps are float32 whatever the choice here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ComputeDtype {
    /// Everything in 32 bits.
    #[default]
    Float32,
    /// Weights and matrix products in bfloat16; training keeps f32 masters.
    BFloat16,
}

impl ComputeDtype {
    /// The tensor type of weights and activations.
    pub fn dtype(self) -> DType {
        match self {
            Self::Float32 => DType::F32,
            Self::BFloat16 => DType::BF16,
        }
    }
}

impl fmt::Display for ComputeDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float32 => "float32",
            Self::BFloat16 => "bfloat16",
        })
    }
}

impl FromStr for ComputeDtype {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self> {
        let refuse = |reason: &str| Err(ModelError::bad_input(format!("dtype `{name}`"), reason));
        match name {
            "float32" => Ok(Self::Float32),
            "bfloat16" => Ok(Self::BFloat16),
            "float16" | "fp16" | "fp8" => refuse("is too narrow for this model, use `bfloat16` or `float32`"),
            _ => refuse("unknown, the known types are `float32` and `bfloat16`"),
        }
    }
}
