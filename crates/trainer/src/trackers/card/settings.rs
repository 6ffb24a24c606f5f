//! The settings that decide what a run learns, by the names of its flags.

use super::{
    Card,
    text::{code, plain},
};
use crate::schedule::{learning_rate::SchedulerType, timesteps::WeightingScheme};

/// As a table.
pub(super) fn settings(card: &Card) -> String {
    let mut table = String::from("| setting | value |\n|---|---|\n");
    for (name, value) in rows(card) {
        table.push_str(&format!("| {} | {} |\n", code(name), plain(&value)));
    }
    table
}

fn rows(card: &Card) -> Vec<(&'static str, String)> {
    let (config, recipe) = (&card.config, &card.config.recipe);
    let (schedule, adam, density) = (&recipe.schedule, &recipe.adam, &recipe.density);
    let mut rows = vec![
        ("max_train_steps", card.total_steps.to_string()),
        ("resolution", recipe.resolution.to_string()),
        ("train_batch_size", recipe.train_batch_size.to_string()),
        ("gradient_accumulation_steps", recipe.gradient_accumulation_steps.to_string()),
        ("learning_rate", format!("{:e}", schedule.learning_rate)),
        ("lr_scheduler", schedule.scheduler.to_string()),
    ];
    if schedule.scheduler != SchedulerType::Constant {
        rows.push(("lr_warmup_steps", schedule.warmup_steps.to_string()));
    }
    rows.extend([
        ("adam_beta1", adam.beta1.to_string()),
        ("adam_beta2", adam.beta2.to_string()),
        ("adam_weight_decay", adam.weight_decay.to_string()),
        ("adam_epsilon", format!("{:e}", adam.epsilon)),
        ("max_grad_norm", recipe.max_grad_norm.to_string()),
        ("weighting_scheme", density.scheme.to_string()),
    ]);
    match density.scheme {
        WeightingScheme::LogitNormal => {
            rows.extend([("logit_mean", density.logit_mean.to_string()), ("logit_std", density.logit_std.to_string())])
        }
        WeightingScheme::Mode => rows.push(("mode_scale", density.mode_scale.to_string())),
        _ => {}
    }
    rows.extend([
        ("proportion_empty_prompts", recipe.proportion_empty_prompts.to_string()),
        ("max_sequence_length", recipe.max_sequence_length.to_string()),
        ("caption_choice", recipe.caption_choice.to_string()),
        ("only_target_transformer_blocks", recipe.only_target_transformer_blocks.to_string()),
        ("computed in", recipe.compute_dtype.to_string()),
        ("saved in", config.save_dtype.to_string()),
        ("seed", card.seed.to_string()),
    ]);
    rows
}
