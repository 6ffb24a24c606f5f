//! `report.html`: one file that shows a run while it goes on and after it, in any browser.

mod curves;
mod plots;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cogview4_model::files::write_atomic;
use maud::{Markup, html};

use self::{curves::StepCurves, plots::plots};
use super::{
    json_lines::Earlier,
    samples::DatasetSample,
    tracker::{Shown, Tracker, read_image},
};
use crate::{
    config::{TrainConfig, shown_source},
    error::Result,
    metrics::{Fidelity, StepMetrics, Validation, ValidationImage},
    page::{PictureSource, figure, page},
};

/// Written again at most this often, but for validations and the end.
const INTERVAL: Duration = Duration::from_secs(5);
/// A browser that shows a running run reads the page again after this many seconds.
const REFRESH: u32 = 10;

/// All that the page shows.
pub(crate) struct Report {
    path: PathBuf,
    model: String,
    config: String,
    total_steps: usize,
    steps: StepCurves,
    validations: Vec<ShownValidation>,
    controls: Vec<(PictureSource, String)>,
    samples: Vec<ShownSample>,
    state: &'static str,
    written: Option<Instant>,
}

impl Tracker for Report {
    fn step(&mut self, metrics: &StepMetrics) -> Result<()> {
        self.steps.push(metrics);
        if self.written.is_none_or(|written| written.elapsed() > INTERVAL) {
            self.write()?;
        }
        Ok(())
    }

    fn validation(&mut self, validation: &Validation) -> Result<()> {
        let shown = self.shown(validation.clone());
        self.validations.push(shown);
        self.write()
    }

    fn finish(&mut self, state: &'static str) -> Result<()> {
        self.state = state;
        self.write()
    }
}

struct ShownValidation {
    validation: Validation,
    pictures: Vec<(ValidationImage, PictureSource)>,
}

struct ShownSample {
    name: String,
    caption: String,
    pictures: [PictureSource; 2],
}

impl Report {
    /// Begins with what an earlier part of the run has measured.
    pub(crate) fn new(config: &TrainConfig, total_steps: usize, shown: &Shown<'_>, earlier: Earlier) -> Self {
        let sample = |sample: &DatasetSample| ShownSample {
            name: sample.name.clone(),
            caption: sample.caption.clone(),
            pictures: [(&sample.pictures[0]).into(), (&sample.pictures[1]).into()],
        };
        let mut report = Self {
            path: config.output_dir.join("report.html"),
            model: shown_source(&config.pretrained_model),
            config: config.to_json(),
            total_steps,
            steps: StepCurves::default(),
            validations: Vec::new(),
            controls: shown.controls.iter().map(|control| ((&control.image).into(), control.prompt.clone())).collect(),
            samples: shown.samples.iter().map(sample).collect(),
            state: "running",
            written: None,
        };
        earlier.metrics.iter().for_each(|metrics| report.steps.push(metrics));
        report.validations = earlier.validations.into_iter().map(|validation| report.shown(validation)).collect();
        report
    }

    /// Reads the pictures back; one that is gone is left out.
    fn shown(&self, validation: Validation) -> ShownValidation {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let shown = |image: &ValidationImage| Some((image.clone(), (&read_image(folder, &image.file).ok()?).into()));
        ShownValidation { pictures: validation.images.iter().filter_map(shown).collect(), validation }
    }

    fn write(&mut self) -> Result<()> {
        let body = html! {
            h1 { "CogView4 Control: " (self.state) }
            p.dim { "fine-tuning " code { (self.model) } }
            (self.facts())
            (plots(&self.steps, &self.validations.iter().map(|shown| &shown.validation).collect::<Vec<_>>()))
            (self.validation_pictures())
            (self.dataset_samples())
            h2 { "Configuration" }
            details { summary { "all settings" } pre { (self.config) } }
        };
        let refresh = (self.state == "running").then_some(REFRESH);
        write_atomic(&self.path, page("CogView4 Control training", refresh, &body).as_bytes())?;
        self.written = Some(Instant::now());
        Ok(())
    }

