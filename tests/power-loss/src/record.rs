//! One record: a file's content, or a folder's listing. A file of the log is called `file-KEY` or `folder-KEY`; a line
//! of a listing is `file KEY NAME` or `folder KEY NAME`.

use std::{
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::UNIX_EPOCH,
};

/// A record that is written, and does not count yet.
pub(crate) struct Record {
    temporary: PathBuf,
    place: PathBuf,
}

/// Notes what an open file or folder is now; nothing of pipes, devices and the like.
pub(crate) fn take(log: &Path, file: i32) -> io::Result<Option<Record>> {
    // The open file itself, whatever it was opened for, wherever it is read, and whether it still has a name.
    let open = PathBuf::from(format!("/proc/self/fd/{file}"));
    let found = fs::metadata(&open)?;
    let kind = match () {
        () if found.is_file() => "file",
        () if found.is_dir() => "folder",
        () => return Ok(None),
    };
    // Several threads may sync the same file.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let temporary = log.join(format!("new-{}-{number}", std::process::id()));
    let mut record = File::create(&temporary)?;
    match kind {
        "file" => drop(io::copy(&mut File::open(&open)?, &mut record)?),
        _ => record.write_all(&listing(&open)?)?,
    }
    Ok(Some(Record { temporary, place: log.join(format!("{kind}-{}", key(&found))) }))
}

/// Has a record count, in place of an earlier one: whole, as a process that is killed meanwhile needs it.
pub(crate) fn keep(record: Record) -> io::Result<()> {
    fs::rename(record.temporary, record.place)
}

fn listing(folder: &Path) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = match entry.metadata() {
            Ok(found) => found,
            // Removed since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let kind = if found.is_dir() { "folder" } else { "file" };
        lines.extend_from_slice(format!("{kind} {} ", key(&found)).as_bytes());
        lines.extend_from_slice(entry.file_name().as_bytes());
        lines.push(b'\n');
    }
    Ok(lines)
}

/// What a file is known by, however it is called. The time of its birth is needed: numbers of files that are removed
/// are given to new ones.
fn key(found: &Metadata) -> String {
    let born = found.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{}-{}-{}", found.dev(), found.ino(), born.as_nanos())
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, os::fd::AsRawFd};

    use super::*;

    fn noted(log: &Path, file: &File) -> String {
        let record = take(log, file.as_raw_fd()).unwrap().unwrap();
        let place = record.place.clone();
        keep(record).unwrap();
        fs::read_to_string(place).unwrap()
    }

    #[test]
    fn what_is_synced_is_noted_as_it_was() {
        let [log, folder] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let path = folder.path().join("a file");
        // Neither readable nor at its beginning.
        let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        file.write_all(b"first").unwrap();
        assert_eq!(noted(log.path(), &file), "first");
        file.write_all(b", second").unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        let listed = noted(log.path(), &File::open(&folder).unwrap());
        let (file_key, inner) = (key(&file.metadata().unwrap()), fs::metadata(folder.path().join("inner")).unwrap());
        let mut lines: Vec<_> = listed.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, [format!("file {file_key} a file"), format!("folder {} inner", key(&inner))]);
        let unchanged = log.path().join(format!("file-{file_key}"));
        assert_eq!(fs::read_to_string(unchanged).unwrap(), "first", "nothing is durable before it is synced");
        fs::remove_file(path).unwrap();
        assert_eq!(noted(log.path(), &file), "first, second", "without a name too");
        assert_eq!(fs::read_dir(&log).unwrap().count(), 2, "one record of each");
    }

    #[test]
    fn what_has_no_content_is_left_alone() {
        let log = tempfile::tempdir().unwrap();
        assert!(take(log.path(), File::open("/dev/null").unwrap().as_raw_fd()).unwrap().is_none());
        assert!(take(log.path(), -1).is_err());
        assert_eq!(fs::read_dir(&log).unwrap().count(), 0);
    }
}
