//! The random numbers of a run.

use burn::tensor::{DType, Device, Tensor, TensorData};
use cogview4_model::TorchGenerator;

/// Noise as `torch.Generator` draws it: one generator for all pictures, or one for each.
pub(super) struct Noise {
    generators: Vec<TorchGenerator>,
}

impl Noise {
    pub(super) fn new(seeds: &[u64]) -> Self {
        Self { generators: seeds.iter().map(|&seed| TorchGenerator::new(seed)).collect() }
    }

    /// The next normal numbers.
    pub(super) fn draw(&mut self, shape: [usize; 4], device: &Device) -> Tensor<4> {
        let each = shape.iter().product::<usize>() / self.generators.len();
        let noise = self.generators.iter_mut().flat_map(|generator| generator.randn(each)).collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(noise, shape), (device, DType::F32))
    }
}
