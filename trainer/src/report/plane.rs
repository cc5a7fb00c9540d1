//! The cost-score plane: positions in pixels, and where the ticks go.

use super::draw::Pixel;

/// Ratio of dearest to cheapest above which the cost axis is logarithmic.
const LOG_RATIO: f64 = 20.0;
/// Pixels between two ticks, at least.
const TICK_GAP: f64 = 56.0;

/// A rectangle of pixels with a cost axis (US dollars a thousand queries) and a score axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plane {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
    cost: (f64, f64),
    score: (f64, f64),
    log: bool,
}

/// A labelled position on an axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) label: String,
}

impl Plane {
    /// A plane that holds `points` (cost, score) with a margin; `None` when there is no finite point.
    pub(super) fn around(points: &[(f64, f64)], top_left: Pixel, bottom_right: Pixel) -> Option<Self> {
        let finite = || points.iter().filter(|p| p.0.is_finite() && p.1.is_finite());
        let range = |pick: fn(&(f64, f64)) -> f64| {
            finite().map(pick).fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)))
        };
        let (cost, score) = (range(|p| p.0), range(|p| p.1));
        finite().next()?;
        let log = cost.0 > 0.0 && cost.1 / cost.0 > LOG_RATIO;
        let cost = if log {
            let margin = (cost.1 / cost.0).powf(0.05);
            (cost.0 / margin, cost.1 * margin)
        } else {
            widen(cost, cost.1.abs().max(1e-9), f64::INFINITY)
        };
        let score = widen(score, 0.1, 1.02);
        let ((left, top), (right, bottom)) = (top_left, bottom_right);
        Some(Self { left, top, right, bottom, cost, score, log })
    }

    pub(super) fn is_log(&self) -> bool {
        self.log
    }

    /// Left, top, right, bottom in pixels.
    pub(super) fn frame(&self) -> (i32, i32, i32, i32) {
        (self.left, self.top, self.right, self.bottom)
    }

    /// The pixel of a cost and a score.
    pub(super) fn at(&self, (cost, score): (f64, f64)) -> Pixel {
        let along = if self.log {
            (cost.max(f64::MIN_POSITIVE) / self.cost.0).ln() / (self.cost.1 / self.cost.0).ln()
        } else {
            (cost - self.cost.0) / (self.cost.1 - self.cost.0)
        };
        let up = (score - self.score.0) / (self.score.1 - self.score.0);
        let x = f64::from(self.left) + along * f64::from(self.right - self.left);
        let y = f64::from(self.bottom) - up * f64::from(self.bottom - self.top);
        (x.round() as i32, y.round() as i32)
    }

    /// A curve of straight lines in cost and score, with points between where a logarithmic axis bends them.
    pub(super) fn curve(&self, vertices: &[(f64, f64)]) -> Vec<Pixel> {
        let Some(&first) = vertices.first() else { return Vec::new() };
        let steps = if self.log { 24 } else { 1 };
        let mut pixels = vec![self.at(first)];
        for pair in vertices.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            for step in 1..=steps {
                let t = f64::from(step) / f64::from(steps);
                pixels.push(self.at((a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t)));
            }
        }
        pixels.dedup();
        pixels
    }

    /// Ticks of the cost axis, dollars.
    pub(super) fn cost_ticks(&self) -> Vec<Tick> {
        let n = f64::from(self.right - self.left) / TICK_GAP;
        let mut ticks = if self.log { log_ticks(self.cost, n) } else { linear_ticks(self.cost, n) };
        for tick in &mut ticks {
            tick.label.insert(0, '$');
        }
        ticks
    }

    /// Ticks of the score axis.
    pub(super) fn score_ticks(&self) -> Vec<Tick> {
        linear_ticks(self.score, f64::from(self.bottom - self.top) / TICK_GAP)
    }
}

/// A range with a margin of 5 % on both sides, at least `least` wide, not above `ceiling`.
fn widen((lo, hi): (f64, f64), least: f64, ceiling: f64) -> (f64, f64) {
    let width = (hi - lo).max(least * 0.1);
    let middle = (lo + hi) / 2.0;
    let half = width * 0.55;
    ((middle - half).max(if lo >= 0.0 { 0.0 } else { f64::NEG_INFINITY }), (middle + half).min(ceiling))
}

/// Round values (1, 2 or 5 times a power of ten apart), at most about `n`.
pub(super) fn linear_ticks((lo, hi): (f64, f64), n: f64) -> Vec<Tick> {
    let raw = (hi - lo) / n.max(1.0);
    let power = raw.log10().floor();
    let unit = 10_f64.powf(power);
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * unit).find(|s| *s >= raw).unwrap_or(raw);
    let decimals = (-(step.log10() + 1e-9).floor()).clamp(0.0, 12.0) as usize;
    let (first, last) = ((lo / step).ceil() as i64, (hi / step).floor() as i64);
    let tick = |i: i64| Tick { value: i as f64 * step, label: format!("{:.decimals$}", i as f64 * step) };
    (first..=last).map(tick).collect()
}

/// Powers of ten, with 2 and 5 times them (or at least 3 times) where there is room for about `n`.
fn log_ticks((lo, hi): (f64, f64), n: f64) -> Vec<Tick> {
    let (first, last) = (lo.log10().floor() as i32, hi.log10().ceil() as i32);
    let decades = (hi / lo).log10().max(1.0);
    let mantissas: &[f64] = if decades * 3.0 <= n {
        &[1.0, 2.0, 5.0]
    } else if decades * 2.0 <= n {
        &[1.0, 3.0]
    } else {
        &[1.0]
    };
    let tick = |power: i32, mantissa: f64| {
        let decimals = power.min(0).unsigned_abs() as usize;
        let value = mantissa * 10_f64.powi(power);
        Tick { value, label: format!("{value:.decimals$}") }
    };
    let ticks = (first..=last).flat_map(|power| mantissas.iter().map(move |m| tick(power, *m)));
    ticks.filter(|tick| (lo..=hi).contains(&tick.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|t| t.label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&linear_ticks((0.53, 0.91), 5.0)), ["0.6", "0.7", "0.8", "0.9"]);
        assert_eq!(labels(&linear_ticks((0.0, 7.0), 4.0)), ["0", "2", "4", "6"]);
        assert_eq!(labels(&log_ticks((0.07, 6.0), 10.0)), ["0.1", "0.2", "0.5", "1", "2", "5"]);
        assert_eq!(labels(&log_ticks((0.07, 600.0), 4.0)), ["0.1", "1", "10", "100"]);
    }

    #[test]
    fn wide_prices_get_a_logarithmic_axis() {
        let plane = Plane::around(&[(0.1, 0.2), (10.0, 0.9)], (0, 0), (100, 100)).unwrap();
        assert!(plane.is_log());
        assert_eq!(plane.at((1.0, 0.55)).0, 50);
        assert!(!Plane::around(&[(1.0, 0.2), (10.0, 0.9)], (0, 0), (100, 100)).unwrap().is_log());
        assert_eq!(Plane::around(&[(f64::NAN, 0.2)], (0, 0), (1, 1)), None);
        // One point still has a plane around it.
        let (x, y) = Plane::around(&[(0.0, 0.0)], (0, 0), (100, 100)).unwrap().at((0.0, 0.0));
        assert!((0..=100).contains(&x) && (0..=100).contains(&y), "{x} {y}");
    }
}
