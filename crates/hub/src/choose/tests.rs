use super::*;
use crate::repo::Repo;

fn listing(paths: &[&str]) -> Listing {
    let file = |path: &&str| RemoteFile { path: path.to_string(), size: 1, oid: "0".repeat(40), lfs_sha256: None };
    let mut files: Vec<RemoteFile> = paths.iter().map(file).collect();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let repo = Repo::model("THUDM/CogView4-6B".parse().expect("a name"));
    Listing { repo, commit: "0".repeat(40), files, from_cache: false }
}

fn paths(files: Vec<&RemoteFile>) -> Vec<&str> {
    files.into_iter().map(|file| file.path.as_str()).collect()
}

const PIPELINE: [&str; 20] = [
    ".gitattributes",
    "README.md",
    "model_index.json",
    "picture.png",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model-00001-of-00002.safetensors",
    "text_encoder/model-00002-of-00002.safetensors",
    "text_encoder/model.safetensors.index.json",
    "text_encoder/pytorch_model.bin",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer.model",
    "tokenizer/tokenizer_config.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.bf16-00001-of-00001.safetensors",
    "transformer/diffusion_pytorch_model.safetensors",
    "transformer/diffusion_pytorch_model.safetensors.index.bf16.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.onnx",
    "vae/diffusion_pytorch_model.safetensors",
];

#[test]
fn a_pipeline_has_its_components_and_nothing_else() {
    let listing = listing(&PIPELINE);
    let components = ["scheduler", "tokenizer", "text_encoder", "transformer", "vae"];
    let all = paths(pipeline_files(&listing, &components, None).expect("chosen"));
    let expected = [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer.model",
        "tokenizer/tokenizer_config.json",
        "text_encoder/config.json",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model-00002-of-00002.safetensors",
        "text_encoder/model.safetensors.index.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ];
    assert_eq!(all, expected);
    let some = paths(pipeline_files(&listing, &["vae"], None).expect("chosen"));
    assert_eq!(some, ["model_index.json", "vae/config.json", "vae/diffusion_pytorch_model.safetensors"]);
}

#[test]
fn a_variant_is_taken_where_it_is() {
    let listing = listing(&PIPELINE);
    let chosen = paths(pipeline_files(&listing, &["transformer", "vae"], Some("bf16")).expect("chosen"));
    assert_eq!(
        chosen[1..],
        [
            "transformer/config.json",
            "transformer/diffusion_pytorch_model.bf16-00001-of-00001.safetensors",
            "transformer/diffusion_pytorch_model.safetensors.index.bf16.json",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
        ]
    );
    let message = |components: &[&str], variant| {
        pipeline_files(&listing, components, Some(variant)).expect_err("refused").to_string()
    };
    let expected = "THUDM/CogView4-6B: transformer, vae: no safetensors of the variant fp16";
    assert_eq!(message(&["transformer", "vae"], "fp16"), expected);
    assert!(model_files(&listing, "vae", Some("bf16")).is_err(), "one model is wholly of a variant");
    assert!(model_files(&listing, "transformer", Some("bf16")).is_ok());
}

#[test]
fn a_repository_may_be_one_model() {
    let listing = listing(&["README.md", "config.json", "diffusion_pytorch_model.safetensors", "image_control.png"]);
    let chosen = paths(model_files(&listing, "", None).expect("chosen"));
    assert_eq!(chosen, ["config.json", "diffusion_pytorch_model.safetensors"]);
    let message = pipeline_files(&listing, &["vae"], None).expect_err("no pipeline").to_string();
    assert_eq!(message, "THUDM/CogView4-6B: there is no file model_index.json");
}

#[test]
fn both_spellings_of_shards_of_a_variant_are_known() {
    for (shard, index) in [
        ("model.fp16-0000N-of-00002.safetensors", "model.safetensors.index.fp16.json"),
        ("model-0000N-of-00002.fp16.safetensors", "model.safetensors.fp16.index.json"),
    ] {
        let shards = [shard.replace('N', "1"), shard.replace('N', "2")];
        let found = find_weights(&[&shards[0], &shards[1], index], Some("fp16")).expect("whole").expect("there");
        assert_eq!(found, WeightNames { index: Some(index.into()), files: shards.to_vec() });
        let error = find_weights(&[&shards[0], index], Some("fp16")).expect_err("one is missing");
        assert_eq!(error, format!("{} is missing", shards[1]));
        assert!(find_weights(&[&shards[0], &shards[1]], Some("fp16")).expect_err("no index").contains(index));
        assert!(find_weights(&[index], Some("fp16")).expect_err("no shard").contains(index));
        assert_eq!(find_weights(&[&shards[0], index], None), Ok(None), "the variant is not taken for the whole");
    }
}

#[test]
fn what_has_no_safetensors_is_named() {
    let listing = listing(&[
        "model_index.json",
        "empty/notes.txt",
        "old/config.json",
        "old/diffusion_pytorch_model.bin",
        "shards/model-00001-of-00002.safetensors",
        "shards/model.safetensors.index.json",
        "scheduler/scheduler_config.json",
    ]);
    for (component, reason) in [
        ("empty", "no safetensors"),
        ("old", "no safetensors, only diffusion_pytorch_model.bin, which is not read; convert it first"),
        ("shards", "model-00002-of-00002.safetensors is missing"),
        ("none", "there is no such folder"),
    ] {
        let error = pipeline_files(&listing, &["scheduler", component], None).expect_err(component);
        assert_eq!(error.to_string(), format!("THUDM/CogView4-6B: {component}: {reason}"));
    }
    let cached = Listing { from_cache: true, ..listing };
    let error = pipeline_files(&cached, &["none"], None).expect_err("not there").to_string();
    assert_eq!(error, "THUDM/CogView4-6B: none: there is no such folder in the cache, and the Hub was not asked");
}
