//! The autoencoder, from random weights.

use std::{
    f64::consts::PI,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use burn::tensor::{DType, Device, Tensor, TensorData};
use clap::Args;
use cogview4::data::{Columns, Dataset, open_dataset, permutation};
use cogview4::model::{
    AutoencoderKl, AutoencoderKlConfig, ComputeDtype, DeviceSpec,
    weights::{cast_parameters, save_module},
};
use cogview4::trainer::{VaeTrainConfig, VaeTrainer};
use image::RgbImage;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::{Deserialize, Serialize};

use crate::{pairs::SIDE, random::uniform};

/// Latents eight times smaller, of 16 channels, as the released model's.
const CONFIG: &str = r#"{
  "_class_name": "AutoencoderKL",
  "_diffusers_version": "0.42.1",
  "act_fn": "silu",
  "block_out_channels": [16, 32, 96, 128],
  "down_block_types": [
    "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"
  ],
  "force_upcast": true,
  "in_channels": 3,
  "latent_channels": 16,
  "latents_mean": null,
  "latents_std": null,
  "layers_per_block": 1,
  "mid_block_add_attention": false,
  "norm_num_groups": 4,
  "out_channels": 3,
  "sample_size": 128,
  "scaling_factor": 1.0,
  "shift_factor": 0.0,
  "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
  "use_post_quant_conv": false,
  "use_quant_conv": false
}
"#;
/// One of so many pictures is an edge map: control images go through the same autoencoder.
const EDGES_EVERY: usize = 5;
/// Every other step sees crops of this side, four times as many, for the same work.
const CROP_SIDE: usize = 64;
/// Steps until the rate is full.
const WARMUP: usize = 100;
/// Steps after which weights are kept, and the held-out pictures measured.
const SAVE_EVERY: usize = 250;

#[derive(Debug, Args)]
#[command(rename_all = "snake_case")]
pub(crate) struct VaeArgs {
    /// Steps; a run that was stopped goes on from what it kept last
    #[arg(long, default_value_t = 3000)]
    pub(crate) steps: usize,
    /// Pictures per step
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 2e-3)]
    learning_rate: f64,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    pub(crate) device: DeviceSpec,
    /// Number type of weights and activations
    #[arg(long, default_value = "float32")]
    pub(crate) dtype: ComputeDtype,
}

pub(crate) fn train(folder: &Path, args: &VaeArgs) -> Result<()> {
    let target = folder.join("demo").join("vae");
    let kept = Kept::of(folder);
    for folder in [&target, &kept.0] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let device = args.device.open()?;
    let [train, held_out] =
        ["train.parquet", "test.parquet"].map(|name| Pictures::open(&folder.join("data").join(name)));
    let (train, held_out) = (train?, held_out?);
    device.seed(0);
    let (before, began) = (kept.progress()?, Instant::now());
    let (first, vae) = (before.steps, kept.load(&device)?);
    let config = VaeTrainConfig { compute_dtype: args.dtype, seed: first as u64, ..VaeTrainConfig::default() };
    let mut trainer = VaeTrainer::new(vae, config);
    let mut order = Vec::new();
    for step in first..args.steps {
        let is_cropped = step % 2 == 1;
        let count = if is_cropped { args.batch * (SIDE as usize / CROP_SIDE).pow(2) } else { args.batch };
        if order.len() < count {
            order = permutation(0, step as u64, train.0.len());
        }
        let mut random = ChaCha8Rng::seed_from_u64(step as u64);
        let rows = order.split_off(order.len() - count);
        let pictures = rows.iter().enumerate().map(|(place, &row)| {
            let picture = train.0[row][usize::from(place % EDGES_EVERY == 0)].as_slice();
            let corner = [0; 2].map(|_| (uniform(&mut random) * (SIDE as usize - CROP_SIDE + 1) as f32) as usize);
            if is_cropped { Crop { picture, corner, side: CROP_SIDE } } else { Crop::whole(picture) }
        });
        let metrics = trainer.step(tensor(pictures, &device), rate(args, step, step - first));
        let step = step + 1;
        if step.is_multiple_of(50) {
            let (loss, psnr, kl) = (metrics.loss, metrics.psnr(), metrics.kl);
            eprintln!("step {step}: loss {loss:.4}, PSNR {psnr:.2} dB, KL {kl:.2}");
        }
        if step.is_multiple_of(SAVE_EVERY) || step == args.steps {
            let seconds = before.seconds + began.elapsed().as_secs_f64();
            kept.save(trainer.vae(), &Progress { steps: step, seconds })?;
            ship(trainer.vae(), &train, &target, &device)?;
            eprintln!("held out: PSNR {:.2} dB", psnr(trainer.vae(), &held_out, &device));
        }
    }
    Ok(())
}

/// Where a run goes on: weights in f32, and what is behind them. Moments are not kept, so the rate rises again.
pub(crate) struct Kept(PathBuf);

/// What a run has come to.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) steps: usize,
    /// Of all parts of the run.
    pub(crate) seconds: f64,
}

impl Kept {
    pub(crate) fn of(folder: &Path) -> Self {
        Self(folder.join("vae"))
    }

