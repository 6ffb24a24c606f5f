//! Settings as others may see them, in reports, cards and trackers: as they were given, but nothing of where things lie on
//! this machine, and no secrets.

use std::path::Path;

use cogview4_control_pipeline::shown;
use cogview4_hub::Source;
use serde::Serializer;

/// A folder or file: of an absolute path the last part.
pub(crate) fn shown_folder(path: &Path) -> String {
    let shown = match path.is_absolute() {
        true => path.file_name().map_or(path, Path::new),
        false => path,
    };
    // A path need not be text.
    shown.display().to_string()
}

/// A pipeline or data set.
pub(crate) fn shown_source(source: &Source) -> String {
    match source {
        Source::Folder(path) => shown_folder(path),
        name @ Source::Hub { .. } => name.to_string(),
    }
}

/// A path or URL.
pub(crate) fn shown_location(location: &str) -> String {
    match Path::new(location).is_absolute() {
        true => shown_folder(Path::new(location)),
        false => shown(location).into_owned(),
    }
}

pub(super) fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown_folder(path))
}

pub(super) fn optional_path<S: Serializer, P: AsRef<Path>>(path: &Option<P>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serializer.serialize_some(&shown_folder(path.as_ref())),
        None => serializer.serialize_none(),
    }
}

pub(super) fn source<S: Serializer>(source: &Source, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown_source(source))
}

pub(super) fn optional_source<S: Serializer>(source: &Option<Source>, serializer: S) -> Result<S::Ok, S::Error> {
    match source {
        Some(source) => serializer.serialize_some(&shown_source(source)),
        None => serializer.serialize_none(),
    }
}

pub(super) fn location<S: Serializer>(location: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown_location(location))
}
