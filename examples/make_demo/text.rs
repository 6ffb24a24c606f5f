//! What surrounds autoencoder and transformer: a tokenizer trained on the captions, a text encoder with random weights
//! that stays as it is, the scheduler, the transformer that training begins with.

use std::{array, collections::HashSet, fs, path::Path, str::FromStr};

use anyhow::{Context, Error, Result};
use burn::tensor::{DType, Device, TensorData};
use cogview4::data::{Columns, Dataset, open_dataset};
use cogview4::model::{
    CogView4TransformerConfig, GlmConfig, GlmModel,
    weights::{parameter_sources, save_module, save_tensors, update_parameters},
};
use serde_json::{Value, json};
use tokenizers::{
    AddedToken, Tokenizer,
    models::{TrainerWrapper, bpe::BpeTrainer},
    pre_tokenizers::byte_level::ByteLevel,
};

/// The special tokens of GLM-4 that a prompt meets, in the order of their ids.
const SPECIAL_TOKENS: [&str; 6] = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"];
/// How GLM-4 parts a text into words.
const WORDS: &str = concat!(
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+",
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
);
const VOCABULARY: usize = 2048;
const TEXT_WIDTH: usize = 128;
const TEXT_LAYERS: usize = 3;
const TEXT_HEADS: usize = 4;
const TEXT_KEY_HEADS: usize = 2;
const TEXT_HEAD_DIM: usize = 32;
const ROPE_THETA: f64 = 10_000.0;
const LATENT_CHANNELS: usize = 16;

/// Writes `tokenizer`, `text_encoder`, `scheduler`, `transformer` and `model_index.json`.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let demo = folder.join("demo");
    let device = Device::flex();
    device.seed(1);
    tokenizer(&folder.join("data").join("train.parquet"), &demo.join("tokenizer"))?;
    text_encoder(&demo.join("text_encoder"), &device)?;
    transformer(&demo.join("transformer"), &device)?;
    write_json(
        &demo.join("scheduler").join("scheduler_config.json"),
        &json!({
            "_class_name": "FlowMatchEulerDiscreteScheduler",
            "_diffusers_version": "0.42.1",
            "base_image_seq_len": 256,
            "base_shift": 0.25,
            "invert_sigmas": false,
            "max_image_seq_len": 4096,
            "max_shift": 0.75,
            "num_train_timesteps": 1000,
            "shift": 1.0,
            "shift_terminal": null,
            "stochastic_sampling": false,
            "time_shift_type": "linear",
            "use_beta_sigmas": false,
            "use_dynamic_shifting": true,
            "use_exponential_sigmas": false,
            "use_karras_sigmas": false,
        }),
    )?;
    write_json(
        &demo.join("model_index.json"),
        &json!({
            "_class_name": "CogView4ControlPipeline",
            "_diffusers_version": "0.42.1",
            "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
            "text_encoder": ["transformers", "GlmModel"],
            "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
            "transformer": ["diffusers", "CogView4Transformer2DModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        }),
    )
}

/// Byte-level BPE as GLM-4's, trained on all captions.
fn tokenizer(data: &Path, target: &Path) -> Result<()> {
    let rows = open_dataset(data, &Columns::default())?;
    let captions = (0..rows.len()).map(|index| Ok(rows.row(index)?.captions.concat())).collect::<Result<Vec<_>>>()?;
    let special = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let text = |id: &str, kind: u8| json!({ "Sequence": { "id": id, "type_id": kind } });
    let bytes = |use_regex: bool, prefix: bool, trim: bool| json!({ "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": use_regex });
    let begin = [special("[gMASK]"), special("<sop>")];
    let of_token = |token: &str, id: u32| json!({ "id": token, "ids": [id], "tokens": [token] });
    let untrained = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": WORDS }, "behavior": "Isolated", "invert": false },
            bytes(false, false, true),
        ]},
        "post_processor": { "type": "Sequence", "processors": [bytes(true, true, false), {
            "type": "TemplateProcessing",
            "single": [begin[0], begin[1], text("A", 0)],
            "pair": [begin[0], begin[1], text("A", 0), text("B", 1)],
            "special_tokens": { "[gMASK]": of_token("[gMASK]", 2), "<sop>": of_token("<sop>", 4) },
        }]},
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": {}, "merges": [] },
    });
    let mut tokenizer = Tokenizer::from_str(&untrained.to_string()).map_err(Error::from_boxed)?;
    let trainer = BpeTrainer::builder()
        .vocab_size(VOCABULARY)
        .show_progress(false)
        .special_tokens(SPECIAL_TOKENS.map(|token| AddedToken::from(token, true)).to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<_>>())
        .build();
    tokenizer.train(&mut TrainerWrapper::from(trainer), captions.iter()).map_err(Error::from_boxed)?;
    make_folder(target)?;
    tokenizer.save(target.join("tokenizer.json"), true).map_err(Error::from_boxed)?;
    write_json(
        &target.join("tokenizer_config.json"),
        &json!({ "pad_token": "<|endoftext|>", "padding_side": "left", "tokenizer_class": "PreTrainedTokenizerFast" }),
    )
}

