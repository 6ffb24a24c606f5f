//! `report.html`: one file that shows a run while it goes on and after it, in any browser.

mod plot;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cogview4_model::files::write_atomic;
use maud::{Markup, html};

use self::plot::{BLUE, GREEN, Line, ORANGE, PALE, plot, smoothed};
use super::{
    json_lines::Earlier,
    samples::DatasetSample,
    tracker::{Shown, Tracker, read_image},
};
use crate::{
    config::TrainConfig,
    error::Result,
    metrics::{StepMetrics, Validation},
    page::{PictureSource, figure, page},
};

/// Written again at most this often, but for validations and the end.
const INTERVAL: Duration = Duration::from_secs(5);
/// A browser that shows a running run reads the page again after this many seconds.
const REFRESH: u32 = 10;
/// Smoothing of the loss, as in TensorBoard.
const DECAY: f64 = 0.9;

/// All that the page shows.
pub(crate) struct Report {
    path: PathBuf,
    model: String,
    config: String,
    total_steps: usize,
    metrics: Vec<StepMetrics>,
    validations: Vec<ShownValidation>,
    controls: Vec<(PictureSource, String)>,
    samples: Vec<ShownSample>,
    state: &'static str,
    written: Option<Instant>,
}

impl Tracker for Report {
    fn step(&mut self, metrics: &StepMetrics) -> Result<()> {
        self.metrics.push(metrics.clone());
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
    pictures: Vec<PictureSource>,
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
            model: config.pretrained_model.to_string(),
            config: config.to_json(),
            total_steps,
            metrics: earlier.metrics,
            validations: Vec::new(),
            controls: shown.controls.iter().map(|control| ((&control.image).into(), control.prompt.clone())).collect(),
            samples: shown.samples.iter().map(sample).collect(),
            state: "running",
            written: None,
        };
        report.validations = earlier.validations.into_iter().map(|validation| report.shown(validation)).collect();
        report
    }

    /// Reads the pictures back; one that is gone is left out.
    fn shown(&self, validation: Validation) -> ShownValidation {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let load = |file: &Path| read_image(folder, file).ok();
        let pictures = validation.images.iter().filter_map(|image| load(&image.file)).map(|image| (&image).into());
        ShownValidation { pictures: pictures.collect(), validation }
    }

    fn write(&mut self) -> Result<()> {
        let body = html! {
            h1 { "CogView4 Control: " (self.state) }
            p.dim { "fine-tuning " code { (self.model) } }
            (self.facts())
            (self.plots())
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
        let loss = smoothed(&self.series(|metrics| metrics.loss), DECAY);
        let gain = self.validations.iter().rev().find_map(|shown| shown.validation.control_gain);
        html! {
            div.facts {
                (fact("step", format!("{} / {}", self.metrics.last().map_or(0, |metrics| metrics.step), self.total_steps)))
                @if let Some((_, loss)) = loss.last() { (fact("loss, smoothed", format!("{loss:.4}"))) }
                @if let Some(gain) = gain { (fact("control gain", format!("{:.2} %", 100.0 * gain))) }
                @if let Some(metrics) = self.metrics.last() {
                    (fact("learning rate", format!("{:.2e}", metrics.lr)))
                    (fact("samples a second", format!("{:.2}", metrics.samples_per_second)))
                    (fact("peak memory", format!("{:.2} GB", metrics.peak_memory_bytes as f64 / 1e9)))
                }
            }
        }
    }

    fn plots(&self) -> Markup {
        let loss = self.series(|metrics| metrics.loss);
        let smooth = smoothed(&loss, DECAY);
        let line = |name, color, width, points| Line { name, color, width, points };
        let measured = |value: fn(&Validation) -> Option<f64>| -> Vec<(f64, f64)> {
            let point = |shown: &ShownValidation| Some((shown.validation.step as f64, value(&shown.validation)?));
            self.validations.iter().filter_map(point).collect()
        };
        let gain = measured(|validation| validation.control_gain.map(|gain| 100.0 * gain));
        let norm = measured(|validation| Some(validation.control_norm));
        let probe = [
            line("own control", BLUE, 2, measured(|validation| validation.loss_true)),
            line("another's control", ORANGE, 2, measured(|validation| validation.loss_shuffled)),
            line("no control", GREEN, 2, measured(|validation| validation.loss_zero)),
        ];
        let edges = [
            line("own control", BLUE, 2, measured(|validation| validation.edge_f1)),
            line("another's control", ORANGE, 2, measured(|validation| validation.edge_f1_shuffled)),
        ];
        let has_edges = edges.iter().any(|line| !line.points.is_empty());
        let rows = self.validations.last().map(|shown| shown.validation.probe.as_str());
        html! {
            div.plots {
                (plot("Loss", &[line("", PALE, 1, loss), line("", BLUE, 2, smooth)]))
                (plot("Control gain in percent", &[line("", BLUE, 2, gain)]))
                (plot("Learning rate", &[line("", BLUE, 2, self.series(|metrics| metrics.lr))]))
                (plot("Gradient norm", &[line("", BLUE, 1, self.series(|metrics| metrics.grad_norm))]))
                (plot("Loss of the probe", &probe))
                (plot("Norm of the control weights", &[line("", BLUE, 2, norm)]))
                @if has_edges { (plot("F1 of the edges found again", &edges)) }
            }
            p.dim {
                "Control gain is how much the loss grows when each sample gets another sample's control image: at 0 the model "
                "does not look at it. "
                @if let Some(rows) = rows { "Probe: " (rows) "." }
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
                    @if let Some(f1) = shown.validation.edge_f1 {
                        span.dim { (format!(" · F1 of the edges {f1:.2}")) }
                        @if let Some(f1) = shown.validation.edge_f1_shuffled {
                            span.dim { (format!(", with another's control {f1:.2}")) }
                        }
                    }
                }
                @for (pair, (control, prompt)) in self.controls.iter().enumerate() {
                    div.row {
                        (figure(control, "control"))
                        @for (image, picture) in shown.validation.images.iter().zip(&shown.pictures) {
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

    fn series(&self, value: impl Fn(&StepMetrics) -> f64) -> Vec<(f64, f64)> {
        self.metrics.iter().map(|metrics| (metrics.step as f64, value(metrics))).collect()
    }
}
