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
        15.0..38.0 if value < 0.65 => "brown",
        15.0..38.0 => "orange",
        38.0..68.0 => "yellow",
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

/// A colour that drawings are brought to: hue in degrees, saturation and value in [0, 1].
pub(crate) struct Target {
    pub(crate) name: &'static str,
    hsv: [f32; 3],
}

/// White is not among them: on white it would leave nothing to see.
pub(crate) const TARGETS: [Target; 10] = [
    Target { name: "red", hsv: [0.0, 0.78, 0.86] },
    Target { name: "orange", hsv: [28.0, 0.83, 0.94] },
    Target { name: "brown", hsv: [24.0, 0.6, 0.5] },
    Target { name: "yellow", hsv: [46.0, 0.78, 0.98] },
    Target { name: "green", hsv: [105.0, 0.6, 0.66] },
    Target { name: "blue", hsv: [212.0, 0.7, 0.88] },
    Target { name: "purple", hsv: [270.0, 0.55, 0.75] },
    Target { name: "pink", hsv: [330.0, 0.45, 0.96] },
    Target { name: "black", hsv: [0.0, 0.08, 0.17] },
    Target { name: "gray", hsv: [0.0, 0.03, 0.6] },
];

/// Brings what has a drawing's dominant colour to another, with its shades; other colours stay.
pub(crate) fn recolour(drawing: &mut RgbaImage, dominant: &str, target: &Target) {
    let of_name = drawing.pixels().filter(|pixel| pixel.0[3] >= OPAQUE).map(|&Rgba([r, g, b, _])| [r, g, b]);
    let of_name: Vec<_> = of_name.filter(|&rgb| name(rgb) == dominant).map(to_hsv).collect();
    let count = of_name.len().max(1) as f32;
    let mean = |value: fn(&[f32; 3]) -> f32| of_name.iter().map(value).sum::<f32>() / count;
    // Hues are angles.
    let hue = mean(|hsv| hsv[0].to_radians().sin()).atan2(mean(|hsv| hsv[0].to_radians().cos())).to_degrees();
    let [saturation, value] = [mean(|hsv| hsv[1]), mean(|hsv| hsv[2])];
    let is_gray = matches!(dominant, "black" | "gray" | "white");
    for Rgba([r, g, b, _]) in drawing.pixels_mut() {
        let hsv = to_hsv([*r, *g, *b]);
        let away = (hsv[0] - hue + 180.0).rem_euclid(360.0) - 180.0;
        let part = match is_gray {
            true => falling(hsv[1], 0.15, 0.3) * falling((hsv[2] - value).abs(), 0.3, 0.45),
            false => falling(away.abs(), 25.0, 45.0) * (1.0 - falling(hsv[1], 0.1, 0.25)),
        };
        let shade = if is_gray { 1.0 } else { hsv[1] / saturation.max(0.1) };
        let turn = if is_gray { 0.0 } else { 0.3 * away };
        let new = from_hsv([
            (target.hsv[0] + turn).rem_euclid(360.0),
            (target.hsv[1] * shade).min(1.0),
            (target.hsv[2] * hsv[2] / value.max(0.15)).min(1.0),
        ]);
        for (channel, new) in [r, g, b].into_iter().zip(new) {
            *channel = (f32::from(*channel) * (1.0 - part) + f32::from(new) * part).round() as u8;
        }
    }
}

/// 1 up to `start`, 0 from `end` on.
fn falling(value: f32, start: f32, end: f32) -> f32 {
    ((end - value) / (end - start)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disc of one colour with an eye of another, on nothing.
    fn drawing(body: [u8; 3], eye: [u8; 3]) -> RgbaImage {
        RgbaImage::from_fn(32, 32, |x, y| {
            let away = [x, y].map(|place| f32::from(place as u16) - 15.5).map(|away| away * away).iter().sum::<f32>();
            let [r, g, b] = if away < 9.0 { eye } else { body };
            Rgba([r, g, b, if away < 200.0 { u8::MAX } else { 0 }])
        })
    }

    #[test]
    fn the_dominant_colour_becomes_the_target() {
        for (body, eye) in
            [([220, 50, 50], [40, 90, 200]), ([250, 205, 60], [20, 20, 20]), ([150, 150, 152], [220, 50, 50])]
        {
            for target in &TARGETS {
                let mut turned = drawing(body, eye);
                let before = dominant(&turned);
                recolour(&mut turned, before, target);
                assert_eq!(dominant(&turned), target.name, "{body:?}");
                let Rgba([r, g, b, _]) = *turned.get_pixel(16, 16);
                assert_eq!([r, g, b], eye, "{}", target.name);
            }
        }
    }
}
