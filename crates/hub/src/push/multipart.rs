//! Objects that go to storage in parts, as one request holds no more than a few gigabytes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Map, Value, json};

use super::{
    Push,
    lfs::{Link, Object},
};
use crate::error::Result;

/// A part: where it goes, where it begins and how long it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    url: &'a str,
    start: u64,
    length: u64,
}

/// The parts of an object, where its address asks for parts; or what is wrong with them.
pub(super) fn parts<'a>(link: &'a Link, size: u64) -> Result<Option<Vec<Part<'a>>>, String> {
    let Some(chunk) = link.header.get("chunk_size") else { return Ok(None) };
    let chunk = chunk.as_u64().or_else(|| chunk.as_str()?.parse().ok()).filter(|&chunk| chunk > 0);
    let chunk = chunk.ok_or("chunk_size is no number of bytes")?;
    let numbered = link.header.iter().filter_map(|(key, url)| Some((key.parse::<u64>().ok()?, url.as_str()?)));
    let urls: BTreeMap<u64, &str> = numbered.collect();
    let count = size.div_ceil(chunk);
    if urls.len() as u64 != count || !urls.keys().copied().eq(1..=count) {
        return Err(format!("{} addresses for {count}", urls.len()));
    }
    let part = |(number, url): (u64, &'a str)| {
        let start = (number - 1) * chunk;
        Part { url, start, length: chunk.min(size - start) }
    };
    Ok(Some(urls.into_iter().map(part).collect()))
}

impl Push<'_> {
    /// Sends the parts one after another, each as often as it takes, and has them put together.
    pub(super) fn send_parts(
        &self,
        object: &Object<'_>,
        link: &Link,
        parts: &[Part<'_>],
        sent: &Arc<AtomicU64>,
    ) -> Result<()> {
        let mut etags = Vec::new();
        // Of a round before, nothing is kept.
        self.hub.progress().lose(sent.swap(0, Ordering::Relaxed));
        let path = &object.file.path;
        for (number, part) in (1u64..).zip(parts) {
            let of_part = Arc::default();
            let answer = self.put(object.file, part.url, &Map::new(), (part.start, part.length), &of_part);
            sent.fetch_add(of_part.load(Ordering::Relaxed), Ordering::Relaxed);
            let answer = answer?;
            let Some(etag) = answer.header("etag") else {
                return Err(self.not_a_hub(format!("no ETag for part {number} of {path}")));
            };
            etags.push(json!({"partNumber": number, "etag": etag}));
        }
        // Before somebody else's bytes get this object's name.
        object.file.check()?;
        let what = format!("putting {path} of {} together", self.repo);
        self.post(&link.href, &what, &json!({"oid": object.oid, "parts": Value::from(etags)}), false).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(header: &Value) -> Link {
        Link { href: String::new(), header: header.as_object().cloned().expect("an object") }
    }

    #[test]
    fn parts_cover_the_object_in_the_order_of_their_numbers() {
        let many: Map<String, Value> =
            (1..=11).map(|number| (number.to_string(), Value::from(format!("u{number}")))).collect();
        let mut header = json!(many);
        header["chunk_size"] = "10".into();
        let link = link(&header);
        let parts = parts(&link, 101).expect("sound").expect("in parts");
        assert_eq!(parts[9], Part { url: "u10", start: 90, length: 10 });
        assert_eq!(parts[10], Part { url: "u11", start: 100, length: 1 });
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        assert_eq!(parts(&link(&json!({"Content-Type": "a"})), 10), Ok(None));
        for header in [
            json!({"chunk_size": 0, "1": "a"}),
            json!({"chunk_size": "x", "1": "a"}),
            json!({"chunk_size": 5, "1": "a"}),
            json!({"chunk_size": 5, "1": "a", "3": "b"}),
            json!({"chunk_size": 5, "1": "a", "2": "b", "3": "c"}),
            json!({"chunk_size": 5, "1": "a", "2": 7}),
        ] {
            assert!(parts(&link(&header), 10).is_err(), "{header}");
        }
        assert!(parts(&link(&json!({"chunk_size": 5, "00001": "a", "00002": "b"})), 10).is_ok());
    }
}
