//! Requests as they come.

use std::io::{self, BufRead, Read};

use serde_json::Value;

/// Longer contents are not kept with a request.
const MAX_KEPT: usize = 4 << 20;

/// A request, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`, `PUT`.
    pub method: String,
    /// Path and query, as they came.
    pub path: String,
    /// Header `Host`: the Hub is at `127.0.0.1`, its storage at `localhost`.
    pub host: String,
    /// Header `Range`.
    pub range: Option<String>,
    /// Header `Authorization`.
    pub authorization: Option<String>,
    /// All headers.
    pub headers: Vec<(String, String)>,
    /// The content, unless it is longer than 4 MiB.
    pub body: Vec<u8>,
    /// Bytes of content that were read.
    pub bytes_received: u64,
    /// Status of the answer; 0 before there is one.
    pub status: u16,
    /// Bytes of the answer's content that were sent.
    pub bytes_sent: u64,
}

impl Request {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The content as JSON; `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether it went to the storage.
    pub fn is_to_store(&self) -> bool {
        self.host.starts_with("localhost")
    }

    /// The token that it carries.
    pub(crate) fn token(&self) -> Option<&str> {
        self.authorization.as_deref().map(|value| value.strip_prefix("Bearer ").unwrap_or(value))
    }

    /// The head of a request; `None` where the other side only looked whether somebody is here.
    pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
        let mut request = Self { method, path, ..Self::default() };
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            request.headers.push((name.into(), value.trim().into()));
        }
        let header = |name: &str| request.header(name).map(str::to_owned);
        let (range, authorization, host) = (header("range"), header("authorization"), header("host"));
        (request.range, request.authorization, request.host) = (range, authorization, host.unwrap_or_default());
        Ok(Some(request))
    }

    /// The content, or no more than `limit` bytes of it.
    pub(crate) fn read_body(&mut self, reader: &mut impl BufRead, limit: Option<u64>) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        let chunked = self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        if chunked {
            read_chunks(reader, &mut body)?;
        } else {
            let length = self.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            let read = reader.take(limit.map_or(length, |limit| limit.min(length))).read_to_end(&mut body)? as u64;
            if read < length && limit.is_none() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.bytes_received = body.len() as u64;
        if body.len() <= MAX_KEPT {
            self.body.clone_from(&body);
        }
        Ok(body)
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let size = line.trim().split(';').next().and_then(|size| u64::from_str_radix(size, 16).ok());
        let size = size.ok_or(io::ErrorKind::InvalidData)?;
        reader.take(size).read_to_end(body)?;
        line.clear();
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_come_whole_in_chunks_or_cut() {
        let text = "POST /a?b HTTP/1.1\r\nHost: localhost:1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let mut reader = text.as_bytes();
        let mut request = Request::read_head(&mut reader).expect("read").expect("a request");
        assert_eq!(request.read_body(&mut reader, None).expect("read"), b"abc");
        assert!(request.is_to_store() && request.path == "/a?b" && reader.is_empty());

        let text = "PUT /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde";
        for (limit, expected) in [(None, "abcde"), (Some(2), "ab")] {
            let mut reader = text.as_bytes();
            let mut request = Request::read_head(&mut reader).expect("read").expect("a request");
            assert_eq!(request.read_body(&mut reader, limit).expect("read"), expected.as_bytes());
        }
        let mut short = &text.as_bytes()[..text.len() - 1];
        let mut request = Request::read_head(&mut short).expect("read").expect("a request");
        assert!(request.read_body(&mut short, None).is_err(), "one byte is missing");
    }
}
