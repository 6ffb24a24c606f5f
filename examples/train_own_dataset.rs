//! Widens the demo's base model and trains it on pairs that this program makes itself: discs, with their outlines as
//! control images. Shows the library's side of training: a data set of one's own, settings, callbacks, and the trained
//! model in the pipeline.
//!
//! `cargo run --release --example train_own_dataset`

use std::{ops::ControlFlow, path::Path};

use anyhow::Result;
use cogview4::data::{DataError, Dataset, Picture, Row};
use cogview4::trainer::{Callbacks, StepMetrics, TrainConfig, Trainer, Validation, WeightingScheme};
use cogview4::{CogView4ControlPipeline, ControlRequest, demo};
use image::{Rgb, RgbImage};

const SIDE: u32 = 64;
const COLOURS: [(&str, [u8; 3]); 3] = [("red", [220, 40, 30]), ("green", [30, 170, 60]), ("blue", [40, 70, 220])];

/// Discs of three colours at many places, made when they are asked for.
struct Discs;

impl Discs {
    fn picture(index: usize, pixel: impl Fn(f32) -> [u8; 3]) -> RgbImage {
        let place = |step: usize| 16.0 + (index * step % 33) as f32;
        let (x, y, radius) = (place(7), place(13), 8.0 + (index % 7) as f32);
        RgbImage::from_fn(SIDE, SIDE, |column, row| Rgb(pixel((column as f32 - x).hypot(row as f32 - y) - radius)))
    }

    fn outline(index: usize) -> RgbImage {
        Self::picture(index, |distance| if distance.abs() < 1.0 { [255; 3] } else { [0; 3] })
    }
}

impl Dataset for Discs {
    fn len(&self) -> usize {
        96
    }

    fn row(&self, index: usize) -> Result<Row, DataError> {
        let (name, colour) = COLOURS[index % COLOURS.len()];
        let disc = Self::picture(index, |distance| if distance < 0.0 { colour } else { [245; 3] });
        Ok(Row {
            image: Picture::from(disc),
            conditioning_image: Picture::from(Self::outline(index)),
            captions: vec![format!("a {name} disc")],
        })
    }
}

/// Tells how it goes.
struct Print;

impl Callbacks for Print {
    fn on_step_end(&mut self, metrics: &StepMetrics) -> ControlFlow<()> {
        if metrics.step.is_multiple_of(20) {
            eprintln!("step {}: loss {:.3}", metrics.step, metrics.loss);
        }
        ControlFlow::Continue(())
    }

    fn on_validation_end(&mut self, validation: &Validation) -> ControlFlow<()> {
        if let Some(gain) = validation.control_gain {
            eprintln!("step {}: control gain {:.1} %", validation.step, 100.0 * gain);
        }
        ControlFlow::Continue(())
    }

    fn on_checkpoint(&mut self, folder: &Path) {
        eprintln!("wrote {}", folder.display());
    }
}

fn main() -> Result<()> {
    let mut config = TrainConfig::new(demo::pipeline(), "discs-control");
    config.transformer = Some(demo::base_transformer().into());
    config.seed = Some(0);
    config.progress_bar = false;
    config.max_train_steps = Some(120);
    config.validation.steps = 40;
    config.recipe.resolution = SIDE;
    config.recipe.train_batch_size = 8;
    config.recipe.schedule.learning_rate = 1e-3;
    config.recipe.density.scheme = WeightingScheme::LogitNormal;
    config.recipe.density.logit_mean = -1.0;
    let outcome = Trainer::new(config, Discs)?.run(&mut Print)?;

    let pipe = CogView4ControlPipeline::from_pretrained(demo::pipeline()).transformer(outcome.transformer).load()?;
    pipe.generate(&ControlRequest::new("a red disc", Discs::outline(1)))?.images[0].save("discs-control/disc.png")?;
    eprintln!("see discs-control/report.html and discs-control/disc.png");
    Ok(())
}
