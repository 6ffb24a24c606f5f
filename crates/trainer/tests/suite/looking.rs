//! What a person sees of a run: TensorBoard's files through its own reader, and `report.html` in a browser. Both need
//! programs that are not part of the tests' own requirements, so they are run by `cargo xtask ci` only.

use std::{fs, path::Path, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use cogview4_control_pipeline::{decode_image, load_image};
use image::{Rgb, RgbImage};

use crate::support::Workplace;

const PROMPTS: [&str; 2] = ["a square of \"steel\" & <iron>", "another one"];
/// A control image that is easily found on a screen.
const MARK: Rgb<u8> = Rgb([255, 0, 200]);
/// Side of the pictures on the page, and the gap between them.
const SHOWN: u32 = 192;
const GAP: u32 = 10;

/// A run of six steps that was cut off after four, with validation at 3 and 6.
fn run() -> Workplace {
    let workplace = Workplace::new();
    RgbImage::from_pixel(32, 32, MARK).save(workplace.path("mark.png")).unwrap();
    let flags = |steps: &'static str| {
        let mut flags = vec!["--max_train_steps", steps, "--checkpointing_steps", "2", "--validation_steps", "3"];
        flags.extend(["--validation_prompt", PROMPTS[0], PROMPTS[1], "--validation_image", "mark.png"]);
        flags.extend(["--resume_from_checkpoint", "latest", "--log_dataset_samples"]);
        flags
    };
    workplace.succeeds(&flags("5"));
    workplace.succeeds(&flags("6"));
    workplace
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs Python with tensorboard"]
fn tensorboard_reads_every_scalar_and_picture() {
    let workplace = run();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_events.py");
    let folder = workplace.path("out/logs/cogview4_train_control");
    let found = output(Command::new("python3").arg(script).arg(&folder));
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let check = |tag: &str, lines: &[serde_json::Value], key: &str| {
        let scalars = found["scalars"][tag].as_array().unwrap_or_else(|| panic!("{tag} is not there"));
        assert_eq!(scalars.len(), lines.len(), "{tag}");
        for (scalar, line) in scalars.iter().zip(lines) {
            assert_eq!(scalar[0], line["step"], "{tag}");
            let (scalar, expected) = (scalar[1].as_f64().unwrap(), line[key].as_f64().unwrap());
            assert!((scalar - expected).abs() <= 1e-6 * expected.abs(), "{tag}: {scalar} {expected}");
        }
    };
    let metrics = workplace.json_lines("out/metrics.jsonl");
    for key in ["loss", "lr", "grad_norm"] {
        check(key, &metrics, key);
    }
    let validations = workplace.json_lines("out/validation.jsonl");
    assert_eq!(validations.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 3, 6]);
    for key in ["loss_true", "loss_shuffled", "loss_zero", "control_gain", "control_norm"] {
        check(&format!("validation/{key}"), &validations, key);
    }
    for validation in &validations[1..] {
        for image in validation["images"].as_array().unwrap() {
            let tag = format!("validation/{}/{}", image["pair"], image["repeat"]);
            let events = found["images"][&tag].as_array().unwrap();
            let event = events.iter().find(|event| event[0] == validation["step"]).unwrap();
            let picture = decode_image(BASE64_STANDARD.decode(event[1].as_str().unwrap()).unwrap()).unwrap();
            let file = workplace.path("out").join(image["file"].as_str().unwrap());
            assert!(picture == load_image(file.to_str().unwrap()).unwrap(), "{tag}");
        }
    }
    assert_eq!(found["images"].as_object().unwrap().keys().filter(|tag| tag.starts_with("dataset/")).count(), 8);
    assert!(found["texts"]["config/text_summary"][0].as_str().unwrap().contains("\"resolution\": 32"));
}

#[test]
#[ignore = "needs chromium"]
fn a_browser_shows_the_report_without_a_network() {
    let workplace = run();
    let page = fs::read_to_string(workplace.path("out/report.html")).unwrap();
    for source in page.split("src=\"").chain(page.split("href=\"")).filter(|part| !part.starts_with("<!DOCTYPE")) {
        assert!(source.starts_with("data:"), "{}", &source[..40]);
    }
    let browser = || {
        let mut command = Command::new("chromium");
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,3600"]);
        command.args(["--proxy-server=127.0.0.1:9", "--force-device-scale-factor=1"]);
        command.current_dir(workplace.path("out"));
        command
    };
    let dom = output(browser().args(["--dump-dom", "report.html"]));
    for text in [
        "a square of \"steel\" &amp; &lt;iron&gt;",
        PROMPTS[1],
        "CogView4 Control: finished",
        "Control gain",
        "Step 3",
        "Step 6",
        "Samples of the data set",
        "square number 1",
    ] {
        assert!(dom.contains(text), "{text}");
    }
    // Loss, gain, learning rate, norm, probe, memory, control weights.
    assert_eq!(dom.matches("<svg").count(), 7);
    output(browser().args(["--screenshot=screen.png", "report.html"]));
    let screen = load_image(workplace.path("out/screen.png").to_str().unwrap()).unwrap();
    let lines = screen.pixels().filter(|pixel| pixel.0 == [42, 111, 219]).count();
    assert!(lines > 1000, "{lines} pixels of lines in the plots");

    // Beside each control image stands what was drawn with it, the newest step first.
    // Corners are rounded, so edges are looked for at the middle of the sides.
    let half = SHOWN / 2;
    let mark = |x: u32, y: u32| *screen.get_pixel(x, y) == MARK;
    let is_control =
        |x: u32, y: u32| mark(x, y + half) && !mark(x - 1, y + half) && mark(x + half, y) && !mark(x + half, y - 1);
    let (width, height) = screen.dimensions();
    let mut places = Vec::new();
    for y in 1..height - SHOWN {
        places.extend((1..width - 2 * SHOWN - GAP).filter(|&x| is_control(x, y)).map(|x| (x + SHOWN + GAP, y)));
    }
    let drawn = ["step-6-1-1", "step-6-2-1", "step-3-1-1", "step-3-2-1"];
    assert_eq!(places.len(), drawn.len(), "{places:?}");
    for (name, (left, top)) in drawn.iter().zip(places) {
        let picture = load_image(workplace.path(&format!("out/validation/{name}.png")).to_str().unwrap()).unwrap();
        let shown = image::imageops::crop_imm(&screen, left + 8, top + 8, SHOWN - 16, SHOWN - 16).to_image();
        for channel in 0..3 {
            let mean = |image: &RgbImage| {
                image.pixels().map(|pixel| f64::from(pixel.0[channel])).sum::<f64>()
                    / f64::from(image.width() * image.height())
            };
            assert!((mean(&picture) - mean(&shown)).abs() < 8.0, "{name}: {} {}", mean(&picture), mean(&shown));
        }
    }
}
