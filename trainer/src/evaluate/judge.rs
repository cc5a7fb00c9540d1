//! One policy, every metric.

use super::lanes::Repredict;
use super::{
    Apgr, ArmShare, Decisions, Deferral, Figures, Frontier, JudgeError, JudgeOptions, OperatingPoint,
    PairedDifference, QueryOutcomes, Ranks, SingleModel, Sources, aiq, apgr, arm_shares, deferral,
    score_entropy_bits, single_models, thin,
};
use crate::methods::baselines::means;
use routewright_data::OutcomeTable;
use routewright_policy::{PredictError, Prediction, Selector};
use serde::{Deserialize, Serialize};

/// Points of a curve that are written out; the figures are computed on all of them.
pub(super) const CURVE_POINTS_MAX: usize = 200;
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
    /// Scores, costs and differences.
    #[serde(flatten)]
    pub figures: Figures,
    /// AIQ (see `aiq.rs`), where the log has costs.
    pub aiq: Option<f64>,
    /// Bootstrap standard error of `aiq`.
    #[serde(default)]
    pub aiq_se: Option<f64>,
    /// AIQ of prices of money chosen on one half of the queries and judged on the other, the mean of both ways.
    #[serde(default)]
    pub aiq_held_out: Option<f64>,
    /// Seconds the fit took, where measured; the caller fills it in.
    pub fit_seconds: Option<f64>,
    /// Microseconds a decision took, where measured; the caller fills it in.
    pub decide_us: Option<f64>,
    /// Queries judged, covered or not.
    pub n_queries: usize,
    /// Share of the queries each arm answers, the most called first.
    pub shares: Vec<ArmShare>,
    /// Two-arm figures, where there are two arms and one prediction is weighed at every price.
    pub apgr: Option<Apgr>,
    /// Figures of the deferral curve, where the log has costs.
    pub deferral: Option<Deferral>,
    /// `E_p`, mean entropy of the softmax of the predicted scores, bits.
    pub score_entropy_bits: Option<f64>,
    /// Where its choices stand among the answers of all arms, for a policy of one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<Ranks>,
    /// Whether its decisions depend on the source the log names, which a request may lack; the caller fills it
    /// in.
    #[serde(default)]
    pub reads_source: bool,
    /// Figures on out-of-fold decisions over the train rows, where cross-validated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// What was tried to choose hyper-parameters, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
    /// Operating points as the price of money sweeps, thinned; one point for a selector that reads no score.
    pub curve: Vec<OperatingPoint>,
    /// All operating points; not stored.
    #[serde(skip)]
    pub points: Vec<OperatingPoint>,
    /// What each query scored and cost, one run a seed; for paired comparison, not stored.
    #[serde(skip)]
    pub runs: Vec<QueryOutcomes>,
}

/// Figures on out-of-fold decisions over the train rows: what the pick goes by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Average score under the average asked for.
    pub score: f64,
    /// Bootstrap standard error of `score`.
    pub score_se: Option<f64>,
    /// Average cost in US dollars, where known.
    pub cost_usd: Option<f64>,
    /// Score minus that of the best single model of the other folds, on the same queries.
    pub vs_best_single: Option<PairedDifference>,
    /// Weighted mean square of observed less predicted scores, both less their mean over the arms of the query,
    /// the predictions scaled by one factor; `None` for a policy that does not choose by predicted scores.
    pub centred_error: Option<f64>,
}

/// How many settings a method compared on slices of train before it was fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuning {
    /// Settings tried; 1 means none was chosen.
    pub candidates: usize,
    /// Slices each was judged on.
    pub slices: usize,
}

impl Evaluation {
    /// The name it is shown under.
    pub fn name(&self) -> &str {
        self.policy.as_deref().unwrap_or(&self.method)
    }
}

/// A policy as it decides on the rows judged.
#[derive(Clone, Copy)]
pub struct Contender<'a> {
    /// The method, or another name it is judged under.
    pub name: &'a str,
    /// One row a query and one column an arm of the table, in its order (see [`super::align()`]).
    pub prediction: &'a Prediction,
    /// What decides.
    pub selector: &'a dyn Selector,
    /// Predicts the same rows at another price of money: for a form that is conditioned on it, whose curve no
    /// weighing of one prediction can show.
    pub repredict: Option<Repredict<'a>>,
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Contender<'a> {
    /// A policy of one prediction, weighed at every price of money.
    pub fn new(name: &'a str, prediction: &'a Prediction, selector: &'a dyn Selector) -> Self {
        Self { name, prediction, selector, repredict: None }
    }

    fn is_scoreless(&self) -> bool {
        SCORELESS_SELECTORS.contains(&self.selector.spec().name.as_str())
    }
}

