//! Plots, as SVG.

use maud::{Markup, PreEscaped, html};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::curve::Curve;

const SIZE: (u32, u32) = (640, 300);

/// Of the legend's letters, on average, in pixels.
const WIDTH_OF_A_CHARACTER: i32 = 7;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A line by step.
pub(crate) struct Line<'a> {
    pub name: &'a str,
    pub color: RGBColor,
    /// Width in pixels; 0 marks the points and draws no line.
    pub width: u32,
    pub points: Vec<(f64, f64)>,
}

impl Line<'_> {
    fn style(&self) -> ShapeStyle {
        ShapeStyle { color: self.color.to_rgba(), filled: true, stroke_width: self.width }
    }
}

/// Colours that are told apart by most eyes.
pub(crate) const BLUE: RGBColor = RGBColor(42, 111, 219);
pub(crate) const PALE: RGBColor = RGBColor(178, 203, 242);
pub(crate) const ORANGE: RGBColor = RGBColor(224, 123, 0);
pub(crate) const GREEN: RGBColor = RGBColor(22, 140, 86);
pub(crate) const PURPLE: RGBColor = RGBColor(146, 84, 181);
pub(crate) const RED: RGBColor = RGBColor(208, 52, 44);

/// Draws lines by step, for a page. Values below 1e-3 are written with an exponent.
pub(crate) fn plot(title: &str, lines: &[Line<'_>]) -> Markup {
    html! {
        div.plot {
            @match svg(&[(title, lines)]) {
                Ok(svg) => (PreEscaped(svg)),
                Err(error) => p { (title) ": " (error) },
            }
        }
    }
}

/// Plots one below the other, each with its title, as a file of its own.
///
/// # Errors
/// A plot without points, or what the library says.
pub(crate) fn svg(plots: &[(&str, &[Line<'_>])]) -> Result<String, String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (SIZE.0, SIZE.1 * plots.len() as u32)).into_drawing_area();
    root.fill(&WHITE).map_err(fail)?;
    for (area, (title, lines)) in root.split_evenly((plots.len(), 1)).iter().zip(plots) {
        draw(area, title, lines)?;
    }
    root.present().map_err(fail)?;
    drop(root);
    Ok(svg)
}

fn fail(error: DrawingAreaErrorKind<std::io::Error>) -> String {
    error.to_string()
}

/// Title and legend above the plot, so that they cover nothing of it.
fn draw(area: &Area<'_>, title: &str, lines: &[Line<'_>]) -> Result<(), String> {
    let points = || lines.iter().flat_map(|line| &line.points).filter(|point| point.1.is_finite());
    if points().next().is_none() {
        return Err("nothing yet".into());
    }
    let range = |value: fn(&(f64, f64)) -> f64| {
        points()
            .map(value)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (steps, values) = (range(|point| point.0), range(|point| point.1));
    // Their difference is what is drawn by.
    if !(values.1 - values.0).is_finite() {
        return Err("its values lie too far apart to be drawn".into());
    }
    let margin = if values.1 > values.0 { 0.06 * (values.1 - values.0) } else { 0.1 * values.1.abs().max(1e-9) };
    let has_legend = lines.iter().any(|line| !line.name.is_empty());
    let (head, body) = area.split_vertically(if has_legend { 54 } else { 34 });
    let centered = ("sans-serif", 17).into_text_style(&head).pos(Pos::new(HPos::Center, VPos::Top));
    head.draw(&Text::new(title, (SIZE.0 as i32 / 2, 10), centered)).map_err(fail)?;
    legend(&head, lines)?;
    let mut chart = ChartBuilder::on(&body)
        .margin(8)
        .margin_right(18)
        .margin_top(2)
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
        if line.width == 0 {
            let mark = ShapeStyle { color: line.color.to_rgba(), filled: false, stroke_width: 2 };
            let finite = line.points.iter().copied().filter(|point| point.1.is_finite());
            chart.draw_series(finite.map(|point| Circle::new(point, 5, mark))).map_err(fail)?;
            continue;
        }
        let points = line.points.iter().copied().collect::<Curve>().points();
        let dots = if points.len() <= 40 && line.width > 1 { points.clone() } else { Vec::new() };
        chart.draw_series(LineSeries::new(points, line.style())).map_err(fail)?;
        chart.draw_series(dots.into_iter().map(|dot| Circle::new(dot, 2, line.style()))).map_err(fail)?;
    }
    Ok(())
}

/// Names of the lines, each after a piece of it, in a row.
fn legend(head: &Area<'_>, lines: &[Line<'_>]) -> Result<(), String> {
    let mut left = 71;
    for line in lines.iter().filter(|line| !line.name.is_empty()) {
        let style = ShapeStyle { stroke_width: line.width.max(1), ..line.style() };
        head.draw(&PathElement::new([(left, 44), (left + 18, 44)], style)).map_err(fail)?;
        head.draw(&Text::new(line.name, (left + 24, 37), ("sans-serif", 13))).map_err(fail)?;
        left += 44 + WIDTH_OF_A_CHARACTER * line.name.chars().count() as i32;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_an_axis_are_short() {
        let found = [0.0, 5e-6, 0.0123, 0.5, 4.0, 1234.5].map(number);
        assert_eq!(found, ["0", "5.0e-6", "0.0123", "0.5", "4", "1234.5"]);
    }
}
