//! Every parameter of the pipelines against diffusers; the cases are made by `scripts/reference/make_fixtures.py`.

use std::ops::ControlFlow;

use burn::tensor::{Shape, Tensor};
use cogview4::{
    CogView4ControlPipeline, CogView4Pipeline, Conditioning, ControlImage, ControlRequest, OutputType, PipelineRequest,
    Prompt, PromptEmbeds, StepEnd, TextRequest,
    model::{AutoencoderKl, ComputeDtype},
    open_image,
};
use serde_json::Value;

use crate::support::{MODEL_TOLERANCE, Parts, assert_close, device, fixtures, json};

fn pipeline() -> CogView4ControlPipeline {
    CogView4ControlPipeline::from_pretrained(fixtures().join("plain")).progress_bar(false).load().unwrap()
}

fn tensors() -> Parts {
    Parts::open("parameters/tensors.safetensors")
}

fn control(number: usize) -> image::RgbImage {
    let file = fixtures().join("parameters").join(format!("control-{number}.png"));
    open_image(file).unwrap()
}

fn case(name: &str) -> Value {
    json("parameters/cases.json")[name].take()
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<T> {
    serde_json::from_value(value.clone()).unwrap()
}

/// A text, or a list of them.
fn prompt(value: &Value) -> Prompt {
    if value.is_array() { list::<String>(value).into() } else { value.as_str().unwrap_or_default().into() }
}

/// Takes over what a case says literally.
fn with_case<C: Conditioning>(mut request: PipelineRequest<C>, case: &Value) -> PipelineRequest<C> {
    for (key, value) in case.as_object().unwrap() {
        let number = || value.as_u64().unwrap() as usize;
        request = match key.as_str() {
            "prompt" => request,
            "negative_prompt" => request.negative_prompt(prompt(value)),
            "height" => request.height(number()),
            "width" => request.width(number()),
            "num_inference_steps" => request.num_inference_steps(number()),
            "guidance_scale" => request.guidance_scale(value.as_f64().unwrap()),
            "num_images_per_prompt" => request.num_images_per_prompt(number()),
            "seed" => request.seed(value.as_u64().unwrap()),
            "seeds" => request.seeds(list::<u64>(value)),
            "timesteps" => request.timesteps(list::<f32>(value)),
            "sigmas" => request.sigmas(list::<f32>(value)),
            "original_size" => request.original_size(list(value)[0], list(value)[1]),
            "crops_coords_top_left" => request.crops_coords_top_left(list(value)[0], list(value)[1]),
            other => panic!("{other} is not known"),
        };
    }
    request
}

fn control_request(case: &Value, control: impl Into<ControlImage>) -> ControlRequest {
    with_case(ControlRequest::new(prompt(&case["prompt"]), control), case).output_type(OutputType::Latent)
}

#[track_caller]
fn check(name: &str, latents: Tensor<4>) {
    assert_close(name, latents, tensors().tensor(&format!("{name}.latents")), MODEL_TOLERANCE);
}

/// Runs a case whose parameters are all literal.
#[track_caller]
fn run(name: &str, control: impl Into<ControlImage>) {
    let output = pipeline().generate(&control_request(&case(name), control)).unwrap();
    assert!(output.images.is_empty() && output.pixels.is_none());
    check(name, output.latents);
}

#[test]
fn several_prompts_and_control_images() {
    run("prompts", vec![control(0), control(1)]);
}

#[test]
fn prompts_of_different_lengths_do_not_see_each_other() {
    run("lengths", control(0));
}

#[test]
fn custom_timesteps_and_sigmas() {
    for name in ["timesteps", "sigmas", "both"] {
        run(name, control(0));
    }
}

#[test]
fn sizes_and_seeds() {
    run("sizes", control(0));
    run("seeds", control(0));
}

#[test]
fn a_control_tensor_is_treated_like_a_picture() {
    let pixels: Tensor<4> = tensors().tensor("tensor.control_image");
    run("tensor", pixels.clone());
    // As values in [-1, 1], as diffusers' users pass them.
    run("tensor", pixels * 2.0 - 1.0);
    // A tensor of bytes and its picture are the same, also where they are resized.
    let picture = control(1);
    let values: Vec<f32> = picture.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let shape = Shape::from([1, picture.height() as usize, picture.width() as usize, 3]);
    let pixels = Tensor::<1>::from_data(values.as_slice(), &device()).reshape(shape).permute([0, 3, 1, 2]);
    let latents =
        |control: ControlImage| pipeline().generate(&control_request(&case("sizes"), control)).unwrap().latents;
    assert_close("resized", latents(pixels.into()), latents(picture.into()), 0.0);
}

#[test]
fn embeddings_go_in_and_come_out() {
    let (pipe, parts) = (pipeline(), tensors());
    let embeds = |key: &str| PromptEmbeds::new(parts.tensor(key));
    let request = with_case(ControlRequest::new(embeds("embeds.prompt_embeds"), control(0)), &case("embeds"));
    let request = request.negative_prompt(embeds("embeds.negative_prompt_embeds"));
    check("embeds", pipe.generate(&request).unwrap().latents);

    let texts = case("prompts");
    let encode = |key: &str| pipe.encode_prompt(prompt(&texts[key]), 1024, false).unwrap();
    let controls = vec![control(0), control(1)];
    let request = with_case(ControlRequest::new(encode("prompt"), controls), &texts);
    let request = request.negative_prompt(encode("negative_prompt"));
    check("prompts", pipe.generate(&request).unwrap().latents);

    let wide = PromptEmbeds::new(Tensor::zeros([1, 16, 33], &device()));
    let error = pipe.generate(&ControlRequest::new(wide, control(0))).unwrap_err().to_string();
    assert!(error.contains("prompt_embeds") && error.contains("[1, any length, 32]"), "{error}");
}

#[test]
fn initial_latents() {
    let request = control_request(&case("latents"), control(0)).latents(tensors().tensor("latents.noise"));
    check("latents", pipeline().generate(&request).unwrap().latents);
}

#[test]
fn a_callback_sees_and_changes_the_step_and_can_break_off() {
    let (pipe, case) = (pipeline(), case("callback"));
    let mut seen = Vec::new();
    let change = |end: &mut StepEnd| {
        seen.push((end.step, end.timestep, end.sigma));
        if end.step == 1 {
            end.latents = end.latents.clone() * 0.5;
            let negative = end.negative_prompt_embeds.as_mut().unwrap();
            negative.embeds = end.prompt_embeds.embeds.clone() * 0.25;
        }
        ControlFlow::Continue(())
    };
    check("callback", pipe.generate_with(&control_request(&case, control(0)), change).unwrap().latents);
    let timesteps = seen.iter().map(|(step, timestep, _)| (*step, *timestep)).collect::<Vec<_>>();
    assert_eq!(timesteps, [(0, 1000.0), (1, 500.0), (2, 1.0)]);
    assert!(seen[0].2 == 1.0 && seen.is_sorted_by(|a, b| a.2 > b.2));

    let interrupt = |end: &mut StepEnd| if end.step == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    check("interrupt", pipe.generate_with(&control_request(&case, control(0)), interrupt).unwrap().latents);

    let reshape = |end: &mut StepEnd| {
        end.latents = end.latents.clone().narrow(2, 0, 4);
        ControlFlow::Continue(())
    };
    assert!(pipe.generate_with(&control_request(&case, control(0)), reshape).is_err());
}

#[test]
fn pixels_come_back_as_a_tensor() {
    let request = control_request(&case("pixels"), control(0)).output_type(OutputType::Tensor);
    let output = pipeline().generate(&request).unwrap();
    assert_close("pixels", output.pixels.unwrap(), tensors().tensor("pixels.pixels"), MODEL_TOLERANCE);
}

#[test]
fn the_base_pipeline() {
    let base = fixtures().join("parameters").join("base");
    let load = || CogView4Pipeline::from_pretrained(fixtures().join("plain")).progress_bar(false);
    let case = case("base");
    let request = with_case(TextRequest::new(prompt(&case["prompt"])), &case);
    let output = load().transformer(base).load().unwrap().generate(&request).unwrap();
    assert_eq!(output.images.len(), 4);
    check("base", output.latents);
    let error = load().load().unwrap_err().to_string();
    assert!(error.contains("a control model") && error.contains("transformer/config.json"), "{error}");
}

#[test]
fn pipelines_share_their_models() {
    let pipe = pipeline();
    let again = CogView4ControlPipeline::from_components(pipe.components().clone()).unwrap();
    let request = control_request(&case("sizes"), control(0));
    check("sizes", again.generate(&request).unwrap().latents);
    assert!(CogView4Pipeline::from_components(pipe.components().clone()).is_err());
}

#[test]
fn tiles_and_slices_of_the_autoencoder() {
    let folder = fixtures().join("plain").join("vae");
    let mut vae = AutoencoderKl::load(&folder, ComputeDtype::Float32.dtype(), &device()).unwrap();
    let (pixels, latents) = (tensors().tensor("tiling.pixels"), tensors().tensor::<4>("tiling.latents"));
    let whole = vae.decode(latents.clone());
    vae.set_slicing(true);
    let twice = Tensor::cat(vec![latents.clone(), latents.clone()], 0);
    assert_close("slices", vae.decode(twice), Tensor::cat(vec![whole.clone(), whole.clone()], 0), MODEL_TOLERANCE);
    vae.enable_tiling();
    assert_close("encoded", vae.encode(pixels).mode(), tensors().tensor("tiling.mean"), MODEL_TOLERANCE);
    let decoded = vae.decode(latents.clone());
    assert_close("decoded", decoded.clone(), tensors().tensor("tiling.decoded"), MODEL_TOLERANCE);
    let difference: f32 = (decoded - whole.clone()).abs().max().into_scalar();
    assert!(difference > 1e-3, "tiles are another computation");
    // What fits into one tile is not parted.
    let small = latents.narrow(2, 0, 32).narrow(3, 0, 32);
    let tiled = vae.decode(small.clone());
    vae.set_tiling(None);
    assert_close("small", tiled, vae.decode(small), 0.0);
}

#[test]
fn requests_that_do_not_fit_are_refused_by_name() {
    let pipe = pipeline();
    let request = || control_request(&case("sizes"), control(0));
    let nan = Tensor::<4>::full([1, 3, 8, 8], f32::NAN, &device());
    for (request, culprit) in [
        (request().negative_prompt(["a", "b"]), "negative_prompt"),
        (request().seeds([1, 2, 3]), "seeds"),
        (request().control_image(vec![control(0); 3]), "control_image"),
        (request().control_image(Vec::<image::RgbImage>::new()), "control_image"),
        (request().control_image(nan), "control_image"),
        (request().control_image(Tensor::<4>::zeros([1, 1, 8, 8], &device())), "control_image"),
        (request().control_image(Tensor::<4>::full([1, 3, 8, 8], 255.0, &device())), "control_image"),
        (request().timesteps([1.0, 2.0]).sigmas([0.5]), "timesteps and sigmas"),
        (request().sigmas([1.5]), "sigmas"),
        (request().timesteps([]), "num_inference_steps"),
        (request().original_size(0, 5), "original_size"),
        (ControlRequest::new(Vec::<String>::new(), control(0)), "prompt"),
    ] {
        let error = pipe.generate(&request).unwrap_err().to_string();
        assert!(error.contains(culprit), "{error}");
    }
}
