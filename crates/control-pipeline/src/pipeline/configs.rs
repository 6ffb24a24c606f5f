//! The configurations of a pipeline's components, and whether they fit each other.

use std::path::PathBuf;

use cogview4_model::{AutoencoderKlConfig, CogView4TransformerConfig, FlowMatchEulerSchedulerConfig, GlmConfig};

use super::Component;
use crate::error::{PipelineError, Result};

/// Channels of a picture.
const PICTURE_CHANNELS: usize = 3;

/// What the input of a transformer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputChannels {
    /// Noisy latents only: a base model.
    Base,
    /// Noisy latents and control latents: a control model.
    Control,
    /// One or the other.
    BaseOrControl,
}

/// The configurations of a pipeline; those that [`read_configs`](crate::PipelineFolder::read_configs) gives fit each
/// other.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineConfigs {
    /// Noise levels.
    pub scheduler: FlowMatchEulerSchedulerConfig,
    /// The text encoder.
    pub text_encoder: GlmConfig,
    /// The autoencoder.
    pub vae: AutoencoderKlConfig,
    /// The transformer.
    pub transformer: CogView4TransformerConfig,
}

impl PipelineConfigs {
    /// Whether the transformer takes control latents beside the noisy ones.
    pub fn is_control(&self) -> bool {
        self.transformer.controls(self.vae.latent_channels) == Some(1)
    }

    /// Height and width of a picture for which none is asked, in pixels.
    pub fn default_size(&self) -> usize {
        self.transformer.sample_size * self.vae.scale_factor()
    }

    /// Sides of pictures, in pixels, are multiples of this: a whole number of patches of latents.
    pub fn pixel_multiple(&self) -> usize {
        self.transformer.patch_size * self.vae.scale_factor()
    }

    /// Compares what the components say of each other; `at` says where a component's configuration is.
    pub(super) fn check(&self, channels: InputChannels, at: impl Fn(Component) -> PathBuf) -> Result<()> {
        let Self { text_encoder, vae, transformer, .. } = self;
        let fail = |reason: String| Err(PipelineError::component(at(Component::Transformer), reason));
        if let Some(reason) = self.wrong_input(channels) {
            return fail(reason);
        }
        let base = vae.latent_channels;
        if transformer.out_channels != base {
            let channels = transformer.out_channels;
            return fail(format!("`out_channels` is {channels}, but the VAE's `latent_channels` is {base}"));
        }
        if transformer.text_embed_dim != text_encoder.hidden_size {
            return fail(format!(
                "`text_embed_dim` is {}, but the text encoder's `hidden_size` is {}",
                transformer.text_embed_dim, text_encoder.hidden_size
            ));
        }
        if (vae.in_channels, vae.out_channels) != (PICTURE_CHANNELS, PICTURE_CHANNELS) {
            let (input, output) = (vae.in_channels, vae.out_channels);
            let reason = format!("the VAE has {input} and {output} picture channels, expected {PICTURE_CHANNELS}");
            return Err(PipelineError::component(at(Component::Vae), reason));
        }
        Ok(())
    }

    /// What is wrong with the transformer's input channels, if anything is.
    fn wrong_input(&self, expected: InputChannels) -> Option<String> {
        let (base, control) = (self.vae.latent_channels, 2 * self.vae.latent_channels);
        let channels = self.transformer.in_channels;
        match expected {
            InputChannels::Base if channels == base => None,
            InputChannels::Base if channels == control => Some(format!(
                "`in_channels` is {channels}: a control model, but a base model ({base} channels) is needed"
            )),
            InputChannels::Base => {
                Some(format!("`in_channels` is {channels}, but the VAE's `latent_channels` is {base}"))
            }
            InputChannels::Control if channels == control => None,
            InputChannels::Control if channels == base => Some(format!(
                "`in_channels` is {channels}: a base model, but a control model ({control} channels) is needed"
            )),
            InputChannels::Control => Some(format!(
                "`in_channels` is {channels}, but the VAE's `latent_channels` {base} ask for twice as many as those"
            )),
            InputChannels::BaseOrControl if channels == base || channels == control => None,
            InputChannels::BaseOrControl => {
                Some(format!("`in_channels` is {channels}, but the VAE has {base} latent channels"))
            }
        }
    }
}
