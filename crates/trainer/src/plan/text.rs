//! Plans as people and programs read them.

use cogview4_control_pipeline::plan::{duration, exact_size, size, stage_table, stages_json};
use cogview4_model::ComputeDtype;
use serde_json::{Value, json};

use super::{TrainPlan, TrainPlanner};
use crate::config::TrainConfig;

impl TrainPlan {
    /// The flags that give these settings where others are given; what is the same is left out.
    pub fn flags(&self, given: &TrainConfig) -> Vec<String> {
        let (own, recipe) = (&self.config, &self.config.recipe);
        let mut flags = Vec::new();
        let mut add = |is_new: bool, flag: &str, value: Option<String>| {
            if is_new {
                flags.push(flag.to_owned());
                flags.extend(value);
            }
        };
        let is_narrow =
            recipe.compute_dtype == ComputeDtype::BFloat16 && given.recipe.compute_dtype != recipe.compute_dtype;
        add(is_narrow, "--mixed_precision", Some("bf16".into()));
        add(own.gradient_checkpointing && !given.gradient_checkpointing, "--gradient_checkpointing", None);
        add(recipe.use_8bit_adam && !given.recipe.use_8bit_adam, "--use_8bit_adam", None);
        let in_backward = recipe.optimizer_in_backward && !given.recipe.optimizer_in_backward;
        add(in_backward, "--optimizer_in_backward", None);
        add(recipe.stochastic_rounding && !given.recipe.stochastic_rounding, "--stochastic_rounding", None);
        add(own.offload && !given.offload, "--offload", None);
        let is_limited = given.max_memory.is_none() && own.max_memory.is_some();
        add(is_limited, "--max_memory", own.max_memory.map(exact_size));
        flags
    }

    /// What is needed, and what is there.
    fn shortage(&self) -> String {
        let (held, limit) = (self.peak_host_bytes(), self.limit.unwrap_or(u64::MAX));
        match self.config.max_memory {
            Some(most) if held > most => format!("{} of memory are needed, {} are allowed", size(held), size(most)),
            _ if self.needed_bytes() > limit => {
                format!("{} of memory are needed, {} are to be had", size(self.needed_bytes()), size(limit))
            }
            _ => super::disk::check_disk(&self.disk).err().map_or(String::new(), |error| error.to_string()),
        }
    }
}

impl TrainPlanner {
    /// A table of the stages with what each holds, and of what is written: several lines.
    pub fn table(&self, plan: &TrainPlan) -> String {
        let (config, recipe) = (&plan.config, &plan.config.recipe);
        let machine = match plan.limit {
            Some(limit) => format!("{} of memory to be had", size(limit)),
            None => "memory unknown".into(),
        };
        let rate = self.machine.rates(recipe.compute_dtype);
        let rate = rate.map_or(String::new(), |rates| format!(", {:.0} GFLOP/s", rates.products / 1e9));
        let samples = recipe.train_batch_size * recipe.gradient_accumulation_steps * self.processes.size;
        let one_of = match self.processes.size {
            1 => String::new(),
            size => format!(", one of {size} processes"),
        };
        let headline = format!(
            "{:.2} G parameters, {side}x{side}, {samples} samples a step, {} steps, {} on {}; {machine}, \
             {} threads{rate}{one_of}",
            self.sizes.all as f64 / 1e9,
            self.steps.len(),
            recipe.compute_dtype,
            config.device,
            self.machine.threads,
            side = recipe.resolution,
        );
        let parts: Vec<String> = plan.disk.iter().map(|part| format!("{} {}", part.name, size(part.bytes))).collect();
        let disk = format!("disk: {} ({})", size(plan.disk_bytes()), parts.join(", "));
        let step =
            plan.step_seconds.map_or(String::new(), |seconds| format!("\na step takes about {}", duration(seconds)));
        format!("{headline}\n\n{}\n\n{disk}{step}", stage_table(&plan.stages))
    }

    /// Whether a plan fits, and the cheapest that does, in words: a line each.
    pub fn verdict(&self, given: &TrainConfig, plan: &TrainPlan, cheapest: Option<&TrainPlan>) -> String {
        let own = match plan.fits() {
            true => "it fits".into(),
            false => format!("it does not fit: {}", plan.shortage()),
        };
        let other = match cheapest {
            Some(cheapest) if cheapest.flags(given).is_empty() => "no other flags are cheaper".into(),
            Some(cheapest) => format!("the cheapest flags that fit, beside yours: {}", recommended(given, cheapest)),
            None => self.nothing_fits(given),
        };
        format!("{own}\n{other}")
    }

    /// Why a plan does not fit, and what would: one line.
    pub(super) fn refusal(&self, given: &TrainConfig, plan: &TrainPlan) -> String {
        let help = match self.cheapest(given) {
            Ok(Some(cheapest)) => format!("what fits, beside your flags, is {}", recommended(given, &cheapest)),
            Ok(None) => self.nothing_fits(given),
            Err(error) => error.to_string(),
        };
        format!("{}; {help}", plan.shortage())
    }

    fn nothing_fits(&self, given: &TrainConfig) -> String {
        match self.smallest(given) {
            Ok(least) => {
                format!(
                    "nothing fits, the least is `{}` ({})",
                    least.flags(given).join(" "),
                    size(least.needed_bytes())
                )
            }
            Err(error) => error.to_string(),
        }
    }

    /// A plan for programs. `flags` are those of the cheapest plan that fits, null where none does.
    pub fn json(&self, given: &TrainConfig, plan: &TrainPlan, cheapest: Option<&TrainPlan>) -> Value {
        let disk = plan
            .disk
            .iter()
            .map(|part| json!({ "name": part.name, "bytes": part.bytes, "folder": part.folder.display().to_string() }));
        json!({
            "peak_device_bytes": plan.peak_device_bytes(),
            "peak_host_bytes": plan.peak_host_bytes(),
            "disk_bytes": plan.disk_bytes(),
            "available_bytes": plan.limit,
            "fits": plan.fits(),
            "flags": cheapest.map(|plan| plan.flags(given)),
            "step_seconds": plan.step_seconds,
            "stages": stages_json(&plan.stages),
            "disk": disk.collect::<Vec<_>>(),
        })
    }
}

fn recommended(given: &TrainConfig, cheapest: &TrainPlan) -> String {
    let flags = cheapest.flags(given).join(" ");
    let flags = if flags.is_empty() { "none".into() } else { format!("`{flags}`") };
    let time = cheapest.step_seconds.map_or(String::new(), |seconds| format!(", about {} a step", duration(seconds)));
    format!("{flags} ({}{time})", size(cheapest.peak_host_bytes()))
}
