//! The commit: lines of JSON, small files in them. It is put together on the disk, as pictures are many.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, Write},
    path::Path,
    time::Duration,
};

use base64::{prelude::BASE64_STANDARD, write::EncoderWriter};
use serde_json::{Value, json};

use super::{BRANCH, Push, Wanted, files::LocalFile};
use crate::{
    error::{HubError, Result},
    http::{Body, Request, Subject},
};

/// A commit of many files takes the Hub a while.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a commit changes.
#[derive(Debug)]
pub(super) struct Commit<'a> {
    pub(super) message: &'a str,
    pub(super) wanted: &'a [Wanted<'a>],
    /// Files that are deleted.
    pub(super) stale: &'a [String],
}

impl Commit<'_> {
    /// Sends it, and gives its name.
    pub(super) fn send(&self, push: &Push<'_>) -> Result<String> {
        let (lines, length) = self.write()?;
        let open = || {
            let mut lines = lines.try_clone()?;
            lines.rewind()?;
            Ok(Box::new(lines) as Box<dyn Read>)
        };
        let subject = Subject::Repo(push.repo);
        let request = Request::post(format!("{}/commit/{BRANCH}", push.repo.api_path()), subject)
            .header("Content-Type", "application/x-ndjson")
            .body(Body::Reader { open: &open, length })
            .patience(PATIENCE);
        let answer = push.hub.http().send(&request)?.json(subject)?;
        let oid = answer["commitOid"].as_str().map(str::to_owned);
        oid.ok_or_else(|| push.not_a_hub("a commit without a name".into()))
    }

    fn write(&self) -> Result<(File, u64)> {
        let failed = |error: io::Error| HubError::io(std::env::temp_dir(), error);
        let mut lines = BufWriter::new(tempfile::tempfile().map_err(failed)?);
        let header = json!({"summary": self.message, "description": ""});
        write_line(&mut lines, "header", &header).map_err(failed)?;
        for wanted in self.wanted {
            match wanted {
                Wanted::Regular(file) => write_file(&mut lines, file)?,
                Wanted::Large(object) => {
                    let (path, oid) = (&object.file.path, &object.oid);
                    let value = json!({"path": path, "algo": "sha256", "oid": oid, "size": object.file.size()});
                    write_line(&mut lines, "lfsFile", &value).map_err(failed)?;
                }
            }
        }
        for path in self.stale {
            write_line(&mut lines, "deletedFile", &json!({ "path": path })).map_err(failed)?;
        }
        let mut lines = lines.into_inner().map_err(|error| failed(error.into_error()))?;
        let length = lines.stream_position().map_err(failed)?;
        Ok((lines, length))
    }
}

fn write_line(lines: &mut impl Write, key: &str, value: &Value) -> io::Result<()> {
    writeln!(lines, "{}", json!({"key": key, "value": value}))
}

/// A line with a file's content.
fn write_file(lines: &mut impl Write, file: &LocalFile) -> Result<()> {
    let named = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| HubError::io(path, error)
    };
    let temporary = std::env::temp_dir();
    let value = json!({"path": file.path, "encoding": "base64"}).to_string();
    // Base64 needs no escapes, so that it is written as it comes.
    let head = value.trim_end_matches('}');
    write!(lines, "{{\"key\":\"file\",\"value\":{head},\"content\":\"").map_err(named(&temporary))?;
    let mut content = file.open().map_err(named(&file.file))?;
    let mut encoder = EncoderWriter::new(&mut *lines, &BASE64_STANDARD);
    io::copy(&mut content, &mut encoder).map_err(named(&file.file))?;
    encoder.finish().map_err(named(&temporary))?;
    drop(encoder);
    lines.write_all(b"\"}}\n").map_err(named(&temporary))?;
    file.check()
}

#[cfg(test)]
mod tests {
    use super::{super::files::collect, *};

    #[test]
    fn each_line_is_json_with_the_whole_content() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a}\".bin"), [0u8, 255, 7, 1]).expect("written");
        let files = collect(folder.path(), &|_| true).expect("collected");
        let wanted = [Wanted::Regular(&files[0])];
        let commit = Commit { message: "two\nlines", wanted: &wanted, stale: &["old".into()] };
        let (mut lines, length) = commit.write().expect("written");
        let mut text = String::new();
        lines.rewind().expect("a file");
        lines.read_to_string(&mut text).expect("text");
        assert_eq!(text.len() as u64, length);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["value"]["summary"], "two\nlines");
        assert_eq!(lines[1]["value"], json!({"path": "a}\".bin", "encoding": "base64", "content": "AP8HAQ=="}));
        assert_eq!(lines[2], json!({"key": "deletedFile", "value": {"path": "old"}}));
    }
}
