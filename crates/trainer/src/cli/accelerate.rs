//! `--config_file`: accelerate's YAML. What a run takes from it stands in for flags that were not given; the rest is
//! refused with a reason, or named as having no effect.

#[cfg(test)]
mod tests;

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
