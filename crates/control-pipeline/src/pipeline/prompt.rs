//! Prompts: texts, or embeddings that were made before.

use burn::tensor::{Bool, Tensor};

use crate::error::{PipelineError, Result};

/// What to generate: texts, or their embeddings. Made by `into` from `&str`, `String`, lists of them, or
/// [`PromptEmbeds`].
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "a request holds two")]
pub enum Prompt {
    /// Texts, one for each set of pictures.
    Texts(Vec<String>),
    /// What [`encode_prompt`](crate::CogView4ControlPipeline::encode_prompt) gave, or embeddings of one's own.
    Embeds(PromptEmbeds),
}

impl Prompt {
    /// Number of prompts.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Embeds(embeds) => embeds.embeds.dims()[0],
        }
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Texts(vec![text.into()])
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Texts(vec![text])
    }
}

impl<T: Into<String>> From<Vec<T>> for Prompt {
    fn from(texts: Vec<T>) -> Self {
        Self::Texts(texts.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<String>, const N: usize> From<[T; N]> for Prompt {
    fn from(texts: [T; N]) -> Self {
        Self::Texts(texts.into_iter().map(Into::into).collect())
    }
}

impl From<PromptEmbeds> for Prompt {
    fn from(embeds: PromptEmbeds) -> Self {
        Self::Embeds(embeds)
    }
}

/// Embeddings of prompts, with what pictures may not see of them.
#[derive(Debug, Clone)]
pub struct PromptEmbeds {
    /// `[B, S, text_embed_dim]`.
    pub embeds: Tensor<3>,
    /// `[B, S]`, true = hidden from pictures and texts; `None` shows all.
    pub hidden: Option<Tensor<2, Bool>>,
}

impl PromptEmbeds {
    /// Embeddings of which all is seen, `[B, S, text_embed_dim]`.
    pub fn new(embeds: Tensor<3>) -> Self {
        Self { embeds, hidden: None }
    }

    /// One batch of several: shorter ones get zeros in front, which are hidden, so that no prompt's result depends on
    /// its neighbours.
    ///
    /// # Panics
    /// When there is nothing to stack, or widths differ.
    #[must_use]
    pub fn stack(parts: Vec<Self>) -> Self {
        let longest = parts.iter().map(Self::seq).max().expect("something to stack");
        let is_plain = parts.iter().all(|part| part.hidden.is_none() && part.seq() == longest);
        let (embeds, hidden): (Vec<_>, Vec<_>) =
            parts.into_iter().map(|part| part.padded(longest)).map(|part| (part.embeds, part.hidden)).unzip();
        let hidden = hidden.into_iter().collect::<Option<Vec<_>>>().filter(|_| !is_plain);
        Self { embeds: Tensor::cat(embeds, 0), hidden: hidden.map(|hidden| Tensor::cat(hidden, 0)) }
    }

    /// Number of tokens.
    fn seq(&self) -> usize {
        self.embeds.dims()[1]
    }

    fn padded(self, longest: usize) -> Self {
        let ([batch, seq, width], device) = (self.embeds.dims(), self.embeds.device());
        let hidden = self.hidden.unwrap_or_else(|| Tensor::full([batch, seq], false, &device));
        if seq == longest {
            return Self { embeds: self.embeds, hidden: Some(hidden) };
        }
        let zeros = Tensor::zeros([batch, longest - seq, width], (&device, self.embeds.dtype()));
        let pads = Tensor::full([batch, longest - seq], true, &device);
        Self { embeds: Tensor::cat(vec![zeros, self.embeds], 1), hidden: Some(Tensor::cat(vec![pads, hidden], 1)) }
    }

    /// Each prompt `count` times, one after another.
    pub(super) fn repeat_interleave(&self, count: usize) -> Self {
        let [batch, seq, width] = self.embeds.dims();
        let embeds = self.embeds.clone().reshape([batch, 1, seq, width]).repeat_dim(1, count);
        let hidden = self.hidden.clone().map(|hidden| {
            let hidden = hidden.reshape([batch, 1, seq]).repeat_dim(1, count);
            hidden.reshape([batch * count, seq])
        });
        Self { embeds: embeds.reshape([batch * count, seq, width]), hidden }
    }

    /// Compares batch and width with what is needed; lengths are free.
    pub(super) fn check(&self, what: &'static str, batch: usize, width: usize) -> Result<()> {
        let [found_batch, seq, found_width] = self.embeds.dims();
        if (found_batch, found_width) != (batch, width) || seq == 0 {
            let found = self.embeds.dims();
            let reason = format!("shape {found:?}, but [{batch}, any length, {width}] is needed");
            return Err(PipelineError::bad_input(what, reason));
        }
        match &self.hidden {
            Some(hidden) if hidden.dims() != [batch, seq] => {
                let reason = format!("the hidden part has shape {:?}, expected [{batch}, {seq}]", hidden.dims());
                Err(PipelineError::bad_input(what, reason))
            }
            _ => Ok(()),
        }
    }
}
