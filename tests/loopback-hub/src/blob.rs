//! Contents of files, in memory or on the disk, with the sums that name them.

use std::{
    fs::{self, File},
    io::{self, Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The content of a file.
#[derive(Debug)]
pub(crate) struct Blob {
    /// In bytes.
    pub(crate) size: u64,
    /// The name that git has for it.
    pub(crate) git_sha1: String,
    pub(crate) sha256: String,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Memory(Arc<[u8]>),
    Disk(PathBuf),
}

impl Blob {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let (git_sha1, sha256) = sums(&mut bytes.as_slice(), bytes.len() as u64).expect("memory can be read");
        Self { size: bytes.len() as u64, git_sha1, sha256, data: Data::Memory(bytes.into()) }
    }

    /// A file that stays where it is.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let size = fs::metadata(path)?.len();
        let (git_sha1, sha256) = sums(&mut File::open(path)?, size)?;
        Ok(Self { size, git_sha1, sha256, data: Data::Disk(path.into()) })
    }

    /// What comes from `start` on.
    pub(crate) fn reader(&self, start: u64) -> io::Result<Box<dyn Read>> {
        match &self.data {
            Data::Memory(bytes) => {
                let mut cursor = Cursor::new(bytes.clone());
                cursor.set_position(start);
                Ok(Box::new(cursor))
            }
            Data::Disk(path) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(start))?;
                Ok(Box::new(file))
            }
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        match &self.data {
            Data::Memory(bytes) => bytes.to_vec(),
            Data::Disk(path) => fs::read(path).expect("a file that was there"),
        }
    }
}

fn sums(content: &mut impl Read, size: u64) -> io::Result<(String, String)> {
    let (mut git, mut sha256) = (Sha1::new(), Sha256::new());
    git.update(format!("blob {size}\0"));
    let mut buffer = vec![0; 1 << 17];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok((hex(git.finalize()), hex(sha256.finalize()))),
            read => {
                git.update(&buffer[..read]);
                sha256.update(&buffer[..read]);
            }
        }
    }
}

pub(crate) fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Files of a repository: from pairs of path and content, or a folder.
#[derive(Debug, Default)]
pub struct Files(pub(crate) Vec<(String, Blob)>);

impl<P: Into<String>, B: Into<Vec<u8>>> From<Vec<(P, B)>> for Files {
    fn from(files: Vec<(P, B)>) -> Self {
        Self(files.into_iter().map(|(path, bytes)| (path.into(), Blob::new(bytes.into()))).collect())
    }
}

impl<P: Into<String>, B: Into<Vec<u8>>, const N: usize> From<[(P, B); N]> for Files {
    fn from(files: [(P, B); N]) -> Self {
        Vec::from(files).into()
    }
}

/// All files below a folder; they are read when they are asked for, and must not change.
///
/// # Panics
/// Where the folder cannot be read.
impl From<&Path> for Files {
    fn from(folder: &Path) -> Self {
        let mut files = Vec::new();
        collect(folder, "", &mut files).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        Self(files)
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, Blob)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), files)?;
        } else {
            files.push((format!("{prefix}{name}"), Blob::of_file(&path)?));
        }
    }
    Ok(())
}
