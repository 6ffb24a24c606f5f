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
}
