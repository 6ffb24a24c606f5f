//! AVX2 with FMA: eight values in f32.

#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::unit::{Kernels, MOST_LANES, Unit, kernels};

/// The level.
pub(in crate::ops::fused::host) struct Avx2;

// SAFETY of the blocks below: the caller's, as the trait says.
impl Unit for Avx2 {
    type Vector = __m256;

    const LANES: usize = 8;
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(items: *const u32) -> __m256 {
        unsafe { _mm256_loadu_ps(items.cast()) }
    }

    #[inline(always)]
    unsafe fn store(vector: __m256, items: *mut u32) {
        unsafe { _mm256_storeu_ps(items.cast(), vector) };
    }

    #[inline(always)]
    unsafe fn splat(item: *const u32) -> __m256 {
        unsafe { _mm256_set1_ps(item.cast::<f32>().read()) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, sum: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn of_bf16(values: *const bf16) -> __m256 {
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(values.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn of_f32(values: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(values) }
    }

    #[inline(always)]
    unsafe fn of_codes(codes: *const i8, scale: f16) -> __m256 {
        unsafe {
            let scale = _mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(scale.to_bits())));
            let codes = _mm256_cvtepi8_epi32(_mm_loadl_epi64(codes.cast()));
            _mm256_mul_ps(_mm256_cvtepi32_ps(codes), _mm256_broadcastss_ps(scale))
        }
    }

    #[inline(always)]
    unsafe fn of_columns(values: [*const bf16; 2]) -> __m256 {
        unsafe { Self::of_bf16(values[0]) }
    }

    #[inline(always)]
    unsafe fn transpose(vectors: &mut [__m256; MOST_LANES]) {
        unsafe { transpose(vectors) };
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: &mut [__m256; MOST_LANES]) {
    let mut pairs = [_mm256_setzero_ps(); 8];
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = [_mm256_setzero_ps(); 8];
    for half in [0, 4] {
        for i in 0..2 {
            let (first, second) = (pairs[half + i], pairs[half + i + 2]);
            fours[half + 2 * i] = _mm256_shuffle_ps::<0x44>(first, second);
            fours[half + 2 * i + 1] = _mm256_shuffle_ps::<0xee>(first, second);
        }
    }
    for i in 0..4 {
        rows[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
        rows[i + 4] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
    }
}

kernels!(Avx2, "avx2,fma,f16c", [1 2 3 4 5 6]);
