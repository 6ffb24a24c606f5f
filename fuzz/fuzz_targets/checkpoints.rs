//! A checkpoint: `state.json`, `manifest.json` and `optimizer.safetensors`. Without a manifest (an empty part) it is
//! one of an earlier release, of which no hash is compared.
#![no_main]

use cogview4_fuzz::{Scratch, parts, said, target};
use cogview4_trainer::fuzzing::read_checkpoint;

target!(read);

fn read(data: &[u8]) {
    let folder = Scratch::new();
    for (name, part) in ["state.json", "manifest.json", "optimizer.safetensors"].iter().zip(parts(data, 3)) {
        if !part.is_empty() {
            folder.write(&format!("checkpoint/{name}"), part);
        }
    }
    said(read_checkpoint(folder.path(), &folder.path().join("checkpoint")));
}
