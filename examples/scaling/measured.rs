//! Reads `metrics.jsonl` of measured runs and holds them against what is predicted.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::calibrate::{Calibration, Run, Setting};

/// Steps at the start that are left out: memory is faulted in, and kernels are chosen.
const WARM_UP: usize = 2;
/// Parts of a step over the step, at most, for medians of each.
const LONGEST: f64 = 1.1;
/// How far a prediction may be off.
const TOLERANCE: f64 = 0.15;

/// Reads a run with so many samples a micro-batch of one process, and micro-batches a step.
pub(crate) fn read_run(path: &Path, samples: usize, micro_batches: usize) -> Result<Run> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let lines: Vec<Value> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).with_context(|| format!("{}: `{line}`", path.display())))
        .collect::<Result<_>>()?;
    ensure!(lines.len() > WARM_UP, "{}: {} steps, more than {WARM_UP} are needed", path.display(), lines.len());
    let steps = &lines[WARM_UP..];
    // A key that is not there was not measured: of one process nothing is exchanged.
    let median = |key: &str| median(steps.iter().map(|line| line[key].as_f64().unwrap_or_default()).collect());
    let rate = median("samples_per_second");
    ensure!(rate > 0.0, "{}: no `samples_per_second`", path.display());
    // Runs of one process do not say so.
    let processes = steps[0]["processes"].as_u64().unwrap_or(1).max(1) as usize;
    Ok(Run {
        processes,
        samples,
        micro_batches,
        step: (processes * samples * micro_batches) as f64 / rate,
        forward: median("forward_seconds"),
        backward: median("backward_seconds"),
        update: median("update_seconds"),
        exchange: median("exchange_seconds"),
        gather: median("gather_seconds"),
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Measured beside predicted, a row for each run, in ascending number of processes.
///
/// # Errors
/// No run of one process first, or one that does not say how long it computed.
pub(crate) fn report(setting: &Setting, runs: &[Run]) -> Result<String> {
    let alone = runs.first().context("--measured: no runs")?;
    let counts: Vec<usize> = runs.iter().map(|run| run.processes).collect();
    let is_ordered = counts[0] == 1 && counts.is_sorted() && counts.iter().filter(|count| **count == 1).count() <= 2;
    ensure!(
        is_ordered,
        "--measured: files of 1, 1, 2, 4, ... processes are needed in this order, given are {counts:?}"
    );
    for run in runs {
        let computed = run.forward + run.backward;
        let has_computed = run.forward > 0.0 && run.backward > 0.0;
        ensure!(has_computed, "the run of {}: no `forward_seconds` or `backward_seconds`", run.processes);
        ensure!(
            computed <= LONGEST * run.step,
            "the run of {}: {computed:.2} s of forward and backward in steps of {:.2} s: are --train_batch_size and \
             --gradient_accumulation_steps those of the run?",
            run.processes,
            run.step
        );
    }
    let other = runs.get(1).filter(|run| run.processes == 1);
    let several = runs.iter().find(|run| run.processes > 1);
    if let Some(run) = several {
        let has_sent = run.exchange > 0.0 && (run.gather > 0.0 || setting.zero_stage == 0);
        ensure!(has_sent, "the run of {}: no `exchange_seconds` or `gather_seconds`", run.processes);
    }
    let found = setting.calibrate(alone, other, several);
    let mut lines = vec![
        calibrated(&found),
        String::new(),
        "| processes | measured, s | predicted, s | measured / predicted | hidden, predicted | |".into(),
        "|---|---|---|---|---|---|".into(),
    ];
    let first_of_several = several.map_or(1, |run| run.processes);
    for run in runs {
        let predicted = setting.seconds(&found, run);
        let ratio = run.step / predicted;
        let use_of = match run.processes {
            processes if processes <= first_of_several => "calibrated with",
            _ if (ratio - 1.0).abs() <= TOLERANCE => "predicted, within 15 %",
            _ => "predicted, off by more than 15 %",
        };
        let hidden = setting.step(&found, run).hidden();
        let hidden = hidden.map_or("-".into(), |hidden| format!("{:.0} %", 100.0 * hidden));
        let (processes, measured) = (run.processes, run.step);
        lines.push(format!("| {processes} | {measured:.3} | {predicted:.3} | {ratio:.3} | {hidden} | {use_of} |"));
    }
    Ok(lines.join("\n"))
}

/// What was learned, in words.
fn calibrated(found: &Calibration) -> String {
    let Calibration { forward, backward, forward_each, backward_each, update, rest, split, exchange, gather, stolen } =
        *found;
    let alone = format!(
        "One process alone: forward {forward_each:.4} s and {forward:.4} s a sample, backward {backward_each:.4} s and \
         {backward:.4} s, rest {rest:.4} s, update {update:.4} s a step."
    );
    if !exchange.is_finite() {
        return alone;
    }
    format!(
        "{alone}\nSeveral: computing takes {split:.3} of that beside one another, gradients leave at {:.2} GB/s \
         and weights at {:.2},\ncounted in bfloat16, and a second of that takes {stolen:.2} s of computing.",
        exchange / 1e9,
        gather / 1e9,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::tests::SETTING;

    #[test]
    fn the_first_steps_do_not_count() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line =
            |rate: f64| format!("{{\"samples_per_second\": {rate}, \"forward_seconds\": 1.0, \"processes\": 2}}\n");
        fs::write(file.path(), [1.0, 1.0, 8.0, 10.0, 9.0].map(line).concat()).unwrap();
        let run = read_run(file.path(), 9, 2).unwrap();
        assert_eq!((run.processes, run.step, run.forward, run.exchange), (2, 4.0, 1.0, 0.0));
        fs::write(file.path(), [1.0, 1.0].map(line).concat()).unwrap();
        assert!(read_run(file.path(), 9, 2).is_err());
    }

    #[test]
    fn a_report_names_what_is_off_and_refuses_what_says_nothing() {
        let alone = Run {
            processes: 1,
            samples: 1,
            micro_batches: 1,
            step: 4.1,
            forward: 1.0,
            backward: 3.0,
            update: 0.1,
            ..Run::default()
        };
        let two = Run { processes: 2, step: 8.3, forward: 2.0, backward: 6.0, exchange: 0.5, gather: 0.2, ..alone };
        let four = Run { processes: 4, step: 60.0, ..two };
        let text = report(&SETTING, &[alone, two, four]).unwrap();
        assert_eq!(text.matches("calibrated with").count(), 2, "{text}");
        assert!(text.ends_with("off by more than 15 % |"), "{text}");
        assert!(report(&SETTING, &[two]).is_err() && report(&SETTING, &[alone, four, two]).is_err());
        let wrong_samples = Run { step: 2.05, ..alone };
        assert!(report(&SETTING, &[wrong_samples]).unwrap_err().to_string().contains("--train_batch_size"));
        assert!(report(&SETTING, &[alone, Run { exchange: 0.0, ..two }]).is_err());
    }
}
