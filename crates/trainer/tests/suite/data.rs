//! Data sets of every form, and what must not change the numbers.

use std::fs;

use crate::support::{Workplace, fixtures};

#[test]
fn packs_and_workers_change_nothing() {
    let workplace = Workplace::new();
    let variants: [(&str, &[&str]); 6] = [
        ("packed", &[]),
        ("again", &["--pack_dir", "packed/pack"]),
        ("unpacked", &["--no_pack"]),
        ("workers", &["--no_pack", "--dataloader_num_workers", "3"]),
        ("streamed", &["--offload"]),
        ("streamed-unpacked", &["--offload", "--no_pack"]),
    ];
    let dump = |name: &str| format!("{name}.safetensors");
    for (name, flags) in variants {
        let dump = dump(name);
        let common =
            ["--output_dir", name, "--dump_step", &dump, "--max_train_steps", "8", "--proportion_empty_prompts", "0.4"];
        workplace.succeeds(&[&common[..], flags].concat());
        assert!(workplace.bytes(&dump) == workplace.bytes("packed.safetensors"), "{name}");
        assert_eq!(workplace.metrics(name), workplace.metrics("packed"), "{name}");
    }
}

#[test]
fn the_text_encoder_may_be_in_8_bits() {
    let workplace = Workplace::new();
    let records = || fs::read_to_string(workplace.path("full/pack/index.jsonl")).unwrap().lines().count();
    let run = |output: &str, flags: &[&str]| {
        let dump = format!("{output}.safetensors");
        workplace.succeeds(&[&["--output_dir", output, "--dump_step", &dump], flags].concat());
        workplace.bytes(&dump)
    };
    let full = run("full", &[]);
    let before = records();
    // The same pack, where embeddings of both kinds are told apart.
    let int8 = ["--pack_dir", "full/pack", "--weights", "int8"];
    let packed = run("packed", &int8);
    assert!(packed != full && records() > before);
    let after = records();
    assert!(run("again", &["--pack_dir", "full/pack"]) == full && records() == after);
    for (name, flags) in [("streamed", &["--offload"][..]), ("unpacked", &["--no_pack"])] {
        assert!(run(name, &[&["--weights", "int8"], flags].concat()) == packed, "{name}");
    }
}

#[test]
fn a_complete_pack_needs_no_encoder_and_notices_changes() {
    let workplace = Workplace::new();
    workplace.succeeds(&[]);
    let records = || fs::read_to_string(workplace.path("out/pack/index.jsonl")).unwrap().lines().count();
    let before = records();
    workplace.succeeds(&[]);
    assert_eq!(records(), before);
    fs::copy(workplace.path("1.png"), workplace.path("0.png")).unwrap();
    fs::copy(workplace.path("1-edges.png"), workplace.path("2.png")).unwrap();
    workplace.succeeds(&[]);
    assert_eq!(records(), before, "pictures that are packed already, by their content");
    workplace.succeeds(&["--resolution", "48"]);
    assert!(records() > before);
}

#[test]
fn parquet_and_folders_of_pictures() {
    let workplace = Workplace::new();
    let folder = fixtures().join("training");
    let losses = |output: &str| workplace.metrics(output);
    for (name, source) in [("bytes", folder.join("bytes.parquet")), ("paths", folder.join("paths.parquet"))] {
        let source = source.to_str().unwrap();
        workplace.succeeds(&["--dataset_name", source, "--output_dir", name, "--caption_choice", "first"]);
    }
    assert_eq!(losses("bytes"), losses("paths"));

    // The same rows as a folder of pictures, where the split `train` is the one that counts.
    let split = workplace.path("folder/train");
    fs::create_dir_all(&split).unwrap();
    fs::create_dir_all(workplace.path("folder/test")).unwrap();
    fs::write(workplace.path("folder/test/metadata.csv"), "file_name\nabsent.png\n").unwrap();
    let mut metadata = String::from("file_name,conditioning_image_file_name,text\n");
    for row in 0..4 {
        for name in [format!("{row}.png"), format!("{row}-edges.png")] {
            fs::copy(folder.join(&name), split.join(&name)).unwrap();
        }
        metadata.push_str(&format!("{row}.png,{row}-edges.png,caption {row}\n"));
    }
    fs::write(split.join("metadata.csv"), metadata).unwrap();
    workplace.succeeds(&["--dataset_name", "folder", "--output_dir", "folder-out"]);
    assert_eq!(losses("bytes"), losses("folder-out"));
}

