//! The optimiser against PyTorch's.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

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
        (model, is_finite) = optimizer.step(step + 1, rate.as_f64().unwrap(), model, gradients);
        assert!(is_finite);
        let parameter = model.p.val().into_data().try_into_vec::<f32>().unwrap();
        let moments: Vec<(String, Vec<f32>)> =
            optimizer.tensors().into_iter().map(|(key, source)| (key, source.read().try_into_vec().unwrap())).collect();
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
        let (_, is_finite) = AdamW::new(AdamWConfig::default()).step(1, rate, model, gradients);
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
