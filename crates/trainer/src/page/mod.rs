//! Pages: one file each, style and pictures are in it, nothing is fetched.

mod curve;
mod html;
mod lint;
mod plot;

pub(crate) use curve::{Curve, Smoothing, smoothed};
pub(crate) use html::{PictureSource, figure, page};
pub(crate) use lint::lint_page;
pub(crate) use plot::{BLUE, GREEN, Line, ORANGE, PALE, PURPLE, RED, plot, svg};
