//! The stages of a run, and what each holds.

use cogview4_control_pipeline::plan::{DrawingSettings, Part, Place, Stage, WeightStorage};
use cogview4_model::{
    ComputeDtype, DeviceSpec,
    activations::{ActivationSettings, Cost, KeptGradients, Recompute, SequenceLengths},
};

use super::{
    TrainPlanner,
    state::{gradient_bytes, state_bytes},
};
use crate::{
    config::{Offload, TrainConfig, ZeroStage},
    samples::STREAMED_TOGETHER,
    step::parts,
};

const F32: u64 = 4;
/// Units of gradients that leave a process at a time: one that is sent and received, and one that waits.
const UNITS_UNDER_WAY: u64 = 3;
/// Seconds of one thread for the update of a parameter: with moments in f32, and in 8 bits.
const UPDATE_SECONDS: [f64; 2] = [3.5e-9, 9e-9];

impl TrainPlanner {
    pub(super) fn stages(&self, config: &TrainConfig) -> Vec<Stage> {
        let mut stages = Vec::new();
        let is_packed = config.pack_folder().is_some();
        if is_packed && !super::disk::is_pack_complete(config, &self.configs, self.rows) {
            stages.push(self.stage("pack", self.encoding(config), None));
        }
        let mut held = self.held(config);
        // What changes while a checkpoint is written is there twice: all of it, at worst.
        let twice = if config.background_saves { held.iter().map(|part| part.bytes).sum() } else { 0 };
        let mut load = held.clone();
        load.push(Part { name: "block in float32", bytes: self.loading(config), place: Place::Anonymous });
        stages.push(self.stage("load", load, None));
        held.push(Part { name: "checkpoint that is written", bytes: twice, place: Place::Anonymous });
        if !is_packed {
            held.extend(self.encoding(config));
        }
        if !config.validation.pairs.is_empty() {
            held.push(Part { name: "autoencoder", bytes: self.vae_bytes(), place: own_place(config) });
        }
        let (gradients, activations) = self.training(config);
        let mut train = held.clone();
        train.extend([gradients, activations]);
        let steps = self.steps.len() as f64;
        stages.push(self.stage("train", train, self.step_seconds(config).map(|seconds| seconds * steps)));
        if !config.validation.pairs.is_empty() {
            let mut validate = held.clone();
            validate.push(Part { name: "activations", bytes: self.drawing(config).bytes, place: own_place(config) });
            stages.push(self.stage("validate", validate, None));
        }
        let mut save = held;
        save.push(Part { name: "a tensor", bytes: self.sizes.largest * (F32 + F32), place: Place::Anonymous });
        stages.push(self.stage("save", save, None));
        stages
    }

    fn stage(&self, name: &'static str, parts: Vec<Part>, seconds: Option<f64>) -> Stage {
        let program = Part { name: "program", bytes: self.machine.program_bytes(), place: Place::Anonymous };
        let mut parts: Vec<Part> = [program].into_iter().chain(parts).collect();
        parts.retain(|part| part.bytes > 0);
        Stage { name, parts, seconds }
    }

    /// Weights, masters and moments.
    fn held(&self, config: &TrainConfig) -> Vec<Part> {
        let weights = if config.param_offload == Offload::Disk { Place::Mapped } else { own_place(config) };
        let state = match config.optimizer_offload {
            Offload::Disk => Place::Mapped,
            _ if self.updates_on_device(config) => own_place(config),
            Offload::None | Offload::Cpu => Place::Anonymous,
        };
        vec![
            Part { name: "weights", bytes: self.sizes.all * value_bytes(config), place: weights },
            Part { name: "optimizer", bytes: self.own(state_bytes(&config.recipe, self.sizes.all)), place: state },
        ]
    }

    /// Whether the optimiser, and the gradients for it, are where the model is.
    fn updates_on_device(&self, config: &TrainConfig) -> bool {
        config.updates_on_device(self.processes.size > 1)
    }

