//! The progress bar of generation and training.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar on standard error, which shows only where that is a terminal and `show` asks for it. `what` stands in
/// front of the bar and has no braces; `done` of `total` steps were made before, and do not count for the rate.
///
/// # Panics
/// When `what` has braces.
pub fn progress_bar(what: &str, total: usize, done: usize, show: bool) -> ProgressBar {
    let target = if show { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let template =
        format!("{what} {{percent:>3}}%|{{bar:40}}| {{pos}}/{{len}} [{{elapsed}}<{{eta}}, {{per_sec}}] {{msg}}");
    let style = ProgressStyle::with_template(&template).expect("invariant: the template is valid");
    let progress = ProgressBar::with_draw_target(Some(total as u64), target).with_style(style);
    progress.set_position(done as u64);
    progress.reset_eta();
    progress
}
