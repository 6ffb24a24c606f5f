//! Curves of a fixed number of points, however long the run.

/// Points a curve has at most.
const MAX_POINTS: usize = 600;

/// A line by step that grows at its end. Where there would be too many points, neighbours are averaged in groups, so
/// that a long run needs neither more memory nor a larger page. Values that are not finite are left out.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    /// Means of the groups.
    points: Vec<(f64, f64)>,
    /// Points that make a group, and those that the last one holds.
    group: usize,
    held: usize,
}

impl Default for Curve {
    fn default() -> Self {
        Self { points: Vec::new(), group: 1, held: 1 }
    }
}

impl Curve {
    pub(crate) fn push(&mut self, step: f64, value: f64) {
        if !value.is_finite() {
            return;
        }
        if self.held < self.group {
            self.held += 1;
            if let Some(last) = self.points.last_mut() {
                *last = between(*last, (step, value), 1.0 / self.held as f64);
            }
            return;
        }
        if self.points.len() == MAX_POINTS {
            self.points = self.points.chunks(2).map(|pair| between(pair[0], pair[1], 0.5)).collect();
            self.group *= 2;
        }
        self.points.push((step, value));
        self.held = 1;
    }

    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        self.points.clone()
    }
}

impl FromIterator<(f64, f64)> for Curve {
    fn from_iter<T: IntoIterator<Item = (f64, f64)>>(points: T) -> Self {
        let mut curve = Self::default();
        points.into_iter().for_each(|(step, value)| curve.push(step, value));
        curve
    }
}

/// The point that lies a part of the way to another.
fn between(from: (f64, f64), to: (f64, f64), part: f64) -> (f64, f64) {
    (from.0 + part * (to.0 - from.0), from.1 + part * (to.1 - from.1))
}

/// Exponential moving average, without the bias of its beginning.
#[derive(Clone, Debug, Default)]
pub(crate) struct Smoothing {
    mean: f64,
    weight: f64,
}

impl Smoothing {
    /// The average after a further value. TensorBoard calls `decay` smoothing.
    pub(crate) fn next(&mut self, value: f64, decay: f64) -> f64 {
        self.mean = decay * self.mean + (1.0 - decay) * value;
        self.weight = decay * self.weight + (1.0 - decay);
        self.mean / self.weight
    }
}

/// A line with the wiggles averaged away.
pub(crate) fn smoothed(points: &[(f64, f64)], decay: f64) -> Vec<(f64, f64)> {
    let mut smoothing = Smoothing::default();
    points.iter().map(|&(step, value)| (step, smoothing.next(value, decay))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stays_what_it_is() {
        let points: Vec<_> = (0..5000).map(|step| (f64::from(step), 3.0)).collect();
        assert!(smoothed(&points, 0.95).iter().all(|point| (point.1 - 3.0).abs() < 1e-9));
        let thin: Curve = points.into_iter().collect();
        assert!(thin.points.iter().all(|point| (point.1 - 3.0).abs() < 1e-9));
    }

    #[test]
    fn a_curve_keeps_few_points_that_are_the_means_of_their_steps() {
        let mut curve = Curve::default();
        for step in 0..100_000_u32 {
            curve.push(f64::from(step), 2.0 * f64::from(step));
            assert!(curve.points.len() <= MAX_POINTS);
        }
        curve.push(100_000.0, f64::NAN);
        // Groups of 256 steps, of which the last is not whole.
        assert_eq!((curve.group, curve.points.len(), curve.held), (256, 391, 160));
        for (number, &(step, value)) in curve.points.iter().enumerate() {
            let (first, last) = (256 * number, (256 * number + 255).min(99_999));
            assert!((step - (first + last) as f64 / 2.0).abs() < 1e-6 && (value - 2.0 * step).abs() < 1e-6, "{step}");
        }
    }
}
