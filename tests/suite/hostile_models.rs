//! Models that hold together as files and not as models: sizes out of all measure, numbers that are none, tokenizers
//! that panic.

use std::fs;

use cogview4::model::weights::{WeightFiles, save_tensors};
use serde_json::{Value, json};

use crate::{cli::sft_infer, hostile::Victim};

#[test]
fn sizes_of_configurations_have_bounds() {
    let victim = Victim::new("plain");
    let huge = [json!(1_000_000_000), json!(9_223_372_036_854_775_807_u64), json!(18_446_744_073_709_551_615_u64)];
    for (file, fields) in [
        (
            "transformer/config.json",
            &["num_layers", "patch_size", "sample_size", "attention_head_dim", "num_attention_heads", "in_channels"][..],
        ),
        ("vae/config.json", &["layers_per_block", "latent_channels", "sample_size", "in_channels"]),
        ("text_encoder/config.json", &["num_hidden_layers", "vocab_size", "hidden_size", "num_attention_heads"]),
        ("scheduler/scheduler_config.json", &["num_train_timesteps", "base_image_seq_len"]),
    ] {
        let original = fs::read(victim.path(file)).unwrap();
        for field in fields {
            for size in &huge {
                victim.edit(file, |config| config[*field] = size.clone());
                victim.refuses(&[], &[file]);
                fs::write(victim.path(file), &original).unwrap();
            }
        }
    }
    let original = fs::read(victim.path("vae/config.json")).unwrap();
    victim.edit("vae/config.json", |config| {
        config["block_out_channels"] = vec![32; 65].into();
        config["down_block_types"] = vec!["DownEncoderBlock2D"; 65].into();
        config["up_block_types"] = vec!["UpDecoderBlock2D"; 65].into();
    });
    victim.refuses(&[], &["vae/config.json", "block_out_channels", "65"]);
    fs::write(victim.path("vae/config.json"), original).unwrap();
}

#[test]
fn numbers_of_configurations_have_ranges() {
    let victim = Victim::new("plain");
    let cases: [(&str, &str, Value); 12] = [
        ("text_encoder/config.json", "rms_norm_eps", json!(-1)),
        ("text_encoder/config.json", "rope_theta", json!(0)),
        ("text_encoder/config.json", "rope_theta", json!(-10000)),
        ("transformer/config.json", "rope_axes_dim", json!([0, 256])),
        ("vae/config.json", "scaling_factor", json!(1e-300)),
        ("vae/config.json", "scaling_factor", json!(0)),
        ("vae/config.json", "shift_factor", json!(1e300)),
        ("scheduler/scheduler_config.json", "shift", json!(1e40)),
        ("scheduler/scheduler_config.json", "base_shift", json!(-1e9)),
        ("scheduler/scheduler_config.json", "max_shift", json!(1e9)),
        ("scheduler/scheduler_config.json", "base_image_seq_len", json!(0)),
        ("scheduler/scheduler_config.json", "shift_terminal", json!(1)),
    ];
    for (file, field, value) in cases {
        let original = fs::read(victim.path(file)).unwrap();
        victim.edit(file, |config| {
            if config.get("rope_parameters").is_some_and(|rope| rope.get(field).is_some()) {
                config["rope_parameters"][field] = value.clone();
            }
            config[field] = value.clone();
        });
        victim.refuses(&[], &[file, field]);
        fs::write(victim.path(file), original).unwrap();
    }
    // A list would be taken as the fields one after another.
    for file in ["transformer/config.json", "vae/config.json", "text_encoder/config.json"]
        .into_iter()
        .chain(["scheduler/scheduler_config.json", "model_index.json"])
    {
        let original = fs::read(victim.path(file)).unwrap();
        fs::write(victim.path(file), "[]").unwrap();
        victim.refuses(&[], &[file]);
        fs::write(victim.path(file), original).unwrap();
    }
}

