//! Data sets by name, against a Hub on loopback: what is asked for, what is not, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::{path::Path, sync::Arc};

use cogview4_data::{Columns, DatasetOptions, Picture, Row, TrainData, open_source, write_parquet};
use cogview4_hub::{Hub, Source};
use serde_json::json;
use sha1::{Digest, Sha1};

#[allow(dead_code, reason = "it has more than is needed here")]
#[path = "../../hub/tests/suite/server.rs"]
mod server;

use server::{Answer, Asked, Server};

const NAME: &str = "someone/pairs";
/// Of the main branch, and of the one with converted files.
const COMMITS: [&str; 2] = ["0123456789012345678901234567890123456789", "abcdefabcdefabcdefabcdefabcdefabcdefabcd"];

type Files = Vec<(String, Vec<u8>)>;

fn oid(bytes: &[u8]) -> String {
    let digest = Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A parquet file with a row for each caption.
fn parquet(captions: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let picture = || Picture::Bytes(b"a picture".into());
    let row = |caption: &&str| {
        Ok(Row { image: picture(), conditioning_image: picture(), captions: vec![caption.to_string()] })
    };
    write_parquet(&folder.path().join("x.parquet"), captions.iter().map(row)).unwrap();
    std::fs::read(folder.path().join("x.parquet")).unwrap()
}

/// A data set on a Hub, and a cache.
struct Fixture {
    server: Server,
    cache: tempfile::TempDir,
}

impl Fixture {
    fn new(main: Files, converted: Option<Files>) -> Self {
        let branches = Arc::new([Some(main), converted]);
        let answer = move |asked: &Asked, _| {
            let path = asked.path.split('?').next().unwrap().to_string();
            let json = |value: serde_json::Value| Answer::new(200, value.to_string());
            for ((files, commit), revision) in branches.iter().zip(COMMITS).zip(["main", "refs%2Fconvert%2Fparquet"]) {
                let Some(files) = files else { continue };
                if path == format!("/api/datasets/{NAME}/revision/{revision}") {
                    return json(json!({ "id": NAME, "sha": commit }));
                }
                if path == format!("/api/datasets/{NAME}/tree/{commit}") {
                    let entry = |(path, bytes): &(String, Vec<u8>)| json!({ "type": "file", "path": path, "size": bytes.len(), "oid": oid(bytes) });
                    return json(files.iter().map(entry).collect());
                }
                let file = path.strip_prefix(&format!("/datasets/{NAME}/resolve/{commit}/"));
                if let Some((_, bytes)) = files.iter().find(|(name, _)| file == Some(name)) {
                    let answer = Answer::new(200, bytes.as_slice()).with("ETag", format!("\"{}\"", oid(bytes)));
                    return answer.with("X-Repo-Commit", commit);
                }
            }
            Answer::new(404, "").with("X-Error-Code", "RevisionNotFound")
        };
        Self { server: Server::start(answer), cache: tempfile::tempdir().unwrap() }
    }

    fn hub(&self) -> Hub {
        Hub::default().with_endpoint(&self.server.url()).with_cache_dir(self.cache.path())
    }

    fn open_with(&self, hub: &Hub, options: DatasetOptions<'_>) -> Result<TrainData, String> {
        let data = open_source(&Source::from(NAME), hub, options, &Columns::default());
        data.map_err(|error| error.to_string())
    }

    fn open(&self, options: DatasetOptions<'_>) -> Result<TrainData, String> {
        self.open_with(&self.hub(), options)
    }

    /// Names of the files that were asked for since the last call.
    fn fetched(&self) -> Vec<String> {
        let asked = self.server.take_log();
        let file = |asked: &Asked| asked.path.split_once("/resolve/").map(|(_, path)| path[41..].to_string());
        let mut names: Vec<String> = asked.iter().filter_map(file).collect();
        names.dedup();
        names
    }
}

fn files(files: &[(&str, Vec<u8>)]) -> Files {
    files.iter().map(|(path, bytes)| (path.to_string(), bytes.clone())).collect()
}

fn captions(data: &TrainData) -> Vec<String> {
    (0..data.train.len()).map(|row| data.train.row(row).unwrap().captions.concat()).collect()
}

fn rows(max_rows: usize) -> DatasetOptions<'static> {
    DatasetOptions { max_rows: Some(max_rows), ..DatasetOptions::default() }
}

fn sharded() -> Files {
    let splits = "  - split: train\n    path: data/train-*\n  - split: test\n    path: data/test-*\n";
    files(&[
        ("README.md", format!("---\nconfigs:\n- config_name: default\n  data_files:\n{splits}---\n").into()),
        ("data/test-00000-of-00001.parquet", parquet(&["t"])),
        ("data/train-00000-of-00003.parquet", parquet(&["a", "b"])),
        ("data/train-00001-of-00003.parquet", parquet(&["c", "d"])),
        ("data/train-00002-of-00003.parquet", parquet(&["e"])),
        ("extra/huge.tar", vec![0; 10_000]),
    ])
}

