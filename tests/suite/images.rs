//! Pillow's resize, and reading and writing of pictures.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
};

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
fn pictures_come_from_urls_too() {
    let bytes = std::fs::read(fixtures().join("pillow").join("image.png")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let shown = format!("{}/image.png", listener.local_addr().unwrap());
    let url = format!("http://user:password@{shown}?signature=secret");
    let server = std::thread::spawn(move || {
        for status in ["200 OK", "404 Not Found"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).unwrap() > 0);
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&bytes).unwrap();
        }
    });
    assert_eq!(load_image(&url).unwrap().dimensions(), (83, 61));
    let error = load_image(&url).unwrap_err().to_string();
    assert!(error.contains(&shown) && error.contains("404"), "{error}");
    assert!(!error.contains("password") && !error.contains("secret"), "{error}");
    server.join().unwrap();
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
