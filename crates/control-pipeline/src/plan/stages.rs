//! The stages of a drawing, and what each holds.

use cogview4_model::activations::{ActivationSettings, Cost, SequenceLengths};

use super::{
    DrawingPlan, DrawingSettings, Part, Place, Placement, Planner, Stage, time,
    weights::{BlockWeights, Bytes},
};

/// Bytes of a value of latents and pixels.
const F32: u64 = 4;

/// What the parts of a drawing cost with some settings, before it is known which blocks stay in memory.
pub(super) struct Costs {
    pub(super) transformer: BlockWeights,
    pub(super) text_encoder: BlockWeights,
    /// Encoder and decoder.
    pub(super) vae: [Bytes; 2],
    /// The longest prompt, and the operations of all.
    pub(super) text: Cost,
    pub(super) control: Cost,
    /// One step, of all branches.
    pub(super) step: Cost,
    pub(super) decode: Cost,
}

impl Planner {
    /// What the drawing takes with these settings.
    pub fn plan(&self, settings: &DrawingSettings) -> DrawingPlan {
        let costs = self.costs(settings);
        let [transformer, text] = [costs.transformer.blocks.len(), costs.text_encoder.blocks.len()];
        let resident_blocks = match settings.placement {
            Placement::Resident => [transformer, text],
            Placement::Streamed => [0, 0],
            Placement::Budget(budget) => self.resident_within(budget, settings, &costs),
        };
        let limit = self.limit();
        DrawingPlan {
            settings: *settings,
            stages: self.stages(settings, &costs, resident_blocks),
            resident_blocks,
            limit,
        }
    }

    /// How many blocks of transformer and text encoder fit into a budget. The transformer's come first: they are needed
    /// in each step, the text encoder's once for each prompt.
    fn resident_within(&self, budget: u64, settings: &DrawingSettings, costs: &Costs) -> [usize; 2] {
        let fits = |blocks: [usize; 2]| {
            self.stages(settings, costs, blocks)
                .iter()
                .all(|stage| stage.bytes(Place::Anonymous) + stage.bytes(Place::Mapped) <= budget)
        };
        let all = costs.transformer.blocks.len();
        let transformer = (0..=all).rev().find(|&blocks| fits([blocks, 0])).unwrap_or_default();
        let text = match transformer == all {
            true => (0..=costs.text_encoder.blocks.len()).rev().find(|&blocks| fits([all, blocks])),
            false => None,
        };
        [transformer, text.unwrap_or_default()]
    }

    fn costs(&self, settings: &DrawingSettings) -> Costs {
        let (configs, task) = (&self.configs, &self.task);
        let activations = ActivationSettings { dtype: settings.dtype, threads: self.machine.threads };
        let scale = configs.pixel_multiple();
        let seq_img = (task.size[0] / scale) * (task.size[1] / scale);
        let branch = |seq_txt: usize| {
            configs.transformer.activations(SequenceLengths { batch: task.images, seq_txt, seq_img }, activations)
        };
        let (conditional, unconditional) = (branch(task.tokens.0), task.tokens.1.map(branch));
        let step = match unconditional {
            None => conditional,
            Some(other) if settings.joins_branches() => {
                Cost { bytes: conditional.bytes + other.bytes, flops: conditional.flops + other.flops }
            }
            Some(other) => conditional.then(other),
        };
        let texts = task.prompts.iter().map(|&tokens| configs.text_encoder.activations(tokens, activations));
        let times = |cost: Cost, count: usize| Cost { flops: cost.flops * count as f64, ..cost };
        let vae = &configs.vae;
        Costs {
            transformer: self.weights.transformer(configs.transformer.num_layers, settings),
            text_encoder: self.weights.text_encoder(&configs.text_encoder, settings),
            vae: self.weights.vae(settings),
            text: texts.fold(Cost::default(), Cost::then),
            control: times(vae.encode_activations(task.size, settings.vae_tile, activations), task.controls),
            step,
            decode: times(vae.decode_activations(task.size, settings.vae_tile, activations), task.images),
        }
    }

