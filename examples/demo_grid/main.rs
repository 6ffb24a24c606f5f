//! The picture of the README: edges of drawings that no training saw, and what the demo draws from them, prompt by prompt.

mod sheet;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use cogview4::pipeline::check_image_output;
use cogview4::{CannyDetector, CogView4ControlPipeline, ControlRequest, demo, open_image, save_image};
use cogview4_cli::run_main;
use image::RgbImage;
use sheet::sheet;

/// Draw with the demo from the edges of six drawings, with two prompts each.
#[derive(Debug, Parser)]
#[command(rename_all = "snake_case")]
struct Cli {
    /// The picture to write
    #[arg(long, default_value = "assets/demo.png")]
    output: PathBuf,
}

/// One of the demo's drawings, and prompts for its edges.
struct Drawing {
    name: &'static str,
    prompts: [&'static str; 2],
}

const DRAWINGS: [Drawing; 6] = [
    Drawing {
        name: "fox",
        prompts: [
            "a orange fox face, animals & nature, on a white background",
            "a blue fox face, animals & nature, on a black background",
        ],
    },
    Drawing {
        name: "horse",
        prompts: [
            "a orange horse, animals & nature, on a white background",
            "a purple horse, animals & nature, on a yellow background",
        ],
    },
    Drawing {
        name: "seedling",
        prompts: [
            "a green seedling, animals & nature, on a white background",
            "a red seedling, animals & nature, on a blue background",
        ],
    },
    Drawing {
        name: "boot",
        prompts: [
            "a brown hiking boot, objects, on a white background",
            "a green hiking boot, objects, on a pink background",
        ],
    },
    Drawing {
        name: "balloon",
        prompts: [
            "a red balloon, activities, on a white background",
            "a yellow balloon, activities, on a blue background",
        ],
    },
    Drawing {
        name: "star",
        prompts: [
            "a yellow medium star, travel & places, on a white background",
            "a pink medium star, travel & places, on a green background",
        ],
    },
];

fn main() -> ExitCode {
    run_main(generate)
}

/// A column of control images, and one for each prompt.
fn generate(cli: Cli) -> Result<()> {
    check_image_output(&cli.output)?;
    let pipe = CogView4ControlPipeline::from_pretrained(demo::pipeline()).load()?;
    let edges = |drawing: &Drawing| {
        let picture = open_image(demo::drawing(drawing.name))?;
        CannyDetector::for_size(&picture).detect(&picture)
    };
    let controls = DRAWINGS.iter().map(edges).collect::<Result<Vec<_>, _>>()?;
    let generated = |prompt: usize| -> Result<Vec<RgbImage>> {
        let prompts: Vec<_> = DRAWINGS.iter().map(|drawing| drawing.prompts[prompt].to_owned()).collect();
        let request = ControlRequest::new(prompts, controls.clone()).guidance_scale(3.5);
        Ok(pipe.generate(&request)?.images)
    };
    Ok(save_image(&sheet(&[&controls, &generated(0)?, &generated(1)?], 2), &cli.output)?)
}
