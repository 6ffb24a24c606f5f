use cogview4::{CogView4Pipeline, TextRequest, save_image};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pipe = CogView4Pipeline::from_pretrained("path/to/pipeline").transformer("path/to/model").load()?;
    let request =
        TextRequest::new("a prompt").height(64).width(64).guidance_scale(3.5).max_sequence_length(128).seed(0);
    save_image(&pipe.generate(&request)?.images[0], "cogview4.png".as_ref())?;
    Ok(())
}
