//! One policy, every metric.

use super::{
    Apgr, ArmShare, Average, Decisions, Deferral, JudgeError, JudgeOptions, OperatingPoint, PairedDifference,
    SingleModel, Sources, aiq, apgr, arm_shares, deferral, query_costs, query_scores, ratio_to_best_single,
    score_entropy_bits, single_models, standard_error, sweep, thin,
};
use routewright_data::OutcomeTable;
use routewright_policy::{Prediction, Selector};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Points of a curve that are written out; the figures are computed on all of them.
const CURVE_POINTS_MAX: usize = 200;
/// Selectors that never look at a score: a sweep of the prediction would judge another policy.
const SCORELESS_SELECTORS: [&str; 2] = ["cheapest", "uniform"];

/// What a policy is worth on the rows judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Path or name of the stored policy, where one was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Method that made it, or the name it was judged under.
    pub method: String,
    /// Average expected score under the average asked for, in `[0, 1]`.
    pub score: f64,
    /// Bootstrap standard error of `score`.
    pub score_se: Option<f64>,
    /// Average cost in US dollars under the same average, where the log has costs.
    pub cost_usd: Option<f64>,
    /// AIQ (see `aiq.rs`), where the log has costs.
    pub aiq: Option<f64>,
    /// Mean score of each source that has a covered query.
    pub by_source: BTreeMap<String, f64>,
    /// Seconds the fit took, where measured; the caller fills it in.
    pub fit_seconds: Option<f64>,
    /// Microseconds a decision took, where measured; the caller fills it in.
    pub decide_us: Option<f64>,
    /// Mean score over queries.
    pub score_micro: f64,
    /// Mean score over sources.
    pub score_macro: f64,
    /// Mean cost over queries, US dollars.
    pub cost_usd_micro: Option<f64>,
    /// Mean cost over sources, US dollars.
    pub cost_usd_macro: Option<f64>,
    /// Queries judged, covered or not.
    pub n_queries: usize,
    /// Queries left out because no arm the policy gave mass was observed.
    pub n_uncovered: usize,
    /// Share of the queries each arm answers, the most called first.
    pub shares: Vec<ArmShare>,
    /// Two-arm figures, where there are two arms.
    pub apgr: Option<Apgr>,
    /// Figures of the deferral curve, where the log has costs.
    pub deferral: Option<Deferral>,
    /// `E_p`, mean entropy of the softmax of the predicted scores, bits.
    pub score_entropy_bits: Option<f64>,
    /// `V_B`, score over that of the best single model on the rows judged.
    pub ratio_to_best_single: Option<f64>,
    /// Score minus that of the best single model on the same queries; [`super::Judged::add`] fills it in.
    #[serde(default)]
    pub vs_best_single: Option<PairedDifference>,
    /// Operating points as the price of money sweeps, thinned; one point for a selector that reads no score.
    pub curve: Vec<OperatingPoint>,
    /// Score of each query, `NaN` where uncovered; for paired comparison, not stored.
    #[serde(skip)]
    pub query_scores: Vec<f64>,
}

impl Evaluation {
    /// The name it is shown under.
    pub fn name(&self) -> &str {
        self.policy.as_deref().unwrap_or(&self.method)
    }
}

/// Judges one policy on `table` (the rows to judge on).
///
/// `prediction` has one row a query and one column an arm of `table`, in its order (see
/// [`super::align`]); `selector` decides. `train` only tells which of two arms is the strong one.
///
/// # Errors
/// If shapes differ, there is nothing to judge on, or no query is covered.
pub fn judge(
    name: &str,
    table: &OutcomeTable,
    train: Option<&OutcomeTable>,
    prediction: &Prediction,
    selector: &dyn Selector,
    options: &JudgeOptions,
) -> Result<Evaluation, JudgeError> {
    check(name, table, prediction)?;
    let sources = Sources::of(table);
    let decisions = Decisions::of(prediction, selector);
    let (scores, costs) = (query_scores(&decisions, table), query_costs(&decisions, table));
    let uncovered = || JudgeError::Uncovered { name: name.to_owned(), n_queries: table.n_queries() };
    let mean = |average| sources.mean(&scores, average).ok_or_else(uncovered);
    let score = mean(options.average)?;
    let cost_usd = sources.mean(&costs, options.average);
    let singles = single_models(table, &sources, options.average);
    let scoreless = SCORELESS_SELECTORS.contains(&selector.spec().name.as_str());
    let points = if scoreless {
        cost_usd.map(|cost_usd| OperatingPoint { lambda: None, cost_usd, score }).into_iter().collect()
    } else {
        sweep(prediction, table, options.average)
    };
    let named = sources.names().iter().cloned().zip(sources.means(&scores));
    Ok(Evaluation {
        policy: None,
        method: name.to_owned(),
        score,
        score_se: standard_error(&scores, &sources, options),
        cost_usd,
        aiq: aiq_of(&points, &singles),
        by_source: named.filter_map(|(source, mean)| Some((source, mean?))).collect(),
        fit_seconds: None,
        decide_us: None,
        score_micro: mean(Average::Micro)?,
        score_macro: mean(Average::Macro)?,
        cost_usd_micro: sources.mean(&costs, Average::Micro),
        cost_usd_macro: sources.mean(&costs, Average::Macro),
        n_queries: table.n_queries(),
        n_uncovered: scores.iter().filter(|score| score.is_nan()).count(),
        shares: arm_shares(&decisions, &table.models),
        apgr: if scoreless { None } else { apgr(prediction, table, train, options.average) },
        deferral: deferral(&points, &singles),
        score_entropy_bits: score_entropy_bits(prediction),
        ratio_to_best_single: ratio_to_best_single(score, &singles),
        vs_best_single: None,
        curve: thin(&points, CURVE_POINTS_MAX),
        query_scores: scores,
    })
}

