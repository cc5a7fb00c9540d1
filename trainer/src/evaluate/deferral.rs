//! The deferral curve of two or more models (as in UniRoute, arXiv 2502.08773, and its like).
//!
//! Score over relative cost, where a cost of 1 is the mean cost of the dearest single model, as the
//! trade-off sweeps. Units: AUDC score x relative cost, higher is better; QNC relative cost, lower is
//! better; peak score, higher is better.
//!
//! Convention: the curve is the raw sweep, not its hull; it begins at the cheapest operating point, joins
//! neighbouring points by lines (drawing between them), runs flat to relative cost 1 and is cut there.
//! Nothing left of its first point counts, and the area is not divided by the width.

use super::hull::area;
use super::{OperatingPoint, SingleModel, cost_range};
use serde::{Deserialize, Serialize};

/// Figures of the deferral curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Deferral {
    /// Area under the curve up to relative cost 1.
    pub audc: f64,
    /// Least relative cost at which the score of the best single model (chosen on train, where there are train
    /// rows) is reached; `None` where it never is.
    pub qnc: Option<f64>,
    /// Greatest score on the curve.
    pub peak: f64,
}

/// Figures of the curve through `points`, given the single models; `None` without points or prices. `target` is the
/// score `qnc` asks for, the best of the single models where it is not known.
pub fn deferral(points: &[OperatingPoint], singles: &[SingleModel], target: Option<f64>) -> Option<Deferral> {
    let (_, dearest) = cost_range(singles)?;
    let mut curve: Vec<(f64, f64)> = points.iter().map(|p| (p.cost_usd / dearest, p.score)).collect();
    curve.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    // Of points of equal cost the best is kept: the others are never worth choosing.
    curve.reverse();
    curve.dedup_by(|next, kept| next.0 == kept.0);
    curve.reverse();
    let first = curve.first()?.0;
    let peak = curve.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let best = singles.iter().map(|single| single.score).fold(f64::NEG_INFINITY, f64::max);
    let target = target.unwrap_or(best);
    let audc = if first < 1.0 { area(&curve, first, 1.0) } else { 0.0 };
    Some(Deferral { audc, qnc: reach(&curve, target), peak })
}

/// Least cost at which the line through `curve` reaches `score`.
fn reach(curve: &[(f64, f64)], score: f64) -> Option<f64> {
    let at = curve.iter().position(|p| p.1 >= score)?;
    let (x, y) = curve[at];
    let Some(&(before_x, before_y)) = at.checked_sub(1).and_then(|before| curve.get(before)) else {
        return Some(x);
    };
    Some(before_x + (x - before_x) * (score - before_y) / (y - before_y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::near;

    #[test]
    fn figures_worked_out_by_hand() {
        let single = |cost, score| SingleModel { model: String::new(), score, cost_usd: Some(cost) };
        let point = |cost_usd, score| OperatingPoint { lambda: None, cost_usd, score };
        let singles = [single(1.0, 0.4), single(4.0, 0.6)];
        let found =
            deferral(&[point(4.0, 0.6), point(2.0, 0.8), point(1.0, 0.4), point(1.0, 0.3)], &singles, None);
        let found = found.unwrap();
        // 0.25 * (0.4 + 0.8) / 2 + 0.5 * (0.8 + 0.6) / 2; 0.25 + 0.25 * (0.6 - 0.4) / 0.4
        assert!(
            near(found.audc, 0.5) && near(found.qnc.unwrap(), 0.375) && near(found.peak, 0.8),
            "{found:?}"
        );
        let short = deferral(&[point(2.0, 0.5)], &singles, None).unwrap();
        assert!(near(short.audc, 0.25) && short.qnc.is_none(), "{short:?}");
        let lower = deferral(&[point(2.0, 0.5)], &singles, Some(0.4)).unwrap();
        assert_eq!(lower.qnc, Some(0.5));
    }
}
