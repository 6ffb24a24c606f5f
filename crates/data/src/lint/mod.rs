//! A look at every pair of a data set before anything is trained: what cannot be read, what is too small, doubled or
//! empty, and control images that do not belong to their picture.

mod correlation;
mod edges;
mod finding;
mod report;
mod summary;

use std::collections::{BTreeMap, HashMap, HashSet};

use rayon::prelude::*;

use self::{
    correlation::{Verdict, compare},
    summary::{RowSummary, Side},
};
pub use self::{
    finding::{Finding, FindingKind, LintReport},
    report::row_numbers,
};
use crate::source::Dataset;

/// Rows that are read together, and compared with each other.
const CHUNK: usize = 64;
/// Where more rows cannot be read, the data set is not what it says, and no more are tried.
const MAX_UNREADABLE: usize = 10_000;
/// Characters of what is wrong with a row.
const MAX_DETAIL: usize = 500;
/// Sides below this are too small whatever is trained.
const LEAST_SIDE: u32 = 16;
/// Bits a pixel by which pictures must exceed control images, at the median, for the two to be told apart.
const ENTROPY_GAP: f64 = 1.0;
/// Distance between channels, in bytes, up to which a picture is grey.
const COLOURLESS: f64 = 3.0;

/// What rows are held against.
#[derive(Clone, Copy)]
pub struct LintOptions<'a> {
    /// Side of the pictures in training.
    pub resolution: u32,
    /// Captions are cut to this many tokens.
    pub max_sequence_length: usize,
    /// Tokens of a caption, or why it has none; `None` does not look at lengths.
    pub count_tokens: Option<CountTokens<'a>>,
}

/// Counts the tokens of a caption, or says why it cannot be tokenized.
pub type CountTokens<'a> = &'a (dyn Fn(&str) -> Result<usize, String> + Sync);

impl std::fmt::Debug for LintOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LintOptions").field("resolution", &self.resolution).finish_non_exhaustive()
    }
}

/// Something to tell pictures and control images apart by, the least difference that says anything, and its unit.
type Measure = (fn(&Side) -> f64, f64, &'static str);

/// Looks at every row; `progress` is told how many are done.
///
/// ```no_run
/// use cogview4_data::{Columns, lint::{LintOptions, lint}, open_dataset};
///
/// let dataset = open_dataset("my-pairs".as_ref(), &Columns::default())?;
/// let options = LintOptions { resolution: 512, max_sequence_length: 128, count_tokens: None };
/// for finding in lint(&*dataset, options, |_| ()).findings {
///     println!("row {}: {}: {}", finding.place.1, finding.kind.name(), finding.detail);
/// }
/// # Ok::<(), cogview4_data::DataError>(())
/// ```
pub fn lint(dataset: &dyn Dataset, options: LintOptions<'_>, progress: impl Fn(usize)) -> LintReport {
    let mut lint = Lint { dataset, options, findings: Vec::new(), notes: Vec::new() };
    let chunks = dataset.len().div_ceil(CHUNK).max(1);
    let (mut rows, mut verdicts, mut unreadable) = (Vec::new(), Vec::new(), 0);
    for chunk in 0..chunks {
        // Of equal size, so that the last has enough rows to compare with.
        let part = |chunk: usize| (chunk as u128 * dataset.len() as u128 / chunks as u128) as usize;
        let (begin, end) = (part(chunk), part(chunk + 1));
        let mut read: Vec<RowSummary> =
            (begin..end).into_par_iter().map(|row| RowSummary::read(dataset, row, options.count_tokens)).collect();
        verdicts.extend(compare(&mut read));
        unreadable += read.iter().filter(|row| row.pictures.is_err()).count();
        rows.extend(read);
        progress(end - begin);
        if unreadable > MAX_UNREADABLE {
            lint.notes.push(format!("more than {MAX_UNREADABLE} rows cannot be read: the others were not looked at"));
            break;
        }
    }
    lint.unreadable(&rows);
    lint.captions(&rows);
    lint.sizes(&rows);
    lint.contents(&rows);
    lint.exchanged(&rows);
    lint.belonging(&verdicts);
    lint.findings.sort_by_key(|finding| (finding.kind, finding.row));
    LintReport { rows: rows.len(), findings: lint.findings, notes: lint.notes }
}

struct Lint<'a> {
    dataset: &'a dyn Dataset,
    options: LintOptions<'a>,
    findings: Vec<Finding>,
    notes: Vec<String>,
}

/// Both sides of the rows that could be read.
fn pairs(rows: &[RowSummary]) -> impl Iterator<Item = (usize, &Side, &Side)> {
    rows.iter().enumerate().filter_map(|(row, summary)| {
        let (image, control) = summary.pictures.as_ref().ok()?;
        Some((row, image, control))
    })
}

