//! Parts of an address: its path, its query.

/// Segments of a path and pairs of its query, decoded. A slash that is encoded does not part segments.
pub(crate) fn parse(target: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments = path.split('/').skip(1).map(decode).collect();
    let pair = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (decode(key), decode(value))
    };
    (segments, query.split('&').filter(|text| !text.is_empty()).map(pair).collect())
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text as it stands in a path or query.
pub(crate) fn encode(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    text.bytes().map(|byte| if is_plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_slashes_part_nothing() {
        let (segments, query) = parse("/a/resolve/refs%2Fconvert%2Fparquet/x%20y.json?recursive=true&a=%26");
        assert_eq!(segments, ["a", "resolve", "refs/convert/parquet", "x y.json"]);
        assert_eq!(query, [("recursive".into(), "true".into()), ("a".into(), "&".into())]);
        assert_eq!(parse("/100%").0, ["100%"]);
        assert_eq!(parse(&format!("/{}", encode("ä b/%"))).0, ["ä b", "%"]);
    }
}
