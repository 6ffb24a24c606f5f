//! The findings of the lint as a page.

use cogview4_data::{
    Dataset,
    lint::{Finding, LintReport, row_numbers},
};
use maud::{Markup, html};

use super::{PictureSource, figure, page};

/// Rows of each kind that are shown with their pictures.
const SHOWN: usize = 12;

/// A page with the findings, the pictures of the first rows of each kind side by side.
pub(crate) fn lint_page(report: &LintReport, dataset: &dyn Dataset) -> String {
    let fact = |name: &str, value: usize| html! { div.fact { b { (value) } span { (name) } } };
    let body = html! {
        h1 { "Pairs of the data set" }
        div.facts {
            (fact("rows", report.rows))
            (fact("rows with findings", report.bad_rows()))
            (fact("findings", report.findings.len()))
        }
        @if report.findings.is_empty() { p { "Nothing was found." } }
        @for note in &report.notes { p.dim { (note) } }
        @if !report.findings.is_empty() {
            table {
                tr { th { "finding" } th.number { "rows" } th { "which" } }
                @for (kind, findings) in report.by_kind() {
                    tr { td { (kind.name()) } td.number { (findings.len()) } td { (row_numbers(&findings)) } }
                }
            }
        }
        @for (kind, findings) in report.by_kind() {
            h2 { (kind.name()) " (" (findings.len()) ")" }
            @for finding in findings.iter().take(SHOWN) { (shown(finding, dataset)) }
        }
    };
    page("Pairs of the data set", None, &body)
}

fn shown(finding: &Finding, dataset: &dyn Dataset) -> Markup {
    let row = dataset.row(finding.row).ok();
    html! {
        div.row {
            @if let Some(row) = &row {
                @for (what, picture) in [("control", row.conditioning_image.open().ok()), ("picture", row.image.open().ok())] {
                    @match picture {
                        Some(picture) => {
                            (figure(&PictureSource::from(&picture), &format!("{what}, {}x{}", picture.width(), picture.height())))
                        }
                        None => figure { div style="width:192px;height:192px;background:var(--card);border-radius:6px" {} figcaption { (what) ", unreadable" } },
                    }
                }
            }
            div.prompt {
                p { b { "Row " (finding.place.1) } ": " span.bad { (finding.detail) } }
                @if let Some(row) = &row { @for caption in &row.captions { p { (caption.chars().take(400).collect::<String>()) } } }
                p.dim { (finding.place.0.display()) }
            }
        }
    }
}
