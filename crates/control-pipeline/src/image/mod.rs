//! Pictures: reading and writing, resizing as Pillow and OpenCV do, conversion to tensors and back.

mod decode;
mod download;
mod io;
mod opencv;
mod pillow;
mod processor;

pub use decode::{PictureError, decode_image};
pub use download::shown;
pub use io::{check_image_output, encode_png, load_image, numbered, open_image, save_image};
pub use pillow::{Filter, resize};
pub use processor::VaeImageProcessor;

pub(crate) use opencv::{Interpolation, resize_opencv};
