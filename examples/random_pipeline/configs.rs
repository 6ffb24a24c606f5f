//! The configurations: those of the released CogView4-6B, at the sizes asked for. Tokenizer, scheduler and
//! `model_index.json` are the demo's; its scheduler has the released values.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use burn::tensor::Device;
use cogview4::model::{
    AutoencoderKlConfig, CogView4TransformerConfig, GlmConfig, GlmModel,
    files::write_atomic,
    weights::{DIFFUSION_WEIGHTS, TRANSFORMERS_WEIGHTS, parameter_shapes},
};
use cogview4::{PromptTokenizer, demo};
use serde_json::{Value, json};

use super::Cli;

/// Width of a head, of transformer and text encoder.
pub(crate) const HEAD_DIM: usize = 128;
/// Groups of the autoencoder's norms.
pub(crate) const NORM_GROUPS: usize = 32;
const LATENT_CHANNELS: usize = 16;
const TRANSFORMER: &str = "transformer";
const TEXT_ENCODER: &str = "text_encoder";
const VAE: &str = "vae";
const MODEL_INDEX: &str = "model_index.json";

/// A component with weights.
pub(crate) struct Component {
    pub(crate) name: &'static str,
    /// What its weight files are called.
    pub(crate) stem: &'static str,
    /// Keys and shapes of its weights.
    pub(crate) shapes: Vec<(String, Vec<usize>)>,
}

/// Writes everything but the weights.
pub(crate) fn write(cli: &Cli, folder: &Path) -> Result<()> {
    for (name, config) in
        [(TRANSFORMER, transformer(cli)), (TEXT_ENCODER, text_encoder(cli)), (VAE, autoencoder(cli.vae_width))]
    {
        make_folder(&folder.join(name))?;
        write_json(&folder.join(name).join("config.json"), &config)?;
    }
    for path in ["tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json"] {
        let to = folder.join(path);
        make_folder(to.parent().context("a file in a folder")?)?;
        write_atomic(&to, &of_demo(path)?)?;
    }
    let class = if cli.base { "CogView4Pipeline" } else { "CogView4ControlPipeline" };
    let mut index: Value = serde_json::from_slice(&of_demo(MODEL_INDEX)?)?;
    index["_class_name"] = class.into();
    write_json(&folder.join(MODEL_INDEX), &index)
}

/// A file of the demo's pipeline.
fn of_demo(path: &str) -> Result<Vec<u8>> {
    let path = demo::pipeline().join(path);
    fs::read(&path).with_context(|| format!("reading {}", path.display()))
}

/// Reads the configurations back, and gives the weights that they ask for.
pub(crate) fn read_components(folder: &Path) -> Result<[Component; 3]> {
    let (device, path) = (Device::flex(), |name: &str| folder.join(name).join("config.json"));
    let transformer = CogView4TransformerConfig::load(&path(TRANSFORMER))?.init(&device);
    let vae = AutoencoderKlConfig::load(&path(VAE))?.init(&device);
    // The model has the layers whose output is used, all but the last; files have that one and the final norm too.
    let mut config = GlmConfig::load(&path(TEXT_ENCODER))?;
    config.num_hidden_layers += 1;
    let mut text_encoder = parameter_shapes(&GlmModel::init(&config, &device));
    text_encoder.push(("norm.weight".into(), vec![config.hidden_size]));
    Ok([
        Component { name: TRANSFORMER, stem: DIFFUSION_WEIGHTS, shapes: parameter_shapes(&transformer) },
        Component { name: TEXT_ENCODER, stem: TRANSFORMERS_WEIGHTS, shapes: text_encoder },
        Component { name: VAE, stem: DIFFUSION_WEIGHTS, shapes: parameter_shapes(&vae) },
    ])
}

/// Number of tokens that the tokenizer knows.
pub(crate) fn tokens() -> Result<usize> {
    Ok(PromptTokenizer::load(&demo::pipeline().join("tokenizer"))?.vocab_size())
}

fn transformer(cli: &Cli) -> Value {
    json!({
        "_class_name": "CogView4Transformer2DModel",
        "_diffusers_version": "0.42.1",
        "attention_head_dim": HEAD_DIM,
        "condition_dim": 256,
        "in_channels": if cli.base { LATENT_CHANNELS } else { 2 * LATENT_CHANNELS },
        "num_attention_heads": cli.width / HEAD_DIM,
        "num_layers": cli.num_layers,
        "out_channels": LATENT_CHANNELS,
        "patch_size": 2,
        "pos_embed_max_size": 128,
        "rope_axes_dim": [256, 256],
        "sample_size": 128,
        "text_embed_dim": cli.text_width,
        "time_embed_dim": 512,
    })
}

fn text_encoder(cli: &Cli) -> Value {
    let heads = cli.text_width / HEAD_DIM;
    json!({
        "architectures": ["GlmModel"],
        "attention_bias": true,
        "attention_dropout": 0.0,
        "eos_token_id": [0],
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "hidden_size": cli.text_width,
        "initializer_range": 0.02,
        "intermediate_size": cli.text_width * 13_696 / 4096,
        "max_position_embeddings": 8192,
        "model_type": "glm",
        "num_attention_heads": heads,
        "num_hidden_layers": cli.text_layers,
        "num_key_value_heads": if heads.is_multiple_of(2) { 2 } else { 1 },
        "pad_token_id": 0,
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1.5625e-07,
        "rope_theta": 10000.0,
        "tie_word_embeddings": false,
        "torch_dtype": cli.dtype.to_string(),
        "use_cache": true,
        "vocab_size": cli.vocab_size,
    })
}

fn autoencoder(width: usize) -> Value {
    json!({
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.42.1",
        "act_fn": "silu",
        "block_out_channels": [width, 4 * width, 8 * width, 8 * width],
        "down_block_types": vec!["DownEncoderBlock2D"; 4],
        "force_upcast": true,
        "in_channels": 3,
        "latent_channels": LATENT_CHANNELS,
        "latents_mean": null,
        "latents_std": null,
        "layers_per_block": 3,
        "mid_block_add_attention": false,
        "norm_num_groups": NORM_GROUPS,
        "out_channels": 3,
        "sample_size": 1024,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
        "up_block_types": vec!["UpDecoderBlock2D"; 4],
        "use_post_quant_conv": false,
        "use_quant_conv": false,
    })
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    Ok(write_atomic(path, format!("{value:#}\n").as_bytes())?)
}
