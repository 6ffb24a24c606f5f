use std::io::Write;

use super::*;

/// A file with a footer whose schema has these numbers of children, one element after another.
fn with_schema(children: &[u64]) -> File {
    let mut footer = vec![0x29, 0xfc];
    let varint = |mut value: u64, footer: &mut Vec<u8>| {
        while value >= 0x80 {
            footer.push(value as u8 | 0x80);
            value >>= 7;
        }
        footer.push(value as u8);
    };
    varint(children.len() as u64, &mut footer);
    for &children in children {
        // Field 4, the name, and field 5.
        footer.extend([0x48, 1, b'a', 0x15]);
        varint(children * 2, &mut footer);
        footer.push(0);
    }
    footer.push(0);
    let mut file = tempfile::tempfile().expect("a file");
    let tail = [&b"PAR1"[..], &footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat();
    file.write_all(&tail).expect("written");
    file
}

#[test]
fn a_tree_of_columns_is_as_large_as_it_says_and_not_deep() {
    check_schema(&with_schema(&[3, 0, 2, 0, 0, 0])).expect("a root, a leaf, a group of two, a leaf");
    let many = check_schema(&with_schema(&[2, 0, (1 << 31) - 1, 0])).expect_err("more than there are");
    assert!(many.to_string().contains("more than there are"), "{many}");
    let deep = check_schema(&with_schema(&[1; 200_000])).expect_err("too deep");
    assert!(deep.to_string().contains("deep"), "{deep}");
}

#[test]
fn a_footer_that_is_cut_is_an_error() {
    for bytes in [&b""[..], b"PAR1", b"\xff\xff\xff\xffPAR1", b"\x15\x02\0\0\0PAR1", b"\x01\0\0\0PAR1"] {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        assert!(check_schema(&file).is_err());
    }
}

/// A page with this header and body, as the only content of a file.
fn page(unpacked: u64, body: &[u8], second_version: Option<u64>) -> File {
    let varint = |mut value: u64, bytes: &mut Vec<u8>| {
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
    };
    let mut bytes = vec![0x15, 0, 0x15];
    varint(unpacked * 2, &mut bytes);
    bytes.push(0x15);
    varint(body.len() as u64 * 2, &mut bytes);
    if let Some(levels) = second_version {
        // Field 8, a structure, with field 5.
        bytes.extend([0x5c, 0x55]);
        varint(levels * 2, &mut bytes);
        bytes.push(0);
    }
    bytes.push(0);
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&[&bytes, body].concat()).expect("written");
    file.rewind().expect("at its beginning");
    file
}

#[test]
fn a_page_unpacks_to_no_more_than_it_says() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![0; 4 << 20]).expect("packed");
    let packed = packed.finish().expect("packed");
    let mut brotli = Vec::new();
    brotli::CompressorWriter::new(&mut brotli, 4096, 5, 22).write_all(&vec![0; 4 << 20]).expect("packed");
    let check = |file: &File, compression| {
        let end = file.metadata().expect("its length").len();
        check_page(&mut BufReader::new(file), end, compression)
    };
    let gzip = Compression::GZIP(parquet::basic::GzipLevel::default());
    check(&page(4 << 20, &packed, None), gzip).expect("as it says");
    let behind_levels = [&[7; 3], &packed[..]].concat();
    check(&page(4 << 20, &behind_levels, Some(3)), gzip).expect("as it says, behind levels");
    check(&page(4 << 20, &brotli, None), Compression::BROTLI(parquet::basic::BrotliLevel::default())).expect("so too");
    for (file, compression) in [
        (page(1000, &packed, None), gzip),
        (page(1000, &behind_levels, Some(3)), gzip),
        (page(1000, &brotli, None), Compression::BROTLI(parquet::basic::BrotliLevel::default())),
        (page(1 << 31, &[0; 100], None), Compression::SNAPPY),
    ] {
        let error = check(&file, compression).expect_err("more than it says");
        assert!(error.to_string().contains("unpack"), "{error}");
    }
}

#[test]
fn files_with_changed_bytes_never_end_the_process() {
    use crate::source::{Columns, open_dataset};

    let assets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/figures.parquet");
    let whole = std::fs::read(assets).expect("the figures");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("train.parquet");
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let footer = u32::from_le_bytes(*whole[..whole.len() - 4].last_chunk().expect("long enough")) as usize;
    let mut refused = 0;
    for attempt in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..=attempt % 3 {
            // Mostly in the metadata, where numbers are that readers believe.
            let place = if attempt % 4 == 0 { next(bytes.len()) } else { bytes.len() - 8 - footer + next(footer) };
            bytes[place] = next(256) as u8;
        }
        std::fs::write(&path, bytes).expect("written");
        let read = || -> crate::Result<()> {
            let dataset = open_dataset(&path, &Columns::default())?;
            (0..dataset.len().min(3)).try_for_each(|row| dataset.row(row).map(drop))
        };
        refused += usize::from(read().is_err());
    }
    assert!(refused > 50, "{refused}");
}
