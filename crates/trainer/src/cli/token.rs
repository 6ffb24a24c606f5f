//! Secrets on the command line.

use std::{convert::Infallible, fmt, str::FromStr};

/// A token of the Hub, which never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The secret itself, for the request that needs it.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = Infallible;

    fn from_str(secret: &str) -> Result<Self, Infallible> {
        Ok(Self(secret.into()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_not_show_itself() {
        let token: Token = "hf_secret".parse().expect("any text");
        assert_eq!((format!("{token:?}").as_str(), token.secret()), ("Token(...)", "hf_secret"));
    }
}