    /// What of something that all processes divide is one's.
    fn own(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.processes.size.max(1) as u64)
    }

    /// Of a block that is brought to where it is trained: its values, and one tensor in the type of the computation.
    fn loading(&self, config: &TrainConfig) -> u64 {
        let is_there = config.recipe.compute_dtype == ComputeDtype::Float32 && config.param_offload != Offload::Disk;
        if is_there { 0 } else { self.sizes.block * F32 + self.sizes.largest * value_bytes(config) }
    }

    /// Gradients that are kept to the end of the backward pass, and what else it holds.
    fn training(&self, config: &TrainConfig) -> (Part, Part) {
        let recipe = &config.recipe;
        let cost = self.training_cost(config);
        let kept = match self.kept_gradients(config) {
            KeptGradients::None => 0,
            KeptGradients::Computed | KeptGradients::Sums => self.sizes.all * gradient_bytes(recipe) as u64,
        };
        let activations = |bytes| Part { name: "activations", bytes, place: own_place(config) };
        let place = match config.files_gradients() {
            true => Place::Mapped,
            false if self.updates_on_device(config) => own_place(config),
            false => Place::Anonymous,
        };
        if self.processes.size > 1 {
            // The own sums in f32; units on their way are sent, received and waiting.
            let sums = self.own(self.sizes.all * F32);
            let leaving = UNITS_UNDER_WAY * self.sizes.block * value_bytes(config);
            return (Part { name: "gradients", bytes: sums, place }, activations(cost.bytes + leaving));
        }
        let gradients = match config.files_gradients() {
            true => self.sizes.all * gradient_bytes(recipe) as u64,
            false => kept,
        };
        (Part { name: "gradients", bytes: gradients, place }, activations(cost.bytes.saturating_sub(kept)))
    }

    fn kept_gradients(&self, config: &TrainConfig) -> KeptGradients {
        match config.recipe.gradient_accumulation_steps {
            // Where gradients wait for the last micro-batch, they are sums, as of one process.
            steps if self.processes.size > 1 => match (config.zero_stage, config.gradient_checkpointing) {
                (ZeroStage::One, _) if steps > 1 => KeptGradients::Sums,
                (_, true) => KeptGradients::None,
                (_, false) => KeptGradients::Computed,
            },
            _ if config.files_gradients() => KeptGradients::None,
            1 if config.recipe.optimizer_in_backward => KeptGradients::None,
            1 => KeptGradients::Computed,
            _ => KeptGradients::Sums,
        }
    }

    fn training_cost(&self, config: &TrainConfig) -> Cost {
        let recompute = if config.gradient_checkpointing { Recompute::EachBlock } else { Recompute::Never };
        let (lengths, settings) = (self.lengths(config), self.activations(config.recipe.compute_dtype));
        let (model, kept) = (&self.configs.transformer, self.kept_gradients(config));
        let Cost { bytes, flops } = model.training_activations(lengths, settings, recompute, kept);
        // Each part but the first has gradients beside those that are counted.
        let is_flex = config.device == DeviceSpec::Flex;
        let parts = if is_flex { parts::count(model, self.sizes.all as usize, lengths) } else { 1 };
        let gradients = self.sizes.all * value_bytes(config);
        Cost { bytes: bytes + (parts as u64 - 1) * gradients, flops }
    }

    /// A micro-batch, with captions as long as they get.
    fn lengths(&self, config: &TrainConfig) -> SequenceLengths {
        let side = config.recipe.resolution as usize / self.configs.pixel_multiple();
        let (batch, seq_txt) = (config.recipe.train_batch_size, config.recipe.max_sequence_length);
        SequenceLengths { batch, seq_txt, seq_img: side * side }
    }

    fn activations(&self, dtype: ComputeDtype) -> ActivationSettings {
        ActivationSettings { dtype, threads: self.machine.threads }
    }

    /// The frozen models while they encode, in f32.
    fn encoding(&self, config: &TrainConfig) -> Vec<Part> {
        let text = &self.configs.text_encoder;
        let weights = if config.recipe.int8_text_encoder { WeightStorage::Int8 } else { WeightStorage::Computed };
        let settings = DrawingSettings { device: config.device, weights, ..DrawingSettings::default() };
        let tokens = config.recipe.max_sequence_length;
        let together = if config.offload { STREAMED_TOGETHER } else { 1 };
        let hidden = (together * tokens * text.hidden_size) as u64 * F32;
        let side = config.recipe.resolution as usize;
        let f32 = self.activations(ComputeDtype::Float32);
        let picture = self.configs.vae.encode_activations([side; 2], None, f32);
        let cost = picture.then(text.activations(tokens, f32));
        let part = |name, bytes| Part { name, bytes, place: own_place(config) };
        vec![
            part("autoencoder", self.vae_bytes()),
            part("text encoder", self.weights.text_encoder_bytes(text, &settings, config.offload)),
            part("activations", cost.bytes + hidden),
            part("freed memory", self.configs.vae.kept_of_encoding([side; 2], f32)),
        ]
    }

    fn vae_bytes(&self) -> u64 {
        self.weights.vae_bytes(&DrawingSettings::default())
    }

    /// A picture of the validation: the transformer's passes, then the autoencoder in f32.
    fn drawing(&self, config: &TrainConfig) -> Cost {
        let (lengths, side) = (self.lengths(config), config.recipe.resolution as usize);
        let settings = self.activations(config.recipe.compute_dtype);
        let pass = self.configs.transformer.activations(SequenceLengths { batch: 1, ..lengths }, settings);
        let branches = if config.validation.guidance_scale > 1.0 { 2 } else { 1 };
        let decode = self.configs.vae.decode_activations([side; 2], None, self.activations(ComputeDtype::Float32));
        Cost { bytes: pass.bytes * branches, ..pass }.then(decode)
    }

    /// What of mapped files is worked with again and again: the weights of a block. State and gradients are gone
    /// through once.
    pub(super) fn working_bytes(&self, config: &TrainConfig) -> u64 {
        if config.param_offload == Offload::Disk { self.sizes.block * value_bytes(config) } else { 0 }
    }

    /// Products at the rate that was measured, and the update.
    pub(super) fn step_seconds(&self, config: &TrainConfig) -> Option<f64> {
        let rates = self.machine.rates(config.recipe.compute_dtype)?;
        let flops = self.training_cost(config).flops * config.recipe.gradient_accumulation_steps as f64;
        let each = UPDATE_SECONDS[usize::from(config.recipe.use_8bit_adam)];
        let (products, own) = (rates.products / self.processes.local.max(1) as f64, self.own(self.sizes.all) as f64);
        Some(flops / products + own * each / self.machine.threads as f64)
    }
}

/// Bytes of a parameter in the type of the computation.
fn value_bytes(config: &TrainConfig) -> u64 {
    config.recipe.compute_dtype.dtype().size() as u64
}

/// Where what the device computes with is.
fn own_place(config: &TrainConfig) -> Place {
    if config.device.is_cpu() { Place::Anonymous } else { Place::Device }
}
