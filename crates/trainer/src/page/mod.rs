//! Pages: one file each, style and pictures are in it, nothing is fetched.

mod html;
mod lint;
mod plot;

pub(crate) use html::{PictureSource, figure, page};
pub(crate) use lint::lint_page;
pub(crate) use plot::{BLUE, GREEN, Line, ORANGE, PALE, PURPLE, RED, plot, smoothed, svg};
