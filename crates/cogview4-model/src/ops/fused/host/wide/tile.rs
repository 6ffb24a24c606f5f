//! The innermost loop of a product.

use super::unit::Unit;

/// See [`Multiply`](super::unit::Multiply). Sums stay in registers along all items.
///
/// # Safety
/// The CPU has the level; the panels have so many items, and there is room for the sums.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions, on panels")]
pub(super) unsafe fn multiply<U: Unit, const HEIGHT: usize>(
    mut a: *const u32,
    mut b: *const u32,
    items: usize,
    sums: *mut f32,
    is_first: bool,
) {
    // SAFETY: moves along the panels by what an item of theirs is, as often as they have items.
    unsafe {
        let mut totals = [[U::zero(); 2]; HEIGHT];
        for _ in 0..items {
            let right = [U::load(b), U::load(b.add(U::LANES))];
            for (row, totals) in totals.iter_mut().enumerate() {
                let left = U::splat(a.add(row));
                totals[0] = U::multiply_add(left, right[0], totals[0]);
                totals[1] = U::multiply_add(left, right[1], totals[1]);
            }
            (a, b) = (a.add(HEIGHT), b.add(2 * U::LANES));
        }
        for index in 0..2 * HEIGHT {
            let (total, sums) = (totals[index / 2][index % 2], sums.add(index * U::LANES).cast::<u32>());
            U::store(if is_first { total } else { U::add(U::load(sums), total) }, sums);
        }
    }
}
