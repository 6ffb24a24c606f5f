//! What a run that goes on reads of itself, `metrics.jsonl` and `validation.jsonl`, and all that is drawn from it: the
//! report, the card, the files of TensorBoard and W&B.
#![no_main]

use cogview4_fuzz::{Scratch, parts, said, target};
use cogview4_trainer::fuzzing::track;

target!(read);

fn read(data: &[u8]) {
    let folder = Scratch::new();
    for (name, part) in ["metrics.jsonl", "validation.jsonl"].iter().zip(parts(data, 2)) {
        folder.write(name, part);
    }
    said(track(folder.path()));
}
