//! `--config_file`: accelerate's YAML. What a run takes from it stands in for flags that were not given; the rest is
//! refused with a reason, or named as having no effect.

use std::path::{Path, PathBuf};

use cogview4_data::parse_yaml;
use serde_json::{Map, Value};

use super::Args;
use crate::{
    config::Offload,
    error::{Result, TrainError},
};

/// Keys that decide nothing here: how processes meet, and what belongs to other machines or launchers.
const WITHOUT_EFFECT: [&str; 19] = [
    "debug",
    "enable_cpu_affinity",
    "gpu_ids",
    "main_process_ip",
    "main_process_port",
    "main_training_function",
    "machine_rank",
    "rdzv_backend",
    "same_network",
    "tpu_env",
    "tpu_name",
    "tpu_zone",
    "use_cpu",
    "dynamo_config",
    "dynamo_backend",
    "deepspeed_hostfile",
    "deepspeed_multinode_launcher",
    "offload_param_device",
    "zero3_save_16bit_model",
];
/// Keys that must be off, or empty.
const OFF: [&str; 9] = [
    "downcast_bf16",
    "tpu_use_cluster",
    "tpu_use_sudo",
    "zero3_init_flag",
    "fsdp_config",
    "megatron_lm_config",
    "ipex_config",
    "fp8_config",
    "deepspeed_moe_layer_cls_names",
];

/// What a run takes from the file.
#[derive(Debug, Default, PartialEq)]
struct AccelerateConfig {
    mixed_precision: Option<String>,
    gradient_accumulation_steps: Option<usize>,
    gradient_clipping: Option<f64>,
    optimizer_offload: Option<Offload>,
    nvme_path: Option<PathBuf>,
    /// Keys that are there and decide nothing.
    without_effect: Vec<String>,
}

impl Args {
    /// Lays the values of the configuration file under the flags that were given; gives what a person should know.
    ///
    /// # Errors
    /// A file that cannot be read, and each value that cannot be used, by its key.
    pub(super) fn lay_config_file(&mut self) -> Result<Option<String>> {
        let Some(path) = self.config_file.take() else { return Ok(None) };
        let config = AccelerateConfig::read(&path)?;
        lay_under(&mut self.mixed_precision, config.mixed_precision);
        lay_under(&mut self.gradient_accumulation_steps, config.gradient_accumulation_steps);
        lay_under(&mut self.max_grad_norm, config.gradient_clipping);
        lay_under(&mut self.optimizer_offload, config.optimizer_offload);
        lay_under(&mut self.scratch_dir, config.nvme_path);
        let note = format!("{}: without effect here: {}", path.display(), config.without_effect.join(", "));
        Ok((!config.without_effect.is_empty()).then_some(note))
    }
}

/// A value of the file, where no flag was given.
fn lay_under<T>(flag: &mut Option<T>, value: Option<T>) {
    if flag.is_none() {
        *flag = value;
    }
}

