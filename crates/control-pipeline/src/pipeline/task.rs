//! What a request asks of the machine.

use super::{Conditioning, ControlImage, OutputType, PipelineConfigs, PipelineRequest, Prompt};
use crate::{error::Result, plan::DrawingTask, tokenizer::PromptTokenizer};

impl<C: Conditioning> PipelineRequest<C> {
    /// What is drawn, for a plan; prompts are tokenized, nothing is encoded.
    ///
    /// # Errors
    /// A request that is out of range, or a prompt that cannot be tokenized.
    pub fn task(&self, configs: &PipelineConfigs, tokenizer: &PromptTokenizer) -> Result<DrawingTask> {
        self.check()?;
        let default = configs.default_size();
        let tokens = |prompt: &Prompt| -> Result<Vec<usize>> {
            match prompt {
                Prompt::Texts(texts) => {
                    texts.iter().map(|text| Ok(tokenizer.encode(text, self.max_sequence_length)?.ids.len())).collect()
                }
                // Embedded already.
                Prompt::Embeds(_) => Ok(Vec::new()),
            }
        };
        let longest = |prompt: &Prompt, tokens: &[usize]| match prompt {
            Prompt::Texts(_) => tokens.iter().copied().max().unwrap_or_default(),
            Prompt::Embeds(embeds) => embeds.embeds.dims()[1],
        };
        let mut prompts = tokens(&self.prompt)?;
        let positive = longest(&self.prompt, &prompts);
        let mut negative = None;
        if self.guidance_scale > 1.0 {
            let more = tokens(&self.negative_prompt)?;
            negative = Some(longest(&self.negative_prompt, &more));
            prompts.extend(more);
        }
        let steps = self.timesteps.as_ref().or(self.sigmas.as_ref()).map_or(self.num_inference_steps, Vec::len);
        Ok(DrawingTask {
            size: [self.height.unwrap_or(default), self.width.unwrap_or(default)],
            images: self.num_images(),
            controls: self.conditioning.control().map_or(0, |control| match &control.image {
                ControlImage::Images(images) => images.len(),
                ControlImage::Tensor(pixels) => pixels.dims()[0],
            }),
            prompts,
            tokens: (positive, negative),
            steps,
            decodes: self.output_type != OutputType::Latent,
        })
    }
}
