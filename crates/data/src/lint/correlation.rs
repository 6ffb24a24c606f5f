//! Whether a control image belongs to its picture: both have edges at the same places. How much depends on the kind of
//! control (lines, depth, poses), so each pair is held against what control images of other rows would give.

use rayon::prelude::*;

use super::{
    FindingKind,
    edges::{EdgeMap, SIDE},
    summary::RowSummary,
};

/// Smaller moves are within what blur and line width make.
const LEAST_MOVE: isize = 2;
/// A move that counts even if the pair fits only a little better by it.
const CLEAR_MOVE: isize = 5;
/// Rows that are needed to know what is usual.
const LEAST_ROWS: usize = 8;
/// A set whose own control images fit no better than this beyond those of others says nothing by edges.
const LEAST_MARGIN: f64 = 0.08;

/// How a control image goes with its picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    /// Correlation of the edges.
    own: f64,
    /// Mean correlation with control images of other rows.
    others: f64,
    /// The move of the control image that fits best, in cells.
    best_move: [isize; 2],
    /// Correlation after that move.
    moved: f64,
}

/// Compares each row of a chunk with itself and with the others, and lets go of the maps.
pub(super) fn compare(rows: &mut [RowSummary]) -> Vec<Option<Verdict>> {
    let maps: Vec<_> = rows.iter_mut().map(|row| row.edges.take()).collect();
    let verdict = |(index, row): (usize, &Option<Box<[EdgeMap; 2]>>)| {
        let [image, control] = &**row.as_ref()?;
        let others = maps.iter().enumerate().filter(|(other, _)| *other != index).filter_map(|(_, map)| map.as_ref());
        let scores: Vec<f64> = others.map(|map| image.correlation(&map[1], [0, 0])).collect();
        let (best_move, moved) = image.best_move(control);
        let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        Some(Verdict { own: image.correlation(control, [0, 0]), others: mean, best_move, moved })
    };
    maps.par_iter().enumerate().map(verdict).collect()
}

/// By how much the control images of a set fit better than others', at the median.
pub(super) fn typical_margin<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Result<f64, String> {
    let mut margins: Vec<f64> = verdicts.map(|verdict| verdict.own - verdict.others).collect();
    if margins.len() < LEAST_ROWS {
        return Err(format!("{} pairs are too few to know what is usual", margins.len()));
    }
    margins.sort_by(f64::total_cmp);
    let typical = margins[margins.len() / 2];
    if typical < LEAST_MARGIN {
        return Err("their edges do not follow the pictures' more than those of other rows do".into());
    }
    Ok(typical)
}

impl Verdict {
    /// What is wrong, where `typical` is the usual margin.
    pub(super) fn judge(&self, typical: f64) -> Option<(FindingKind, String)> {
        let margin = (self.own - self.others) / typical;
        let gained = (self.moved - self.own) / typical;
        let [right, down] = self.best_move;
        let fits_moved = (self.moved - self.others) / typical;
        // A pair that is in place fits best where it is, or nearly: lines and shades blur.
        let distance = right.abs().max(down.abs());
        let is_moved =
            (distance >= LEAST_MOVE && gained >= 0.35) || (distance >= CLEAR_MOVE && gained >= 0.05 && margin < 0.6);
        if is_moved && fits_moved >= 0.4 {
            let percent = |cells: isize| 100 * cells / SIDE as isize;
            let detail = format!(
                "fits when moved by {} % of the width and {} % of the height: edges agree to {:.2} instead of {:.2}",
                percent(right),
                percent(down),
                self.moved,
                self.own
            );
            return Some((FindingKind::Shifted, detail));
        }
        if margin < 0.3 {
            let detail =
                format!("edges agree to {:.2}, with control images of other rows to {:.2}", self.own, self.others);
            return Some((FindingKind::Mismatched, detail));
        }
        None
    }
}
