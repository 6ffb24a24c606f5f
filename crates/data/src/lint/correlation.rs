//! Whether a control image belongs to its picture: both have edges at the same places. How much depends on the kind of
//! control (lines, depth, poses), so each pair is held against what control images of other rows would give.

use image::RgbImage;
use rayon::prelude::*;

use super::{FindingKind, summary::RowSummary};

/// Side of an edge map; the picture is a multiple of it.
const SIDE: usize = 64;
/// Farthest move that is looked for, in cells of the map.
const REACH: isize = 14;
/// Smaller moves are within what blur and line width make.
const LEAST_MOVE: isize = 2;
/// A move that counts even if the pair fits only a little better by it.
const CLEAR_MOVE: isize = 5;
/// Rows that are needed to know what is usual.
const LEAST_ROWS: usize = 8;
/// A set whose own control images fit no better than this beyond those of others says nothing by edges.
const LEAST_MARGIN: f64 = 0.08;

/// Strength of edges on a coarse grid, with mean 0 and norm 1.
#[derive(Clone)]
pub(super) struct EdgeMap(Vec<f32>);

impl EdgeMap {
    /// Of a square picture whose side is a multiple of the map's.
    pub(super) fn of(image: &RgbImage) -> Self {
        let (side, cell) = (image.width() as usize, image.width() as usize / SIDE);
        let pixels = image.as_raw();
        let at = |x: usize, y: usize, channel: usize| f32::from(pixels[(y * side + x) * 3 + channel]);
        let mut map = vec![0.0_f32; SIDE * SIDE];
        for y in 1..side - 1 {
            for x in 1..side - 1 {
                let strength = |channel| {
                    let across = at(x + 1, y, channel) - at(x - 1, y, channel);
                    let down = at(x, y + 1, channel) - at(x, y - 1, channel);
                    across.abs() + down.abs()
                };
                let strongest = strength(0).max(strength(1)).max(strength(2));
                map[(y / cell).min(SIDE - 1) * SIDE + (x / cell).min(SIDE - 1)] += strongest;
            }
        }
        // Faint edges count too, and lines may lie a little beside.
        map.iter_mut().for_each(|value| *value = value.sqrt());
        let mut map = blurred(&map);
        let mean = map.iter().sum::<f32>() / map.len() as f32;
        map.iter_mut().for_each(|value| *value -= mean);
        let norm = map.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        map.iter_mut().for_each(|value| *value /= norm);
        Self(map)
    }

    /// Correlation with another map that is moved by so many cells.
    fn correlation(&self, other: &Self, [right, down]: [isize; 2]) -> f64 {
        let side = SIDE as isize;
        let (columns, rows) = (right.max(0)..side.min(side + right), down.max(0)..side.min(side + down));
        let width = (columns.end - columns.start) as usize;
        let dot = |row: isize| -> f32 {
            let begin = (row * side + columns.start) as usize;
            let other_begin = ((row - down) * side + columns.start - right) as usize;
            let pairs = self.0[begin..begin + width].iter().zip(&other.0[other_begin..other_begin + width]);
            pairs.map(|(a, b)| a * b).sum()
        };
        f64::from(rows.map(dot).sum::<f32>())
    }

    /// The move of the other map that fits best, and how well.
    fn best_move(&self, other: &Self) -> ([isize; 2], f64) {
        let moves = (-REACH..=REACH).flat_map(|down| (-REACH..=REACH).map(move |right| [right, down]));
        moves.map(|by| (by, self.correlation(other, by))).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(([0, 0], 0.0))
    }
}

fn blurred(map: &[f32]) -> Vec<f32> {
    let at = |x: usize, y: usize| {
        let near = |center: usize| center.saturating_sub(1)..=(center + 1).min(SIDE - 1);
        let (mut sum, mut weights) = (0.0, 0.0);
        for row in near(y) {
            for column in near(x) {
                let weight = [1.0, 2.0][usize::from(row == y)] * [1.0, 2.0][usize::from(column == x)];
                sum += weight * map[row * SIDE + column];
                weights += weight;
            }
        }
        sum / weights
    };
    (0..SIDE * SIDE).map(|index| at(index % SIDE, index / SIDE)).collect()
}

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