#[test]
fn a_configuration_is_chosen_by_name() {
    let workplace = Workplace::new();
    let training = fixtures().join("training");
    for (from, to) in [("zstd", "pose/train-0"), ("bytes", "canny/train-0")] {
        let to = workplace.path(&format!("set/{to}.parquet"));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(training.join(format!("{from}.parquet")), to).unwrap();
    }
    fs::write(workplace.path("set/canny/train-1.parquet"), "cut off").unwrap();
    let config =
        |name: &str| format!("- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/train-*\n");
    let readme = format!("---\nconfigs:\n{}{}---\n", config("pose"), config("canny"));
    fs::write(workplace.path("set/README.md"), readme).unwrap();
    let flags = |flags: &[&'static str]| [&["--dataset_name", "set"][..], flags].concat();
    workplace.refuses(&flags(&[]), &["--dataset_config_name", "pose, canny"]);
    workplace.refuses(&flags(&["--dataset_config_name", "depth"]), &["--dataset_config_name", "`depth`"]);
    workplace.refuses(&flags(&["--dataset_config_name", "canny"]), &["canny/train-1.parquet"]);
    workplace.succeeds(&flags(&["--dataset_config_name", "pose"]));
    // The shard that is cut off is not needed.
    let canny = ["--dataset_config_name", "canny", "--max_train_samples", "2", "--output_dir", "first"];
    workplace.succeeds(&flags(&canny));
    assert_eq!(workplace.metrics("out"), workplace.metrics("first"), "the same two rows");
}

#[test]
fn broken_data_is_named() {
    let workplace = Workplace::new();
    let parquet = fs::read(fixtures().join("training/bytes.parquet")).unwrap();
    fs::write(workplace.path("cut.parquet"), &parquet[..parquet.len() / 2]).unwrap();
    workplace.refuses(&["--dataset_name", "cut.parquet"], &["cut.parquet"]);
    workplace.refuses(&["--dataset_name", "absent"], &["absent"]);
    fs::create_dir(workplace.path("empty")).unwrap();
    workplace.refuses(&["--dataset_name", "empty"], &["empty"]);
    workplace.refuses(&["--jsonl_for_train", "absent.jsonl"], &["absent.jsonl"]);
    for (flag, column) in
        [("--image_column", "picture"), ("--conditioning_image_column", "pose"), ("--caption_column", "caption")]
    {
        workplace.refuses(&[flag, column], &[flag, column, "conditioning_image, image, text"]);
    }

    let lines = fs::read_to_string(workplace.path("train.jsonl")).unwrap();
    let broken = |line: &str| {
        let mut lines: Vec<&str> = lines.lines().collect();
        lines[4] = line;
        fs::write(workplace.path("broken.jsonl"), lines.join("\n")).unwrap();
    };
    for (line, reason) in [
        ("{\"image\": ", "JSON"),
        ("[]", "object"),
        ("{\"image\": 3, \"conditioning_image\": \"1.png\", \"text\": \"\"}", "image"),
        ("{\"image\": \"1.png\", \"conditioning_image\": \"1.png\", \"text\": []}", "text"),
        ("{\"image\": \"gone.png\", \"conditioning_image\": \"1.png\", \"text\": \"a\"}", "gone.png"),
        ("{\"image\": \"train.jsonl\", \"conditioning_image\": \"1.png\", \"text\": \"a\"}", ""),
    ] {
        broken(line);
        for packing in [&["--no_pack"][..], &[]] {
            let flags = [&["--jsonl_for_train", "broken.jsonl"][..], packing].concat();
            workplace.refuses(&flags, &["broken.jsonl, row 5", reason]);
        }
    }
    fs::write(workplace.path("broken.jsonl"), "").unwrap();
    workplace.refuses(&["--jsonl_for_train", "broken.jsonl"], &["broken.jsonl", "no rows"]);
    assert!(!workplace.path("out/metrics.jsonl").exists(), "nothing was trained");
}
