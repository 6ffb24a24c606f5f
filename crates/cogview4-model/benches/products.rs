//! Linear layers in bfloat16, by each kernel that the machine has, beside those in f32: forward, forward with weights
//! in 8 bits, and forward with both gradients, at the sizes of the released model. CPU seconds of the process,
//! everything in turn, the least of some runs: `cargo bench -p cogview4-model --bench products -- 1088`, where the last
//! word picks sizes; `COGVIEW4_DEVICE=libtorch cargo bench -p cogview4-model --features libtorch --bench products` on
//! libtorch.

#![expect(clippy::print_stdout, reason = "a table")]

use std::io::Write;

use burn::tensor::{DType, Device, Distribution, Tensor};
use cogview4_model::{
    DeviceSpec,
    ops::{self, ProductKernel, QuantizedMatrix},
};

/// Rows, width of the input, width of the output: 512x512 pixels and 64 tokens of text, prompts of 64 and 16 tokens in
/// the text encoder, and the modulations of a block for guidance.
const SIZES: [[usize; 3]; 6] = [
    [1088, 4096, 4096],
    [1088, 4096, 16384],
    [1088, 16384, 4096],
    [64, 4096, 27392],
    [16, 13696, 4096],
    [2, 1024, 49152],
];
const RUNS: usize = 3;

struct Layer {
    input: Tensor<2>,
    weight: Tensor<2>,
    codes: QuantizedMatrix,
    bias: Tensor<1>,
}

impl Layer {
    fn new([rows, depth, columns]: [usize; 3], dtype: DType, device: &Device) -> Self {
        let (options, values) = ((device, dtype), Distribution::Uniform(-1.0, 1.0));
        let weight: Tensor<2> = Tensor::random([columns, depth], values, options);
        Self {
            input: Tensor::random([rows, depth], values, options),
            codes: QuantizedMatrix::quantize(&weight.to_data()).expect("finite values"),
            weight,
            bias: Tensor::random([columns], values, options),
        }
    }

    fn forward(&self) {
        finish(ops::linear(self.input.clone(), self.weight.clone(), Some(self.bias.clone())));
    }

    fn forward_in_8_bits(&self) {
        finish(ops::quantized_linear(self.input.clone(), &self.codes, Some(self.bias.clone())));
    }

    fn forward_and_backward(&self) {
        let [input, weight] =
            [&self.input, &self.weight].map(|tensor| Tensor::from_inner(tensor.clone()).require_grad());
        let output = ops::linear(input.clone(), weight.clone(), Some(Tensor::from_inner(self.bias.clone())));
        let gradients = output.sum().backward();
        for leaf in [input, weight] {
            finish(leaf.grad(&gradients).expect("a gradient"));
        }
    }
}

/// Waits until a tensor is computed.
fn finish(tensor: Tensor<2>) {
    let _: f32 = tensor.slice([0..1, 0..1]).cast(DType::F32).into_scalar();
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "the clock of the process")]
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(not(unix))]
fn cpu_seconds() -> f64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs_f64()
}

/// The least time of each, which take turns.
fn time(what: &[Box<dyn Fn() + '_>]) -> Vec<f64> {
    let mut least = vec![f64::INFINITY; what.len()];
    for run in 0..=RUNS {
        for (what, least) in what.iter().zip(&mut least) {
            let start = cpu_seconds();
            what();
            // The first touches new memory.
            if run > 0 {
                *least = least.min(cpu_seconds() - start);
            }
        }
    }
    least
}

/// Its name, what is run in f32 and in bfloat16, and the products in it.
type Direction = (&'static str, [fn(&Layer); 2], usize);

fn main() {
    let device = std::env::var("COGVIEW4_DEVICE").map_or(DeviceSpec::default(), |name| name.parse().expect("a device"));
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let kernels: Vec<_> = ProductKernel::ALL.into_iter().filter(|kernel| kernel.is_there()).collect();
    println!("{device}: CPU seconds in f32, and what bfloat16 takes of that");
    let device = device.open().expect("the device");
    for size @ [rows, depth, columns] in SIZES {
        let label = format!("{rows} x {depth} -> {columns}");
        if !words.iter().all(|word| label.contains(word)) {
            continue;
        }
        let [wide, narrow] = &[DType::F32, DType::BF16].map(|dtype| Layer::new(size, dtype, &device));
        let directions: [Direction; 3] = [
            ("forward", [Layer::forward; 2], 1),
            ("forward, int8", [Layer::forward, Layer::forward_in_8_bits], 1),
            ("forward and backward", [Layer::forward_and_backward; 2], 3),
        ];
        for (direction, [of_wide, of_narrow], products) in directions {
            let mut runs: Vec<Box<dyn Fn()>> = vec![Box::new(|| of_wide(wide))];
            runs.extend(kernels.iter().map(|kernel| -> Box<dyn Fn()> {
                Box::new(|| {
                    kernel.set_limit();
                    of_narrow(narrow);
                })
            }));
            let times = time(&runs);
            let rate = (2 * products * rows * depth * columns) as f64 / times[0] / 1e9;
            print!("{label}, {direction}: {:.4} s ({rate:.0} GFLOP/s)", times[0]);
            kernels.iter().zip(&times[1..]).for_each(|(kernel, time)| print!("; {kernel:?} {:.2}", time / times[0]));
            println!();
            std::io::stdout().flush().expect("standard output");
        }
    }
}
