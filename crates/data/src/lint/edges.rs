//! Where a picture has edges, and how well two pictures agree in that.

use image::RgbImage;

/// Side of an edge map; the picture is a multiple of it.
pub(super) const SIDE: usize = 64;
/// Farthest move that is looked for, in cells of the map.
const REACH: isize = 14;

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
    pub(super) fn correlation(&self, other: &Self, [right, down]: [isize; 2]) -> f64 {
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
    pub(super) fn best_move(&self, other: &Self) -> ([isize; 2], f64) {
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
