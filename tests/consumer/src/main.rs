//! Draws a picture of the demo with nothing but the library, and looks whether there is something on it.

use std::ops::ControlFlow;

use cogview4::{CannyDetector, CogView4ControlPipeline, ControlRequest, demo, load_image};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let edges = CannyDetector::default().detect(&load_image(&demo::control_image())?)?;
    let pipe = CogView4ControlPipeline::from_pretrained(demo::pipeline()).load()?;
    let request = ControlRequest::new(demo::PROMPT, edges).height(128).width(128).num_inference_steps(4);
    let mut steps = 0;
    let output = pipe.generate_with(&request, |_| {
        steps += 1;
        ControlFlow::Continue(())
    })?;
    let picture = &output.images[0];
    if steps != 4 || picture.dimensions() != (128, 128) || picture.iter().all(|byte| *byte == picture[(0, 0)][0]) {
        return Err("the picture is not what was asked for".into());
    }
    println!("drew a picture of {} x {} pixels in {steps} steps", picture.width(), picture.height());
    Ok(())
}
