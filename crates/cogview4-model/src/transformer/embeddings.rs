//! What goes into the blocks: patches and text (`patch_embed`), timestep and sizes (`time_condition_embed`), and
//! rotary positions. Source: `models/transformers/transformer_cogview4.py`, `models/embeddings.py`.

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor, TensorData},
};

use super::CogView4TransformerConfig;
use crate::{
    nn::Linear,
    ops::{self, RotaryTable},
};

/// Base of the rotary frequencies and of the sinusoidal ones.
const MAX_PERIOD: f64 = 10_000.0;

/// Projects patches of latents, and text embeddings, to the width of the model.
#[derive(Module, Debug)]
pub(crate) struct PatchEmbed {
    proj: Linear,
    text_proj: Linear,
    #[module(skip)]
    patch_size: usize,
}

impl PatchEmbed {
    pub(crate) fn init(config: &CogView4TransformerConfig, device: &Device) -> Self {
        let patch_values = config.in_channels * config.patch_size * config.patch_size;
        Self {
            proj: Linear::init(patch_values, config.inner_dim(), device),
            text_proj: Linear::init(config.text_embed_dim, config.inner_dim(), device),
            patch_size: config.patch_size,
        }
    }

    /// Twice the input channels; the new columns of the weight stand behind the old ones and are 0.
    pub(super) fn widen_input(mut self) -> Self {
        self.proj.weight = self.proj.weight.map(|weight| {
            let zeros = weight.zeros_like();
            Tensor::cat(vec![weight, zeros], 1)
        });
        self
    }

    /// Norm of the second half of the columns.
    pub(super) fn control_norm(&self) -> f64 {
        let weight = self.proj.weight.val();
        let [_, columns] = weight.dims();
        let control = weight.narrow(1, columns / 2, columns - columns / 2).cast(DType::F32);
        f64::from(control.square().sum().into_scalar::<f32>()).sqrt()
    }

    /// `[B, C, H, W]` to `[B, patches, D]`, and `[B, S, text_embed_dim]` to `[B, S, D]`.
    pub(crate) fn forward(&self, hidden_states: Tensor<4>, encoder_hidden_states: Tensor<3>) -> [Tensor<3>; 2] {
        let [batch, channels, height, width] = hidden_states.dims();
        let patch = self.patch_size;
        let (rows, columns) = (height / patch, width / patch);
        let patches = hidden_states
            .reshape([batch, channels, rows, patch, columns, patch])
            .permute([0, 2, 4, 1, 3, 5]) // [B, rows, columns, C, patch, patch]
            .reshape([batch, rows * columns, channels * patch * patch]);
        [self.proj.forward(patches), self.text_proj.forward(encoder_hidden_states)]
    }
}

/// Height and width (in this order) that the model is told about, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeConditions {
    /// Size of the picture before cropping.
    pub original_size: [usize; 2],
    /// Size of the picture.
    pub target_size: [usize; 2],
    /// Top left corner of the crop.
    pub crop_coords: [usize; 2],
}

impl SizeConditions {
    /// A picture that was not cropped.
    pub fn uncropped(height: usize, width: usize) -> Self {
        Self { original_size: [height, width], target_size: [height, width], crop_coords: [0, 0] }
    }
}

/// Two linear layers with SiLU between, named as in `TimestepEmbedding` and `PixArtAlphaTextProjection`.
#[derive(Module, Debug)]
pub(crate) struct EmbeddingMlp {
    linear_1: Linear,
    linear_2: Linear,
}

impl EmbeddingMlp {
    fn init(input: usize, output: usize, device: &Device) -> Self {
        Self { linear_1: Linear::init(input, output, device), linear_2: Linear::init(output, output, device) }
    }

    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(ops::silu(self.linear_1.forward(input)))
    }
}

/// Embeds the timestep and the six size numbers (`CogView3CombinedTimestepSizeEmbeddings`).
#[derive(Module, Debug)]
pub(crate) struct TimeConditionEmbed {
    timestep_embedder: EmbeddingMlp,
    condition_embedder: EmbeddingMlp,
    #[module(skip)]
    timesteps_dim: usize,
    #[module(skip)]
    condition_dim: usize,
}

impl TimeConditionEmbed {
    pub(crate) fn init(config: &CogView4TransformerConfig, device: &Device) -> Self {
        let size_values = 6 * config.condition_dim;
        Self {
            timestep_embedder: EmbeddingMlp::init(config.inner_dim(), config.time_embed_dim, device),
            condition_embedder: EmbeddingMlp::init(size_values, config.time_embed_dim, device),
            timesteps_dim: config.inner_dim(),
            condition_dim: config.condition_dim,
        }
    }

    /// One embedding per sample, `[B, time_embed_dim]`.
    pub(crate) fn forward(
        &self,
        timesteps: &[f32],
        sizes: &[SizeConditions],
        dtype: DType,
        device: &Device,
    ) -> Tensor<2> {
        let rows = |values: Vec<f32>| {
            let shape = [timesteps.len(), values.len() / timesteps.len()];
            Tensor::from_data(TensorData::new(values, shape), (device, dtype))
        };
        let timestep_values = timesteps.iter().flat_map(|&t| sinusoid(t, self.timesteps_dim)).collect();
        let size_values = sizes
            .iter()
            .flat_map(|size| [size.original_size, size.crop_coords, size.target_size].concat())
            .flat_map(|number| sinusoid(number as f32, self.condition_dim))
            .collect();
        self.timestep_embedder.forward(rows(timestep_values)) + self.condition_embedder.forward(rows(size_values))
    }
}

/// Cosines, then sines, of `value` times frequencies that fall from 1 to 1 / 10000; rounded where PyTorch rounds.
fn sinusoid(value: f32, width: usize) -> Vec<f32> {
    let half = width / 2;
    let log_period = -MAX_PERIOD.ln() as f32;
    let angles: Vec<f32> = (0..half)
        .map(|i| {
            let exponent = log_period * i as f32 / half as f32;
            value * f64::from(exponent).exp() as f32
        })
        .collect();
    let cosines = angles.iter().map(|&angle| f64::from(angle).cos() as f32);
    let sines = angles.iter().map(|&angle| f64::from(angle).sin() as f32);
    let padding = (width % 2 == 1).then_some(0.0);
    cosines.chain(sines).chain(padding).collect()
}

/// Rotary positions of the joint sequence: text tokens are not turned, patches by their row and column, spread over
/// `rope_axes_dim` positions whatever the size of the picture.
pub(crate) fn rotary_table(
    config: &CogView4TransformerConfig,
    seq_txt: usize,
    [rows, columns]: [usize; 2],
    dtype: DType,
    device: &Device,
) -> RotaryTable {
    let frequencies = RotaryTable::inverse_frequencies(MAX_PERIOD, config.attention_head_dim / 2);
    let angles_per_token = config.attention_head_dim / 2;
    let [positions_h, positions_w] = config.rope_axes_dim;
    let mut angles = vec![0.0; seq_txt * angles_per_token];
    for row in 0..rows {
        let position_h = (row * positions_h / rows) as f32;
        for column in 0..columns {
            let position_w = (column * positions_w / columns) as f32;
            angles.extend(frequencies.iter().map(|frequency| position_h * frequency));
            angles.extend(frequencies.iter().map(|frequency| position_w * frequency));
        }
    }
    RotaryTable::from_angles(&angles, angles_per_token, dtype, device)
}
