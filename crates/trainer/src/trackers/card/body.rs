//! What a card says, section by section.

use super::{
    Card, DECAY, Found, PLOT,
    settings::settings,
    text::{block, code, plain},
    usage::Usage,
};
use crate::{
    config::{shown_folder, shown_source},
    metrics::Validation,
    page::smoothed,
};

/// Without the front matter.
pub(super) fn body(card: &Card, found: &Found<'_>) -> String {
    let sections =
        [title(card, found), pictures(card, found), measured(card, found), usage(card, found), training(card)];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The repository on the Hub, where it is known with its owner.
fn hub_id(card: &Card) -> Option<&str> {
    card.config.card.hub_model_id.as_deref().filter(|id| id.contains('/'))
}

/// A link to something on the Hub, or a local name in words.
fn named(id: Option<&String>, kind: &str, local: String) -> String {
    match id {
        Some(id) => format!("[{}](https://huggingface.co/{kind}{id})", plain(id)),
        None => local,
    }
}

fn title(card: &Card, found: &Found<'_>) -> String {
    let config = &card.config;
    let name = config.card.hub_model_id.clone().unwrap_or_else(|| shown_folder(&config.output_dir));
    let name = name.rsplit('/').find(|part| !part.is_empty()).unwrap_or("cogview4-control");
    let what = match config.recipe.control {
        true => "A transformer for CogView4 Control: it draws pictures from a prompt and a control image.",
        false => "A transformer for CogView4: it draws pictures from a prompt.",
    };
    let local = format!("the pipeline {}", code(&shown_source(&config.pretrained_model)));
    let base = named(config.card.base_model.as_ref(), "", local);
    let data = named(config.card.dataset.as_ref(), "datasets/", "a local data set".into());
    let pairs = if config.recipe.control { "pairs of pictures and control images" } else { "pictures" };
    let stopped = found.weights.map(|weights| {
        format!(
            "\n**The run was stopped after step {} of {}.** The weights are in {}.\n",
            found.step,
            card.total_steps,
            code(weights)
        )
    });
    format!(
        "# {}\n\n{what} It was fine-tuned from {base} in {} steps on {} {pairs} of {data}, with `train_control_cogview4`.\n{}\n\
         The licences of the base model and of the data apply.\n",
        plain(name),
        found.step,
        card.rows,
        stopped.unwrap_or_default(),
    )
}

fn pictures(card: &Card, found: &Found<'_>) -> String {
    let Some(first) = found.pairs.first() else { return String::new() };
    let mut section = format!(
        "## Pictures\n\nDrawn after step {} with a guidance scale of {} and the seeds from {} on.\n\n\
         | control image | pictures | prompt |\n|---|---|---|\n",
        first.step, card.config.validation.guidance_scale, first.seed
    );
    for pair in found.pairs {
        let prompt = plain(&pair.prompt);
        section
            .push_str(&format!("| ![control image]({}) | ![pictures]({}) | {prompt} |\n", pair.control, pair.images));
    }
    section
}

fn measured(card: &Card, found: &Found<'_>) -> String {
    let mut lines = Vec::new();
    let losses: Vec<(f64, f64)> = found.measured.metrics.iter().map(|step| (step.step as f64, step.loss)).collect();
    let at_end = smoothed(&losses, DECAY);
    lines.extend(at_end.last().map(|(_, loss)| format!("- **Loss** at the end, smoothed: {loss:.4}.")));
    let validations = &found.measured.validations;
    if let Some((validation, gain)) = validations.iter().rev().find_map(|found| Some((found, found.control_gain?))) {
        lines.push(format!(
            "- **Control gain**: {:.1} %. By so much the loss grows when each sample gets the control image of another: at 0 \
             the model does not look at it. Measured on {}.",
            100.0 * gain,
            plain(&validation.probe)
        ));
    }
    if card.config.recipe.control {
        lines.extend(validations.iter().rev().find(|found| !found.controls.is_empty()).map(fidelity));
    }
    let plot = match found.has_plot {
        true => format!("\n![Loss and control gain by step]({PLOT})\n"),
        false => String::new(),
    };
    format!("## What was measured\n\n{}\n{plot}", lines.join("\n"))
}

/// Whether the pictures follow their control images.
fn fidelity(validation: &Validation) -> String {
    let found = &validation.fidelity;
    let controls = plain(&validation.controls);
    let against = |shuffled: Option<f64>, decimals: usize| {
        shuffled.map_or(String::new(), |value| format!(", against another pair's control image {value:.decimals$}"))
    };
    let (measured, meaning) = if let Some(f1) = found.edge_f1 {
        let parts = found.edge_precision.zip(found.edge_recall);
        let parts = parts.map(|(precision, recall)| format!(" (precision {precision:.2}, recall {recall:.2})"));
        let measured = format!("edge F1 {f1:.2}{}{}", parts.unwrap_or_default(), against(found.edge_f1_shuffled, 2));
        (measured, "1 where the edges of a picture are all and only those of its control image")
    } else if let Some(ssim) = found.blur_ssim {
        let measured = format!("blurred SSIM {ssim:.2}{}", against(found.blur_ssim_shuffled, 2));
        (measured, "1 where a picture is the control image when both are blurred")
    } else if let Some(distance) = found.colour_distance {
        let measured = format!("colour distance {distance:.1}{}", against(found.colour_distance_shuffled, 1));
        (measured, "CIELAB, 0 where a picture has the colours of its control image")
    } else {
        return format!("- **Fidelity** of the pictures: {controls}.");
    };
    format!("- **Fidelity** of the pictures: {measured}: {meaning}. In the training set, {controls}.")
}

fn usage(card: &Card, found: &Found<'_>) -> String {
    let config = &card.config;
    let folder = shown_folder(&config.output_dir);
    let id = hub_id(card).filter(|_| found.weights.is_none());
    let in_folder = |name: &str| format!("{}/{name}", folder.trim_end_matches('/'));
    let model = match (id, found.weights) {
        (Some(id), _) => id.to_string(),
        (None, Some(weights)) => in_folder(weights),
        (None, None) => folder.clone(),
    };
    let pair = found.pairs.first();
    let control_image = pair.map(|pair| match id {
        Some(id) => format!("https://huggingface.co/{id}/resolve/main/{}", pair.control),
        None => in_folder(&pair.control),
    });
    let usage = Usage {
        control: config.recipe.control,
        pipeline: config.card.base_model.clone().unwrap_or_else(|| shown_source(&config.pretrained_model)),
        model,
        control_image,
        prompt: pair.map(|pair| pair.prompt.clone()),
        resolution: config.recipe.resolution,
        guidance_scale: config.validation.guidance_scale,
        max_sequence_length: config.recipe.max_sequence_length,
        seed: pair.map_or(card.seed, |pair| pair.seed),
        dtype: config.save_dtype,
    };
    format!(
        "## Use\n\nThis is the transformer alone; the pipeline that it was trained with gives the rest.\n\nIn Rust, with the \
         crate `cogview4`:\n\n{}\nIn Python, with `diffusers`:\n\n{}",
        block("rust", &usage.rust()),
        block("python", &usage.python())
    )
}

fn training(card: &Card) -> String {
    let command = card.config.card.command_line.as_ref();
    let command = command.map(|command| format!("{}\n", block("sh", command)));
    format!(
        "## Training\n\n{}{}\nAll settings and curves are in `report.html`.\n",
        command.unwrap_or_default(),
        settings(card)
    )
}
