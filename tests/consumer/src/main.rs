//! Generates a picture with the demo and nothing but the library, and looks whether it follows its edges.

use std::ops::ControlFlow;

use cogview4::{CannyDetector, CogView4ControlPipeline, ControlRequest, demo, open_image};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let drawing = open_image(demo::control_image())?;
    let canny = CannyDetector::for_size(&drawing);
    let edges = canny.detect(&drawing)?;
    let pipe = CogView4ControlPipeline::from_pretrained(demo::pipeline()).load()?;
    let request = ControlRequest::new(demo::PROMPT, edges.clone()).num_inference_steps(20);
    let mut steps = 0;
    let output = pipe.generate_with(&request, |_| {
        steps += 1;
        ControlFlow::Continue(())
    })?;
    let picture = &output.images[0];
    let fidelity = canny.fidelity(picture, &edges)?;
    if steps != 20 || fidelity < 0.7 {
        return Err(format!("an edge F1 of {fidelity} after {steps} steps").into());
    }
    let (width, height) = picture.dimensions();
    println!("a picture of {width} x {height} pixels in {steps} steps, edge F1 {fidelity:.2}");
    Ok(())
}
