//! `train_control_cogview4 check` on a set of 200 pairs, as it is and with planted faults.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use cogview4_control_pipeline::{CannyDetector, Filter, encode_png, resize};
use cogview4_data::{Draws, Stream};
use image::{Rgb, RgbImage};

use crate::support::{Workplace, fixtures};

const ROWS: usize = 200;
const SIDE: u32 = 64;

/// A row before it is written: encoded pictures, and the caption.
struct Pair {
    image: Option<Vec<u8>>,
    control: Option<Vec<u8>>,
    caption: String,
}

/// Discs and boxes of random colours.
fn shapes(row: usize) -> RgbImage {
    let mut draws = Draws::new(11, Stream::Noise, row as u64);
    let mut picture = RgbImage::from_pixel(SIDE, SIDE, Rgb([0; 3].map(|_: u8| draws.below(256) as u8)));
    for _ in 0..3 {
        let colour = Rgb([0; 3].map(|_: u8| draws.below(256) as u8));
        let [x, y, size] = [SIDE, SIDE, 14].map(|bound| draws.below(bound as usize) as i64);
        let (size, is_disc) = (size + 8, draws.below(2) == 0);
        for (column, line, pixel) in picture.enumerate_pixels_mut() {
            let (dx, dy) = (i64::from(column) - x, i64::from(line) - y);
            let inside =
                if is_disc { dx * dx + dy * dy < size * size } else { dx.abs() < size && dy.abs() < size / 2 + 4 };
            if inside {
                *pixel = colour;
            }
        }
    }
    picture
}

fn edges(picture: &RgbImage) -> RgbImage {
    CannyDetector { detect_resolution: SIDE, image_resolution: SIDE, ..CannyDetector::default() }
        .detect(picture)
        .unwrap()
}

fn clean(row: usize) -> Pair {
    let picture = shapes(row);
    Pair {
        control: Some(encode_png(&edges(&picture))),
        image: Some(encode_png(&picture)),
        caption: format!("shapes, number {row}"),
    }
}

fn moved(image: &RgbImage, right: u32, down: u32) -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        if x < right || y < down { Rgb([0; 3]) } else { *image.get_pixel(x - right, y - down) }
    })
}

/// Every kind of fault, at these rows.
fn faults() -> BTreeMap<&'static str, Vec<usize>> {
    [
        ("unreadable", vec![3, 77, 120]),
        ("tiny picture", vec![8, 199]),
        ("sizes differ", vec![15, 101]),
        ("empty caption", vec![0, 60]),
        ("long caption", vec![21, 144]),
        ("duplicate", vec![30, 31, 90, 95]),
        ("constant picture", vec![181]),
        ("constant control", vec![40, 150]),
        ("control is the picture", vec![44, 45]),
        ("picture and control exchanged", vec![50, 170]),
        ("control shifted", vec![55, 111, 190]),
        ("control of another picture", vec![66, 133, 160]),
    ]
    .into()
}

fn spoil(kind: &str, row: usize, pairs: &mut [Pair]) {
    let [smaller, other] = [shapes(row), shapes(row + 300)].map(|picture| resize(&picture, 9, 9, Filter::Bilinear));
    let picture = shapes(row);
    let pair = &mut pairs[row];
    match kind {
        "unreadable" if row == 3 => pair.image = None,
        "unreadable" if row == 77 => pair.control = Some(b"no picture".into()),
        "unreadable" => pair.image.as_mut().unwrap().truncate(100),
        "tiny picture" => (pair.image, pair.control) = (Some(encode_png(&smaller)), Some(encode_png(&other))),
        "sizes differ" => pair.control = Some(encode_png(&resize(&edges(&picture), SIDE, SIDE + 8, Filter::Bilinear))),
        "empty caption" => pair.caption = " \n".repeat(row / 60),
        "long caption" => pair.caption = "far too many words ".repeat(100),
        "duplicate" if row % 5 == 1 || row == 95 => {
            let original = clean(if row == 31 { 30 } else { 90 });
            (pair.image, pair.control) = (original.image, original.control);
        }
        "duplicate" => {}
        "constant picture" => pair.image = Some(encode_png(&RgbImage::from_pixel(SIDE, SIDE, Rgb([7, 90, 3])))),
        "constant control" => pair.control = Some(encode_png(&RgbImage::new(SIDE, SIDE))),
        "control is the picture" => pair.control = pair.image.clone(),
        "picture and control exchanged" => std::mem::swap(&mut pair.image, &mut pair.control),
        "control shifted" => pair.control = Some(encode_png(&moved(&edges(&picture), 7, (row % 3) as u32 * 4))),
        "control of another picture" => pair.control = clean(row + 500).control,
        other => panic!("{other}"),
    }
}

