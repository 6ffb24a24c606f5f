//! A repository's part of the cache, as Python keeps it:
//!
//! ```text
//! models--OWNER--NAME/blobs/ETAG               content; ETAG.incomplete while it comes
//! models--OWNER--NAME/snapshots/COMMIT/PATH    links to the content
//! models--OWNER--NAME/refs/REVISION            the commit that a branch or tag was
//! models--OWNER--NAME/.no_exist/COMMIT/PATH    files that are known not to be there
//! .locks/models--OWNER--NAME/ETAG.lock         held while content is written
//! ```

use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::{
    error::{HubError, Result},
    hub::Hub,
    listing::RemoteFile,
    lock::FileLock,
    repo::{Repo, is_commit, is_hex},
};

/// One repository in the cache.
#[derive(Debug)]
pub(crate) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(crate) fn new(hub: &Hub, repo: &Repo) -> Self {
        let name = repo.folder_name();
        Self { folder: hub.cache_dir().join(&name), locks: hub.cache_dir().join(".locks").join(name) }
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub(crate) fn blob(&self, file: &RemoteFile) -> PathBuf {
        self.folder.join("blobs").join(file.etag())
    }

    /// Content that is not whole yet.
    pub(crate) fn part(&self, file: &RemoteFile) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", file.etag()))
    }

    /// Bytes that are here of content that is not whole.
    pub(crate) fn part_size(&self, file: &RemoteFile) -> u64 {
        fs::metadata(self.part(file)).map_or(0, |part| part.len().min(file.size))
    }

    /// Whether the content is here. Only whole content bears its name, so its size suffices.
    pub(crate) fn has_blob(&self, file: &RemoteFile) -> bool {
        has_size(&self.blob(file), file.size)
    }

    /// Whether a file stands in the snapshot.
    pub(crate) fn has_file(&self, commit: &str, file: &RemoteFile) -> bool {
        let pointer = self.snapshot(commit).join(&file.path);
        let is_its_own = match fs::read_link(&pointer) {
            Ok(target) => target.file_name().is_some_and(|name| name == file.etag()),
            // Where there are no links, the file itself stands there.
            Err(_) => true,
        };
        is_its_own && has_size(&pointer, file.size)
    }

    /// Waits until nobody else downloads this content; tells `on_wait` if that takes time.
    pub(crate) fn lock(&self, file: &RemoteFile, on_wait: impl FnOnce()) -> Result<FileLock> {
        create_dir(&self.locks)?;
        FileLock::wait(&self.locks.join(format!("{}.lock", file.etag())), on_wait)
    }

    pub(crate) fn create_blob_folder(&self) -> Result<()> {
        create_dir(&self.folder.join("blobs"))
    }

    /// Puts a file whose content is here into a snapshot.
    pub(crate) fn link(&self, commit: &str, file: &RemoteFile) -> Result<()> {
        if self.has_file(commit, file) {
            return Ok(());
        }
        let pointer = self.snapshot(commit).join(&file.path);
        let failed = |error: io::Error| HubError::io(&pointer, error);
        create_dir(pointer.parent().unwrap_or(&self.folder))?;
        match fs::symlink_metadata(&pointer) {
            Ok(found) if found.is_dir() => return Err(HubError::io(&pointer, "a folder stands where a file must be")),
            Ok(_) => fs::remove_file(&pointer).map_err(failed)?,
            Err(_) => {}
        }
        let up = "../".repeat(2 + file.path.matches('/').count());
        match symlink(&format!("{up}blobs/{}", file.etag()), &pointer) {
            Ok(()) => Ok(()),
            // Another process was as far.
            Err(_) if self.has_file(commit, file) => Ok(()),
            Err(_) => fs::rename(self.blob(file), &pointer).map_err(failed),
        }
    }

    /// The commit that a branch or tag was when it was last asked for.
    pub(crate) fn read_ref(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_string()).filter(|commit| is_commit(commit))
    }

    /// Says that a snapshot has what was wanted of a revision; so it comes last.
    pub(crate) fn write_ref(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) || self.read_ref(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        let folder = path.parent().unwrap_or(&self.folder);
        create_dir(folder)?;
        write_whole(folder, &path, commit).map_err(|error| HubError::io(&path, error))
    }

    /// Whether a file is known not to be in the repository.
    pub(crate) fn is_absent(&self, commit: &str, path: &str) -> bool {
        self.folder.join(".no_exist").join(commit).join(path).is_file()
    }

    /// Keeps that a file is not in the repository.
    pub(crate) fn mark_absent(&self, commit: &str, path: &str) -> Result<()> {
        let mark = self.folder.join(".no_exist").join(commit).join(path);
        create_dir(mark.parent().unwrap_or(&self.folder))?;
        fs::write(&mark, "").map_err(|error| HubError::io(mark, error))
    }

    /// The files of a snapshot, by path; links that lead nowhere are no files.
    pub(crate) fn files(&self, commit: &str) -> Result<Vec<RemoteFile>> {
        let top = self.snapshot(commit);
        let mut files = Vec::new();
        let mut folders = vec![(top, String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            let failed = |error: io::Error| HubError::io(&folder, error);
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let (at, path) = (entry.path(), format!("{prefix}{name}"));
                match fs::metadata(&at) {
                    Ok(found) if found.is_dir() => folders.push((at, path + "/")),
                    Ok(found) if found.is_file() => files.push(cached_file(&at, path, found.len())),
                    _ => {}
                }
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(files)
    }
}

/// A file of a snapshot: its link bears the checksum.
fn cached_file(at: &Path, path: String, size: u64) -> RemoteFile {
    let target = fs::read_link(at).ok();
    let etag = target.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    let lfs_sha256 = is_hex(etag, 64).then(|| etag.to_string());
    let oid = if lfs_sha256.is_some() { String::new() } else { etag.into() };
    RemoteFile { path, size, oid, lfs_sha256 }
}

fn has_size(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == size)
}

fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            HubError::io(path, "a file stands where a folder must be")
        }
        _ => HubError::io(path, error),
    })
}

/// Writes a small file whole or not at all.
fn write_whole(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp-");
    // Readable by others as the user's mask says, which is not what temporary files are by default.
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(unix)]
fn symlink(target: &str, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &str, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target.replace('/', "\\"), link)
}
