//! The optimiser on the device against that of the host.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use cogview4::{
    model::{DeviceSpec, TorchGenerator, nn::Linear},
    trainer::{AdamW, AdamWConfig, Gradients, StateOptions, StatePlace},
};

use crate::backend::Backend;

const FEATURES: [usize; 2] = [96, 400];
/// Bound on the relative difference of each parameter after the first step, and after all.
const TOLERANCES: [f64; 2] = [1e-6, 2e-5];

/// Parameters after each of eight steps.
fn steps(device: &Device, place: StatePlace) -> Vec<[Tensor<1>; 2]> {
    let normal = |seed, count: usize| Tensor::<1>::from_data(TorchGenerator::new(seed).randn(count).as_slice(), device);
    let mut layer = Linear::init(FEATURES[0], FEATURES[1], device);
    let [input, output] = FEATURES;
    layer.weight = layer.weight.map(|_| normal(1, input * output).reshape([output, input]) * 0.1);
    layer.bias = layer.bias.map(|bias| bias.map(|_| normal(2, output)));
    let options = StateOptions { place, ..StateOptions::default() };
    let is_on_device = matches!(options.place, StatePlace::Device(_));
    let mut optimizer = AdamW::with_options(AdamWConfig::default(), options).unwrap();
    let mut after = Vec::new();
    for number in 1..=8 {
        let recorded = layer.clone().train();
        // The gradient of a product is its other factor, on every backend the same.
        let other = |seed, count| Tensor::from_inner(normal(seed, count));
        let of_weight = recorded.weight.val() * other(10 + number, input * output).reshape([output, input]);
        let of_bias = recorded.bias.as_ref().unwrap().val() * other(20 + number, output);
        let loss = of_weight.sum() + of_bias.sum();
        let mut gradients = if is_on_device { Gradients::on_device() } else { Gradients::default() };
        gradients.take(&recorded, loss.backward(), 1.0);
        drop(recorded);
        gradients.clip_norm(1.0);
        let is_finite;
        (layer, is_finite) = optimizer.step(number as usize, 1e-3, layer, gradients).unwrap();
        assert!(is_finite);
        let bias = layer.bias.as_ref().unwrap().val();
        after.push([layer.weight.val().reshape([input * output]), bias]);
    }
    after
}

pub(crate) fn steps_on_the_device(backend: &Backend) {
    let reference = DeviceSpec::Flex.open().unwrap();
    let expected = steps(&reference, StatePlace::Memory);
    let found = steps(&backend.device, StatePlace::Device(backend.device.clone()));
    for (number, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        for (found, expected) in found.into_iter().zip(expected) {
            let values: Vec<f32> = found.into_data().try_into_vec().unwrap();
            let found = Tensor::<1>::from_data(values.as_slice(), &reference);
            let what = format!("{} values after step {}", values.len(), number + 1);
            backend.assert_close(&what, found, expected, TOLERANCES[usize::from(number > 0)]);
        }
    }
}
