use super::*;

fn choose(paths: &[&str], readme: Option<&str>, config: Option<&str>) -> Result<DatasetFiles> {
    choose_files(&paths.iter().map(|path| path.to_string()).collect::<Vec<_>>(), readme, config)
}

/// Training files and those held out, or the error.
fn chosen(paths: &[&str], readme: Option<&str>, config: Option<&str>) -> Result<(Vec<String>, Vec<String>), String> {
    let files = choose(paths, readme, config).map_err(|error| error.to_string())?;
    Ok((files.train, files.held_out.map_err(|error| error.to_string())?.unwrap_or_default()))
}

fn card(yaml: &str) -> String {
    format!("---\nlicense: mit\n{yaml}---\n# A data set\n")
}

/// Two configurations with splits, as `push_to_hub` writes them.
const TWO: &str = "configs:
- config_name: canny
  data_files:
  - split: train
    path: canny/train-*
  - split: test
    path: canny/test-*
- config_name: pose
  data_files:
  - split: validation
    path: [pose/val-*, pose/more.parquet]
  - split: train
    path:
    - pose/b/*
    - pose/a/**
";
const FILES: &[&str] = &[
    "README.md",
    ".gitattributes",
    "canny/train-00000-of-00002.parquet",
    "canny/train-00001-of-00002.parquet",
    "canny/test-00000-of-00001.parquet",
    "pose/a/x/2.parquet",
    "pose/b/1.parquet",
    "pose/b/notes.txt",
    "pose/more.parquet",
    "pose/val-0.parquet",
];

#[test]
fn configurations_are_those_of_the_readme() {
    let readme = card(TWO);
    let (train, held_out) = chosen(FILES, Some(&readme), Some("pose")).unwrap();
    assert_eq!(train, ["pose/b/1.parquet", "pose/a/x/2.parquet"], "in the order of the patterns");
    assert_eq!(held_out, ["pose/val-0.parquet", "pose/more.parquet"]);
    let (train, held_out) = chosen(FILES, Some(&readme), Some("canny")).unwrap();
    assert_eq!(train, ["canny/train-00000-of-00002.parquet", "canny/train-00001-of-00002.parquet"]);
    assert_eq!(held_out, ["canny/test-00000-of-00001.parquet"]);

    let error = chosen(FILES, Some(&readme), None).unwrap_err();
    assert_eq!(error, "dataset_config_name: the data set has several configurations, give one of: canny, pose");
    let error = chosen(FILES, Some(&readme), Some("depth")).unwrap_err();
    assert!(error.contains("no configuration `depth`") && error.contains("canny, pose"), "{error}");

    // The default is taken unasked: by its flag, by its name, or because it is the only one.
    for (from, to) in [("name: pose", "name: pose\n  default: true"), ("name: pose", "name: default")] {
        let (train, _) = chosen(FILES, Some(&readme.replace(from, to)), None).unwrap();
        assert_eq!(train[0], "pose/b/1.parquet");
    }
    let both = readme.replace("name: pose", "name: pose\n  default: true").replace("name: canny", "name: default");
    assert!(chosen(FILES, Some(&both), None).unwrap_err().contains("both `default` and `pose` are default"));
    let only = card("configs:\n- config_name: 2024\n  data_files: canny/test*\n");
    assert_eq!(chosen(FILES, Some(&only), None).unwrap().0, ["canny/test-00000-of-00001.parquet"]);
    assert_eq!(chosen(FILES, Some(&only), Some("2024")).unwrap().0.len(), 1);
}

#[test]
fn data_files_may_be_a_pattern_a_list_or_left_out() {
    let with = |yaml: &str| chosen(FILES, Some(&card(&format!("configs:\n- config_name: x\n{yaml}"))), None);
    assert_eq!(with("  data_files: 'pose/?/*.parquet'\n").unwrap().0, ["pose/b/1.parquet"]);
    assert_eq!(with("  data_files: [pose/more.parquet, pose/b/*, pose/**/1.parquet]\n").unwrap().0.len(), 2);
    let (train, held_out) = with("  data_dir: ./canny/\n").unwrap();
    assert_eq!((train.len(), held_out.len()), (2, 1));
    assert_eq!(with("  data_dir: pose\n  data_files: b/*\n").unwrap().0, ["pose/b/1.parquet"]);
    assert_eq!(with("  drop_labels: true\n").unwrap().0.len(), 2, "by name");
}

