//! The YAML at the head of a card, with the fields that the Hub knows and checks.

use super::{Card, text::yaml};

/// Tags of the reference script.
const TAGS: [&str; 4] = ["cogview4", "cogview4-diffusers", "text-to-image", "diffusers"];
const CONTROL_TAG: &str = "control";
const TRAINING_TAG: &str = "diffusers-training";

/// With its fences. The Hub refuses a base model or data set that is not one of its names, so others are left out.
pub(super) fn front_matter(card: &Card, prompts: &[(String, &str)]) -> String {
    let mut lines: Vec<String> = vec!["---".into()];
    lines.extend(card.config.card.base_model.as_ref().map(|name| format!("base_model: {}", yaml(name))));
    if let Some(name) = &card.config.card.dataset {
        lines.extend(["datasets:".into(), format!("- {}", yaml(name))]);
    }
    lines.extend(
        ["library_name", "license", "pipeline_tag"]
            .into_iter()
            .zip(["diffusers", "other", "text-to-image"])
            .map(|(name, value)| format!("{name}: {value}")),
    );
    lines.extend(["inference: true".into(), "tags:".into()]);
    let control = card.config.recipe.control.then_some(CONTROL_TAG);
    lines.extend(TAGS.into_iter().chain(control).chain([TRAINING_TAG]).map(|tag| format!("- {tag}")));
    if !prompts.is_empty() {
        lines.push("widget:".into());
    }
    for (file, prompt) in prompts {
        lines.extend([format!("- text: {}", yaml(prompt)), "  output:".into(), format!("    url: {}", yaml(file))]);
    }
    lines.push("---\n".into());
    lines.join("\n")
}
