//! What the finished pipeline can do, on drawings that no training saw.

use std::{fs, path::Path, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use cogview4::model::{ComputeDtype, DeviceSpec};
use cogview4::{
    CogView4ControlPipeline, CogView4Pipeline, Components, Conditioning, DiffusionPipeline, PipelineRequest,
    TextRequest, VaeImageProcessor, demo, save_image,
};
use image::RgbImage;
use serde_json::{Value, json};

use crate::{
    autoencoder::{Crop, tensor},
    pairs::{STRANGERS_THRESHOLDS, THRESHOLDS},
    samples::{BATCH, Samples, mean, psnr, round},
    sheet::sheet,
};

/// Rows of the sheet.
const SHEET_ROWS: usize = 12;

#[derive(Debug, Args)]
#[command(rename_all = "snake_case")]
pub(crate) struct MeasureArgs {
    /// Pipeline that is measured [default: the embedded demo]
    #[arg(long)]
    pub(crate) pipeline: Option<PathBuf>,
    /// Transformer of the pipeline [default: its own]
    #[arg(long)]
    pub(crate) transformer: Option<PathBuf>,
    /// Transformer without control to compare with [default: `base_transformer` of the pipeline]
    #[arg(long)]
    pub(crate) base: Option<PathBuf>,
    /// Drawings of each set
    #[arg(long, default_value_t = 160)]
    rows: usize,
    /// Denoising steps of a picture
    #[arg(long, default_value_t = 25)]
    num_inference_steps: usize,
    /// Scale of the guidance
    #[arg(long, default_value_t = 3.5)]
    guidance_scale: f64,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    pub(crate) device: DeviceSpec,
    /// Number type of weights and activations
    #[arg(long, default_value = "float32")]
    pub(crate) dtype: ComputeDtype,
}

/// Writes `measures.json`, and `held_out.png` and `other.png` to look at: control image, true picture, generated with
/// control, with another's control, without control, and with another colour in the caption.
pub(crate) fn measure(folder: &Path, args: &MeasureArgs) -> Result<()> {
    let pipeline = args.pipeline.clone().unwrap_or_else(demo::pipeline);
    let base = args.base.clone().unwrap_or_else(|| pipeline.join("base_transformer"));
    let transformer = args.transformer.clone().unwrap_or_else(|| pipeline.join("transformer"));
    let MeasureArgs { device, dtype, .. } = *args;
    let control = CogView4ControlPipeline::from_pretrained(&pipeline).transformer(transformer);
    let control = control.device(device).dtype(dtype).progress_bar(false).load()?;
    let base = CogView4Pipeline::from_pretrained(&pipeline).transformer(base);
    let base = base.device(device).dtype(dtype).progress_bar(false).load()?;

    let mut measures = serde_json::Map::new();
    let sets =
        [("held_out", "data/test.parquet", THRESHOLDS[0]), ("other", "other/test.parquet", STRANGERS_THRESHOLDS)];
    for (name, path, thresholds) in sets {
        let set = Samples::open(&folder.join(path), args.rows, thresholds)?;
        let own = generate(&control, set.requests(&set.captions, &set.controls), args)?;
        let others = generate(&control, set.requests(&set.captions, &set.shuffled()), args)?;
        let without = generate(&base, set.captions.chunks(BATCH).map(|part| TextRequest::new(part.to_vec())), args)?;
        let (captions, asked) = set.recoloured();
        let turned = generate(&control, set.requests(&captions, &set.controls), args)?;
        let columns = [&set.controls, &set.pictures, &own, &others, &without, &turned];
        let columns = columns.map(|column| &column[..SHEET_ROWS.min(column.len())]);
        save_image(&sheet(&columns, 2), &folder.join(format!("{name}.png")))?;
        let kept = through(control.components(), &set.pictures);
        let psnr = mean(kept.iter().zip(&set.pictures).map(|(kept, picture)| psnr(kept, picture)));
        let measured = json!({
            "rows": set.pictures.len(),
            "vae_psnr": round(psnr),
            "vae": set.compare(&kept)?,
            "control": set.compare(&own)?,
            "control_of_another": set.compare(&others)?,
            "base": set.compare(&without)?,
            "right_colour": round(set.right_colours(&own, &turned, &asked)),
        });
        eprintln!("{name}: {measured:#}");
        measures.insert(name.into(), measured);
    }
    let path = folder.join("measures.json");
    fs::write(&path, format!("{:#}\n", Value::from(measures))).with_context(|| format!("writing {}", path.display()))
}

fn generate<C: Conditioning>(
    pipe: &DiffusionPipeline<C>,
    requests: impl Iterator<Item = PipelineRequest<C>>,
    args: &MeasureArgs,
) -> Result<Vec<RgbImage>> {
    let mut pictures = Vec::new();
    for request in requests {
        let request = request.num_inference_steps(args.num_inference_steps).guidance_scale(args.guidance_scale);
        pictures.extend(pipe.generate(&request.seed(pictures.len() as u64))?.images);
    }
    Ok(pictures)
}

/// What the autoencoder keeps of pictures.
fn through(models: &Components, pictures: &[RgbImage]) -> Vec<RgbImage> {
    let back = |part: &[RgbImage]| {
        let pixels = part.iter().map(|picture| Crop::whole(picture.as_raw()));
        let posterior = models.vae().encode(tensor(pixels, models.device()).cast(models.dtype()));
        VaeImageProcessor.postprocess(models.vae().decode(posterior.mode().cast(models.dtype())))
    };
    pictures.chunks(BATCH).flat_map(back).collect()
}
