//! Data sets by name: the files that hold the rows of a run come from the Hub, or from its cache.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use cogview4_hub::{Hub, HubError, Listing, RemoteFile, Repo, Source};

use super::{
    Columns, Dataset, DatasetFiles, DatasetOptions, TrainData, choose_converted_files, choose_files,
    files::README,
    formats::{has_extension, holds_rows},
    open::{open_train_data, train_data},
    parquet::ParquetDataset,
    splits::shard_of,
    table::{PicturePlace, TableDataset},
};
use crate::error::{DataError, Result};

/// Where the Hub puts parquet that it made of a data set of another format.
const CONVERTED: &str = "refs/convert/parquet";

/// Opens what a run is given: from a folder or file as [`open_train_data`], or by name from the Hub. Only files that
/// hold the rows of the run are downloaded: with [`DatasetOptions::max_rows`] one after another, until there are
/// enough. A data set of another format is read from the parquet files that the Hub made of it, where it did.
///
/// ```no_run
/// use cogview4_data::{Columns, DatasetOptions, open_source};
/// use cogview4_hub::Hub;
///
/// let options = DatasetOptions { max_rows: Some(1000), ..DatasetOptions::default() };
/// let data = open_source(&"raulc0399/open_pose_controlnet".into(), &Hub::from_env(), options, &Columns::default())?;
/// println!("{} rows to train on", data.train.len());
/// # Ok::<(), cogview4_data::DataError>(())
/// ```
///
/// # Errors
/// As [`open_train_data`]; [`DataError::Hub`] where the Hub does not give what is needed, or, offline, the cache.
pub fn open_source(source: &Source, hub: &Hub, options: DatasetOptions<'_>, columns: &Columns) -> Result<TrainData> {
    match source {
        Source::Folder(path) => open_train_data(path, options, columns),
        Source::Hub { id, revision } => {
            let repo = Repo::dataset(id.clone()).with_revision(revision.clone());
            let name = PathBuf::from(repo.to_string());
            let (remote, files) =
                Remote::choose(hub, &repo, options.config_name).map_err(|error| error.inside(&name))?;
            let open = |files: &[String], max_rows| remote.open(files, columns, max_rows);
            train_data(files, options, &name, open)
        }
    }
}

/// The files of a data set at one commit.
struct Remote<'a> {
    hub: &'a Hub,
    listing: Listing,
}

impl<'a> Remote<'a> {
    fn choose(hub: &'a Hub, repo: &Repo, config: Option<&str>) -> Result<(Self, DatasetFiles)> {
        let remote = Self { hub, listing: hub.list(repo)? };
        let paths = remote.paths();
        // Offline, a README that did not come is an error: without it other files might be chosen.
        let readme = hub.optional_file(&remote.listing, README)?;
        let readme = readme.map(std::fs::read_to_string).transpose();
        let readme = readme.map_err(|error| DataError::file(README, error))?;
        let chosen = choose_files(&paths, readme.as_deref(), config);
        // What was made of the main branch says nothing of another revision.
        if chosen.is_err() && repo.revision.is_none() && !paths.iter().any(|path| holds_rows(path)) {
            match hub.list(&repo.clone().with_revision(Some(CONVERTED.into()))) {
                Ok(listing) => {
                    // Offline, it must be known that the data set itself has none.
                    remote.download([])?;
                    let converted = Self { hub, listing };
                    let files = choose_converted_files(&converted.paths(), config)?;
                    return Ok((converted, files));
                }
                // It has none: what is wrong with the files themselves is told.
                Err(HubError::RevisionNotFound { .. } | HubError::Offline { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((remote, chosen?))
    }

    fn paths(&self) -> Vec<String> {
        self.listing.files.iter().map(|file| file.path.clone()).collect()
    }

    fn open(&self, files: &[String], columns: &Columns, max_rows: Option<usize>) -> Result<Box<dyn Dataset>> {
        let parquet: Vec<&str> =
            files.iter().map(String::as_str).filter(|name| has_extension(name, &["parquet"])).collect();
        if parquet.is_empty() {
            return self.open_table(&files[0], columns, max_rows);
        }
        if max_rows.is_none() {
            // All at once, so that room on the disk is looked at and progress shown for the whole.
            self.download(parquet.iter().copied())?;
        }
        let mut shards = Shards::default();
        let place = |name: &str| {
            if self.listing.from_cache && !shards.next_is(name) {
                return Err(self.not_cached(name));
            }
            self.download([name]).map(|snapshot| snapshot.join(name))
        };
        let dataset = ParquetDataset::open(parquet.into_iter().map(place), columns, max_rows)?.without_files();
        let is_enough = max_rows.is_some_and(|rows| dataset.len() >= rows);
        match shards.unfinished() {
            Some(shard) if self.listing.from_cache && !is_enough => Err(self.not_cached(&shard)),
            _ => Ok(Box::new(dataset)),
        }
    }

    /// A table with the pictures that its rows name.
    fn open_table(&self, name: &str, columns: &Columns, max_rows: Option<usize>) -> Result<Box<dyn Dataset>> {
        let snapshot = self.download([name])?;
        let mut table = TableDataset::open(&snapshot.join(name), columns, PicturePlace::Anywhere)?;
        table.truncate(max_rows.unwrap_or(usize::MAX));
        let mut pictures = Vec::new();
        for (row, path) in table.pictures() {
            let inside = path.strip_prefix(&snapshot).ok().and_then(normal);
            let known = inside.filter(|path| self.listing.file(path).is_some());
            let refuse = || DataError::row(name, row, format!("{}: no file of the data set", path.display()));
            pictures.push(known.ok_or_else(refuse)?);
        }
        self.download(pictures.iter().map(String::as_str))?;
        Ok(Box::new(table))
    }

    fn download<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<PathBuf> {
        let files: Vec<&RemoteFile> = names.into_iter().filter_map(|name| self.listing.file(name)).collect();
        Ok(self.hub.download(&self.listing, files)?)
    }

    fn not_cached(&self, name: &str) -> DataError {
        let wanted = format!("a file before or after {name} is");
        let (repo, cache) = (self.listing.repo.clone().into(), self.hub.cache_dir().into());
        HubError::Offline { repo, wanted, cache }.into()
    }
}

/// A path with slashes, without `.` in it; `None` where it leads elsewhere.
fn normal(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => parts.push(part.to_str()?),
            std::path::Component::CurDir => {}
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

/// Which shards came, of names that count them: a cache may hold some of them only, and tells nothing of the others.
#[derive(Default)]
struct Shards(BTreeMap<String, (usize, usize, String)>);

impl Shards {
    /// Whether no shard before this one is missing.
    fn next_is(&mut self, name: &str) -> bool {
        let Some((prefix, index, count)) = shard_of(name) else {
            return true;
        };
        let (next, total, last) = self.0.entry(prefix.into()).or_insert((0, count, String::new()));
        let is_next = *next == index && *total == count;
        (*next, *last) = (index + 1, name.into());
        is_next
    }

    /// The last that came of shards that are not complete.
    fn unfinished(self) -> Option<String> {
        self.0.into_values().find(|(next, total, _)| next < total).map(|(_, _, last)| last)
    }
}
