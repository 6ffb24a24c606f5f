//! AVX-512: sixteen values in f32, or as many pairs in bfloat16 where the CPU multiplies these.

#![expect(unsafe_code, reason = "vector instructions")]

use std::{arch::x86_64::*, mem::transmute};

use half::{bf16, f16};

use super::unit::{Kernels, MOST_LANES, Unit, kernels};
use crate::ops::fused::host::vectors;

/// The level that widens.
pub(in crate::ops::fused::host) struct Avx512;

// SAFETY of the blocks below: the caller's, as the trait says.
impl Unit for Avx512 {
    type Vector = __m512;

    const LANES: usize = 16;
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(items: *const u32) -> __m512 {
        unsafe { _mm512_loadu_ps(items.cast()) }
    }

    #[inline(always)]
    unsafe fn store(vector: __m512, items: *mut u32) {
        unsafe { _mm512_storeu_ps(items.cast(), vector) };
    }

    #[inline(always)]
    unsafe fn splat(item: *const u32) -> __m512 {
        unsafe { _mm512_set1_ps(item.cast::<f32>().read()) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, sum: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn of_bf16(values: *const bf16) -> __m512 {
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(values.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn of_f32(values: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(values) }
    }

    #[inline(always)]
    unsafe fn of_codes(codes: *const i8, scale: f16) -> __m512 {
        unsafe {
            let scale = _mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(scale.to_bits())));
            let codes = _mm512_cvtepi8_epi32(_mm_loadu_si128(codes.cast()));
            _mm512_mul_ps(_mm512_cvtepi32_ps(codes), _mm512_broadcastss_ps(scale))
        }
    }

    #[inline(always)]
    unsafe fn of_columns(values: [*const bf16; 2]) -> __m512 {
        unsafe { Self::of_bf16(values[0]) }
    }

    #[inline(always)]
    unsafe fn transpose(vectors: &mut [__m512; MOST_LANES]) {
        unsafe {
            vectors::transpose(&mut *std::ptr::from_mut(vectors).cast::<[__m512i; MOST_LANES]>());
        }
    }
}

kernels!(Avx512, "avx512f,avx512bw,avx512vl", [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);

/// The level that multiplies pairs in bfloat16.
pub(super) mod pairs {
    use super::*;

    /// The level.
    pub(in super::super) struct Avx512Bf16;

    // SAFETY of the blocks below: the caller's, as the trait says.
    impl Unit for Avx512Bf16 {
        type Vector = __m512;

        const LANES: usize = 16;
        const DEPTH: usize = 2;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            unsafe { Avx512::zero() }
        }

        #[inline(always)]
        unsafe fn load(items: *const u32) -> __m512 {
            unsafe { Avx512::load(items) }
        }

        #[inline(always)]
        unsafe fn store(vector: __m512, items: *mut u32) {
            unsafe { Avx512::store(vector, items) };
        }

        #[inline(always)]
        unsafe fn splat(item: *const u32) -> __m512 {
            unsafe { Avx512::splat(item) }
        }

        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { Avx512::add(a, b) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m512, b: __m512, sum: __m512) -> __m512 {
            unsafe { _mm512_dpbf16_ps(sum, transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b)) }
        }

        #[inline(always)]
        unsafe fn of_bf16(values: *const bf16) -> __m512 {
            unsafe { _mm512_loadu_ps(values.cast()) }
        }

        #[inline(always)]
        unsafe fn of_f32(_: *const f32) -> __m512 {
            unreachable!("invariant: f32 is multiplied in f32")
        }

        #[inline(always)]
        unsafe fn of_codes(codes: *const i8, scale: f16) -> __m512 {
            unsafe {
                let [low, high] = [Avx512::of_codes(codes, scale), Avx512::of_codes(codes.add(16), scale)];
                transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low))
            }
        }

        #[inline(always)]
        unsafe fn of_columns([even, odd]: [*const bf16; 2]) -> __m512 {
            unsafe {
                let even = _mm512_cvtepu16_epi32(_mm256_loadu_si256(even.cast()));
                let odd = _mm512_cvtepu16_epi32(_mm256_loadu_si256(odd.cast()));
                _mm512_castsi512_ps(_mm512_or_si512(even, _mm512_slli_epi32::<16>(odd)))
            }
        }

        #[inline(always)]
        unsafe fn transpose(vectors: &mut [__m512; MOST_LANES]) {
            unsafe { Avx512::transpose(vectors) };
        }
    }

    kernels!(Avx512Bf16, "avx512f,avx512bw,avx512vl,avx512bf16", [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
}
