//! Sets of every kind, at several sizes: made here, photographs, and the repository's own.

use std::path::Path;

use cogview4_data::{Columns, open_dataset};
use image::{Rgb, imageops};

use super::*;
use crate::metrics::Fidelity;

const COUNT: u32 = 12;
const CANNY: Measure = Measure::Edges(CannyDetector {
    low_threshold: 100.0,
    high_threshold: 200.0,
    detect_resolution: 512,
    image_resolution: 512,
});

fn assets() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets"))
}

/// A number from 0 to 1 for a place and a picture.
fn noise(number: u32, salt: u32) -> f32 {
    (number.wrapping_mul(2_654_435_761) ^ salt.wrapping_mul(40_503)).wrapping_mul(2_246_822_519) as f32
        / u32::MAX as f32
}

/// Coloured discs and boxes on a ground.
fn scene(number: u32, side: u32) -> RgbImage {
    let colour = |shape: u32| [0, 1, 2].map(|channel| (255.0 * noise(number, 7 * shape + channel)) as u8);
    RgbImage::from_fn(side, side, |x, y| {
        let [x, y] = [x, y].map(|at| (at as f32 + 0.5) / side as f32);
        let shape = (1..6).rev().find(|shape| {
            let at = |salt| noise(number, 100 + 10 * shape + salt);
            let (dx, dy, radius) = (x - at(0), y - at(1), 0.06 + 0.16 * at(2));
            if shape % 2 == 0 { dx.hypot(dy) < radius } else { dx.abs().max(dy.abs()) < radius }
        });
        Rgb(colour(shape.unwrap_or(0)))
    })
}

fn scenes(side: u32) -> Vec<RgbImage> {
    (0..COUNT).map(|number| scene(number, side)).collect()
}

/// Parts of a photograph.
fn photographs(side: u32) -> Vec<RgbImage> {
    let photograph = image::open(assets().join("chelsea.png")).expect("a photograph").to_rgb8();
    let (width, height) = photograph.dimensions();
    let part = |number: u32| {
        let length = height / 2;
        let at = |salt, longest: u32| (noise(number, salt) * (longest - length) as f32) as u32;
        let part = imageops::crop_imm(&photograph, at(1, width), at(2, height), length, length).to_image();
        resize(&part, side, side, Filter::Lanczos)
    };
    (0..COUNT).map(part).collect()
}

/// The drawings beside the demo, of which six are enough.
fn drawings() -> Vec<RgbImage> {
    let open = |name| image::open(assets().join(format!("demo/drawings/{name}.png"))).expect("a drawing").to_rgb8();
    ["balloon", "boot", "fox", "horse", "seedling", "star"].into_iter().map(open).collect()
}

fn canny(image: &RgbImage) -> RgbImage {
    CannyDetector::default().edges(image)
}

fn through(image: &RgbImage, small: u32) -> RgbImage {
    let reduced = resize(image, small, small, Filter::Bilinear);
    resize(&reduced, image.width(), image.height(), Filter::Bilinear)
}

fn map(image: &RgbImage, pixel: impl Fn([u8; 3]) -> [u8; 3]) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| Rgb(pixel(image.get_pixel(x, y).0)))
}

/// The kind that is found for pictures and what is made of each.
#[track_caller]
fn found(pictures: &[RgbImage], control: impl Fn(&RgbImage) -> RgbImage) -> ControlKind {
    let pairs: Vec<_> = pictures.iter().map(|picture| [picture.clone(), control(picture)]).collect();
    ControlKind::of(&pairs)
}

#[test]
fn edges_are_found_at_every_size() {
    for side in [64, 128, 256] {
        let kind = found(&scenes(side), canny);
        assert_eq!((kind.measure, kind.medians[0]), (Some(CANNY), 1.0), "{side}");
    }
    for side in [64, 256] {
        let inverted = |picture: &RgbImage| map(&canny(picture), |pixel| pixel.map(|value| u8::MAX - value));
        for pictures in [scenes(side), photographs(side)] {
            assert_eq!(found(&pictures, canny).measure, Some(CANNY), "{side}");
            assert_eq!(found(&pictures, inverted).measure, Some(CANNY), "{side}");
        }
    }
    assert_eq!(found(&drawings(), canny).measure, Some(CANNY));
    // Edges of a larger picture, shrunk with it: grey lines.
    let pairs: Vec<_> = scenes(256)
        .iter()
        .map(|picture| [picture.clone(), canny(picture)].map(|image| resize(&image, 64, 64, Filter::Bilinear)))
        .collect();
    assert_eq!(ControlKind::of(&pairs).measure, Some(CANNY));
}

#[test]
fn edges_of_other_thresholds_are_looked_for_with_these() {
    let detector = CannyDetector { low_threshold: 50.0, high_threshold: 100.0, ..CannyDetector::default() };
    let kind = found(&photographs(256), |picture| detector.edges(picture));
    assert_eq!(kind.measure, Some(Measure::Edges(detector)));
}

