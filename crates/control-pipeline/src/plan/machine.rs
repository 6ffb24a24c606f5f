//! What the machine has: memory, threads, and how fast it computes and reads.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    time::{Duration, Instant},
};

use burn::tensor::{DType, Device, Distribution, Tensor};
use cogview4_model::{
    ComputeDtype, DeviceSpec,
    activations::ActivationSettings,
    memory::{anonymous_bytes, available_bytes},
    ops,
};

/// Rows of the product that is measured.
const ROWS: usize = 256;
/// Channels and side of the convolution that is measured.
const CHANNELS: usize = 128;
const SIDE: usize = 96;
/// Multiplications and additions.
const FLOPS: f64 = 2.0;
/// A measure is repeated so long.
const MEASURED: Duration = Duration::from_millis(120);
/// Bytes of a file that are read to see how fast that is.
const READ: usize = 64 << 20;
/// What the C library's allocator keeps of what was freed, for each thread.
const HEAP_BYTES: u64 = 20 << 20;

/// What the machine has.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Bytes that can still be taken, where the system tells.
    pub available_bytes: Option<u64>,
    /// Bytes that the process holds already.
    pub held_bytes: u64,
    /// Threads that compute.
    pub threads: usize,
    /// Rates by number type, those that were measured.
    pub rates: Vec<(ComputeDtype, Rates)>,
    /// Bytes a second that files are read with, where it was measured.
    pub read_rate: Option<f64>,
}

/// How fast it computes, in floating-point operations a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Products of linear layers.
    pub products: f64,
    /// Convolutions.
    pub convolutions: f64,
}

impl Machine {
    /// This machine; rates are not measured.
    pub fn here() -> Self {
        Self {
            available_bytes: available_bytes(),
            held_bytes: anonymous_bytes(),
            threads: ActivationSettings::new(ComputeDtype::default()).threads,
            rates: Vec::new(),
            read_rate: None,
        }
    }

    /// Bytes of the host that the process may have in all.
    pub fn limit(&self) -> Option<u64> {
        self.available_bytes.map(|available| available.saturating_add(self.held_bytes))
    }

    /// What the process holds whatever it draws.
    pub fn program_bytes(&self) -> u64 {
        self.held_bytes + HEAP_BYTES * self.threads as u64
    }

    /// The rates of a number type, where they were measured.
    pub fn rates(&self, dtype: ComputeDtype) -> Option<Rates> {
        self.rates.iter().find(|(measured, _)| *measured == dtype).map(|(_, rates)| *rates)
    }

    /// Measures products of the model's width and convolutions; nothing where the device does not open.
    pub fn measure(&mut self, device: DeviceSpec, dtype: ComputeDtype, width: usize) {
        let Ok(device) = device.open() else { return };
        if self.rates(dtype).is_none() {
            let (products, convolutions) = (product_rate(&device, dtype, width), convolution_rate(&device, dtype));
            self.rates.push((dtype, Rates { products, convolutions }));
        }
    }

    /// Measures how fast a file is read.
    pub(super) fn measure_reading(&mut self, file: Option<&Path>) {
        self.read_rate = file.and_then(read_rate);
    }
}

fn product_rate(device: &Device, dtype: ComputeDtype, width: usize) -> f64 {
    let random =
        |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Uniform(-1.0, 1.0), (device, dtype.dtype()));
    let (input, weight) = (random([ROWS, width]), random([width, width]));
    let bias = Tensor::<1>::zeros([width], (device, dtype.dtype()));
    FLOPS
        * (ROWS * width * width) as f64
        * a_second(|| wait(ops::linear(input.clone(), weight.clone(), Some(bias.clone()))))
}

fn convolution_rate(device: &Device, dtype: ComputeDtype) -> f64 {
    let random =
        |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), (device, dtype.dtype()));
    let (input, weight) = (random([1, CHANNELS, SIDE, SIDE]), random([CHANNELS, CHANNELS, 3, 3]));
    let bias = Tensor::<1>::zeros([CHANNELS], (device, dtype.dtype()));
    FLOPS
        * (CHANNELS * CHANNELS * 9 * SIDE * SIDE) as f64
        * a_second(|| wait(ops::conv2d(input.clone(), weight.clone(), bias.clone(), 1, (1, 1))))
}

/// Until a value of the result is here, it may not be computed.
fn wait<const D: usize>(result: Tensor<D>) {
    let count = result.shape().num_elements();
    let _: f32 = result.reshape([count]).narrow(0, 0, 1).cast(DType::F32).into_scalar();
}

/// How often a second something is done, after it was done once.
fn a_second(work: impl Fn()) -> f64 {
    work();
    let (start, mut count) = (Instant::now(), 0.0);
    while start.elapsed() < MEASURED {
        work();
        count += 1.0;
    }
    count / start.elapsed().as_secs_f64()
}

/// Bytes a second of a part in the middle of a file; what is in the system's cache counts as it is. Small files tell
/// nothing.
fn read_rate(path: &Path) -> Option<f64> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    if length < READ as u64 {
        return None;
    }
    file.seek(SeekFrom::Start(length / 2)).ok()?;
    let mut part = vec![0; READ];
    let start = Instant::now();
    let mut count = 0;
    while count < READ {
        match file.read(&mut part[count..]).ok()? {
            0 => break,
            more => count += more,
        }
    }
    (count > 0).then(|| count as f64 / start.elapsed().as_secs_f64())
}