/// Judges one policy on `table` (the rows to judge on).
///
/// `train` tells which of two arms is the strong one, and the best single model that QNC asks for. Curves are drawn
/// on the queries with a score of every arm, see [`super::complete`].
///
/// # Errors
/// If shapes differ, there is nothing to judge on, no query is covered, or a form cannot predict again.
pub fn judge(
    contender: &Contender<'_>,
    table: &OutcomeTable,
    train: Option<&OutcomeTable>,
    options: &JudgeOptions,
) -> Result<Evaluation, JudgeError> {
    let &Contender { name, prediction, selector, .. } = contender;
    check(name, table, prediction)?;
    let decisions = Decisions::of(prediction, selector);
    let played = Played {
        name,
        outcomes: QueryOutcomes::of(&decisions, table),
        shares: arm_shares(&decisions, &table.models),
        frontier: Frontier::default(),
    };
    played.check(table)?;
    let frontier = frontier_of(contender, &decisions, table, options)
        .map_err(|error| JudgeError::Predict { name: name.to_owned(), error })?;
    let weighs = contender.repredict.is_none() && !contender.is_scoreless();
    Ok(Evaluation {
        apgr: if weighs { apgr(prediction, table, train, options) } else { None },
        score_entropy_bits: score_entropy_bits(prediction),
        ranks: Ranks::of(&decisions, table),
        ..judge_played(Played { frontier, ..played }, table, train, options)?
    })
}

/// A policy that was played on the rows judged, whatever it did on them.
#[derive(Debug)]
pub struct Played<'a> {
    /// The method, or another name it is judged under.
    pub name: &'a str,
    /// What each query scored, cost, took and called.
    pub outcomes: QueryOutcomes,
    /// Share of the queries each arm answers.
    pub shares: Vec<ArmShare>,
    /// What it reaches at other settings.
    pub frontier: Frontier,
}

impl Played<'_> {
    fn check(&self, table: &OutcomeTable) -> Result<(), JudgeError> {
        if table.score.n_present() == 0 {
            return Err(JudgeError::NoQueries);
        }
        if self.outcomes.scores.iter().all(|score| score.is_nan()) {
            return Err(JudgeError::Uncovered { name: self.name.to_owned(), n_queries: table.n_queries() });
        }
        Ok(())
    }
}

/// Judges what was played on `table`; [`judge`] is this on the exact expectations of a policy of one step.
///
/// # Errors
/// If there is nothing to judge on or no query is covered.
pub fn judge_played(
    played: Played<'_>,
    table: &OutcomeTable,
    train: Option<&OutcomeTable>,
    options: &JudgeOptions,
) -> Result<Evaluation, JudgeError> {
    played.check(table)?;
    let Played { name, outcomes, shares, frontier } = played;
    let sources = Sources::of(table);
    let runs = vec![outcomes];
    let singles = single_models(table, options.average);
    let best_single = train.and_then(|train| means::best_single(train, options.average));
    let target = best_single.and_then(|arm| singles.iter().find(|s| s.model == table.models[arm]));
    Ok(Evaluation {
        policy: None,
        method: name.to_owned(),
        figures: Figures::of(&runs, &sources, options),
        aiq: aiq_of(&frontier.points, &singles),
        aiq_se: frontier.spread.se,
        aiq_held_out: frontier.spread.held_out,
        fit_seconds: None,
        decide_us: None,
        n_queries: table.n_queries(),
        shares,
        apgr: None,
        deferral: deferral(&frontier.points, &singles, target.map(|single| single.score)),
        score_entropy_bits: None,
        ranks: None,
        reads_source: false,
        validation: None,
        tuning: None,
        curve: thin(&frontier.points, CURVE_POINTS_MAX),
        points: frontier.points,
        runs,
    })
}

