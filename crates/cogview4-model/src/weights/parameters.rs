//! The parameters of a module by key: reading, changing, choosing which are trained.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{DType, Gradients, Tensor, TensorData},
};

use super::TensorSource;
use crate::ops;

/// Casts all parameters; which are trained stays as it is.
pub fn cast_parameters<M: Module>(module: M, dtype: DType) -> M {
    module.map(&mut Caster(dtype))
}

/// Keeps the path of the parameter that is visited.
macro_rules! track_path {
    () => {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.into());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
    };
}
pub(super) use track_path;

/// All parameters in the module's order, to be written: each is read, in `dtype` where that is given, when it is its
/// turn.
pub fn parameter_sources<M: Module>(module: &M, dtype: Option<DType>) -> Vec<(String, TensorSource<'static>)> {
    let mut visitor = Sources { path: Vec::new(), dtype, found: Vec::new() };
    module.visit(&mut visitor);
    visitor.found
}

/// Reads all parameters one after another, in the module's order; the function is given key and values.
pub fn for_each_parameter<M: Module>(module: &M, visit: impl FnMut(&str, TensorData)) {
    module.visit(&mut Reader { path: Vec::new(), visit });
}

/// Takes the gradients of all parameters that have one, one after another in the module's order; the function is given
/// key and values.
pub fn for_each_gradient<M: Module>(module: &M, gradients: Gradients, take: impl FnMut(&str, TensorData)) {
    module.visit(&mut GradientTaker { path: Vec::new(), gradients, take });
}

/// As [`for_each_gradient`], of one axis each, where they are.
pub fn for_each_gradient_tensor<M: Module>(module: &M, gradients: Gradients, take: impl FnMut(&str, Tensor<1>)) {
    module.visit(&mut GradientTensorTaker { path: Vec::new(), gradients, take });
}

/// Changes the f32 values of all parameters in place; the function is given key and values.
///
/// # Panics
/// When a parameter is not f32.
pub fn update_parameters<M: Module>(module: M, mut update: impl FnMut(&str, &mut [f32])) -> M {
    map_parameters(module, |key, mut data| {
        update(key, data.as_mut_slice().expect("invariant: these parameters are f32"));
        data
    })
}

/// Replaces all parameters, one after another in the module's order; the function is given key and values, which nobody
/// else holds if nobody else holds the module, and gives values of the same shape in any floating-point type.
pub fn map_parameters<M: Module>(module: M, map: impl FnMut(&str, TensorData) -> TensorData) -> M {
    module.map(&mut Replacer { path: Vec::new(), map })
}

/// As [`map_parameters`], of one axis each, where they are.
pub fn map_parameter_tensors<M: Module>(module: M, map: impl FnMut(&str, Tensor<1>) -> Tensor<1>) -> M {
    module.map(&mut TensorReplacer { path: Vec::new(), map })
}

/// Replaces all parameters by others of the same shape, one after another in the module's order; the function is given
/// the key, once nobody holds the old values if nobody else holds the module. What is the memory of a file is not copied.
pub fn renew_parameters<M: Module>(module: M, renew: impl FnMut(&str) -> TensorData) -> M {
    module.map(&mut Renewer { path: Vec::new(), renew })
}

/// Marks which parameters are trained once the module goes to an autodiff device; the function is given the key.
pub fn set_trained<M: Module>(module: M, is_trained: impl Fn(&str) -> bool) -> M {
    module.map(&mut Marker { path: Vec::new(), is_trained })
}

struct Sources {
    path: Vec<String>,
    dtype: Option<DType>,
    found: Vec<(String, TensorSource<'static>)>,
}

impl ModuleVisitor for Sources {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let dtype = self.dtype.unwrap_or(tensor.dtype());
        let source = TensorSource::new(dtype, tensor.dims(), move || match tensor.dtype() == dtype {
            true => tensor.into_data(),
            false => tensor.cast(dtype).into_data(),
        });
        self.found.push((self.path.join("."), source));
    }
}

struct Reader<F> {
    path: Vec<String>,
    visit: F,
}

impl<F: FnMut(&str, TensorData)> ModuleVisitor for Reader<F> {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        (self.visit)(&self.path.join("."), param.val().into_data());
    }
}

struct GradientTaker<F> {
    path: Vec<String>,
    gradients: Gradients,
    take: F,
}

impl<F: FnMut(&str, TensorData)> ModuleVisitor for GradientTaker<F> {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // Taken out, so that nobody else holds it and its memory can be handed on.
        if let Some(gradient) = param.val().grad_remove(&mut self.gradients) {
            (self.take)(&self.path.join("."), gradient.into_data());
        }
    }
}

struct GradientTensorTaker<F> {
    path: Vec<String>,
    gradients: Gradients,
    take: F,
}

impl<F: FnMut(&str, Tensor<1>)> ModuleVisitor for GradientTensorTaker<F> {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(&mut self.gradients) {
            (self.take)(&self.path.join("."), flat(gradient));
        }
    }
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let length: usize = tensor.dims().iter().product();
    tensor.reshape([length])
}

struct TensorReplacer<F> {
    path: Vec<String>,
    map: F,
}

impl<F: FnMut(&str, Tensor<1>) -> Tensor<1>> ModuleMapper for TensorReplacer<F> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let key = self.path.join(".");
        param.map(|tensor| {
            let shape = tensor.dims();
            (self.map)(&key, flat(tensor)).reshape(shape)
        })
    }
}

struct Replacer<F> {
    path: Vec<String>,
    map: F,
}

impl<F: FnMut(&str, TensorData) -> TensorData> ModuleMapper for Replacer<F> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let key = self.path.join(".");
        param.map(|tensor| {
            let device = tensor.device();
            ops::tensor_of((self.map)(&key, tensor.into_data()), &device)
        })
    }
}

struct Renewer<F> {
    path: Vec<String>,
    renew: F,
}

impl<F: FnMut(&str) -> TensorData> ModuleMapper for Renewer<F> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let key = self.path.join(".");
        param.map(|tensor| {
            let device = tensor.device();
            drop(tensor);
            ops::tensor_of((self.renew)(&key), &device)
        })
    }
}

struct Caster(DType);

impl ModuleMapper for Caster {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

struct Marker<F> {
    path: Vec<String>,
    is_trained: F,
}

impl<F: Fn(&str) -> bool> ModuleMapper for Marker<F> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.set_require_grad((self.is_trained)(&self.path.join(".")))
    }
}
