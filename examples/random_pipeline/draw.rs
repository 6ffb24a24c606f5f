//! The weights: normal numbers, spread so that activations neither grow nor fade from layer to layer.

use burn::tensor::{DType, TensorData, bf16};
use cogview4::model::TorchGenerator;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use rayon::prelude::*;

/// Normal numbers that all weights are picked from, each and its negative, by 16 bits.
const PICKED_FROM: usize = 1 << 15;
/// Values that a thread makes at a time.
const CHUNK: usize = 1 << 20;
/// Bits of one value, from the words of 32 that a generator counts in.
const VALUES_A_WORD: usize = 2;
/// Spread of biases, and of the weights of norms around 1.
const SMALL: f32 = 0.02;

/// Draws weights by seed.
pub(crate) struct Drawer {
    seed: u64,
    normal: Vec<f32>,
}

impl Drawer {
    pub(crate) fn new(seed: u64) -> Self {
        let mut normal = TorchGenerator::new(0).randn(PICKED_FROM);
        // Their mean is 0, so that sums over many of them do not drift.
        normal.extend_from_within(..);
        normal[PICKED_FROM..].iter_mut().for_each(|value| *value = -*value);
        Self { seed, normal }
    }

    /// The values of a tensor. Each tensor has a stream of its own, so that threads change nothing.
    pub(crate) fn draw(&self, stream: u64, key: &str, shape: &[usize], dtype: DType) -> TensorData {
        let (mean, spread) = distribution(key, shape);
        let table = self.normal.iter().map(|value| mean + spread * value);
        let count = shape.iter().product();
        match dtype {
            DType::BF16 => TensorData::new(
                self.values(stream, count, &table.map(bf16::from_f32).collect::<Vec<_>>()),
                shape.to_vec(),
            ),
            _ => TensorData::new(self.values(stream, count, &table.collect::<Vec<f32>>()), shape.to_vec()),
        }
    }

    fn values<T: Copy + Default + Send + Sync>(&self, stream: u64, count: usize, table: &[T]) -> Vec<T> {
        let mut values = vec![T::default(); count];
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(index, values)| {
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            random.set_stream(stream);
            random.set_word_pos((index * (CHUNK / VALUES_A_WORD)) as u128);
            let mut bytes = [0; 4096];
            for values in values.chunks_mut(bytes.len() / 2) {
                random.fill_bytes(&mut bytes);
                for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *value = table[usize::from(u16::from_le_bytes(*bytes))];
                }
            }
        });
        values
    }
}

/// Mean and standard deviation: one over the root of what a unit sums, so that its output is as large as its inputs.
fn distribution(key: &str, shape: &[usize]) -> (f32, f32) {
    match shape {
        [_] if key.ends_with(".bias") => (0.0, SMALL),
        [_] => (1.0, SMALL),
        _ if key == "embed_tokens.weight" => (0.0, 1.0),
        _ => (0.0, (shape[1..].iter().product::<usize>() as f32).sqrt().recip()),
    }
}
