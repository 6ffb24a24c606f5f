//! What opening finds in folders.

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
    for (file, caption) in [("pose/train-0", "p"), ("pose/test-0", "t"), ("canny/x", "c"), (".cache/pose/old", "o")] {
        write_parquet(&folder.path().join(format!("{file}.parquet")), &[caption]);
    }
    let pose = DatasetOptions { config_name: Some("pose"), ..DatasetOptions::default() };
    let found = (vec!["p".to_string()], vec!["t".to_string()]);
    assert_eq!(opened(folder.path(), pose).unwrap(), found, "a folder");
    let readme = "---\nconfigs:\n- config_name: pose\n  data_files: canny/*\n- config_name: c\n  data_dir: pose\n---\n";
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
    for (count, expected) in [(1, &["a"][..]), (2, &["a", "b"]), (3, &["a", "b", "c"]), (4, &["a", "b", "c", "d"])] {
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
