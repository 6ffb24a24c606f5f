//! Reading pictures from paths and URLs, and writing them.

use std::{
    ffi::OsString,
    io::Cursor,
    path::{Path, PathBuf},
};

use ::image::{ImageFormat, RgbImage};
use cogview4_model::files::{MAX_PICTURE_BYTES, check_writable, read_regular, write_atomic};

use super::{
    decode_image,
    download::{download, is_url, shown},
};
use crate::error::{PipelineError, Result};

/// Loads a picture from a path or an `http(s)` URL, turned upright by its EXIF orientation, as RGB (transparency is
/// dropped), as `diffusers.utils.load_image` does. Where only a path is meant, [`open_image`] never looks at the
/// network.
///
/// ```no_run
/// use cogview4_control_pipeline::{load_image, save_image};
///
/// let image = load_image("https://example.org/photo.jpg")?;
/// save_image(&image, "photo.png".as_ref())?;
/// # Ok::<(), cogview4_control_pipeline::PipelineError>(())
/// ```
///
/// # Errors
/// [`PipelineError::Image`] names the path, or the URL without what may be secret in it.
pub fn load_image(location: &str) -> Result<RgbImage> {
    if !is_url(location) {
        return open_image(location);
    }
    let fail = |reason: String| PipelineError::Image { location: shown(location).into_owned(), reason };
    let bytes = download(location).map_err(fail)?;
    decode_image(bytes).map_err(|error| fail(error.to_string()))
}

/// Loads a picture from a file, turned upright by its EXIF orientation, as RGB (transparency is dropped).
///
/// # Errors
/// [`PipelineError::Image`] names the path.
pub fn open_image(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    let bytes = read_regular(path, MAX_PICTURE_BYTES).map_err(|error| image_error(path, error.to_string()))?;
    decode_image(bytes).map_err(|error| image_error(path, error.to_string()))
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
    let name = |number: usize| {
        // Names need not be text.
        let mut name = OsString::from(path.file_stem().unwrap_or_default());
        name.push(format!("-{number}"));
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        path.with_file_name(name)
    };
    (1..=count).map(name).collect()
}

fn format_of(path: &Path) -> Result<ImageFormat> {
    let format = ImageFormat::from_path(path).ok().filter(ImageFormat::writing_enabled);
    format.ok_or_else(|| image_error(path, "the extension is not that of a picture format, such as `.png`".into()))
}

fn image_error(path: &Path, reason: String) -> PipelineError {
    PipelineError::Image { location: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_the_extension() {
        assert_eq!(numbered("a/b.png".as_ref(), 1), [Path::new("a/b.png")]);
        assert_eq!(numbered("a/b.c.png".as_ref(), 2), [Path::new("a/b.c-1.png"), Path::new("a/b.c-2.png")]);
        assert_eq!(numbered("b".as_ref(), 2), [Path::new("b-1"), Path::new("b-2")]);
    }

    #[cfg(unix)]
    #[test]
    fn names_need_not_be_text() {
        use std::os::unix::ffi::OsStrExt;

        let path = |name: &'static [u8]| Path::new(std::ffi::OsStr::from_bytes(name));
        assert_eq!(numbered(path(b"\xff.png"), 2)[1], path(b"\xff-2.png"));
    }

    #[test]
    fn a_file_is_never_a_url() {
        let error = open_image("http://127.0.0.1:1/a.png").unwrap_err().to_string();
        assert!(error.contains("No such file"), "{error}");
    }
}
