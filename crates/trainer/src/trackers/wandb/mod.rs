//! W&B's offline runs: a folder with a file of records and the pictures, which `wandb sync` sends. Names and captions
//! are those of the reference. A run that goes on is the same run for W&B, in a folder of its own; each step is there
//! once, whenever it was killed.

mod date;
mod folder;
mod log_file;
mod messages;
mod pictures;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use cogview4_control_pipeline::shown;
use serde_json::Value;

pub(crate) use self::folder::{parts, run_id};
use self::{
    folder::{EarlierParts, RunFolder, RunId, earlier_parts},
    log_file::LogFile,
    messages::{Exit, Files, Header, History, Item, Items, Run, Step, Timestamp, Version, What},
    pictures::{Captioned, write_pictures},
};
use super::{
    json_lines::Earlier,
    tracker::{Shown, Tracker, read_image},
};
use crate::{
    config::TrainConfig,
    error::Result,
    metrics::{StepMetrics, Validation},
};

/// The oldest W&B that reads what is written here.
const MIN_CONSUMER: &str = "0.70.0";
/// What the reference writes below a control image.
const CONDITIONING: &str = "Conditioning";

/// The file of one part of a run, open for appending.
#[derive(Debug)]
pub(crate) struct Wandb {
    run: RunFolder,
    log: LogFile,
    /// Where validation pictures are.
    output_dir: PathBuf,
    total_steps: usize,
    controls: Vec<Captioned>,
    parts: EarlierParts,
    begun: Instant,
    /// The record of the newest step, held back until it is whole: W&B has one a step.
    pending: Option<(usize, Vec<Item>)>,
    /// The newest value of each name.
    summary: BTreeMap<Vec<String>, String>,
}

impl Tracker for Wandb {
    fn step(&mut self, metrics: &StepMetrics) -> Result<()> {
        if self.parts.last_step.is_some_and(|last| metrics.step <= last) {
            return Ok(());
        }
        self.scalars(metrics.step, &metrics.scalars())
    }

    fn validation(&mut self, validation: &Validation) -> Result<()> {
        let EarlierParts { last_step, last_validation, .. } = self.parts;
        // A part that was stopped after a step may not have validated it any more.
        if last_step.is_some_and(|last| validation.step < last)
            || last_validation.is_some_and(|last| validation.step <= last)
        {
            return Ok(());
        }
        self.scalars(validation.step, &validation.scalars())?;
        let mut pictures = Vec::new();
        let mut pair = 0;
        for image in &validation.images {
            if image.pair != pair {
                pair = image.pair;
                pictures.extend(pair.checked_sub(1).and_then(|pair| self.controls.get(pair)).cloned());
            }
            let picture = read_image(&self.output_dir, &image.file)?;
            pictures.push(Captioned { caption: image.prompt.clone(), image: picture });
        }
        let tag = if validation.step == self.total_steps { "test" } else { "validation" };
        self.pictures(validation.step, tag, &pictures)?;
        self.flush()
    }

    fn finish(&mut self, state: &'static str) -> Result<()> {
        self.flush()?;
        let summary = std::mem::take(&mut self.summary);
        let item = |(nested_key, value_json)| Item { nested_key, value_json };
        self.log.write(What::Summary(Items { update: summary.into_iter().map(item).collect() }))?;
        let exit_code = i32::from(state == "failed");
        self.log.write(What::Exit(Exit { exit_code, runtime: self.runtime() as i32 }))
    }
}

impl Wandb {
    /// Begins a file for a run that goes on after `step` steps, with what no earlier part of it has written.
    pub(crate) fn open(
        config: &TrainConfig,
        (step, total_steps): (usize, usize),
        shown: &Shown<'_>,
        earlier: &Earlier,
    ) -> Result<Self> {
        let id = RunId::open(&config.output_dir, step)?;
        let parts = earlier_parts(config, &id, step, earlier)?;
        let run = RunFolder::create(&config.wandb_folder(), &id.name)?;
        let log = LogFile::create(&run.log_path(&id.name))?;
        let controls = shown.controls.iter().map(|control| Captioned::new(CONDITIONING, &control.image)).collect();
        let mut wandb = Self {
            run,
            log,
            output_dir: config.output_dir.clone(),
            total_steps,
            controls,
            parts,
            begun: Instant::now(),
            pending: None,
            summary: BTreeMap::new(),
        };
        let version = Version {
            producer: concat!("cogview4 ", env!("CARGO_PKG_VERSION")).into(),
            min_consumer: MIN_CONSUMER.into(),
        };
        wandb.log.write(What::Header(Header { version: Some(version) }))?;
        let record = wandb.run_record(config, id);
        wandb.log.write(What::Run(record))?;
        wandb.catch_up(shown, earlier)?;
        Ok(wandb)
    }

