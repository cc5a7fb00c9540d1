//! What each query costs and scores at some prices of money: a sweep that can be averaged over any queries.

use super::decisions::expected;
use super::{Decisions, OperatingPoint, query_costs, query_scores};
use routewright_data::OutcomeTable;
use routewright_policy::selectors::Utility;
use routewright_policy::{PredictError, Prediction, Selector};

/// Prices of money at which a conditioned form predicts.
const CONDITIONED_LAMBDAS: usize = 40;

/// Predicts the rows judged at a price of money (score a US dollar is worth).
pub type Repredict<'a> = &'a dyn Fn(f64) -> Result<Prediction, PredictError>;

/// Values of every query at one price of money, `NaN` where uncovered or unknown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lane {
    /// Score a US dollar is worth; `None` for a policy that does not weigh.
    pub(super) lambda: Option<f64>,
    /// US dollars.
    pub(super) costs: Vec<f64>,
    /// Scores in `[0, 1]`.
    pub(super) scores: Vec<f64>,
}

impl Lane {
    pub(super) fn of(decisions: &Decisions, table: &OutcomeTable, lambda: Option<f64>) -> Self {
        Self { lambda, costs: query_costs(decisions, table), scores: query_scores(decisions, table) }
    }

    /// Mean cost and score under weights of the queries; `None` where no weight is on a known value.
    pub(super) fn mean(&self, weights: &[f64]) -> Option<(f64, f64)> {
        Some((weighted(&self.costs, weights)?, weighted(&self.scores, weights)?))
    }
}

fn weighted(values: &[f64], weights: &[f64]) -> Option<f64> {
    let known = values.iter().zip(weights).filter(|(value, weight)| **weight > 0.0 && !value.is_nan());
    let (sum, total) = known.fold((0.0, 0.0), |(sum, total), (v, w)| (sum + v * w, total + w));
    (total > 0.0).then(|| sum / total)
}

/// A lane for every price of money, one prediction weighed at each.
pub(super) fn weighed(prediction: &Prediction, table: &OutcomeTable, lambdas: &[f64]) -> Vec<Lane> {
    let lane = |&lambda: &f64| Lane::of(&Decisions::of(prediction, &Utility { lambda }), table, Some(lambda));
    lambdas.iter().map(lane).collect()
}

/// A lane for every price of money, predicted at each: what a form that is conditioned on it serves.
pub(super) fn repredicted(
    repredict: Repredict<'_>,
    selector: &dyn Selector,
    table: &OutcomeTable,
) -> Result<Vec<Lane>, PredictError> {
    let lane =
        |&lambda: &f64| Ok(Lane::of(&Decisions::of(&repredict(lambda)?, selector), table, Some(lambda)));
    conditioned_lambdas(table).iter().map(lane).collect()
}

/// From prices at which a dollar decides everything to 0, evenly in their logarithm: a score point is worth
/// from a hundredth of the cheapest arm to a hundred of the dearest.
fn conditioned_lambdas(table: &OutcomeTable) -> Vec<f64> {
    let means = || (0..table.n_arms()).filter_map(|arm| table.cost_usd.column_mean(arm)).filter(|c| *c > 0.0);
    let (least, greatest) = means().fold((f64::INFINITY, 0.0_f64), |(lo, hi), c| (lo.min(c), hi.max(c)));
    if greatest <= 0.0 {
        return Vec::new();
    }
    let (high, low) = ((100.0 / least).ln(), (0.01 / greatest).ln());
    let steps = CONDITIONED_LAMBDAS - 2;
    let lambda = |i: usize| (high + (low - high) * i as f64 / steps as f64).exp();
    (0..=steps).map(lambda).chain([0.0]).collect()
}

/// A lane for every single model.
pub(super) fn singles(table: &OutcomeTable) -> Vec<Lane> {
    let lane = |arm: usize| {
        let mass: Vec<f32> = (0..table.n_arms()).map(|other| if other == arm { 1.0 } else { 0.0 }).collect();
        let rows = || 0..table.n_queries();
        Lane {
            lambda: None,
            costs: rows().map(|row| expected(&mass, table.cost_usd.row(row))).collect(),
            scores: rows().map(|row| expected(&mass, table.score.row(row))).collect(),
        }
    };
    (0..table.n_arms()).map(lane).collect()
}

/// The operating points of lanes, in their order.
pub(super) fn points(lanes: &[Lane], weights: &[f64]) -> Vec<OperatingPoint> {
    let point = |lane: &Lane| {
        let (cost_usd, score) = lane.mean(weights)?;
        Some(OperatingPoint { lambda: lane.lambda, cost_usd, score })
    };
    lanes.iter().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{near, prediction, table};
    use crate::evaluate::{Average, Sources, sweep};
    use routewright_policy::selectors::Argmax;

    #[test]
    fn lanes_average_to_the_points_of_the_sweep() {
        let guess = prediction(2, &[0.2, 0.8, 0.5, 0.6], &[1.0, 3.0, 1.0, 2.0]);
        let table = table(&["a", "a"], &[0.0, 1.0, 1.0, 0.0], &[1.0, 3.0, 1.0, 2.0]);
        let swept = sweep(&guess, &table, Average::Micro);
        let lambdas: Vec<f64> = swept.iter().filter_map(|point| point.lambda).collect();
        let weights = Sources::of(&table).weights(&[true; 2], Average::Micro);
        assert_eq!(points(&weighed(&guess, &table, &lambdas), &weights), swept);
    }

    /// A form that calls the dear arm `y` only when a dollar is worth less than a tenth of a point.
    #[test]
    fn a_conditioned_form_is_asked_at_every_price() {
        let table = table(&["a"], &[0.25, 1.0], &[0.01, 0.1]);
        let repredict = |lambda: f64| {
            let y = if lambda < 0.1 { 1.0 } else { 0.0 };
            Ok(prediction(2, &[0.5, y], &[0.01, 0.1]))
        };
        let lanes = repredicted(&repredict, &Argmax, &table).unwrap();
        assert_eq!(lanes.len(), CONDITIONED_LAMBDAS);
        for lane in &lanes {
            let expected = if lane.lambda.unwrap() < 0.1 { (0.1, 1.0) } else { (0.01, 0.25) };
            let found = lane.mean(&[1.0]).unwrap();
            assert!(near(found.0, expected.0) && near(found.1, expected.1), "{lane:?}");
        }
        assert!(lanes.iter().any(|l| l.scores[0] == 1.0) && lanes.iter().any(|l| l.scores[0] == 0.25));
        // (100 / 0.01) down to (0.01 / 0.1), then free.
        assert!(near(lanes[0].lambda.unwrap() / 1e4, 1.0) && lanes[39].lambda == Some(0.0));
        assert!(near(lanes[38].lambda.unwrap(), 0.1));
    }
}
