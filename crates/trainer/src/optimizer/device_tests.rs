//! Steps on a device against those on the host, and checkpoints of one read by the other.

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor},
};
use cogview4_model::{DeviceSpec, TorchGenerator};

use super::*;
use crate::tests::distance;

/// Parameters of many values, of few, and one that is not trained.
#[derive(Module, Debug)]
struct Model {
    large: Param<Tensor<2>>,
    small: Param<Tensor<1>>,
    frozen: Param<Tensor<1>>,
}

const LARGE: [usize; 2] = [70, 1003];
const RATE: f64 = 1e-3;

fn normal(seed: u64, count: usize) -> Vec<f32> {
    TorchGenerator::new(seed).randn(count)
}

fn model(device: &Device) -> Model {
    let tensor = |seed, count| Tensor::<1>::from_data(normal(seed, count).as_slice(), device);
    Model {
        large: Param::from_tensor(tensor(1, LARGE[0] * LARGE[1]).reshape(LARGE)),
        small: Param::from_tensor(tensor(2, 5)),
        frozen: Param::from_tensor(tensor(3, 7)),
    }
}

/// A clipped gradient of step `number`, in this type.
fn gradients(number: usize, dtype: DType, place: &StatePlace) -> Gradients {
    let mut gradients = match place {
        StatePlace::Device(_) => Gradients::on_device(),
        _ => Gradients::default(),
    };
    let device = match place {
        StatePlace::Device(device) => device.clone(),
        _ => Device::flex(),
    }
    .autodiff();
    // The gradient of a product is its other factor.
    let leaf = |shape: usize| Tensor::<1>::zeros([shape], (&device, dtype)).require_grad();
    let factors = Model {
        large: Param::from_tensor(leaf(LARGE[0] * LARGE[1]).reshape(LARGE).detach().require_grad()),
        small: Param::from_tensor(leaf(5)),
        frozen: Param::from_tensor(Tensor::zeros([7], (&device, dtype))),
    };
    let other =
        |seed: usize, count| Tensor::<1>::from_data(normal(seed as u64, count).as_slice(), &device).cast(dtype) * 0.1;
    for micro in 0..2 {
        let seed = 10 * number + 2 * micro;
        let loss = (factors.large.val() * other(seed, LARGE[0] * LARGE[1]).reshape(LARGE)).sum()
            + (factors.small.val() * other(seed + 1, 5)).sum();
        gradients.take(&factors, loss.backward(), 0.5);
    }
    gradients
}

struct Run {
    optimizer: AdamW,
    model: Model,
    dtype: DType,
    place: StatePlace,
}

impl Run {
    fn begin(dtype: DType, place: StatePlace) -> Self {
        let device = if let StatePlace::Device(device) = &place { device.clone() } else { Device::flex() };
        let options = StateOptions { place: place.clone(), ..StateOptions::default() };
        let mut optimizer = AdamW::with_options(AdamWConfig::default(), options).unwrap();
        let model = optimizer.narrow(model(&device), dtype).unwrap();
        Self { optimizer, model, dtype, place }
    }

    /// Makes a step, and gives the norm of its gradients.
    fn step(&mut self, number: usize) -> f64 {
        let mut gradients = gradients(number, self.dtype, &self.place);
        let norm = gradients.clip_norm(1.0);
        let (model, is_finite) = self.optimizer.step(number, RATE, self.model.clone(), gradients).unwrap();
        assert!(is_finite);
        self.model = model;
        norm
    }

    /// What a checkpoint has: weights and moments by name, in f32.
    fn stored(&self) -> Vec<(String, Vec<f32>)> {
        let weights = self.optimizer.weight_slices(&self.model, DType::F32);
        let read = |slice: Slice| (slice.name, slice.source.read().unwrap().try_into_vec().unwrap());
        weights.into_iter().chain(self.optimizer.moment_slices()).map(read).collect()
    }

    /// A run that goes on with what another has stored.
    fn resume(stored: &[(String, Vec<f32>)], dtype: DType, place: StatePlace) -> Self {
        let device = if let StatePlace::Device(device) = &place { device.clone() } else { Device::flex() };
        let tensor = |name: &str| {
            let (_, values) = stored.iter().find(|(stored, _)| stored == name).unwrap();
            Tensor::<1>::from_data(values.as_slice(), &device)
        };
        let model = Model {
            large: Param::from_tensor(tensor("large").reshape(LARGE)),
            small: Param::from_tensor(tensor("small")),
            frozen: Param::from_tensor(tensor("frozen")),
        };
        let options = StateOptions { place: place.clone(), ..StateOptions::default() };
        let mut optimizer = AdamW::with_options(AdamWConfig::default(), options).unwrap();
        for (key, length) in [("large", LARGE[0] * LARGE[1]), ("small", 5)] {
            let moment = |name: &str| {
                let (_, values) = stored.iter().find(|(stored, _)| *stored == format!("{name}.{key}")).unwrap();
                StoredMoment::Full(values.clone())
            };
            let extent = optimizer.extent(key, length);
            optimizer.restore(key, &extent, MOMENTS.map(moment)).unwrap();
        }
        let model = optimizer.narrow(model, dtype).unwrap();
        Self { optimizer, model, dtype, place }
    }
}

