//! The parts of a block at the released model's sizes, 512x512 pixels and 64 tokens of text, forward, and forward with
//! backward: `COGVIEW4_DEVICE=libtorch COGVIEW4_DTYPE=bfloat16 cargo bench -p cogview4-model --features libtorch`.

use burn::tensor::{DType, Device, Distribution, Tensor};
use cogview4_model::{
    ComputeDtype, DeviceSpec,
    ops::{self, AttentionMask, GroupNormOptions, RotaryTable},
};
use criterion::{Criterion, criterion_group, criterion_main};

const TOKENS: usize = 64 + 32 * 32;
const HEADS: usize = 32;
const HEAD_DIM: usize = 128;
const WIDTH: usize = HEADS * HEAD_DIM;
/// Tokens of a prompt.
const PROMPT: usize = 64;
/// Channels, height and width of a picture in the VAE's last blocks, at 256x256 pixels.
const CHANNELS: usize = 128;
const SIDE: usize = 256;
const EPS: f64 = 1e-5;

/// Where the parts are computed.
struct Place {
    name: String,
    device: Device,
    dtype: DType,
}

impl Place {
    /// As the environment says; the pure-Rust CPU in f32 where it says nothing.
    fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let device = variable("COGVIEW4_DEVICE").map_or(DeviceSpec::default(), |name| name.parse().expect("a device"));
        let dtype = variable("COGVIEW4_DTYPE").map_or(ComputeDtype::default(), |name| name.parse().expect("a type"));
        let name = format!("{device}, {dtype:?}").to_lowercase();
        Self { name, device: device.open().expect("the device"), dtype: dtype.dtype() }
    }

    fn normal<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&self.device, self.dtype))
    }

    /// Times an operation of so many tensors.
    fn bench<const D: usize, const E: usize, const N: usize>(
        &self,
        criterion: &mut Criterion,
        what: &str,
        shapes: [[usize; D]; N],
        operation: impl Fn([Tensor<D>; N], bool) -> Tensor<E>,
    ) {
        let inputs = shapes.map(|shape| self.normal(shape));
        let mut group = criterion.benchmark_group(format!("{what}, {}", self.name));
        group.sample_size(10);
        group.bench_function("forward", |bencher| {
            bencher.iter(|| finish(operation(inputs.clone(), false)));
        });
        group.bench_function("forward and backward", |bencher| {
            bencher.iter(|| {
                let leaves = inputs.clone().map(|input| Tensor::from_inner(input).require_grad());
                let gradients = operation(leaves.clone(), true).sum().backward();
                leaves.into_iter().for_each(|leaf| finish(leaf.grad(&gradients).expect("a gradient")));
            });
        });
        group.finish();
    }
}

/// Waits until a tensor is computed.
fn finish<const D: usize>(tensor: Tensor<D>) {
    let _: f32 = tensor.slice(std::array::from_fn::<_, D, _>(|_| 0..1)).cast(DType::F32).into_scalar();
}

fn parts(criterion: &mut Criterion) {
    let place = Place::from_environment();
    let tokens = [1, TOKENS, WIDTH];
    let heads = [1, HEADS, TOKENS, HEAD_DIM];
    place.bench(criterion, "attention", [heads; 3], |[query, key, value], _| {
        ops::attention(query, key, value, &AttentionMask::None)
    });
    let angles: Vec<f32> = (0..TOKENS * HEAD_DIM / 2).map(|index| index as f32 * 0.37).collect();
    let table = RotaryTable::from_angles(&angles, HEAD_DIM / 2, place.dtype, &place.device);
    place.bench(criterion, "norm and rotation", [[1, TOKENS, HEADS, HEAD_DIM]], |[input], is_autodiff| {
        let RotaryTable { cos, sin } = table.clone();
        let table = match is_autodiff {
            true => RotaryTable { cos: Tensor::from_inner(cos), sin: Tensor::from_inner(sin) },
            false => RotaryTable { cos, sin },
        };
        ops::norm_rotate(input, &table, EPS)
    });
    let one = [1, 1, WIDTH];
    place.bench(criterion, "modulation", [tokens, one, one], |[input, scale, shift], _| {
        ops::modulate(input, scale, shift, 0, EPS)
    });
    place.bench(criterion, "gated addition", [tokens, tokens, one], |[input, output, gate], _| {
        ops::gated_add(input, output, gate, 0)
    });
    let prompt = [1, HEADS, PROMPT, HEAD_DIM];
    place.bench(criterion, "attention of a prompt", [prompt; 3], |[query, key, value], _| {
        ops::attention(query, key, value, &AttentionMask::Causal)
    });
    place.bench(criterion, "gelu", [[1, TOKENS, 4 * WIDTH]], |[input], _| ops::gelu_tanh(input));
    place.bench(criterion, "linear", [[TOKENS, WIDTH], [WIDTH, WIDTH], [1, WIDTH]], |[input, weight, bias], _| {
        ops::linear(input, weight, Some(bias.reshape([WIDTH])))
    });
    pictures(criterion, &place);
}

/// Where the VAE is largest.
fn pictures(criterion: &mut Criterion, place: &Place) {
    let [picture, kernel, bias] = [[1, CHANNELS, SIDE, SIDE], [CHANNELS, CHANNELS, 3, 3], [1, CHANNELS, 1, 1]];
    place.bench(criterion, "convolution", [picture, kernel, bias], |[input, weight, bias], _| {
        ops::conv2d(input, weight, bias.reshape([CHANNELS]), 1, (1, 1))
    });
    place.bench(criterion, "group norm", [picture, bias, bias], |[input, weight, bias], _| {
        let options = GroupNormOptions { groups: 32, eps: EPS, silu: true };
        ops::group_norm(input, weight.reshape([CHANNELS]), bias.reshape([CHANNELS]), options)
    });
    place.bench(criterion, "silu", [picture], |[input], _| ops::silu(input));
}

criterion_group!(benches, parts);
criterion_main!(benches);
