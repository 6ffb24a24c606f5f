//! What HTML pages have in common. A page is one file: style and pictures are in it, nothing is fetched.

use base64::{Engine, prelude::BASE64_STANDARD};
use cogview4_control_pipeline::{Filter, encode_png, resize};
use image::{ExtendedColorType, RgbImage, codecs::jpeg::JpegEncoder};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Pictures are shown with this side at most.
const SHOWN_SIDE: u32 = 320;
/// Quality of large pictures; small ones are exact.
const JPEG_QUALITY: u8 = 88;

/// Nothing is fetched and nothing runs, whatever captions and names of files hold.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --dim: #888; --card: #8881; --accent: #2a6fdb; --bad: #d0342c; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 24px; max-width: 1180px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 32px 0 8px; }
h3 { font-size: 15px; margin: 20px 0 6px; }
p { margin: 4px 0; } .dim { color: var(--dim); } .bad { color: var(--bad); }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.facts { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; }
.fact { background: var(--card); border-radius: 8px; padding: 10px 16px; min-width: 130px; }
.fact b { display: block; font-size: 20px; font-variant-numeric: tabular-nums; }
.fact span { color: var(--dim); font-size: 13px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 16px; }
.plot { border: 1px solid var(--line); border-radius: 8px; padding: 8px; background: #fff; color: #222; }
.plot svg { width: 100%; height: auto; display: block; }
.row { display: flex; flex-wrap: wrap; gap: 10px; align-items: flex-start; margin: 8px 0 16px; }
figure { margin: 0; }
figure img { display: block; width: 192px; height: 192px; object-fit: contain; background: var(--card);
    border-radius: 6px; image-rendering: auto; }
figcaption { font-size: 13px; color: var(--dim); max-width: 192px; overflow-wrap: anywhere; }
.prompt { flex: 1; min-width: 180px; overflow-wrap: anywhere; }
details summary { cursor: pointer; }
pre { background: var(--card); padding: 12px; border-radius: 8px; overflow-x: auto; }
";

/// A whole page. With `refresh`, a browser that shows it reads it again after that many seconds.
pub(crate) fn page(title: &str, refresh: Option<u32>, body: &Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(seconds) = refresh {
                    meta http-equiv="refresh" content=(seconds);
                }
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    markup.into_string()
}

/// A picture with a caption.
pub(crate) fn figure(source: &PictureSource, caption: &str) -> Markup {
    html! {
        figure {
            img src=(source.0) alt=(caption) title=(caption);
            figcaption { (caption) }
        }
    }
}

/// A picture as part of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PictureSource(String);

impl From<&RgbImage> for PictureSource {
    /// Large pictures are made smaller.
    ///
    /// # Panics
    /// When the picture has no pixels.
    fn from(image: &RgbImage) -> Self {
        let (width, height) = image.dimensions();
        let longest = width.max(height);
        if longest <= SHOWN_SIDE {
            return Self(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(encode_png(image))));
        }
        let side = |side: u32| ((u64::from(side) * u64::from(SHOWN_SIDE) / u64::from(longest)) as u32).max(1);
        let small = resize(image, side(width), side(height), Filter::Bilinear);
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
            .encode(small.as_raw(), small.width(), small.height(), ExtendedColorType::Rgb8)
            .expect("invariant: any RGB picture is a JPEG");
        Self(format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(bytes)))
    }
}