/// AIQ of operating points.
pub(super) fn aiq_of(points: &[OperatingPoint], singles: &[SingleModel]) -> Option<f64> {
    let plane: Vec<(f64, f64)> = points.iter().map(|p| (p.cost_usd, p.score)).collect();
    aiq(&plane, singles)
}

fn check(name: &str, table: &OutcomeTable, prediction: &Prediction) -> Result<(), JudgeError> {
    if table.score.n_present() == 0 {
        return Err(JudgeError::NoQueries);
    }
    let n = (table.n_queries(), table.n_arms());
    let cells = |values: &[f32]| (values.len() / prediction.n_arms.max(1), prediction.n_arms);
    for (what, found) in [
        ("the predicted score", cells(&prediction.score)),
        ("the predicted cost", cells(&prediction.cost_usd)),
    ] {
        if found != n {
            return Err(JudgeError::Shape {
                name: name.to_owned(),
                what,
                found_queries: found.0,
                found_arms: found.1,
                n_queries: n.0,
                n_arms: n.1,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{holed, near, prediction};
    use routewright_policy::selectors::{Argmax, Cheapest};

    #[test]
    fn every_figure_of_a_small_case() {
        // Argmax takes y, x, y: scores 0, 0.5 and an uncovered query; costs 0.01, 0.001.
        let guess = prediction(2, &[0.1, 0.2, 0.9, 0.2, 0.1, 0.2], &[0.001, 0.02, 0.001, 0.02, 0.001, 0.02]);
        let found = judge("knn", &holed(), None, &guess, &Argmax, &JudgeOptions::default()).unwrap();
        assert!(near(found.score, 0.25) && near(found.cost_usd.unwrap(), 0.0055), "{found:?}");
        assert_eq!((found.n_queries, found.n_uncovered), (3, 1));
        assert_eq!(found.by_source.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 0.25)]);
        assert_eq!((found.shares[0].model.as_str(), found.curve.len()), ("y", 3 - 1));
        assert!(found.score_se.unwrap() > 0.0);
    }

    #[test]
    fn a_selector_that_reads_no_score_has_one_point() {
        let guess = prediction(2, &[0.1, 0.2, 0.9, 0.2, 0.1, 0.2], &[0.001, 0.02, 0.001, 0.02, 0.001, 0.02]);
        let found = judge("cheapest", &holed(), None, &guess, &Cheapest, &JudgeOptions::default()).unwrap();
        assert_eq!(found.curve.len(), 1);
        assert!(near(found.curve[0].cost_usd, 0.001) && found.curve[0].lambda.is_none());
    }

    #[test]
    fn shapes_that_differ_and_uncovered_policies_are_refused() {
        let options = JudgeOptions::default();
        let guess = prediction(2, &[0.1, 0.2], &[0.0; 2]);
        let error = judge("p", &holed(), None, &guess, &Argmax, &options).unwrap_err().to_string();
        assert!(error.contains("1 queries x 2 arms") && error.contains("3 x 2"), "{error}");
        let only_y = holed().select_rows(&[2]);
        let error = judge("p", &only_y, None, &guess, &Argmax, &options).unwrap_err();
        assert_eq!(error, JudgeError::Uncovered { name: "p".to_owned(), n_queries: 1 });
    }
}
