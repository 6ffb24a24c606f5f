//! What can be found.

use std::path::PathBuf;

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// A picture cannot be read or decoded.
    Unreadable,
    /// A picture that would have to be blown up to more than twice its size.
    Tiny,
    /// Picture and control image have different sizes.
    SizeMismatch,
    /// A caption without words.
    EmptyCaption,
    /// A caption that will be cut.
    LongCaption,
    /// The same picture as in another row.
    Duplicate,
    /// A picture of one colour.
    ConstantImage,
    /// A control image of one colour.
    ConstantControl,
    /// The control image is the picture.
    ControlIsImage,
    /// Picture and control image look exchanged.
    Exchanged,
    /// The control image is moved against the picture.
    Shifted,
    /// The control image looks like that of another picture.
    Mismatched,
}

impl FindingKind {
    /// A name for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Tiny => "tiny picture",
            Self::SizeMismatch => "sizes differ",
            Self::EmptyCaption => "empty caption",
            Self::LongCaption => "long caption",
            Self::Duplicate => "duplicate",
            Self::ConstantImage => "constant picture",
            Self::ConstantControl => "constant control",
            Self::ControlIsImage => "control is the picture",
            Self::Exchanged => "picture and control exchanged",
            Self::Shifted => "control shifted",
            Self::Mismatched => "control of another picture",
        }
    }
}

/// One thing that is wrong with one row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Index of the row in the data set.
    pub row: usize,
    /// File and number of the row.
    pub place: (PathBuf, usize),
    /// What is wrong.
    pub kind: FindingKind,
    /// More about it.
    pub detail: String,
}

/// What was found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LintReport {
    /// Rows that were looked at.
    pub rows: usize,
    /// Findings by kind and row.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why.
    pub notes: Vec<String>,
}
