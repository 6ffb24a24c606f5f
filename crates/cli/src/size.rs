//! Sizes as command lines take them.

use std::str::FromStr;

/// Units of bytes: those of decimal prefixes as disks and shards are sold, those of binary ones as memory is.
const UNITS: [(&str, u64); 9] = [
    ("TIB", 1 << 40),
    ("GIB", 1 << 30),
    ("MIB", 1 << 20),
    ("KIB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A number of bytes: `5GB` is 5,000,000,000 of them, `8GiB` is 8 times 2^30, `1.5 GB` and a number alone will do.
///
/// ```
/// use cogview4_cli::ByteSize;
///
/// assert_eq!("5GB".parse(), Ok(ByteSize(5_000_000_000)));
/// assert_eq!("8GiB".parse(), Ok(ByteSize(8 << 30)));
/// assert!("5 bananas".parse::<ByteSize>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(
    /// The bytes, 1 at least.
    pub u64,
);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.trim().to_ascii_uppercase();
        let (number, factor) =
            UNITS.iter().find_map(|(unit, factor)| Some((upper.strip_suffix(unit)?, *factor))).unwrap_or((&upper, 1));
        let number = number.trim_end();
        let is_plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
        let bytes = match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(factor),
            Err(_) => number.parse::<f64>().ok().map(|value| value * factor as f64).and_then(|bytes| {
                // Above this a float no longer knows single bytes, and no disk is as large.
                (bytes < (1_u64 << 53) as f64).then_some(bytes as u64)
            }),
        };
        match bytes.filter(|bytes| is_plain && *bytes > 0) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(format!("`{text}` is not a size, such as 5GB or 8GiB")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        for (text, bytes) in [
            ("1", 1),
            ("700", 700),
            ("10B", 10),
            ("10kb", 10_000),
            ("3KiB", 3072),
            ("1.5GB", 1_500_000_000),
            ("0.5 GiB", 1 << 29),
            (" 2tb ", 2_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        let refused =
            ["", "GB", "-1GB", "0", "0.0001B", "1e3", "NaN", "inf", "5GBB", "5G", "1.2.3MB", "99999999999TB", "1_000"];
        for text in refused {
            text.parse::<ByteSize>().expect_err(text);
        }
    }
}