#[test]
fn copies_and_colours_are_found() {
    for side in [64, 256] {
        for pictures in [scenes(side), photographs(side)] {
            let grey = |picture: &RgbImage| {
                map(picture, |[r, g, b]| [((u32::from(r) + 2 * u32::from(g) + u32::from(b)) / 4) as u8; 3])
            };
            for kind in [
                found(&pictures, |picture| through(picture, 32)),
                found(&pictures, RgbImage::clone),
                found(&pictures, grey),
            ] {
                assert_eq!(kind.measure, Some(Measure::Blur), "{side} {kind}");
            }
            let cells = |picture: &RgbImage| {
                let cells = resize(picture, 8, 8, Filter::Bilinear);
                imageops::resize(&cells, side, side, imageops::FilterType::Nearest)
            };
            let kind = found(&pictures, cells);
            assert_eq!(kind.measure, Some(Measure::Colours), "{side} {kind}");
        }
    }
    // The colours of a row, turned upside down and in stripes, are a palette of it.
    let stripes = |picture: &RgbImage| {
        let small = resize(picture, 4, 4, Filter::Lanczos);
        let mut colours: Vec<[u8; 3]> = picture.pixels().step_by(97).map(|pixel| pixel.0).collect();
        colours.sort_unstable();
        colours.dedup();
        assert!(colours.len() < 40 && small.width() == 4);
        RgbImage::from_fn(picture.width(), picture.height(), |x, _| {
            Rgb(colours[(x as usize * colours.len()) / picture.width() as usize])
        })
    };
    assert_eq!(found(&scenes(128), stripes).measure, Some(Measure::Palette));
}

#[test]
fn of_other_kinds_nothing_is_measured() {
    let figures = open_dataset(&assets().join("figures.parquet"), &Columns::default()).expect("the figures");
    let figure = |row: usize| {
        let row = figures.row(row).expect("a row");
        [row.image, row.conditioning_image].map(|picture| picture.open().expect("a picture"))
    };
    let skeletons: Vec<_> = (0..32).map(|row| figure(row * figures.len() / 32)).collect();
    for side in [32, 64, 256] {
        let resized = |pair: &[RgbImage; 2]| [0, 1].map(|index| resize(&pair[index], side, side, Filter::Bilinear));
        let kind = ControlKind::of(&skeletons.iter().map(resized).collect::<Vec<_>>());
        assert_eq!(kind.measure, None, "skeletons of {side} pixels: {kind}");
        assert!(kind.to_string().starts_with("not measured, as the controls are not edges of their pictures"));
    }
    for side in [64, 256] {
        for pictures in [scenes(side), photographs(side)] {
            let bright = |[r, g, b]: [u8; 3]| u32::from(r) + u32::from(g) + u32::from(b);
            let mask = |picture: &RgbImage| map(picture, |pixel| [if bright(pixel) > 382 { 255 } else { 0 }; 3]);
            let classes = |picture: &RgbImage| {
                map(&through(picture, side / 4), |pixel| {
                    [[20, 180, 70], [200, 20, 150], [90, 90, 240], [240, 220, 30]][bright(pixel) as usize * 4 / 766]
                })
            };
            let depth = |picture: &RgbImage| {
                let far = through(picture, 8);
                RgbImage::from_fn(side, side, |x, y| {
                    let near = if bright(far.get_pixel(x, y).0) < 380 { 100 } else { 0 };
                    Rgb([(40 + 100 * y / side + near) as u8; 3])
                })
            };
            let black = |picture: &RgbImage| map(picture, |_| [0; 3]);
            for (name, kind) in [
                ("mask", found(&pictures, mask)),
                ("classes", found(&pictures, classes)),
                ("depth", found(&pictures, depth)),
                ("black", found(&pictures, black)),
                ("negative", found(&pictures, |picture| map(picture, |pixel| pixel.map(|value| u8::MAX - value)))),
            ] {
                assert_eq!(kind.measure, None, "{name} {side}: {kind}");
            }
            // Edges of other pictures.
            let pairs: Vec<_> = (0..pictures.len())
                .map(|row| [pictures[row].clone(), canny(&pictures[(row + 5) % pictures.len()])])
                .collect();
            assert_eq!(ControlKind::of(&pairs).measure, None, "shuffled {side}");
        }
    }
    assert_eq!(found(&scenes(64)[..1], canny).to_string(), "not measured, as one row is too few to compare");
    assert_eq!(found(&[], canny).measure, None);
}

#[test]
fn generated_pictures_are_measured_as_the_kind_asks() {
    let pictures = scenes(64);
    let fidelity =
        |measure: Measure, control: &RgbImage, other: Option<&RgbImage>| measure.fidelity(&pictures[0], control, other);
    let [own, other] = [canny(&pictures[0]), canny(&pictures[1])];
    let edges = fidelity(CANNY, &own, Some(&other));
    assert_eq!([edges.edge_precision, edges.edge_recall, edges.edge_f1], [Some(1.0); 3]);
    assert!(edges.edge_f1_shuffled.is_some_and(|f1| f1 < 0.7) && edges.blur_ssim.is_none());
    // A photograph where an edge map is expected.
    assert_eq!(fidelity(CANNY, &pictures[0], Some(&other)), Fidelity::default());
    let blur = fidelity(Measure::Blur, &through(&pictures[0], 32), Some(&pictures[1]));
    assert!(blur.blur_ssim > Some(0.9) && blur.blur_ssim_shuffled < Some(0.7) && blur.edge_f1.is_none());
    let colours = fidelity(Measure::Colours, &through(&pictures[0], 8), None);
    assert!(colours.colour_distance < Some(8.0) && colours.colour_distance_shuffled.is_none());
    let mean = Fidelity::mean([edges, blur, Fidelity { edge_f1: Some(0.5), ..Fidelity::default() }].iter());
    assert_eq!((mean.edge_f1, mean.blur_ssim, mean.colour_distance), (Some(0.75), blur.blur_ssim, None));
}
