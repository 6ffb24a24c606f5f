//! The parameters of a module by key: reading, changing, choosing which are trained.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{DType, Gradients, Tensor, TensorData},
};

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

/// Reads all parameters, in the module's order.
pub fn named_parameters<M: Module>(module: &M) -> Vec<(String, TensorData)> {
    let mut visitor = Collector { path: Vec::new(), gradients: None, found: Vec::new() };
    module.visit(&mut visitor);
    visitor.found
}

/// Takes out the gradients of all parameters that have one, in the module's order.
pub fn take_gradients<M: Module>(module: &M, gradients: Gradients) -> Vec<(String, TensorData)> {
    let mut visitor = Collector { path: Vec::new(), gradients: Some(gradients), found: Vec::new() };
    module.visit(&mut visitor);
    visitor.found
}

/// Changes the f32 values of all parameters in place; the function is given key and values.
///
/// # Panics
/// When a parameter is not f32.
pub fn update_parameters<M: Module>(module: M, update: impl FnMut(&str, &mut [f32])) -> M {
    module.map(&mut Updater { path: Vec::new(), update })
}

/// Marks which parameters are trained once the module goes to an autodiff device; the function is given the key.
pub fn set_trained<M: Module>(module: M, is_trained: impl Fn(&str) -> bool) -> M {
    module.map(&mut Marker { path: Vec::new(), is_trained })
}

/// Collects values, or gradients where there are some.
struct Collector {
    path: Vec<String>,
    gradients: Option<Gradients>,
    found: Vec<(String, TensorData)>,
}

impl ModuleVisitor for Collector {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = match &mut self.gradients {
            None => Some(param.val()),
            // Taken out, so that nobody else holds it and its memory can be handed on.
            Some(gradients) => param.val().grad_remove(gradients),
        };
        self.found.extend(tensor.map(|tensor| (self.path.join("."), tensor.into_data())));
    }
}

struct Updater<F> {
    path: Vec<String>,
    update: F,
}

impl<F: FnMut(&str, &mut [f32])> ModuleMapper for Updater<F> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let key = self.path.join(".");
        param.map(|tensor| {
            let (device, dtype) = (tensor.device(), tensor.dtype());
            let mut data = tensor.into_data();
            (self.update)(&key, data.as_mut_slice().expect("invariant: trained parameters are f32"));
            Tensor::from_data(data, (&device, dtype))
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
