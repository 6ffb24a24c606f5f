//! Moments as bytes: blocks of 256 consecutive values share the largest absolute value, and each value is the nearest of
//! 256 steps between nothing and that. Steps and blocks are those of bitsandbytes (Dettmers, Lewis, Shleifer and
//! Zettlemoyer, "8-bit Optimizers via Block-wise Quantization", arXiv:2110.02861; `create_dynamic_map` there).

use std::sync::LazyLock;

use pulp::Arch;

/// Values that share a scale.
pub(crate) const BLOCK: usize = 256;
/// Powers of ten that the steps span.
const DECADES: u32 = 7;
/// Bits of an f32 that the lookup ignores.
const LOW_BITS: u32 = 16;

/// The steps of a moment between -1, or 0, and 1.
pub(crate) struct CodeTable {
    values: [f32; 256],
    /// The least value that the next step is nearer to.
    limits: [f32; 256],
    /// For the upper half of the bits of a value, the code of the least such value. Among those is one limit at most.
    codes: Box<[u8; 1 << (u32::BITS - LOW_BITS)]>,
    /// The code of the greatest step below 0, if there is any.
    below_zero: u8,
}

/// The steps of the first moment, which has a sign.
pub(crate) static SIGNED: LazyLock<CodeTable> = LazyLock::new(|| CodeTable::new(true));
/// The steps of the second moment.
pub(crate) static UNSIGNED: LazyLock<CodeTable> = LazyLock::new(|| CodeTable::new(false));

impl CodeTable {
    fn new(is_signed: bool) -> Self {
        let mut values = vec![0.0, 1.0];
        for decade in 0..DECADES {
            let count = 1 << if is_signed { decade } else { decade + 1 };
            let scale = 10_f64.powi(decade as i32 + 1 - DECADES as i32) as f32;
            let edges: Vec<f32> = linspace(count + 1).collect();
            for edge in edges.windows(2) {
                let value = scale * ((edge[0] + edge[1]) / 2.0);
                values.push(value);
                values.extend(is_signed.then_some(-value));
            }
        }
        values.sort_unstable_by(f32::total_cmp);
        let values: [f32; 256] = values.try_into().expect("invariant: 2 + 2 * 127, or 2 + 254");
        let limits = std::array::from_fn(|code| match values[code..] {
            [value, next, ..] => limit(value, next),
            _ => f32::INFINITY,
        });
        let code = |pattern: u32| {
            let bits = pattern << LOW_BITS;
            // The least of the values that begin so: of negative ones, that with the greatest magnitude.
            let is_negative = bits >> 31 == 1;
            let least = f32::from_bits(if is_negative { bits | ((1 << LOW_BITS) - 1) } else { bits });
            limits.partition_point(|&limit| limit <= least).min(255) as u8
        };
        let codes: Vec<u8> = (0..1 << (u32::BITS - LOW_BITS)).map(code).collect();
        let codes = codes.try_into().expect("invariant: as many");
        let below_zero = values.partition_point(|&value| value < 0.0).saturating_sub(1) as u8;
        Self { values, limits, codes, below_zero }
    }

    /// The code of the step that is nearest to a value between -1 and 1; between two, of the greater.
    #[inline(always)]
    fn nearest(&self, value: f32) -> u8 {
        let code = self.codes[(value.to_bits() >> LOW_BITS) as usize];
        code + u8::from(value >= self.limits[usize::from(code)])
    }

    /// Quantises a block and gives its scale.
    #[inline(always)]
    fn quantize(&self, values: &[f32], codes: &mut [u8]) -> f32 {
        // Magnitudes are in the order of their bits, and whole numbers may be compared in any order.
        let most = values.iter().fold(0, |most, value| value.abs().to_bits().max(most));
        let scale = f32::from_bits(most);
        if most == 0 {
            codes.fill(0);
            return scale;
        }
        let mut parts = [0.0; BLOCK];
        parts.iter_mut().zip(values).for_each(|(part, value)| *part = value / scale);
        for (code, part) in codes.iter_mut().zip(&parts) {
            let nearest = self.nearest(*part);
            // No branch: signs are as good as random.
            *code = nearest - (u8::from(*part < 0.0) & u8::from(nearest > self.below_zero));
        }
        scale
    }
}

/// The least value that is nearer to `next` than to `step`, as torchao's quantiser rounds.
fn limit(step: f32, next: f32) -> f32 {
    let is_nearer = |value: f32| value - step >= (next - step) * 0.5;
    let mut limit = step + (next - step) * 0.5;
    while is_nearer(limit.next_down()) {
        limit = limit.next_down();
    }
    while !is_nearer(limit) {
        limit = limit.next_up();
    }
    limit
}

/// Numbers from 0.1 to 1 in equal steps, counted from the nearer end, as PyTorch's `linspace` rounds them.
fn linspace(count: usize) -> impl Iterator<Item = f32> {
    let (start, end) = (0.1_f32, 1.0_f32);
    let step = (end - start) / (count - 1) as f32;
    (0..count).map(move |index| match index < count / 2 {
        true => step.mul_add(index as f32, start),
        false => (-step).mul_add((count - 1 - index) as f32, end),
    })
}

