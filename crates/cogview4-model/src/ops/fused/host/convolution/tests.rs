//! Each kernel's convolutions and gradients against the definition, in f64.

use half::bf16;
use proptest::prelude::*;
use rand_mt::Mt;

use super::*;

const KERNELS: [ProductKernel; 2] = [ProductKernel::Avx2, ProductKernel::Avx512];

/// A convolution of random values.
struct Problem {
    batch: usize,
    /// To, from.
    channels: [usize; 2],
    height: usize,
    width: usize,
    input: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    grad: Vec<f32>,
}

impl Problem {
    fn new(batch: usize, channels @ [to, from]: [usize; 2], height: usize, width: usize, seed: u32) -> Self {
        let mut rng = Mt::new(seed);
        let mut values = |count: usize| -> Vec<f32> {
            // On bfloat16's grid, so that both types begin with the same.
            let value = |_| bf16::from_f32(rng.next_u32() as f32 / u32::MAX as f32 - 0.5).to_f32();
            (0..count).map(value).collect()
        };
        let pixels = height * width;
        let (input, weight) = (values(batch * from * pixels), values(to * from * 9));
        let (bias, grad) = (values(to), values(batch * to * pixels));
        Self { batch, channels, height, width, input, weight, bias, grad }
    }

    fn tiles(&self) -> Tiles {
        Tiles::new(self.batch, self.height, self.width)
    }

    /// Calls `visit` with the indices of all products of one of the input, a tap and one of the output.
    fn products(&self, mut visit: impl FnMut([usize; 3])) {
        let (height, width, [to, from]) = (self.height, self.width, self.channels);
        for (sample, output, input, tap) in (0..self.batch).flat_map(|sample| {
            (0..to).flat_map(move |output| {
                (0..from).flat_map(move |input| (0..9).map(move |tap| (sample, output, input, tap)))
            })
        }) {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let (down, right) = (y + tap / 3, x + tap % 3);
                if (1..=height).contains(&down) && (1..=width).contains(&right) {
                    let pixel = |picture: usize, y: usize, x: usize| (picture * height + y) * width + x;
                    visit([
                        pixel(sample * from + input, down - 1, right - 1),
                        (output * from + input) * 9 + tap,
                        pixel(sample * to + output, y, x),
                    ]);
                }
            }
        }
    }

    /// Output, and gradients of input and weight.
    fn expected(&self) -> [Vec<f64>; 3] {
        let mut output = vec![0.0; self.grad.len()];
        for (index, output) in output.iter_mut().enumerate() {
            *output = f64::from(self.bias[index / (self.height * self.width) % self.channels[0]]);
        }
        let (mut of_input, mut of_weight) = (vec![0.0; self.input.len()], vec![0.0; self.weight.len()]);
        self.products(|[input, tap, place]| {
            let [x, w, g] = [self.input[input], self.weight[tap], self.grad[place]].map(f64::from);
            output[place] += x * w;
            of_input[input] += g * w;
            of_weight[tap] += g * x;
        });
        [output, of_input, of_weight]
    }

    fn found<T: Value>(&self, kernel: ProductKernel) -> [Vec<f32>; 3] {
        let [to, from] = self.channels;
        let of = |values: &[f32]| {
            let mut narrow = vec![T::zeroed(); values.len()];
            T::narrow(values, &mut narrow);
            narrow
        };
        let [input, weight, grad] = [&self.input, &self.weight, &self.grad].map(|values| of(values));
        let mut found = [vec![T::zeroed(); grad.len()], vec![T::zeroed(); input.len()], weight.clone()];
        let forward = (&weight[..], [to, from], Direction::Forward);
        convolve_by(kernel, (&input, self.tiles()), forward, &self.bias, &mut found[0]);
        let backward = (&weight[..], [from, to], Direction::Backward);
        convolve_by(kernel, (&grad, self.tiles()), backward, &vec![0.0; from], &mut found[1]);
        backward::filter_gradients([&input, &grad], self.tiles(), [to, from], kernel, &mut found[2]);
        found.map(|values| {
            let mut wide = vec![0.0; values.len()];
            T::widen(&values, &mut wide);
            wide
        })
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let expected = self.expected();
        for kernel in KERNELS.into_iter().filter(|&kernel| wide::is_there(kernel)) {
            for (bound, found) in [(3e-6, self.found::<f32>(kernel)), (4e-3, self.found::<bf16>(kernel))] {
                for (which, (expected, found)) in expected.iter().zip(&found).enumerate() {
                    let largest = expected.iter().fold(0.5_f64, |largest, value| largest.max(value.abs()));
                    for (at, (expected, &found)) in expected.iter().zip(found).enumerate() {
                        let error = (expected - f64::from(found)).abs() / largest;
                        prop_assert!(error < bound, "{kernel:?}, {which}, at {at}: {error:e}");
                    }
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn convolutions_of_every_size(
        batch in 1..3_usize, to in 1..40_usize, from in 1..20_usize, height in 1..19_usize, width in 1..75_usize, seed: u32,
    ) {
        Problem::new(batch, [to, from], height, width, seed).check()?;
    }
}

#[test]
fn a_convolution_of_several_chunks_and_tasks() {
    Problem::new(2, [33, 300], 21, 83, 1).check().unwrap();
}
