//! Every part of the models, and whole runs, against diffusers.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
};

use burn::tensor::Tensor;
use cogview4::{
    CogView4ControlPipeline, ControlRequest, OutputType,
    model::{
        AutoencoderKl, CogView4Transformer, CogView4TransformerConfig, ComputeDtype, GlmModel,
        transformer::{SizeConditions, TransformerInputs},
        weights::WeightOptions,
    },
    open_image,
};

use crate::{
    backend::Backend,
    support::{MODEL_TOLERANCE, PIPELINES, Parts, distance, fixtures, json, values},
};

/// Bound on the relative L2 difference of single blocks in f32.
const BLOCK_TOLERANCE: f64 = 1e-6;
const SIZES: SizeConditions = SizeConditions { original_size: [64, 96], target_size: [48, 80], crop_coords: [3, 5] };

fn transformer(backend: &Backend, name: &str) -> (CogView4Transformer, Parts) {
    let folder = fixtures().join(name).join("transformer");
    let model = CogView4Transformer::load(&folder, ComputeDtype::Float32.dtype(), &backend.device).unwrap();
    (model, backend.open(&format!("{name}/parts.safetensors")))
}

fn inputs<'a>(parts: &Parts, timesteps: &'a [f32]) -> TransformerInputs<'a> {
    TransformerInputs {
        hidden_states: parts.tensor("dit.hidden_states"),
        encoder_hidden_states: parts.tensor("dit.encoder_hidden_states"),
        timesteps,
        sizes: &[SIZES; 2],
        hidden_text: None,
    }
}

pub(crate) fn transformer_embeddings_and_rotary_positions(backend: &Backend) {
    for name in PIPELINES {
        let (model, parts) = transformer(backend, name);
        let (state, context) = model.embed(inputs(&parts, &parts.values("dit.timesteps")));
        backend.assert_close("temb", context.temb.clone(), parts.tensor("dit.temb"), BLOCK_TOLERANCE);
        // Text comes first and is not turned.
        let seq_txt = context.seq_txt;
        let patches = |table: Tensor<2>| {
            let [tokens, _] = table.dims();
            table.narrow(0, seq_txt, tokens - seq_txt)
        };
        backend.assert_close(
            "cos",
            patches(context.image_rotary_emb.cos.clone()),
            parts.tensor("dit.cos"),
            BLOCK_TOLERANCE,
        );
        backend.assert_close(
            "sin",
            patches(context.image_rotary_emb.sin.clone()),
            parts.tensor("dit.sin"),
            BLOCK_TOLERANCE,
        );
        let expected = parts.tensor("dit.embed.hidden_states");
        backend.assert_close("patches", state.hidden_states(&context), expected, BLOCK_TOLERANCE);
        let expected = parts.tensor("dit.embed.encoder_hidden_states");
        backend.assert_close("text", state.encoder_hidden_states(&context), expected, BLOCK_TOLERANCE);
    }
}

pub(crate) fn transformer_block(backend: &Backend) {
    for name in PIPELINES {
        let (model, parts) = transformer(backend, name);
        let (state, context) = model.embed(inputs(&parts, &parts.values("dit.timesteps")));
        let state = model.block(0).unwrap().forward(state, &context);
        let expected = parts.tensor("dit.block.hidden_states");
        backend.assert_close("patches", state.hidden_states(&context), expected, BLOCK_TOLERANCE);
        let expected = parts.tensor("dit.block.encoder_hidden_states");
        backend.assert_close("text", state.encoder_hidden_states(&context), expected, BLOCK_TOLERANCE);
    }
}

pub(crate) fn transformer_without_and_with_hidden_text(backend: &Backend) {
    for name in PIPELINES {
        let (model, parts) = transformer(backend, name);
        let timesteps = parts.values("dit.timesteps");
        let output = model.forward(inputs(&parts, &timesteps)).unwrap();
        backend.assert_close("all seen", output, parts.tensor("dit.output"), MODEL_TOLERANCE);

        let hidden_text = Some(parts.tensor::<2>("dit.text_mask").equal_elem(0.0));
        let output = model.forward(TransformerInputs { hidden_text, ..inputs(&parts, &timesteps) }).unwrap();
        backend.assert_close("text hidden", output, parts.tensor("dit.output_masked"), MODEL_TOLERANCE);
    }
}

pub(crate) fn hidden_text_is_as_if_it_were_not_there(backend: &Backend) {
    let (model, parts) = transformer(backend, "plain");
    let timesteps = parts.values("dit.timesteps");
    let text = parts.tensor::<3>("dit.encoder_hidden_states");
    let hidden_text = Some(Tensor::cat(
        vec![Tensor::full([2, 16], true, &backend.device), Tensor::full([2, 16], false, &backend.device)],
        1,
    ));
    let hidden = model.forward(TransformerInputs { hidden_text, ..inputs(&parts, &timesteps) }).unwrap();
    let short = TransformerInputs { encoder_hidden_states: text.narrow(1, 16, 16), ..inputs(&parts, &timesteps) };
    backend.assert_close("without the pads", hidden, model.forward(short).unwrap(), BLOCK_TOLERANCE);
}

