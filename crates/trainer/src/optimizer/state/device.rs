//! The state on the device that computes: masters and moments in f32, updated by Burn's operations. What a checkpoint
//! shares of it is copied when it changes, as every tensor that several hold.

use std::{collections::BTreeMap, fmt};

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor, TensorData},
};
use cogview4_model::weights::{TensorSource, map_parameter_tensors};

use super::{
    MOMENTS, StoredMoment,
    codes::{SIGNED, UNSIGNED},
};
use crate::optimizer::{AllFinite, Gradients, scalars::Scalars, stored::Slice, sum::ScaledGradient};

/// The state of all parameters, by key.
pub(in crate::optimizer) struct DeviceState {
    device: Device,
    parameters: BTreeMap<String, ParameterState>,
}

/// The state of a parameter; tensors have one axis.
#[derive(Default)]
struct ParameterState {
    /// Its f32 values, where it is not f32 itself and follows them.
    master: Option<Tensor<1>>,
    /// Both moments, once it was trained.
    moments: Option<[Tensor<1>; 2]>,
}

impl fmt::Debug for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceState").field("device", &self.device).finish_non_exhaustive()
    }
}

impl DeviceState {
    pub(super) fn new(device: Device) -> Self {
        Self { device, parameters: BTreeMap::new() }
    }

    /// Brings a part of an f32 model to the type that it is computed in; its f32 values stay here.
    pub(in crate::optimizer) fn narrow<M: Module>(&mut self, prefix: &str, part: M, dtype: DType) -> M {
        if dtype == DType::F32 {
            return part;
        }
        map_parameter_tensors(part, |key, values| {
            self.parameters.entry(format!("{prefix}{key}")).or_default().master = Some(values.clone());
            values.cast(dtype)
        })
    }

    /// Makes a step of a part of a model, of the parameters that have a gradient.
    pub(in crate::optimizer) fn step<M: Module>(
        &mut self,
        scalars: &Scalars,
        prefix: &str,
        part: M,
        gradients: &mut Gradients,
    ) -> (M, AllFinite) {
        let mut finite = AllFinite::default();
        let part = map_parameter_tensors(part, |key, parameter| {
            let key = format!("{prefix}{key}");
            match gradients.remove_scaled(&key) {
                Some(gradient) => self.update(scalars, (&key, parameter), gradient, &mut finite),
                None => parameter,
            }
        });
        (part, finite)
    }

    /// Gives the new values of a parameter.
    fn update(
        &mut self,
        scalars: &Scalars,
        (key, parameter): (&str, Tensor<1>),
        gradient: ScaledGradient,
        finite: &mut AllFinite,
    ) -> Tensor<1> {
        assert_eq!(parameter.dims(), [gradient.sum.len()], "{key}");
        let (dtype, gradient) = (parameter.dtype(), gradient.into_tensor(&self.device));
        let state = self.parameters.entry(key.into()).or_default();
        let zeros = || Tensor::zeros([gradient.dims()[0]], (&self.device, DType::F32));
        // Taken out, so that nobody else holds them and they change in place.
        let [first, second] = state.moments.take().unwrap_or_else(|| [zeros(), zeros()]);
        let values = match dtype {
            DType::F32 => parameter,
            _ => state.master.take().unwrap_or_else(|| parameter.cast(DType::F32)),
        };
        let first = first * (1.0 - scalars.weight1) + gradient.clone() * scalars.weight1;
        let second = second * scalars.beta2 + gradient.square() * scalars.weight2;
        let denominator = second.clone().sqrt() / scalars.correction2_sqrt + scalars.epsilon;
        let values = values * scalars.keep - first.clone() / denominator * scalars.step_size;
        finite.add(values.clone().abs().sum() + second.clone().sum());
        state.moments = Some([first, second]);
        if dtype == DType::F32 {
            return values;
        }
        state.master = Some(values.clone());
        values.cast(dtype)
    }

    /// The f32 values of a parameter that has a master.
    pub(super) fn master_of(&self, key: &str) -> Option<&Tensor<1>> {
        self.parameters.get(key)?.master.as_ref()
    }

    /// Puts moments of a parameter back, as a checkpoint has them.
    pub(super) fn restore(&mut self, key: &str, [first, second]: [StoredMoment; 2]) {
        let tensor = |values: Vec<f32>| {
            let length = values.len();
            Tensor::from_data(TensorData::new(values, [length]), (&self.device, DType::F32))
        };
        let moments = [tensor(first.into_floats(&SIGNED)), tensor(second.into_floats(&UNSIGNED))];
        self.parameters.entry(key.into()).or_default().moments = Some(moments);
    }

    /// Key and number of values of each parameter that has moments.
    pub(super) fn lengths(&self) -> Vec<(String, usize)> {
        let length = |state: &ParameterState| state.moments.as_ref().map(|[first, _]| first.dims()[0]);
        self.parameters.iter().filter_map(|(key, state)| Some((key.clone(), length(state)?))).collect()
    }

    /// All moments, for a checkpoint: each is read when it is its turn.
    pub(super) fn slices(&self) -> Vec<Slice> {
        let mut slices = Vec::new();
        for (key, state) in &self.parameters {
            for (name, moment) in MOMENTS.into_iter().zip(state.moments.iter().flatten()) {
                let moment = moment.clone();
                let source = TensorSource::new(DType::F32, moment.dims(), move || moment.into_data());
                slices.push(Slice { name: format!("{name}.{key}"), first: 0, source });
            }
        }
        slices
    }
}
