//! What of an output folder is for others: the transformer, its card, pictures and measures.

/// Name of the transformer's weights without numbers and endings.
const WEIGHTS: &str = "diffusion_pytorch_model";
/// Files that are published by their names.
const NAMES: [&str; 5] = ["config.json", "README.md", "report.html", "metrics.jsonl", "validation.jsonl"];

/// Whether a file of an output folder, by its path in it, belongs on the Hub. Checkpoints, packs, logs of trackers,
/// hidden and unfinished files do not.
///
/// ```
/// use cogview4_trainer::is_published;
///
/// assert!(is_published("diffusion_pytorch_model.safetensors"));
/// assert!(!is_published("checkpoint-500/transformer/diffusion_pytorch_model.safetensors"));
/// ```
pub fn is_published(path: &str) -> bool {
    let is_picture = |name: &str, endings: &[&str]| {
        name.rsplit_once('.').is_some_and(|(stem, ending)| !stem.is_empty() && endings.contains(&ending))
    };
    match path.split_once('/') {
        None if NAMES.contains(&path) || is_weights(path) || is_picture(path, &["svg"]) => true,
        None => {
            let is_of_card = path.starts_with("images_") || path.starts_with("image_control");
            is_of_card && is_picture(path, &["png", "jpg", "jpeg", "webp"])
        }
        Some(("validation", name)) => !name.contains('/') && is_picture(name, &["png", "svg"]),
        Some(_) => false,
    }
}

/// Whether a file is one of a transformer's weights, or their index: with others of a model that was there before, a
/// repository would hold two.
pub(crate) fn is_weights(path: &str) -> bool {
    let Some(rest) = path.strip_prefix(WEIGHTS) else { return false };
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_shard =
        |numbers: &str| numbers.split_once("-of-").is_some_and(|(number, count)| is_number(number) && is_number(count));
    match rest {
        ".safetensors" | ".safetensors.index.json" => true,
        _ => rest.strip_prefix('-').and_then(|rest| rest.strip_suffix(".safetensors")).is_some_and(is_shard),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_others_is_published_and_nothing_else() {
        for path in [
            "config.json",
            "README.md",
            "report.html",
            "metrics.jsonl",
            "validation.jsonl",
            "diffusion_pytorch_model.safetensors",
            "diffusion_pytorch_model.safetensors.index.json",
            "diffusion_pytorch_model-00001-of-00002.safetensors",
            "images_0.png",
            "image_control.png",
            "image_control_1.jpg",
            "training.svg",
            "validation/step-3-1-1.png",
        ] {
            assert!(is_published(path), "{path}");
        }
        for path in [
            "",
            ".lock",
            ".svg",
            "config.json.tmp",
            "step.safetensors",
            "diffusion_pytorch_model-00001-of-00002.safetensors.tmp",
            "diffusion_pytorch_model-1-of-2.safetensors",
            "check.html",
            "picture.png",
            "images_0",
            "validation/.png",
            "validation/deep/a.png",
            "validation/a.png.tmp",
            "checkpoint-1/config.json",
            "checkpoint-1/transformer/diffusion_pytorch_model.safetensors",
            "pack/records",
            "logs/cogview4_train_control/events",
            "wandb/latest-run/files/media/images/a.png",
            ".cache/config.json",
        ] {
            assert!(!is_published(path), "{path}");
        }
    }
}
