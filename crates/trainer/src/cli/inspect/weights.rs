//! What is in weight files, and how two sets of them differ.

use std::{collections::BTreeSet, io::Write, path::Path};

use cogview4_cli::safe_line;
use cogview4_control_pipeline::{ModelFolder, PipelineError, fetch_model};
use cogview4_hub::{Hub, HubError, Source};
use cogview4_model::weights::{TensorDifference, WeightFiles, compare_tensor, summarize};

use super::{Inspected, has_extension, on_output};
use crate::error::Result;

/// Weights of a file or folder: each component's name with a slash, and its files.
pub(super) type Weights = Vec<(String, WeightFiles)>;

/// Weights, if it is weights that are there; a name on the Hub may be that of a data set.
pub(super) fn open(path: &Path) -> Result<Option<Weights>> {
    let path = match fetch_model(&Source::from(path), &Hub::from_env()) {
        Err(PipelineError::Hub(HubError::RepoNotFound { .. })) => return Ok(None),
        fetched => &fetched?,
    };
    if has_extension(path, "safetensors") {
        return Ok(Some(vec![(String::new(), WeightFiles::open_file(path)?)]));
    }
    let opened = match ModelFolder::find(path) {
        Ok(folder) => folder.open_weights()?,
        Err(_) if !path.join("model_index.json").is_file() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let prefix = |name: String| if name.is_empty() { name } else { name + "/" };
    Ok(Some(opened.into_iter().map(|(name, files)| (prefix(name), files)).collect()))
}

/// One line a tensor, then the totals. The hash of all depends on names, types, shapes and values, not on shards.
pub(super) fn show(weights: &Weights, out: &mut dyn Write) -> Result<Inspected> {
    let (mut total, mut outcome) = (blake3::Hasher::new(), Inspected::default());
    let (mut parameters, mut bytes) = (0, 0);
    for (prefix, files) in weights {
        for tensor in summarize(files) {
            let tensor = tensor?;
            let line = format!("{prefix}{}  {} {:?}  {}", tensor.key, tensor.dtype, tensor.shape, tensor.hash);
            total.update(line.as_bytes()).update(b"\n");
            writeln!(out, "{}", safe_line(&line)).map_err(on_output)?;
            parameters += tensor.shape.iter().product::<usize>();
            bytes += tensor.num_bytes;
            outcome.tensors += 1;
        }
    }
    let count = outcome.tensors;
    writeln!(out, "{count} tensors, {parameters} parameters, {bytes} bytes, blake3 {}", total.finalize())
        .map_err(on_output)?;
    Ok(outcome)
}

/// One line for each tensor that differs. One component alone is compared with another whatever their names.
pub(super) fn compare(weights: [&Weights; 2], out: &mut dyn Write) -> Result<Inspected> {
    let mut outcome = Inspected::default();
    let files_of =
        |name: &str| weights.map(|side| side.iter().find(|(prefix, _)| prefix == name).map(|(_, files)| files));
    let pairs: Vec<(String, [Option<&WeightFiles>; 2])> = match weights.map(Vec::as_slice) {
        [[(_, first)], [(_, second)]] => vec![(String::new(), [Some(first), Some(second)])],
        sides => {
            let names: BTreeSet<&str> =
                sides.iter().flat_map(|side| side.iter().map(|(name, _)| name.as_str())).collect();
            names.into_iter().map(|name| (name.to_owned(), files_of(name))).collect()
        }
    };
    for (prefix, files) in pairs {
        let keys: BTreeSet<&str> = files.iter().flatten().flat_map(|files| files.keys()).collect();
        outcome.tensors += keys.len();
        for key in keys {
            let difference = match files {
                [Some(first), Some(second)] => compare_tensor([first, second], key)?,
                [Some(_), None] => Some(TensorDifference::OnlyInFirst),
                _ => Some(TensorDifference::OnlyInSecond),
            };
            if let Some(difference) = difference {
                outcome.differences += 1;
                let line = format!("{prefix}{key}: {}", shown(&difference));
                writeln!(out, "{}", safe_line(&line)).map_err(on_output)?;
            }
        }
    }
    writeln!(out, "{} tensors, {} differ", outcome.tensors, outcome.differences).map_err(on_output)?;
    Ok(outcome)
}

fn shown(difference: &TensorDifference) -> String {
    match difference {
        TensorDifference::OnlyInFirst => "only in the first".into(),
        TensorDifference::OnlyInSecond => "only in the second".into(),
        TensorDifference::Shape([first, second]) => format!("shape {first:?} and {second:?}"),
        TensorDifference::Values { dtypes: [first, second], largest } => {
            let types = if first == second { String::new() } else { format!("type {first} and {second}, ") };
            match largest {
                Some(0.0) => format!("{types}equal values"),
                Some(largest) => format!("{types}largest difference {largest:e}"),
                None => format!("{types}other values"),
            }
        }
    }
}