#[test]
fn without_configurations_names_decide() {
    for readme in [None, Some("# no front matter\n---\n"), Some("---\nlicense: mit\n---\n"), Some("---\nunclosed: [")] {
        assert_eq!(chosen(FILES, readme, Some("canny")).unwrap().0.len(), 2);
        assert_eq!(chosen(FILES, readme, Some("canny")).unwrap().1.len(), 1);
    }
    // A folder is a configuration; without one all folders are one data set.
    assert_eq!(chosen(&["a/x.parquet", "b/train.parquet"], None, Some("a")).unwrap().0, ["a/x.parquet"]);
    assert_eq!(chosen(&["a/x.parquet", "b/y.parquet"], None, None).unwrap().0.len(), 2);
    assert_eq!(chosen(&["a/x.parquet", "b/y.parquet"], None, Some("default")).unwrap().0.len(), 2);
    let error = chosen(&["a/x.parquet", "b/y.parquet", ".git/z.parquet"], None, Some("c")).unwrap_err();
    assert!(error.contains("`c`") && error.ends_with("its configurations are: a, b"), "{error}");
    let sharded = ["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "extra/train.parquet"];
    assert_eq!(
        chosen(&sharded, None, None).unwrap().0,
        ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
    );
    // What is trained on is never measured on.
    let (train, held_out) = chosen(&["train/test/a.parquet", "test/b.parquet"], None, None).unwrap();
    assert_eq!((train, held_out), (vec!["train/test/a.parquet".into()], vec!["test/b.parquet".to_string()]));
    let tables = ["train/metadata.jsonl", "train/1.png", "test/metadata.csv"];
    let (train, held_out) = chosen(&tables, None, None).unwrap();
    assert_eq!((train.concat(), held_out.concat()), ("train/metadata.jsonl".into(), "test/metadata.csv".into()));
}

#[test]
fn what_is_not_read_is_refused_with_what_to_do() {
    for (paths, reason) in [
        (&["data-00000-of-00001.arrow", "state.json", "dataset_info.json"][..], "load_from_disk"),
        (&["data/0000.tar", "data/0001.tar"], "webdataset"),
        (&["images.zip"], "unpack"),
        (&["my_set.py", "README.md"], "loading scripts are not run"),
        (&["train.jsonl"], "`jsonl_for_train`"),
        (&["a.png", "b.png"], "metadata.jsonl` beside them"),
        (&["README.md", ".gitattributes"], "neither parquet"),
        (&[], "neither parquet"),
        (&["data/test-00000-of-00001.parquet", "data/dev-00000-of-00001.parquet"], "its splits are: dev, test"),
    ] {
        let error = chosen(paths, None, None).unwrap_err();
        assert!(error.contains(reason) && !error.contains('\n'), "{error}");
    }
    let tars = card("configs:\n- config_name: x\n  data_files: '*.tar'\n");
    assert!(chosen(&["0.tar"], Some(&tars), None).unwrap_err().contains("webdataset"));
}

#[test]
fn a_broken_readme_is_refused_by_line_or_configuration() {
    let long = "a: ".to_string() + &"[".repeat(5000) + "\n";
    for (yaml, reason) in [
        ("configs: [\n", "broken YAML: line"),
        ("a: b: c\n", "broken YAML: line 3"),
        (&long, "broken YAML: line 3"),
        ("configs: yes please\n", "not a list"),
        ("configs:\n- data_files: x\n", "no `config_name`"),
        ("configs:\n- just text\n", "no `config_name`"),
        ("configs:\n- config_name: x\n  data_files: {train: a}\n", "`x`: `data_files` names no files"),
        ("configs:\n- config_name: x\n  data_files: []\n", "names no files"),
        ("configs:\n- config_name: x\n  data_files: [3]\n", "not a text"),
        ("configs:\n- config_name: x\n  data_files:\n  - split: a b\n    path: x\n", "no name"),
        ("configs:\n- config_name: x\n  data_files:\n  - split: a\n    path: x\n  - split: a\n    path: y\n", "twice"),
        ("configs:\n- config_name: x\n  data_files:\n  - split: test\n    path: x\n", "no split `train`"),
        ("configs:\n- config_name: x\n  data_files: absent.parquet\n", "no file `absent.parquet`"),
        ("configs:\n- config_name: x\n  data_files: absent/*\n", "no file is called `absent/*`"),
        ("configs:\n- config_name: x\n  data_files: [absent/*, 'no/**']\n", "no file is called `absent/*` or `no/**`"),
        ("configs:\n- config_name: x\n  data_files: ../../etc/*\n", "leads out of the data set"),
        ("configs:\n- config_name: x\n  data_files: /etc/passwd\n", "leads out of the data set"),
        ("configs:\n- config_name: x\n  data_files: https://host/x.parquet\n", "is an address"),
        ("configs:\n- config_name: x\n  data_dir: ../..\n", "`data_dir`"),
        ("configs:\n- config_name: x\n  data_files: a**b\n", "no pattern"),
    ] {
        let error = chosen(FILES, Some(&card(yaml)), None).unwrap_err();
        assert!(error.starts_with("README.md: ") && error.contains(reason), "{yaml}: {error}");
        assert!(error.lines().count() == 1 && error.len() < 300, "{error}");
    }
}

#[test]
fn what_is_not_trained_on_stops_no_training() {
    for (path, reason) in [("absent.parquet", "there is no file `absent.parquet`"), ("../x", "leads out")] {
        let readme = card(&format!(
            "configs:\n- config_name: other\n  data_files: ../x\n- config_name: default\n  data_files:\n  \
             - split: train\n    path: pose/b/*\n  - split: test\n    path: {path}\n"
        ));
        let files = choose(FILES, Some(&readme), None).unwrap();
        assert_eq!(files.train, ["pose/b/1.parquet"]);
        let error = files.held_out.unwrap_err().to_string();
        assert!(error.starts_with("README.md: configuration `default`: split `test`: "), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn converted_files_are_chosen_by_folder() {
    let paths = |paths: &[&str]| paths.iter().map(|path| path.to_string()).collect::<Vec<_>>();
    let one = paths(&["default/train/0001.parquet", "default/train/0000.parquet", "default/test/0000.parquet"]);
    let files = choose_converted_files(&one, None).unwrap();
    assert_eq!(files.train, ["default/train/0000.parquet", "default/train/0001.parquet"]);
    assert_eq!(files.held_out.unwrap().unwrap(), ["default/test/0000.parquet"]);
    let two = paths(&["pose/train/0000.parquet", "canny/train/0000.parquet", "x.txt"]);
    assert_eq!(choose_converted_files(&two, Some("pose")).unwrap().train, ["pose/train/0000.parquet"]);
    let error = choose_converted_files(&two, None).unwrap_err().to_string();
    assert!(error.ends_with("give one of: canny, pose"), "{error}");
    for (paths, config, reason) in [
        (paths(&["a/partial-train/0000.parquet"]), None, "only the beginning"),
        (paths(&["a/test/0000.parquet"]), None, "no split `train`"),
        (two, Some("depth"), "no configuration `depth`"),
        (Vec::new(), None, "no configurations"),
    ] {
        let error = choose_converted_files(&paths, config).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