pub(crate) fn vae_encoder_and_decoder(backend: &Backend) {
    for name in PIPELINES {
        let folder = fixtures().join(name).join("vae");
        let vae = AutoencoderKl::load(&folder, ComputeDtype::Float32.dtype(), &backend.device).unwrap();
        let parts = backend.open(&format!("{name}/parts.safetensors"));
        let posterior = vae.encode(parts.tensor("vae.pixels"));
        backend.assert_close("mean", posterior.mode(), parts.tensor("vae.mean"), MODEL_TOLERANCE);
        backend.assert_close("logvar", posterior.logvar, parts.tensor("vae.logvar"), MODEL_TOLERANCE);
        let decoded = vae.decode(parts.tensor("vae.latents"));
        backend.assert_close("decoded", decoded, parts.tensor("vae.decoded"), MODEL_TOLERANCE);
        let latents = parts.tensor::<4>("vae.latents");
        let there_and_back = vae.denormalize(vae.normalize(latents.clone()));
        backend.assert_close("normalize", there_and_back, latents, BLOCK_TOLERANCE);
    }
}

pub(crate) fn text_encoder_hidden_states(backend: &Backend) {
    for name in PIPELINES {
        let folder = fixtures().join(name).join("text_encoder");
        let model = GlmModel::load(&folder, ComputeDtype::Float32.dtype(), &backend.device).unwrap();
        let parts = backend.open(&format!("{name}/parts.safetensors"));
        let ids: Vec<u32> = parts.values("glm.ids").iter().map(|&id| id as u32).collect();
        let output = model.forward(&ids).unwrap();
        backend.assert_close("hidden states", output, parts.tensor("glm.hidden_states"), MODEL_TOLERANCE);
    }
}

pub(crate) fn whole_runs(backend: &Backend) {
    for name in PIPELINES {
        let folder = fixtures().join(name);
        let pipe = load(backend, name, ComputeDtype::Float32);
        let parts = backend.open(&format!("{name}/latents.safetensors"));
        for (index, case) in cases(name).iter().enumerate() {
            let output = pipe.generate(&request(name, case)).unwrap();
            let expected = parts.tensor(&format!("{index}.latents"));
            backend.assert_close("latents", output.latents, expected, MODEL_TOLERANCE);
            for (number, image) in output.images.iter().enumerate() {
                let file = folder.join(format!("picture-{index}-{}.png", number + 1));
                let expected = open_image(file).unwrap();
                let pairs = image.iter().zip(expected.iter());
                let sum: u64 = pairs.map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
                assert!(sum as f64 / (image.len() as f64) < 0.5, "{name}: picture {index}-{number}");
            }
        }
    }
}

/// In bfloat16 we are no farther from f32 than the reference is.
pub(crate) fn whole_runs_in_bfloat16(backend: &Backend) {
    let (mut found, mut reference, mut exact) = (Vec::new(), Vec::new(), Vec::new());
    for name in PIPELINES {
        let pipe = load(backend, name, ComputeDtype::BFloat16);
        for (index, case) in cases(name).iter().enumerate() {
            let key = format!("{index}.latents");
            let request = request(name, case).output_type(OutputType::Latent);
            found.extend(values(pipe.generate(&request).unwrap().latents.into_data()));
            reference.extend(backend.open(&format!("{name}/latents-bf16.safetensors")).values(&key));
            exact.extend(backend.open(&format!("{name}/latents.safetensors")).values(&key));
        }
    }
    let (ours, theirs) = (distance(&found, &exact), distance(&reference, &exact));
    assert!(ours <= 1.1 * theirs, "{}: {ours:.2e} from f32, the reference {theirs:.2e}", backend.spec);
    assert!(ours > 1e-4, "{}: {ours:.2e} is not bfloat16", backend.spec);
}

fn load(backend: &Backend, name: &str, dtype: ComputeDtype) -> CogView4ControlPipeline {
    let loader = CogView4ControlPipeline::from_pretrained(fixtures().join(name)).device(backend.spec).dtype(dtype);
    loader.progress_bar(false).load().unwrap()
}

fn cases(name: &str) -> Vec<serde_json::Value> {
    serde_json::from_value(json(&format!("{name}/cases.json"))).unwrap()
}

fn request(name: &str, case: &serde_json::Value) -> ControlRequest {
    let control = open_image(fixtures().join(name).join("control.png")).unwrap();
    let text = |key: &str| case[key].as_str().unwrap();
    let number = |key: &str| case[key].as_u64().unwrap() as usize;
    ControlRequest::new(text("prompt"), control)
        .negative_prompt(text("negative_prompt"))
        .height(number("height"))
        .width(number("width"))
        .num_inference_steps(number("num_inference_steps"))
        .guidance_scale(case["guidance_scale"].as_f64().unwrap())
        .num_images_per_prompt(number("num_images_per_prompt"))
        .max_sequence_length(number("max_sequence_length"))
        .seed(case["seed"].as_u64().unwrap())
}

