//! The secret that opens private repositories.

use std::{convert::Infallible, fmt, str::FromStr};

/// A token of the Hub, which never shows itself. White space around it is cut, as files and shells leave some there.
///
/// ```
/// use cogview4_hub::Token;
///
/// let token = Token::new("hf_secret\n");
/// assert_eq!(format!("{token:?}"), "***");
/// assert_eq!(token.secret(), "hf_secret");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token as it was read.
    pub fn new(secret: &str) -> Self {
        Self(secret.trim().into())
    }

    /// The secret itself, for the request that needs it.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether it can stand in a request: nothing but visible ASCII characters.
    pub fn is_sound(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }
}

/// Any text is taken: an error of a command line's parser would show what it refuses.
impl FromStr for Token {
    type Err = Infallible;

    fn from_str(secret: &str) -> Result<Self, Infallible> {
        Ok(Self::new(secret))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_stand_in_a_header_is_sound() {
        for (secret, sound) in [("hf_a", true), (" hf_a\r\n", true), ("", false), ("a b", false), ("a\nb", false)] {
            assert_eq!(Token::new(secret).is_sound(), sound, "{secret:?}");
        }
    }
}
