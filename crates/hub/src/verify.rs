//! Whether a file is what its list says: SHA-256 of large files, git's SHA-1 of the others.

use std::{
    fs::File,
    io::{self, Read, Seek},
};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::listing::RemoteFile;

/// The checksum of a file's content, of the kind that its `ETag` is.
pub(crate) fn checksum(content: &mut File, file: &RemoteFile) -> io::Result<String> {
    content.rewind()?;
    if file.lfs_sha256.is_some() {
        return digest(content, Sha256::new());
    }
    let mut git = Sha1::new();
    git.update(format!("blob {}\0", file.size));
    digest(content, git)
}

/// A sum of all that is left of a content, in hexadecimal digits.
pub(crate) fn digest(content: &mut impl Read, mut hasher: impl Digest) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        match content.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn sums_are_those_of_git_and_sha256sum() {
        let mut content = tempfile::tempfile().expect("a file");
        content.write_all(b"hello\n").expect("written");
        let mut file = RemoteFile { path: "a".into(), size: 6, oid: String::new(), lfs_sha256: None };
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(checksum(&mut content, &file).expect("read"), git);
        file.lfs_sha256 = Some(String::new());
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(checksum(&mut content, &file).expect("read"), sha256);
    }
}
