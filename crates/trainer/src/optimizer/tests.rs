//! The optimiser against PyTorch's.

use std::collections::BTreeMap;

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor, TensorData},
};
use cogview4_model::weights::WeightsInPlace;
use half::bf16;

use super::*;
use crate::tests::{Fixture, distance, json};

/// A model of one parameter.
#[derive(Module, Debug)]
struct Parameter {
    p: Param<Tensor<1>>,
}

#[test]
fn adamw_and_its_moments() {
    let fixture = Fixture::open("adamw.safetensors", &Device::flex());
    let config = AdamWConfig { beta1: 0.9, beta2: 0.999, weight_decay: 1e-2, epsilon: 1e-8 };
    let mut optimizer = AdamW::new(config);
    let mut model = Parameter { p: Param::from_tensor(fixture.tensor("start")) };
    for (step, rate) in json("rates.json").as_array().unwrap().iter().enumerate() {
        let gradient = fixture.values(&format!("{step}.gradient"));
        let gradients = [("p".to_string(), gradient)].into_iter().collect();
        let is_finite;
        (model, is_finite) = optimizer.step(step + 1, rate.as_f64().unwrap(), model, gradients).unwrap();
        assert!(is_finite);
        let parameter = model.p.val().into_data().try_into_vec::<f32>().unwrap();
        let moments: Vec<(String, Vec<f32>)> =
            moments(&optimizer).into_iter().map(|(key, data)| (key, data.try_into_vec().unwrap())).collect();
        assert_eq!(moments.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["exp_avg.p", "exp_avg_sq.p"]);
        for (name, found) in [("parameter", &parameter), ("exp_avg", &moments[0].1), ("exp_avg_sq", &moments[1].1)] {
            let distance = distance(found, &fixture.values(&format!("{step}.{name}")));
            assert!(distance <= 1e-6, "step {step}, {name}: {distance:.2e}");
        }
    }
}

#[test]
fn clipping_scales_all_gradients_together() {
    let mut gradients: Gradients = [("a".into(), vec![3.0; 4]), ("b".into(), vec![4.0; 4])].into_iter().collect();
    assert!((gradients.clip_norm(1.0) - 10.0).abs() < 1e-12);
    let before = gradients.clone();
    gradients.clip_norm(5.0);
    assert_eq!(gradients, before);
    for (key, expected) in [("a", 0.3_f32), ("b", 0.4)] {
        let values = gradients.remove(key).unwrap();
        assert!(values.iter().all(|value| (value - expected).abs() < 1e-7), "{values:?}");
    }
}

#[test]
fn a_step_says_when_numbers_break() {
    for (start, gradient) in [(1.0, f32::NAN), (1.0, f32::INFINITY), (f32::MAX, -3.0), (1.0, 1e30)] {
        let model = Parameter { p: Param::from_tensor(Tensor::from_data([start, 1.0], &Device::flex())) };
        let gradients = [("p".to_string(), vec![gradient, 1.0])].into_iter().collect();
        let rate = if gradient == -3.0 { 1e38 } else { 0.1 };
        let (_, is_finite) = AdamW::new(AdamWConfig::default()).step(1, rate, model, gradients).unwrap();
        assert!(!is_finite, "{start} {gradient}");
    }
}

#[test]
fn weights_of_parts_add_up() {
    let device = Device::flex().autodiff();
    let model = Parameter { p: Param::from_tensor(Tensor::<1>::from_data([2.0, 3.0], &device).require_grad()) };
    let pass = || model.p.val().square().sum().backward();
    let (mut whole, mut parts) = (Gradients::default(), Gradients::default());
    whole.take(&model, pass(), 1.0);
    parts.take(&model, pass(), 0.25);
    parts.take(&model, pass(), 0.75);
    assert_eq!(whole.remove("p"), Some(vec![4.0, 6.0]));
    assert_eq!(parts.remove("p"), Some(vec![4.0, 6.0]));
}

/// Five steps of bitsandbytes on the CPU, whose quantiser is approximate.
#[test]
fn moments_in_8_bits_are_those_of_bitsandbytes() {
    let fixture = Fixture::open("adam8bit.safetensors", &Device::flex());
    for name in ["large", "small"] {
        let mut model = parameter(fixture.values(&format!("{name}.start")));
        let options = StateOptions { use_8bit: true, ..StateOptions::default() };
        let config = AdamWConfig { weight_decay: 1e-2, ..AdamWConfig::default() };
        let mut optimizer = AdamW::with_options(config, options).unwrap();
        for (step, rate) in [1e-3, 5e-4, 0.0, 2e-3, 1e-3].into_iter().enumerate() {
            let of = |what: &str| format!("{name}.{step}.{what}");
            let gradients = [("p".to_string(), fixture.values(&of("gradient")))].into_iter().collect();
            (model, _) = optimizer.step(step + 1, rate, model, gradients).unwrap();
            let distance = distance(&values(&model), &fixture.values(&of("parameter")));
            assert!(distance <= 1e-5, "{name}, step {step}: {distance:.2e}");
            let tensors: BTreeMap<String, TensorData> = moments(&optimizer).into_iter().collect();
            assert_eq!(tensors.len(), if name == "large" { 4 } else { 2 });
            for (moment, table) in [("exp_avg", "signed"), ("exp_avg_sq", "unsigned")] {
                if name == "small" {
                    continue;
                }
                let table = fixture.values(&format!("{table}.table"));
                let codes = tensors[&format!("{moment}.p")].as_slice::<u8>().unwrap();
                let expected = fixture.0.read_u8(&of(moment)).unwrap().unwrap();
                // Near zero many codes are close together.
                let value = |code: u8| table[usize::from(code)];
                let apart = codes.iter().zip(&expected).map(|(a, b)| (value(*a) - value(*b)).abs());
                let most = apart.fold(0.0, f32::max);
                assert!(most <= 0.015, "{moment}, step {step}: {most}");
                let steps = codes.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                let allowed = if moment == "exp_avg" { 1 + step as u8 } else { 7 };
                assert!(steps <= allowed, "{moment}, step {step}: {steps}");
                let equal = codes.iter().zip(&expected).filter(|(a, b)| a == b).count();
                let equal = equal as f64 / codes.len() as f64;
                assert!(equal > 0.95, "{moment}, step {step}: {equal}");
                let scales = tensors[&format!("{moment}_absmax.p")].clone().try_into_vec::<f32>().unwrap();
                let expected = fixture.values(&of(&format!("{moment}_absmax")));
                assert!(self::distance(&scales, &expected) < 1e-5);
            }
        }
    }
}

