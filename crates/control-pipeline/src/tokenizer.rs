//! The GLM-4 tokenizer: `tokenizer.json`, with pads on the left up to a multiple of 16.

use std::path::Path;

use tokenizers::{PostProcessor, Tokenizer, TruncationDirection};

use crate::error::{PipelineError, Result};

/// Prompts are padded to a multiple of this many tokens.
const PAD_MULTIPLE: usize = 16;
/// What GLM-4 pads with, where the configuration does not say.
const DEFAULT_PAD_TOKEN: &str = "<|endoftext|>";

/// Turns prompts into token ids.
///
/// ```no_run
/// use cogview4_control_pipeline::PromptTokenizer;
///
/// let tokenizer = PromptTokenizer::load("CogView4-6B/tokenizer".as_ref())?;
/// let prompt = tokenizer.encode("a red fox in the snow", 1024)?;
/// assert_eq!(prompt.ids.len() % 16, 0);
/// # Ok::<(), cogview4_control_pipeline::PipelineError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PromptTokenizer {
    tokenizer: Tokenizer,
    pad_token_id: u32,
    truncation: TruncationDirection,
    /// Number of tokens that every prompt gets in front.
    special_tokens: usize,
}

/// The ids of one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedPrompt {
    /// Ids, pads first; the length is a multiple of 16.
    pub ids: Vec<u32>,
    /// Number of pads in front.
    pub pads: usize,
}

impl PromptTokenizer {
    /// Loads `tokenizer.json` and `tokenizer_config.json` of a folder. Truncation and padding settings that were saved
    /// with the tokenizer do not count.
    ///
    /// # Errors
    /// A missing or broken file, or a pad token that the vocabulary does not have.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.is_file() {
            return Err(PipelineError::component(path, "no such file"));
        }
        let mut tokenizer = Tokenizer::from_file(&path)
            .map_err(|error| PipelineError::component(&path, format!("not a valid tokenizer: {error}")))?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| PipelineError::component(&path, format!("not a valid tokenizer: {error}")))?;
        let config = read_config(&folder.join("tokenizer_config.json"))?;
        let pad_token = &config["pad_token"];
        let pad_token = pad_token.as_str().or(pad_token["content"].as_str()).unwrap_or(DEFAULT_PAD_TOKEN);
        let pad_token_id = tokenizer
            .token_to_id(pad_token)
            .ok_or_else(|| PipelineError::component(&path, format!("has no pad token `{pad_token}`")))?;
        let truncation = match config["truncation_side"].as_str() {
            Some("left") => TruncationDirection::Left,
            _ => TruncationDirection::Right,
        };
        let special_tokens = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        Ok(Self { tokenizer, pad_token_id, truncation, special_tokens })
    }

    /// Number of tokens that the tokenizer knows, special ones among them.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Number of tokens of a prompt with its special tokens, before it is cut or padded.
    ///
    /// # Errors
    /// A prompt that cannot be tokenized.
    pub fn count(&self, prompt: &str) -> Result<usize> {
        let encoding = self.tokenizer.encode(prompt, false);
        let encoding = encoding.map_err(|error| PipelineError::bad_input("prompt", error.to_string()))?;
        Ok(encoding.len() + self.special_tokens)
    }

    /// Tokenizes one prompt with its special tokens: cut to `max_sequence_length`, then padded on the left to a
    /// multiple of 16.
    ///
    /// # Errors
    /// A maximum that leaves no room for the special tokens.
    pub fn encode(&self, prompt: &str, max_sequence_length: usize) -> Result<TokenizedPrompt> {
        let fail = |reason: String| PipelineError::bad_input("prompt", reason);
        let room = max_sequence_length.saturating_sub(self.special_tokens);
        if room == 0 {
            let reason = format!("{max_sequence_length} leaves no room beside {} special tokens", self.special_tokens);
            return Err(PipelineError::bad_input("max_sequence_length", reason));
        }
        let mut encoding = self.tokenizer.encode(prompt, false).map_err(|error| fail(error.to_string()))?;
        if encoding.len() > room {
            tracing::warn!(max_sequence_length, tokens = encoding.len(), "the prompt was cut");
            encoding.truncate(room, 0, self.truncation);
        }
        let encoding = self.tokenizer.post_process(encoding, None, true).map_err(|error| fail(error.to_string()))?;
        let ids = encoding.get_ids();
        let pads = ids.len().next_multiple_of(PAD_MULTIPLE) - ids.len();
        let ids = std::iter::repeat_n(self.pad_token_id, pads).chain(ids.iter().copied()).collect();
        Ok(TokenizedPrompt { ids, pads })
    }
}

/// The configuration beside the tokenizer; null where there is none.
fn read_config(path: &Path) -> Result<serde_json::Value> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| PipelineError::component(path, format!("not valid JSON: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(serde_json::Value::Null),
        Err(source) => Err(PipelineError::component(path, format!("cannot be read: {source}"))),
    }
}
