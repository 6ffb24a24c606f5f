//! The operations that models share, forward and backward, against the pure-Rust CPU in f64.

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use cogview4::model::{
    DeviceSpec, TorchGenerator,
    ops::{self, AttentionMask, GroupNormOptions, QuantizedMatrix, RotaryTable},
};

use crate::{backend::Backend, support::MODEL_TOLERANCE};

const EPS: f64 = 1e-5;
/// Inputs are rounded to 8 bits, as are results on the way.
const BFLOAT16_TOLERANCE: f64 = 1e-2;

/// Where a computation is done: on a device, with or without autodiff.
struct Place<'a> {
    device: &'a Device,
    dtype: DType,
}

impl Place<'_> {
    fn normal<const D: usize>(&self, seed: u64, shape: [usize; D]) -> Tensor<D> {
        let values = TorchGenerator::new(seed).randn(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), (self.device, self.dtype))
    }

    /// Gradients of a weighted sum of the output for each input, and the output.
    fn run<const D: usize, const E: usize, const N: usize>(
        &self,
        inputs: [[usize; D]; N],
        forward: impl Fn([Tensor<D>; N], bool) -> Tensor<E>,
    ) -> Vec<Vec<f64>> {
        let mut seed = 0;
        let inputs = inputs.map(|shape| {
            seed += 1;
            self.normal(seed, shape)
        });
        let plain = forward(inputs.clone(), false);
        let leaves = inputs.map(|input| Tensor::from_inner(input).require_grad());
        let output = forward(leaves.clone(), true);
        let weights = Tensor::from_inner(self.normal::<E>(77, output.dims()));
        let gradients = (output.clone() * weights).sum().backward();
        let mut all = vec![values(plain), values(output.inner())];
        all.extend(leaves.map(|leaf| values(leaf.grad(&gradients).unwrap())));
        all
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert_dtype(DType::F64).try_into_vec().unwrap()
}

