//! Folders and files by what they are, and not by what they are called: so it can be told what was renamed.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    path::Path,
    time::UNIX_EPOCH,
};

use anyhow::{Context, Result};

/// What a file or folder is known by, however it is called.
pub(super) type Key = String;

/// What a folder has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub is_folder: bool,
    pub key: Key,
}

/// What a folder has, by name.
pub(super) type Listing = BTreeMap<String, Entry>;

/// A folder with all that is in it.
#[derive(Debug, Default, Clone)]
pub(super) struct Disk {
    pub root: Key,
    pub folders: BTreeMap<Key, Listing>,
    pub files: BTreeMap<Key, Vec<u8>>,
}

impl Disk {
    /// Reads a folder that nobody changes meanwhile.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let found = fs::metadata(folder).with_context(|| format!("looking at {}", folder.display()))?;
        let mut disk = Self { root: key(&found), ..Self::default() };
        disk.read(folder, key(&found)).with_context(|| format!("reading {}", folder.display()))?;
        Ok(disk)
    }

    fn read(&mut self, folder: &Path, of: Key) -> std::io::Result<()> {
        let mut listing = Listing::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let found = entry.metadata()?;
            let key = key(&found);
            match found.is_dir() {
                true => self.read(&entry.path(), key.clone())?,
                false => drop(self.files.insert(key.clone(), fs::read(entry.path())?)),
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            listing.insert(name, Entry { is_folder: found.is_dir(), key });
        }
        self.folders.insert(of, listing);
        Ok(())
    }

    /// With what the preloaded library has noted in place of what was there before; its files and lines are described
    /// in `tests/power-loss`.
    pub(super) fn overlaid(mut self, record: &Path) -> Result<Self> {
        let fail = || format!("reading {}", record.display());
        for entry in fs::read_dir(record).with_context(fail)? {
            let entry = entry.with_context(fail)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let read = || fs::read(entry.path()).with_context(fail);
            if let Some(key) = name.strip_prefix("file-") {
                self.files.insert(key.into(), read()?);
            } else if let Some(key) = name.strip_prefix("folder-") {
                let text = String::from_utf8(read()?).with_context(fail)?;
                let listing = text.lines().map(entry_of).collect::<Option<Listing>>();
                self.folders.insert(key.into(), listing.with_context(|| format!("{name} is no listing"))?);
            }
        }
        Ok(self)
    }

    /// Writes it to a folder that is not there yet.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        self.write_listing(&self.root, folder).with_context(|| format!("writing {}", folder.display()))
    }

    fn write_listing(&self, key: &Key, folder: &Path) -> std::io::Result<()> {
        fs::create_dir(folder)?;
        for (name, entry) in self.folders.get(key).into_iter().flatten() {
            match entry.is_folder {
                true => self.write_listing(&entry.key, &folder.join(name))?,
                false => fs::write(folder.join(name), self.files.get(&entry.key).map_or(&[][..], Vec::as_slice))?,
            }
        }
        Ok(())
    }

    /// What the root has under a name.
    pub(super) fn at(&self, name: &str) -> Option<&Entry> {
        self.folders.get(&self.root)?.get(name)
    }

    /// All files below a folder, by path.
    pub(super) fn below(&self, folder: &Key) -> BTreeMap<String, &[u8]> {
        let mut found = BTreeMap::new();
        for (name, entry) in self.folders.get(folder).into_iter().flatten() {
            if entry.is_folder {
                let inner = self.below(&entry.key).into_iter();
                found.extend(inner.map(|(inside, bytes)| (format!("{name}/{inside}"), bytes)));
            } else {
                found.insert(name.clone(), self.files.get(&entry.key).map_or(&[][..], Vec::as_slice));
            }
        }
        found
    }
}

/// A line of a listing.
fn entry_of(line: &str) -> Option<(String, Entry)> {
    let (kind, rest) = line.split_once(' ')?;
    let (key, name) = rest.split_once(' ')?;
    Some((name.into(), Entry { is_folder: kind == "folder", key: key.into() }))
}

/// As in the library: the number of a file that is removed is given to a new one, so when it was born belongs to it.
pub(super) fn key(found: &Metadata) -> Key {
    #[cfg(unix)]
    let (device, number) = {
        use std::os::unix::fs::MetadataExt;
        (found.dev(), found.ino())
    };
    #[cfg(not(unix))]
    let (device, number) = (0, 0);
    let born = found.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{device}-{number}-{}", born.as_nanos())
}

/// The length of a file, 0 where it is not there.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_stands_in_for_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let [tree, record, copy] = ["tree", "record", "copy"].map(|name| folder.path().join(name));
        fs::create_dir_all(tree.join("inner")).unwrap();
        fs::create_dir(&record).unwrap();
        fs::write(tree.join("a file"), "old").unwrap();
        fs::write(tree.join("inner/b"), "b").unwrap();
        let before = Disk::of(&tree).unwrap();
        let (file, inner) = (before.at("a file").unwrap().key.clone(), before.at("inner").unwrap().key.clone());
        assert_eq!(before.below(&before.root).keys().collect::<Vec<_>>(), ["a file", "inner/b"]);
        fs::write(record.join(format!("file-{file}")), "new").unwrap();
        fs::write(record.join(format!("folder-{inner}")), format!("file {file} an other name\n")).unwrap();
        fs::write(record.join("new-1-1"), "not renamed yet").unwrap();
        let after = before.overlaid(&record).unwrap();
        assert_eq!(
            after.below(&after.root),
            [("a file".into(), &b"new"[..]), ("inner/an other name".into(), &b"new"[..])].into()
        );
        after.write(&copy).unwrap();
        let read = Disk::of(&copy).unwrap();
        assert_eq!(read.below(&read.root), after.below(&after.root));
        assert_ne!(read.root, after.root);
    }
}
