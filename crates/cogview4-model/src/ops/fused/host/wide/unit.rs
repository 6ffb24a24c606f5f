//! What a level of vector instructions brings to a product. Sums are f32 everywhere.
//!
//! An item is what one multiplication takes of a row: a value in f32, or two neighbours along the summed axis in
//! bfloat16. Both are 32 bits.

use half::{bf16, f16};

/// The largest number of items in a vector.
pub(super) const MOST_LANES: usize = 16;

/// Sixteen items, or sums.
#[repr(C, align(64))]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(in crate::ops::fused::host) struct Line([f32; MOST_LANES]);

impl Line {
    pub(in crate::ops::fused::host) const VALUES: usize = MOST_LANES;
}

/// Vectors of one level.
///
/// # Safety
/// All functions want a CPU that has the level, and pointers to as many values as they say.
#[expect(unsafe_code, reason = "vector instructions")]
pub(in crate::ops::fused::host) trait Unit {
    /// Items, or sums.
    type Vector: Copy;
    /// Items in a vector.
    const LANES: usize;
    /// Values of the summed axis in an item.
    const DEPTH: usize;

    unsafe fn zero() -> Self::Vector;
    /// [`LANES`](Self::LANES) items.
    unsafe fn load(items: *const u32) -> Self::Vector;
    unsafe fn store(vector: Self::Vector, items: *mut u32);
    /// One item in all lanes.
    unsafe fn splat(item: *const u32) -> Self::Vector;
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `sum + a * b`, where `a` and `b` are items.
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, sum: Self::Vector) -> Self::Vector;
    /// Items of `LANES * DEPTH` values of a row.
    unsafe fn of_bf16(values: *const bf16) -> Self::Vector;
    /// As [`of_bf16`](Self::of_bf16); only where an item is a value in f32.
    unsafe fn of_f32(values: *const f32) -> Self::Vector;
    /// As [`of_bf16`](Self::of_bf16), of codes of one block.
    unsafe fn of_codes(codes: *const i8, scale: f16) -> Self::Vector;
    /// One item of each of `LANES` rows, of which `values` has the values: a column each, `DEPTH` of them.
    unsafe fn of_columns(values: [*const bf16; 2]) -> Self::Vector;
    /// Transposes `LANES` vectors.
    unsafe fn transpose(vectors: &mut [Self::Vector; MOST_LANES]);
}

/// Adds products of a panel of a few rows, `[items, height]`, and of one of two vectors of columns, `[items, 2 LANES]`,
/// to sums `[height, 2 LANES]`; sets them where `is_first`.
pub(in crate::ops::fused::host) type Multiply =
    unsafe fn(a: *const u32, b: *const u32, items: usize, sums: *mut f32, is_first: bool);

/// What is compiled for a level.
///
/// # Safety
/// As [`Unit`].
#[expect(unsafe_code, reason = "vector instructions")]
pub(in crate::ops::fused::host) trait Kernels: Unit {
    /// For panels of 1, 2, ... rows.
    const MULTIPLY: &'static [Multiply];
    /// Columns of a panel.
    const WIDTH: usize = 2 * Self::LANES;

    /// See [`pack::strip`](super::pack::strip).
    unsafe fn pack(strip: super::pack::Strip<'_>, items: *mut u32, stride: usize);
    /// See [`output::write`](super::output::write).
    unsafe fn write<T: super::Value>(sums: &[f32], place: super::output::Place<'_, T>);
}

/// Compiles the kernels of a level with its instructions.
macro_rules! kernels {
    ($unit:ty, $features:literal, [$($height:literal)*]) => {
        #[expect(unsafe_code, reason = "vector instructions")]
        impl $crate::ops::fused::host::wide::unit::Kernels for $unit {
            const MULTIPLY: &'static [$crate::ops::fused::host::wide::unit::Multiply] =
                &[$(multiply::<$height>),*];

            #[target_feature(enable = $features)]
            unsafe fn pack(
                strip: $crate::ops::fused::host::wide::pack::Strip<'_>,
                items: *mut u32,
                stride: usize,
            ) {
                // SAFETY: the caller's.
                unsafe { $crate::ops::fused::host::wide::pack::strip::<Self>(strip, items, stride) };
            }

            #[target_feature(enable = $features)]
            unsafe fn write<T: $crate::ops::fused::host::Value>(
                sums: &[f32],
                place: $crate::ops::fused::host::wide::output::Place<'_, T>,
            ) {
                // SAFETY: the caller's.
                unsafe { $crate::ops::fused::host::wide::output::write(sums, <Self as Kernels>::WIDTH, place) };
            }
        }

        #[target_feature(enable = $features)]
        #[expect(unsafe_code, reason = "vector instructions")]
        unsafe fn multiply<const HEIGHT: usize>(
            a: *const u32,
            b: *const u32,
            items: usize,
            sums: *mut f32,
            is_first: bool,
        ) {
            // SAFETY: the caller's.
            unsafe { $crate::ops::fused::host::wide::tile::multiply::<$unit, HEIGHT>(a, b, items, sums, is_first) };
        }
    };
}
pub(super) use kernels;
