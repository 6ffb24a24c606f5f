//! Bytes of what the optimiser is given and keeps.

use cogview4_model::ComputeDtype;

use crate::{config::Recipe, optimizer::BLOCK};

/// Bytes of a gradient's value: in the type that is computed in until there are sums.
pub(crate) fn gradient_bytes(recipe: &Recipe) -> usize {
    match recipe.gradient_accumulation_steps {
        1 => recipe.compute_dtype.dtype().size(),
        _ => size_of::<f32>(),
    }
}

/// Bytes of masters and moments.
pub(super) fn state_bytes(recipe: &Recipe, parameters: u64) -> u64 {
    let has_masters = recipe.compute_dtype == ComputeDtype::BFloat16 && !recipe.stochastic_rounding;
    let masters = if has_masters { parameters.saturating_mul(4) } else { 0 };
    masters.saturating_add(moment_bytes(recipe, parameters))
}

/// Bytes of both moments: in 8 bits a scale in f32 for each block.
pub(super) fn moment_bytes(recipe: &Recipe, parameters: u64) -> u64 {
    match recipe.use_8bit_adam {
        false => parameters.saturating_mul(2 * 4),
        true => parameters.saturating_mul(2).saturating_add(2 * 4 * parameters.div_ceil(BLOCK as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_decides_what_is_needed() {
        let mut recipe = Recipe { compute_dtype: ComputeDtype::BFloat16, ..Recipe::default() };
        assert_eq!((gradient_bytes(&recipe), state_bytes(&recipe, 256)), (2, 256 * (4 + 8)));
        recipe.use_8bit_adam = true;
        assert_eq!(state_bytes(&recipe, 256), 256 * (4 + 2) + 2 * 4);
        recipe.stochastic_rounding = true;
        recipe.gradient_accumulation_steps = 2;
        assert_eq!((gradient_bytes(&recipe), state_bytes(&recipe, 257)), (4, 257 * 2 + 2 * 2 * 4));
    }
}
