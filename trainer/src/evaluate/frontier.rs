//! Everything a policy reaches between cheapest and best: one curve of settings, whatever a setting is.
//!
//! A router is swept over lambda, the price of money: one prediction weighed at each, or predicted again at each where
//! the form is conditioned on it. A program of several steps is played once at each of its settings, such as orders and
//! thresholds of a cascade, which the objective of a request chooses as lambda chooses an arm. What is made of the
//! curve (AIQ, deferral, the picture) does not know which it was.

use super::aiq::Spread;
use super::lanes::{self, Lane, Repredict};
use super::{Decisions, JudgeOptions, OperatingPoint, QueryOutcomes, Sources, complete, sweep, thin};
use routewright_data::OutcomeTable;
use routewright_policy::{PredictError, Prediction, Selector};

/// Points of a curve whose spread is computed.
const LANES_MAX: usize = 60;

/// The operating points of a policy and how sure their AIQ is. Empty where the log has no costs, or too few queries
/// with a score of every arm (see [`complete`]).
#[derive(Debug, Default)]
pub struct Frontier {
    /// In order of falling lambda.
    pub points: Vec<OperatingPoint>,
    pub(super) spread: Spread,
}

impl Frontier {
    /// One prediction weighed at every price of money.
    pub(super) fn weighed(prediction: &Prediction, table: &OutcomeTable, options: &JudgeOptions) -> Self {
        let Some(kept) = priced(table) else { return Self::default() };
        let rows: Vec<usize> = (0..kept.len()).filter(|query| kept[*query]).collect();
        let points = sweep(&of_rows(prediction, &rows), &table.select_rows(&rows), options.average);
        let lambdas: Vec<f64> = thin(&points, LANES_MAX).iter().filter_map(|point| point.lambda).collect();
        let lanes = lanes::weighed(prediction, table, &lambdas);
        let spread = Spread::of(&lanes, &lanes::singles(table), &kept, &Sources::of(table), options);
        Self { points, spread }
    }

    /// Predicted again at prices of money from decisive to none.
    pub(super) fn repredicted(
        repredict: Repredict<'_>,
        selector: &dyn Selector,
        table: &OutcomeTable,
        options: &JudgeOptions,
    ) -> Result<Self, PredictError> {
        if priced(table).is_none() {
            return Ok(Self::default());
        }
        Ok(Self::of_lanes(&lanes::repredicted(repredict, selector, table)?, table, options))
    }

    /// A policy without settings: one point.
    pub(super) fn single(decisions: &Decisions, table: &OutcomeTable, options: &JudgeOptions) -> Self {
        Self::of_lanes(&[Lane::of(decisions, table, None)], table, options)
    }

    /// What each setting scored and cost on every query of `table`, with the lambda at which a request is served by it;
    /// `None` for a policy without settings.
    pub fn played(
        settings: &[(Option<f64>, QueryOutcomes)],
        table: &OutcomeTable,
        options: &JudgeOptions,
    ) -> Self {
        let lane = |(lambda, outcomes): &(Option<f64>, QueryOutcomes)| Lane {
            lambda: *lambda,
            costs: outcomes.costs.clone(),
            scores: outcomes.scores.clone(),
        };
        Self::of_lanes(&settings.iter().map(lane).collect::<Vec<_>>(), table, options)
    }

    /// The points of the single models: what mixing them at random reaches.
    pub(super) fn of_singles(table: &OutcomeTable, options: &JudgeOptions) -> Self {
        Self::of_lanes(&lanes::singles(table), table, options)
    }

    fn of_lanes(lanes: &[Lane], table: &OutcomeTable, options: &JudgeOptions) -> Self {
        let Some(kept) = priced(table) else { return Self::default() };
        let sources = Sources::of(table);
        let points = lanes::points(lanes, &sources.weights(&kept, options.average));
        Self { points, spread: Spread::of(lanes, &lanes::singles(table), &kept, &sources, options) }
    }
}

/// The queries a curve is drawn on; `None` where none is drawn.
fn priced(table: &OutcomeTable) -> Option<Vec<bool>> {
    complete(table).filter(|_| table.has_costs())
}

/// Scores and costs of some rows of a prediction.
fn of_rows(prediction: &Prediction, rows: &[usize]) -> Prediction {
    let cells = |values: fn(&Prediction, usize) -> &[f32]| {
        rows.iter().flat_map(|row| values(prediction, *row).iter().copied()).collect()
    };
    Prediction {
        n_arms: prediction.n_arms,
        score: cells(|prediction, row| prediction.row(row).score),
        score_se: None,
        cost_usd: cells(|prediction, row| prediction.row(row).cost_usd),
        neighborhoods: None,
        members: None,
        n_updates: prediction.n_updates,
    }
}
