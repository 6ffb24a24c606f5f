//! Which of a row's captions a sample has.

use cogview4_data::{Draws, Stream};

use crate::{config::CaptionChoice, schedule::order::Sample};

/// Picks one of a row's captions.
pub(crate) fn choose_caption(
    captions: &[String],
    choice: CaptionChoice,
    seed: u64,
    sample: Sample,
    rows: usize,
) -> &str {
    let index = match choice {
        CaptionChoice::First => 0,
        CaptionChoice::Longest => {
            let longest = captions.iter().map(String::len).max().unwrap_or_default();
            captions.iter().position(|caption| caption.len() == longest).unwrap_or_default()
        }
        CaptionChoice::Random => {
            let place = sample.epoch * rows as u64 + sample.row as u64;
            Draws::new(seed, Stream::Caption, place).below(captions.len())
        }
    };
    &captions[index]
}
