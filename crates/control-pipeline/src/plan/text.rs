//! Plans as people and programs read them.

use serde_json::{Value, json};

use super::{DrawingPlan, Part, Place, Planner, Stage};

/// Parts below this share of their stage are not listed.
const SHOWN: f64 = 0.01;

/// That more is held than a budget allows, and what was counted with: one line.
pub(super) fn exceeded(plan: &DrawingPlan, stage: &str, [held, budget]: [u64; 2]) -> String {
    let counted = plan.stages.iter().find(|planned| planned.name == stage);
    let parts = counted.iter().flat_map(|stage| &stage.parts).filter(|part| part.place == Place::Anonymous);
    let parts: Vec<String> = parts.map(|part| format!("{} {}", part.name, size(part.bytes))).collect();
    let (held, budget) = (size(held), size(budget));
    format!("max_memory: {held} are held while {budget} are allowed ({stage}; planned: {})", parts.join(", "))
}

impl Planner {
    /// A table of the stages with what each holds, several lines.
    pub fn table(&self, plan: &DrawingPlan) -> String {
        format!("{}\n\n{}", self.headline(plan), stage_table(&plan.stages))
    }

    fn headline(&self, plan: &DrawingPlan) -> String {
        let task = &self.task;
        let [height, width] = task.size;
        let count = if task.images == 1 { String::new() } else { format!("{} of ", task.images) };
        let guidance = if task.tokens.1.is_some() { "with guidance" } else { "without guidance" };
        let machine = match self.limit() {
            Some(limit) => format!("{} of memory to be had", size(limit)),
            None => "memory unknown".into(),
        };
        let rate = self.machine.rates(plan.settings.dtype);
        let rate = rate.map_or(String::new(), |rates| format!(", {:.0} GFLOP/s", rates.products / 1e9));
        format!(
            "{count}{height}x{width}, {} steps {guidance}, {} on {}; {machine}, {} threads{rate}",
            task.steps, plan.settings.dtype, plan.settings.device, self.machine.threads
        )
    }

    /// Whether a plan fits, and the cheapest that does, in words: a line each.
    pub fn verdict(&self, plan: &DrawingPlan, cheapest: Option<&DrawingPlan>) -> String {
        let own = match plan.fits() {
            true => "it fits".into(),
            false => format!("it does not fit: {}", shortage(plan)),
        };
        let other = match cheapest {
            Some(cheapest) if cheapest.settings == plan.settings => "no other flags are cheaper".into(),
            Some(cheapest) => format!("the cheapest flags that fit: {}", self.recommended(plan, cheapest)),
            None => self.nothing_fits(plan),
        };
        format!("{own}\n{other}")
    }

    /// Why a plan does not fit, and what would: one line.
    pub fn refusal(&self, plan: &DrawingPlan) -> String {
        let help = match self.cheapest(&plan.settings) {
            Some(cheapest) => format!("what fits is {}", self.recommended(plan, &cheapest)),
            None => self.nothing_fits(plan),
        };
        format!("{}; {help}", shortage(plan))
    }

    fn recommended(&self, plan: &DrawingPlan, cheapest: &DrawingPlan) -> String {
        let flags = cheapest.settings.flags().join(" ");
        let flags = if flags.is_empty() { "none".into() } else { format!("`{flags}`") };
        let time = cheapest.seconds().map_or(String::new(), |seconds| format!(", about {}", duration(seconds)));
        let [old, new] = [plan.settings.dtype, cheapest.settings.dtype];
        let changed = if old == new { String::new() } else { format!(", as nothing fits with {old}") };
        format!("{flags} ({}{time}{changed})", size(cheapest.peak_total_bytes()))
    }

    fn nothing_fits(&self, plan: &DrawingPlan) -> String {
        let least = self.smallest(&plan.settings);
        let (flags, bytes) = (least.settings.flags().join(" "), size(least.peak_total_bytes()));
        format!("nothing fits, the least is `{flags}` ({bytes})")
    }

