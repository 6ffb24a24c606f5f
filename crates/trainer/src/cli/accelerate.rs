//! `--config_file`: accelerate's YAML. What a run takes from it stands in for flags that were not given; the rest is
//! refused with a reason, or named as having no effect.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use cogview4_data::parse_yaml;
use cogview4_model::files::{MAX_CONFIG_BYTES, read_text};
use serde_json::{Map, Value};

use super::Args;
use crate::{
    config::{Offload, ZeroStage},
    error::{Result, TrainError},
};

/// Keys that decide nothing here: what belongs to other engines or launchers.
const WITHOUT_EFFECT: [&str; 15] = [
    "debug",
    "enable_cpu_affinity",
    "gpu_ids",
    "main_process_port",
    "main_training_function",
    "rdzv_backend",
    "same_network",
    "tpu_env",
    "tpu_name",
    "tpu_zone",
    "use_cpu",
    "dynamo_config",
    "dynamo_backend",
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

/// What a run takes from the file, and what starts it.
#[derive(Debug, Default, PartialEq)]
struct AccelerateConfig {
    launch: LaunchConfig,
    mixed_precision: Option<String>,
    gradient_accumulation_steps: Option<usize>,
    gradient_clipping: Option<f64>,
    optimizer_offload: Option<Offload>,
    nvme_path: Option<PathBuf>,
    zero_stage: Option<ZeroStage>,
    /// Keys that are there and decide nothing.
    without_effect: Vec<String>,
}

/// Which processes make a run, on which machines.
#[derive(Debug, Default, PartialEq)]
pub(super) struct LaunchConfig {
    pub num_processes: Option<usize>,
    pub num_machines: Option<usize>,
    pub machine_rank: Option<usize>,
    pub main_process_ip: Option<String>,
    /// DeepSpeed's host file: `HOST slots=N` a line.
    pub hostfile: Option<PathBuf>,
}

/// What a configuration file says beside what stands in for flags of a run.
#[derive(Debug, Default)]
pub(super) struct Laid {
    /// What a person should know.
    pub note: Option<String>,
    pub launch: LaunchConfig,
}

impl Args {
    /// Lays the values of the configuration file under the flags that were given.
    ///
    /// # Errors
    /// A file that cannot be read, and each value that cannot be used, by its key.
    pub(super) fn lay_config_file(&mut self) -> Result<Laid> {
        let Some(path) = self.config_file.take() else { return Ok(Laid::default()) };
        let config = AccelerateConfig::read(&path)?;
        lay_under(&mut self.num_processes, config.launch.num_processes);
        lay_under(&mut self.zero_stage, config.zero_stage.map(|stage| stage.to_string()));
        lay_under(&mut self.mixed_precision, config.mixed_precision);
        lay_under(&mut self.gradient_accumulation_steps, config.gradient_accumulation_steps);
        lay_under(&mut self.max_grad_norm, config.gradient_clipping);
        lay_under(&mut self.optimizer_offload, config.optimizer_offload);
        lay_under(&mut self.scratch_dir, config.nvme_path);
        let note = format!("{}: without effect here: {}", path.display(), config.without_effect.join(", "));
        Ok(Laid { note: (!config.without_effect.is_empty()).then_some(note), launch: config.launch })
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
        let text = read_text(path, MAX_CONFIG_BYTES).map_err(|error| fail(error.to_string()))?;
        Self::parse(&text).map_err(fail)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let Value::Object(keys) = parse_yaml(text)? else { return Err("is not a mapping of keys to values".into()) };
        let mut config = Self::default();
        keys.iter()
            .try_for_each(|(key, value)| config.take(key, value).map_err(|reason| format!("{key}: {reason}")))?;
        let distributed = keys.get("distributed_type").and_then(Value::as_str);
        if keys.get("deepspeed_config").is_none() && distributed == Some("DEEPSPEED") {
            return Err("distributed_type: `DEEPSPEED` needs a `deepspeed_config`".into());
        }
        let launch = &config.launch;
        match (distributed, launch.num_processes, launch.num_machines) {
            (Some("NO"), Some(count @ 2..), _) => {
                Err(format!("distributed_type: `NO` with num_processes {count}, write `DEEPSPEED` or `MULTI_CPU`"))
            }
            (Some(kind), None, _) if kind != "NO" => Err(format!("num_processes: is missing, `{kind}` needs it")),
            (_, Some(count), Some(machines)) if !count.is_multiple_of(machines) => {
                Err(format!("num_processes: {count} are not as many on each of {machines} machines"))
            }
            _ => Ok(config),
        }
    }

    fn take(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "compute_environment" => one_of(value, &["LOCAL_MACHINE"]).map(drop),
            "distributed_type" => {
                match one_of(value, &["NO", "DEEPSPEED", "MULTI_CPU", "MULTI_GPU", "FSDP", "MEGATRON_LM"])? {
                    other @ ("FSDP" | "MEGATRON_LM") => {
                        Err(format!("`{other}` is not supported, write `DEEPSPEED` with `zero_stage: 2`"))
                    }
                    // Gradients are exchanged once a step there.
                    "MULTI_CPU" | "MULTI_GPU" => {
                        self.zero_stage = Some(ZeroStage::One);
                        Ok(())
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
            "num_processes" => count(value).map(|count| self.launch.num_processes = Some(count)),
            "num_machines" => count(value).map(|count| self.launch.num_machines = Some(count)),
            "machine_rank" => match value.as_u64() {
                Some(rank) => {
                    self.launch.machine_rank = Some(rank as usize);
                    Ok(())
                }
                None => Err(format!("{value} is not a whole number")),
            },
            "main_process_ip" if !value.is_null() => {
                text(value).map(|ip| self.launch.main_process_ip = Some(ip.to_owned()))
            }
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
                "offload_optimizer_nvme_path" => text(value).map(|path| self.nvme_path = Some(path.into())),
                "deepspeed_hostfile" if !value.is_null() => {
                    text(value).map(|path| self.launch.hostfile = Some(path.into()))
                }
                "zero_stage" => match value.as_u64() {
                    // Masters and moments are divided in any case: no number depends on it.
                    Some(stage @ 0..=2) => {
                        self.zero_stage = Some(if stage == 2 { ZeroStage::Two } else { ZeroStage::One });
                        Ok(())
                    }
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

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{value} is not a text"))
}

/// A text, one of these.
fn one_of<'a>(value: &'a Value, known: &[&str]) -> Result<&'a str, String> {
    let text = text(value)?;
    match known.contains(&text) {
        true => Ok(text),
        false => Err(format!("`{text}` is unknown, write {}", known.join(", "))),
    }
}

fn count(value: &Value) -> Result<usize, String> {
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    count.ok_or_else(|| format!("{value} is not a whole number from 1 up"))
}
