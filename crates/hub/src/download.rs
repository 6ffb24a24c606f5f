//! Files of one commit into the cache.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    cache::RepoCache,
    error::{HubError, Result},
    fetch::Fetch,
    hub::Hub,
    listing::{Listing, RemoteFile},
    progress::Progress,
    repo::{Repo, is_relative_path},
};

impl Hub {
    /// Downloads the files that `choose` takes, by their paths, and gives the folder that holds them. What is in the
    /// cache is not asked for again.
    ///
    /// # Errors
    /// As [`Self::list`] and [`Self::download`].
    pub fn snapshot(&self, repo: &Repo, choose: impl Fn(&str) -> bool) -> Result<PathBuf> {
        let listing = self.list(repo)?;
        self.download(&listing, listing.files.iter().filter(|file| choose(&file.path)))
    }

    /// Downloads files of a listing, and gives the folder that holds them under their paths: the commit's snapshot in
    /// the cache. Each is checked against the size and the checksum of the listing before it stands there. What came of
    /// a file before a cut or a kill is kept, and not asked for again.
    ///
    /// # Errors
    /// The disk has no room; the Hub cannot be reached or gives something else than the listing says; of a listing from
    /// the cache, a file that is not there.
    pub fn download<'a>(&self, listing: &Listing, chosen: impl IntoIterator<Item = &'a RemoteFile>) -> Result<PathBuf> {
        let cache = RepoCache::new(self, &listing.repo);
        let snapshot = cache.snapshot(&listing.commit);
        let chosen: Vec<&RemoteFile> = chosen.into_iter().collect();
        if let Some(odd) = chosen.iter().find(|file| listing.file(&file.path).is_none_or(|own| own != **file)) {
            return Err(HubError::EntryNotFound { repo: listing.repo.clone().into(), path: odd.path.clone() });
        }
        if listing.from_cache {
            return match chosen.iter().find(|file| !cache.has_file(&listing.commit, file)) {
                Some(file) => Err(self.not_cached(&listing.repo, &file.path)),
                None => Ok(snapshot),
            };
        }
        let missing: Vec<&RemoteFile> =
            chosen.iter().copied().filter(|file| !cache.has_file(&listing.commit, file)).collect();
        fs::create_dir_all(&snapshot).map_err(|error| HubError::io(&snapshot, error))?;
        self.fetch_all(listing, &cache, &missing)?;
        cache.write_ref(listing.repo.checked_revision()?, &listing.commit)?;
        Ok(snapshot)
    }

    /// One file of a listing in the cache; `None` where the repository has none of that name, which is kept as well.
    ///
    /// # Errors
    /// As [`Self::download`]; of a listing from the cache, where it is not known whether there is such a file.
    pub fn optional_file(&self, listing: &Listing, path: &str) -> Result<Option<PathBuf>> {
        let cache = RepoCache::new(self, &listing.repo);
        if let Some(file) = listing.file(path) {
            return Ok(Some(self.download(listing, [file])?.join(path)));
        }
        if !is_relative_path(path) {
            return Err(HubError::EntryNotFound { repo: listing.repo.clone().into(), path: path.into() });
        }
        if !listing.from_cache {
            cache.mark_absent(&listing.commit, path)?;
        } else if !cache.is_absent(&listing.commit, path) {
            return Err(self.not_cached(&listing.repo, path));
        }
        Ok(None)
    }

    fn fetch_all(&self, listing: &Listing, cache: &RepoCache, missing: &[&RemoteFile]) -> Result<()> {
        // Size of what is to come, and what is here of it; content that stands under two paths comes once.
        let mut to_come: BTreeMap<&str, (u64, u64)> = missing
            .iter()
            .filter(|file| !cache.has_blob(file))
            .map(|file| (file.etag(), (file.size, cache.part_size(file))))
            .collect();
        let (total, done) = to_come.values().fold((0, 0), |(total, done), (size, known)| (total + size, done + known));
        self.check_room(total - done)?;
        if !missing.is_empty() {
            cache.create_blob_folder()?;
        }
        let _running = (!to_come.is_empty()).then(|| Running::begin(self.progress(), &listing.repo, total, done));
        let fetch = Fetch { hub: self, listing, cache };
        for file in missing {
            let known = to_come.remove(file.etag()).map(|(_, known)| known);
            // Also where another process was faster: what it has fetched counts.
            if known.is_some() || !cache.has_blob(file) {
                fetch.fetch(file, known.unwrap_or(0))?;
            }
            cache.link(&listing.commit, file)?;
        }
        Ok(())
    }

    /// Whether the cache's disk has room for so many bytes.
    fn check_room(&self, needed: u64) -> Result<()> {
        let cache = std::path::absolute(self.cache_dir()).unwrap_or_else(|_| self.cache_dir().into());
        let there = cache.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        match fs4::available_space(there) {
            Ok(free) if free < needed => Err(HubError::DiskFull { path: self.cache_dir().into(), needed, free }),
            // What cannot be known is seen when the disk is full.
            _ => Ok(()),
        }
    }

    fn not_cached(&self, repo: &Repo, path: &str) -> HubError {
        HubError::Offline { repo: repo.clone().into(), wanted: format!("{path} is"), cache: self.cache_dir().into() }
    }
}

/// Ends what is shown, whatever the end is.
struct Running<'a>(&'a dyn Progress);

impl<'a> Running<'a> {
    fn begin(progress: &'a dyn Progress, repo: &Repo, total: u64, done: u64) -> Self {
        progress.begin(&repo.to_string(), total, done);
        Self(progress)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
