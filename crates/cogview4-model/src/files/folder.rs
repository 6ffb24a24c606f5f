//! Folders that are written whole or not at all.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{folder_of, sync_folder};
use crate::error::{ModelError, Result};

/// A folder that is written under another name beside its place, and put there once it is complete. Dropped before
/// that, it leaves nothing behind.
///
/// ```
/// use cogview4_model::files::{AtomicFolder, write_atomic};
///
/// # let parent = tempfile::tempdir().unwrap();
/// let path = parent.path().join("model");
/// let folder = AtomicFolder::create(&path)?;
/// write_atomic(&folder.path().join("config.json"), b"{}")?;
/// assert!(!path.exists());
/// folder.commit()?;
/// assert!(path.join("config.json").exists());
/// assert!(AtomicFolder::create(&path).is_err(), "it is not empty");
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct AtomicFolder {
    folder: TempDir,
    /// The folder as the caller named it, for errors.
    path: PathBuf,
    /// Where it goes.
    place: PathBuf,
}

impl AtomicFolder {
    /// Creates the folder under its other name. Its place has nothing, or an empty folder.
    ///
    /// # Errors
    /// [`ModelError::Write`](crate::ModelError::Write) names the folder: something is there, or its parent cannot be
    /// written to.
    pub fn create(path: &Path) -> Result<Self> {
        let fail = |error: io::Error| ModelError::write(path, error);
        let place = match fs::read_dir(path).map(|mut entries| entries.next()) {
            Ok(Some(_)) => return Err(ModelError::write(path, "the folder is there and not empty")),
            Ok(None) => fs::canonicalize(path).map_err(fail)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => path.into(),
            Err(error) => return Err(fail(error)),
        };
        if place.file_name().is_none() {
            return Err(ModelError::write(path, "not the name of a folder"));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tmp-");
        // Readable by others as the user's mask says, which is not what temporary folders are by default.
        #[cfg(unix)]
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        #[cfg(unix)]
        builder.permissions(permissions);
        let folder = builder.tempdir_in(folder_of(&place)).map_err(fail)?;
        Ok(Self { folder, path: path.into(), place })
    }

    /// Where its files are written.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts the folder in its place. Its files are on the disk already: they are written one by one, as by
    /// [`write_atomic`](super::write_atomic).
    ///
    /// # Errors
    /// [`ModelError::Write`](crate::ModelError::Write) names the folder; something may have come to be there.
    pub fn commit(self) -> Result<()> {
        let Self { folder, path, place } = self;
        let fail = |error: io::Error| ModelError::write(&path, error);
        match fs::remove_dir(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => fs::rename(folder.path(), &place).map_err(fail)?,
        }
        // It is no longer where it would be removed.
        let _ = folder.keep();
        sync_folder(folder_of(&place)).map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_there_is_replaced() {
        let parent = tempfile::tempdir().expect("a folder");
        let at = |name: &str| parent.path().join(name);
        fs::create_dir_all(at("full/inner")).expect("a folder");
        fs::create_dir(at("empty")).expect("a folder");
        fs::write(at("file"), "").expect("a file");
        for (name, reason) in [("full", "not empty"), ("file", ""), ("absent/below", ""), ("..", "")] {
            let message = AtomicFolder::create(&at(name)).expect_err(name).to_string();
            assert!(message.starts_with("cannot write ") && message.contains(reason), "{message}");
        }
        let late = AtomicFolder::create(&at("late")).expect("nothing is there");
        fs::create_dir_all(at("late/inner")).expect("a folder");
        late.commit().expect_err("somebody was faster");
        drop(AtomicFolder::create(&at("dropped")).expect("nothing is there"));
        let folder = AtomicFolder::create(&at("empty")).expect("an empty folder");
        fs::write(folder.path().join("new"), "").expect("a file");
        folder.commit().expect("in its place");
        assert!(at("empty/new").exists());
        let mut names: Vec<_> =
            fs::read_dir(&parent).expect("it").map(|entry| entry.expect("one").file_name()).collect();
        names.sort();
        assert_eq!(names, ["empty", "file", "full", "late"], "nothing is left over");
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_as_the_mask_says() {
        use std::os::unix::fs::PermissionsExt;

        let parent = tempfile::tempdir().expect("a folder");
        let [ours, plain] = ["ours", "plain"].map(|name| parent.path().join(name));
        AtomicFolder::create(&ours).and_then(AtomicFolder::commit).expect("written");
        fs::create_dir(&plain).expect("a folder");
        let mode = |path: &Path| fs::metadata(path).expect("a folder").permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
