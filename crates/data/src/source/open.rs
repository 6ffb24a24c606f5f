//! Opening what is on the disk.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use super::{
    Columns, Dataset, DatasetFiles, TrainData, choose_files,
    files::README,
    first_rows,
    formats::{has_extension, holds_rows},
    parquet::ParquetDataset,
    table::TableDataset,
};
use crate::error::{DataError, Result};

/// What of a data set is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatasetOptions<'a> {
    /// The configuration, of those that the data set has: the setting `dataset_config_name`.
    pub config_name: Option<&'a str>,
    /// Only the first rows to train on, this many; files behind them are not opened.
    pub max_rows: Option<usize>,
    /// Only the first rows to measure on, this many.
    pub max_held_out_rows: Option<usize>,
}

/// Opens a local data set: a parquet file, or a folder with parquet files or with pictures and `metadata.jsonl` or
/// `metadata.csv`. Where files are named by split, only those of `train` are taken; of several configurations, the
/// default.
///
/// ```no_run
/// use cogview4_data::{Columns, open_dataset};
///
/// let dataset = open_dataset("open_pose_controlnet".as_ref(), &Columns::default())?;
/// println!("{} rows, the first: {:?}", dataset.len(), dataset.row(0)?.captions);
/// # Ok::<(), cogview4_data::DataError>(())
/// ```
///
/// # Errors
/// Nothing that is a data set, a broken file, or a column that is not there.
pub fn open_dataset(path: &Path, columns: &Columns) -> Result<Box<dyn Dataset>> {
    let (folder, files) = Folder::choose(path, None)?;
    folder.open(&files.train, columns, None)
}

/// Opens the validation split of a folder that has a `train` split beside it, else its test split, if there is one:
/// rows that are not trained on.
///
/// # Errors
/// As [`open_dataset`].
pub fn open_held_out(path: &Path, columns: &Columns) -> Result<Option<Box<dyn Dataset>>> {
    if !path.is_dir() {
        return Ok(None);
    }
    let (folder, files) = Folder::choose(path, None)?;
    let files = files.held_out.map_err(|error| error.inside(path))?;
    files.map(|files| folder.open(&files, columns, None)).transpose()
}

/// Opens what a run is given: rows as [`open_dataset`] and [`open_held_out`] find them, of one configuration. Rows to
/// measure on that cannot be read are left out, and [`TrainData::held_out_error`] says why.
///
/// ```no_run
/// use cogview4_data::{Columns, DatasetOptions, open_train_data};
///
/// let options = DatasetOptions { config_name: Some("pose"), max_rows: Some(1000), ..DatasetOptions::default() };
/// let data = open_train_data("controls".as_ref(), options, &Columns::default())?;
/// println!("{} rows to train on", data.train.len());
/// # Ok::<(), cogview4_data::DataError>(())
/// ```
///
/// # Errors
/// As [`open_dataset`], and [`DataError::Setting`] where a configuration must be chosen or is not there.
pub fn open_train_data(path: &Path, options: DatasetOptions<'_>, columns: &Columns) -> Result<TrainData> {
    let (folder, files) = Folder::choose(path, options.config_name)?;
    let open = |files: &[String], max_rows| folder.open(files, columns, max_rows);
    train_data(files, options, path, open)
}

