//! How much memory writing takes, counted by the program's allocator. A program of its own, as nothing else may
//! allocate.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use burn::tensor::{DType, Device, Tensor, TensorData};
use cogview4_model::{
    nn::Linear,
    weights::{TensorSource, parameter_sources, save_sources, save_tensors},
};

/// The system's allocator, and how much it has given out: now, and at most.
struct Counting {
    now: AtomicUsize,
    peak: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Counting = Counting { now: AtomicUsize::new(0), peak: AtomicUsize::new(0) };

#[expect(unsafe_code, reason = "allocators are unsafe by definition")]
// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = self.now.fetch_add(layout.size(), Relaxed) + layout.size();
        self.peak.fetch_max(now, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.now.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Bytes that were held at most while the function ran, beyond those held before.
fn peak(function: impl FnOnce()) -> usize {
    let before = ALLOCATOR.now.load(Relaxed);
    ALLOCATOR.peak.store(before, Relaxed);
    function();
    ALLOCATOR.peak.load(Relaxed) - before
}

/// Side of the matrices, and bytes of one.
const SIDE: usize = 1024;
const BYTES: usize = SIDE * SIDE * size_of::<f32>();
/// What writing takes beside tensors.
const SLACK: usize = 256 << 10;

#[test]
fn one_tensor_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = || TensorSource::new(DType::F32, [SIDE, SIDE], || TensorData::ones::<f32, _>([SIDE, SIDE]));
    let tensors: Vec<_> = (0..8).map(|index| (format!("tensors.{index}"), source())).collect();
    let path = folder.path().join("tensors.safetensors");
    let held = peak(|| save_tensors(&path, tensors).expect("written"));
    assert!((BYTES..BYTES + SLACK).contains(&held), "{held} bytes for tensors of {BYTES}");

    let device = Device::default();
    let layers: Vec<Linear> = (0..8).map(|_| Linear::init(SIDE, SIDE, &device)).collect();
    let total: f32 = layers
        .iter()
        .map(|layer| layer.forward(Tensor::<2>::ones([1, SIDE], &device)).sum())
        .fold(0.0, |total, sum| total + sum.into_scalar::<f32>());
    assert!(total.is_finite(), "all parameters are there");
    // A parameter is cast, and what was cast is copied out of its tensor.
    let held =
        peak(|| save_sources(parameter_sources(&layers, Some(DType::BF16)), folder.path(), "model").expect("written"));
    assert!(held < BYTES + SLACK, "{held} bytes for parameters of {BYTES}");
}
