//! A card that a person has edited is theirs: ours goes beside it.

use std::{io::ErrorKind, path::Path};

use cogview4_model::files::{MAX_CONFIG_BYTES, read_regular, write_atomic};

use crate::error::{Result, TrainError};

const CARD: &str = "README.md";
/// Where ours goes when the card is a person's.
const BESIDE: &str = "README.generated.md";
/// Everything that is written at the end, but for pictures.
pub(crate) const FILES: [&str; 3] = [CARD, BESIDE, super::PLOT];

/// Stands before the hash of all above it.
const MARK: &str = "<!-- train_control_cogview4 wrote this card, and replaces it as long as nobody edits it: ";
const END: &str = " -->";
/// Hexadecimal digits of the hash that are kept.
const DIGITS: usize = 16;

/// Writes a card to the folder: over one that a run wrote and nobody touched, else beside it.
pub(super) fn write(folder: &Path, card: &str) -> Result<()> {
    let place = folder.join(CARD);
    let is_ours = match read_regular(&place, MAX_CONFIG_BYTES) {
        Ok(found) => is_untouched(&found),
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(TrainError::io(place)(error)),
    };
    let place = if is_ours { place } else { folder.join(BESIDE) };
    let card = format!("{}\n\n", card.trim_end());
    Ok(write_atomic(&place, format!("{card}{MARK}{}{END}\n", hash(&card)).as_bytes())?)
}

fn is_untouched(card: &[u8]) -> bool {
    let Ok(card) = std::str::from_utf8(card) else { return false };
    card.rfind(MARK).is_some_and(|at| card[at..] == format!("{MARK}{}{END}\n", hash(&card[..at])))
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..DIGITS].into()
}
