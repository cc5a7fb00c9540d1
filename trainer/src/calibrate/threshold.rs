//! The threshold between two arms that gives the strong one a share of the queries.

use super::CalibrateError;
use routewright_policy::selectors::{Threshold, ThresholdSettings};
use routewright_policy::{Arm, Prediction, Selector, SelectorSpec};

/// A selector and what it reaches on the queries it was calibrated on.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// The selector, to be stored in an artifact.
    pub selector: SelectorSpec,
    /// The share that it reaches there.
    pub reached: f64,
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
        return Err(CalibrateError::Target { what, target: share, expected: "a number from 0 to 1" });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Decisions;
    use crate::evaluate::fixtures::{near, prediction};
    use routewright_policy::selectors;

    fn arms() -> Vec<Arm> {
        ["x", "y"].map(|m| Arm { model: m.to_owned(), ..Arm::default() }).to_vec()
    }

    /// Share of `y` when the selector is restored from its spec, as a server would.
    fn replay(calibrated: &Calibrated, prediction: &Prediction) -> f64 {
        let selector = selectors::build(&calibrated.selector, &arms()).unwrap();
        let decisions = Decisions::of(prediction, selector.as_ref());
        let n = prediction.n_queries();
        (0..n).map(|q| f64::from(decisions.row(q)[1])).sum::<f64>() / n as f64
    }

    #[test]
    fn the_threshold_meets_the_share_as_near_as_ties_allow() {
        let scores = [0.0, 0.9, 0.0, 0.5, 0.0, 0.5, 0.0, 0.1];
        let guess = prediction(2, &scores, &[1.0; 8]);
        for (asked, reached) in [(0.0, 0.0), (0.3, 0.25), (0.6, 0.75), (0.95, 1.0), (1.0, 1.0)] {
            let found = threshold_for_share(&guess, &arms(), "y", "x", asked).unwrap();
            assert_eq!(found.reached, reached, "{asked}");
            assert!(near(replay(&found, &guess), reached), "{asked}: {found:?}");
        }
        let error = threshold_for_share(&guess, &arms(), "y", "x", 1.5).unwrap_err().to_string();
        assert_eq!(error, "cannot calibrate to a share of `1.5`, expected a number from 0 to 1");
        assert!(threshold_for_share(&guess, &arms(), "y", "z", 0.5).is_err());
        let empty = prediction(2, &[], &[]);
        assert!(threshold_for_share(&empty, &arms(), "y", "x", 0.5).is_err());
    }
}
