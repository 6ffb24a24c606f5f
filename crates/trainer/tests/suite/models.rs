//! `convert` and `inspect`: models in other types and shards, what is in files, and pictures of data sets.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use burn::tensor::{DType, TensorData};
use cogview4_model::weights::{WeightFiles, save_tensors};

use crate::support::{Workplace, fixtures};

const STEM: &str = "diffusion_pytorch_model";

fn run(workplace: &Workplace, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"));
    command.current_dir(workplace.path("")).args(arguments).output().unwrap()
}

/// What is printed, where the status is 0.
#[track_caller]
fn prints(workplace: &Workplace, arguments: &[&str]) -> String {
    let output = run(workplace, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What is printed, and the one line of the error, where the status is 1.
#[track_caller]
fn fails(workplace: &Workplace, arguments: &[&str]) -> (String, String) {
    let output = run(workplace, arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
    assert!(error.starts_with("error: ") && error.trim_end().lines().count() == 1, "{error}");
    (String::from_utf8(output.stdout).unwrap(), error)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn assert_same(first: &WeightFiles, second: &WeightFiles, dtype: DType) {
    assert!(first.keys().eq(second.keys()));
    for key in first.keys() {
        assert_eq!(first.shape(key).unwrap().1, second.shape(key).unwrap().1, "{key}");
        let read = |files: &WeightFiles| files.read(key, dtype).unwrap().as_bytes().to_vec();
        assert!(read(first) == read(second), "{key}");
    }
}

#[test]
fn a_pipeline_is_converted_whole_in_shards_and_back() {
    let workplace = Workplace::new();
    let from = fixtures().join("plain");
    let plain = from.to_str().unwrap();
    let flags = ["--dtype", "bfloat16", "--max_shard_size", "20KB"];
    prints(&workplace, &[&["convert", plain, "bf16"][..], &flags].concat());
    let to = workplace.path("bf16");
    let parts = ["model_index.json", "scheduler", "text_encoder", "tokenizer", "transformer", "vae"];
    assert_eq!(names(&to), parts, "what is beside the components is no part of the pipeline");
    for (component, stem) in [("transformer", STEM), ("vae", STEM), ("text_encoder", "model")] {
        let files = [&from, &to].map(|root| WeightFiles::open(&root.join(component), stem).unwrap());
        assert_same(&files[0], &files[1], DType::BF16);
        let index = fs::read_to_string(to.join(component).join(format!("{stem}.safetensors.index.json"))).unwrap();
        let index: serde_json::Value = serde_json::from_str(&index).unwrap();
        let values: usize = files[0].keys().map(|key| files[0].shape(key).unwrap().1.iter().product::<usize>()).sum();
        assert_eq!(index["metadata"]["total_size"], 2 * values);
        let shards = names(&to.join(component)).into_iter().filter(|name| name.ends_with(".safetensors"));
        let shards: Vec<String> = shards.collect();
        assert!(shards.len() > 2 && shards[0] == format!("{stem}-00001-of-{:05}.safetensors", shards.len()));
        for shard in shards {
            let file = WeightFiles::open_file(&to.join(component).join(shard)).unwrap();
            let sizes: Vec<usize> =
                file.keys().map(|key| 2 * file.shape(key).unwrap().1.iter().product::<usize>()).collect();
            assert!(sizes.iter().sum::<usize>() <= 20_000 || sizes.len() == 1, "{sizes:?}");
        }
    }
    let config = |root: &Path, component: &str| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(root.join(component).join("config.json")).unwrap()).unwrap()
    };
    let mut expected = config(&from, "text_encoder");
    expected["dtype"] = "bfloat16".into();
    assert_eq!(config(&to, "text_encoder"), expected);
    let bytes = |root: &Path, name: &str| fs::read(root.join(name)).unwrap();
    for name in ["model_index.json", "transformer/config.json", "scheduler/scheduler_config.json"] {
        assert_eq!(bytes(&from, name), bytes(&to, name), "{name}");
    }

    prints(&workplace, &["convert", "bf16", "f32", "--dtype", "float32"]);
    let [back, there] = ["f32", "bf16"].map(|root| workplace.path(root).join("transformer"));
    assert_same(&WeightFiles::open(&back, STEM).unwrap(), &WeightFiles::open(&there, STEM).unwrap(), DType::F32);
    assert_eq!(config(&workplace.path("f32"), "text_encoder"), config(&from, "text_encoder"));
    // Without flags the same comes out, in one file.
    prints(&workplace, &["convert", "bf16/transformer", "again"]);
    assert_eq!(names(&workplace.path("again")), ["config.json", &format!("{STEM}.safetensors")]);
    assert_eq!(prints(&workplace, &["inspect", "again"]), prints(&workplace, &["inspect", "bf16/transformer"]));
    workplace.succeeds(&["--pretrained_model_name_or_path", "bf16", "--max_train_steps", "1"]);
}

#[test]
fn matrices_of_blocks_are_converted_to_8_bits_and_back() {
    let workplace = Workplace::new();
    let plain = fixtures().join("plain");
    prints(&workplace, &["convert", plain.to_str().unwrap(), "int8", "--dtype", "int8"]);
    let open = |root: &Path| WeightFiles::open(&root.join("transformer"), STEM).unwrap();
    let (float, int8) = (open(&plain), open(&workplace.path("int8")));
    let key = "transformer_blocks.0.attn1.to_q.weight";
    assert!(
        int8.is_int8(key)
            && !int8.is_int8("proj_out.weight")
            && !int8.is_int8("transformer_blocks.0.norm1.linear.bias")
    );
    let values = |files: &WeightFiles| files.read(key, DType::F32).unwrap().try_into_vec::<f32>().unwrap();
    let (expected, found) = (values(&float), values(&int8));
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>();
    let difference =
        square(&mut expected.iter().zip(&found).map(|(a, b)| a - b)) / square(&mut expected.iter().copied());
    assert!((1e-8..1e-4).contains(&difference), "{difference}");
    // Once more changes nothing, and back they are values.
    prints(&workplace, &["convert", "int8", "again"]);
    assert_eq!(
        prints(&workplace, &["inspect", "again/transformer"]),
        prints(&workplace, &["inspect", "int8/transformer"])
    );
    prints(&workplace, &["convert", "int8", "f32", "--dtype", "float32"]);
    let back = open(&workplace.path("f32"));
    assert!(back.keys().eq(float.keys()) && values(&back) == found);
    // What is trained is not in 8 bits.
    for (name, transformer) in [("from-int8", "int8/transformer"), ("from-f32", "f32/transformer")] {
        let flags = ["--transformer", transformer, "--output_dir", name, "--max_train_steps", "1"];
        workplace.succeeds(&[&["--pretrained_model_name_or_path", "f32"], &flags[..]].concat());
    }
    assert_eq!(workplace.metrics("from-int8"), workplace.metrics("from-f32"));
}

#[test]
fn checkpoints_and_outputs_of_runs_are_converted() {
    let workplace = Workplace::new();
    workplace.succeeds(&["--checkpointing_steps", "2"]);
    for (from, to) in [("out/checkpoint-2", "a"), ("out/checkpoint-2/transformer", "b"), ("out", "c")] {
        prints(&workplace, &["convert", from, to, "--dtype", "float32"]);
        assert_eq!(names(&workplace.path(to)), ["config.json", &format!("{STEM}.safetensors")]);
        assert!(prints(&workplace, &["inspect", to, "out/checkpoint-2"]).ends_with(" tensors, 0 differ\n"));
    }
    workplace.succeeds(&["--transformer", "a", "--max_train_steps", "1", "--output_dir", "next"]);
}

#[test]
fn what_cannot_be_converted_leaves_nothing() {
    let workplace = Workplace::new();
    let broken = workplace.pipeline("broken");
    fs::remove_file(broken.join("vae/diffusion_pytorch_model.safetensors")).unwrap();
    let ends = workplace.pipeline("ends");
    let weights = ends.join("transformer/diffusion_pytorch_model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(weights, &bytes[..bytes.len() - 4]).unwrap();
    let away = workplace.pipeline("away");
    let index = fs::read_to_string(away.join("model_index.json")).unwrap().replace("\"vae\"", "\"../vae\"");
    fs::write(away.join("model_index.json"), index).unwrap();
    fs::create_dir_all(workplace.path("full/inner")).unwrap();
    fs::create_dir(workplace.path("alone")).unwrap();
    save_tensors(&workplace.path("alone/model.safetensors"), [("a", TensorData::ones::<f32, _>([2]))]).unwrap();
    let before = names(&workplace.path(""));
    for (arguments, culprit) in [
        (&["absent", "to"][..], "absent"),
        (&["full", "to"], "full: holds no safetensors weights"),
        (&["train.jsonl", "to"], "train.jsonl"),
        (&["broken", "to"], "broken/vae: holds no safetensors"),
        (&["ends", "to"], "ends/transformer/diffusion_pytorch_model.safetensors"),
        (&["away", "to"], "model_index.json: \"../vae\" is not the name of a folder"),
        (&["alone", "to"], "alone/config.json"),
        (&["ends/vae", "full"], "cannot write full: the folder is there and not empty"),
        (&["ends/vae", "train.jsonl"], "cannot write train.jsonl"),
        (&["ends/vae", "absent/to"], "cannot write absent/to"),
        (&["ends/vae", "ends/vae"], "not empty"),
        (&["ends/vae", "to", "--dtype", "float16"], "--dtype"),
        (&["ends/vae", "to", "--max_shard_size", "5 bananas"], "--max_shard_size"),
        (&["ends/vae", "to", "--max_shard_size", "0"], "--max_shard_size"),
        (&["ends/vae"], "<TO>"),
    ] {
        let (_, error) = fails(&workplace, &[&["convert"][..], arguments].concat());
        assert!(error.contains(culprit), "{culprit}: {error}");
        assert_eq!(names(&workplace.path("")), before, "{arguments:?}");
    }
    fs::create_dir(workplace.path("to")).unwrap();
    prints(&workplace, &["convert", "ends/vae", "to"]);
    assert_eq!(names(&workplace.path("to")).len(), 2, "an empty folder is filled");
}

#[test]
fn weights_are_shown_and_compared() {
    let workplace = Workplace::new();
    let save = |name: &str, tensors: &[(&str, &[f32], DType)]| {
        let data = tensors
            .iter()
            .map(|(key, values, dtype)| (*key, TensorData::new(values.to_vec(), [values.len()]).convert_dtype(*dtype)));
        save_tensors(&workplace.path(name), data).unwrap();
    };
    let f32 = DType::F32;
    save("a.safetensors", &[("x", &[1.0, 2.0], f32), ("y", &[3.0], f32), ("z", &[0.0; 3], f32)]);
    let shown = prints(&workplace, &["inspect", "a.safetensors"]);
    let lines: Vec<&str> = shown.lines().collect();
    let bytes = [1.0_f32, 2.0].map(f32::to_le_bytes).concat();
    assert_eq!(lines[0], format!("x  F32 [2]  {}", blake3::hash(&bytes)));
    assert!(lines[3].starts_with("3 tensors, 6 parameters, 24 bytes, blake3 "), "{}", lines[3]);
    let compare = |tensors: &[(&str, &[f32], DType)]| {
        save("b.safetensors", tensors);
        let output = run(&workplace, &["inspect", "a.safetensors", "b.safetensors"]);
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let z: (&str, &[f32], DType) = ("z", &[0.0; 3], f32);
    let same = compare(&[("x", &[1.0, 2.0], f32), ("y", &[3.0], f32), z]);
    assert_eq!(same, (0, "3 tensors, 0 differ\n".into()));
    for (x, y, expected) in [
        (Some((&[1.0, 2.5][..], f32)), &[3.0][..], "x: largest difference 5e-1"),
        (Some((&[1.0, f32::NAN], f32)), &[3.0], "x: largest difference inf"),
        (Some((&[1.0, 2.0], DType::BF16)), &[3.0], "x: type F32 and BF16, equal values"),
        (Some((&[1.0, 2.004], DType::BF16)), &[3.0], "x: type F32 and BF16, equal values"),
        (None, &[3.0], "x: only in the first"),
        (Some((&[1.0, 2.0], f32)), &[3.0, 4.0], "y: shape [1] and [2]"),
    ] {
        let x = x.map(|(values, dtype)| ("x", values, dtype));
        let (status, printed) = compare(&x.into_iter().chain([("y", y, f32), z]).collect::<Vec<_>>());
        assert_eq!((status, printed.lines().next().unwrap()), (1, expected), "{printed}");
        assert!(printed.ends_with("3 tensors, 1 differ\n"), "{printed}");
    }
    let plain = fixtures().join("plain");
    let shown = prints(&workplace, &["inspect", plain.to_str().unwrap()]);
    assert!(shown.contains("\ntransformer/transformer_blocks.0.") && shown.contains("\nvae/decoder."), "{shown}");
    let vae = plain.join("vae");
    let (_, error) = fails(&workplace, &["inspect", plain.to_str().unwrap(), vae.to_str().unwrap()]);
    assert!(error.contains("tensors differ"), "{error}");
    for (arguments, culprit) in [
        (&["absent"][..], "absent"),
        (&["absent.safetensors"], "absent.safetensors"),
        (&["train.jsonl", "a.safetensors"], "train.jsonl: holds no safetensors weights"),
        (&["a.safetensors", "train.jsonl"], "train.jsonl: holds no safetensors weights"),
    ] {
        let (_, error) = fails(&workplace, &[&["inspect"][..], arguments].concat());
        assert!(error.contains(culprit), "{error}");
    }
}

#[test]
fn rows_of_data_sets_are_shown_and_their_pictures_saved() {
    let workplace = Workplace::new();
    let training = fixtures().join("training");
    let parquet = training.join("bytes.parquet").to_str().unwrap().to_owned();
    let shown = prints(&workplace, &["inspect", &parquet]);
    assert!(shown.starts_with("4 rows, columns: image, conditioning_image, text\n"), "{shown}");
    assert!(shown.contains("\nrow 3: image 48x32, control 48x32: caption 3\n"), "{shown}");
    let shown = prints(&workplace, &["inspect", "train.jsonl"]);
    assert!(shown.starts_with("11 rows, columns: ") && shown.lines().count() == 9, "{shown}");
    assert!(shown.contains("\nrow 1: image 32x32, control 32x32: square number 1\n"), "{shown}");

    // As the first entry of the data set becomes the control image of the reference's example.
    prints(&workplace, &["inspect", &parquet, "--row", "0", "--save", "pose.png"]);
    assert_eq!(workplace.bytes("pose.png"), fs::read(training.join("0-edges.png")).unwrap(), "byte for byte");
    prints(&workplace, &["inspect", &parquet, "--row", "2", "--save", "2.png", "--column", "image"]);
    assert_eq!(workplace.bytes("2.png"), fs::read(training.join("2.png")).unwrap());
    prints(&workplace, &["inspect", &parquet, "--row", "0", "--save", "pose.jpg"]);
    assert!(workplace.bytes("pose.jpg").starts_with(&[0xff, 0xd8, 0xff]), "JPEG");
    assert_eq!(image::open(workplace.path("pose.jpg")).unwrap().width(), 48);
    prints(&workplace, &["inspect", "train.jsonl", "--row", "10", "--save", "10.png"]);
    assert_eq!(workplace.bytes("10.png"), workplace.bytes("10-edges.png"));
    for (arguments, culprit) in [
        (&[parquet.as_str(), "--row", "4", "--save", "x.png"][..], "--row: 4 is not there, the data set has 4 rows"),
        (&[&parquet, "--row", "0", "--save", "x.txt"], "--save"),
        (&[&parquet, "--row", "0", "--save", "absent/x.png"], "absent/x.png"),
        (&[&parquet, "--row", "0"], "--save"),
        (&[&parquet, "--image_column", "picture"], "--image_column"),
        (&[&parquet, "--row", "0", "--save", "x.png", "--column", "text"], "--column"),
    ] {
        let (_, error) = fails(&workplace, &[&["inspect"][..], arguments].concat());
        assert!(error.contains(culprit), "{error}");
        assert!(!workplace.path("x.png").exists() && !workplace.path("x.txt").exists());
    }
}
