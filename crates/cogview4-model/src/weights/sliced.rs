//! Weight files that are written slice by slice, in any order, and by several processes if need be.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use burn::tensor::{DType, TensorData};

use super::layout::{FileLayout, MAX_SHARD_BYTES, Shards, TensorLayout};
use crate::{
    error::{ModelError, Result},
    files::{reserve, write_atomic},
};

/// Where each tensor of some weight files goes: the bytes are those that [`save_tensors`](super::save_tensors) and
/// [`save_sources`](super::save_sources) write. One process [makes](Self::create) the files, then each
/// [writes](Self::write) what it has; they are complete when all have [synced](Self::sync). Unlike those, the files have
/// their names from the beginning: write them to a folder that is renamed when it is complete.
///
/// ```
/// use burn::tensor::{DType, TensorData};
/// use cogview4_model::weights::{SlicedWeights, WeightFiles};
///
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("state.safetensors");
/// let mut weights = SlicedWeights::of_file(&path, vec![("p".into(), DType::F32, vec![3])])?;
/// weights.create()?;
/// weights.write("p", 2, TensorData::from([3.0_f32]))?;
/// weights.write("p", 0, TensorData::from([1.0_f32, 2.0]))?;
/// weights.sync()?;
/// let read = WeightFiles::open_file(&path)?.read("p", DType::F32)?;
/// assert_eq!(read, TensorData::from([1.0_f32, 2.0, 3.0]));
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct SlicedWeights {
    files: Vec<SlicedFile>,
    index: Option<(PathBuf, String)>,
    tensors: BTreeMap<String, Place>,
}

#[derive(Debug)]
struct SlicedFile {
    path: PathBuf,
    header: Vec<u8>,
    length: u64,
    /// Open once something was written.
    file: Option<File>,
}

#[derive(Debug)]
struct Place {
    file: usize,
    start: u64,
    layout: TensorLayout,
}

impl SlicedWeights {
    /// The files of a component, `stem.safetensors` or shards with an index, of tensors given by key, type and shape.
    ///
    /// # Errors
    /// [`ModelError::Write`]: too many tensors for a header.
    pub fn of_component(folder: &Path, stem: &str, tensors: Vec<(String, DType, Vec<usize>)>) -> Result<Self> {
        let Shards { files, index } = Shards::new(layouts(tensors), folder, stem, MAX_SHARD_BYTES);
        Self::new(files, index)
    }

    /// One file.
    ///
    /// # Errors
    /// As [`of_component`](Self::of_component).
    pub fn of_file(path: &Path, tensors: Vec<(String, DType, Vec<usize>)>) -> Result<Self> {
        Self::new(vec![(path.into(), layouts(tensors))], None)
    }

    fn new(shards: Vec<(PathBuf, Vec<(String, TensorLayout)>)>, index: Option<(PathBuf, String)>) -> Result<Self> {
        let (mut files, mut tensors) = (Vec::new(), BTreeMap::new());
        for (number, (path, layouts)) in shards.into_iter().enumerate() {
            let file = FileLayout::new(layouts).map_err(|error| ModelError::write(&path, error))?;
            let FileLayout { header, tensors: of_file, length } = file;
            let place = |(key, start, layout)| (key, Place { file: number, start, layout });
            tensors.extend(of_file.into_iter().map(place));
            files.push(SlicedFile { path, header, length, file: None });
        }
        Ok(Self { files, index, tensors })
    }

    /// Makes the files, with room for all values.
    ///
    /// # Errors
    /// [`ModelError::Write`] names the file: no room on the disk, for instance.
    pub fn create(&self) -> Result<()> {
        for SlicedFile { path, header, length, .. } in &self.files {
            let make = || {
                let mut file = File::create(path)?;
                reserve(&file, *length)?;
                file.write_all(header)?;
                file.sync_all()
            };
            make().map_err(|error| ModelError::write(path, error))?;
        }
        self.index.as_ref().map_or(Ok(()), |(path, text)| write_atomic(path, text.as_bytes()))
    }

    /// Writes values of a tensor from number `first` on, in the type of the file.
    ///
    /// # Errors
    /// [`ModelError::Write`] names the file: one that nobody has made, for instance.
    ///
    /// # Panics
    /// When there is no such tensor, or it has fewer values.
    pub fn write(&mut self, key: &str, first: usize, values: TensorData) -> Result<()> {
        let Place { file, start, layout } = self.tensors.get(key).expect("invariant: a tensor of these files");
        let values = values.convert_dtype(layout.dtype());
        let (offset, bytes) = (first * layout.dtype().size(), values.as_bytes());
        assert!(offset + bytes.len() <= layout.num_bytes(), "`{key}` has fewer values");
        let SlicedFile { path, file, .. } = &mut self.files[*file];
        let mut put = || {
            let file = match file {
                Some(file) => file,
                None => file.insert(OpenOptions::new().write(true).open(&*path)?),
            };
            file.seek(SeekFrom::Start(start + offset as u64))?;
            file.write_all(bytes)
        };
        put().map_err(|error| ModelError::write(&*path, error))
    }

    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    /// [`ModelError::Write`] names the file.
    pub fn sync(&mut self) -> Result<()> {
        for SlicedFile { path, file, .. } in &mut self.files {
            file.take().map_or(Ok(()), |file| file.sync_all()).map_err(|error| ModelError::write(&*path, error))?;
        }
        Ok(())
    }

    /// The files, the index last.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let files = self.files.iter().map(|file| file.path.as_path());
        files.chain(self.index.as_ref().map(|(path, _)| path.as_path()))
    }
}

fn layouts(tensors: Vec<(String, DType, Vec<usize>)>) -> Vec<(String, TensorLayout)> {
    tensors.into_iter().map(|(key, dtype, shape)| (key, TensorLayout::new(dtype, shape))).collect()
}
