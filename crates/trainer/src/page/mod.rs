//! Pages: one file each, style and pictures are in it, nothing is fetched.

mod html;
mod lint;

pub(crate) use html::{PictureSource, figure, page};
pub(crate) use lint::lint_page;
