//! What the finished pipeline can do, on drawings that no training saw.

use std::{fs, path::Path, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use cogview4::data::{Columns, Dataset, open_dataset};
use cogview4::model::{ComputeDtype, DeviceSpec};
use cogview4::{
    CannyDetector, CogView4ControlPipeline, CogView4Pipeline, Components, Conditioning, ControlRequest,
    DiffusionPipeline, PipelineRequest, TextRequest, VaeImageProcessor, demo, save_image,
};
use image::RgbImage;
use serde_json::{Value, json};

use crate::{autoencoder, colour, sheet::sheet};

/// Pictures that are drawn together.
const BATCH: usize = 16;
/// Rows of the sheet.
const SHEET_ROWS: usize = 12;
/// A pixel with a channel darker than this is drawing, not white background.
const BACKGROUND: u8 = 240;

#[derive(Debug, Args)]
#[command(rename_all = "snake_case")]
pub(crate) struct MeasureArgs {
    /// Pipeline that is measured [default: the embedded demo]
    #[arg(long)]
    pipeline: Option<PathBuf>,
    /// Transformer of the pipeline [default: its own]
    #[arg(long)]
    transformer: Option<PathBuf>,
    /// Transformer without control to compare with [default: `base_transformer` of the pipeline]
    #[arg(long)]
    base: Option<PathBuf>,
    /// Drawings of each set
    #[arg(long, default_value_t = 160)]
    rows: usize,
    /// Denoising steps of a picture
    #[arg(long, default_value_t = 50)]
    num_inference_steps: usize,
    /// Scale of the guidance
    #[arg(long, default_value_t = 3.5)]
    guidance_scale: f64,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Number type of weights and activations
    #[arg(long, default_value = "float32")]
    dtype: ComputeDtype,
}

/// Writes `measures.json`, and `held_out.png` and `other.png` to look at: control image, true picture, drawn with control,
/// with another's control, without control, and with another colour in the caption.
pub(crate) fn measure(folder: &Path, args: &MeasureArgs) -> Result<()> {
    let pipeline = args.pipeline.clone().unwrap_or_else(demo::pipeline);
    let base = args.base.clone().unwrap_or_else(|| pipeline.join("base_transformer"));
    let transformer = args.transformer.clone().unwrap_or_else(|| pipeline.join("transformer"));
    let load = (args.device, args.dtype);
    let control = CogView4ControlPipeline::from_pretrained(&pipeline).transformer(transformer);
    let control = control.device(load.0).dtype(load.1).progress_bar(false).load()?;
    let base = CogView4Pipeline::from_pretrained(&pipeline).transformer(base);
    let base = base.device(load.0).dtype(load.1).progress_bar(false).load()?;

    let mut measures = serde_json::Map::new();
    for (name, path) in [("held_out", "data/test.parquet"), ("other", "other/test.parquet")] {
        let set = Samples::open(&folder.join(path), args.rows)?;
        let own = draw(&control, set.requests(&set.captions, &set.controls), args)?;
        let others = draw(&control, set.requests(&set.captions, &set.shuffled()), args)?;
        let without = draw(&base, set.captions.chunks(BATCH).map(|part| TextRequest::new(part.to_vec())), args)?;
        let (captions, asked) = set.recoloured();
        let turned = draw(&control, set.requests(&captions, &set.controls), args)?;
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

fn draw<C: Conditioning>(
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

/// Rows of a data set, evenly spread.
struct Samples {
    captions: Vec<String>,
    controls: Vec<RgbImage>,
    pictures: Vec<RgbImage>,
}

impl Samples {
    fn open(path: &Path, count: usize) -> Result<Self> {
        let rows = open_dataset(path, &Columns::default())?;
        let count = count.min(rows.len());
        ensure!(count > 1, "{}: at least two rows are needed", path.display());
        let mut samples = Self { captions: Vec::new(), controls: Vec::new(), pictures: Vec::new() };
        for place in 0..count {
            let row = rows.row(place * rows.len() / count)?;
            samples.captions.push(row.captions.concat());
            samples.controls.push(row.conditioning_image.open().map_err(anyhow::Error::msg)?);
            samples.pictures.push(row.image.open().map_err(anyhow::Error::msg)?);
        }
        Ok(samples)
    }

    fn requests(&self, captions: &[String], controls: &[RgbImage]) -> impl Iterator<Item = ControlRequest> {
        captions
            .chunks(BATCH)
            .zip(controls.chunks(BATCH))
            .map(|(captions, controls)| ControlRequest::new(captions.to_vec(), controls.to_vec()))
    }

    /// For each row, the control image of the next.
    fn shuffled(&self) -> Vec<RgbImage> {
        let mut controls = self.controls.clone();
        controls.rotate_left(1);
        controls
    }

    /// Captions with another colour than the row's, in turn, and which one.
    fn recoloured(&self) -> (Vec<String>, Vec<[f64; 3]>) {
        let other = |(place, caption): (usize, &String)| {
            let mut words: Vec<&str> = caption.split(' ').collect();
            let hues: Vec<_> = colour::HUES.iter().filter(|(name, _)| *name != words[1]).collect();
            let (name, rgb) = hues[place % hues.len()];
            words[1] = name;
            (words.join(" "), rgb.map(f64::from))
        };
        self.captions.iter().enumerate().map(other).unzip()
    }

    /// How well pictures fit the rows.
    fn compare(&self, drawn: &[RgbImage]) -> Result<Value> {
        let (mut own, mut shuffled, mut near, mut far) = (0.0, 0.0, 0.0, 0.0);
        let count = drawn.len() as f64;
        for ((picture, truth), (control, other)) in
            drawn.iter().zip(&self.pictures).zip(self.controls.iter().zip(self.shuffled()))
        {
            let canny = CannyDetector::for_size(picture);
            own += canny.fidelity(picture, control)? / count;
            shuffled += canny.fidelity(picture, &other)? / count;
            near += distance(picture, truth) / count;
            let others = self.pictures.iter().filter(|other| !std::ptr::eq(*other, truth));
            far += mean(others.map(|other| distance(picture, other))) / count;
        }
        Ok(json!({
            "edge_f1": round(own),
            "edge_f1_of_another": round(shuffled),
            "distance": round(near),
            "distance_to_others": round(far),
            "distance_ratio": round(near / far),
        }))
    }

    /// The part of the rows where the mean colour of the drawing, not of its background, moved towards the colour asked for.
    fn right_colours(&self, before: &[RgbImage], after: &[RgbImage], asked: &[[f64; 3]]) -> f64 {
        let is_right = |row: usize| {
            let [before, after] = [before, after].map(|set| foreground(&set[row], &self.pictures[row]));
            let along = (0..3).map(|c| (after[c] - before[c]) * (asked[row][c] - before[c])).sum::<f64>();
            f64::from(u8::from(along > 0.0))
        };
        mean((0..asked.len()).map(is_right))
    }
}

/// Mean colour of a picture where the true one is not background.
fn foreground(picture: &RgbImage, truth: &RgbImage) -> [f64; 3] {
    let drawn: Vec<_> = picture
        .pixels()
        .zip(truth.pixels())
        .filter(|(_, truth)| truth.0.iter().any(|&channel| channel < BACKGROUND))
        .map(|(pixel, _)| pixel.0)
        .collect();
    [0, 1, 2].map(|channel| mean(drawn.iter().map(|pixel| f64::from(pixel[channel]))))
}

/// What the autoencoder keeps of pictures.
fn through(models: &Components, pictures: &[RgbImage]) -> Vec<RgbImage> {
    let back = |part: &[RgbImage]| {
        let pixels = part.iter().map(|picture| picture.as_raw().as_slice());
        let posterior = models.vae.encode(autoencoder::tensor(pixels, &models.device).cast(models.dtype));
        VaeImageProcessor.postprocess(models.vae.decode(posterior.mode().cast(models.dtype)))
    };
    pictures.chunks(BATCH).flat_map(back).collect()
}

/// Mean difference of all bytes.
fn distance(a: &RgbImage, b: &RgbImage) -> f64 {
    mean(a.iter().zip(b.iter()).map(|(a, b)| f64::from(a.abs_diff(*b))))
}

fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    let square = mean(a.iter().zip(b.iter()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)));
    10.0 * (255.0 * 255.0 / square).log10()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
