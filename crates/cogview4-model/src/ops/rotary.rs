//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864) in its two layouts: the DiT turns the first half
//! of a head against the second, GLM turns neighbours against each other.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::{fused, norm::wide_layer_norm};

/// Cosines and sines of the angles, each `[S, angles]` with one angle for two features.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    /// `[S, angles]`.
    pub cos: Tensor<2>,
    /// `[S, angles]`.
    pub sin: Tensor<2>,
}

impl RotaryTable {
    /// Makes the table from angles in radians, `[S, angles]` in the order of memory, already rounded to f32.
    ///
    /// # Panics
    /// When the angles do not fill rows of `angles_per_token`.
    pub fn from_angles(angles: &[f32], angles_per_token: usize, dtype: DType, device: &Device) -> Self {
        let shape = [angles.len() / angles_per_token, angles_per_token];
        let tensor = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&angle| f(f64::from(angle)) as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), (device, dtype))
        };
        Self { cos: tensor(f64::cos), sin: tensor(f64::sin) }
    }

    /// `theta^(-2 i / width)` for `i` in `0..width / 2`, with PyTorch's roundings to f32.
    pub(crate) fn inverse_frequencies(theta: f64, width: usize) -> Vec<f32> {
        (0..width / 2).map(|i| 1.0 / theta.powf(f64::from((2 * i) as f32 / width as f32)) as f32).collect()
    }

    fn cast(&self, dtype: DType) -> Self {
        Self { cos: self.cos.clone().cast(dtype), sin: self.sin.clone().cast(dtype) }
    }

    fn expand(&self) -> [Tensor<4>; 2] {
        [self.cos.clone(), self.sin.clone()].map(Tensor::unsqueeze)
    }
}

/// Normalises each head of queries or keys, brings the heads to the front and turns the first half of each against the
/// second.
///
/// # Shapes
/// `[B, S, N, head_dim]` to `[B, N, S, head_dim]`; the table has `head_dim / 2` angles.
pub fn norm_rotate(input: Tensor<4>, table: &RotaryTable, eps: f64) -> Tensor<4> {
    fused::norm_rotate(&input, table, eps).unwrap_or_else(|| {
        let dtype = input.dtype();
        let normed = wide_layer_norm(input, eps).swap_dims(1, 2);
        let table = table.cast(normed.dtype());
        rotate_halves(normed, &table).cast(dtype)
    })
}

/// Turns feature `i` of the first half against feature `i` of the second half.
///
/// # Shapes
/// `[B, N, S, head_dim]`, unchanged; the table has `head_dim / 2` angles.
fn rotate_halves(input: Tensor<4>, table: &RotaryTable) -> Tensor<4> {
    let half = input.dims()[3] / 2;
    let [cos, sin] = table.expand();
    let first = input.clone().narrow(3, 0, half);
    let second = input.narrow(3, half, half);
    Tensor::cat(vec![first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin], 3)
}

/// Turns features `2 i` and `2 i + 1` against each other; features beyond twice the number of angles stay.
///
/// # Shapes
/// `[B, N, S, head_dim]`, unchanged; the table has at most `head_dim / 2` angles.
pub fn rotate_pairs(input: Tensor<4>, table: &RotaryTable) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = input.dims();
    let angles = table.cos.dims()[1];
    let [cos, sin] = table.expand().map(|factor| factor.reshape([1, 1, seq, angles, 1]));
    let pairs = input.clone().narrow(3, 0, 2 * angles).reshape([batch, heads, seq, angles, 2]);
    let first = pairs.clone().narrow(4, 0, 1);
    let second = pairs.narrow(4, 1, 1);
    let turned: Tensor<5> =
        Tensor::cat(vec![first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin], 4);
    let turned = turned.reshape([batch, heads, seq, 2 * angles]);
    if 2 * angles == head_dim {
        return turned;
    }
    Tensor::cat(vec![turned, input.narrow(3, 2 * angles, head_dim - 2 * angles)], 3)
}
