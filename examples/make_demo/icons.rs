//! Drawings as vectors: icon sets of npm.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
#[cfg(feature = "svg")]
use image::Rgba;
use image::RgbaImage;
use serde::Deserialize;

/// A set of drawings by one hand.
pub(crate) struct Hand {
    /// Of `@iconify-json`.
    package: &'static str,
    version: &'static str,
    /// Words for how it draws; none where nobody would name it.
    pub(crate) styles: &'static [&'static str],
}

/// What is trained on. Noto is under Apache-2.0, Fluent Emoji under the MIT licence.
pub(crate) const HANDS: [Hand; 4] = [
    Hand { package: "noto", version: "1.2.9", styles: &[] },
    Hand { package: "noto-v1", version: "1.2.5", styles: &[] },
    Hand { package: "fluent-emoji-flat", version: "1.2.6", styles: &["flat", "simple"] },
    Hand { package: "fluent-emoji", version: "1.2.7", styles: &["glossy", "3d"] },
];
/// What is measured with only: Twemoji, whose drawings are under CC-BY-4.0. Nothing of it is embedded.
pub(crate) const OTHER_HAND: Hand = Hand { package: "twemoji", version: "1.2.5", styles: &[] };

/// The set that says which category the drawings of `fluent-emoji` have, which says none itself.
const CATEGORIES: &Hand = &HANDS[2];
/// Endings of variants that differ in the skin's tone alone, in names without `skin-tone`.
const TONES: [&str; 5] = ["-medium-light", "-medium-dark", "-light", "-medium", "-dark"];

/// A drawing.
pub(crate) struct Icon {
    /// What is drawn, in words: the same in all sets.
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) styles: &'static [&'static str],
    svg: String,
}

#[derive(Deserialize)]
struct Set {
    icons: BTreeMap<String, Body>,
    width: f32,
    height: f32,
}

#[derive(Deserialize)]
struct Body {
    body: String,
    #[serde(default)]
    left: f32,
    #[serde(default)]
    top: f32,
    width: Option<f32>,
    height: Option<f32>,
    #[serde(default)]
    hidden: bool,
}

#[derive(Deserialize, Default)]
struct Metadata {
    #[serde(default)]
    categories: BTreeMap<String, Vec<String>>,
}

/// The drawings of a set, by name; the package is asked of npm, unless its folder is there.
pub(crate) fn icons(hand: &Hand, downloads: &Path) -> Result<Vec<Icon>> {
    let set: Set = read(hand, downloads, "icons.json")?;
    let mut of_category: Metadata = read(hand, downloads, "metadata.json")?;
    if of_category.categories.is_empty() {
        of_category = read(CATEGORIES, downloads, "metadata.json")?;
    }
    let mut categories = BTreeMap::new();
    for (category, names) in &of_category.categories {
        categories.extend(names.iter().map(|name| (name.as_str(), category.to_lowercase())));
    }
    let is_variant = |name: &str| {
        let of_tone = |tone: &&str| name.strip_suffix(*tone).is_some_and(|base| set.icons.contains_key(base));
        name.contains("skin-tone") || TONES.iter().any(of_tone)
    };
    let mut icons = Vec::new();
    for (name, body) in &set.icons {
        let Some(category) = categories.get(name.as_str()).filter(|_| !body.hidden && !is_variant(name)) else {
            continue;
        };
        let [width, height] = [body.width.unwrap_or(set.width), body.height.unwrap_or(set.height)];
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" \
             width=\"{width}\" height=\"{height}\" viewBox=\"{} {} {width} {height}\">{}</svg>",
            body.left, body.top, body.body
        );
        icons.push(Icon { name: name.replace('-', " "), category: category.clone(), styles: hand.styles, svg });
    }
    Ok(icons)
}

fn read<T: for<'a> Deserialize<'a>>(hand: &Hand, downloads: &Path, file: &str) -> Result<T> {
    let package = downloads.join(hand.package).join("package");
    if !package.exists() {
        download(hand, downloads)?;
    }
    let path = package.join(file);
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))
}

fn download(hand: &Hand, downloads: &Path) -> Result<()> {
    let Hand { package, version, .. } = hand;
    let folder = downloads.join(package);
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).current_dir(&folder).status();
        let status = status.with_context(|| format!("starting {program}"))?;
        ensure!(status.success(), "{program} {arguments:?} failed");
        Ok(())
    };
    run("npm", &["pack", "--silent", &format!("@iconify-json/{package}@{version}")])?;
    run("tar", &["xzf", &format!("iconify-json-{package}-{version}.tgz")])
}

impl Icon {
    /// Square, with what is not drawn transparent.
    pub(crate) fn render(&self, side: u32) -> Result<RgbaImage> {
        render(&self.svg, side).with_context(|| format!("drawing `{}`", self.name))
    }
}

#[cfg(feature = "svg")]
fn render(svg: &str, side: u32) -> Result<RgbaImage> {
    use resvg::{
        tiny_skia::{Pixmap, PremultipliedColorU8, Transform},
        usvg::{Options, Tree},
    };

    let tree = Tree::from_str(svg, &Options::default())?;
    let mut pixels = Pixmap::new(side, side).context("a picture of that size")?;
    let scale = side as f32 / tree.size().width().max(tree.size().height());
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    let colour = |pixel: &PremultipliedColorU8| {
        let colour = pixel.demultiply();
        Rgba([colour.red(), colour.green(), colour.blue(), colour.alpha()])
    };
    Ok(RgbaImage::from_fn(side, side, |x, y| colour(&pixels.pixels()[(y * side + x) as usize])))
}

#[cfg(not(feature = "svg"))]
fn render(_: &str, _: u32) -> Result<RgbaImage> {
    anyhow::bail!("needs `--features svg`")
}
