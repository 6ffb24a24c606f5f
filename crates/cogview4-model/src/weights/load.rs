//! Filling a module from weight files, by the path of each parameter.

use std::collections::BTreeSet;

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{DType, Tensor},
};

use super::{WeightFiles, int8::scale_key, parameters::track_path};
use crate::{
    error::{ModelError, Result},
    ops,
};

/// What a load takes from where.
#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// The type that parameters get, whatever the file holds.
    pub dtype: DType,
    /// Whether a parameter's memory may be the file's, where that holds it in this type.
    pub is_mapped: bool,
    /// Put in front of a parameter's path to get its key.
    pub prefix: &'a str,
    /// Keys that may be in the files though the module does not use them.
    pub may_ignore: &'a dyn Fn(&str) -> bool,
    /// Keys that are looked for and compared, but not loaded: their parameters stay as they are.
    pub is_left: &'a dyn Fn(&str) -> bool,
}

impl std::fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dtype, is_mapped, prefix, .. } = self;
        let mut f = f.debug_struct("LoadOptions");
        f.field("dtype", dtype).field("is_mapped", is_mapped).field("prefix", prefix).finish_non_exhaustive()
    }
}

impl LoadOptions<'_> {
    /// All parameters in this type, in memory of their own, and no other key.
    pub fn all(dtype: DType) -> Self {
        Self { dtype, is_mapped: false, prefix: "", may_ignore: &|_| false, is_left: &|_| false }
    }
}

/// Fills a freshly initialised module; each parameter goes to the device it was initialised for.
///
/// # Errors
/// [`ModelError::Keys`] for missing and unexpected keys, [`ModelError::ShapeMismatch`], or a broken file. A module
/// is returned only when every parameter was loaded.
pub fn load_module<M: Module>(module: M, files: &WeightFiles, options: LoadOptions<'_>) -> Result<M> {
    let mut loader =
        Loader { files, options, path: Vec::new(), used: BTreeSet::new(), missing: Vec::new(), error: None };
    let module = module.map(&mut loader);
    let Loader { used, missing, error, .. } = loader;
    let unexpected: Vec<String> =
        files.keys().filter(|key| !used.contains(*key) && !(options.may_ignore)(key)).map(String::from).collect();
    if !missing.is_empty() || !unexpected.is_empty() {
        return Err(ModelError::Keys { path: files.folder().into(), missing, unexpected });
    }
    error.map_or(Ok(module), Err)
}

struct Loader<'a> {
    files: &'a WeightFiles,
    options: LoadOptions<'a>,
    path: Vec<String>,
    used: BTreeSet<String>,
    missing: Vec<String>,
    /// The first error that is not about a key's absence.
    error: Option<ModelError>,
}

impl Loader<'_> {
    /// The tensor for a parameter, or `None` when it cannot be had; why is noted.
    fn fetch<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        let key = format!("{}{}", self.options.prefix, self.path.join("."));
        let Some((path, found)) = self.files.shape(&key) else {
            self.missing.push(key);
            return None;
        };
        let expected = param.lazy_shape();
        if found != expected.as_slice() {
            let (path, found) = (path.into(), found.to_vec());
            let expected = expected.as_slice().to_vec();
            self.used.insert(key.clone());
            self.error.get_or_insert(ModelError::ShapeMismatch { path, key, expected, found });
            return None;
        }
        if self.files.is_int8(&key) {
            self.used.insert(scale_key(&key));
        }
        if (self.options.is_left)(&key) {
            self.used.insert(key);
            return None;
        }
        let data = match self.options.is_mapped {
            true => self.files.borrow(&key, self.options.dtype),
            false => self.files.read(&key, self.options.dtype),
        };
        self.used.insert(key);
        let device = param.lazy_device();
        match data {
            Ok(data) => Some(ops::tensor_of(data, &device)),
            Err(error) => {
                self.error.get_or_insert(error);
                None
            }
        }
    }
}

impl ModuleMapper for Loader<'_> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.fetch(&param) {
            // `set_require_grad` marks the parameter as trainable once the module goes to an autodiff device.
            Some(tensor) => Param::initialized(param.id, tensor).set_require_grad(true),
            None => param,
        }
    }
}