/// Random but for where its heads look: one, two and three tokens back, and at all tokens alike. The transformer has no
/// places of tokens, so that it has to be in them what is next to them: that it is the background that is red.
/// Embeddings have a standard deviation of 1, so that what a layer adds is context and not all there is.
fn text_encoder(target: &Path, device: &Device) -> Result<()> {
    let mut config = json!({
        "architectures": ["GlmModel"],
        "attention_bias": true,
        "attention_dropout": 0.0,
        "bos_token_id": null,
        "eos_token_id": [0],
        "head_dim": TEXT_HEAD_DIM,
        "hidden_act": "silu",
        "hidden_size": TEXT_WIDTH,
        "initializer_range": 0.02,
        "intermediate_size": 2 * TEXT_WIDTH,
        "max_position_embeddings": 131_072,
        "model_type": "glm",
        "num_attention_heads": TEXT_HEADS,
        "num_hidden_layers": TEXT_LAYERS,
        "num_key_value_heads": TEXT_KEY_HEADS,
        "pad_token_id": 0,
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1.5625e-07,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": false,
        "torch_dtype": "float32",
        "use_cache": true,
        "vocab_size": VOCABULARY,
    });
    let path = target.join("config.json");
    // The model has the layers whose output is used: all but the last, so one more is asked for.
    config["num_hidden_layers"] = (TEXT_LAYERS + 1).into();
    write_json(&path, &config)?;
    let model = GlmModel::init(&GlmConfig::load(&path)?, device);
    config["num_hidden_layers"] = TEXT_LAYERS.into();
    write_json(&path, &config)?;
    let everywhere = [0.0; TEXT_HEAD_DIM];
    let model = update_parameters(model, |key, values| match key.rsplit("self_attn.").next() {
        Some("embed_tokens.weight") => values.iter_mut().for_each(|value| *value *= 50.0),
        Some("o_proj.weight") => values.iter_mut().for_each(|value| *value *= 2.0),
        Some("q_proj.weight" | "k_proj.weight") => values.fill(0.0),
        Some("q_proj.bias") => {
            values.copy_from_slice([looking_back(1), looking_back(2), looking_back(3), everywhere].as_flattened());
        }
        Some("k_proj.bias") => values.copy_from_slice([looking_back(0); TEXT_KEY_HEADS].as_flattened()),
        _ => {}
    });
    let mut tensors = parameter_sources(&model, Some(DType::BF16));
    let norm = TensorData::new(vec![1.0_f32; TEXT_WIDTH], [TEXT_WIDTH]).convert_dtype(DType::BF16);
    tensors.push(("norm.weight".into(), norm.into()));
    Ok(save_tensors(&target.join("model.safetensors"), tensors)?)
}

/// The bias of a head's queries (keys: 0 back) that are the same for every token, so that rotary embeddings alone decide: a
/// query turned back by so many places fits the key that is so many places before it; a query of zeros fits all.
fn looking_back(places: u32) -> [f32; TEXT_HEAD_DIM] {
    let (rotated, strength) = (TEXT_HEAD_DIM / 2, 9.0);
    array::from_fn(|dim| {
        let angle = f64::from(places) * ROPE_THETA.powf(-((dim / 2 * 2) as f64) / rotated as f64);
        match dim {
            _ if dim >= rotated => 0.0,
            _ if dim.is_multiple_of(2) => (strength * angle.cos()) as f32,
            _ => (-strength * angle.sin()) as f32,
        }
    })
}

/// Random; modulations and output begin at 0, so that each block begins as nothing (Peebles and Xie, arXiv:2212.09748).
fn transformer(target: &Path, device: &Device) -> Result<()> {
    let path = target.join("config.json");
    write_json(
        &path,
        &json!({
            "_class_name": "CogView4Transformer2DModel",
            "_diffusers_version": "0.42.1",
            "attention_head_dim": 32,
            "condition_dim": 32,
            "in_channels": LATENT_CHANNELS,
            "num_attention_heads": 8,
            "num_layers": 4,
            "out_channels": LATENT_CHANNELS,
            "patch_size": 2,
            "pos_embed_max_size": 128,
            "rope_axes_dim": [256, 256],
            "sample_size": 16,
            "text_embed_dim": TEXT_WIDTH,
            "time_embed_dim": 64,
        }),
    )?;
    let model = CogView4TransformerConfig::load(&path)?.init(device);
    let model = update_parameters(model, |key, values| {
        if ["norm1.linear.", "norm_out.linear.", "proj_out."].iter().any(|part| key.contains(part)) {
            values.fill(0.0);
        }
    });
    Ok(save_module(&model, target, "diffusion_pytorch_model")?)
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    make_folder(path.parent().context("a file in a folder")?)?;
    fs::write(path, format!("{value:#}\n")).with_context(|| format!("writing {}", path.display()))
}
