//! Settings of selectors that meet a target: a share of strong calls, or a mean cost.
//!
//! Calibrate on a validation slice of the train split, never on the rows that are judged: the target is
//! then met on other queries as far as they are alike.

use crate::evaluate::{OperatingPoint, upper_hull};
use routewright_policy::selectors::{Mixture, Part, SelectorError, Threshold, ThresholdSettings, Utility};
use routewright_policy::{Arm, Prediction, Selector, SelectorSpec};

/// A selector and what it reaches on the queries it was calibrated on.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// The selector, to be stored in an artifact.
    pub selector: SelectorSpec,
    /// The share, or the mean cost in US dollars, that it reaches there.
    pub reached: f64,
}

/// Why a target cannot be met.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrateError {
    /// There is nothing to calibrate on.
    #[error("cannot calibrate: there is no {what}")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// The target is out of range.
    #[error("cannot calibrate to {what} `{target}`, expected a number from {least} to {greatest}")]
    Target {
        /// What was asked for.
        what: &'static str,
        /// The target.
        target: f64,
        /// Least value accepted.
        least: f64,
        /// Greatest value accepted.
        greatest: f64,
    },
    /// The selector cannot be built for these arms.
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

/// The threshold at which arm `strong` gets the share of the queries of `prediction` nearest to `share`, the
/// others going to `weak` (RouteLLM, arXiv 2406.18665). Queries of equal lead cannot be told apart.
///
/// # Errors
/// If there is no query, `share` is not in `[0, 1]`, or the names are not two arms.
pub fn threshold_for_share(
    prediction: &Prediction,
    arms: &[Arm],
    strong: &str,
    weak: &str,
    share: f64,
) -> Result<Calibrated, CalibrateError> {
    if !(0.0..=1.0).contains(&share) {
        let what = "a share of";
        return Err(CalibrateError::Target { what, target: share, least: 0.0, greatest: 1.0 });
    }
    let named = |threshold: f64| {
        let (strong, weak) = (strong.to_owned(), weak.to_owned());
        Threshold::new(ThresholdSettings { strong, weak, threshold }, arms)
    };
    named(0.0)?;
    let position = |name: &str| arms.iter().position(|arm| arm.model == name).unwrap_or_default();
    let (strong, weak) = (position(strong), position(weak));
    let lead = |query: usize| {
        let row = prediction.row(query);
        f64::from(row.score[strong]) - f64::from(row.score[weak])
    };
    let mut leads: Vec<f64> = (0..prediction.n_queries()).map(lead).collect();
    leads.sort_by(|a, b| b.total_cmp(a));
    let (Some(&greatest), Some(&least)) = (leads.first(), leads.last()) else {
        return Err(CalibrateError::Empty { what: "query" });
    };
    let n = leads.len();
    // A cut after the first k queries is possible only where the lead falls there.
    let cuts = (0..=n).filter(|&k| k == 0 || k == n || leads[k - 1] > leads[k]);
    let off = |k: usize| (k as f64 / n as f64 - share).abs();
    let k = cuts.min_by(|&a, &b| off(a).total_cmp(&off(b))).unwrap_or(0);
    let threshold = match k {
        0 => greatest + (greatest - least).max(1.0),
        k if k == n => least,
        k => f64::midpoint(leads[k - 1], leads[k]),
    };
    Ok(Calibrated { selector: named(threshold)?.spec(), reached: k as f64 / n as f64 })
}

/// The least price of money at which the mean cost is at most `target_usd`.
///
/// `curve` is a sweep (see [`crate::evaluate::sweep`]) of the calibration queries.
///
/// # Errors
/// If the curve is empty or even its cheapest point costs more.
pub fn lambda_for_cost(curve: &[OperatingPoint], target_usd: f64) -> Result<Calibrated, CalibrateError> {
    let priced: Vec<(f64, f64)> = curve.iter().filter_map(|p| Some((p.lambda?, p.cost_usd))).collect();
    let within = priced.iter().filter(|(_, cost)| *cost <= target_usd);
    match within.min_by(|a, b| a.0.total_cmp(&b.0)) {
        Some(&(lambda, cost_usd)) => {
            Ok(Calibrated { selector: Utility { lambda }.spec(), reached: cost_usd })
        }
        None => Err(out_of_reach(priced.iter().map(|p| p.1), target_usd)),
    }
}

