//! The file of records as a reader of LevelDB's format sees it, written after its description alone.

use prost::Message;
use serde_json::json;

use super::{
    log_file::{BLOCK, CHUNK_HEADER, HEADER, LogFile, checksum, framed, records},
    messages::Record,
    pictures::{Captioned, write_pictures},
    *,
};

/// The records of a file; panics where anything is not as the format has it.
fn read(bytes: &[u8]) -> Vec<Vec<u8>> {
    assert_eq!(&bytes[..7], b":W&B\xe1\xbe\0");
    let (mut found, mut open) = (Vec::new(), None::<Vec<u8>>);
    let mut position = 7;
    while position < bytes.len() {
        let end = (position / 32_768 + 1) * 32_768;
        if end - position < 7 {
            assert!(bytes[position..end].iter().all(|byte| *byte == 0), "zeros at {position}");
            position = end;
            continue;
        }
        let length = usize::from(bytes[position + 4]) + 256 * usize::from(bytes[position + 5]);
        let (kind, data) = (bytes[position + 6], &bytes[position + 7..position + 7 + length]);
        assert!(position + 7 + length <= end, "no chunk goes over the end of a block");
        // CRC-32 of kind and data, bit by bit.
        let mut crc = u32::MAX;
        for byte in std::iter::once(&kind).chain(data) {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            }
        }
        assert_eq!(bytes[position..position + 4], (!crc).to_le_bytes(), "the checksum at {position}");
        match (kind, &mut open) {
            (1, None) => found.push(data.to_vec()),
            (2, None) => open = Some(data.to_vec()),
            (3, Some(record)) => record.extend(data),
            (4, Some(record)) => {
                record.extend(data);
                found.extend(open.take());
            }
            _ => panic!("a chunk of kind {kind} at {position}"),
        }
        position += 7 + length;
    }
    assert!(open.is_none());
    found
}

#[test]
fn the_checksum_is_that_of_zlib() {
    assert_eq!(checksum(b'1', b"23456789"), 0xcbf4_3926);
}

#[test]
fn records_go_over_the_ends_of_blocks() {
    let room = BLOCK - HEADER.len() - CHUNK_HEADER;
    // Those that end at the end of a block, and up to a chunk's header in front of it and behind.
    let near = (0..=16).map(|less| room + 1 - less);
    for length in near.chain([0, 1, BLOCK, 3 * BLOCK, 200_000]) {
        let lengths = [length, 5, 0, BLOCK - CHUNK_HEADER, 40_000, 1];
        let expected: Vec<Vec<u8>> =
            lengths.iter().map(|length| (0..*length).map(|index| (index * 7 + length) as u8).collect()).collect();
        let mut bytes = HEADER.to_vec();
        for record in &expected {
            bytes.extend(framed(bytes.len(), record));
        }
        assert!(read(&bytes) == expected, "{length}");
    }
}

#[test]
fn what_is_torn_ends_a_file_and_nothing_before_it_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.wandb");
    let mut log = LogFile::create(&path).expect("a file");
    for step in 0..300 {
        let text = item("text", &"x".repeat(step * 3).into());
        log.write(What::History(History { item: vec![text], step: Some(Step { num: step as i64 }) })).expect("written");
    }
    let bytes = std::fs::read(&path).expect("the file");
    let whole: Vec<Record> = read(&bytes).iter().map(|record| Record::decode(&record[..]).expect("a record")).collect();
    assert!(whole.len() == 300 && bytes.len() > 4 * BLOCK && records(&bytes) == whole);
    assert!(whole.iter().enumerate().all(|(index, record)| record.num == index as i64 + 1));
    for end in (0..bytes.len()).rev().step_by(997).chain(0..40) {
        let found = records(&bytes[..end]);
        assert!(found[..] == whole[..found.len()] && found.len() < 300);
    }
    let mut flipped = bytes.clone();
    flipped[BLOCK + 100] ^= 1;
    let found = records(&flipped).len();
    assert!((1..300).contains(&found));
}

#[test]
fn pictures_of_one_name_are_of_one_size_and_none_is_distorted() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = |width, height| Captioned {
        caption: format!("{width} x {height}"),
        image: image::RgbImage::from_pixel(width, height, image::Rgb([9, 8, 7])),
    };
    let mut pictures = vec![picture(4, 2), picture(2, 4)];
    let (items, files) = write_pictures(folder.path(), "validation", 3, &pictures).expect("written");
    let value = |name: &str| {
        let item = items.iter().find(|item| item.nested_key == ["validation", name]).expect(name);
        serde_json::from_str::<serde_json::Value>(&item.value_json).expect("JSON")
    };
    assert_eq!((value("width"), value("height"), value("count")), (json!(4), json!(4), json!(2)));
    assert_eq!(value("captions"), json!(["4 x 2", "2 x 4"]));
    for (file, picture) in files.iter().zip(&pictures) {
        let found = cogview4_control_pipeline::open_image(folder.path().join(&file.path)).expect("a picture");
        assert_eq!(found.dimensions(), (4, 4));
        let kept = found.pixels().filter(|pixel| pixel.0 == [9, 8, 7]).count();
        assert_eq!(kept as u32, picture.image.width() * picture.image.height());
    }
    pictures.resize(200, picture(4, 4));
    let (_, files) = write_pictures(folder.path(), "validation", 4, &pictures).expect("written");
    assert_eq!(files.len(), 108);
}

#[test]
fn urls_in_the_configuration_hold_no_secrets() {
    let value = json!({"pairs": [{"image": "https://user:secret@a.org/b.png?key=secret", "prompt": "what?"}], "n": 1});
    let expected = json!({"pairs": [{"image": "https://a.org/b.png", "prompt": "what?"}], "n": 1});
    assert_eq!(without_secrets(value), expected);
}