    fn facts(&self) -> Markup {
        let fact = |name: &str, value: String| html! { div.fact { b { (value) } span { (name) } } };
        let last = self.steps.last.as_ref();
        let gain = self.validations.iter().rev().find_map(|shown| shown.validation.control_gain);
        html! {
            div.facts {
                (fact("step", format!("{} / {}", last.map_or(0, |metrics| metrics.step), self.total_steps)))
                @if last.is_some() { (fact("loss, smoothed", format!("{:.4}", self.steps.loss_now))) }
                @if let Some(gain) = gain { (fact("control gain", format!("{:.2} %", 100.0 * gain))) }
                @if let Some(metrics) = last {
                    (fact("learning rate", format!("{:.2e}", metrics.lr)))
                    (fact("samples a second", format!("{:.2}", metrics.samples_per_second)))
                    @if let Some((mfu, peak)) = metrics.mfu.zip(metrics.peak_flops) {
                        @let share = format!("{:.1} %", 100.0 * mfu);
                        (fact(&format!("of an assumed peak of {} TFLOP/s (MFU)", peak / 1e12), share))
                    }
                    @if metrics.anon_memory_bytes > 0 {
                        (fact("memory, at most", format!("{:.2} GB", metrics.anon_memory_bytes as f64 / 1e9)))
                    }
                    @let peak = metrics.peak_memory_bytes as f64 / 1e9;
                    (fact("peak memory, mapped files included", format!("{peak:.2} GB")))
                }
            }
        }
    }

    fn validation_pictures(&self) -> Markup {
        let drawn = || self.validations.iter().rev().filter(|shown| !shown.pictures.is_empty());
        html! {
            @if drawn().next().is_some() { h2 { "Validation" } }
            @for shown in drawn() {
                h3 {
                    "Step " (shown.validation.step)
                    @if let Some(gain) = shown.validation.control_gain {
                        span.dim { (format!(" · control gain {:.2} %", 100.0 * gain)) }
                    }
                    @for measured in words(&shown.validation.fidelity) { span.dim { " · " (measured) } }
                }
                @for (pair, (control, prompt)) in self.controls.iter().enumerate() {
                    div.row {
                        (figure(control, "control"))
                        @for (image, picture) in &shown.pictures {
                            @if image.pair == pair + 1 { (figure(picture, &format!("seed {}", image.seed))) }
                        }
                        p.prompt { (prompt) }
                    }
                }
            }
        }
    }

    fn dataset_samples(&self) -> Markup {
        html! {
            @if !self.samples.is_empty() { h2 { "Samples of the data set" } }
            @for sample in &self.samples {
                div.row {
                    (figure(&sample.pictures[1], "control"))
                    (figure(&sample.pictures[0], &sample.name))
                    p.prompt { (sample.caption) }
                }
            }
        }
    }
}

/// What was measured of the pictures, in words.
fn words(fidelity: &Fidelity) -> Vec<String> {
    let own = |name: &str, own: Option<f64>, decimals: usize, another: Option<f64>| {
        let another = another.map(|another| format!(", with another's control {another:.decimals$}"));
        Some(format!("{name} {:.decimals$}{}", own?, another.unwrap_or_default()))
    };
    let precision = fidelity.edge_precision.zip(fidelity.edge_recall);
    let found = [
        own("F1 of the edges", fidelity.edge_f1, 2, fidelity.edge_f1_shuffled),
        precision.map(|(precision, recall)| format!("precision {precision:.2}, recall {recall:.2}")),
        own("likeness when blurred", fidelity.blur_ssim, 2, fidelity.blur_ssim_shuffled),
        own("distance of colours", fidelity.colour_distance, 1, fidelity.colour_distance_shuffled),
    ];
    found.into_iter().flatten().collect()
}
