//! The model card that a run leaves, as people and programs read it.

use std::{fs, path::Path, process::Command};

use cogview4_control_pipeline::load_image;

use crate::support::{Workplace, assets};

/// Breaks what is not escaped, and is a prompt all the same.
const PROMPT: &str = "a \"red\" square: it's <b>big</b> | `on` #1 \\ ground";

const PAIRS: &[&str] = &[
    "--validation_prompt",
    PROMPT,
    "--validation_image",
    "1-edges.png",
    "--validation_steps",
    "3",
    "--num_validation_images",
    "2",
];

fn card(workplace: &Workplace) -> String {
    fs::read_to_string(workplace.path("out/README.md")).unwrap()
}

#[test]
fn every_run_leaves_a_card_and_one_that_goes_on_writes_all_of_it_anew() {
    let workplace = Workplace::new();
    let run = |steps: &str, more: &[&str]| {
        let flags = ["--max_train_steps", steps, "--checkpointing_steps", "2", "--report_to", "none"];
        workplace.succeeds(&[PAIRS, &flags, more].concat());
    };
    run("2", &[]);
    let first = card(&workplace);
    assert!(first.starts_with("---\n") && first.contains("in 2 steps on 11 pairs") && first.contains("| `seed` | 7 |"));
    let command = "```sh\ntrain_control_cogview4 \\\n    --pretrained_model_name_or_path ";
    assert!(first.contains(command) && !first.contains(env!("CARGO_BIN_EXE_train_control_cogview4")), "{first}");
    assert!(
        first.contains("--validation_prompt 'a \"red\" square: it'\\''s <b>big</b> | `on` #1 \\ ground'"),
        "{first}"
    );
    run("4", &["--resume_from_checkpoint", "latest"]);
    let second = card(&workplace);
    assert!(second.contains("in 4 steps on 11 pairs") && second.contains("--resume_from_checkpoint latest"));
    let svg = fs::read_to_string(workplace.path("out/training.svg")).unwrap();
    let shows = |step: usize| svg.contains(&format!(">\n{step}\n</text>"));
    assert!(shows(1) && shows(4), "the curves begin where the run began: {svg}");
    let drawn = |name: &str| load_image(workplace.path(&format!("out/{name}.png")).to_str().unwrap()).unwrap();
    let [picture, both] = ["validation/step-4-1-1", "images_0"].map(drawn);
    let left = image::imageops::crop_imm(&both, 0, 0, picture.width(), picture.height()).to_image();
    assert!(left == picture && both.width() == 2 * picture.width());
    assert_eq!(drawn("image_control_0").dimensions(), picture.dimensions());

    fs::write(workplace.path("out/README.md"), "# Mine\n").unwrap();
    run("5", &["--resume_from_checkpoint", "latest"]);
    assert_eq!(card(&workplace), "# Mine\n");
    assert!(fs::read_to_string(workplace.path("out/README.generated.md")).unwrap().contains("in 5 steps"));
}

#[test]
fn urls_are_kept_without_their_secrets() {
    let workplace = Workplace::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let picture = workplace.bytes("1-edges.png");
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", picture.len());
        stream.write_all(&[head.as_bytes(), &picture].concat()).unwrap();
    });
    let url = format!("http://127.0.0.1:{port}/a.png?signature=s3cret");
    workplace.succeeds(&["--validation_prompt", "a square", "--validation_image", &url, "--max_train_steps", "1"]);
    server.join().unwrap();
    for file in ["README.md", "report.html", "training.svg", "validation.jsonl"] {
        let text = fs::read_to_string(workplace.path("out").join(file)).unwrap();
        assert!(!text.contains("s3cret"), "{file}");
    }
    assert!(card(&workplace).contains(&format!("--validation_image http://127.0.0.1:{port}/a.png")));
}

/// A Python that has diffusers: `REFERENCE_PYTHON`, else `python3`.
fn python() -> Command {
    Command::new(std::env::var_os("REFERENCE_PYTHON").unwrap_or_else(|| "python3".into()))
}

#[test]
#[cfg(unix)]
#[ignore = "needs Python with diffusers"]
fn python_reads_the_card_and_runs_its_program() {
    let mut python = python();
    let workplace = Workplace::new();
    std::os::unix::fs::symlink(assets().join("demo"), workplace.path("demo")).unwrap();
    let flags =
        ["--pretrained_model_name_or_path", "demo", "--transformer", "demo/base_transformer", "--resolution", "64"];
    workplace.succeeds(&[PAIRS, &flags].concat());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_card.py");
    python.current_dir(workplace.path("")).arg(script).args(["out/README.md", PROMPT]);
    let output = python.env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let picture = load_image(workplace.path("cogview4.png").to_str().unwrap()).unwrap();
    assert_eq!(picture.dimensions(), (64, 64));
}
