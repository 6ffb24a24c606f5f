//! The matrix product of a linear layer.

use burn::tensor::Tensor;

use super::fused;

/// `input W^T + bias`.
///
/// Computed as one 2-D product: with more axes Burn broadcasts the weight and sums its gradient over the batch,
/// which takes as long as the product itself.
///
/// # Shapes
/// `input` `[..., in]`, `weight` `[out, in]`, `bias` `[out]`; the result is `[..., out]`.
pub fn linear<const D: usize>(input: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let mut dims = input.dims();
    let [features_out, features_in] = weight.dims();
    let rows: usize = dims[..D - 1].iter().product();
    let input = input.reshape([rows, features_in]);
    let output = match bias {
        Some(bias) => fused::linear(input, weight, bias),
        None if fused::adds_bias(&input) => {
            let zeros = Tensor::zeros([features_out], (&input.device(), input.dtype()));
            fused::linear(input, weight, zeros)
        }
        None => input.matmul(weight.transpose()),
    };
    dims[D - 1] = features_out;
    output.reshape(dims)
}
