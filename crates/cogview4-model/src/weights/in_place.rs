//! Weight files that a training run changes step by step, and that are its result when it is over: of a model that is
//! larger than memory, the system keeps in memory what there is room for.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, TensorData};
use memmap2::MmapOptions;

use super::{
    LentMemory,
    layout::{FileLayout, MAX_SHARD_BYTES, Shards, TensorLayout},
};
use crate::{
    error::{ModelError, Result},
    files::{AtomicFile, reserve, write_atomic},
};

/// The weight files of a component, with the bytes that [`save_sources`](super::save_sources) would write, of values that
/// parameters borrow. They have other names until they are [committed](Self::commit); dropped before that, they leave
/// nothing behind.
///
/// ```
/// use burn::tensor::DType;
/// use cogview4_model::weights::{DIFFUSION_WEIGHTS, WeightsInPlace, load_tensor};
///
/// # let folder = tempfile::tempdir().unwrap();
/// let mut weights = WeightsInPlace::create(folder.path(), DIFFUSION_WEIGHTS, [("p".into(), vec![2])], DType::F32)?;
/// weights.bytes_mut("p")[..4].copy_from_slice(&1.5_f32.to_le_bytes());
/// assert_eq!(weights.lend("p").as_slice::<f32>(), Ok([1.5, 0.0].as_slice()));
/// weights.commit()?;
/// let path = folder.path().join("diffusion_pytorch_model.safetensors");
/// assert_eq!(load_tensor::<1>(&path, "p", &burn::tensor::Device::flex())?.dims(), [2]);
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct WeightsInPlace {
    files: Vec<AtomicFile>,
    index: Option<(PathBuf, String)>,
    tensors: BTreeMap<String, (LentMemory, Vec<usize>)>,
    dtype: DType,
}

impl WeightsInPlace {
    /// Makes the files, with room for parameters of these keys and shapes in this type, all zero.
    ///
    /// # Errors
    /// [`ModelError::Write`] names the file: no room on the disk, for instance.
    pub fn create(
        folder: &Path,
        stem: &str,
        parameters: impl IntoIterator<Item = (String, Vec<usize>)>,
        dtype: DType,
    ) -> Result<Self> {
        let layouts = parameters.into_iter().map(|(key, shape)| (key, TensorLayout::new(dtype, shape)));
        let Shards { files: shards, index } = Shards::new(layouts.collect(), folder, stem, MAX_SHARD_BYTES);
        let mut weights = Self { files: Vec::new(), index, tensors: BTreeMap::new(), dtype };
        for (path, layouts) in shards {
            let file = AtomicFile::create(&path)?;
            weights.map(&file, layouts).map_err(|error| ModelError::write(&path, error))?;
            weights.files.push(file);
        }
        Ok(weights)
    }

    /// Writes the header of a file and maps each of its tensors.
    #[expect(unsafe_code, reason = "memory-mapping a file is unsafe by definition")]
    fn map(&mut self, file: &AtomicFile, layouts: Vec<(String, TensorLayout)>) -> std::io::Result<()> {
        let FileLayout { header, tensors, length } = FileLayout::new(layouts).map_err(std::io::Error::other)?;
        let mut file = file.file();
        file.write_all(&header)?;
        reserve(file, length)?;
        for (key, start, layout) in tensors {
            // SAFETY: as every program that maps files, we rely on nobody changing or cutting the file meanwhile; its
            // name is known to nobody. Parts do not overlap.
            let memory = unsafe { MmapOptions::new().offset(start).len(layout.num_bytes()).map_mut(file) }?;
            self.tensors.insert(key, (LentMemory::new(memory), layout.shape().to_vec()));
        }
        Ok(())
    }

    /// The type of all parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The values of a parameter, not copied.
    ///
    /// # Panics
    /// When there is no such parameter.
    pub fn lend(&self, key: &str) -> TensorData {
        let (memory, shape) = self.tensors.get(key).expect("invariant: a parameter of the model");
        memory.lend(shape.clone(), self.dtype)
    }

    /// The bytes of a parameter, to change them.
    ///
    /// # Panics
    /// When there is no such parameter, or when a tensor has its values.
    pub fn bytes_mut(&mut self, key: &str) -> &mut [u8] {
        let (memory, _) = self.tensors.get_mut(key).expect("invariant: a parameter of the model");
        memory.get_mut().unwrap_or_else(|| panic!("invariant: nobody has `{key}` while it changes"))
    }

    /// Gives the files their names, once all is on the disk. What is lent stays valid; nothing should change any more.
    ///
    /// # Errors
    /// [`ModelError::Write`] names the file.
    pub fn commit(&mut self) -> Result<()> {
        std::mem::take(&mut self.files).into_iter().try_for_each(AtomicFile::commit)?;
        self.index.take().map_or(Ok(()), |(path, text)| write_atomic(&path, text.as_bytes()))
    }
}
