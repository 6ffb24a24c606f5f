//! Parameters that change where they are: in memory of their own, or in the files of the result.

use burn::module::Module;
use cogview4_model::weights::{WeightsInPlace, map_parameters, renew_parameters};

use super::state::Values;

/// Changes all parameters of a part of a model where they are; the function is given key and values.
pub(super) fn change<M: Module>(
    weights: Option<&mut WeightsInPlace>,
    prefix: &str,
    part: M,
    mut change: impl FnMut(&str, Values<'_>),
) -> M {
    match weights {
        None => map_parameters(part, |key, mut parameter| {
            change(&format!("{prefix}{key}"), Values::of(&mut parameter));
            parameter
        }),
        Some(weights) => renew_parameters(part, |key| {
            let (key, dtype) = (format!("{prefix}{key}"), weights.dtype());
            change(&key, Values::in_bytes(weights.bytes_mut(&key), dtype));
            weights.lend(&key)
        }),
    }
}