fn moments(optimizer: &AdamW) -> Vec<(String, TensorData)> {
    optimizer.moment_slices().into_iter().map(|slice| (slice.name, slice.source.read().unwrap())).collect()
}

/// What a checkpoint has of a parameter: its master, if there is one.
fn f32_values(optimizer: &AdamW, model: &Parameter) -> Vec<f32> {
    let slice = optimizer.weight_slices(model, DType::F32).pop().unwrap();
    slice.source.read().unwrap().try_into_vec().unwrap()
}

/// Values of a parameter after some steps, those of its master, and the moments.
type Stepped = (Vec<f32>, Vec<f32>, Vec<(String, TensorData)>);

/// Steps of a parameter of many values, with the state kept in this way.
fn steps(options: StateOptions, dtype: DType) -> Stepped {
    steps_of(AdamW::with_options(AdamWConfig::default(), options).unwrap(), dtype)
}

const COUNT: usize = 70_001;

fn steps_of(mut optimizer: AdamW, dtype: DType) -> Stepped {
    let wave = |scale: f32| (0..COUNT).map(move |index| (index as f32 * scale).sin()).collect::<Vec<f32>>();
    let mut model = optimizer.narrow(parameter(wave(0.37)), dtype).unwrap();
    for number in 1..=4 {
        let mut gradients: Gradients = [("p".to_string(), wave(0.011 * number as f32))].into_iter().collect();
        gradients.clip_norm(1.0);
        (model, _) = optimizer.step(number, 1e-2, model, gradients).unwrap();
    }
    let narrow = f32_values(&AdamW::new(AdamWConfig::default()), &model);
    (narrow, f32_values(&optimizer, &model), moments(&optimizer))
}

#[test]
fn where_the_state_is_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for use_8bit in [false, true] {
        for (dtype, stochastic_rounding) in [(DType::F32, None), (DType::BF16, None), (DType::BF16, Some(5))] {
            let options = StateOptions { use_8bit, stochastic_rounding, place: StatePlace::Memory };
            let place = StatePlace::Disk(folder.path().into());
            let (memory, disk) = (steps(options.clone(), dtype), steps(StateOptions { place, ..options }, dtype));
            assert!(memory == disk, "{use_8bit} {dtype:?} {stochastic_rounding:?}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    let options = StateOptions { place: StatePlace::Disk(folder.path().join("absent")), ..StateOptions::default() };
    let error = AdamW::with_options(AdamWConfig::default(), options).unwrap_err().to_string();
    assert!(error.starts_with("scratch_dir: ") && error.contains("absent"), "{error}");
}

#[test]
fn where_the_parameters_lie_changes_nothing() {
    for (dtype, seed) in [(DType::F32, None), (DType::BF16, None), (DType::BF16, Some(5))] {
        let folder = tempfile::tempdir().unwrap();
        let options = StateOptions { stochastic_rounding: seed, ..StateOptions::default() };
        let own = steps(options.clone(), dtype);
        let parameters = [("p".to_string(), vec![COUNT])];
        let weights = WeightsInPlace::create(folder.path(), "weights", parameters, dtype).unwrap();
        let optimizer = AdamW::with_options(AdamWConfig::default(), options).unwrap();
        assert!(steps_of(optimizer.with_weights(weights), dtype) == own, "{dtype:?} {seed:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "never committed");
    }
}

#[test]
fn a_narrow_parameter_follows_its_master() {
    let (full, whole, _) = steps(StateOptions::default(), DType::F32);
    assert_eq!(full, whole);
    let (narrow, masters, _) = steps(StateOptions::default(), DType::BF16);
    assert_eq!(masters, full);
    assert!(narrow.iter().zip(&full).all(|(narrow, value)| *narrow == bf16::from_f32(*value).to_f32()));
}

#[test]
fn rounding_at_random_repeats() {
    let options = |seed| StateOptions { stochastic_rounding: Some(seed), ..StateOptions::default() };
    let [first, again, other] = [1, 1, 2].map(|seed| steps(options(seed), DType::BF16).0);
    assert!(first == again && first != other);
    // Without a master every step is rounded, but the steps' mean is what it was.
    let (full, ..) = steps(StateOptions::default(), DType::F32);
    let mean = |values: &[f32]| values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
    let difference: Vec<f32> = first.iter().zip(&full).map(|(a, b)| a - b).collect();
    assert!(mean(&difference).abs() < 5e-5, "{}", mean(&difference));
}

fn parameter(values: Vec<f32>) -> Parameter {
    Parameter { p: Param::from_tensor(Tensor::from_data(values.as_slice(), &Device::flex())) }
}

fn values(model: &Parameter) -> Vec<f32> {
    model.p.val().into_data().try_into_vec().unwrap()
}
