//! Safetensors: one file, or an index and two shards. Every tensor is read in every way there is.
#![no_main]

use burn::tensor::DType;
use cogview4_control_pipeline::plan::ComponentWeights;
use cogview4_fuzz::{Scratch, parts, said, target};
use cogview4_model::weights::{TRANSFORMERS_WEIGHTS, WeightFiles, compare_tensor, summarize};

/// Tensors that are read of an input.
const MOST: usize = 32;

target!(read);

fn read(data: &[u8]) {
    let folder = Scratch::new();
    let files = match parts(data, 3)[..] {
        [one] => WeightFiles::open_file(&folder.write("one.safetensors", one)),
        [index, ref shards @ ..] => {
            folder.write("model.safetensors.index.json", index);
            for (number, shard) in shards.iter().enumerate() {
                folder.write(&format!("model-{}.safetensors", number + 1), shard);
            }
            WeightFiles::open(folder.path(), TRANSFORMERS_WEIGHTS)
        }
        [] => unreachable!("one part at least"),
    };
    let Some(files) = said(files) else { return };
    for key in files.keys().take(MOST) {
        read_tensor(&files, key);
    }
    summarize(&files).take(MOST).for_each(|summary| drop(said(summary)));
    ComponentWeights::of(&files);
}

fn read_tensor(files: &WeightFiles, key: &str) {
    let (_, shape) = files.shape(key).expect("the key is there");
    let shape = shape.to_vec();
    for dtype in [DType::F32, DType::BF16, DType::F64] {
        let Some(values) = said(files.read(key, dtype)) else { continue };
        assert_eq!((values.dtype(), values.num_elements()), (dtype, shape.iter().product()), "{key}");
        let borrowed = files.borrow(key, dtype).expect("it was read");
        assert_eq!(borrowed.as_bytes(), values.as_bytes(), "{key} as {dtype:?}");
        if let [rows, width] = shape[..]
            && rows > 0
            && !files.is_int8(key)
        {
            let row = files.read_row(key, rows - 1, dtype).expect("it was read");
            assert_eq!(row.num_elements(), width, "{key}");
        }
    }
    said(files.read_u8(key));
    for is_mapped in [false, true] {
        if let Some(matrix) = said(files.read_int8(key, is_mapped)) {
            matrix.to_data(DType::F32);
        }
    }
    assert_eq!(compare_tensor([files, files], key).expect("a file that stays"), None, "{key}");
}
