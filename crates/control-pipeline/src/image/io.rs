//! Reading pictures from paths and URLs, and writing them.

use std::{
    ffi::OsStr,
    io::Cursor,
    path::{Path, PathBuf},
    time::Duration,
};

use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use cogview4_model::files::{check_writable, write_atomic};

use crate::error::{PipelineError, Result};

/// Larger downloads are refused.
const MAX_DOWNLOAD_BYTES: u64 = 256 << 20;
/// A server that does not answer for this long is given up.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Memory that decoding one picture may take.
const MAX_DECODE_BYTES: u64 = 2 << 30;

/// Loads a picture from a path or an `http(s)` URL, turned upright by its EXIF orientation, as RGB (transparency is
/// dropped), as `diffusers.utils.load_image` does.
///
/// ```no_run
/// use cogview4_control_pipeline::{load_image, save_image};
///
/// let image = load_image("photo.jpg")?;
/// save_image(&image, "photo.png".as_ref())?;
/// # Ok::<(), cogview4_control_pipeline::PipelineError>(())
/// ```
///
/// # Errors
/// [`PipelineError::Image`] names the path or URL.
pub fn load_image(location: &str) -> Result<RgbImage> {
    let fail = |reason: String| PipelineError::Image { location: location.into(), reason };
    let is_url = location.starts_with("http://") || location.starts_with("https://");
    let bytes = if is_url { download(location) } else { std::fs::read(location).map_err(|error| error.to_string()) };
    decode_image(bytes.map_err(fail)?).map_err(fail)
}

/// Decodes a picture, turned upright by its EXIF orientation, as RGB.
///
/// # Errors
/// What is not a picture, is broken, or would take too much memory; says why.
pub fn decode_image(bytes: Vec<u8>) -> Result<RgbImage, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODE_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let orientation = decoder.orientation().map_err(|error| error.to_string())?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    image.apply_orientation(orientation);
    let image = image.into_rgb8();
    if image.width() == 0 || image.height() == 0 {
        return Err("has no pixels".into());
    }
    Ok(image)
}

/// Encodes a picture as PNG.
///
/// # Panics
/// When it has no pixels.
pub fn encode_png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).expect("a picture with pixels");
    bytes.into_inner()
}

fn download(url: &str) -> Result<Vec<u8>, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(DOWNLOAD_TIMEOUT)).build().into();
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    response.body_mut().with_config().limit(MAX_DOWNLOAD_BYTES).read_to_vec().map_err(|error| error.to_string())
}

/// Checks, before any work, that [`save_image`] will be able to write this file.
///
/// # Errors
/// As [`save_image`].
pub fn check_image_output(path: &Path) -> Result<()> {
    format_of(path)?;
    Ok(check_writable(path)?)
}

/// Writes a picture in the format of the extension. The file is there whole or not at all.
///
/// # Errors
/// An extension that is not that of a format that can be written, or a file that cannot be written.
pub fn save_image(image: &RgbImage, path: &Path) -> Result<()> {
    let format = format_of(path)?;
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).map_err(|error| image_error(path, error.to_string()))?;
    Ok(write_atomic(path, bytes.get_ref())?)
}

/// Names for `count` pictures: the name itself for one, else with `-1`, `-2`, ... before the extension.
pub fn numbered(path: &Path, count: usize) -> Vec<PathBuf> {
    if count == 1 {
        return vec![path.into()];
    }
    let part = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let (stem, extension) = (part(path.file_stem()), part(path.extension()));
    (1..=count).map(|number| path.with_file_name(format!("{stem}-{number}.{extension}"))).collect()
}

fn format_of(path: &Path) -> Result<ImageFormat> {
    let format = ImageFormat::from_path(path).ok().filter(ImageFormat::writing_enabled);
    format.ok_or_else(|| image_error(path, "the extension is not that of a picture format, such as `.png`".into()))
}

fn image_error(path: &Path, reason: String) -> PipelineError {
    PipelineError::Image { location: path.display().to_string(), reason }
}
