//! What weight files hold, and where two of them differ; one tensor at a time.

use burn::tensor::DType;

use super::{WeightFiles, files::TensorEntry};
use crate::error::Result;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSummary {
    /// Its name.
    pub key: String,
    /// Its type as safetensors calls it, such as `BF16`.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Number of its bytes.
    pub num_bytes: usize,
    /// BLAKE3 of its bytes.
    pub hash: blake3::Hash,
}

/// How a tensor of one set of files differs from that of another.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorDifference {
    /// Only the first has it.
    OnlyInFirst,
    /// Only the second has it.
    OnlyInSecond,
    /// The shapes differ.
    Shape([Vec<usize>; 2]),
    /// Types or values differ.
    Values {
        /// The types as safetensors calls them.
        dtypes: [String; 2],
        /// The largest difference of two values, 0 where only the types differ; infinite where one of them is not a
        /// number, `None` where they are no floating-point numbers.
        largest: Option<f64>,
    },
}

/// Looks at the tensors of files in the order of their keys.
///
/// ```no_run
/// use cogview4_model::weights::{WeightFiles, summarize};
///
/// let files = WeightFiles::open("CogView4-6B/transformer".as_ref(), "diffusion_pytorch_model")?;
/// for tensor in summarize(&files) {
///     let tensor = tensor?;
///     println!("{} {:?} {}", tensor.key, tensor.shape, tensor.hash);
/// }
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
pub fn summarize(files: &WeightFiles) -> impl Iterator<Item = Result<TensorSummary>> {
    files.keys().filter_map(|key| {
        let entry = files.entry(key)?;
        let (key, num_bytes, shape) = (key.to_owned(), entry.num_bytes(), entry.shape.to_vec());
        let hash = entry.bytes().map(|bytes| blake3::hash(&bytes));
        Some(hash.map(|hash| TensorSummary { key, dtype: entry.dtype, shape, num_bytes, hash }))
    })
}

/// Compares a tensor of two sets of files; `None` where both are the same, byte for byte.
///
/// # Errors
/// A file that cannot be read.
pub fn compare_tensor(files: [&WeightFiles; 2], key: &str) -> Result<Option<TensorDifference>> {
    let (first, second) = match files.map(|files| files.entry(key)) {
        [Some(first), Some(second)] => (first, second),
        [Some(_), None] => return Ok(Some(TensorDifference::OnlyInFirst)),
        [None, Some(_)] => return Ok(Some(TensorDifference::OnlyInSecond)),
        [None, None] => return Ok(None),
    };
    if first.shape != second.shape {
        return Ok(Some(TensorDifference::Shape([first.shape.to_vec(), second.shape.to_vec()])));
    }
    if first.dtype == second.dtype && first.bytes()? == second.bytes()? {
        return Ok(None);
    }
    let is_float = |entry: &TensorEntry<'_>| matches!(entry.dtype.as_str(), "F64" | "F32" | "F16" | "BF16");
    let largest = match is_float(&first) && is_float(&second) {
        true => Some(largest_difference(files, key)?),
        false => None,
    };
    Ok(Some(TensorDifference::Values { dtypes: [first.dtype, second.dtype], largest }))
}

fn largest_difference([first, second]: [&WeightFiles; 2], key: &str) -> Result<f64> {
    let read = |files: &WeightFiles| files.read(key, DType::F64);
    let (first, second) = (read(first)?, read(second)?);
    let difference = |(a, b): (f64, f64)| match (a.is_nan(), b.is_nan()) {
        (true, true) => 0.0,
        (false, false) if a == b => 0.0,
        (false, false) => (a - b).abs(),
        _ => f64::INFINITY,
    };
    Ok(first.iter::<f64>().zip(second.iter::<f64>()).map(difference).fold(0.0, f64::max))
}