/// Opens both splits of a data set, each as far as its rows are needed. `root` is its folder or name, for messages.
pub(super) fn train_data(
    files: DatasetFiles,
    options: DatasetOptions<'_>,
    root: &Path,
    open: impl Fn(&[String], Option<usize>) -> Result<Box<dyn Dataset>>,
) -> Result<TrainData> {
    let first = |files: &[String], max_rows: Option<usize>| -> Result<Box<dyn Dataset>> {
        let rows = open(files, max_rows)?;
        Ok(match max_rows {
            Some(count) => first_rows(rows, count),
            None => rows,
        })
    };
    let train = first(&files.train, options.max_rows)?;
    let held_out = files.held_out.map_err(|error| error.inside(root));
    let held_out = held_out.and_then(|files| files.map(|files| first(&files, options.max_held_out_rows)).transpose());
    let (held_out, held_out_error) = match held_out {
        Ok(held_out) => (held_out, None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(TrainData { train, held_out, held_out_error })
}

/// Opens a file with one JSON object a line; paths are relative to the file.
///
/// # Errors
/// A broken file or line, or a column that is not there.
pub fn open_jsonl(path: &Path, columns: &Columns) -> Result<Box<dyn Dataset>> {
    Ok(Box::new(TableDataset::open(path, columns)?))
}

/// The files of a data set on the disk, by their paths from its folder on.
struct Folder {
    files: BTreeMap<String, PathBuf>,
}

impl Folder {
    /// The folder with the files of a configuration; a parquet file is a data set of itself.
    fn choose(path: &Path, config: Option<&str>) -> Result<(Self, DatasetFiles)> {
        let mut folder = Self { files: BTreeMap::new() };
        if path.is_file() && holds_rows(&path.to_string_lossy()) {
            if config.is_some() {
                let reason = format!("{} is a file, which has no configurations", path.display());
                return Err(DataError::Setting { setting: "dataset_config_name", reason });
            }
            let name = path.to_string_lossy().into_owned();
            folder.files.insert(name.clone(), path.into());
            return Ok((folder, DatasetFiles { train: vec![name], held_out: Ok(None) }));
        }
        if !path.is_dir() {
            return Err(DataError::file(path, "no such parquet file or folder"));
        }
        folder.collect(path, "", &mut HashSet::new())?;
        let readme = match folder.files.get(README) {
            Some(path) => Some(std::fs::read_to_string(path).map_err(|error| DataError::file(path, error))?),
            None => None,
        };
        let paths: Vec<String> = folder.files.keys().cloned().collect();
        let files = choose_files(&paths, readme.as_deref(), config).map_err(|error| error.inside(path))?;
        Ok((folder, files))
    }

    /// Lists files, those behind links too; a folder that links lead to again is left out.
    fn collect(&mut self, folder: &Path, prefix: &str, seen: &mut HashSet<PathBuf>) -> Result<()> {
        let fail = |error| DataError::file(folder, error);
        if !seen.insert(folder.canonicalize().map_err(fail)?) {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let (path, name) = (entry.path(), format!("{prefix}{}", entry.file_name().to_string_lossy()));
            if path.is_dir() {
                self.collect(&path, &format!("{name}/"), seen)?;
            } else {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    fn open(&self, files: &[String], columns: &Columns, max_rows: Option<usize>) -> Result<Box<dyn Dataset>> {
        open_files(files, |name| Ok(self.files[name].clone()), columns, max_rows)
    }
}

/// Opens files that hold rows: parquet files in turn, as far as rows are needed, else the first table.
fn open_files(
    files: &[String],
    mut place: impl FnMut(&str) -> Result<PathBuf>,
    columns: &Columns,
    max_rows: Option<usize>,
) -> Result<Box<dyn Dataset>> {
    let mut parquet = files.iter().filter(|name| has_extension(name, &["parquet"])).peekable();
    if parquet.peek().is_some() {
        return Ok(Box::new(ParquetDataset::open(parquet.map(|name| place(name)), columns, max_rows)?));
    }
    let table = files.first().expect("invariant: a split has files");
    Ok(Box::new(TableDataset::open(&place(table)?, columns)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of pictures with these names, each a row of `metadata.jsonl` in `folder`.
    fn write_rows(folder: &Path, pictures: &[&str]) {
        std::fs::create_dir_all(folder).unwrap();
        let line = |name: &&str| {
            std::fs::write(folder.join(name), "a picture").unwrap();
            format!("{{\"file_name\": \"{name}\", \"conditioning_image\": \"{name}\", \"text\": \"{name}\"}}\n")
        };
        std::fs::write(folder.join("metadata.jsonl"), pictures.iter().map(line).collect::<String>()).unwrap();
    }

    fn rows(dataset: &dyn Dataset) -> Vec<String> {
        (0..dataset.len()).map(|row| dataset.row(row).unwrap().captions.concat()).collect()
    }

    /// A parquet file with a row for each caption.
    fn write_parquet(path: &Path, captions: &[&str]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let row = |caption: &&str| {
            let picture = || crate::Picture::Bytes(b"a picture".into());
            Ok(crate::Row { image: picture(), conditioning_image: picture(), captions: vec![caption.to_string()] })
        };
        crate::write_parquet(path, captions.iter().map(row)).unwrap();
    }

    /// Captions of the rows to train on and of those held out.
    fn opened(folder: &Path, options: DatasetOptions<'_>) -> Result<(Vec<String>, Vec<String>), String> {
        let data = open_train_data(folder, options, &Columns::default()).map_err(|error| error.to_string())?;
        assert_eq!(data.held_out_error, None);
        Ok((rows(&*data.train), data.held_out.map_or(Vec::new(), |held_out| rows(&*held_out))))
    }

    #[test]
    fn a_clone_of_a_repository_is_opened_by_configuration() {
        let folder = tempfile::tempdir().unwrap();
        for (file, caption) in [("pose/train-0", "p"), ("pose/test-0", "t"), ("canny/x", "c"), (".cache/pose/old", "o")]
        {
            write_parquet(&folder.path().join(format!("{file}.parquet")), &[caption]);
        }
        let pose = DatasetOptions { config_name: Some("pose"), ..DatasetOptions::default() };
        let found = (vec!["p".to_string()], vec!["t".to_string()]);
        assert_eq!(opened(folder.path(), pose).unwrap(), found, "a folder");
        let readme =
            "---\nconfigs:\n- config_name: pose\n  data_files: canny/*\n- config_name: c\n  data_dir: pose\n---\n";
        std::fs::write(folder.path().join("README.md"), readme).unwrap();
        assert_eq!(opened(folder.path(), pose).unwrap().0, ["c"], "the README decides");
        assert_eq!(
            opened(folder.path(), DatasetOptions { config_name: Some("c"), ..DatasetOptions::default() }).unwrap(),
            found
        );
        let error = opened(folder.path(), DatasetOptions::default()).unwrap_err();
        assert!(error.ends_with("give one of: pose, c"), "{error}");
        std::fs::write(folder.path().join("README.md"), "---\nconfigs: [\n---\n").unwrap();
        let error = opened(folder.path(), pose).unwrap_err();
        assert!(error.starts_with(&format!("{}: broken YAML", folder.path().join("README.md").display())), "{error}");
        let file = folder.path().join("canny/x.parquet");
        assert!(opened(&file, pose).unwrap_err().contains("no configurations"));
        assert_eq!(opened(&file, DatasetOptions::default()).unwrap().0, ["c"]);
    }

    #[test]
    fn parquet_of_other_compressions_has_the_same_rows() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/training");
        let open = |name: &str| open_dataset(&fixtures.join(name), &Columns::default()).unwrap();
        let (zstd, snappy) = (open("zstd.parquet"), open("bytes.parquet"));
        assert_eq!(zstd.len(), 2);
        for row in 0..2 {
            assert_eq!(zstd.row(row).unwrap(), snappy.row(row).unwrap());
        }
    }

    #[test]
    fn only_the_shards_that_are_needed_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let shard = |index: usize| folder.path().join(format!("data/train-0000{index}-of-00003.parquet"));
        write_parquet(&shard(0), &["a", "b"]);
        write_parquet(&shard(1), &["c", "d"]);
        std::fs::write(shard(2), "cut off").unwrap();
        let first = |rows| opened(folder.path(), DatasetOptions { max_rows: Some(rows), ..DatasetOptions::default() });
        for (count, expected) in [(1, &["a"][..]), (2, &["a", "b"]), (3, &["a", "b", "c"]), (4, &["a", "b", "c", "d"])]
        {
            assert_eq!(first(count).unwrap().0, expected);
        }
        assert!(first(5).unwrap_err().contains("train-00002-of-00003.parquet: not a complete parquet file"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = tempfile::tempdir().unwrap();
        write_parquet(&blobs.path().join("blob.parquet"), &["a"]);
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
        link(&blobs.path().join("blob.parquet"), "data/train-00000-of-00001.parquet");
        for name in ["data/one", "data/two"] {
            link(folder.path(), name);
        }
        assert_eq!(opened(folder.path(), DatasetOptions::default()).unwrap().0, ["a"]);
    }

    #[test]
    fn names_of_pictures_make_no_split() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["train_001.png", "trainer.jpg", "val_1.png", "other.png"];
        write_rows(folder.path(), &names);
        let dataset = open_dataset(folder.path(), &Columns::default()).unwrap();
        assert_eq!(rows(&*dataset), names);
        assert!(open_held_out(folder.path(), &Columns::default()).unwrap().is_none());
    }

    #[test]
    fn splits_are_told_apart_by_the_files_that_hold_rows() {
        let folder = tempfile::tempdir().unwrap();
        write_rows(&folder.path().join("train"), &["val_1.png", "test.png"]);
        let open = || open_held_out(folder.path(), &Columns::default()).unwrap().map(|dataset| rows(&*dataset));
        assert_eq!(open(), None, "pictures are no split");
        write_rows(&folder.path().join("test"), &["train_1.png"]);
        assert_eq!(open().unwrap(), ["train_1.png"]);
        write_rows(&folder.path().join("validation"), &["2.png"]);
        assert_eq!(open().unwrap(), ["2.png"]);
        let train = open_dataset(folder.path(), &Columns::default()).unwrap();
        assert_eq!(rows(&*train), ["val_1.png", "test.png"]);
    }
}