fn write(workplace: &Workplace, pairs: &[Pair]) {
    let mut lines = String::new();
    for (row, pair) in pairs.iter().enumerate() {
        for (name, bytes) in [(format!("p{row}.png"), &pair.image), (format!("c{row}.png"), &pair.control)] {
            let _ = fs::remove_file(workplace.path(&name));
            if let Some(bytes) = bytes {
                fs::write(workplace.path(&name), bytes).unwrap();
            }
        }
        let names = [format!("p{row}.png"), format!("c{row}.png")];
        let line = serde_json::json!({ "image": names[0], "conditioning_image": names[1], "text": pair.caption });
        lines.push_str(&format!("{line}\n"));
    }
    fs::write(workplace.path("pairs.jsonl"), lines).unwrap();
}

/// Runs the check and gives its exit status, and the rows by kind.
fn check(workplace: &Workplace) -> (bool, BTreeMap<String, BTreeSet<usize>>) {
    let pipeline = fixtures().join("plain");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"))
        .current_dir(workplace.path(""))
        .args(["check", "--jsonl_for_train", "pairs.jsonl", "--output_dir", "checked", "--resolution", "64"])
        .args(["--pretrained_model_name_or_path", pipeline.to_str().unwrap()])
        .output()
        .unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let mut found: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for line in table.lines().filter_map(|line| line.strip_prefix("row ")) {
        let mut parts = line.splitn(3, ": ");
        let row: usize = parts.next().unwrap().parse().unwrap();
        found.entry(parts.next().unwrap().into()).or_default().insert(row - 1);
    }
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() || error.starts_with("error: ") && error.trim_end().lines().count() == 1,
        "{error}"
    );
    (output.status.success(), found)
}

#[test]
fn every_planted_fault_is_found_and_nothing_else() {
    let workplace = Workplace::new();
    let mut pairs: Vec<Pair> = (0..ROWS).map(clean).collect();
    write(&workplace, &pairs);
    assert_eq!(check(&workplace), (true, BTreeMap::new()));

    for (kind, rows) in faults() {
        rows.iter().for_each(|&row| spoil(kind, row, &mut pairs));
    }
    write(&workplace, &pairs);
    let (is_clean, found) = check(&workplace);
    let expected: BTreeMap<String, BTreeSet<usize>> =
        faults().into_iter().map(|(kind, rows)| (kind.into(), rows.into_iter().collect())).collect();
    assert_eq!(found, expected);
    assert!(!is_clean);
    let page = String::from_utf8(workplace.bytes("checked/check.html")).unwrap();
    for kind in expected.keys() {
        assert!(page.contains(&format!("{kind} (")), "{kind}");
    }
    assert!(!page.contains("src=\"http") && page.matches("data:image/png").count() > 40);
    assert!(!workplace.path("checked/metrics.jsonl").exists());
}

#[test]
fn sets_of_figures_and_poses_are_clean() {
    let workplace = Workplace::new();
    let figures = crate::support::assets().join("figures.parquet");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"))
        .current_dir(workplace.path(""))
        .args(["check", "--dataset_name", figures.to_str().unwrap(), "--resolution", "64"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("160 rows, 0 with findings") && table.contains("no tokenizer was given"), "{table}");
}

#[test]
fn its_flags_are_checked_too() {
    let workplace = Workplace::new();
    for (flags, culprit) in [
        (&["check"][..], "--dataset_name"),
        (&["check", "--dataset_name", "absent"], "absent"),
        (&["check", "--jsonl_for_train", "train.jsonl", "--resolution", "40"], "--resolution"),
        (&["check", "--jsonl_for_train", "train.jsonl", "--pretrained_model_name_or_path", "absent"], "absent"),
        (&["check", "--jsonl_for_train", "train.jsonl", "--unknown"], "--unknown"),
        (&["chekc"], "chekc"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"))
            .current_dir(workplace.path(""))
            .args(flags)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.starts_with("error: "), "{flags:?}: {error}");
        assert!(error.contains(culprit) && error.trim_end().lines().count() == 1, "{error}");
    }
}