#[test]
fn weights_that_are_no_numbers_make_no_picture() {
    for (component, stem, key) in [
        ("transformer", "diffusion_pytorch_model", "proj_out.weight"),
        ("vae", "diffusion_pytorch_model", "decoder.conv_in.weight"),
        ("vae", "diffusion_pytorch_model", "encoder.conv_in.weight"),
        ("text_encoder", "model", "model.layers.0.input_layernorm.weight"),
    ] {
        let victim = Victim::new("plain");
        let folder = victim.path(component);
        let files = WeightFiles::open(&folder, stem).unwrap();
        let key = files.keys().find(|found| *found == key || format!("model.{found}") == key).unwrap().to_owned();
        let tensors: Vec<_> = files
            .keys()
            .map(|found| {
                let mut data = files.read(found, burn::tensor::DType::F32).unwrap();
                if found == key {
                    data = burn::tensor::TensorData::new(vec![f32::NAN; data.num_elements()], data.shape().clone());
                }
                (found.to_owned(), data)
            })
            .collect();
        drop(files);
        save_tensors(&folder.join(format!("{stem}.safetensors")), tensors).unwrap();
        victim.refuses(&[], &["not finite numbers"]);
    }
    let victim = Victim::new("plain");
    let latents = burn::tensor::TensorData::new(vec![f32::NAN; 16 * 32 * 32], [1, 16, 32, 32]);
    let path = victim.folder.path().join("latents.safetensors");
    let output = sft_infer(
        victim.folder.path(),
        &["--pretrained_model_name_or_path", "pipeline", "--height", "64", "--width", "64", "--output_latents", "l.st"]
            .into_iter()
            .chain(["--num_inference_steps", "1"])
            .collect::<Vec<_>>(),
    );
    assert!(output.status.success());
    let found = WeightFiles::open_file(&victim.folder.path().join("l.st")).unwrap();
    let shape = found.shape("latents").unwrap().1.to_vec();
    let latents = burn::tensor::TensorData::new(latents.iter::<f32>().take(shape.iter().product()).collect(), shape);
    save_tensors(&path, [("latents", latents)]).unwrap();
    victim.refuses(&["--latents", "latents.safetensors"], &["latents", "not finite numbers"]);
    victim.refuses(&["--guidance_scale", "1e308"], &["guidance_scale"]);
}

#[test]
fn tokenizers_that_panic_are_errors() {
    let victim = Victim::new("plain");
    let file = "tokenizer/tokenizer.json";
    let original = fs::read(victim.path(file)).unwrap();
    let template =
        |single: Value| json!({ "type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {} });
    let sequence = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let charsmap = |bytes: &[u8]| {
        use base64::Engine;
        let table = base64::prelude::BASE64_STANDARD.encode(bytes);
        json!({ "type": "Precompiled", "precompiled_charsmap": table })
    };
    let replace = json!({ "type": "Replace", "pattern": { "String": "" }, "content": "" });
    let fixed = json!({ "type": "FixedLength", "length": 0 });
    let cases: Vec<(&str, Value)> = vec![
        ("post_processor", template(json!([{ "SpecialToken": { "id": "[absent]", "type_id": 0 } }, sequence("A")]))),
        ("post_processor", template(json!([sequence("B")]))),
        ("pre_tokenizer", fixed),
        ("normalizer", charsmap(&[&8_u32.to_le_bytes()[..], &[0xff; 8], b"abc"].concat())),
        ("normalizer", charsmap(&[&u32::MAX.to_le_bytes()[..], &[0; 16]].concat())),
        ("normalizer", charsmap(&[&4_u32.to_le_bytes()[..], &[0x41; 4], b""].concat())),
        ("normalizer", charsmap(b"")),
    ];
    for (part, value) in cases {
        victim.edit(file, |tokenizer| tokenizer[part] = value);
        victim.refuses(&[], &["tokenizer.json"]);
        fs::write(victim.path(file), &original).unwrap();
    }
    victim.edit(file, |tokenizer| tokenizer["model"]["continuing_subword_prefix"] = "a long prefix of a word".into());
    victim.refuses(&[], &["tokenizer.json"]);
    fs::write(victim.path(file), &original).unwrap();
    victim.edit(file, |tokenizer| tokenizer["model"]["dropout"] = json!(0.5));
    victim.refuses(&[], &["tokenizer.json", "dropout"]);
    fs::write(victim.path(file), &original).unwrap();
    // To replace nothing does not end a program, whatever it does.
    victim.edit(file, |tokenizer| tokenizer["normalizer"] = replace);
    let flags = ["--pretrained_model_name_or_path", "pipeline", "--height", "64", "--width", "64"];
    let output = sft_infer(victim.folder.path(), &[&flags[..], &["--num_inference_steps", "1"]].concat());
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
