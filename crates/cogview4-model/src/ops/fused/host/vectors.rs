//! What packing and writing share.

use std::{arch::x86_64::*, mem::transmute};

use half::bf16;

/// Values of 32 bits in a vector.
const LANES: usize = 16;

/// Bits for as many values as there are, of 32.
#[inline]
pub(super) fn mask(values: usize) -> u32 {
    if values >= 2 * LANES { u32::MAX } else { (1 << values) - 1 }
}

/// Rounds values into memory, as many as the mask says.
///
/// # Safety
/// There is room for them, and nobody else writes there now.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[expect(unsafe_code, reason = "writes a part of a vector")]
pub(super) unsafe fn write_rounded(values: __m512, mask: u16, place: *mut bf16) {
    // SAFETY: both vectors are 32 bytes; the caller's.
    unsafe { _mm256_mask_storeu_epi16(place.cast(), mask, transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values))) };
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