    /// The stages, with the first so many blocks of transformer and text encoder in memory.
    fn stages(&self, settings: &DrawingSettings, costs: &Costs, resident: [usize; 2]) -> Vec<Stage> {
        let task = &self.task;
        let [transformer, text] =
            [(&costs.transformer, resident[0]), (&costs.text_encoder, resident[1])].map(|(weights, resident)| {
                let (blocks, outside) = (weights.resident(resident), weights.outside);
                Held {
                    own: blocks.own + outside.own,
                    mapped: blocks.mapped + outside.mapped,
                    ring: weights.ring(resident),
                }
            });
        let own = if settings.is_on_host() { Place::Anonymous } else { Place::Device };
        let part = |name, bytes, place| Part { name, bytes, place };
        // What is there from the first weight to the end.
        let kept = || {
            vec![
                part("program", self.machine.program_bytes(), Place::Anonymous),
                part("transformer", transformer.own, own),
                part("text encoder", text.own, own),
                part("autoencoder", costs.vae[0].own + costs.vae[1].own, own),
            ]
        };
        let stage = |name, parts: Vec<Part>| {
            let mut all = kept();
            all.extend(parts);
            all.retain(|part| part.bytes > 0);
            Stage { name, parts: all, seconds: time::seconds(name, self, settings, costs, resident) }
        };
        let embeds = self.embeds_bytes(settings);
        let latents = self.latents_bytes();
        let picture = (3 * task.size[0] * task.size[1]) as u64 * F32;
        let mut stages = vec![stage("load", Vec::new())];
        if !task.prompts.is_empty() {
            stages.push(stage(
                "text",
                vec![
                    part("text encoder, mapped", text.mapped, Place::Mapped),
                    part("text encoder, streamed", text.ring, own),
                    part("activations", costs.text.bytes, own),
                    part("embeddings", embeds, own),
                ],
            ));
        }
        if task.controls > 0 {
            stages.push(stage(
                "control image",
                vec![
                    part("autoencoder, mapped", costs.vae[0].mapped, Place::Mapped),
                    part("activations", costs.control.bytes, own),
                    part("embeddings", embeds, own),
                    part("pictures", 2 * picture, own),
                ],
            ));
        }
        stages.push(stage(
            "denoise",
            vec![
                part("transformer, mapped", transformer.mapped, Place::Mapped),
                part("transformer, streamed", transformer.ring, own),
                part("activations", costs.step.bytes, own),
                part("embeddings", embeds, own),
                part("latents", 4 * latents, own),
            ],
        ));
        if task.decodes {
            stages.push(stage(
                "decode",
                vec![
                    part("autoencoder, mapped", costs.vae[1].mapped, Place::Mapped),
                    part("activations", costs.decode.bytes, own),
                    part("latents", 3 * latents, own),
                    part("pictures", 2 * picture + (task.images as u64 - 1) * picture / F32, own),
                ],
            ));
        }
        stages
    }

    /// Embeddings of all prompts, in the type of the computation.
    fn embeds_bytes(&self, settings: &DrawingSettings) -> u64 {
        let tokens = self.task.tokens.0 + self.task.tokens.1.unwrap_or_default();
        let values = self.task.images * tokens * self.configs.transformer.text_embed_dim;
        values as u64 * settings.dtype.dtype().size() as u64
    }

    /// Latents of all pictures.
    fn latents_bytes(&self) -> u64 {
        let [height, width] = self.task.size.map(|side| side / self.configs.vae.scale_factor());
        (self.task.images * self.configs.vae.latent_channels * height * width) as u64 * F32
    }
}

/// What a model of blocks holds.
#[derive(Clone, Copy)]
struct Held {
    own: u64,
    mapped: u64,
    ring: u64,
}
