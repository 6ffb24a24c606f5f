//! A flipped bit anywhere in a checkpoint or in a pack is noticed, named, and survived.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::Workplace;

/// Places that are tried in the tests of every day; `--ignored` tries many.
const FEW: usize = 9;
const MANY: usize = 200;

/// Numbers by chance, the same each time.
struct Draws(u64);

impl Draws {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// Flips a bit of the file, and gives back what it was.
fn flip(path: &Path, draws: &mut Draws) -> Vec<u8> {
    let whole = fs::read(path).unwrap();
    let mut flipped = whole.clone();
    flipped[draws.below(whole.len())] ^= 1 << draws.below(8);
    fs::write(path, flipped).unwrap();
    whole
}

fn checkpoints(places: usize) {
    let workplace = Workplace::new();
    let bf16 = ["--mixed_precision", "bf16", "--pack_dir", "pack"];
    workplace.succeeds(&[&bf16[..], &["--checkpointing_steps", "1", "--max_train_steps", "3"]].concat());
    let expected = workplace.metrics("out");
    let mut draws = Draws(1);
    let newest = workplace.path("out/checkpoint-2");
    let result = workplace.bytes("out/diffusion_pytorch_model.safetensors");
    let files = files(&newest);
    for place in 0..places {
        fs::remove_dir_all(workplace.path("out/checkpoint-3")).unwrap();
        // Every kind of file, and not only the large ones.
        let path = &files[place % files.len()];
        let whole = flip(path, &mut draws);
        let name = path.file_name().unwrap().to_str().unwrap();
        let resume = ["--resume_from_checkpoint", "latest", "--max_train_steps", "3", "--checkpointing_steps", "1"];
        let output = workplace.run(&[&bf16[..], &resume].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        // What a changed manifest says is wrong with the others.
        assert!(said.contains("passed over") && (said.contains(name) || name == "manifest.json"), "{name}: {said}");
        assert_eq!(workplace.metrics("out"), expected, "{name}");
        assert!(workplace.bytes("out/diffusion_pytorch_model.safetensors") == result, "{name}");
        fs::write(path, whole).unwrap();
    }
}

fn packs(places: usize) {
    let workplace = Workplace::new();
    workplace.succeeds(&["--pack_dir", "pack", "--max_train_steps", "6"]);
    let result = workplace.bytes("out/diffusion_pytorch_model.safetensors");
    let mut draws = Draws(2);
    let mut named = 0;
    for place in 0..places {
        let name = ["pack.bin", "index.jsonl"][usize::from(place % 4 == 3)];
        let path = workplace.path("pack").join(name);
        flip(&path, &mut draws);
        let run = || workplace.run(&["--pack_dir", "pack", "--max_train_steps", "6"]);
        let first = run();
        if !first.status.success() {
            let said = String::from_utf8_lossy(&first.stderr).into_owned();
            assert!(said.starts_with("error: ") && said.trim_end().lines().count() == 1, "{said}");
            assert!(said.contains("pack"), "{said}");
            named += 1;
            if said.contains("start again") {
                let second = run();
                let said = String::from_utf8_lossy(&second.stderr);
                assert!(second.status.success(), "the next run makes the record anew: {said}");
            } else {
                // Its first line is the pack's mark: without it the folder may be somebody else's.
                fs::remove_dir_all(workplace.path("pack")).unwrap();
                assert!(run().status.success());
            }
        }
        assert!(workplace.bytes("out/diffusion_pytorch_model.safetensors") == result, "{name}");
    }
    assert!(named > 0);
}

#[test]
fn bits_of_checkpoints() {
    checkpoints(FEW);
}

#[test]
fn bits_of_packs() {
    packs(FEW);
}

#[test]
#[ignore = "a minute or two"]
fn many_bits_of_checkpoints() {
    checkpoints(MANY);
}

#[test]
#[ignore = "a minute or two"]
fn many_bits_of_packs() {
    packs(MANY);
}
