//! Names of colours, and turning one into another.

use image::{Rgba, RgbaImage};

/// Colours of the prompts.
pub(crate) const NAMES: [&str; 11] =
    ["red", "orange", "brown", "yellow", "green", "blue", "purple", "pink", "black", "gray", "white"];

/// Those with a hue, and how they look in drawings.
pub(crate) const HUES: [(&str, [u8; 3]); 7] = [
    ("red", [220, 50, 50]),
    ("orange", [240, 140, 40]),
    ("yellow", [250, 205, 60]),
    ("green", [110, 170, 70]),
    ("blue", [70, 150, 230]),
    ("purple", [150, 90, 200]),
    ("pink", [240, 120, 180]),
];

/// Opacity from which a pixel belongs to the drawing.
const OPAQUE: u8 = 128;
/// How much a pixel without hue counts beside one with.
const GRAY_WEIGHT: f32 = 0.4;

/// Hue in degrees, saturation and value in [0, 1].
pub(crate) fn to_hsv([r, g, b]: [u8; 3]) -> [f32; 3] {
    let [r, g, b] = [r, g, b].map(|channel| f32::from(channel) / 255.0);
    let (value, low) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = value - low;
    let sixth = if chroma == 0.0 {
        0.0
    } else if value == r {
        ((g - b) / chroma).rem_euclid(6.0)
    } else if value == g {
        (b - r) / chroma + 2.0
    } else {
        (r - g) / chroma + 4.0
    };
    [60.0 * sixth, if value == 0.0 { 0.0 } else { chroma / value }, value]
}

fn from_hsv([hue, saturation, value]: [f32; 3]) -> [u8; 3] {
    [5.0, 3.0, 1.0].map(|offset| {
        let k = (offset + hue / 60.0).rem_euclid(6.0);
        let channel = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (255.0 * channel).round() as u8
    })
}

/// The name of a colour.
pub(crate) fn name(rgb: [u8; 3]) -> &'static str {
    let [hue, saturation, value] = to_hsv(rgb);
    match hue {
        _ if value < 0.2 => "black",
        _ if saturation < 0.15 && value > 0.85 => "white",
        _ if saturation < 0.15 => "gray",
        _ if !(20.0..300.0).contains(&hue) && saturation < 0.55 && value > 0.7 => "pink",
        15.0..42.0 if value < 0.65 => "brown",
        15.0..42.0 => "orange",
        42.0..68.0 => "yellow",
        68.0..165.0 => "green",
        165.0..260.0 => "blue",
        260.0..300.0 => "purple",
        300.0..345.0 => "pink",
        _ => "red",
    }
}

/// The name that most of a drawing has.
pub(crate) fn dominant(drawing: &RgbaImage) -> &'static str {
    let mut weights = [0.0; NAMES.len()];
    for Rgba([r, g, b, alpha]) in drawing.pixels() {
        if *alpha >= OPAQUE {
            let name = name([*r, *g, *b]);
            let index = NAMES.iter().position(|other| *other == name).unwrap_or_default();
            weights[index] += if matches!(name, "black" | "gray" | "white") { GRAY_WEIGHT } else { 1.0 };
        }
    }
    let best = (0..NAMES.len()).max_by(|&a, &b| weights[a].total_cmp(&weights[b]));
    best.map_or("gray", |index| NAMES[index])
}

/// Turns all hues by an angle in degrees.
pub(crate) fn turn(drawing: &mut RgbaImage, degrees: f32) {
    for Rgba([r, g, b, _]) in drawing.pixels_mut() {
        let [hue, saturation, value] = to_hsv([*r, *g, *b]);
        [*r, *g, *b] = from_hsv([(hue + degrees).rem_euclid(360.0), saturation, value]);
    }
}
