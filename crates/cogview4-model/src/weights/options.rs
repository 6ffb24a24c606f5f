//! How the weights of a model are held.

use burn::tensor::{DType, Device};

/// How the weights of a model are held.
///
/// ```
/// use burn::tensor::{DType, Device};
/// use cogview4_model::weights::WeightOptions;
///
/// let options = WeightOptions { resident_blocks: Some(0), ..WeightOptions::new(DType::BF16, &Device::flex()) };
/// ```
#[derive(Debug, Clone)]
pub struct WeightOptions {
    /// The type that parameters get, whatever the files hold.
    pub dtype: DType,
    /// Where they go.
    pub device: Device,
    /// The variant of the files, such as `fp16`.
    pub variant: Option<String>,
    /// Whether parameters share the memory of the files, where those hold them in this type and the backend can do so.
    /// Nothing is copied then; the files must stay as they are while the model lives.
    pub is_mapped: bool,
    /// Which matrices of the blocks are kept in 8 bits, see [`QuantizedMatrix`](crate::ops::QuantizedMatrix).
    pub int8: Int8,
    /// So many blocks stay in memory, the others are read before each use, one ahead; `None` keeps all.
    pub resident_blocks: Option<usize>,
}

/// Which matrices of blocks are kept in 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Int8 {
    /// None: all get the type that is asked for.
    #[default]
    Never,
    /// Those that are so in the files.
    AsStored,
    /// All; they are quantised where the files hold the values.
    Always,
}

impl WeightOptions {
    /// All weights in this type, in memory of their own on this device.
    pub fn new(dtype: DType, device: &Device) -> Self {
        Self {
            dtype,
            device: device.clone(),
            variant: None,
            is_mapped: false,
            int8: Int8::Never,
            resident_blocks: None,
        }
    }
}
