//! Pictures: reading and writing, resizing as Pillow and OpenCV do, conversion to tensors and back.

mod io;
mod opencv;
mod pillow;
mod processor;

pub use io::{check_image_output, decode_image, encode_png, load_image, numbered, save_image};
pub use pillow::{Filter, resize};
pub use processor::VaeImageProcessor;

pub(crate) use opencv::{Interpolation, resize_opencv};
