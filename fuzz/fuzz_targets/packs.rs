//! A pack: `index.jsonl` and `pack.bin`. All records that the index names are read; then one is appended, which must be
//! there, and still be there when the pack is opened again.
#![no_main]

use burn::tensor::TensorData;
use cogview4_data::{Pack, PackKey};
use cogview4_fuzz::{Scratch, parts, said, target};
use serde_json::Value;

const MOST_RECORDS: usize = 16;

target!(read);

fn read(data: &[u8]) {
    let folder = Scratch::new();
    let parts = parts(data, 2);
    for (name, part) in ["index.jsonl", "pack.bin"].iter().zip(&parts) {
        folder.write(name, part);
    }
    let Some(pack) = said(Pack::open(folder.path())) else { return };
    for key in parts[0].split(|&byte| byte == b'\n').filter_map(key).take(MOST_RECORDS) {
        for axes in 0..4 {
            said(pack.read(&key, axes));
        }
    }
    let (key, values) = (PackKey::new(&[b"appended"]), TensorData::new(vec![0.5_f32, 1.5], [2, 1]));
    if pack.contains(&key) || said(pack.append(key.clone(), &values)).is_none() {
        return;
    }
    assert_eq!(pack.read(&key, 2).expect("appended"), values);
    drop(pack);
    let pack = Pack::open(folder.path()).expect("it was a pack");
    assert_eq!(pack.read(&key, 2).expect("it stays"), values);
}

/// The key of a line of the index.
fn key(line: &[u8]) -> Option<PackKey> {
    let line: Value = serde_json::from_slice(line).ok()?;
    serde_json::from_value(line["key"].clone()).ok()
}
