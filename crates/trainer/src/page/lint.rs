//! The findings of the lint as a page.

use std::path::Path;

use cogview4_data::{
    Dataset, Picture,
    lint::{Finding, LintReport, row_numbers},
};
use maud::{Markup, html};

use super::html::{PictureSource, figure, page};
use crate::config::shown_folder;

/// Rows of each kind that are shown with their pictures.
const SHOWN: usize = 12;
/// Characters of a caption that are shown.
const SHOWN_CHARACTERS: usize = 400;

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
    // Where things lie on this machine is nobody's business.
    let folder = finding.place.0.parent().filter(|folder| *folder != Path::new(""));
    let detail = match folder {
        Some(folder) => finding.detail.replace(&format!("{}/", folder.display()), ""),
        None => finding.detail.clone(),
    };
    html! {
        div.row {
            @if let Some(row) = &row {
                (shown_picture("control", &row.conditioning_image))
                (shown_picture("picture", &row.image))
            }
            div.prompt {
                p { b { "Row " (finding.place.1) } ": " span.bad { (detail) } }
                @if let Some(row) = &row {
                    @for caption in &row.captions { p { (caption.chars().take(SHOWN_CHARACTERS).collect::<String>()) } }
                }
                p.dim { (shown_folder(&finding.place.0)) }
            }
        }
    }
}

fn shown_picture(what: &str, picture: &Picture) -> Markup {
    let Ok(picture) = picture.open() else {
        return html! {
            figure {
                div style="width:192px;height:192px;background:var(--card);border-radius:6px" {}
                figcaption { (what) ", unreadable" }
            }
        };
    };
    let caption = format!("{what}, {}x{}", picture.width(), picture.height());
    figure(&PictureSource::from(&picture), &caption)
}