/// Values that are kept as codes, with the scale of each block.
pub(crate) struct Codes<'a> {
    pub table: &'static CodeTable,
    pub codes: &'a mut [u8],
    pub scales: &'a mut [f32],
}

impl Codes<'_> {
    /// Appends the values.
    pub(crate) fn read_to(&self, values: &mut Vec<f32>) {
        let start = values.len();
        values.resize(start + self.codes.len(), 0.0);
        let blocks = values[start..].chunks_mut(BLOCK).zip(self.codes.chunks(BLOCK)).zip(&*self.scales);
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for ((values, codes), scale) in blocks {
                    for (value, &code) in values.iter_mut().zip(codes) {
                        *value = self.table.values[usize::from(code)] * scale;
                    }
                }
            },
        );
    }

    /// Replaces the values. None that is negative becomes nothing: a moment's sign is the direction of the step.
    pub(crate) fn write(&mut self, values: &[f32]) {
        let Self { table, codes, scales } = self;
        let blocks = codes.chunks_mut(BLOCK).zip(&mut **scales).zip(values.chunks(BLOCK));
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for ((codes, scale), values) in blocks {
                    *scale = table.quantize(values, codes);
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::tests::Fixture;

    /// The tables to the last bit, and the codes that torchao's quantiser gives.
    #[test]
    fn steps_and_codes_are_those_of_bitsandbytes() {
        let fixture = Fixture::open("adam8bit.safetensors", &Device::flex());
        for (name, table) in [("signed", &*SIGNED), ("unsigned", &*UNSIGNED)] {
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&table.values), bits(&fixture.values(&format!("{name}.table"))), "{name}");
            let values = fixture.values(&format!("{name}.values"));
            let codes: Vec<u8> = values.into_iter().map(|value| table.nearest(value)).collect();
            assert_eq!(Some(codes), fixture.0.read_u8(&format!("{name}.codes")).unwrap(), "{name}");
        }
    }

    /// The step with the least distance, by looking at all; between two the greater.
    fn nearest(table: &CodeTable, value: f32) -> u8 {
        let distance = |code: &usize| (f64::from(table.values[*code]) - f64::from(value)).abs();
        let codes = (0..256_usize).rev();
        codes.min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("there are codes") as u8
    }

    #[test]
    fn values_that_begin_alike_have_two_codes_at_most() {
        for table in [&*SIGNED, &*UNSIGNED] {
            for bits in (0..=u16::MAX).map(|pattern| u32::from(pattern) << LOW_BITS) {
                let ends = [bits, bits | ((1 << LOW_BITS) - 1)].map(f32::from_bits);
                if ends.iter().all(|end| end.abs() <= 1.0) {
                    let [a, b] = ends.map(|end| table.limits.partition_point(|&limit| limit <= end));
                    assert!(a.abs_diff(b) <= 1, "{ends:?}: {a} {b}");
                }
            }
        }
    }

    #[test]
    fn every_step_is_its_own_code() {
        for table in [&*SIGNED, &*UNSIGNED] {
            for code in 0..=255 {
                assert_eq!(table.nearest(table.values[usize::from(code)]), code);
            }
        }
        assert_eq!((SIGNED.nearest(-1.0), SIGNED.nearest(1.0), UNSIGNED.nearest(0.0)), (0, 255, 0));
    }

    proptest! {
        #[test]
        fn the_nearest_step_is_taken(magnitude in -9.0..0.0_f64, is_negative: bool, is_signed: bool) {
            let magnitude = 10_f64.powf(magnitude) as f32;
            let value = if is_signed && is_negative { -magnitude } else { magnitude };
            let table = if is_signed { &*SIGNED } else { &*UNSIGNED };
            let (found, expected) = (table.nearest(value), nearest(table, value));
            // In f32 the middle between two steps may be another value's.
            let distance = |code: u8| (table.values[usize::from(code)] - value).abs();
            prop_assert!(found == expected || (distance(found) / distance(expected) - 1.0).abs() < 1e-4);
        }

        #[test]
        fn values_come_back(values in prop::collection::vec(-1e3..1e3_f32, 1..700)) {
            let mut codes = vec![7; values.len()];
            let mut scales = vec![f32::NAN; values.len().div_ceil(BLOCK)];
            let mut kept = Codes { table: &SIGNED, codes: &mut codes, scales: &mut scales };
            kept.write(&values);
            let mut found = Vec::new();
            kept.read_to(&mut found);
            for (found, values) in found.chunks(BLOCK).zip(values.chunks(BLOCK)) {
                let most = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                for (found, value) in found.iter().zip(values) {
                    prop_assert!((found - value).abs() <= 0.008 * most, "{found} {value} of {most}");
                    prop_assert!(found.signum() == value.signum() || *value >= 0.0);
                }
            }
        }
    }
}
