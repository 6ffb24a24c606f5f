//! The card of a data set: paths one a line, the configuration asked for (none where it is empty), and `README.md`.
#![no_main]

use cogview4_data::{DatasetFiles, choose_converted_files, choose_files, parse_yaml};
use cogview4_fuzz::{parts, said, target};

target!(read);

fn read(data: &[u8]) {
    let texts: Vec<_> = parts(data, 3).into_iter().map(String::from_utf8_lossy).collect();
    let readme = texts.last().expect("one part at least");
    said(parse_yaml(readme));
    let lines = |text: &str| text.lines().map(String::from).collect::<Vec<_>>();
    let paths = match texts.len() {
        1 => lines("data/train-00000-of-00001.parquet\ndata/test.parquet\ntrain/metadata.jsonl\npose/metadata.csv"),
        _ => lines(&texts[0]),
    };
    let config = texts.get(1).filter(|config| texts.len() == 3 && !config.is_empty()).map(|config| &**config);
    for config in [None, config] {
        check(&paths, said(choose_files(&paths, Some(readme), config)));
        check(&paths, said(choose_files(&paths, None, config)));
        check(&paths, said(choose_converted_files(&paths, config)));
    }
}

fn check(paths: &[String], chosen: Option<DatasetFiles>) {
    let Some(chosen) = chosen else { return };
    let held_out = said(chosen.held_out).flatten().unwrap_or_default();
    assert!(!chosen.train.is_empty());
    assert!(chosen.train.iter().chain(&held_out).all(|path| paths.contains(path)));
}
