//! The shapes of a module's parameters, without the parameters.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};

use super::parameters::track_path;

/// Key and shape of all parameters in the module's order. Parameters that are not there yet stay so: a module of any
/// size that was only initialised costs nothing.
///
/// ```
/// use burn::tensor::Device;
/// use cogview4_model::{nn::Linear, weights::parameter_shapes};
///
/// let layer = Linear::init(1 << 20, 1 << 20, &Device::flex());
/// assert_eq!(parameter_shapes(&layer)[0], ("weight".into(), vec![1 << 20, 1 << 20]));
/// ```
pub fn parameter_shapes<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Shapes { path: Vec::new(), found: Vec::new() };
    module.visit(&mut shapes);
    shapes.found
}

struct Shapes {
    path: Vec<String>,
    found: Vec<(String, Vec<usize>)>,
}

impl ModuleVisitor for Shapes {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push((self.path.join("."), param.lazy_shape().as_slice().to_vec()));
    }
}
