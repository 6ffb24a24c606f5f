//! The sum of a parameter's gradients, where they were computed or in the host's memory, and the squares of it.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::bf16;
use rayon::prelude::*;

use super::{CHUNK, buffers::with_buffer};

/// What comes once is kept in its own type; sums are in f32.
#[derive(Debug, Clone)]
pub(super) enum Sum {
    Host(TensorData),
    /// Of one axis.
    Device(Tensor<1>),
}

impl PartialEq for Sum {
    fn eq(&self, other: &Self) -> bool {
        self.clone().into_data() == other.clone().into_data()
    }
}

impl Sum {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Host(data) => data.num_elements(),
            Self::Device(tensor) => tensor.dims()[0],
        }
    }

    pub(super) fn dtype(&self) -> DType {
        match self {
            Self::Host(data) => data.dtype(),
            Self::Device(tensor) => tensor.dtype(),
        }
    }

    /// In another type.
    pub(super) fn cast(self, dtype: DType) -> Self {
        match self {
            Self::Host(data) => Self::Host(data.convert_dtype(dtype)),
            Self::Device(tensor) => Self::Device(tensor.cast(dtype)),
        }
    }

    /// Its values times `weight`, in f32, and those of another.
    pub(super) fn weighted(self, weight: f32, other: Option<Self>) -> Self {
        match self {
            Self::Host(data) => {
                let shape = data.shape().clone();
                let mut values = to_f32(data);
                values.iter_mut().for_each(|value| *value *= weight);
                if let Some(other) = other {
                    values.iter_mut().zip(to_f32(other.into_data())).for_each(|(value, sum)| *value += sum);
                }
                Self::Host(TensorData::new(values, shape))
            }
            Self::Device(tensor) => {
                let weighted = tensor.cast(DType::F32) * weight;
                Self::Device(match other {
                    None => weighted,
                    Some(other) => other.into_tensor(&weighted.device()).cast(DType::F32) + weighted,
                })
            }
        }
    }

    /// The sum of the squares of its values.
    pub(super) fn square(&self) -> Square {
        match self {
            Self::Host(data) => {
                let square =
                    |values: &[f32]| values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
                let (values, count) = (values(data), data.num_elements().div_ceil(CHUNK));
                let of_chunk = |index| with_buffer(|buffer| square(values.chunk(index, 1.0, buffer)));
                Square::Host((0..count).into_par_iter().map(of_chunk).collect::<Vec<_>>().into_iter().sum())
            }
            Self::Device(tensor) => {
                let (length, whole) = (tensor.dims()[0], tensor.dims()[0] / CHUNK * CHUNK);
                let rows = [(0, whole, CHUNK), (whole, length - whole, length - whole)];
                let sums = rows.into_iter().filter(|(_, count, _)| *count > 0).map(|(start, count, width)| {
                    let rows = tensor.clone().narrow(0, start, count).reshape([count / width, width]);
                    rows.cast(DType::F32).square().sum_dim(1).reshape([count / width])
                });
                Square::Device(sums.collect())
            }
        }
    }

    pub(super) fn into_data(self) -> TensorData {
        match self {
            Self::Host(data) => data,
            Self::Device(tensor) => tensor.into_data(),
        }
    }

    pub(super) fn into_tensor(self, device: &Device) -> Tensor<1> {
        match self {
            Self::Host(data) => {
                let (dtype, length) = (data.dtype(), data.num_elements());
                Tensor::from_data(shaped(data, &[length]), (device, dtype))
            }
            Self::Device(tensor) => tensor,
        }
    }
}

/// A sum of squares.
#[derive(Debug)]
pub(super) enum Square {
    Host(f64),
    /// By parts of a fixed size, which are read when they are asked for.
    Device(Vec<Tensor<1>>),
}

/// The squares of norms of gradients, in the order of keys.
#[derive(Debug, Default)]
pub(crate) struct Norms(pub(super) BTreeMap<String, Square>);

impl Norms {
    /// Adds those of other keys.
    pub(crate) fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The norm of all together. What is on a device is read at once.
    pub(crate) fn joint(&self) -> f64 {
        let (mut sum, mut parts) = (0.0, Vec::new());
        for square in self.0.values() {
            match square {
                Square::Host(square) => sum += square,
                Square::Device(tensors) => parts.extend(tensors.iter().cloned()),
            }
        }
        if !parts.is_empty() {
            let parts = to_f32(Tensor::cat(parts, 0).into_data());
            sum += parts.into_iter().map(f64::from).sum::<f64>();
        }
        sum.sqrt()
    }
}

/// The gradient of a parameter, to be multiplied with a factor.
#[derive(Debug)]
pub(super) struct ScaledGradient {
    pub sum: Sum,
    pub factor: f32,
}

impl ScaledGradient {
    /// In f32, on a device.
    pub(super) fn into_tensor(self, device: &Device) -> Tensor<1> {
        let tensor = self.sum.into_tensor(device).cast(DType::F32);
        if self.factor == 1.0 { tensor } else { tensor * self.factor }
    }

    /// In the host's memory.
    pub(super) fn into_host(self) -> HostGradient {
        HostGradient { data: self.sum.into_data(), factor: self.factor }
    }
}

/// A gradient in the host's memory, in the type that it has.
#[derive(Debug)]
pub(super) struct HostGradient {
    data: TensorData,
    factor: f32,
}

impl HostGradient {
    pub(super) fn len(&self) -> usize {
        self.data.num_elements()
    }

    /// The values of a chunk of [`CHUNK`], in f32; the buffer is empty at first.
    pub(super) fn chunk<'a>(&'a self, index: usize, buffer: &'a mut Vec<f32>) -> &'a [f32] {
        values(&self.data).chunk(index, self.factor, buffer)
    }
}

/// The values of a gradient, in the type that it has.
enum Values<'a> {
    Full(&'a [f32]),
    Narrow(&'a [bf16]),
}

impl<'a> Values<'a> {
    /// A chunk of [`CHUNK`] times a factor, in f32; the buffer is empty at first.
    fn chunk<'b>(&self, index: usize, factor: f32, buffer: &'b mut Vec<f32>) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Self::Full(values) if factor == 1.0 => return part(values, index),
            Self::Full(values) => buffer.extend(part(values, index).iter().map(|value| value * factor)),
            Self::Narrow(values) => buffer.extend(part(values, index).iter().map(|value| value.to_f32() * factor)),
        }
        buffer
    }
}

fn part<T>(values: &[T], index: usize) -> &[T] {
    let start = index * CHUNK;
    &values[start..values.len().min(start + CHUNK)]
}

fn values(data: &TensorData) -> Values<'_> {
    match data.dtype() {
        DType::BF16 => Values::Narrow(data.as_slice().expect("invariant: of this type")),
        _ => Values::Full(data.as_slice().expect("invariant: gradients are f32 or bf16")),
    }
}

/// The same values in another shape.
pub(super) fn shaped(data: TensorData, shape: &[usize]) -> TensorData {
    let dtype = data.dtype();
    TensorData::from_bytes(data.into_bytes(), shape.to_vec(), dtype)
}

fn to_f32(data: TensorData) -> Vec<f32> {
    data.convert_dtype(DType::F32).try_into_vec().expect("invariant: gradients are f32")
}