    pub(crate) fn progress(&self) -> Result<Progress> {
        let path = self.0.join("progress.json");
        if !path.exists() {
            return Ok(Progress::default());
        }
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))
    }

    fn load(&self, device: &Device) -> Result<AutoencoderKl> {
        if self.progress()?.steps > 0 {
            return Ok(AutoencoderKl::load(&self.0, DType::F32, device)?);
        }
        write_config(&self.0, 1.0)?;
        Ok(AutoencoderKl::init(&AutoencoderKlConfig::load(&self.0.join("config.json"))?, device))
    }

    fn save(&self, vae: &AutoencoderKl, progress: &Progress) -> Result<()> {
        save_module(vae, &self.0, "diffusion_pytorch_model")?;
        let path = self.0.join("progress.json");
        fs::write(&path, serde_json::to_string(progress)?).with_context(|| format!("writing {}", path.display()))
    }
}

/// Up for a while, then down to 0 along a cosine.
fn rate(args: &VaeArgs, step: usize, since_start: usize) -> f64 {
    let warm = ((since_start + 1) as f64 / WARMUP as f64).min(1.0);
    args.learning_rate * warm * 0.5 * (1.0 + (PI * step as f64 / args.steps as f64).cos())
}

/// Pictures and edge maps, as bytes.
struct Pictures(Vec<[Vec<u8>; 2]>);

impl Pictures {
    fn open(path: &Path) -> Result<Self> {
        let rows = open_dataset(path, &Columns::default())?;
        let bytes =
            |picture: cogview4::data::Picture| picture.open().map(RgbImage::into_raw).map_err(anyhow::Error::msg);
        let row = |index| {
            let row = rows.row(index)?;
            Ok([bytes(row.image)?, bytes(row.conditioning_image)?])
        };
        (0..rows.len()).map(row).collect::<Result<_>>().map(Self)
    }
}

/// A square of a picture.
pub(crate) struct Crop<'a> {
    picture: &'a [u8],
    corner: [usize; 2],
    side: usize,
}

impl<'a> Crop<'a> {
    pub(crate) fn whole(picture: &'a [u8]) -> Self {
        Self { picture, corner: [0; 2], side: SIDE as usize }
    }

    fn channel(&self, channel: usize) -> impl Iterator<Item = f32> {
        let [left, top] = self.corner;
        let rows = (top..top + self.side).map(move |row| &self.picture[3 * (row * SIDE as usize + left)..]);
        rows.flat_map(move |row| row[..3 * self.side].iter().skip(channel).step_by(3))
            .map(|&byte| f32::from(byte) / 127.5 - 1.0)
    }
}

/// `[B, 3, side, side]` in [-1, 1], of crops of one side.
pub(crate) fn tensor<'a>(crops: impl Iterator<Item = Crop<'a>>, device: &Device) -> Tensor<4> {
    let (mut values, mut side) = (Vec::new(), SIDE as usize);
    for crop in crops {
        side = crop.side;
        (0..3).for_each(|channel| values.extend(crop.channel(channel)));
    }
    let shape = [values.len() / (3 * side * side), 3, side, side];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Mean over the pictures, in decibel, of what comes back from the posterior's mean, in bytes' range.
fn psnr(vae: &AutoencoderKl, pictures: &Pictures, device: &Device) -> f64 {
    let mut sum = 0.0;
    for chunk in pictures.0.chunks(32) {
        let pixels = tensor(chunk.iter().map(|[picture, _]| Crop::whole(picture)), device);
        let back = vae.decode(vae.encode(pixels.clone()).mode()).clamp(-1.0, 1.0);
        let squares = (back - pixels).square().reshape([chunk.len() as i32, -1]).mean_dim(1);
        let squares: Vec<f32> = squares.into_data().try_into_vec().unwrap_or_default();
        sum += squares.iter().map(|&square| 10.0 * (4.0 / f64::from(square)).log10()).sum::<f64>();
    }
    sum / pictures.0.len() as f64
}

/// Writes the weights, and in the configuration the factor that gives latents of the training pictures a mean square of
/// 1.
fn ship(vae: &AutoencoderKl, pictures: &Pictures, target: &Path, device: &Device) -> Result<()> {
    let few = pictures.0.iter().step_by(pictures.0.len() / 256).map(|[picture, _]| Crop::whole(picture));
    let square: f32 = vae.encode(tensor(few, device)).mode().square().mean().into_scalar();
    write_config(target, f64::from(square).sqrt().recip())?;
    Ok(save_module(&cast_parameters(vae.clone(), DType::BF16), target, "diffusion_pytorch_model")?)
}

/// No shift: diffusers leaves it out when it decodes.
fn write_config(target: &Path, scaling_factor: f64) -> Result<()> {
    let mut config: serde_json::Value = serde_json::from_str(CONFIG)?;
    config["scaling_factor"] = ((scaling_factor * 1e4).round() / 1e4).into();
    let path = target.join("config.json");
    fs::write(&path, format!("{config:#}\n")).with_context(|| format!("writing {}", path.display()))
}
