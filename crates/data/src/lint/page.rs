//! The findings as a page and as a table.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{Finding, FindingKind, LintReport};
use crate::{
    html::{PictureSource, figure, page},
    source::Dataset,
};

/// Rows of each kind that are shown with their pictures.
const SHOWN: usize = 12;

impl LintReport {
    /// Number of rows with a finding.
    pub fn bad_rows(&self) -> usize {
        let mut rows: Vec<usize> = self.findings.iter().map(|finding| finding.row).collect();
        rows.sort_unstable();
        rows.dedup();
        rows.len()
    }

    /// The findings by kind.
    pub fn by_kind(&self) -> BTreeMap<FindingKind, Vec<&Finding>> {
        let mut kinds: BTreeMap<FindingKind, Vec<&Finding>> = BTreeMap::new();
        for finding in &self.findings {
            kinds.entry(finding.kind).or_default().push(finding);
        }
        kinds
    }

    /// A page with the findings, the pictures of the first rows of each kind side by side.
    pub fn to_html(&self, dataset: &dyn Dataset) -> String {
        let fact = |name: &str, value: usize| html! { div.fact { b { (value) } span { (name) } } };
        let body = html! {
            h1 { "Pairs of the data set" }
            div.facts {
                (fact("rows", self.rows))
                (fact("rows with findings", self.bad_rows()))
                (fact("findings", self.findings.len()))
            }
            @if self.findings.is_empty() { p { "Nothing was found." } }
            @for note in &self.notes { p.dim { (note) } }
            @if !self.findings.is_empty() {
                table {
                    tr { th { "finding" } th.number { "rows" } th { "which" } }
                    @for (kind, findings) in self.by_kind() {
                        tr { td { (kind.name()) } td.number { (findings.len()) } td { (numbers(&findings)) } }
                    }
                }
            }
            @for (kind, findings) in self.by_kind() {
                h2 { (kind.name()) " (" (findings.len()) ")" }
                @for finding in findings.iter().take(SHOWN) { (shown(finding, dataset)) }
            }
        };
        page("Pairs of the data set", None, &body)
    }
}

/// Numbers of the rows, as in their file.
pub(super) fn numbers(findings: &[&Finding]) -> String {
    const MOST: usize = 12;
    let numbers: Vec<String> = findings.iter().take(MOST).map(|finding| finding.place.1.to_string()).collect();
    let more = if findings.len() > MOST { ", ..." } else { "" };
    numbers.join(", ") + more
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

impl std::fmt::Display for LintReport {
    /// A table for a terminal: the kinds first, then each finding.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} rows, {} with findings", self.rows, self.bad_rows())?;
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        if self.findings.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{:<30} {:>5}  rows", "finding", "count")?;
        for (kind, findings) in self.by_kind() {
            writeln!(f, "{:<30} {:>5}  {}", kind.name(), findings.len(), numbers(&findings))?;
        }
        writeln!(f)?;
        for finding in &self.findings {
            writeln!(f, "row {}: {}: {}", finding.place.1, finding.kind.name(), finding.detail)?;
        }
        Ok(())
    }
}
