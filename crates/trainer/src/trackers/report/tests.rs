//! The page as text; a browser looks at it in the tests of the binary.

use image::{Rgb, RgbImage};

use super::*;
use crate::{
    metrics::{Fidelity, ValidationImage},
    validation::ControlPicture,
};

fn metrics(step: usize) -> StepMetrics {
    let loss = 1.0 / step as f64;
    StepMetrics {
        step,
        loss,
        lr: 1e-3,
        grad_norm: 1.0,
        loss_z: None,
        grad_norm_z: None,
        samples_per_second: 2.0,
        mfu: None,
        peak_flops: None,
        kernel: None,
        peak_memory_bytes: 1 << 30,
        anon_memory_bytes: 3 << 28,
        data_seconds: 0.0,
        forward_seconds: 0.0,
        backward_seconds: 0.0,
        update_seconds: 0.0,
        save_seconds: 0.0,
        processes: None,
    }
}

fn validation(step: usize, file: &str) -> Validation {
    let image = ValidationImage {
        file: file.into(),
        pair: 1,
        repeat: 1,
        seed: 7,
        prompt: "a <b>fox</b>".into(),
        fidelity: Fidelity::default(),
    };
    Validation {
        step,
        loss_true: Some(0.5),
        loss_shuffled: Some(0.75),
        loss_zero: Some(0.6),
        control_gain: Some(0.5),
        control_norm: 0.1,
        fidelity: Fidelity::default(),
        controls: String::new(),
        probe: "8 training rows".into(),
        images: vec![image],
        seconds: 1.0,
    }
}

#[test]
fn a_report_shows_the_run_and_nothing_from_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let output_dir = folder.path().join("out");
    std::fs::create_dir_all(output_dir.join("validation")).expect("folders");
    let picture = RgbImage::from_pixel(8, 8, Rgb([9, 200, 30]));
    picture.save(folder.path().join("secret.png")).expect("a picture");
    picture.save(output_dir.join("validation/step-2-1-1.png")).expect("a picture");
    let controls = [ControlPicture { prompt: "a <b>fox</b>".into(), image: picture }];
    let shown = Shown { controls: &controls, samples: &[], rows: 8, seed: 7 };
    let config = TrainConfig::new("model", &output_dir);
    // Pictures outside the folder were never this run's.
    let earlier = Earlier {
        metrics: vec![metrics(1)],
        validations: vec![validation(1, "../secret.png"), validation(1, "http://127.0.0.1:9/a.png")],
    };
    let mut report = Report::new(&config, 10, &shown, earlier);
    report.step(&metrics(2)).expect("a step");
    report.validation(&validation(2, "validation/step-2-1-1.png")).expect("a validation");
    report.finish("finished").expect("the end");

    let html = std::fs::read_to_string(output_dir.join("report.html")).expect("the page");
    for text in [
        "CogView4 Control: finished",
        "2 / 10",
        "50.00 %",
        "0.81 GB",
        "1.07 GB",
        "8 training rows",
        "a &lt;b&gt;fox&lt;/b&gt;",
        "<svg",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("<b>fox") && !html.contains("http-equiv=\"refresh\""));
    // The control image and the one picture of the run.
    assert_eq!(html.matches("data:image/png;base64,").count(), 2);
}
