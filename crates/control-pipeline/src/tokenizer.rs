//! The GLM-4 tokenizer: `tokenizer.json`, with pads on the left up to a multiple of 16.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use cogview4_model::{
    fence::fenced,
    files::{MAX_CONFIG_BYTES, read_regular, read_text},
};
use serde::Deserialize;
use serde_json::Value;
use tokenizers::{Encoding, ModelWrapper, PostProcessor, Tokenizer, TruncationDirection};

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
    /// `tokenizer.json`, for errors.
    path: PathBuf,
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
        let invalid = |reason: String| PipelineError::component(&path, format!("not a valid tokenizer: {reason}"));
        let bytes = read_regular(&path, MAX_CONFIG_BYTES).map_err(|error| invalid(error.to_string()))?;
        check_charsmap(&bytes).map_err(&invalid)?;
        let tokenizer = fenced(|| Tokenizer::from_bytes(&bytes)).map_err(&invalid)?;
        let mut tokenizer = tokenizer.map_err(|error| invalid(error.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| invalid(error.to_string()))?;
        if let ModelWrapper::BPE(model) = tokenizer.get_model()
            && model.dropout.is_some_and(|dropout| dropout > 0.0)
        {
            return Err(invalid("its `dropout` would make other tokens of the same prompt each time".into()));
        }
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
        let loaded = Self { tokenizer, path, pad_token_id, truncation, special_tokens };
        // What is broken in a way that shows only in use is told here, and not in the middle of a run.
        loaded.encode("a", loaded.special_tokens + PAD_MULTIPLE)?;
        Ok(loaded)
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
        Ok(self.tokenize(prompt)?.len() + self.special_tokens)
    }

    /// Tokenizes one prompt with its special tokens: cut to `max_sequence_length`, then padded on the left to a
    /// multiple of 16.
    ///
    /// # Errors
    /// A maximum that leaves no room for the special tokens.
    pub fn encode(&self, prompt: &str, max_sequence_length: usize) -> Result<TokenizedPrompt> {
        let room = max_sequence_length.saturating_sub(self.special_tokens);
        if room == 0 {
            let reason = format!("{max_sequence_length} leaves no room beside {} special tokens", self.special_tokens);
            return Err(PipelineError::bad_input("max_sequence_length", reason));
        }
        let mut encoding = self.tokenize(prompt)?;
        if encoding.len() > room {
            tracing::warn!(max_sequence_length, tokens = encoding.len(), "the prompt was cut");
            encoding.truncate(room, 0, self.truncation);
        }
        let encoding = self.fenced(|| self.tokenizer.post_process(encoding, None, true))?;
        let ids = encoding.get_ids();
        let pads = ids.len().next_multiple_of(PAD_MULTIPLE) - ids.len();
        let ids = std::iter::repeat_n(self.pad_token_id, pads).chain(ids.iter().copied()).collect();
        Ok(TokenizedPrompt { ids, pads })
    }

    /// The tokens of a prompt, without special ones.
    fn tokenize(&self, prompt: &str) -> Result<Encoding> {
        self.fenced(|| self.tokenizer.encode(prompt, false))
    }

    /// Calls the library, which panics where the file does not hold together.
    fn fenced<T>(&self, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
        let fail = |reason: String| PipelineError::component(&self.path, format!("not a valid tokenizer: {reason}"));
        fenced(call).map_err(&fail)?.map_err(|error| PipelineError::bad_input("prompt", error.to_string()))
    }
}

/// Looks at the tables of precompiled normalizers: the library takes as much room as their first word says.
fn check_charsmap(bytes: &[u8]) -> Result<(), String> {
    /// The vocabulary is far larger, and passed over.
    #[derive(Deserialize)]
    struct Parts {
        #[serde(default)]
        normalizer: Value,
    }
    let parts: Parts = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut values = vec![&parts.normalizer];
    while let Some(value) = values.pop() {
        if let Some(table) = value["precompiled_charsmap"].as_str() {
            // Four characters are three bytes: the first word is in the first eight.
            let head = BASE64_STANDARD.decode(table.get(..8).unwrap_or_default()).unwrap_or_default();
            let words = head.first_chunk().map_or(u32::MAX, |word| u32::from_le_bytes(*word));
            if words as usize > table.len() {
                return Err("a table of its normalizer is shorter than it says".into());
            }
        }
        values.extend(value["normalizers"].as_array().into_iter().flatten());
    }
    Ok(())
}

/// The configuration beside the tokenizer; null where there is none.
fn read_config(path: &Path) -> Result<Value> {
    match read_text(path, MAX_CONFIG_BYTES) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| PipelineError::component(path, format!("not valid JSON: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(source) => Err(PipelineError::component(path, format!("cannot be read: {source}"))),
    }
}
