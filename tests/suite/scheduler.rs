//! Both series of the scheduler against diffusers.

use cogview4::model::{FlowMatchEulerScheduler, FlowMatchEulerSchedulerConfig, scheduler::StepSchedule};
use serde_json::Value;

use crate::support::json;

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn schedule(case: &Value) -> StepSchedule {
    match (&case["steps"], &case["timesteps"], &case["sigmas"]) {
        (Value::Number(steps), ..) => StepSchedule::Steps(steps.as_u64().unwrap() as usize),
        (_, timesteps, Value::Null) => StepSchedule::Timesteps(floats(timesteps)),
        (_, Value::Null, sigmas) => StepSchedule::Sigmas(floats(sigmas)),
        (_, timesteps, sigmas) => StepSchedule::TimestepsAndSigmas(floats(timesteps), floats(sigmas)),
    }
}

#[test]
fn timesteps_are_equal_and_sigmas_within_rounding() {
    let cases = json("schedules.json");
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 200);
    for case in cases {
        let config: FlowMatchEulerSchedulerConfig = serde_json::from_value(case["config"].clone()).unwrap();
        let seq_len = case["image_seq_len"].as_u64().unwrap() as usize;
        let series = FlowMatchEulerScheduler::new(&config, &schedule(case), seq_len).unwrap();
        assert_eq!(series.timesteps, floats(&case["expected"]["timesteps"]), "{}", case["config"]);
        let expected = floats(&case["expected"]["sigmas"]);
        assert_eq!(series.sigmas.len(), expected.len());
        for (found, expected) in series.sigmas.iter().zip(&expected) {
            assert!((found - expected).abs() <= 2.0 * f32::EPSILON * expected.abs(), "{found} {expected} {case}");
        }
    }
}

#[test]
fn bad_series_are_refused() {
    let config = FlowMatchEulerSchedulerConfig::default();
    let refused = |schedule| FlowMatchEulerScheduler::new(&config, &schedule, 256).unwrap_err().to_string();
    assert!(refused(StepSchedule::Steps(0)).contains("num_inference_steps"));
    assert!(refused(StepSchedule::Sigmas(vec![1.0, 0.0])).contains("sigmas"));
    assert!(refused(StepSchedule::Sigmas(vec![f32::NAN])).contains("sigmas"));
    assert!(refused(StepSchedule::Timesteps(vec![1001.0])).contains("sigmas"));
    assert!(refused(StepSchedule::TimestepsAndSigmas(vec![5.0], vec![0.5, 0.4])).contains("1 timesteps"));
}
