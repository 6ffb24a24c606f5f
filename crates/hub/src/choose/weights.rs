//! Names of weight files as diffusers and transformers write them:
//!
//! ```text
//! STEM.safetensors            STEM-00001-of-00002.safetensors            STEM.safetensors.index.json
//! STEM.VARIANT.safetensors    STEM.VARIANT-00001-of-00002.safetensors    STEM.safetensors.index.VARIANT.json
//!                             STEM-00001-of-00002.VARIANT.safetensors    STEM.safetensors.VARIANT.index.json
//! ```

/// `diffusion_pytorch_model` of diffusers, `model` of transformers.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];

/// The weight files of one model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightNames {
    /// Which tensor is in which file, where there are several.
    pub index: Option<String>,
    /// The files, in order.
    pub files: Vec<String>,
}

impl WeightNames {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.index.as_deref() == Some(name) || self.files.iter().any(|file| file == name)
    }
}

/// Finds the weights among the names of a folder: one file, or shards with their index.
///
/// ```
/// use cogview4_hub::choose::find_weights;
///
/// let names = ["config.json", "model.safetensors", "model.fp16.safetensors"];
/// assert_eq!(find_weights(&names, Some("fp16"))?.expect("there").files, ["model.fp16.safetensors"]);
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
/// A shard or the index is missing; the message names it.
pub fn find_weights(names: &[&str], variant: Option<&str>) -> Result<Option<WeightNames>, String> {
    let has = |name: &str| names.contains(&name);
    for stem in STEMS {
        let (spellings, single) = match variant {
            None => (vec![(format!("{stem}-"), String::new(), "index".to_string())], format!("{stem}.safetensors")),
            Some(variant) => (
                vec![
                    (format!("{stem}.{variant}-"), String::new(), format!("index.{variant}")),
                    (format!("{stem}-"), format!(".{variant}"), format!("{variant}.index")),
                ],
                format!("{stem}.{variant}.safetensors"),
            ),
        };
        // As weights are opened: one file wins over shards.
        if has(&single) {
            return Ok(Some(WeightNames { index: None, files: vec![single] }));
        }
        for (before, after, index) in spellings {
            let shards = find_shards(names, &before, &after)?;
            let index = format!("{stem}.safetensors.{index}.json");
            match (shards, has(&index)) {
                (Some(files), true) => return Ok(Some(WeightNames { index: Some(index), files })),
                (Some(_), false) => return Err(format!("there are shards, but {index} is missing")),
                (None, true) => return Err(format!("there is {index}, but no shard")),
                (None, false) => {}
            }
        }
    }
    Ok(None)
}

/// The shards `BEFORE 00001-of-00002 AFTER.safetensors`, all of them.
fn find_shards(names: &[&str], before: &str, after: &str) -> Result<Option<Vec<String>>, String> {
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let count = names.iter().find_map(|name| {
        let numbers = name.strip_prefix(before)?.strip_suffix(".safetensors")?.strip_suffix(after)?;
        let (number, count) = numbers.split_once("-of-")?;
        (is_number(number) && is_number(count)).then(|| count.parse::<u32>().ok())?
    });
    let Some(count) = count else { return Ok(None) };
    let shards = (1..=count).map(|number| {
        let name = format!("{before}{number:05}-of-{count:05}{after}.safetensors");
        if names.contains(&name.as_str()) { Ok(name) } else { Err(format!("{name} is missing")) }
    });
    shards.collect::<Result<_, _>>().map(Some)
}