impl Lint<'_> {
    fn add(&mut self, row: usize, kind: FindingKind, detail: impl Into<String>) {
        // What a row holds may have line breaks, and any length.
        let detail: String = detail.into().chars().take(MAX_DETAIL).collect();
        let detail = detail.split_whitespace().collect::<Vec<_>>().join(" ");
        self.findings.push(Finding { row, place: self.dataset.place(row), kind, detail });
    }

    fn unreadable(&mut self, rows: &[RowSummary]) {
        for (row, summary) in rows.iter().enumerate() {
            if let Err(reason) = &summary.pictures {
                self.add(row, FindingKind::Unreadable, reason.clone());
            }
        }
    }

    fn captions(&mut self, rows: &[RowSummary]) {
        let most = self.options.max_sequence_length;
        for (row, summary) in rows.iter().enumerate() {
            if summary.has_empty_caption {
                self.add(row, FindingKind::EmptyCaption, "a caption has no words");
            }
            if summary.tokens > most {
                let detail = format!("{} tokens, cut to {most}", summary.tokens);
                self.add(row, FindingKind::LongCaption, detail);
            }
        }
        if self.options.count_tokens.is_none() {
            self.notes.push("lengths of captions were not looked at: no tokenizer was given".into());
        }
    }

    fn sizes(&mut self, rows: &[RowSummary]) {
        let mut sides: Vec<u32> = pairs(rows).map(|(_, image, _)| image.short_side()).collect();
        sides.sort_unstable();
        // Small against what is trained, and against the rest: a whole set of small pictures is a choice.
        let typical = sides.get(sides.len() / 2).copied().unwrap_or_default();
        let least = (self.options.resolution.min(typical) / 2).max(LEAST_SIDE);
        for (row, image, control) in pairs(rows) {
            if let Some(small) = [image, control].into_iter().find(|side| side.short_side() < least) {
                let [width, height] = small.size;
                self.add(row, FindingKind::Tiny, format!("{width}x{height}, a side below {least}"));
            }
            if image.size != control.size {
                let ([width, height], [control_width, control_height]) = (image.size, control.size);
                let detail = format!("picture {width}x{height}, control image {control_width}x{control_height}");
                self.add(row, FindingKind::SizeMismatch, detail);
            }
        }
    }

    fn contents(&mut self, rows: &[RowSummary]) {
        let mut with_hash: HashMap<_, Vec<usize>> = HashMap::new();
        for (row, image, _) in pairs(rows) {
            with_hash.entry(image.hash).or_default().push(row);
        }
        for (row, image, control) in pairs(rows) {
            if let Some(&other) = with_hash[&image.hash].iter().find(|&&other| other != row) {
                let (_, number) = self.dataset.place(other);
                self.add(row, FindingKind::Duplicate, format!("the same picture as in row {number}"));
            }
            if image.is_constant {
                self.add(row, FindingKind::ConstantImage, "one colour");
            }
            if control.is_constant {
                self.add(row, FindingKind::ConstantControl, "one colour");
            } else if image.hash == control.hash {
                self.add(row, FindingKind::ControlIsImage, "both are the same");
            }
        }
    }

    /// Pictures and control images usually differ in how much they hold, or in colour; here it is the other way round.
    fn exchanged(&mut self, rows: &[RowSummary]) {
        let measures: [Measure; 2] = [
            (|side| side.entropy, ENTROPY_GAP, "bits a pixel"),
            // Only whether there is colour at all: how much differs from picture to picture.
            (|side| f64::from(u8::from(side.chroma > COLOURLESS)), 1.0, "as grey (0) or coloured (1)"),
        ];
        let mut found = BTreeMap::new();
        for (measure, least, unit) in measures {
            let gap = |image: &Side, control: &Side| measure(image) - measure(control);
            let mut gaps: Vec<f64> = pairs(rows).map(|(_, image, control)| gap(image, control)).collect();
            gaps.sort_by(f64::total_cmp);
            let typical = gaps.get(gaps.len() / 2).copied().filter(|typical| typical.abs() >= least);
            let Some(typical) = typical else { continue };
            for (row, image, control) in
                pairs(rows).filter(|(_, image, control)| !image.is_constant && !control.is_constant)
            {
                if gap(image, control) / typical <= -0.5 {
                    let (image, control) = (measure(image), measure(control));
                    found.insert(row, format!("{image:.1} {unit} in the picture, {control:.1} in the control image"));
                }
            }
        }
        for (row, detail) in found {
            self.add(row, FindingKind::Exchanged, detail);
        }
    }

    /// Judges how well control images go with their pictures, against how well the others do.
    fn belonging(&mut self, verdicts: &[Option<Verdict>]) {
        let is_structural = |finding: &&Finding| matches!(finding.kind, FindingKind::Exchanged | FindingKind::Tiny);
        let structural: HashSet<usize> =
            self.findings.iter().filter(is_structural).map(|finding| finding.row).collect();
        let judged: Vec<(usize, Verdict)> = verdicts
            .iter()
            .enumerate()
            .filter_map(|(row, verdict)| Some((row, (*verdict)?)))
            .filter(|(row, _)| !structural.contains(row))
            .collect();
        match correlation::typical_margin(judged.iter().map(|(_, verdict)| verdict)) {
            Ok(typical) => {
                for (row, verdict) in judged {
                    if let Some((kind, detail)) = verdict.judge(typical) {
                        self.add(row, kind, detail);
                    }
                }
            }
            Err(reason) => {
                self.notes.push(format!("whether control images belong to their pictures was not looked at: {reason}"));
            }
        }
    }
}
