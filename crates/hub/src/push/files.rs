//! Files of a folder that are pushed. They are read more than once, so each time whether they are still the same.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::{
    error::{HubError, Result},
    hub::Hub,
    repo::is_relative_path,
    verify::digest,
};

/// Bytes of a file by which the Hub judges its kind.
const SAMPLE: u64 = 512;

/// A file that is pushed.
#[derive(Debug, Clone)]
pub(super) struct LocalFile {
    /// Its path in the repository, with slashes.
    pub(super) path: String,
    /// Where it is.
    pub(super) file: PathBuf,
    identity: Identity,
}

/// What tells that a file is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    size: u64,
    modified: Option<SystemTime>,
    /// Where it lies, and when anything of it changed; a file of the same time may have been put in its place.
    inode: [i64; 3],
}

impl Identity {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let inode = [metadata.ino().cast_signed(), metadata.ctime(), metadata.ctime_nsec()];
        Self { size: metadata.len(), modified: metadata.modified().ok(), inode }
    }

    #[cfg(not(unix))]
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), modified: metadata.modified().ok(), inode: [0; 3] }
    }
}

/// The files below a folder that `choose` takes, by path.
pub(super) fn collect(folder: &Path, choose: &dyn Fn(&str) -> bool) -> Result<Vec<LocalFile>> {
    let mut files = Vec::new();
    walk(folder, "", choose, &mut files)?;
    if files.is_empty() {
        return Err(HubError::io(folder, "has no files to push"));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, choose: &dyn Fn(&str) -> bool, files: &mut Vec<LocalFile>) -> Result<()> {
    let failed = |error: io::Error| HubError::io(folder, error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let file = entry.path();
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        // Links to folders are not followed, as they may lead in a circle.
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(&file, &format!("{path}/"), choose, files)?;
        } else if choose(&path) {
            let metadata = fs::metadata(&file).map_err(|error| HubError::io(&file, error))?;
            if !metadata.is_file() {
                return Err(HubError::io(file, "is no file, and cannot be pushed"));
            }
            if !is_relative_path(&path) || entry.file_name().to_str().is_none() {
                return Err(HubError::io(file, "has a name that no file on the Hub can have"));
            }
            files.push(LocalFile { path, file, identity: Identity::of(&metadata) });
        }
    }
    Ok(())
}

impl LocalFile {
    /// In bytes.
    pub(super) fn size(&self) -> u64 {
        self.identity.size
    }

    /// Whether it is still the same.
    pub(super) fn check(&self) -> Result<()> {
        match fs::metadata(&self.file) {
            Ok(metadata) if Identity::of(&metadata) == self.identity => Ok(()),
            Ok(_) => Err(HubError::Changed { path: self.file.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(HubError::Changed { path: self.file.clone() }),
            Err(error) => Err(HubError::io(&self.file, error)),
        }
    }

    /// Opens it, if it is still the same.
    pub(super) fn open(&self) -> io::Result<File> {
        let file = File::open(&self.file)?;
        match Identity::of(&file.metadata()?) == self.identity {
            true => Ok(file),
            false => Err(io::Error::other("it changed")),
        }
    }

    /// What the Hub wants to know to say how it is pushed.
    pub(super) fn describe(&self) -> Result<Value> {
        let mut sample = Vec::new();
        self.open()
            .and_then(|file| file.take(SAMPLE).read_to_end(&mut sample))
            .map_err(|error| HubError::io(&self.file, error))?;
        Ok(json!({"path": self.path, "size": self.size(), "sample": BASE64_STANDARD.encode(sample)}))
    }

    /// The name of its content in storage; with a bar, as large files take a while.
    pub(super) fn sha256(&self, hub: &Hub) -> Result<String> {
        let progress = hub.progress();
        progress.begin(&format!("reading {}", self.path), self.size(), 0);
        let read = || digest(&mut self.part(hub, 0, self.size(), &Arc::default())?, Sha256::new());
        let sum = read().map_err(|error| HubError::io(&self.file, error));
        progress.end();
        sum.and_then(|sum| self.check().map(|()| sum))
    }

    /// The name that git has for its content.
    pub(super) fn git_sha1(&self) -> Result<String> {
        let mut git = Sha1::new();
        git.update(format!("blob {}\0", self.size()));
        let read = || digest(&mut self.open()?, git);
        let sum = read().map_err(|error| HubError::io(&self.file, error))?;
        self.check().map(|()| sum)
    }

    /// A part of it that is sent, from its start on. `sent` counts what was read by this try: what an earlier one had
    /// sent is lost.
    pub(super) fn part(&self, hub: &Hub, start: u64, length: u64, sent: &Arc<AtomicU64>) -> io::Result<Part> {
        hub.progress().lose(sent.swap(0, Ordering::Relaxed));
        let mut file = self.open()?;
        file.seek(SeekFrom::Start(start))?;
        Ok(Part { file, left: length, sent: sent.clone(), hub: hub.clone() })
    }
}

/// So many bytes of a file, no fewer; progress is told of them.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    left: u64,
    sent: Arc<AtomicU64>,
    hub: Hub,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..room])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
        }
        self.left -= read as u64;
        self.sent.fetch_add(read as u64, Ordering::Relaxed);
        self.hub.progress().advance(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_change_are_noticed_and_links_to_folders_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("b")).expect("made");
        for name in ["b/c", "a", ".hidden"] {
            fs::write(folder.path().join(name), name).expect("written");
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(".", folder.path().join("circle")).expect("linked");
        let files = collect(folder.path(), &|path| !path.starts_with('.') && path != "circle").expect("collected");
        assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a", "b/c"]);
        let file = &files[0];
        assert!(file.check().is_ok() && file.open().is_ok());
        fs::write(folder.path().join("other"), "a").expect("written");
        fs::rename(folder.path().join("other"), folder.path().join("a")).expect("replaced");
        let error = file.check().expect_err("replaced").to_string();
        assert!(error.ends_with("a: changed while it was pushed: push again once nobody writes to it"), "{error}");
        assert!(file.open().is_err() && file.git_sha1().is_err());
        assert!(collect(folder.path(), &|_| false).expect_err("nothing").to_string().ends_with("has no files to push"));
    }

    #[test]
    fn parts_have_their_length() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a"), "0123456789").expect("written");
        let file = collect(folder.path(), &|_| true).expect("collected").remove(0);
        let (hub, sent) = (Hub::default(), Arc::default());
        for _ in 0..2 {
            let mut text = String::new();
            file.part(&hub, 3, 4, &sent).expect("open").read_to_string(&mut text).expect("read");
            assert_eq!((text.as_str(), sent.load(Ordering::Relaxed)), ("3456", 4));
        }
        let mut part = file.part(&hub, 8, 4, &sent).expect("open");
        assert!(part.read_to_end(&mut Vec::new()).is_err(), "two bytes are missing");
    }
}