impl AccelerateConfig {
    fn read(path: &Path) -> Result<Self> {
        let fail = |reason: String| TrainError::setting("config_file", format!("{}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        Self::parse(&text).map_err(fail)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let Value::Object(keys) = parse_yaml(text)? else { return Err("is not a mapping of keys to values".into()) };
        let mut config = Self::default();
        keys.iter()
            .try_for_each(|(key, value)| config.take(key, value).map_err(|reason| format!("{key}: {reason}")))?;
        if keys.get("deepspeed_config").is_none()
            && keys.get("distributed_type").and_then(Value::as_str) == Some("DEEPSPEED")
        {
            return Err("distributed_type: `DEEPSPEED` needs a `deepspeed_config`".into());
        }
        Ok(config)
    }

    fn take(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "compute_environment" => one_of(value, &["LOCAL_MACHINE"]).map(drop),
            "distributed_type" => {
                match one_of(value, &["NO", "DEEPSPEED", "MULTI_CPU", "MULTI_GPU", "FSDP", "MEGATRON_LM"])? {
                    other @ ("FSDP" | "MEGATRON_LM") => {
                        Err(format!("`{other}` is not supported, write `DEEPSPEED` with `zero_stage: 2`"))
                    }
                    _ => Ok(()),
                }
            }
            "mixed_precision" => match one_of(value, &["no", "bf16", "fp16", "fp8"])? {
                narrow @ ("fp16" | "fp8") => Err(format!("`{narrow}` is not supported, write `bf16` or `no`")),
                used => {
                    self.mixed_precision = Some(used.to_owned());
                    Ok(())
                }
            },
            "num_processes" | "num_machines" => match count(value)? {
                1 => Ok(()),
                more => Err(format!("{more}: several processes are not available yet, write 1")),
            },
            "deepspeed_config" => self.take_deepspeed(value),
            _ => self.take_idle(key, value),
        }
    }

    fn take_deepspeed(&mut self, value: &Value) -> Result<(), String> {
        let keys: &Map<String, Value> = value.as_object().ok_or("is not a mapping of keys to values")?;
        keys.iter().try_for_each(|(key, value)| {
            let taken = match key.as_str() {
                _ if value.as_str() == Some("auto") => Ok(()),
                "gradient_accumulation_steps" => {
                    count(value).map(|steps| self.gradient_accumulation_steps = Some(steps))
                }
                "gradient_clipping" => match value.as_f64().filter(|most| *most > 0.0 && most.is_finite()) {
                    Some(most) => {
                        self.gradient_clipping = Some(most);
                        Ok(())
                    }
                    None => Err(format!("{value} is not a number above 0")),
                },
                "offload_optimizer_device" => one_of(value, &["none", "cpu", "nvme"]).map(|device| {
                    let place = if device == "nvme" { Offload::Disk } else { Offload::Cpu };
                    self.optimizer_offload = (device != "none").then_some(place);
                }),
                "offload_optimizer_nvme_path" => match value.as_str() {
                    Some(path) => {
                        self.nvme_path = Some(path.into());
                        Ok(())
                    }
                    None => Err(format!("{value} is not a path")),
                },
                "zero_stage" => match value.as_u64() {
                    Some(0..=2) => Ok(()),
                    Some(3) => Err("3 is not supported: weights are not divided, write 2".into()),
                    _ => Err(format!("{value} is not a stage: write 0, 1 or 2")),
                },
                "deepspeed_config_file" => Err("another file is not read, write its values here".into()),
                _ => self.take_idle(key, value),
            };
            taken.map_err(|reason| format!("{key}: {reason}"))
        })
    }

    /// A key that decides nothing, or is to be off.
    fn take_idle(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let is_off = match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => ["no", "false", ""].contains(&text.to_lowercase().as_str()),
            Value::Array(values) => values.is_empty(),
            Value::Object(values) => values.is_empty(),
            Value::Bool(true) | Value::Number(_) => false,
        };
        match key {
            _ if OFF.contains(&key) && is_off => Ok(()),
            _ if OFF.contains(&key) => Err(format!("{value} is not supported, leave it out")),
            _ if WITHOUT_EFFECT.contains(&key) => {
                // What is off has none in any case.
                self.without_effect.extend((!is_off).then(|| key.to_owned()));
                Ok(())
            }
            _ => Err("is not a key of accelerate's that is known".into()),
        }
    }
}

/// A text, one of these.
fn one_of<'a>(value: &'a Value, known: &[&str]) -> Result<&'a str, String> {
    let text = value.as_str().ok_or_else(|| format!("{value} is not a text"))?;
    match known.contains(&text) {
        true => Ok(text),
        false => Err(format!("`{text}` is unknown, write {}", known.join(", "))),
    }
}

