//! One file into the cache: goes on where an earlier try ended, and counts only once its checksum is right.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
};

use crate::{
    cache::RepoCache,
    error::{HubError, Result},
    http::{Failure, Reply, Request, Retries, Subject, encode_path, header, reason_of_read},
    hub::Hub,
    listing::{Listing, RemoteFile},
    verify::checksum,
};

/// Bytes read at a time.
const BUFFER: usize = 1 << 17;

/// Fetches files of a listing.
#[derive(Debug)]
pub(crate) struct Fetch<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) listing: &'a Listing,
    pub(crate) cache: &'a RepoCache,
}

impl Fetch<'_> {
    /// Brings a file's content into the cache, once nobody else is at it; `known` bytes of it are counted already.
    pub(crate) fn fetch(&self, file: &RemoteFile, known: u64) -> Result<()> {
        let progress = self.hub.progress();
        let _waiting = progress.waiting();
        let name = self.name(file);
        let wait = || progress.note(&format!("{name}: another process downloads it, waiting for that"));
        let _lock = self.cache.lock(file, wait)?;
        if self.cache.has_blob(file) {
            progress.advance(file.size - known);
            return Ok(());
        }
        let path = self.cache.part(file);
        let failed = |error: io::Error| HubError::io(&path, error);
        let mut part =
            OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&path).map_err(failed)?;
        let here = self.length(&part, file)?;
        progress.advance(here.min(file.size).saturating_sub(known));
        progress.lose(known.saturating_sub(here));
        if here > file.size {
            self.start_anew(&mut part, file)?;
        }
        for last in [false, true] {
            self.receive(&mut part, file)?;
            let found = checksum(&mut part, file).map_err(failed)?;
            if found == file.etag() {
                part.sync_all().map_err(failed)?;
                return fs::rename(&path, self.cache.blob(file)).map_err(failed);
            }
            self.start_anew(&mut part, file)?;
            if last {
                // An empty file would be kept for nothing; another process may be about to make its own.
                let _ = fs::remove_file(&path);
                return Err(HubError::Checksum { file: name, found, expected: file.etag().into() });
            }
            progress.note(&format!("{name}: its checksum is wrong, downloading it again"));
        }
        unreachable!("invariant: the last try returns")
    }

    /// All bytes of a file, by as many requests as that takes.
    fn receive(&self, part: &mut File, file: &RemoteFile) -> Result<()> {
        let mut retries = Retries::new(self.hub);
        loop {
            let before = self.length(part, file)?;
            if before == file.size {
                return Ok(());
            }
            if let Err(failure) = self.attempt(part, file, before) {
                if self.length(part, file)? > before {
                    retries.progressed();
                }
                retries.wait(failure)?;
            }
        }
    }

    /// One request for what is missing.
    fn attempt(&self, part: &mut File, file: &RemoteFile, have: u64) -> Result<(), Failure> {
        let Listing { repo, commit, .. } = self.listing;
        let url = format!("/{}/resolve/{commit}/{}", repo.url_path(), encode_path(&file.path));
        let mut request = Request::get(url, Subject::File(repo, &file.path));
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let reply = self.hub.http().open(&request, &[416])?;
        if reply.status == 416 {
            self.start_anew(part, file)?;
            let reason = "the server refuses to go on there, starting anew".into();
            return Err(Failure::Again(self.cut(file, have, reason), None));
        }
        self.check_identity(file, &reply)?;
        let start = self.check_range(file, &reply, have)?;
        if start != have {
            self.start_anew(part, file)?;
        }
        self.append(part, file, start, reply)
    }

    /// Whether the answer is of the listing's commit and content. Its own answers say so; storage knows neither.
    fn check_identity(&self, file: &RemoteFile, reply: &Reply) -> Result<()> {
        let of_hub = |name: &str| reply.from_endpoint.iter().find_map(|headers| header(headers, name));
        let not_a_hub = |reason: String| HubError::NotAHub {
            what: self.name(file),
            host: crate::http::shown(self.hub.endpoint()),
            reason,
        };
        match of_hub("x-repo-commit") {
            Some(commit) if commit == self.listing.commit => {}
            Some(_) => return Err(not_a_hub(format!("another commit than {}", self.listing.commit))),
            None => return Err(not_a_hub("no X-Repo-Commit".into())),
        }
        let etag = of_hub("x-linked-etag").or_else(|| of_hub("etag"));
        match etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"')) {
            Some(etag) if etag == file.etag() => Ok(()),
            Some(_) => Err(not_a_hub("another ETag than the checksum in its list of files".into())),
            None => Err(not_a_hub("no ETag".into())),
        }
    }

    /// Where in the file the answer begins, once its lengths are right.
    fn check_range(&self, file: &RemoteFile, reply: &Reply, have: u64) -> Result<u64> {
        let odd = |reason: &str| {
            Err(HubError::NotAHub { what: self.name(file), host: reply.host.clone(), reason: reason.into() })
        };
        let start = match reply.status {
            200 => 0,
            206 => match header(&reply.headers, "content-range").and_then(parse_range) {
                Some((start, total)) if start == have && total.is_none_or(|total| total == file.size) => have,
                Some((_, Some(total))) if total != file.size => return Err(self.wrong_size(file, total.to_string())),
                _ => return odd("another range than was asked for"),
            },
            _ => return odd(&format!("status {} for a file", reply.status)),
        };
        let length: Option<u64> = header(&reply.headers, "content-length").and_then(|length| length.parse().ok());
        match length {
            Some(length) if length != file.size - start => Err(self.wrong_size(file, (start + length).to_string())),
            _ => Ok(start),
        }
    }

    /// Appends what comes; what came stays, whatever happens.
    fn append(&self, part: &mut File, file: &RemoteFile, start: u64, reply: Reply) -> Result<(), Failure> {
        let path = self.cache.part(file);
        let failed = |error: io::Error| HubError::io(&path, error);
        part.seek(SeekFrom::Start(start)).map_err(failed)?;
        let mut content = reply.body.into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; BUFFER];
        let mut have = start;
        loop {
            let read = match content.read(&mut buffer) {
                Ok(0) if have == file.size => return Ok(()),
                Ok(0) => return Err(Failure::Again(self.cut(file, have, "the connection was closed".into()), None)),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Again(self.cut(file, have, reason_of_read(&error)), None)),
            };
            if read as u64 > file.size - have {
                self.start_anew(part, file)?;
                let _ = fs::remove_file(&path);
                return Err(self.wrong_size(file, "more".into()).into());
            }
            part.write_all(&buffer[..read]).map_err(failed)?;
            have += read as u64;
            self.hub.progress().advance(read as u64);
        }
    }

    fn start_anew(&self, part: &mut File, file: &RemoteFile) -> Result<()> {
        self.hub.progress().lose(self.length(part, file)?.min(file.size));
        part.set_len(0).map_err(|error| HubError::io(self.cache.part(file), error))
    }

    fn length(&self, part: &File, file: &RemoteFile) -> Result<u64> {
        Ok(part.metadata().map_err(|error| HubError::io(self.cache.part(file), error))?.len())
    }

    fn name(&self, file: &RemoteFile) -> String {
        Subject::File(&self.listing.repo, &file.path).to_string()
    }

    fn cut(&self, file: &RemoteFile, have: u64, reason: String) -> HubError {
        HubError::Cut { file: self.name(file), have, size: file.size, reason }
    }

    fn wrong_size(&self, file: &RemoteFile, found: String) -> HubError {
        HubError::Size { file: self.name(file), found, expected: file.size }
    }
}

/// Start and total of a `Content-Range: bytes START-END/TOTAL`.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    if total == "*" { Some((start, None)) } else { Some((start, Some(total.parse().ok()?))) }
}