fn frontier_of(
    contender: &Contender<'_>,
    decisions: &Decisions,
    table: &OutcomeTable,
    options: &JudgeOptions,
) -> Result<Frontier, PredictError> {
    if contender.is_scoreless() {
        return Ok(Frontier::single(decisions, table, options));
    }
    if let Some(repredict) = contender.repredict {
        return Frontier::repredicted(repredict, contender.selector, table, options);
    }
    Ok(Frontier::weighed(contender.prediction, table, options))
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
    use crate::evaluate::fixtures::{holed, near, prediction, table};
    use routewright_policy::selectors::{Argmax, Cheapest};

    #[test]
    fn every_figure_of_a_small_case() {
        // Argmax takes y, x, y: scores 0, 0.5 and an uncovered query; costs 0.01, 0.001.
        let guess = prediction(2, &[0.1, 0.2, 0.9, 0.2, 0.1, 0.2], &[0.001, 0.02, 0.001, 0.02, 0.001, 0.02]);
        let options = JudgeOptions::default();
        let found = judge(&Contender::new("knn", &guess, &Argmax), &holed(), None, &options).unwrap();
        let figures = &found.figures;
        assert!(near(figures.score.unwrap(), 0.25) && near(figures.cost_usd.unwrap(), 0.0055), "{found:?}");
        assert_eq!((found.n_queries, figures.n_uncovered), (3, 1));
        assert_eq!(figures.by_source.clone().into_iter().collect::<Vec<_>>(), [("a".to_owned(), 0.25)]);
        // Two of three queries have both arms: x, then y, is called on the first of them.
        assert_eq!((found.shares[0].model.as_str(), found.curve.len()), ("y", 3 - 1));
        assert!(figures.score_se.unwrap() > 0.0);
    }

    #[test]
    fn a_selector_that_reads_no_score_has_one_point() {
        let guess = prediction(2, &[0.1, 0.2, 0.9, 0.2, 0.1, 0.2], &[0.001, 0.02, 0.001, 0.02, 0.001, 0.02]);
        let contender = Contender::new("cheapest", &guess, &Cheapest);
        let found = judge(&contender, &holed(), None, &JudgeOptions::default()).unwrap();
        assert_eq!(found.curve.len(), 1);
        assert!(near(found.curve[0].cost_usd, 0.001) && found.curve[0].lambda.is_none());
    }

    /// A form whose quality-only scores, weighed, would never leave `y`: only asking again shows the cheap end.
    #[test]
    fn a_conditioned_form_is_judged_by_what_it_serves_at_each_price() {
        let table = table(&["a"; 2], &[0.5, 1.0, 0.5, 1.0], &[0.01, 0.1, 0.01, 0.1]);
        let quality = prediction(2, &[-50.0, 0.0, -50.0, 0.0], &[0.01, 0.1, 0.01, 0.1]);
        let repredict = |lambda: f64| {
            let cheap = prediction(2, &[0.0, -50.0, 0.0, -50.0], &[0.01, 0.1, 0.01, 0.1]);
            Ok(if lambda > 1.0 { cheap } else { quality.clone() })
        };
        let options = JudgeOptions::default();
        let weighed = Contender::new("barp", &quality, &Argmax);
        let asked = Contender { repredict: Some(&repredict), ..weighed };
        let found = judge(&asked, &table, None, &options).unwrap();
        let at = |lambda: f64| found.points.iter().rfind(|p| p.lambda.unwrap() >= lambda).unwrap();
        assert!(near(at(2.0).cost_usd, 0.01) && near(at(0.0).cost_usd, 0.1), "{:?}", found.points);
        assert!(found.apgr.is_none());
        // Weighed once, it would leave `y` only where a dollar is worth 50 / 0.09 = 556 points: another policy.
        let other = judge(&weighed, &table, None, &options).unwrap();
        let is_cheap = |p: &&OperatingPoint| near(p.cost_usd, 0.01) && p.lambda.unwrap() < 500.0;
        assert!(found.points.iter().any(|p| is_cheap(&p)) && !other.points.iter().any(|p| is_cheap(&p)));
    }

    #[test]
    fn shapes_that_differ_and_uncovered_policies_are_refused() {
        let options = JudgeOptions::default();
        let guess = prediction(2, &[0.1, 0.2], &[0.0; 2]);
        let contender = Contender::new("p", &guess, &Argmax);
        let error = judge(&contender, &holed(), None, &options).unwrap_err().to_string();
        assert!(error.contains("1 queries x 2 arms") && error.contains("3 x 2"), "{error}");
        let only_y = holed().select_rows(&[2]);
        let error = judge(&contender, &only_y, None, &options).unwrap_err();
        assert_eq!(error, JudgeError::Uncovered { name: "p".to_owned(), n_queries: 1 });
    }
}
