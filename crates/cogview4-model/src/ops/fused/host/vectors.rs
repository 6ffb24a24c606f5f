//! What packing and writing share.

use std::arch::x86_64::*;

/// Values of 32 bits in a vector.
const LANES: usize = 16;

/// Bits for as many values as there are, of 32.
#[inline]
pub(super) fn mask(values: usize) -> u32 {
    if values >= 2 * LANES { u32::MAX } else { (1 << values) - 1 }
}

/// Transposes 16 by 16 values of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(rows: &mut [__m512i; LANES]) {
    let mut turned = *rows;
    for i in 0..8 {
        turned[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        turned[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    for i in (0..LANES).step_by(4) {
        rows[i] = _mm512_unpacklo_epi64(turned[i], turned[i + 2]);
        rows[i + 1] = _mm512_unpackhi_epi64(turned[i], turned[i + 2]);
        rows[i + 2] = _mm512_unpacklo_epi64(turned[i + 1], turned[i + 3]);
        rows[i + 3] = _mm512_unpackhi_epi64(turned[i + 1], turned[i + 3]);
    }
    for i in 0..4 {
        for half in [0, 8] {
            turned[half + i] = _mm512_shuffle_i32x4::<0x88>(rows[half + i], rows[half + i + 4]);
            turned[half + i + 4] = _mm512_shuffle_i32x4::<0xdd>(rows[half + i], rows[half + i + 4]);
        }
    }
    for i in 0..8 {
        rows[i] = _mm512_shuffle_i32x4::<0x88>(turned[i], turned[i + 8]);
        rows[i + 8] = _mm512_shuffle_i32x4::<0xdd>(turned[i], turned[i + 8]);
    }
}
