//! `cargo xtask loss-compare A B [--assert-equal]`: two output folders step by step. That a change left every bit of
//! training as it was is shown by two runs that are equal in all of this.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// What is compared of a step.
const KEYS: [&str; 3] = ["loss", "lr", "grad_norm"];

/// Compares the runs; gives the lines to print. With `assert_equal`, a difference is an error.
pub(crate) fn compare(a: &Path, b: &Path, assert_equal: bool) -> Result<Vec<String>> {
    let (left, right) = (steps(a)?, steps(b)?);
    let mut lines = Vec::new();
    let mut worst = [0.0_f64; KEYS.len()];
    let mut parted = None;
    for (first, second) in left.iter().zip(&right) {
        ensure!(first["step"] == second["step"], "step {} stands beside step {}", first["step"], second["step"]);
        for (key, worst) in KEYS.iter().zip(&mut worst) {
            let [x, y] = [first, second].map(|line| line[*key].as_f64().unwrap_or(f64::NAN));
            if x.to_bits() != y.to_bits() {
                *worst = worst.max(((x - y) / x.abs().max(y.abs())).abs());
                parted.get_or_insert_with(|| format!("they part at step {}: {key} {x} and {y}", first["step"]));
            }
        }
    }
    if left.len() != right.len() {
        parted.get_or_insert_with(|| format!("one has {} steps, the other {}", left.len(), right.len()));
    }
    match parted {
        None => lines.push(format!("{} steps are equal in {}", left.len(), KEYS.join(", "))),
        Some(parted) => {
            ensure!(!assert_equal, "{parted}");
            lines.push(parted);
            lines.extend(
                KEYS.iter().zip(worst).map(|(key, worst)| format!("{key}: at most {worst:.2e} apart, relative")),
            );
        }
    }
    Ok(lines)
}

/// The lines of a run.
fn steps(output_dir: &Path) -> Result<Vec<Value>> {
    let path = output_dir.join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let line = |line: &str| serde_json::from_str(line).with_context(|| format!("a line of {}", path.display()));
    let lines: Vec<Value> = text.lines().map(line).collect::<Result<_>>()?;
    ensure!(!lines.is_empty(), "{} has no steps", path.display());
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, losses: &[f64]) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("loss-compare-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let line = |(step, loss): (usize, &f64)| {
            format!("{{\"step\":{},\"loss\":{loss},\"lr\":1e-3,\"grad_norm\":1.5,\"data_seconds\":{step}}}\n", step + 1)
        };
        let text: String = losses.iter().enumerate().map(line).collect();
        std::fs::write(folder.join("metrics.jsonl"), text).expect("a file");
        folder
    }

    #[test]
    fn the_first_difference_is_named() {
        let [a, b] = [("a", 0.25), ("b", 0.25)].map(|(name, loss)| run(name, &[0.5, loss]));
        assert_eq!(compare(&a, &b, true).expect("equal"), ["2 steps are equal in loss, lr, grad_norm"]);
        let c = run("c", &[0.5, 0.250_000_000_000_000_1]);
        let error = compare(&a, &c, true).expect_err("not equal").to_string();
        assert!(error.starts_with("they part at step 2: loss 0.25"), "{error}");
        assert_eq!(compare(&a, &c, false).expect("a report").len(), 4);
        let d = run("d", &[0.5]);
        assert!(compare(&a, &d, true).expect_err("shorter").to_string().contains("2 steps"));
        for folder in [a, b, c, d] {
            std::fs::remove_dir_all(folder).expect("removed");
        }
    }
}
