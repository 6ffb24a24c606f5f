//! Edges against OpenCV.

use cogview4::{CannyDetector, open_image};
use image::RgbImage;

use crate::support::{fixtures, json};

fn open(name: &str) -> RgbImage {
    open_image(fixtures().join("canny").join(name)).unwrap()
}

#[test]
fn not_one_pixel_differs_at_native_size() {
    for case in json("canny/cases.json").as_array().unwrap() {
        let name = case["image"].as_str().unwrap();
        let image = match name {
            "photo" => open_image(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/chelsea.png")).unwrap(),
            _ => open(&format!("{name}.png")),
        };
        let short_side = image.width().min(image.height());
        let detector = CannyDetector {
            low_threshold: case["low"].as_f64().unwrap(),
            high_threshold: case["high"].as_f64().unwrap(),
            detect_resolution: short_side,
            image_resolution: short_side,
        };
        let edges = detector.detect(&image).unwrap();
        assert!(edges == open(case["edges"].as_str().unwrap()), "{case}");
    }
}

#[test]
fn sizes_and_interpolations_of_controlnet_aux() {
    for case in json("canny/resized.json").as_array().unwrap() {
        let side = |key: &str| case[key].as_u64().unwrap() as u32;
        let detector = CannyDetector {
            detect_resolution: side("detect_resolution"),
            image_resolution: side("image_resolution"),
            ..CannyDetector::default()
        };
        let edges = detector.detect(&open(&format!("resized-{}-input.png", case["index"]))).unwrap();
        let expected = open(&format!("resized-{}-edges.png", case["index"]));
        assert_eq!(edges.dimensions(), expected.dimensions(), "{case}");
        let differing = edges.pixels().zip(expected.pixels()).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 0, "{case}");
    }
}

#[test]
fn resolutions_that_leave_no_picture_are_refused() {
    let image = RgbImage::new(64, 64);
    for (detect_resolution, image_resolution, culprit) in
        [(0, 64, "detect_resolution"), (64, 20, "image_resolution"), (1 << 20, 64, "detect_resolution")]
    {
        let detector = CannyDetector { detect_resolution, image_resolution, ..CannyDetector::default() };
        let error = detector.detect(&image).unwrap_err().to_string();
        assert!(error.starts_with(culprit), "{error}");
    }
    let detector = CannyDetector { low_threshold: f64::NAN, ..CannyDetector::default() };
    assert!(detector.detect(&image).is_err());
}
