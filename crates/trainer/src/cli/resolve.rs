//! From flags as written to what a run takes: the defaults, what was given laid over them, and what is refused.

use std::{collections::BTreeSet, path::PathBuf};

use cogview4_control_pipeline::{ControlLatents, PipelineSource};
use cogview4_data::Columns;
use cogview4_hub::{Hub, Source};
use cogview4_model::ComputeDtype;

use super::{
    args::Args,
    dataset::{DataConfig, DataSource},
    push::{self, PushArgs},
};
use crate::{
    config::{Packing, Recipe, Resume, TrackerKind, TrainConfig, ValidationPair, ZeroStage},
    error::{Result, TrainError},
};

/// Lays a value that was given over the one that is there.
pub(super) fn lay<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

impl Args {
    /// Checks the flags and resolves them.
    ///
    /// # Errors
    /// [`TrainError::Setting`] names the flag that is out of range, does not fit another, or is not available.
    pub fn resolve(self) -> Result<(TrainConfig, DataConfig)> {
        if self.pretrained_model_name_or_path.is_none() {
            return Err(TrainError::setting("pretrained_model_name_or_path", "give the pipeline to train on"));
        }
        let data = self.data()?;
        let config = self.config()?;
        config.check()?;
        Ok((config, data))
    }

    /// The rows that are asked for.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn data(&self) -> Result<DataConfig> {
        let source = match (&self.dataset_name, &self.jsonl_for_train) {
            (Some(path), None) => {
                DataSource::Dataset { source: path.into(), config_name: self.dataset_config_name.clone() }
            }
            (None, Some(path)) => DataSource::Jsonl(path.clone()),
            (Some(_), Some(_)) => {
                return Err(TrainError::setting("dataset_name", "cannot be given together with --jsonl_for_train"));
            }
            (None, None) => return Err(TrainError::setting("dataset_name", "give this or --jsonl_for_train")),
        };
        if self.max_train_samples == Some(0) {
            return Err(TrainError::setting("max_train_samples", "must be at least 1"));
        }
        let mut columns = Columns::default();
        lay(&mut columns.image, self.image_column.clone());
        lay(&mut columns.conditioning_image, self.conditioning_image_column.clone());
        lay(&mut columns.caption, self.caption_column.clone());
        Ok(DataConfig { source, hub: self.hub(), columns, max_train_samples: self.max_train_samples })
    }

    /// Where the models come from, with the Hub of the environment.
    ///
    /// # Errors
    /// A revision of a folder.
    pub(super) fn pipeline(&self) -> Result<PipelineSource> {
        let path = self.pretrained_model_name_or_path.clone().unwrap_or_default();
        let pipeline = Source::from(path);
        if let (Source::Folder(folder), Some(_)) = (&pipeline, &self.revision) {
            let reason = format!("`{}` is a folder, only names on the Hub have revisions", folder.display());
            return Err(TrainError::setting("revision", reason));
        }
        Ok(PipelineSource {
            pipeline: pipeline.with_revision(self.revision.clone()),
            transformer: self.transformer.clone().map(Source::from),
            variant: self.variant.clone(),
            hub: self.hub(),
        })
    }

    /// The Hub of the environment, asked with the token that was given.
    fn hub(&self) -> Hub {
        let hub = push::hub(self.hub_token.as_ref());
        match &self.cache_dir {
            Some(folder) => hub.with_cache_dir(folder),
            None => hub,
        }
    }

    /// Where the run is pushed to, if it is; looked at by the Hub later.
    pub(super) fn push(&self) -> Option<PushArgs> {
        self.push_to_hub.then(|| PushArgs {
            output_dir: self.output_dir(),
            hub_model_id: self.hub_model_id.clone(),
            hub_token: self.hub_token.clone(),
            private: false,
        })
    }

    fn output_dir(&self) -> PathBuf {
        self.output_dir.clone().unwrap_or_else(|| "cogview4-control".into())
    }

    /// The run, without its data.
    pub(crate) fn config(mut self) -> Result<TrainConfig> {
        self.lay_config_file()?;
        let report_to = self.report_to()?;
        self.check_available()?;
        push::check_token(self.hub_token.as_ref())?;
        let pipeline = self.pipeline()?;
        let mut config = TrainConfig::new(pipeline.pipeline, self.output_dir());
        config.card = self.card();
        self.lay_over_recipe(&mut config.recipe);
        config.save_dtype = match self.upcast_before_saving {
            true => ComputeDtype::Float32,
            false => config.recipe.compute_dtype,
        };
        lay(&mut config.validation.steps, self.validation_steps);
        lay(&mut config.validation.num_validation_images, self.num_validation_images);
        lay(&mut config.validation.guidance_scale, self.guidance_scale);
        config.validation.pairs = pairs(self.validation_prompt, self.validation_image)?;
        config.transformer = pipeline.transformer;
        config.variant = pipeline.variant;
        config.hub = pipeline.hub;
        lay(&mut config.num_train_epochs, self.num_train_epochs);
        config.max_train_steps = self.max_train_steps;
        lay(&mut config.checkpointing_steps, self.checkpointing_steps);
        config.checkpoints_total_limit = self.checkpoints_total_limit;
        config.background_saves = self.background_saves;
        config.resume = self.resume_from_checkpoint.map(|value| match value.as_str() {
            "latest" => Resume::Latest,
            path => Resume::Checkpoint(path.into()),
        });
        config.allow_config_change = self.allow_config_change;
        lay(&mut config.dataloader_num_workers, self.dataloader_num_workers);
        config.pack = match self.pack_dir {
            _ if self.no_pack => Packing::None,
            None => Packing::OutputDir,
            Some(folder) => Packing::Folder(folder),
        };
        config.dump_step = self.dump_step;
        lay(&mut config.device, self.device);
        config.peak_tflops = self.peak_tflops;
        config.offload = self.offload;
        config.max_memory = self.max_memory.map(|size| size.0);
        lay(&mut config.optimizer_offload, self.optimizer_offload);
        lay(&mut config.gradient_offload, self.gradient_offload);
        lay(&mut config.param_offload, self.param_offload);
        // Stage 0 divides what stage 1 does: it only says that nothing more is asked for.
        config.zero_stage = match self.zero_stage.as_deref() {
            Some("0" | "1") => ZeroStage::One,
            _ => ZeroStage::Two,
        };
        config.scratch_dir = self.scratch_dir;
        config.gradient_checkpointing = self.gradient_checkpointing;
        config.seed = self.seed;
        lay(&mut config.report_to, report_to);
        lay(&mut config.logging_dir, self.logging_dir);
        lay(&mut config.tracker_project_name, self.tracker_project_name);
        config.log_dataset_samples = self.log_dataset_samples;
        Ok(config)
    }

    /// Lays what decides the numbers over the defaults.
    fn lay_over_recipe(&self, recipe: &mut Recipe) {
        lay(&mut recipe.resolution, self.resolution);
        lay(&mut recipe.max_sequence_length, self.max_sequence_length);
        lay(&mut recipe.train_batch_size, self.train_batch_size);
        lay(&mut recipe.gradient_accumulation_steps, self.gradient_accumulation_steps);
        lay(&mut recipe.proportion_empty_prompts, self.proportion_empty_prompts);
        lay(&mut recipe.max_grad_norm, self.max_grad_norm);
        lay(&mut recipe.schedule.scheduler, self.lr_scheduler);
        lay(&mut recipe.schedule.learning_rate, self.learning_rate);
        lay(&mut recipe.schedule.warmup_steps, self.lr_warmup_steps);
        lay(&mut recipe.schedule.num_cycles, self.lr_num_cycles);
        lay(&mut recipe.schedule.power, self.lr_power);
        if self.scale_lr {
            let of_process = recipe.gradient_accumulation_steps.saturating_mul(recipe.train_batch_size);
            let samples = of_process.saturating_mul(self.num_processes.unwrap_or(1));
            recipe.schedule.learning_rate *= samples as f64;
        }
        lay(&mut recipe.adam.beta1, self.adam_beta1);
        lay(&mut recipe.adam.beta2, self.adam_beta2);
        lay(&mut recipe.adam.weight_decay, self.adam_weight_decay);
        lay(&mut recipe.adam.epsilon, self.adam_epsilon);
        lay(&mut recipe.density.scheme, self.weighting_scheme);
        lay(&mut recipe.density.logit_mean, self.logit_mean);
        lay(&mut recipe.density.logit_std, self.logit_std);
        lay(&mut recipe.density.mode_scale, self.mode_scale);
        lay(&mut recipe.weighting_sigma, self.weighting_sigma);
        lay(&mut recipe.caption_choice, self.caption_choice);
        recipe.sample_control_latents = self.control_latents == Some(ControlLatents::Sample);
        recipe.strict_text_mask = self.strict_text_mask;
        recipe.int8_text_encoder = self.weights.is_some();
        if self.mixed_precision.as_deref() == Some("bf16") {
            recipe.compute_dtype = ComputeDtype::BFloat16;
        }
        recipe.use_8bit_adam = self.use_8bit_adam;
        recipe.stochastic_rounding = self.stochastic_rounding;
        recipe.optimizer_in_backward = self.optimizer_in_backward;
        recipe.only_target_transformer_blocks = self.only_target_transformer_blocks;
    }

    /// The trackers, where they are given.
    fn report_to(&self) -> Result<Option<BTreeSet<TrackerKind>>> {
        let report_to = match self.report_to.as_deref() {
            None => None,
            Some("all") => Some(TrackerKind::all()),
            Some("none") => Some(BTreeSet::new()),
            Some("comet_ml") => {
                let reason = "`comet_ml` is reached through its own Python library only, use `tensorboard` or `wandb`";
                return Err(TrainError::setting("report_to", reason));
            }
            Some(name) => {
                let unknown = |_| format!("`{name}` is unknown, use {}, all or none", TrackerKind::NAMES.join(", "));
                let kind = name.parse().map_err(|reason| TrainError::setting("report_to", unknown(reason)))?;
                Some(BTreeSet::from([kind]))
            }
        };
        let has_wandb = report_to.as_ref().is_some_and(|all| all.contains(&TrackerKind::Wandb));
        if has_wandb && self.hub_token.is_some() {
            let reason =
                "cannot be given together with --report_to wandb, which is sent all flags: set HF_TOKEN instead";
            return Err(TrainError::setting("hub_token", reason));
        }
        if self.wandb_sync && !has_wandb {
            return Err(TrainError::setting("wandb_sync", "needs --report_to wandb"));
        }
        Ok(report_to)
    }

    /// Refuses types that are not computed in.
    fn check_available(&self) -> Result<()> {
        match self.mixed_precision.as_deref() {
            None | Some("no" | "bf16") => Ok(()),
            Some("fp16") => Err(TrainError::setting("mixed_precision", "`fp16` is not supported, use `bf16` or `no`")),
            Some(other) => {
                Err(TrainError::setting("mixed_precision", format!("`{other}` is unknown, use `bf16` or `no`")))
            }
        }
    }
}

/// Lines prompts and control images up; one of either serves all of the other.
fn pairs(prompts: Vec<String>, images: Vec<String>) -> Result<Vec<ValidationPair>> {
    if prompts.is_empty() != images.is_empty() {
        let (given, missing) = match prompts.is_empty() {
            true => ("validation_image", "validation_prompt"),
            false => ("validation_prompt", "validation_image"),
        };
        return Err(TrainError::setting(given, format!("needs --{missing} too")));
    }
    if prompts.len() != images.len() && prompts.len() != 1 && images.len() != 1 {
        let reason = format!("{} prompts for {} images, as many or one are needed", prompts.len(), images.len());
        return Err(TrainError::setting("validation_prompt", reason));
    }
    let pair = |index: usize| ValidationPair {
        prompt: prompts[index % prompts.len()].clone(),
        image: images[index % images.len()].clone(),
    };
    Ok((0..prompts.len().max(images.len())).map(pair).collect())
}
