//! Convolutions of the unit against the definition, in f64.

use proptest::prelude::*;
use rand_mt::Mt;

use super::{
    super::tests::{can_be_tested, values},
    *,
};

/// Compares every `stride`-th value with the definition.
fn check(shape: ConvShape, direction: Direction, seed: u32, step: usize) {
    if !can_be_tested() {
        return;
    }
    let ConvShape { batch, from, to, input: [height, width], output: [rows, columns], taps, stride, padding } = shape;
    let mut rng = Mt::new(seed);
    let input = values(&mut rng, batch * from * height * width);
    let weights = values(&mut rng, to * from * taps * taps);
    let bias: Vec<f32> = values(&mut rng, to).into_iter().map(f32::from).collect();
    let mut output = vec![bf16::NAN; batch * to * rows * columns];
    convolve(&input, (&weights, direction), &bias, shape, &mut output);
    for (index, found) in output.into_iter().enumerate().step_by(step) {
        let (plane, y, x) = (index / (rows * columns), index / columns % rows, index % columns);
        let (sample, channel) = (plane / to, plane % to);
        let mut expected = f64::from(bias[channel]);
        for (other, tap) in (0..from).flat_map(|other| (0..taps * taps).map(move |tap| (other, tap))) {
            let (down, right) = (y * stride + tap / taps, x * stride + tap % taps);
            if (padding..padding + height).contains(&down) && (padding..padding + width).contains(&right) {
                let weight = match direction {
                    Direction::Forward => (channel * from + other) * taps * taps + tap,
                    Direction::Backward => (other * to + channel) * taps * taps + taps * taps - 1 - tap,
                };
                let pixel = ((sample * from + other) * height + down - padding) * width + right - padding;
                expected += input[pixel].to_f64() * weights[weight].to_f64();
            }
        }
        // Half a unit in the last place of bfloat16, and what f32 loses on the way.
        let tolerance = expected.abs() / 256.0 + 1e-5;
        assert!((found.to_f64() - expected).abs() <= tolerance, "{shape:?} {index}: {found} {expected}");
    }
}

/// Compares every `step`-th gradient of a filter with the definition.
fn check_gradient([batch, from, to]: [usize; 3], [height, width]: [usize; 2], seed: u32, step: usize) {
    if !can_be_tested() {
        return;
    }
    let shape = ConvShape::new([batch, from, to], [height, width], 3, 1, 1);
    let mut rng = Mt::new(seed);
    let [input, grad] = [from, to].map(|channels| values(&mut rng, batch * channels * height * width));
    let mut output = vec![bf16::NAN; to * from * 9];
    filter_gradients([&input, &grad], shape, &mut output);
    for (index, found) in output.into_iter().enumerate().step_by(step) {
        let (filter, channel, tap) = (index / 9 / from, index / 9 % from, index % 9);
        let (mut expected, mut size) = (0.0, 0.0);
        for (sample, y, x) in (0..batch).flat_map(|b| (0..height).flat_map(move |y| (0..width).map(move |x| (b, y, x))))
        {
            let (down, right) = (y + tap / 3, x + tap % 3);
            if (1..=height).contains(&down) && (1..=width).contains(&right) {
                let of_grad = grad[((sample * to + filter) * height + y) * width + x].to_f64();
                let of_input = input[((sample * from + channel) * height + down - 1) * width + right - 1].to_f64();
                expected += of_grad * of_input;
                size += (of_grad * of_input).abs();
            }
        }
        // Half a unit in the last place of bfloat16, and what f32 loses on the way.
        let tolerance = expected.abs() / 256.0 + size * 1e-6;
        assert!((found.to_f64() - expected).abs() <= tolerance, "{shape:?} {index}: {found} {expected}");
    }
}

#[test]
fn gradients_of_strips_and_panels() {
    check_gradient([3, 70, 90], [41, 139], 9, 1301);
    check_gradient([1, 33, 3], [300, 65], 10, 211);
}

#[test]
fn blocks_of_every_kind() {
    for (taps, stride, padding) in [(3, 1, 1), (3, 2, 0), (3, 2, 1), (1, 1, 0)] {
        check(ConvShape::new([2, 70, 90], [41, 139], taps, stride, padding), Direction::Forward, 7, 61);
    }
    // A block that does not fit the cache with more rows.
    check(ConvShape::new([1, 2100, 33], [9, 66], 3, 1, 1), Direction::Forward, 8, 97);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn convolutions_are_those_of_the_definition(
        batch in 1..3_usize, from in 1..75_usize, to in 1..75_usize, size in [3..24_usize, 3..75_usize],
        taps in prop_oneof![Just(1_usize), Just(3)], stride in 1..3_usize, padding in 0..2_usize, turned: bool, seed: u32,
    ) {
        let direction = if turned { Direction::Backward } else { Direction::Forward };
        check(ConvShape::new([batch, from, to], size, taps, stride, padding), direction, seed, 1);
    }

    #[test]
    fn gradients_are_those_of_the_definition(
        channels in [1..3_usize, 1..75, 1..75], size in [1..24_usize, 1..75], seed: u32,
    ) {
        check_gradient(channels, size, seed, 7);
    }
}
