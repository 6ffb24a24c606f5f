//! What is written is what the safetensors crate writes, in shards or whole.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::{Dtype, tensor::TensorView};

use super::*;
use crate::{nn::Linear, transformer::CogView4TransformerConfig};

fn device() -> Device {
    crate::DeviceSpec::default().open().expect("a device")
}

/// The file as the crate makes it of all values at once.
fn serialized(tensors: &BTreeMap<String, TensorData>) -> Vec<u8> {
    let view = |(name, data): (&String, &'_ TensorData)| {
        let dtype = if data.dtype() == DType::BF16 { Dtype::BF16 } else { Dtype::F32 };
        let bytes = data.as_bytes().to_vec();
        (name.clone(), dtype, data.shape().as_slice().to_vec(), bytes)
    };
    let parts: Vec<_> = tensors.iter().map(view).collect();
    let views = parts.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).expect("bytes of this shape"))
    });
    safetensors::serialize(views, Some([("format".into(), "pt".into())].into())).expect("a file")
}

#[test]
fn files_are_those_of_the_safetensors_crate() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tensors.safetensors");
    let data = |first: usize, shape: &[usize], dtype| {
        let values = (first..).take(shape.iter().product()).map(|value| value as f32 * 0.3).collect::<Vec<_>>();
        TensorData::new(values, shape).convert_dtype(dtype)
    };
    // Both types, names out of order, an empty tensor, a single value, and a header of every length modulo 8.
    for length in 1..9 {
        let tensors: BTreeMap<String, TensorData> = [
            ("z".repeat(length), data(1, &[2, 3], DType::F32)),
            ("b.weight".into(), data(2, &[3], DType::BF16)),
            ("a.weight".into(), data(3, &[5, 1], DType::BF16)),
            ("empty".into(), data(4, &[0, 4], DType::F32)),
            ("c".into(), data(5, &[], DType::F32)),
        ]
        .into();
        save_tensors(&path, tensors.clone().into_iter().rev()).expect("written");
        assert_eq!(fs::read(&path).expect("the file"), serialized(&tensors));
        assert_eq!(sliced(folder.path(), &tensors), serialized(&tensors));
    }
    save_tensors(&path, BTreeMap::<String, TensorData>::new()).expect("written");
    assert_eq!(fs::read(&path).expect("the file"), serialized(&BTreeMap::new()));
}

/// The file as two writers make it: one has the first value of each tensor, the other the rest.
fn sliced(folder: &std::path::Path, tensors: &BTreeMap<String, TensorData>) -> Vec<u8> {
    let path = folder.join("sliced.safetensors");
    let layouts: Vec<_> =
        tensors.iter().map(|(key, data)| (key.clone(), data.dtype(), data.shape().as_slice().to_vec())).collect();
    let writer = || SlicedWeights::of_file(&path, layouts.clone()).expect("a layout");
    writer().create().expect("made");
    for part in [1.., 0..] {
        let mut writer = writer();
        for (key, data) in tensors {
            let first = part.start.min(data.num_elements());
            let end = if part.start == 0 { data.num_elements().min(1) } else { data.num_elements() };
            let values = data.clone().convert_dtype(DType::F32);
            let values = values.as_slice::<f32>().expect("f32")[first..end].to_vec();
            let count = values.len();
            writer.write(key, first, TensorData::new(values, [count])).expect("written");
        }
        writer.sync().expect("on the disk");
    }
    fs::read(path).expect("the file")
}

#[test]
fn a_model_is_written_as_it_is_or_cast() {
    let config = CogView4TransformerConfig {
        num_layers: 2,
        num_attention_heads: 2,
        attention_head_dim: 8,
        text_embed_dim: 32,
        ..CogView4TransformerConfig::default()
    };
    let model = config.init(&device());
    let folder = tempfile::tempdir().expect("a folder");
    let written = || fs::read(folder.path().join("diffusion_pytorch_model.safetensors")).expect("the file");
    let values = |model: &_| {
        let mut values = BTreeMap::new();
        for_each_parameter(model, |key, data| assert!(values.insert(key.to_owned(), data).is_none()));
        values
    };
    model.save(folder.path()).expect("written");
    assert_eq!(written(), serialized(&values(&model)));
    save_sources(parameter_sources(&model, Some(DType::BF16)), folder.path(), DIFFUSION_WEIGHTS).expect("written");
    assert_eq!(written(), serialized(&values(&cast_parameters(model, DType::BF16))));
}

