//! Pillow's resize, and reading and writing of pictures.

use std::path::Path;

use cogview4::pipeline::{Filter, resize};
use cogview4::{load_image, open_image, save_image};
use image::RgbImage;

use crate::support::fixtures;

#[test]
fn not_one_byte_differs_from_pillow() {
    let folder = fixtures().join("pillow");
    let open = |path: &Path| open_image(path).unwrap();
    let image = open(&folder.join("image.png"));
    let mut compared = 0;
    for (name, filter) in [("lanczos", Filter::Lanczos), ("bilinear", Filter::Bilinear)] {
        for (width, height) in [
            (83, 61),
            (64, 64),
            (83, 96),
            (200, 61),
            (17, 130),
            (166, 122),
            (1, 1),
            (64, 48),
            (96, 40),
            (80, 50),
            (70, 34),
            (70, 36),
            (40, 90),
        ] {
            let expected = open(&folder.join(format!("{name}-{width}x{height}.png")));
            assert!(resize(&image, width, height, filter) == expected, "{name} {width}x{height}");
            compared += 1;
        }
    }
    assert_eq!(compared, 26);
}

#[test]
fn pictures_are_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let image = RgbImage::new(4, 4);
    save_image(&image, &folder.path().join("a.png")).unwrap();
    for name in ["absent/a.png", "a.txt", "a", ""] {
        assert!(save_image(&image, &folder.path().join(name)).is_err(), "{name}");
    }
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a.png"]);
}

#[test]
fn what_is_no_picture_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(fixtures().join("pillow").join("image.png")).unwrap();
    for (name, bytes) in [("empty.png", &[][..]), ("text.png", b"hello"), ("cut.png", &whole[..whole.len() / 2])] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = open_image(&path).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains('\n'), "{error}");
    }
    assert!(load_image("no/such/picture.png").is_err());
}
