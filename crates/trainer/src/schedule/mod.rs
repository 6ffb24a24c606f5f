//! Pure functions of the step: order of the rows, learning rate, timesteps.

pub(crate) mod learning_rate;
pub(crate) mod order;
pub(crate) mod timesteps;