fn count(value: &Value) -> Result<usize, String> {
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    count.ok_or_else(|| format!("{value} is not a whole number from 1 up"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the reference's README has it, but for the number of processes.
    const FILE: &str = "\
compute_environment: LOCAL_MACHINE
debug: false
deepspeed_config:
  gradient_accumulation_steps: 4
  gradient_clipping: 0.5
  offload_optimizer_device: cpu
  offload_param_device: cpu
  zero3_init_flag: false
  zero_stage: 2
num_machines: 1
num_processes: 1 # a comment
distributed_type: DEEPSPEED
downcast_bf16: 'no'
enable_cpu_affinity: false
gpu_ids: all
machine_rank: 0
main_training_function: main
mixed_precision: bf16
rdzv_backend: static
same_network: true
tpu_env: [ ]
tpu_use_cluster: false
tpu_use_sudo: false
use_cpu: false
";

    #[test]
    fn every_key_of_the_reference_is_used_or_named() {
        let config = AccelerateConfig::parse(FILE).expect("a configuration");
        assert_eq!(config.mixed_precision.as_deref(), Some("bf16"));
        assert_eq!((config.gradient_accumulation_steps, config.gradient_clipping), (Some(4), Some(0.5)));
        assert_eq!(config.optimizer_offload, Some(Offload::Cpu));
        let idle = [
            "offload_param_device",
            "gpu_ids",
            "machine_rank",
            "main_training_function",
            "rdzv_backend",
            "same_network",
        ];
        assert!(idle.iter().all(|key| config.without_effect.iter().any(|named| named == key)));
        assert_eq!(config.without_effect.len(), idle.len());
    }

    #[test]
    fn other_values_are_taken_too() {
        let parse = |from: &str, to: &str| {
            assert!(FILE.contains(from), "{from}");
            AccelerateConfig::parse(&FILE.replace(from, to)).expect(to)
        };
        let on_disk = parse(
            "offload_optimizer_device: cpu",
            "offload_optimizer_device: nvme\n  offload_optimizer_nvme_path: /fast",
        );
        assert_eq!((on_disk.optimizer_offload, on_disk.nvme_path), (Some(Offload::Disk), Some("/fast".into())));
        assert_eq!(parse("offload_optimizer_device: cpu", "offload_optimizer_device: none").optimizer_offload, None);
        assert_eq!(parse("mixed_precision: bf16", "mixed_precision: 'no'").mixed_precision.as_deref(), Some("no"));
        assert_eq!(
            parse("gradient_accumulation_steps: 4", "gradient_accumulation_steps: auto").gradient_accumulation_steps,
            None
        );
        assert_eq!(AccelerateConfig::parse("num_processes: 1\n"), Ok(AccelerateConfig::default()));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_its_key() {
        for (from, to, culprit) in [
            ("zero_stage: 2", "zero_stage: 3", "zero_stage: 3 is not supported"),
            ("zero_stage: 2", "zero_stage: 7", "zero_stage: 7 is not a stage"),
            ("zero_stage: 2", "zero_stage: two", "zero_stage: \"two\" is not a stage"),
            ("mixed_precision: bf16", "mixed_precision: fp16", "mixed_precision: `fp16` is not supported"),
            ("mixed_precision: bf16", "mixed_precision: bf61", "mixed_precision: `bf61` is unknown"),
            ("num_processes: 1", "num_processes: 8", "num_processes: 8: several processes"),
            ("num_processes: 1", "num_processes: one", "num_processes: \"one\" is not a whole number"),
            ("num_machines: 1", "num_machines: 0", "num_machines: 0 is not a whole number"),
            ("distributed_type: DEEPSPEED", "distributed_type: FSDP", "distributed_type: `FSDP` is not supported"),
            ("distributed_type: DEEPSPEED", "distributed_type: TPU", "distributed_type: `TPU` is unknown"),
            ("tpu_use_cluster: false", "tpu_use_cluster: true", "tpu_use_cluster: true is not supported"),
            ("downcast_bf16: 'no'", "downcast_bf16: 'yes'", "downcast_bf16: \"yes\" is not supported"),
            ("gradient_clipping: 0.5", "gradient_clipping: -1", "gradient_clipping: -1 is not a number above 0"),
            ("  zero_stage: 2", " zero_stage: 2", "line "),
            ("debug: false", "debgu: false", "debgu: is not a key"),
            ("compute_environment: LOCAL_MACHINE", "compute_environment: AMAZON_SAGEMAKER", "compute_environment: `AM"),
            ("zero_stage: 2", "deepspeed_config_file: ds.json", "deepspeed_config_file: another file is not read"),
            (
                "offload_optimizer_device: cpu",
                "offload_optimizer_device: gpu",
                "offload_optimizer_device: `gpu` is unknown",
            ),
        ] {
            assert!(FILE.contains(from), "{from}");
            let error = AccelerateConfig::parse(&FILE.replace(from, to)).expect_err(to);
            assert!(error.contains(culprit) && error.lines().count() == 1, "{error}");
        }
        let error = AccelerateConfig::parse("- a\n- b\n").expect_err("a list");
        assert!(error.contains("not a mapping"), "{error}");
        let error = AccelerateConfig::parse("distributed_type: DEEPSPEED\n").expect_err("nothing of it");
        assert!(error.contains("needs a `deepspeed_config`"), "{error}");
    }
}
