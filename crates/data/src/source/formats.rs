//! Which files hold rows that are read, and what to do about those that do not.

/// Whether a file holds rows: parquet, or a table of pictures beside it.
pub(super) fn holds_rows(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_table = |(stem, extension): (&str, &str)| {
        stem == "metadata" && (extension.eq_ignore_ascii_case("jsonl") || extension.eq_ignore_ascii_case("csv"))
    };
    has_extension(name, &["parquet"]) || name.rsplit_once('.').is_some_and(is_table)
}

pub(super) fn has_extension(name: &str, extensions: &[&str]) -> bool {
    let found = name.rsplit_once('.').map(|(_, extension)| extension);
    found.is_some_and(|found| extensions.iter().any(|extension| found.eq_ignore_ascii_case(extension)))
}

/// Formats of the Hub that are not read, the most telling first.
const OTHERS: &[(&[&str], &str)] = &[
    (&["arrow"], "`datasets.load_from_disk(FOLDER)[\"train\"].to_parquet(FILE)` makes parquet of it"),
    (&["tar"], "unpack the webdataset archives into a folder with `metadata.jsonl`, or make parquet of them"),
    (&["zip", "7z", "gz", "zst"], "unpack the archives into a folder with `metadata.jsonl`, or make parquet of them"),
    (&["jsonl", "ndjson"], "give the file itself as `jsonl_for_train`"),
    (&["json", "csv", "tsv", "txt"], "rows are read from parquet, or from `metadata.jsonl` beside the pictures"),
    (&["png", "jpg", "jpeg", "webp", "bmp"], "pictures need `metadata.jsonl` beside them, with a line for each pair"),
    (&["py"], "loading scripts are not run: `datasets.load_dataset(...).to_parquet(FILE)` makes parquet of it"),
];
/// Files of a repository that say nothing of its format.
const NO_DATA: &[&str] = &["config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];

/// Why files hold no rows that are read, and what to do.
pub(super) fn why_not(files: &[&str]) -> String {
    let what = "holds neither parquet files nor `metadata.jsonl` or `metadata.csv`";
    let name = |file: &str| file.rsplit('/').next().unwrap_or_default().to_string();
    let data: Vec<&str> = files.iter().copied().filter(|file| !NO_DATA.contains(&name(file).as_str())).collect();
    for (extensions, advice) in OTHERS {
        if let Some(file) = data.iter().find(|file| has_extension(&name(file), extensions)) {
            return format!("{what}, but {}: {advice}", name(file));
        }
    }
    what.into()
}
