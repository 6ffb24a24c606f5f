//! Codes against their values, and products of them against the composed operation.

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use proptest::prelude::*;

use super::*;
use crate::TorchGenerator;

fn normal<const D: usize>(seed: u64, shape: [usize; D]) -> TensorData {
    TensorData::new(TorchGenerator::new(seed).randn(shape.iter().product()), shape).convert_dtype(DType::F32)
}

fn values(data: TensorData) -> Vec<f64> {
    data.convert_dtype(DType::F64).try_into_vec().unwrap()
}

/// Of a difference and of what it is relative to.
fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let difference = square(&mut found.iter().zip(expected).map(|(found, expected)| found - expected));
    (difference / square(&mut expected.iter().copied())).sqrt()
}

#[test]
fn normal_values_lose_half_a_percent() {
    let data = normal(1, [64, 1024]);
    for dtype in [DType::F32, DType::BF16] {
        let data = data.clone().convert_dtype(dtype);
        let matrix = QuantizedMatrix::quantize(&data).unwrap();
        let error = relative_error(&values(matrix.to_data(DType::F32)), &values(data));
        assert!((0.004..0.0055).contains(&error), "{error}");
        assert_eq!(matrix.bytes(), 64 * 1024 / 32 * 34);
    }
}

#[test]
fn blocks_of_zeros_and_short_blocks() {
    let mut given = vec![0.0_f32; 3 * 37];
    given[37 + 33] = -2.0; // the only value of a short block
    given[2 * 37 + 1] = 1e-6; // a scale that is 0 if it is rounded to the nearest
    let matrix = QuantizedMatrix::quantize(&TensorData::new(given.clone(), [3, 37])).unwrap();
    let found: Vec<f32> = matrix.to_data(DType::F32).try_into_vec().unwrap();
    for (index, (found, given)) in found.into_iter().zip(given).enumerate() {
        assert!((found - given).abs() <= 5e-4 * given.abs() + 3e-8, "{index}: {found} {given}");
    }
    assert_eq!(matrix.scales().len(), 3 * 2);
    assert!(matrix.codes()[..37].iter().all(|&code| code == 0) && matrix.scales()[..2] == [f16::ZERO; 2]);
}

#[test]
fn what_has_no_code_is_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e7] {
        let mut given = vec![1.0_f32; 5 * 40];
        given[3 * 40 + 35] = bad;
        let error = QuantizedMatrix::quantize(&TensorData::new(given, [5, 40])).unwrap_err().to_string();
        assert!(error.contains("[3, 35]"), "{error}");
    }
    let error = QuantizedMatrix::quantize(&TensorData::new(vec![1_i64; 4], [2, 2])).unwrap_err().to_string();
    assert!(error.contains("I64"), "{error}");
    let error = QuantizedMatrix::quantize(&TensorData::new(vec![1.0_f32; 4], [4])).unwrap_err().to_string();
    assert!(error.contains("[4]"), "{error}");
}

#[test]
fn memory_may_be_borrowed_from_anywhere() {
    let matrix = QuantizedMatrix::quantize(&normal(2, [7, 50])).unwrap();
    // One of both places is odd.
    let codes: Vec<u8> = [&[0], matrix.codes_bytes()].concat();
    for shift in [0, 1] {
        let scales: Vec<u8> = [&vec![0; shift], matrix.scales_bytes()].concat();
        let part = |bytes: Vec<u8>, shift| -> SharedBytes { Arc::new(Part(bytes, shift)) };
        let again = QuantizedMatrix::new(part(codes.clone(), 1), part(scales, shift), [7, 50]).unwrap();
        assert_eq!(again.to_data(DType::F32), matrix.to_data(DType::F32));
    }
    let error = QuantizedMatrix::new(shared(vec![0_i8; 350]), shared(vec![f16::ZERO; 13]), [7, 50]).unwrap_err();
    assert!(error.to_string().contains("26"), "{error}");
}

struct Part(Vec<u8>, usize);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.0[self.1..]
    }
}

/// Output of a product with its weight in 8 bits, and with those values in f64.
fn outputs(rows: usize, matrix: &QuantizedMatrix, dtype: DType, has_bias: bool) -> [Vec<f64>; 2] {
    let ([columns, width], device) = (matrix.dims(), Device::flex());
    let narrow = |data: TensorData| data.convert_dtype(dtype);
    let (input, bias) = (narrow(normal(3, [1, rows, width])), narrow(normal(4, [columns])));
    let tensor = |data: &TensorData, dtype| Tensor::from_data(data.clone().convert_dtype(dtype), (&device, dtype));
    let of_bias = |dtype| -> Option<Tensor<1>> {
        has_bias.then(|| Tensor::from_data(bias.clone().convert_dtype(dtype), (&device, dtype)))
    };
    let found: Tensor<3> = quantized_linear(tensor(&input, dtype), matrix, of_bias(dtype));
    let expected = linear(tensor(&input, DType::F64), matrix.to_tensor(DType::F64, &device), of_bias(DType::F64));
    [found, expected].map(|tensor| values(tensor.into_data()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn products_are_those_of_the_values(
        rows in 1..40_usize, columns in 1..90_usize, width in 1..700_usize, is_narrow: bool, has_bias: bool, seed: u64,
    ) {
        let matrix = QuantizedMatrix::quantize(&normal(seed, [columns, width])).unwrap();
        let dtype = if is_narrow { DType::BF16 } else { DType::F32 };
        let [found, expected] = outputs(rows, &matrix, dtype, has_bias);
        // Where pairs in bfloat16 are multiplied, what is widened is rounded to it too.
        let tolerance = if is_narrow { 6e-3 } else { 1e-5 };
        let error = relative_error(&found, &expected);
        prop_assert!(error <= tolerance || expected.iter().all(|value| value.abs() < 1e-3), "{}", error);
    }

    #[test]
    fn codes_are_the_nearest(given in prop::collection::vec(-1e3..1e3_f32, 1..200), exponent in -20..13_i32) {
        let given: Vec<f32> = given.into_iter().map(|value| value * 2.0_f32.powi(exponent)).collect();
        let matrix = QuantizedMatrix::quantize(&TensorData::new(given.clone(), [1, given.len()])).unwrap();
        let found: Vec<f32> = matrix.to_data(DType::F32).try_into_vec().unwrap();
        for (index, (found, given)) in found.into_iter().zip(&given).enumerate() {
            let scale = matrix.scales()[index / BLOCK_VALUES].to_f32();
            prop_assert!((found - given).abs() <= scale * 0.51 + 1e-7 * given.abs(), "{} {} {}", found, given, scale);
        }
        let narrow: Vec<bf16> = matrix.to_data(DType::BF16).try_into_vec().unwrap();
        let wide: Vec<f32> = matrix.to_data(DType::F32).try_into_vec().unwrap();
        prop_assert!(narrow.into_iter().zip(wide).all(|(narrow, wide)| narrow == bf16::from_f32(wide)));
    }
}
