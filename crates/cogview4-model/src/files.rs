//! Writing files whole or not at all: under another name first, on the disk before they are renamed.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use fs4::FileExt;
use tempfile::NamedTempFile;

use crate::error::{ModelError, Result};

mod folder;
mod outside;

pub use folder::AtomicFolder;
pub use outside::{MAX_CONFIG_BYTES, MAX_PICTURE_BYTES, MAX_TABLE_BYTES, open_regular, read_regular, read_text};

/// Symbolic links that are followed one after another, as many as Linux does.
const MAX_LINKS: usize = 40;

/// Checks, before any work, that [`write_atomic`] will be able to write this file.
///
/// # Errors
/// [`ModelError::Write`] names the file.
pub fn check_writable(path: &Path) -> Result<()> {
    AtomicFile::create(path).map(drop)
}

/// Writes a file; it is there whole or not at all.
///
/// # Errors
/// [`ModelError::Write`] names the file.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = AtomicFile::create(path)?;
    file.file().write_all(bytes).map_err(|error| ModelError::write(path, error))?;
    file.commit()
}

/// A file that is written under another name in the same folder, and put in its place once it is complete. Dropped
/// before that, it leaves nothing behind.
///
/// ```
/// use std::io::Write;
/// use cogview4_model::files::AtomicFile;
///
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("result.txt");
/// let result = AtomicFile::create(&path)?;
/// writeln!(result.file(), "first line").unwrap();
/// assert!(!path.exists());
/// result.commit()?;
/// assert!(path.exists());
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    file: NamedTempFile,
    /// The file as the caller named it, for errors.
    path: PathBuf,
    /// Where it goes: the end of the links.
    place: PathBuf,
}

impl AtomicFile {
    /// Creates the file under its other name. A symbolic link stays as it is, what it leads to is written.
    ///
    /// # Errors
    /// [`ModelError::Write`] names the file: a folder that cannot be written to, or something that is there and is no
    /// regular file, such as a device.
    pub fn create(path: &Path) -> Result<Self> {
        let place = place(path)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tmp-");
        // Readable by others as the user's mask says, which is not what temporary files are by default.
        #[cfg(unix)]
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        #[cfg(unix)]
        builder.permissions(permissions);
        let file = builder.tempfile_in(folder_of(&place)).map_err(|error| ModelError::write(path, error))?;
        Ok(Self { file, path: path.into(), place })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Puts the file in its place, once its content is on the disk; when this returns, so is its name.
    ///
    /// # Errors
    /// [`ModelError::Write`] names the file.
    pub fn commit(self) -> Result<()> {
        let Self { file, path, place } = self;
        file.as_file().sync_all().map_err(|error| ModelError::write(&path, error))?;
        file.persist(&place).map_err(|error| ModelError::write(&path, error.error))?;
        sync_folder(folder_of(&place)).map_err(|error| ModelError::write(&path, error))
    }
}

/// Puts a file in the place of another, as [`AtomicFile`] does: links stay, and what is no regular file is not replaced.
///
/// # Errors
/// [`ModelError::Write`] names the place.
pub fn move_to(from: &Path, path: &Path) -> Result<()> {
    let place = place(path)?;
    let fail = |error| ModelError::write(path, error);
    fs::rename(from, &place).map_err(fail)?;
    sync_folder(folder_of(&place)).map_err(fail)
}

/// Makes a file so long, with room for all of it: where it is mapped, writing to a full disk would be a signal.
///
/// # Errors
/// What the operating system says: no room, for instance.
pub fn reserve(file: &File, length: u64) -> std::io::Result<()> {
    // Room alone does not always make the file longer.
    file.allocate(length)?;
    file.set_len(length)
}

/// Makes what was created, renamed or removed in a folder last, whatever happens to the machine. Does nothing where the
/// system or the file system has no such thing, or where the folder may be written to and not read.
///
/// # Errors
/// What the operating system says.
#[cfg_attr(not(unix), expect(unused_variables, reason = "folders cannot be opened there"))]
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    if let Err(error) = File::open(path).and_then(|folder| folder.sync_all())
        && !matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported)
    {
        return Err(error);
    }
    Ok(())
}