    /// A plan for programs. `flags` are those of the cheapest plan that fits, null where none does.
    pub fn json(&self, plan: &DrawingPlan, cheapest: Option<&DrawingPlan>) -> Value {
        json!({
            "peak_device_bytes": plan.peak_device_bytes(),
            "peak_host_bytes": plan.peak_host_bytes(),
            "peak_total_bytes": plan.peak_total_bytes(),
            "disk_bytes": 0,
            "available_bytes": plan.limit,
            "fits": plan.fits(),
            "flags": cheapest.map(|plan| plan.settings.flags()),
            "seconds": plan.seconds(),
            "resident_blocks": { "transformer": plan.resident_blocks[0], "text_encoder": plan.resident_blocks[1] },
            "stages": stages_json(&plan.stages),
        })
    }
}

/// A table of stages with what each holds, and of the most of each kind of memory: several lines.
pub fn stage_table(stages: &[Stage]) -> String {
    let peak = |place| stages.iter().map(|stage| stage.bytes(place)).max().unwrap_or_default();
    let is_on_device = peak(Place::Device) > 0;
    let row = |name: &str, cells: [String; 4]| {
        let [memory, mapped, device, time] = cells;
        let device = if is_on_device { format!("{device:>12}") } else { String::new() };
        format!("{name:<26}{memory:>12}{mapped:>14}{device}{time:>10}")
    };
    let mut lines = vec![row("", ["memory", "mapped files", "device", "time"].map(String::from))];
    for (index, stage) in stages.iter().enumerate() {
        let [memory, mapped, device] = [Place::Anonymous, Place::Mapped, Place::Device].map(|place| stage.bytes(place));
        let time = stage.seconds.map(duration).unwrap_or_default();
        lines.push(row(stage.name, [size(memory), size(mapped), size(device), time]));
        let whole = (memory + mapped + device) as f64;
        // What stays is told once.
        let is_told = |part: &Part| stages[..index].iter().any(|before| before.parts.contains(part));
        for part in stage.parts.iter().filter(|part| part.bytes as f64 >= SHOWN * whole && !is_told(part)) {
            let at = |place| if part.place == place { size(part.bytes) } else { String::new() };
            let cells = [at(Place::Anonymous), at(Place::Mapped), at(Place::Device), String::new()];
            lines.push(row(&format!("  {}", part.name), cells));
        }
    }
    let seconds: Option<f64> = stages.iter().map(|stage| stage.seconds).sum();
    let peaks = [Place::Anonymous, Place::Mapped, Place::Device].map(|place| size(peak(place)));
    let [memory, mapped, device] = peaks;
    lines.push(row("at most", [memory, mapped, device, seconds.map(duration).unwrap_or_default()]));
    lines.join("\n")
}

/// Stages for programs.
pub fn stages_json(stages: &[Stage]) -> Value {
    let stage = |stage: &Stage| {
        let parts = stage.parts.iter().map(|part| {
            let place = match part.place {
                Place::Anonymous => "memory",
                Place::Mapped => "mapped",
                Place::Device => "device",
            };
            json!({ "name": part.name, "bytes": part.bytes, "place": place })
        });
        json!({ "name": stage.name, "seconds": stage.seconds, "parts": parts.collect::<Vec<_>>() })
    };
    stages.iter().map(stage).collect()
}

/// What is needed, and what is there.
fn shortage(plan: &DrawingPlan) -> String {
    let (held, total) = (plan.peak_host_bytes(), plan.peak_total_bytes());
    match plan.settings.placement.budget() {
        Some(budget) if held > budget => {
            format!("{} of memory are needed, {} are allowed", size(held), size(budget))
        }
        _ => {
            let mapped = match total - held {
                0 => String::new(),
                mapped => format!(", {} of it for mapped files", size(mapped)),
            };
            let limit = plan.limit.unwrap_or_default();
            format!("{} of memory are needed{mapped}, {} are to be had", size(total), size(limit))
        }
    }
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

/// A time for people.
pub fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 100.0 => format!("{seconds:.1} s"),
        seconds if seconds < 6000.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}