    /// The folder of this part.
    pub(crate) fn folder(&self) -> &Path {
        &self.run.path
    }

    fn run_record(&self, config: &TrainConfig, id: RunId) -> Run {
        let settings = config.wandb.clone();
        Run {
            run_id: id.name,
            entity: settings.entity.unwrap_or_default(),
            project: config.tracker_project_name.clone(),
            config: Some(Items { update: config_items(config) }),
            display_name: settings.name.unwrap_or_default(),
            tags: settings.tags,
            starting_step: self.parts.last_step.map_or(0, |step| step as i64 + 1),
            start_time: Some(Timestamp { seconds: self.run.started as i64 }),
            resumed: id.is_kept,
        }
    }

    /// Writes what was measured before this part began and is in none: rows of the data set, and steps whose record was
    /// still held back when the run was killed.
    fn catch_up(&mut self, shown: &Shown<'_>, earlier: &Earlier) -> Result<()> {
        if self.parts.last_step.is_none() {
            let pair = |sample: &super::DatasetSample| {
                let [picture, control] = &sample.pictures;
                [Captioned::new(CONDITIONING, control), Captioned::new(&sample.caption, picture)]
            };
            let pictures: Vec<Captioned> = shown.samples.iter().flat_map(pair).collect();
            self.pictures(0, "dataset_samples", &pictures)?;
        }
        let mut validations = earlier.validations.iter().peekable();
        for metrics in earlier.metrics.iter().map(Some).chain([None]) {
            let next_step = metrics.map_or(usize::MAX, |metrics| metrics.step);
            while let Some(validation) = validations.next_if(|validation| validation.step < next_step) {
                let mut validation = validation.clone();
                // A picture that is gone since is left out.
                validation.images.retain(|image| read_image(&self.output_dir, &image.file).is_ok());
                self.validation(&validation)?;
            }
            if let Some(metrics) = metrics {
                self.step(metrics)?;
            }
        }
        Ok(())
    }

    /// Adds numbers to the record of a step; what is no number in JSON is left out.
    fn scalars(&mut self, step: usize, scalars: &[(&str, f64)]) -> Result<()> {
        let finite = scalars.iter().filter(|(_, value)| value.is_finite());
        let item = |&(name, value): &(&str, f64)| item(name, &value.into());
        self.add(step, finite.map(item).collect())
    }

    /// Writes pictures of a step and adds them to its record.
    fn pictures(&mut self, step: usize, tag: &str, pictures: &[Captioned]) -> Result<()> {
        if pictures.is_empty() {
            return Ok(());
        }
        let (items, files) = write_pictures(&self.run.files(), tag, step, pictures)?;
        self.log.write(What::Files(Files { files }))?;
        self.add(step, items)
    }

    fn add(&mut self, step: usize, items: Vec<Item>) -> Result<()> {
        if self.pending.as_ref().is_some_and(|(pending, _)| *pending != step) {
            self.flush()?;
        }
        self.pending.get_or_insert((step, Vec::new())).1.extend(items);
        Ok(())
    }

    /// Writes the record that was held back.
    fn flush(&mut self) -> Result<()> {
        let Some((step, mut items)) = self.pending.take() else { return Ok(()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        items.push(item("_step", &step.into()));
        items.push(item("_timestamp", &now.as_secs_f64().into()));
        items.push(item("_runtime", &self.runtime().into()));
        self.summary.extend(items.iter().map(|item| (item.nested_key.clone(), item.value_json.clone())));
        self.log.write(What::History(History { item: items, step: Some(Step { num: step as i64 }) }))
    }

    /// Seconds that the run has taken, earlier parts included.
    fn runtime(&self) -> f64 {
        self.parts.runtime + self.begun.elapsed().as_secs_f64()
    }
}

fn item(name: &str, value: &Value) -> Item {
    Item { nested_key: vec![name.into()], value_json: value.to_string() }
}

/// All settings; none is a secret, and what URLs hold of one is cut.
fn config_items(config: &TrainConfig) -> Vec<Item> {
    let settings = match serde_json::to_value(config) {
        Ok(Value::Object(settings)) => settings,
        other => return vec![item("config", &format!("{other:?}").into())],
    };
    settings.into_iter().map(|(name, value)| item(&name, &without_secrets(value))).collect()
}

fn without_secrets(value: Value) -> Value {
    match value {
        Value::String(text) => shown(&text).into_owned().into(),
        Value::Array(values) => values.into_iter().map(without_secrets).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, without_secrets(value))).collect(),
        other => other,
    }
}
