//! What the corpora begin with: fixtures, inputs that are made of several of them, and the files in `fuzz/seeds`, which
//! are of formats that no fixture has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Between the files of an input, as in `fuzz/src/lib.rs`.
const SEPARATOR: &[u8] = b"\xff\xfe\xfd\xfc";

/// Files that are an input each, or folders of them, by target.
const FIXTURES: &[(&str, &[&str])] = &[
    ("weights", &["tests/fixtures/demo.safetensors"]),
    ("tokenizer", &["tests/fixtures/plain/tokenizer/tokenizer.json"]),
    ("pictures", &["tests/fixtures/pillow", "tests/fixtures/canny", "tests/fixtures/training"]),
    ("parquet", &["tests/fixtures/training"]),
    ("launch", &["tests/fixtures/training/accelerate.yaml"]),
    ("cards", &["assets/README.md", "assets/demo/README.md"]),
];
/// Which files of a folder are of a target.
const ENDINGS: &[(&str, &str)] = &[("pictures", "png"), ("parquet", "parquet")];

/// Pipelines, and the configurations that an input of `configs` has in this order.
const PIPELINES: [&str; 4] =
    ["tests/fixtures/plain", "tests/fixtures/variant", "tests/fixtures/untrained", "assets/demo"];
const CONFIGS: [&str; 5] = [
    "model_index.json",
    "transformer/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
];

/// Puts the seeds of a target, those that are not too long, into its corpus, and says how many.
pub(super) fn plant(crate_folder: &Path, target: &str, max_len: usize, corpus: &Path) -> Result<usize> {
    fs::create_dir_all(corpus).with_context(|| format!("creating {}", corpus.display()))?;
    let root = crate_folder.parent().unwrap_or(Path::new(""));
    let mut seeds = Vec::new();
    let ending = ENDINGS.iter().find(|(of, _)| *of == target).map(|(_, ending)| *ending);
    for fixture in FIXTURES.iter().filter(|(of, _)| *of == target).flat_map(|(_, fixtures)| *fixtures) {
        for path in files(&root.join(fixture), ending)? {
            seeds.push(read(&path)?);
        }
    }
    match target {
        "configs" => {
            // A pipeline that is whole without an input is the first seed.
            seeds.push(Vec::new());
            for pipeline in PIPELINES {
                let files = CONFIGS.iter().map(|name| read(&root.join(pipeline).join(name)));
                seeds.push(files.collect::<Result<Vec<_>>>()?.join(SEPARATOR));
            }
        }
        "parquet" => seeds = seeds.iter().flat_map(|file| [Some(file.clone()), in_two(file)]).flatten().collect(),
        _ => {}
    }
    let own = crate_folder.join("seeds").join(target);
    if own.is_dir() {
        for path in files(&own, None)? {
            seeds.push(read(&path)?);
        }
    }
    seeds.retain(|seed| seed.len() <= max_len);
    for (number, seed) in seeds.iter().enumerate() {
        let path = corpus.join(format!("seed-{number:03}"));
        fs::write(&path, seed).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(seeds.len())
}

/// A file, or those of a folder in the order of their names.
fn files(path: &Path, ending: Option<&str>) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.into()]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.with_context(|| format!("reading {}", path.display()))?.path());
    }
    let is_wanted = |file: &PathBuf| ending.is_none_or(|ending| file.extension().is_some_and(|found| found == ending));
    files.retain(|file| file.is_file() && is_wanted(file));
    files.sort();
    Ok(files)
}

/// A parquet file as what lies in front of its metadata, and its metadata without length and magic word.
fn in_two(file: &[u8]) -> Option<Vec<u8>> {
    let (rest, end) = file.split_at_checked(file.len().checked_sub(8)?)?;
    let length = u32::from_le_bytes(*end.first_chunk()?) as usize;
    let (pages, metadata) = rest.split_at_checked(rest.len().checked_sub(length)?)?;
    Some([pages, metadata].join(SEPARATOR))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}
