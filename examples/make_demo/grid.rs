//! The picture of the README: drawings that no training saw, and what the demo generates from their edges.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use cogview4::pipeline::check_image_output;
use cogview4::{CogView4ControlPipeline, ControlRequest, demo, open_image, save_image};
use image::RgbImage;

use crate::{drawings::DRAWINGS, emoji::edges, sheet::sheet};

#[derive(Debug, Args)]
#[command(rename_all = "snake_case")]
pub(crate) struct GridArgs {
    /// The picture to write
    #[arg(long, default_value = "assets/demo.png")]
    output: PathBuf,
}

/// Three columns: control image, generated with the first prompt, and with the second.
pub(crate) fn generate(args: &GridArgs) -> Result<()> {
    check_image_output(&args.output)?;
    let pipe = CogView4ControlPipeline::from_pretrained(demo::pipeline()).load()?;
    let control = |name: &str| edges(&open_image(demo::drawing(name))?);
    let controls = DRAWINGS.iter().map(|drawing| control(drawing.name)).collect::<Result<Vec<_>>>()?;
    let generated = |prompt: usize| -> Result<Vec<RgbImage>> {
        let prompts: Vec<_> = DRAWINGS.iter().map(|drawing| drawing.prompts[prompt].to_owned()).collect();
        let request = ControlRequest::new(prompts, controls.clone()).guidance_scale(3.5);
        Ok(pipe.generate(&request)?.images)
    };
    Ok(save_image(&sheet(&[&controls, &generated(0)?, &generated(1)?], 2), &args.output)?)
}
