//! A small data set, and runs of the binary on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use burn::tensor::{DType, TensorData};
use cogview4_model::weights::{WeightFiles, save_tensors};
use image::{Rgb, RgbImage};

/// Rows of the data set; not a multiple of any batch below.
const ROWS: usize = 11;

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

pub(crate) fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets")
}

/// A folder with a data set, for runs in it.
pub(crate) struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    /// Squares of several sizes and colours, and their outlines; some rows have two captions of different length.
    pub(crate) fn new() -> Self {
        let workplace = Self { folder: tempfile::tempdir().unwrap() };
        let mut lines = String::new();
        for row in 0..ROWS as u32 {
            let inside = |x: u32, y: u32, shrink: u32| {
                let (low, high) = (4 + row % 5 + shrink, 20 + row % 7 - shrink);
                (low..high).contains(&x) && (low..high).contains(&y)
            };
            let colour = Rgb([(row * 23) as u8, 200 - (row * 11) as u8, 90]);
            let picture = |x, y| if inside(x, y, 0) { colour } else { Rgb([230; 3]) };
            let outline = |x, y| if inside(x, y, 0) && !inside(x, y, 1) { Rgb([255; 3]) } else { Rgb([0; 3]) };
            RgbImage::from_fn(32, 32, picture).save(workplace.path(&format!("{row}.png"))).unwrap();
            RgbImage::from_fn(32, 32, outline).save(workplace.path(&format!("{row}-edges.png"))).unwrap();
            let text = match row % 3 {
                0 => serde_json::json!(["a square", "a square of some colour on a light background, drawn flat"]),
                _ => serde_json::json!(format!("square number {row}")),
            };
            let names = [format!("{row}.png"), format!("{row}-edges.png")];
            let line = serde_json::json!({ "image": names[0], "conditioning_image": names[1], "text": text });
            lines.push_str(&format!("{line}\n"));
        }
        fs::write(workplace.path("train.jsonl"), lines).unwrap();
        workplace
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that trains the fixture pipeline on the data set, with further flags.
    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"));
        command.current_dir(self.folder.path());
        let pipeline = fixtures().join("plain");
        let defaults = [
            ["--pretrained_model_name_or_path", pipeline.to_str().unwrap()],
            ["--jsonl_for_train", "train.jsonl"],
            ["--output_dir", "out"],
            ["--resolution", "32"],
            ["--train_batch_size", "2"],
            ["--max_train_steps", "2"],
            ["--seed", "7"],
            ["--learning_rate", "1e-3"],
        ];
        let given = |flag: &str| flags.contains(&flag);
        let source = given("--dataset_name");
        let replaced = |flag: &str| given(flag) || (source && flag == "--jsonl_for_train");
        let kept = defaults.iter().filter(|pair| !replaced(pair[0]));
        command.args(kept.flatten()).args(flags);
        command
    }

    pub(crate) fn run(&self, flags: &[&str]) -> Output {
        self.command(flags).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn succeeds(&self, flags: &[&str]) {
        let output = self.run(flags);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Expects one line that names all culprits.
    #[track_caller]
    pub(crate) fn refuses(&self, flags: &[&str], culprits: &[&str]) {
        let output = self.run(flags);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{flags:?} was accepted");
        assert!(error.starts_with("error: ") && error.trim_end().lines().count() == 1, "{error}");
        assert!(!error.contains("panicked"), "{error}");
        for culprit in culprits {
            assert!(error.contains(culprit), "`{culprit}` is not in: {error}");
        }
    }

    /// A copy of a control pipeline, to break something in it.
    pub(crate) fn pipeline(&self, name: &str) -> PathBuf {
        fn copy(from: &Path, to: &Path) {
            fs::create_dir_all(to).unwrap();
            for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
                let target = to.join(entry.file_name());
                match entry.file_type().unwrap().is_dir() {
                    true => copy(&entry.path(), &target),
                    false => drop(fs::copy(entry.path(), target).unwrap()),
                }
            }
        }
        copy(&fixtures().join("plain"), &self.path(name));
        self.path(name)
    }

    /// A copy of a control pipeline, with a base transformer: the columns of the control latents are cut off.
    pub(crate) fn base_pipeline(&self, from: &Path) -> String {
        let to = self.path("base");
        for component in ["transformer", "vae", "text_encoder", "tokenizer", "scheduler"] {
            fs::create_dir_all(to.join(component)).unwrap();
            for entry in fs::read_dir(from.join(component)).unwrap().map(Result::unwrap) {
                fs::copy(entry.path(), to.join(component).join(entry.file_name())).unwrap();
            }
        }
        fs::copy(from.join("model_index.json"), to.join("model_index.json")).unwrap();
        let config = to.join("transformer/config.json");
        let text = fs::read_to_string(&config).unwrap().replace("\"in_channels\": 32", "\"in_channels\": 16");
        fs::write(config, text).unwrap();
        let files = WeightFiles::open(&from.join("transformer"), "diffusion_pytorch_model").unwrap();
        let tensors = files.keys().map(|key| {
            let data = files.read(key, DType::F32).unwrap();
            if key != "patch_embed.proj.weight" {
                return (key, data);
            }
            let [rows, columns] = [data.shape()[0], data.shape()[1]];
            let values: Vec<f32> = data.try_to_vec().unwrap();
            let kept = values.chunks(columns).flat_map(|row| &row[..columns / 2]).copied().collect::<Vec<_>>();
            (key, TensorData::new(kept, [rows, columns / 2]))
        });
        save_tensors(&to.join("transformer/diffusion_pytorch_model.safetensors"), tensors).unwrap();
        to.to_str().unwrap().into()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The greatest distance of a tensor of a weight file from another's, relative to its norm.
    pub(crate) fn distance(&self, a: &str, b: &str) -> f64 {
        let parts = self.distances(a, b, "");
        parts.into_iter().map(|[difference, norm]| difference / norm.max(1e-30)).fold(0.0, f64::max)
    }

    /// The distance of all tensors together whose keys begin so, relative to their norm.
    #[cfg(feature = "mpi")]
    pub(crate) fn joint_distance(&self, a: &str, b: &str, prefix: &str) -> f64 {
        let parts = self.distances(a, b, prefix);
        let joint = |index: usize| parts.iter().map(|part| part[index] * part[index]).sum::<f64>().sqrt();
        joint(0) / joint(1)
    }

    /// Of each tensor the norms of its difference from another file's, and of that.
    fn distances(&self, a: &str, b: &str, prefix: &str) -> Vec<[f64; 2]> {
        let [a, b] = [a, b].map(|name| WeightFiles::open_file(&self.path(name)).unwrap());
        assert!(a.keys().eq(b.keys()));
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let of = |key: &str| {
            let [a, b] = [&a, &b].map(|files| files.read(key, DType::F32).unwrap().try_into_vec::<f32>().unwrap());
            let pairs = || a.iter().zip(&b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
            [norm(&mut pairs().map(|(a, b)| a - b)), norm(&mut pairs().map(|(_, b)| b))]
        };
        a.keys().filter(|key| key.starts_with(prefix)).map(of).collect()
    }

    /// The objects of a file of JSON lines.
    pub(crate) fn json_lines(&self, name: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines of `metrics.jsonl` without what depends on the clock.
    pub(crate) fn metrics(&self, output_dir: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(output_dir).join("metrics.jsonl")).unwrap();
        let strip = |line: &str| {
            let mut metrics: serde_json::Value = serde_json::from_str(line).unwrap();
            for key in [
                "samples_per_second",
                "peak_memory_bytes",
                "anon_memory_bytes",
                "data_seconds",
                "forward_seconds",
                "backward_seconds",
                "update_seconds",
            ] {
                assert!(metrics.as_object_mut().unwrap().remove(key).unwrap().as_f64().unwrap() > 0.0, "{key}");
            }
            // Nothing, where no checkpoint was written.
            assert!(metrics.as_object_mut().unwrap().remove("save_seconds").unwrap().as_f64().unwrap() >= 0.0);
            metrics.to_string()
        };
        text.lines().map(strip).collect()
    }
}
