//! Plots of the report, as SVG.

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;

const SIZE: (u32, u32) = (640, 300);
/// Points a line has at most; more are averaged in groups.
const MAX_POINTS: usize = 600;

/// A line by step.
pub(crate) struct Line<'a> {
    pub name: &'a str,
    pub color: RGBColor,
    /// Width in pixels.
    pub width: u32,
    pub points: Vec<(f64, f64)>,
}

/// Colours that are told apart by most eyes.
pub(crate) const BLUE: RGBColor = RGBColor(42, 111, 219);
pub(crate) const PALE: RGBColor = RGBColor(178, 203, 242);
pub(crate) const ORANGE: RGBColor = RGBColor(224, 123, 0);
pub(crate) const GREEN: RGBColor = RGBColor(22, 140, 86);

/// Draws lines by step. Values below 1e-3 are written with an exponent.
pub(crate) fn plot(title: &str, lines: &[Line<'_>]) -> Markup {
    let mut svg = String::new();
    let drawn = draw(title, lines, &mut svg);
    html! {
        div.plot {
            @match drawn {
                Ok(()) => (PreEscaped(svg)),
                Err(error) => p { (title) ": " (error) },
            }
        }
    }
}

fn draw(title: &str, lines: &[Line<'_>], svg: &mut String) -> Result<(), String> {
    let fail = |error: DrawingAreaErrorKind<_>| error.to_string();
    let points = || lines.iter().flat_map(|line| &line.points).filter(|point| point.1.is_finite());
    if points().next().is_none() {
        return Err("nothing yet".into());
    }
    let steps =
        points().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| (low.min(point.0), high.max(point.0)));
    let values =
        points().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| (low.min(point.1), high.max(point.1)));
    let margin = if values.1 > values.0 { 0.06 * (values.1 - values.0) } else { 0.1 * values.1.abs().max(1e-9) };
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 17))
        .margin(8)
        .margin_right(18)
        .x_label_area_size(28)
        .y_label_area_size(62)
        .build_cartesian_2d(steps.0..steps.1.max(steps.0 + 1.0), values.0 - margin..values.1 + margin)
        .map_err(fail)?;
    let grid = RGBColor(228, 228, 228);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(grid)
        .axis_style(RGBColor(150, 150, 150))
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|value| number(*value))
        .label_style(("sans-serif", 13))
        .draw()
        .map_err(fail)?;
    for line in lines {
        let style = ShapeStyle { color: line.color.to_rgba(), filled: true, stroke_width: line.width };
        let points = thinned(&line.points);
        let dots = if points.len() <= 40 && line.width > 1 { points.clone() } else { Vec::new() };
        let series = chart.draw_series(LineSeries::new(points, style)).map_err(fail)?;
        if !line.name.is_empty() {
            series.label(line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart.draw_series(dots.into_iter().map(|dot| Circle::new(dot, 2, style))).map_err(fail)?;
    }
    if lines.iter().any(|line| !line.name.is_empty()) {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleRight)
            .background_style(WHITE.mix(0.8))
            .label_font(("sans-serif", 13))
            .draw()
            .map_err(fail)?;
    }
    root.present().map_err(fail)?;
    Ok(())
}

/// Short, as an axis needs it.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.1e}"),
        size if size < 1.0 => format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').into(),
        _ => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').into(),
    }
}

/// Averages neighbours, so that long runs do not make large pages.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(MAX_POINTS).max(1);
    let mean = |points: &[(f64, f64)]| {
        let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / points.len() as f64, sum.1 / points.len() as f64)
    };
    let finite: Vec<_> = points.iter().copied().filter(|point| point.1.is_finite()).collect();
    finite.chunks(group).map(mean).collect()
}

/// Exponential moving average, without the bias of its beginning.
pub(crate) fn smoothed(points: &[(f64, f64)], decay: f64) -> Vec<(f64, f64)> {
    let (mut mean, mut weight) = (0.0, 0.0);
    let smooth = |&(step, value): &(f64, f64)| {
        mean = decay * mean + (1.0 - decay) * value;
        weight = decay * weight + (1.0 - decay);
        (step, mean / weight)
    };
    points.iter().map(smooth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stays_what_it_is() {
        let points: Vec<_> = (0..5000).map(|step| (f64::from(step), 3.0)).collect();
        assert!(smoothed(&points, 0.95).iter().all(|point| (point.1 - 3.0).abs() < 1e-9));
        let thin = thinned(&points);
        assert!(thin.len() <= MAX_POINTS && thin.iter().all(|point| (point.1 - 3.0).abs() < 1e-9));
    }

    #[test]
    fn numbers_on_an_axis_are_short() {
        let found = [0.0, 5e-6, 0.0123, 0.5, 4.0, 1234.5].map(number);
        assert_eq!(found, ["0", "5.0e-6", "0.0123", "0.5", "4", "1234.5"]);
    }
}
