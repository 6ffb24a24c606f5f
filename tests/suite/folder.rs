//! Pipeline folders: what their configurations say of each other.

use std::{fs, path::Path};

use burn::tensor::DType;
use cogview4::PipelineFolder;
use cogview4::model::weights::{WeightFiles, WeightOptions};
use cogview4::pipeline::{Component, InputChannels, PipelineConfigs};

use crate::support::fixtures;

fn plain() -> PipelineFolder {
    PipelineFolder::new(fixtures().join("plain"))
}

/// A component's folder with one field of the configuration changed.
fn changed(component: Component, field: &str, value: impl Into<serde_json::Value>, into: &Path) -> PipelineFolder {
    let name = plain().config_path(component);
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&name).unwrap()).unwrap();
    config[field] = value.into();
    let folder = into.join(component.name());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name.file_name().unwrap()), config.to_string()).unwrap();
    plain().with(component, folder)
}

#[track_caller]
fn refused(folder: &PipelineFolder, channels: InputChannels) -> String {
    folder.read_configs(channels).unwrap_err().to_string()
}

#[test]
fn a_control_model_and_a_base_model() {
    let control = plain().read_configs(InputChannels::Control).unwrap();
    assert!(control.is_control());
    let [patch, scale] = [control.transformer.patch_size, control.vae.scale_factor()];
    assert_eq!(control.pixel_multiple(), patch * scale);
    assert_eq!(control.default_size(), control.transformer.sample_size * scale);

    let base = plain().with(Component::Transformer, fixtures().join("parameters").join("base"));
    assert!(!base.read_configs(InputChannels::Base).unwrap().is_control());
    let either = |folder: &PipelineFolder| folder.read_configs(InputChannels::BaseOrControl);
    let both: [PipelineConfigs; 2] = [either(&plain()).unwrap(), either(&base).unwrap()];
    assert_eq!(both.map(|configs| configs.is_control()), [true, false]);

    assert!(refused(&plain(), InputChannels::Base).contains("a control model, but a base model (16 channels)"));
    assert!(refused(&base, InputChannels::Control).contains("a base model, but a control model (32 channels)"));
}

#[test]
fn components_that_do_not_fit_are_refused_with_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let transformer = |field: &str, value: usize| changed(Component::Transformer, field, value, folder.path());
    for (case, channels, culprit) in [
        (transformer("in_channels", 24), InputChannels::BaseOrControl, "`in_channels` is 24, but the VAE has 16"),
        (transformer("in_channels", 24), InputChannels::Control, "ask for twice as many"),
        (transformer("in_channels", 24), InputChannels::Base, "`in_channels` is 24, but the VAE's"),
    ] {
        // The three share a file, which is the same for all.
        let error = refused(&case, channels);
        assert!(error.contains(culprit) && error.contains("transformer/config.json"), "{error}");
    }
    for (component, field, culprit) in [
        (Component::Transformer, "out_channels", "`out_channels` is 1,"),
        (Component::Transformer, "text_embed_dim", "`text_embed_dim` is 1,"),
        (Component::Vae, "in_channels", "has 1 and 3 picture channels"),
    ] {
        let case = changed(component, field, 1, folder.path());
        let error = refused(&case, InputChannels::BaseOrControl);
        let file = format!("{}/config.json", component.name());
        assert!(error.contains(culprit) && error.contains(&file), "{error}");
    }
}

#[test]
fn a_folder_must_be_a_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let empty = PipelineFolder::new(folder.path());
    assert!(refused(&empty, InputChannels::BaseOrControl).contains("model_index.json: cannot be read"));
    fs::write(folder.path().join("model_index.json"), r#"{ "_class_name": "FluxPipeline" }"#).unwrap();
    assert!(refused(&empty, InputChannels::BaseOrControl).contains("describes a `FluxPipeline`"));
    let absent = PipelineFolder::new(folder.path().join("absent"));
    assert!(refused(&absent, InputChannels::BaseOrControl).contains("no such folder"));
}

#[test]
fn variants_of_weights_are_taken_where_they_are() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("vae");
    fs::create_dir(&folder).unwrap();
    let own = plain().component(Component::Vae);
    fs::copy(own.join("config.json"), folder.join("config.json")).unwrap();
    let weights = folder.join("diffusion_pytorch_model.fp16.safetensors");
    fs::copy(own.join("diffusion_pytorch_model.safetensors"), &weights).unwrap();

    let options = WeightOptions::new(DType::F32, &crate::support::device());
    let without = plain().with(Component::Vae, &folder);
    let error = without.load_vae(&options).unwrap_err().to_string();
    assert!(error.contains("vae") && error.contains("`diffusion_pytorch_model.safetensors`"), "{error}");
    let with = without.clone().with_variant("fp16");
    with.read_configs(InputChannels::Control).unwrap();
    with.load_vae(&options).unwrap();
    with.load_transformer(&options).expect("a component without the variant has its own weights");
    assert_eq!([Component::Vae, Component::Transformer].map(|part| with.variant_of(part)), [Some("fp16"), None]);

    for (variant, culprit) in [("bf16", "no component has weights of the variant `bf16`"), ("../x", "variant")] {
        let error = refused(&without.clone().with_variant(variant), InputChannels::Control);
        assert!(error.contains(culprit), "{error}");
    }
    let shards = folder.join("diffusion_pytorch_model.safetensors.index.fp16.json");
    fs::rename(&weights, folder.join("diffusion_pytorch_model.fp16-00001-of-00001.safetensors")).unwrap();
    let name = "diffusion_pytorch_model.fp16-00001-of-00001.safetensors";
    let keys = WeightFiles::open_file(&folder.join(name)).unwrap();
    let map: serde_json::Map<_, _> = keys.keys().map(|key| (key.into(), name.into())).collect();
    fs::write(shards, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    with.load_vae(&options).unwrap();
}
