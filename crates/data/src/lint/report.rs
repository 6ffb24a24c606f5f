//! The findings counted, and as a table.

use std::collections::BTreeMap;

use super::{Finding, FindingKind, LintReport};

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
}

/// Numbers of the rows, as in their file; the first ones where there are many.
pub fn row_numbers(findings: &[&Finding]) -> String {
    const MOST: usize = 12;
    let numbers: Vec<String> = findings.iter().take(MOST).map(|finding| finding.place.1.to_string()).collect();
    let more = if findings.len() > MOST { ", ..." } else { "" };
    numbers.join(", ") + more
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
            writeln!(f, "{:<30} {:>5}  {}", kind.name(), findings.len(), row_numbers(&findings))?;
        }
        writeln!(f)?;
        for finding in &self.findings {
            writeln!(f, "row {}: {}: {}", finding.place.1, finding.kind.name(), finding.detail)?;
        }
        Ok(())
    }
}
