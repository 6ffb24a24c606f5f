//! Memory that is zero at first: the process's own, or that of a file, which the system writes and reads as it likes.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::tensor::Device;
use cogview4_model::files::reserve;
use memmap2::{MmapMut, MmapOptions};

use crate::error::{Result, TrainError};

/// Parts of the file begin at multiples of this, so that numbers of every type are aligned.
const ALIGNMENT: u64 = 64;

/// Where the state of the optimiser is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StatePlace {
    /// In the memory of the process.
    #[default]
    Memory,
    /// In a file in this folder. It has no name and is gone with the process: checkpoints are what lasts.
    Disk(PathBuf),
    /// On this device, by whose operations steps are made, in f32: gradients and parameters do not leave it. Neither 8 bits
    /// nor rounding at random.
    Device(Device),
}

/// Gives memory in one place.
#[derive(Debug, Default)]
pub(super) struct Memory {
    file: Option<Scratch>,
}

#[derive(Debug)]
struct Scratch {
    folder: PathBuf,
    file: File,
    length: u64,
}

impl Memory {
    pub(super) fn open(place: &StatePlace) -> Result<Self> {
        let file = match place {
            StatePlace::Memory | StatePlace::Device(_) => None,
            StatePlace::Disk(folder) => {
                let file = tempfile::tempfile_in(folder).map_err(|error| fail(folder, &error))?;
                Some(Scratch { folder: folder.clone(), file, length: 0 })
            }
        };
        Ok(Self { file })
    }

    /// So many values, all zero. A file has room for them from now on.
    #[expect(unsafe_code, reason = "memory-mapping a file is unsafe by definition")]
    pub(super) fn zeros<T>(&mut self, count: usize) -> Result<MmapMut> {
        let bytes = count * size_of::<T>();
        let Some(Scratch { folder, file, length }) = &mut self.file else {
            return anonymous(bytes);
        };
        let start = *length;
        *length = (start + bytes as u64).next_multiple_of(ALIGNMENT);
        reserve(file, *length).map_err(|error| fail(folder, &error))?;
        // SAFETY: the file has no name, so nobody else changes or cuts it; parts do not overlap.
        unsafe { MmapOptions::new().offset(start).len(bytes).map_mut(&*file) }.map_err(|error| fail(folder, &error))
    }
}

fn fail(folder: &Path, error: &std::io::Error) -> TrainError {
    TrainError::setting("scratch_dir", format!("{}: {error}", folder.display()))
}

/// Memory of the state. What a checkpoint shares that is still being written is copied before it changes.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<MmapMut>);

impl Shared {
    pub(super) fn new(memory: MmapMut) -> Self {
        Self(Arc::new(memory))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The values of memory that was made for f32.
    pub(super) fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(self.bytes())
    }

    /// The bytes, to change them.
    ///
    /// # Errors
    /// No memory for the copy.
    pub(super) fn bytes_mut(&mut self) -> Result<&mut [u8]> {
        if Arc::get_mut(&mut self.0).is_none() {
            let mut copy = anonymous(self.0.len())?;
            copy.copy_from_slice(&self.0);
            self.0 = Arc::new(copy);
        }
        Ok(Arc::get_mut(&mut self.0).expect("invariant: nobody shares it now"))
    }

    /// As [`bytes_mut`](Self::bytes_mut), of memory that was made for f32.
    ///
    /// # Errors
    /// No memory for the copy.
    pub(super) fn floats_mut(&mut self) -> Result<&mut [f32]> {
        self.bytes_mut().map(bytemuck::cast_slice_mut)
    }
}

fn anonymous(bytes: usize) -> Result<MmapMut> {
    MmapMut::map_anon(bytes).map_err(|error| {
        let reason = format!("{bytes} bytes of memory are not to be had ({error}): `disk` needs less");
        TrainError::setting("optimizer_offload", reason)
    })
}