/// Runs on the backend in f32 and on the pure-Rust CPU in f64, and compares output and gradients.
#[track_caller]
fn compare(backend: &Backend, what: &str, run: impl Fn(&Place<'_>) -> Vec<Vec<f64>>) {
    compare_in(DType::F32, MODEL_TOLERANCE, backend, what, run);
}

#[track_caller]
fn compare_in(dtype: DType, tolerance: f64, backend: &Backend, what: &str, run: impl Fn(&Place<'_>) -> Vec<Vec<f64>>) {
    let reference = DeviceSpec::Flex.open().unwrap();
    let expected = run(&Place { device: &reference, dtype: DType::F64 });
    let found = run(&Place { device: &backend.device, dtype });
    for (index, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        let tensor = |values: Vec<f64>| {
            let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
            Tensor::<1>::from_data(values.as_slice(), &reference)
        };
        backend.assert_close(&format!("{what}, {index}"), tensor(found), tensor(expected), tolerance);
    }
}

pub(crate) fn attention_forward_and_backward(backend: &Backend) {
    for (batch, heads, seq, head_dim) in [(1, 3, 300, 16), (2, 2, 33, 32)] {
        for masked in [false, true] {
            compare(backend, "attention", |place| {
                let mask = |autodiff: bool| {
                    let hidden = (0..batch * seq).map(|index| index % seq < seq / 4).collect::<Vec<_>>();
                    let hidden = Tensor::<2, Bool>::from_data(TensorData::new(hidden, [batch, seq]), place.device);
                    match (masked, autodiff) {
                        (false, _) => AttentionMask::None,
                        (true, false) => AttentionMask::Keys(hidden),
                        (true, true) => AttentionMask::Keys(Tensor::from_inner(hidden)),
                    }
                };
                place.run([[batch, heads, seq, head_dim]; 3], |[q, k, v], autodiff| {
                    ops::attention(q, k, v, &mask(autodiff))
                })
            });
        }
    }
}

pub(crate) fn modulations(backend: &Backend) {
    for groups in [1, 2] {
        compare(backend, "modulation and gated addition", |place| {
            place.run([[2, 40, 48], [2, groups, 48], [2, groups, 48]], |[input, scale, shift], _| {
                let modulated = ops::modulate(input.clone(), scale, shift.clone(), 9, EPS);
                ops::gated_add(input, modulated, shift, 9)
            })
        });
    }
}

pub(crate) fn norm_and_rotation(backend: &Backend) {
    let angles: Vec<f32> = (0..20 * 4).map(|i| i as f32 * 0.37).collect();
    compare(backend, "norm and rotation", |place| {
        place.run([[2, 20, 3, 8]], |[input], autodiff| {
            let RotaryTable { cos, sin } = RotaryTable::from_angles(&angles, 4, place.dtype, place.device);
            let table = match autodiff {
                true => RotaryTable { cos: Tensor::from_inner(cos), sin: Tensor::from_inner(sin) },
                false => RotaryTable { cos, sin },
            };
            ops::norm_rotate(input, &table, EPS)
        })
    });
}

pub(crate) fn activations(backend: &Backend) {
    for (what, activation) in [("gelu", ops::gelu_tanh::<2> as fn(Tensor<2>) -> Tensor<2>), ("silu", ops::silu::<2>)] {
        compare(backend, what, |place| place.run([[33, 65]], |[input], _| activation(input * 3.0)));
    }
}

pub(crate) fn linear_layers(backend: &Backend) {
    for with_bias in [false, true] {
        compare(backend, "linear", |place| linear(place, [7, 12, 33], with_bias));
    }
}

/// Large enough for the products that bfloat16 has on some CPUs; attention and activations on the way to another type.
pub(crate) fn layers_in_bfloat16(backend: &Backend) {
    let compare = |what, run: &dyn Fn(&Place<'_>) -> _| compare_in(DType::BF16, BFLOAT16_TOLERANCE, backend, what, run);
    for with_bias in [false, true] {
        compare("linear", &|place| linear(place, [75, 110, 90], with_bias));
        compare("linear of more rows", &|place| linear(place, [150, 70, 70], with_bias));
        compare("linear of one row", &|place| linear(place, [1, 300, 77], with_bias));
        compare("quantized linear", &|place| vec![quantized_linear(place, with_bias)]);
    }
    compare("attention", &|place| {
        place.run([[1, 2, 140, 16]; 3], |[q, k, v], _| ops::attention(q, k, v, &AttentionMask::None))
    });
    compare("gelu", &|place| place.run([[3, 2000]], |[input], _| ops::gelu_tanh(input)));
    compare("silu", &|place| place.run([[3, 2000]], |[input], _| ops::silu(input)));
}

fn linear(place: &Place<'_>, [rows, columns, depth]: [usize; 3], with_bias: bool) -> Vec<Vec<f64>> {
    place.run([[rows, depth], [columns, depth]], |[input, weight], _| {
        let bias = with_bias.then(|| weight.clone().sum_dim(1).reshape([columns]));
        match (place.dtype, bias) {
            // The reference is composed of Burn's own operations.
            (DType::F64, Some(bias)) => input.matmul(weight.transpose()) + bias.unsqueeze(),
            (_, bias) => ops::linear(input, weight, bias),
        }
    })
}

pub(crate) fn quantized_linear_layers(backend: &Backend) {
    for with_bias in [false, true] {
        compare(backend, "quantized linear", |place| vec![quantized_linear(place, with_bias)]);
    }
}

fn quantized_linear(place: &Place<'_>, with_bias: bool) -> Vec<f64> {
    let ([rows, columns, depth], reference) = ([21, 70, 77], DeviceSpec::Flex.open().unwrap());
    let weight: Tensor<2> = Place { device: &reference, dtype: DType::F32 }.normal(2, [columns, depth]);
    let weight = QuantizedMatrix::quantize(&weight.into_data()).unwrap();
    let (input, bias) = (place.normal(1, [3, rows / 3, depth]), with_bias.then(|| place.normal(3, [columns])));
    values::<3>(match (place.dtype, bias) {
        (DType::F64, Some(bias)) => {
            input.matmul(weight.to_tensor(DType::F64, place.device).transpose().unsqueeze()) + bias.unsqueeze()
        }
        (_, bias) => ops::quantized_linear(input, &weight, bias),
    })
}

pub(crate) fn convolutions(backend: &Backend) {
    for (stride, padding) in [(1, (1, 1)), (2, (0, 1))] {
        compare(backend, "convolution", |place| {
            place.run([[2, 4, 10, 8], [6, 4, 3, 3]], |[input, weight], _| {
                let bias = weight.clone().reshape([6, 36]).sum_dim(1).reshape([6]);
                ops::conv2d(input, weight, bias, stride, padding)
            })
        });
    }
}

pub(crate) fn group_norms(backend: &Backend) {
    for (height, width, silu) in [(5, 7, false), (5, 7, true), (37, 41, true)] {
        compare(backend, "group norm", |place| {
            place.run([[2, 6, height, width], [2, 6, 1, 1]], |[input, factors], _| {
                let [weight, bias] = [0, 1].map(|index| factors.clone().narrow(0, index, 1).reshape([6]));
                ops::group_norm(input, weight, bias, GroupNormOptions { groups: 3, eps: EPS, silu })
            })
        });
    }
}
