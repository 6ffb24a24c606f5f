//! The autoencoder, from random weights.

use std::{f64::consts::PI, fs, path::Path};

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

use crate::emoji::SIDE;

/// Four times smaller latents of 16 channels, as the released model's are eight times smaller.
const CONFIG: &str = r#"{
  "_class_name": "AutoencoderKL",
  "_diffusers_version": "0.42.1",
  "act_fn": "silu",
  "block_out_channels": [32, 64, 96],
  "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
  "force_upcast": true,
  "in_channels": 3,
  "latent_channels": 16,
  "latents_mean": null,
  "latents_std": null,
  "layers_per_block": 1,
  "mid_block_add_attention": false,
  "norm_num_groups": 16,
  "out_channels": 3,
  "sample_size": 64,
  "scaling_factor": 1.0,
  "shift_factor": 0.0,
  "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
  "use_post_quant_conv": false,
  "use_quant_conv": false
}
"#;
/// One of so many pictures is an edge map: control images go through the same autoencoder.
const EDGES_EVERY: usize = 4;
/// Steps until the rate is full.
const WARMUP: usize = 100;

#[derive(Debug, Args)]
#[command(rename_all = "snake_case")]
pub(crate) struct VaeArgs {
    /// Steps
    #[arg(long, default_value_t = 2500)]
    steps: usize,
    /// Steps in which the learning rate would fall to 0
    #[arg(long, default_value_t = 4200)]
    decay_steps: usize,
    /// Pictures per step
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 2e-3)]
    learning_rate: f64,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Number type of weights and activations
    #[arg(long, default_value = "float32")]
    dtype: ComputeDtype,
}

pub(crate) fn train(folder: &Path, args: &VaeArgs) -> Result<()> {
    let target = folder.join("demo").join("vae");
    fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
    let device = args.device.open()?;
    let [train, held_out] =
        ["train.parquet", "test.parquet"].map(|name| Pictures::open(&folder.join("data").join(name)));
    let (train, held_out) = (train?, held_out?);
    write_config(&target, 1.0)?;
    device.seed(0);
    let vae = AutoencoderKl::init(&AutoencoderKlConfig::load(&target.join("config.json"))?, &device);
    let config = VaeTrainConfig { compute_dtype: args.dtype, ..VaeTrainConfig::default() };
    let mut trainer = VaeTrainer::new(vae, config);
    let mut order = Vec::new();
    for step in 0..args.steps {
        if order.len() < args.batch {
            order = permutation(0, step as u64, train.0.len());
        }
        let batch = order.split_off(order.len() - args.batch);
        let pictures = batch
            .iter()
            .enumerate()
            .map(|(place, &row)| train.0[row][usize::from(place % EDGES_EVERY == 0)].as_slice());
        let metrics = trainer.step(tensor(pictures, &device), rate(args, step));
        if metrics.step.is_multiple_of(50) {
            eprintln!(
                "step {}: loss {:.4}, PSNR {:.2} dB, KL {:.2}",
                metrics.step,
                metrics.loss,
                metrics.psnr(),
                metrics.kl
            );
        }
        if metrics.step.is_multiple_of(500) || metrics.step == args.steps {
            save(trainer.vae(), &train, &target, &device)?;
            eprintln!("held out: PSNR {:.2} dB", psnr(trainer.vae(), &held_out, &device));
        }
    }
    Ok(())
}

/// Up for a while, then down to 0 along a cosine.
fn rate(args: &VaeArgs, step: usize) -> f64 {
    let warm = ((step + 1) as f64 / WARMUP as f64).min(1.0);
    args.learning_rate * warm * 0.5 * (1.0 + (PI * step as f64 / args.decay_steps as f64).cos())
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

/// `[B, 3, 64, 64]` in [-1, 1].
pub(crate) fn tensor<'a>(pictures: impl Iterator<Item = &'a [u8]>, device: &Device) -> Tensor<4> {
    let channel = |picture: &'a [u8], channel: usize| {
        picture.iter().skip(channel).step_by(3).map(|&byte| f32::from(byte) / 127.5 - 1.0)
    };
    let values: Vec<f32> = pictures.flat_map(|picture| (0..3).flat_map(move |index| channel(picture, index))).collect();
    let side = SIDE as usize;
    let shape = [values.len() / (3 * side * side), 3, side, side];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Mean over the pictures, in decibel, of what comes back from the posterior's mean, in bytes' range.
fn psnr(vae: &AutoencoderKl, pictures: &Pictures, device: &Device) -> f64 {
    let mut sum = 0.0;
    for chunk in pictures.0.chunks(32) {
        let pixels = tensor(chunk.iter().map(|[picture, _]| picture.as_slice()), device);
        let back = vae.decode(vae.encode(pixels.clone()).mode()).clamp(-1.0, 1.0);
        let squares = (back - pixels).square().reshape([chunk.len() as i32, -1]).mean_dim(1);
        let squares: Vec<f32> = squares.into_data().try_into_vec().unwrap_or_default();
        sum += squares.iter().map(|&square| 10.0 * (4.0 / f64::from(square)).log10()).sum::<f64>();
    }
    sum / pictures.0.len() as f64
}

/// Writes the weights, and in the configuration the factor that gives latents of the training pictures a mean square of
/// 1.
fn save(vae: &AutoencoderKl, pictures: &Pictures, target: &Path, device: &Device) -> Result<()> {
    let few = pictures.0.iter().step_by(pictures.0.len() / 256).map(|[picture, _]| picture.as_slice());
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