/// Where a file is written: where symbolic links lead to, so that they stay links.
fn place(path: &Path) -> Result<PathBuf> {
    let refuse = |reason: &str| Err(ModelError::write(path, reason));
    if path.file_name().is_none() {
        return refuse("not the name of a file");
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => refuse("not the name of a file"),
        // Renaming over a device, a pipe or a socket would put a file in its place, for every program.
        Ok(found) if !found.is_file() => refuse("not a regular file"),
        Ok(_) if path.is_symlink() => fs::canonicalize(path).map_err(|error| ModelError::write(path, error)),
        Ok(_) => Ok(path.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => end_of_links(path),
        // A link that leads in a circle must not be replaced; what else is wrong shows when a file is created there.
        Err(error) if path.is_symlink() => Err(ModelError::write(path, error)),
        Err(_) => Ok(path.into()),
    }
}

/// Where links lead to that end at no file.
fn end_of_links(path: &Path) -> Result<PathBuf> {
    let mut place = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&place) {
            Ok(target) => place = folder_of(&place).join(target),
            Err(_) => return Ok(place),
        }
    }
    Err(ModelError::write(path, "too many symbolic links"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        os::unix::{
            fs::{FileTypeExt, PermissionsExt, symlink},
            net::UnixListener,
        },
        process::Command,
    };

    use super::*;

    #[test]
    fn a_link_stays_and_its_target_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("elsewhere")).expect("a folder");
        fs::write(at("elsewhere/old"), "old").expect("a file");
        // A link, a link to a link, and links whose target is not there yet.
        let links = [("one", "elsewhere/old"), ("two", "one"), ("three", "elsewhere/new"), ("four", "three")];
        for (link, target) in links {
            symlink(target, at(link)).expect("a link");
            write_atomic(&at(link), link.as_bytes()).expect("written");
            assert_eq!(fs::read_link(at(link)).expect("still a link"), Path::new(target));
            assert_eq!(fs::read_to_string(at(link)).expect("the target"), link);
        }
        assert_eq!(fs::read_to_string(at("elsewhere/old")).expect("a file"), "two");
        assert_eq!(fs::read_dir(at("elsewhere")).expect("a folder").count(), 2, "nothing is left over");
        symlink("circle", at("circle")).expect("a link");
        write_atomic(&at("circle"), b"new").expect_err("leads nowhere");
        assert!(at("circle").is_symlink());
    }

    #[test]
    fn what_is_no_regular_file_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let made = |command: &str, arguments: &[&str]| {
            Command::new(command).args(arguments).current_dir(&folder).status().is_ok_and(|status| status.success())
        };
        assert!(made("mkfifo", &["pipe"]));
        let _listener = UnixListener::bind(at("socket")).expect("a socket");
        // Only root may make devices, and only root could replace the one that is there.
        let device = if made("mknod", &["device", "c", "1", "3"]) { at("device") } else { "/dev/null".into() };
        symlink(&device, at("link")).expect("a link");
        for path in [at("pipe"), at("socket"), device, at("link")] {
            let before = fs::metadata(&path).expect("there").file_type();
            for answer in [check_writable(&path), write_atomic(&path, b"new")] {
                let message = answer.expect_err("refused").to_string();
                assert_eq!(message, format!("cannot write {}: not a regular file", path.display()));
            }
            let after = fs::metadata(&path).expect("there").file_type();
            assert!(!after.is_file() && after == before);
        }
        let kind = fs::metadata(at("link")).expect("there").file_type();
        assert!(kind.is_char_device() && at("link").is_symlink());
    }

    #[test]
    fn names_of_no_file_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for path in [folder.path(), &folder.path().join(".."), Path::new("/"), Path::new("")] {
            let message = check_writable(path).expect_err("refused").to_string();
            assert!(message.ends_with("not the name of a file"), "{message}");
        }
    }

    #[test]
    fn others_may_read_as_the_mask_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let [ours, plain] = ["ours", "plain"].map(|name| folder.path().join(name));
        write_atomic(&ours, b"").expect("written");
        fs::write(&plain, "").expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
