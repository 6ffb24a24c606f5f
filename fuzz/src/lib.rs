//! Fuzz targets for all that reads bytes from outside: models, data sets, packs, checkpoints, configurations, answers
//! of a Hub. Each writes its input to files, as those bytes come in real life, and calls the public readers. An error is
//! what is expected of broken input; a panic outside a fence, a hang, memory without bound and a report of the
//! sanitizer are findings.
//!
//! `cargo xtask fuzz` builds, seeds and runs them. Several files are one input: [`parts`] cuts it.

use std::{
    backtrace::Backtrace,
    fmt::Display,
    fs, panic,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use tempfile::TempDir;

/// Stands between the files of an input: no text in UTF-8 has these bytes.
pub const SEPARATOR: &[u8] = b"\xff\xfe\xfd\xfc";

/// Defines a target: a function of the input.
#[macro_export]
macro_rules! target {
    ($read:path) => {
        ::libfuzzer_sys::fuzz_target!(init: $crate::end_at_panics(), |data: &[u8]| $read(data));
    };
}

/// Has a panic end the process, as libfuzzer's own hook does, but for those in a fence: they become errors.
pub fn end_at_panics() {
    panic::set_hook(Box::new(|info| {
        if !cogview4_model::fence::is_fenced() {
            eprintln!("{info}\n{}", Backtrace::force_capture());
            std::process::abort();
        }
    }));
}

/// The files of an input, at most so many: the last one is all that is left, whatever is in it.
pub fn parts(data: &[u8], most: usize) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), data);
    while parts.len() + 1 < most
        && let Some(at) = rest.windows(SEPARATOR.len()).position(|found| found == SEPARATOR)
    {
        parts.push(&rest[..at]);
        rest = &rest[at + SEPARATOR.len()..];
    }
    parts.push(rest);
    parts
}

/// Says an error, as a program would: that must not panic either. With `FUZZ_SAY` in the environment it is printed, to
/// see how far an input comes.
pub fn said<T, E: Display>(result: Result<T, E>) -> Option<T> {
    static IS_PRINTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FUZZ_SAY").is_some());
    let said = result.as_ref().map_or_else(ToString::to_string, |_| "well".into());
    if *IS_PRINTED {
        eprintln!("{said}");
    }
    result.ok()
}

/// A folder for the files of one input, gone with it. In memory, where there is room for files in memory.
pub struct Scratch(TempDir);

impl Scratch {
    /// An empty folder.
    pub fn new() -> Self {
        let root = std::env::var_os("FUZZ_SCRATCH").map_or_else(|| "/dev/shm".into(), PathBuf::from);
        let root = if root.is_dir() { root } else { std::env::temp_dir() };
        Self(tempfile::Builder::new().prefix("cogview4-fuzz-").tempdir_in(root).expect("a folder"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file; folders on the way to it are made.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
        fs::write(&path, bytes).expect("a file");
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}