#[test]
fn only_shards_that_are_needed_are_downloaded() {
    let fixture = Fixture::new(sharded(), None);
    let data = fixture.open(DatasetOptions { max_held_out_rows: Some(1), ..rows(2) }).unwrap();
    assert_eq!(captions(&data), ["a", "b"]);
    assert_eq!(data.held_out.unwrap().len(), 1);
    let first = ["README.md", "data/train-00000-of-00003.parquet", "data/test-00000-of-00001.parquet"];
    assert_eq!(fixture.fetched(), first);
    assert_eq!(captions(&fixture.open(rows(3)).unwrap()), ["a", "b", "c"]);
    assert_eq!(fixture.fetched(), ["data/train-00001-of-00003.parquet"], "the others are there");

    // Offline, what is there will do, and what is not there is not passed over.
    let offline = fixture.hub().offline(true);
    assert_eq!(captions(&fixture.open_with(&offline, rows(4)).unwrap()), ["a", "b", "c", "d"]);
    for options in [rows(5), DatasetOptions::default()] {
        let error = fixture.open_with(&offline, options).unwrap_err();
        assert!(error.contains("not in the cache") && error.contains("train-00001-of-00003"), "{error}");
    }
    assert_eq!(captions(&fixture.open(DatasetOptions::default()).unwrap()), ["a", "b", "c", "d", "e"]);
    assert_eq!(fixture.fetched(), ["data/train-00002-of-00003.parquet"]);
    assert_eq!(captions(&fixture.open_with(&offline, DatasetOptions::default()).unwrap()).len(), 5);
    let snapshot = fixture.cache.path().join("datasets--someone--pairs/snapshots").join(COMMITS[0]);
    std::fs::remove_file(snapshot.join("data/train-00000-of-00003.parquet")).unwrap();
    let error = fixture.open_with(&offline, rows(2)).unwrap_err();
    assert!(error.contains("not in the cache"), "{error}");
}

#[test]
fn a_data_set_of_another_format_is_read_from_what_was_converted() {
    let tars = || files(&[("0000.tar", vec![1; 100]), ("0001.tar", vec![2; 100])]);
    let converted = files(&[
        ("default/train/0000.parquet", parquet(&["a"])),
        ("default/train/0001.parquet", parquet(&["b"])),
        ("other/train/0000.parquet", parquet(&["c"])),
    ]);
    let fixture = Fixture::new(tars(), Some(converted));
    assert_eq!(captions(&fixture.open(DatasetOptions::default()).unwrap()), ["a", "b"]);
    assert_eq!(fixture.fetched(), ["default/train/0000.parquet", "default/train/0001.parquet"]);
    let other = DatasetOptions { config_name: Some("other"), ..DatasetOptions::default() };
    assert_eq!(captions(&fixture.open(other).unwrap()), ["c"]);
    let offline = fixture.open_with(&fixture.hub().offline(true), DatasetOptions::default());
    assert_eq!(captions(&offline.unwrap()), ["a", "b"]);
    let error = Fixture::new(tars(), None).open(DatasetOptions::default()).unwrap_err();
    assert!(error.starts_with("someone/pairs: ") && error.contains("webdataset"), "{error}");
}

#[test]
fn a_folder_of_pictures_is_downloaded_as_far_as_its_rows_go() {
    let line =
        |image: &str| json!({ "file_name": image, "conditioning_image": "c.png", "text": "x" }).to_string() + "\n";
    let with = |second: &str| {
        let table = line("1.png") + &line(second);
        let pictures = ["1.png", "2.png", "3.png", "c.png"].map(|name| (format!("train/{name}"), name.into()));
        [vec![("train/metadata.jsonl".to_string(), table.into_bytes())], pictures.to_vec()].concat()
    };
    let fixture = Fixture::new(with("2.png"), None);
    fixture.open(rows(1)).unwrap();
    assert_eq!(fixture.fetched(), ["train/metadata.jsonl", "train/1.png", "train/c.png"]);
    let data = fixture.open(DatasetOptions::default()).unwrap();
    assert_eq!(data.train.row(1).unwrap().image.bytes().unwrap(), b"2.png");
    let outside = tempfile::NamedTempFile::new().unwrap();
    for hostile in ["absent.png", "../../../../x.png", outside.path().to_str().unwrap()] {
        let error = Fixture::new(with(hostile), None).open(DatasetOptions::default()).unwrap_err();
        assert!(error.contains("metadata.jsonl, row 2: ") && error.contains("no file of the data set"), "{error}");
    }
}

#[test]
fn errors_name_the_data_set() {
    let readme = |text: &str| files(&[("README.md", text.into()), ("x.parquet", parquet(&["a"]))]);
    for (main, reason) in [
        (readme("---\na: [\n---\n"), "someone/pairs/README.md: broken YAML"),
        (readme("---\nconfigs:\n- config_name: a\n- config_name: b\n---\n"), "give one of: a, b"),
        (readme("---\nconfigs:\n- config_name: a\n  data_files: ../x\n---\n"), "README.md: configuration `a`"),
        (files(&[("pairs.py", b"code".to_vec())]), "someone/pairs: holds neither"),
    ] {
        let error = Fixture::new(main, None).open(DatasetOptions::default()).unwrap_err();
        assert!(error.contains(reason) && error.lines().count() == 1, "{error}");
    }
    // Rows from elsewhere name no files of this machine.
    let paths = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/training/paths.parquet");
    let fixture = Fixture::new(files(&[("x.parquet", std::fs::read(paths).unwrap())]), None);
    let error = fixture.open(DatasetOptions::default()).unwrap().train.row(0).unwrap_err().to_string();
    assert!(error.contains("row 1: `image` is the path of a picture"), "{error}");
    let folder = tempfile::tempdir().unwrap().path().join("absent");
    let data = open_source(&Source::from(&folder), &Hub::default(), DatasetOptions::default(), &Columns::default());
    assert!(data.unwrap_err().to_string().contains("absent: no such parquet file or folder"));
}