#[track_caller]
fn assert_close(what: &str, found: &[(String, Vec<f32>)], expected: &[(String, Vec<f32>)], tolerance: f64) {
    assert_eq!(found.len(), 3 + 4, "{what}");
    for ((name, found), (same, expected)) in found.iter().zip(expected) {
        assert_eq!(name, same);
        let distance = distance(found, expected);
        assert!(distance <= tolerance, "{what}, {name}: {distance:.2e}");
    }
}

/// The CPUs that are part of this build, as devices that the state may be on.
fn devices() -> Vec<Device> {
    [DeviceSpec::Flex, DeviceSpec::Libtorch].into_iter().filter_map(|spec| spec.open().ok()).collect()
}

#[test]
fn steps_on_a_device_are_those_of_the_host() {
    for device in devices() {
        for dtype in [DType::F32, DType::BF16] {
            let place = StatePlace::Device(device.clone());
            let (mut host, mut own) = (Run::begin(dtype, StatePlace::Memory), Run::begin(dtype, place));
            assert!(own.optimizer.is_on_device() && !host.optimizer.is_on_device());
            for number in 1..=8 {
                let [host_norm, own_norm] = [host.step(number), own.step(number)];
                assert!((own_norm / host_norm - 1.0).abs() < 1e-6, "{host_norm} {own_norm}");
                let tolerance = if number == 1 { 1e-6 } else { 2e-5 };
                assert_close(&format!("{device:?} {dtype:?} {number}"), &own.stored(), &host.stored(), tolerance);
            }
            if dtype == DType::BF16 {
                let values = |run: &Run| run.model.large.val().into_data();
                assert_eq!(values(&own).dtype(), DType::BF16);
                let frozen = |run: &Run| run.model.frozen.val().into_data();
                assert_eq!(frozen(&own), frozen(&host));
            }
        }
    }
}

#[test]
fn each_reads_the_checkpoints_of_the_other() {
    for device in devices() {
        for dtype in [DType::F32, DType::BF16] {
            let places = [StatePlace::Memory, StatePlace::Device(device.clone())];
            for (from, to) in [(0, 1), (1, 0)].map(|(from, to)| (places[from].clone(), places[to].clone())) {
                let mut whole = Run::begin(dtype, from.clone());
                (1..=4).for_each(|number| _ = whole.step(number));
                let stored = whole.stored();
                let mut resumed = Run::resume(&stored, dtype, to);
                assert_close("what is read", &resumed.stored(), &stored, 0.0);
                (5..=8).for_each(|number| {
                    whole.step(number);
                    resumed.step(number);
                });
                assert_close("what follows", &resumed.stored(), &whole.stored(), 2e-5);
                // Where it was written it goes on bit for bit.
                let mut again = Run::resume(&stored, dtype, from);
                (5..=8).for_each(|number| _ = again.step(number));
                assert!(again.stored() == whole.stored());
            }
        }
    }
}

#[test]
fn a_checkpoint_is_of_the_step_that_it_was_taken_after() {
    let mut run = Run::begin(DType::BF16, StatePlace::Device(Device::flex()));
    run.step(1);
    let before = run.stored();
    let snapshot = (run.optimizer.weight_slices(&run.model, DType::F32), run.optimizer.moment_slices());
    run.step(2);
    let read = |slice: Slice| (slice.name, slice.source.read().unwrap().try_into_vec::<f32>().unwrap());
    let later: Vec<_> = snapshot.0.into_iter().chain(snapshot.1).map(read).collect();
    assert!(later == before && run.stored() != before);
}

#[test]
fn a_device_says_when_numbers_break() {
    for device in devices() {
        for (start, gradient) in [(1.0, f32::NAN), (1.0, f32::INFINITY), (f32::MAX, -3.0), (1.0, 1e30)] {
            let options = StateOptions { place: StatePlace::Device(device.clone()), ..StateOptions::default() };
            let mut optimizer = AdamW::with_options(AdamWConfig::default(), options).unwrap();
            let model = Model { small: Param::from_tensor(Tensor::from_data([start; 5], &device)), ..model(&device) };
            let gradients = [("small".to_string(), vec![gradient; 5])].into_iter().collect();
            let rate = if gradient == -3.0 { 1e38 } else { 0.1 };
            let (_, is_finite) = optimizer.step(1, rate, model, gradients).unwrap();
            assert!(!is_finite, "{start} {gradient}");
        }
    }
}