#[test]
fn values_are_made_one_after_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, made) = (folder.path().join("tensors.safetensors"), AtomicUsize::new(0));
    let source = |place: usize| {
        let made = &made;
        TensorSource::new(DType::F32, [4], move || {
            assert_eq!(made.swap(place + 1, Ordering::Relaxed), place, "in the order of the file");
            TensorData::ones::<f32, _>([4])
        })
    };
    let sources = [source(2), source(1), source(0)];
    assert_eq!(made.load(Ordering::Relaxed), 0, "nothing is read before");
    save_tensors(&path, ["c", "b", "a"].into_iter().zip(sources)).expect("written");
    assert_eq!(made.load(Ordering::Relaxed), 3);
}

#[test]
fn values_of_another_shape_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tensors.safetensors");
    let source = TensorSource::new(DType::F32, [4], || TensorData::ones::<f32, _>([2, 2]));
    let message = save_tensors(&path, [("key", source)]).expect_err("refused").to_string();
    assert_eq!(message, format!("cannot write {}: `key` has shape [2, 2], announced was [4]", path.display()));
    assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 0, "nothing is left over");
}

#[test]
fn shards_hold_what_one_file_holds() {
    let layers: Vec<Linear> = (0..3).map(|_| Linear::init(4, 6, &device())).collect();
    let [whole, parts] = [(), ()].map(|()| tempfile::tempdir().expect("a folder"));
    save_module(&layers, whole.path(), "model").expect("one file");
    save_shards(&layers, parts.path(), "model", 130).expect("shards");
    let [whole, parts] = [whole, parts].map(|folder| {
        let count = fs::read_dir(folder.path()).expect("the folder").count();
        (count, WeightFiles::open(folder.path(), "model").expect("the files"))
    });
    assert_eq!((whole.0, parts.0), (1, 4), "three shards and an index");
    for key in whole.1.keys() {
        let read =
            |files: &WeightFiles| files.read(key, DType::F32).expect("the key").try_to_vec::<f32>().expect("f32");
        assert_eq!(read(&whole.1), read(&parts.1), "{key}");
    }
    assert_eq!(whole.1.keys().count(), parts.1.keys().count());
}

#[test]
fn gradients_are_taken_by_key() {
    let layer = Linear::init(3, 2, &device().autodiff());
    let input = Tensor::<2>::ones([5, 3], &device().autodiff());
    let mut taken = Vec::new();
    let gradients = layer.forward(input).sum().backward();
    for_each_gradient(&layer, gradients, |key, data| {
        taken.push((key.to_owned(), data.try_to_vec::<f32>().expect("f32")))
    });
    assert_eq!(taken, [("weight".to_owned(), vec![5.0; 6]), ("bias".to_owned(), vec![5.0; 2])]);
}

#[test]
fn files_that_change_in_place_are_those_that_are_written() {
    let model =
        CogView4TransformerConfig { num_layers: 2, num_attention_heads: 2, ..Default::default() }.init(&device());
    for dtype in [DType::F32, DType::BF16] {
        let [written, changed] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        save_sources(parameter_sources(&model, Some(dtype)), written.path(), DIFFUSION_WEIGHTS).expect("written");
        let shapes = parameter_shapes(&model);
        let mut weights = WeightsInPlace::create(changed.path(), DIFFUSION_WEIGHTS, shapes, dtype).expect("files");
        for_each_parameter(&model, |key, data| {
            weights.bytes_mut(key).copy_from_slice(data.convert_dtype(dtype).as_bytes());
        });
        // A tensor that is gone gives its memory back, whatever the device.
        let first = weights.lend("proj_out.bias");
        drop(crate::ops::tensor_of::<1>(first, &device()) + 1.0);
        assert_ne!(weights.bytes_mut("proj_out.bias").len(), 0);
        weights.commit().expect("committed");
        let file = |folder: &tempfile::TempDir| fs::read(folder.path().join("diffusion_pytorch_model.safetensors"));
        assert!(file(&written).expect("a file") == file(&changed).expect("a file"), "{dtype:?}");
        assert_eq!(fs::read_dir(changed.path()).expect("a folder").count(), 1);
    }
}