/// The mixture of two prices of money on the hull of `curve` whose mean cost is `target_usd`; a single one
/// where the target is a vertex, or dearer than anything that pays.
///
/// # Errors
/// If the curve is empty or even its cheapest point costs more.
pub fn mixture_for_cost(curve: &[OperatingPoint], target_usd: f64) -> Result<Calibrated, CalibrateError> {
    let priced: Vec<OperatingPoint> = curve.iter().copied().filter(|p| p.lambda.is_some()).collect();
    let plane: Vec<(f64, f64)> = priced.iter().map(|p| (p.cost_usd, p.score)).collect();
    let hull = upper_hull(&plane);
    let spec = |point: usize| Utility { lambda: priced[point].lambda.unwrap_or_default() }.spec();
    let after = hull.iter().position(|&vertex| plane[vertex].0 >= target_usd);
    let (low, high) = match after {
        Some(0) if plane[hull[0]].0 > target_usd => {
            return Err(out_of_reach(plane.iter().map(|p| p.0), target_usd));
        }
        Some(0) => return Ok(Calibrated { selector: spec(hull[0]), reached: target_usd }),
        Some(after) => (hull[after - 1], hull[after]),
        None => {
            let Some(&last) = hull.last() else {
                return Err(CalibrateError::Empty { what: "operating point with a cost" });
            };
            return Ok(Calibrated { selector: spec(last), reached: plane[last].0 });
        }
    };
    let weight = (target_usd - plane[low].0) / (plane[high].0 - plane[low].0);
    if weight >= 1.0 {
        return Ok(Calibrated { selector: spec(high), reached: target_usd });
    }
    let part = |weight: f64, point: usize| Part { weight, selector: spec(point) };
    // The parts trade money for score whatever the arms are, so none need be named.
    let mixture = Mixture::new(vec![part(1.0 - weight, low), part(weight, high)], &[])?;
    Ok(Calibrated { selector: mixture.spec(), reached: target_usd })
}

fn out_of_reach(costs: impl Iterator<Item = f64>, target_usd: f64) -> CalibrateError {
    let (least, greatest) =
        costs.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), cost| (lo.min(cost), hi.max(cost)));
    if least > greatest {
        return CalibrateError::Empty { what: "operating point with a cost" };
    }
    CalibrateError::Target { what: "a mean cost of", target: target_usd, least, greatest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{near, prediction, table};
    use crate::evaluate::{Average, Decisions, query_costs, sweep};
    use routewright_policy::selectors;

    fn arms() -> Vec<Arm> {
        ["x", "y"].map(|m| Arm { model: m.to_owned(), ..Arm::default() }).to_vec()
    }

    /// Mean cost and share of `y` when the selector is restored from its spec, as a server would.
    fn replay(calibrated: &Calibrated, prediction: &Prediction, cost_usd: &[f32]) -> (f64, f64) {
        let selector = selectors::build(&calibrated.selector, &arms()).unwrap();
        let n = prediction.n_queries();
        let table = table(&vec!["a"; n], &vec![0.5; 2 * n], cost_usd);
        let decisions = Decisions::of(prediction, selector.as_ref());
        let cost = query_costs(&decisions, &table).iter().sum::<f64>() / n as f64;
        let strong = (0..n).map(|q| f64::from(decisions.row(q)[1])).sum::<f64>() / n as f64;
        (cost, strong)
    }

    #[test]
    fn the_threshold_meets_the_share_as_near_as_ties_allow() {
        let scores = [0.0, 0.9, 0.0, 0.5, 0.0, 0.5, 0.0, 0.1];
        let guess = prediction(2, &scores, &[1.0; 8]);
        for (asked, reached) in [(0.0, 0.0), (0.3, 0.25), (0.6, 0.75), (0.95, 1.0), (1.0, 1.0)] {
            let found = threshold_for_share(&guess, &arms(), "y", "x", asked).unwrap();
            assert_eq!(found.reached, reached, "{asked}");
            assert!(near(replay(&found, &guess, &[1.0; 8]).1, reached), "{asked}: {found:?}");
        }
        let error = threshold_for_share(&guess, &arms(), "y", "x", 1.5).unwrap_err().to_string();
        assert_eq!(error, "cannot calibrate to a share of `1.5`, expected a number from 0 to 1");
        assert!(threshold_for_share(&guess, &arms(), "y", "z", 0.5).is_err());
        let empty = prediction(2, &[], &[]);
        assert!(threshold_for_share(&empty, &arms(), "y", "x", 0.5).is_err());
    }

    #[test]
    fn costs_are_met_from_below_and_by_mixing_exactly() {
        // x costs 1 dollar, y 3 or 2: the sweep costs 1, 2 and 2.5 on average, scores 0.5, 0.9, 1.
        let costs = [1.0, 3.0, 1.0, 2.0];
        let guess = prediction(2, &[0.2, 0.8, 0.5, 0.6], &costs);
        let outcomes = table(&["a", "a"], &[0.0, 0.8, 1.0, 1.2], &costs);
        let curve = sweep(&guess, &outcomes, Average::Micro);
        let found = lambda_for_cost(&curve, 2.2).unwrap();
        assert!(near(found.reached, 2.0) && near(replay(&found, &guess, &costs).0, 2.0), "{found:?}");
        for target in [1.0, 1.25, 2.0, 2.2, 2.5] {
            let found = mixture_for_cost(&curve, target).unwrap();
            assert!(near(found.reached, target), "{found:?}");
            let cost = replay(&found, &guess, &costs).0;
            assert!((cost - target).abs() < 1e-6, "{target}: {cost} {found:?}");
        }
        // More money than pays: the best point, not the dearest.
        assert!(near(mixture_for_cost(&curve, 9.0).unwrap().reached, 2.5));
        let error = mixture_for_cost(&curve, 0.5).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot calibrate to a mean cost of `0.5`, expected a number from 1 to 2.5"
        );
        assert_eq!(lambda_for_cost(&curve, 0.5), Err(error));
        assert!(mixture_for_cost(&[], 1.0).is_err() && lambda_for_cost(&[], 1.0).is_err());
    }
}
