//! The curves of the report.

use maud::{Markup, html};

use super::curves::{Marks, StepCurves};
use crate::{
    metrics::Validation,
    page::{BLUE, GREEN, Line, ORANGE, PALE, PURPLE, RED, plot},
};

/// All that has points; the first four are there from the beginning.
pub(super) fn plots(steps: &StepCurves, validations: &[&Validation]) -> Markup {
    let line = |name, color, width, points| Line { name, color, width, points };
    let measured = |value: fn(&Validation) -> Option<f64>| -> Vec<(f64, f64)> {
        validations.iter().filter_map(|validation| Some((validation.step as f64, value(validation)?))).collect()
    };
    // Marked where there are some: most runs have none.
    let outliers =
        |marks: &Marks| Some(line("outliers", RED, 0, marks.points())).filter(|line| !line.points.is_empty());
    let mut losses =
        vec![line("each step", PALE, 1, steps.loss.points()), line("smoothed", BLUE, 2, steps.smoothed_loss.points())];
    losses.extend(outliers(&steps.far_losses));
    let mut norms = vec![line("", BLUE, 1, steps.grad_norm.points())];
    norms.extend(outliers(&steps.far_norms));
    let gain = measured(|validation| validation.control_gain.map(|gain| 100.0 * gain));
    let probe = [
        line("own control", BLUE, 2, measured(|validation| validation.loss_true)),
        line("another's control", ORANGE, 2, measured(|validation| validation.loss_shuffled)),
        line("no control", GREEN, 2, measured(|validation| validation.loss_zero)),
    ];
    let edges = [
        line("F1", BLUE, 2, measured(|validation| validation.fidelity.edge_f1)),
        line("precision", GREEN, 1, measured(|validation| validation.fidelity.edge_precision)),
        line("recall", PURPLE, 1, measured(|validation| validation.fidelity.edge_recall)),
        line("F1, another's control", ORANGE, 2, measured(|validation| validation.fidelity.edge_f1_shuffled)),
    ];
    let blur = [
        line("own control", BLUE, 2, measured(|validation| validation.fidelity.blur_ssim)),
        line("another's control", ORANGE, 2, measured(|validation| validation.fidelity.blur_ssim_shuffled)),
    ];
    let colours = [
        line("own control", BLUE, 2, measured(|validation| validation.fidelity.colour_distance)),
        line("another's control", ORANGE, 2, measured(|validation| validation.fidelity.colour_distance_shuffled)),
    ];
    let memory = [
        line("anonymous", BLUE, 2, steps.anon_memory.points()),
        line("mapped files included", PALE, 1, steps.peak_memory.points()),
    ];
    let fidelity: [(&str, &[Line<'_>]); 3] = [
        ("Edges of the control found in the pictures", &edges),
        ("Likeness to the control when blurred (SSIM)", &blur),
        ("Distance of the colours to the control's", &colours),
    ];
    html! {
        div.plots {
            (plot("Loss", &losses))
            (plot("Control gain in percent", &[line("", BLUE, 2, gain)]))
            (plot("Learning rate", &[line("", BLUE, 2, steps.learning_rate.points())]))
            (plot("Gradient norm", &norms))
            (plot("Loss of the probe", &probe))
            (plot("Memory so far at most, in GB", &memory))
            (plot("Norm of the control weights", &[line("", BLUE, 2, measured(|found| Some(found.control_norm)))]))
            @for (title, lines) in fidelity.iter().filter(|(_, lines)| !lines[0].points.is_empty()) {
                (plot(title, lines))
            }
        }
        p.dim {
            "Control gain is how much the loss grows when each sample gets another sample's control image: at 0 the model does "
            "not look at it. "
            @if let Some(last) = validations.last() { "Probe: " (last.probe) ". " }
            @if let Some(last) = validations.last().filter(|last| !last.controls.is_empty()) {
                "Whether the pictures follow: " (last.controls) "."
            }
        }
    }
}
