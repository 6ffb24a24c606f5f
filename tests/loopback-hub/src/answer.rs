//! Answers, and how they are sent: whole, or as a fault says.

use std::{
    io::{self, Cursor, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use crate::{blob::Blob, fault::Fault, request::Request};

/// Bytes that are sent at a time.
const BUFFER: usize = 1 << 16;
/// How often somebody who waits looks whether to go on.
const TICK: Duration = Duration::from_millis(20);

/// What is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Bytes(Vec<u8>),
    /// So many bytes of a file, from a place of it on.
    Part(Arc<Blob>, u64, u64),
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Bytes(body.into()) }
    }

    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn json(value: Value) -> Self {
        Self::new(200, value.to_string()).with("Content-Type", "application/json")
    }

    /// A refusal as the Hub says it.
    pub(crate) fn refusal(status: u16, code: &str, reason: &str) -> Self {
        let answer = Self { status, ..Self::json(serde_json::json!({ "error": reason })) };
        let answer = answer.with("X-Error-Message", reason);
        if code.is_empty() { answer } else { answer.with("X-Error-Code", code) }
    }

    /// A file, or the range of it that was asked for.
    pub(crate) fn file(request: &Request, blob: &Arc<Blob>) -> Self {
        let size = blob.size;
        let part = |status, start, length| {
            let answer = Self { status, headers: Vec::new(), body: Body::Part(blob.clone(), start, length) };
            answer.with("Accept-Ranges", "bytes").with("Content-Type", "application/octet-stream")
        };
        match request.range.as_deref().and_then(|range| parse_range(range, size)) {
            None => part(200, 0, size),
            Some((start, end)) if start > end || start >= size => {
                Self::new(416, "").with("Content-Range", format!("bytes */{size}"))
            }
            Some((start, end)) => {
                part(206, start, end + 1 - start).with("Content-Range", format!("bytes {start}-{end}/{size}"))
            }
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    fn length(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Part(_, _, length) => *length,
        }
    }

    fn open(self) -> io::Result<(u64, Box<dyn Read>)> {
        Ok(match self.body {
            Body::Bytes(bytes) => (0, Box::new(Cursor::new(bytes))),
            Body::Part(blob, start, length) => (start, Box::new(blob.reader(start)?.take(length))),
        })
    }

    /// Sends it; tells how much of its content went out.
    pub(crate) fn send(
        self,
        stream: &mut TcpStream,
        is_head: bool,
        fault: Option<&Fault>,
        stopped: &dyn Fn() -> bool,
        sent: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} {}\r\nConnection: close\r\n", self.status, phrase(self.status));
        match fault {
            Some(Fault::Endless) => {}
            Some(Fault::ContentLength(length)) => head += &format!("Content-Length: {length}\r\n"),
            _ => head += &format!("Content-Length: {}\r\n", self.length()),
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if is_head {
            return Ok(());
        }
        let (start, mut content) = self.open()?;
        let limit = match fault {
            Some(Fault::Cut { after } | Fault::Stall { after }) => *after,
            _ => u64::MAX,
        };
        let speed = match fault {
            Some(Fault::Slow { bytes_per_second }) => Some((bytes_per_second / 50).max(1)),
            _ => None,
        };
        let mut buffer = vec![0; speed.map_or(BUFFER, |bytes| BUFFER.min(usize::try_from(bytes).unwrap_or(BUFFER)))];
        let mut done = 0;
        while done < limit && !stopped() {
            let room = usize::try_from(limit - done).unwrap_or(usize::MAX).min(buffer.len());
            let read = content.read(&mut buffer[..room])?;
            if read == 0 {
                break;
            }
            if let Some(Fault::Flip { offset }) = fault
                && let Some(at) = offset.checked_sub(start + done).filter(|at| *at < read as u64)
            {
                buffer[usize::try_from(at).unwrap_or_default()] ^= 1;
            }
            stream.write_all(&buffer[..read])?;
            done += read as u64;
            sent(read as u64);
            if speed.is_some() {
                std::thread::sleep(TICK);
            }
        }
        match fault {
            Some(Fault::Stall { .. }) => wait_for_hang_up(stream, stopped),
            Some(Fault::Endless) => {
                buffer.fill(b'0');
                while !stopped() {
                    stream.write_all(&buffer)?;
                    sent(buffer.len() as u64);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Waits until the other side closes the connection.
pub(crate) fn wait_for_hang_up(stream: &mut TcpStream, stopped: &dyn Fn() -> bool) -> io::Result<()> {
    stream.set_read_timeout(Some(TICK))?;
    while !stopped() {
        match stream.read(&mut [0; 64]) {
            Ok(0) => break,
            Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
            _ => {}
        }
    }
    Ok(())
}

/// First and last byte of `bytes=A-B`, `bytes=A-` or `bytes=-N`.
fn parse_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    let last = size.saturating_sub(1);
    match (start.parse().ok(), end.parse::<u64>().ok()) {
        (Some(start), Some(end)) => Some((start, end.min(last))),
        (Some(start), None) => Some((start, last.max(start))),
        (None, Some(suffix)) => Some((size.saturating_sub(suffix), last)),
        (None, None) => None,
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        302 => "Found",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        for (range, expected) in [
            ("bytes=0-", Some((0, 9))),
            ("bytes=3-5", Some((3, 5))),
            ("bytes=3-99", Some((3, 9))),
            ("bytes=-4", Some((6, 9))),
            ("bytes=10-", Some((10, 10))),
            ("bytes=-", None),
            ("items=0-", None),
        ] {
            assert_eq!(parse_range(range, 10), expected, "{range}");
        }
    }
}