pub(crate) fn a_widened_model_is_the_base_model_whatever_the_control(backend: &Backend) {
    let (control_model, parts) = transformer(backend, "plain");
    let config = CogView4TransformerConfig { in_channels: 16, ..control_model.config().clone() };
    let base = config.init(&backend.device);
    let timesteps = parts.values("dit.timesteps");
    let both = parts.tensor::<4>("dit.hidden_states");
    let run = |model: &CogView4Transformer, hidden_states| {
        model.forward(TransformerInputs { hidden_states, ..inputs(&parts, &timesteps) }).unwrap()
    };
    let expected = run(&base, both.clone().narrow(1, 0, 16));
    let widened = base.widen_input();
    assert_eq!(widened.config().in_channels, 32);
    backend.assert_close("widened", run(&widened, both), expected, BLOCK_TOLERANCE);
}

pub(crate) fn what_is_saved_is_loaded_again(backend: &Backend) {
    let (model, parts) = transformer(backend, "variant");
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    let again = CogView4Transformer::load(folder.path(), ComputeDtype::Float32.dtype(), &backend.device).unwrap();
    assert_eq!(again.config(), model.config());
    let timesteps = parts.values("dit.timesteps");
    let run = |model: &CogView4Transformer| model.forward(inputs(&parts, &timesteps)).unwrap();
    backend.assert_close("output", run(&again), run(&model), 0.0);
}

pub(crate) fn streamed_blocks_give_the_same_bytes(backend: &Backend) {
    let dtypes = [ComputeDtype::Float32, ComputeDtype::BFloat16].map(ComputeDtype::dtype);
    let dtypes = dtypes.into_iter().filter(|dtype| backend.device.supports_dtype(*dtype));
    for (name, dtype) in PIPELINES.into_iter().flat_map(|name| dtypes.clone().map(move |dtype| (name, dtype))) {
        let parts = backend.open(&format!("{name}/parts.safetensors"));
        let timesteps = parts.values("dit.timesteps");
        let ids: Vec<u32> = parts.values("glm.ids").iter().map(|&id| id as u32).collect();
        let options = WeightOptions::new(dtype, &backend.device);
        let run = |options: &WeightOptions| {
            let folder = |component: &str| fixtures().join(name).join(component);
            let transformer = CogView4Transformer::load_with(&folder("transformer"), options).unwrap();
            let text_encoder = GlmModel::load_with(&folder("text_encoder"), options).unwrap();
            let input = || TransformerInputs {
                hidden_states: parts.tensor::<4>("dit.hidden_states").cast(dtype),
                encoder_hidden_states: parts.tensor::<3>("dit.encoder_hidden_states").cast(dtype),
                ..inputs(&parts, &timesteps)
            };
            // Twice, so that a second pass over the blocks is seen too.
            let outputs = [0; 2].map(|_| transformer.forward_each(vec![input(), input()]).unwrap());
            let embeds = text_encoder.forward_each(&[&ids, &ids[..16]]).unwrap();
            let outputs = outputs.into_iter().flatten().map(Tensor::into_data);
            outputs.chain(embeds.into_iter().map(Tensor::into_data)).collect::<Vec<_>>()
        };
        let resident = run(&options);
        for (resident_blocks, is_mapped) in [(None, true), (Some(0), false), (Some(1), true)] {
            let other = run(&WeightOptions { resident_blocks, is_mapped, ..options.clone() });
            assert!(other == resident, "{name}: {resident_blocks:?} blocks in memory, mapped: {is_mapped}");
        }
    }
}

pub(crate) fn mapped_weights_are_the_files_own(backend: &Backend) {
    if !backend.spec.is_cpu() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (model, parts) = transformer(backend, "variant");
    model.save(folder.path()).unwrap();
    let path = folder.path().join("diffusion_pytorch_model.safetensors");
    let written = fs::read(&path).unwrap();
    let dtype = ComputeDtype::Float32.dtype();
    let options = WeightOptions { is_mapped: true, ..WeightOptions::new(dtype, &backend.device) };
    let mapped = CogView4Transformer::load_with(folder.path(), &options).unwrap();
    let run = |model: &CogView4Transformer| {
        let timesteps = parts.values("dit.timesteps");
        model.forward(inputs(&parts, &timesteps)).unwrap().into_data()
    };
    let expected = run(&model);
    for _ in 0..2 {
        assert!(run(&mapped) == expected, "nothing is computed in place");
    }
    assert!(fs::read(&path).unwrap() == written);

    // What changes in the file changes in the model, as nothing was copied.
    let header = 8 + u64::from_le_bytes(written[..8].try_into().unwrap());
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(header)).unwrap();
    file.write_all(&vec![0; written.len() - header as usize]).unwrap();
    let zeros = run(&mapped);
    assert!(zeros.iter::<f32>().all(|value| value == 0.0) && run(&model) == expected);
}
