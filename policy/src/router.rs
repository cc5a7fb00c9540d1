//! The one-step rule: features, prediction, eligibility, selector, draw.

use crate::decide::{
    Candidate, DecideError, Decision, Exclusion, Flip, Objective, Reason, Request, WEIGHT_MAX,
};
use crate::distribution::{self, DistributionError, draw, fitted};
use crate::selectors::{Utility, net_scores};
use crate::{Arm, Batch, Neighborhood, Prediction, PredictionRow, Predictor, Selector};
use routewright_data::FeatureMatrix;
use routewright_data::features::{FeatureInput, Featurizer};
use routewright_data::suggest::near_names;
use std::sync::Arc;

/// Predicts from a query and selects: all of a policy of one step, a part of a program of several.
///
/// Immutable. Arms are an argument: a host may retire arms and change prices while the router stays.
#[derive(Debug)]
pub struct Router {
    /// Makes the features.
    pub featurizer: Arc<dyn Featurizer>,
    /// Predicts outcomes.
    pub predictor: Box<dyn Predictor>,
    /// Chooses.
    pub selector: Box<dyn Selector>,
}

impl Router {
    /// Predicts the outcome of every arm on every request.
    ///
    /// # Errors
    /// If features cannot be made or are refused.
    pub fn predict(&self, requests: &[Request<'_>]) -> Result<Prediction, DecideError> {
        let inputs: Vec<FeatureInput<'_>> = requests.iter().map(|request| request.input).collect();
        self.predict_on(&self.featurizer.featurize(&inputs)?, requests)
    }

    /// Predicts from features that the featurizer made of the requests.
    ///
    /// # Errors
    /// If the features are refused.
    pub fn predict_on(
        &self,
        features: &FeatureMatrix,
        requests: &[Request<'_>],
    ) -> Result<Prediction, DecideError> {
        let sources: Vec<Option<&str>> = requests.iter().map(|request| request.source).collect();
        let lambda = |request: &Request<'_>| request.objective.map(|objective| objective.lambda());
        let lambdas: Vec<Option<f64>> = requests.iter().map(lambda).collect();
        Ok(self.predictor.predict(&Batch { features, sources: &sources, lambdas: &lambdas })?)
    }

    /// Decides one query.
    ///
    /// # Errors
    /// If the request is not valid, features cannot be made, or no arm is eligible.
    pub fn decide(&self, arms: &[Arm], request: &Request<'_>) -> Result<Decision, DecideError> {
        let mut prediction = self.predict(std::slice::from_ref(request))?;
        let neighborhood = prediction.neighborhoods.as_mut().and_then(Vec::pop);
        self.decide_row(arms, &prediction.row(0), neighborhood, request)
    }

    /// Decides many queries with one prediction; each entry is that query's own result.
    ///
    /// # Errors
    /// If features cannot be made for the batch.
    pub fn decide_batch(
        &self,
        arms: &[Arm],
        requests: &[Request<'_>],
    ) -> Result<Vec<Result<Decision, DecideError>>, DecideError> {
        Ok(self.select(arms, self.predict(requests)?, requests))
    }

    /// Decides queries whose outcomes are predicted already: `prediction` has one row a request.
    ///
    /// [`Router::decide_batch`] is [`Router::predict`] and this; a host that times the stages calls both.
    pub fn select(
        &self,
        arms: &[Arm],
        mut prediction: Prediction,
        requests: &[Request<'_>],
    ) -> Vec<Result<Decision, DecideError>> {
        let mut neighborhoods = prediction.neighborhoods.take().unwrap_or_default().into_iter();
        let decide =
            |(row, request)| self.decide_row(arms, &prediction.row(row), neighborhoods.next(), request);
        requests.iter().enumerate().map(decide).collect()
    }

    fn decide_row(
        &self,
        arms: &[Arm],
        row: &PredictionRow<'_>,
        neighborhood: Option<Neighborhood>,
        request: &Request<'_>,
    ) -> Result<Decision, DecideError> {
        check_numbers(request)?;
        let excluded = exclusions(arms, row, request)?;
        let eligible: Vec<bool> = excluded.iter().map(Option::is_none).collect();
        if !eligible.contains(&true) {
            return Err(DecideError::NoEligible { summary: exclusion_summary(arms, &excluded) });
        }
        check_prediction(arms, row)?;
        let (distribution, lambda, reason) = self.distribution(arms, row, &eligible, request);
        self.check_distribution(&distribution, &eligible)?;
        // What sums to 1 has mass somewhere.
        let arm = draw(&distribution, request.seed)
            .ok_or_else(|| self.broken(DistributionError::Sum { sum: 0.0 }))?;
        let candidates = (0..arms.len())
            .map(|i| Candidate {
                score: row.score[i],
                score_se: row.score_se.map(|se| se[i]),
                cost_usd: (!row.cost_usd[i].is_nan()).then_some(row.cost_usd[i]),
                latency_ms: arms[i].mean_latency_ms,
                propensity: distribution[i],
                excluded_by: excluded[i],
            })
            .collect();
        let flip = flip(row, &eligible, arm, lambda);
        Ok(Decision { arm, propensity: distribution[arm], candidates, reason, flip, neighborhood })
    }

    fn distribution(
        &self,
        arms: &[Arm],
        row: &PredictionRow<'_>,
        eligible: &[bool],
        request: &Request<'_>,
    ) -> (Vec<f32>, f64, Reason) {
        let only = eligible.iter().filter(|ok| **ok).count() == 1;
        let Some(objective) = request.objective else {
            let reason = if only { Reason::OnlyEligible } else { Reason::Selected };
            let lambda = self.selector.lambda() + request.price;
            if request.price == 0.0 {
                return (self.selector.distribution(row, eligible), lambda, reason);
            }
            let (score, eligible) = net_scores(row, eligible, request.price);
            let net = PredictionRow { score: &score, ..*row };
            return (self.selector.distribution(&net, &eligible), lambda, reason);
        };
        let reason = if only { Reason::OnlyEligible } else { Reason::Objective };
        let lambda = objective.lambda();
        if self.predictor.is_conditioned() {
            return (self.selector.distribution(row, eligible), lambda, reason);
        }
        let seconds = |arm: usize| arms[arm].mean_latency_ms.unwrap_or(0.0) / 1000.0;
        let weigh = |(arm, &score): (usize, &f32)| {
            objective.quality * f64::from(score) - objective.latency * seconds(arm)
        };
        let score = fitted(&row.score.iter().enumerate().map(weigh).collect::<Vec<f64>>(), eligible);
        // A policy that explores does so on what the request values, with uncertainty on the same scale.
        let scaled = |all: &[f32]| all.iter().map(|x| scaled(objective.quality, *x)).collect::<Vec<f32>>();
        let (se, members) = (row.score_se.map(scaled), row.members.map(scaled));
        let (score_se, members) = (se.as_deref(), members.as_deref());
        let weighted = PredictionRow { score: &score, score_se, members, ..*row };
        let (net, priced) = net_scores(&weighted, eligible, objective.cost);
        let explored = self.selector.explore(&PredictionRow { score: &net, ..weighted }, &priced);
        let distribution =
            explored.unwrap_or_else(|| Utility { lambda: objective.cost }.distribution(&weighted, eligible));
        (distribution, lambda, reason)
    }

    /// The selector's own distribution for a prediction, checked.
    ///
    /// # Errors
    /// If the prediction is not finite or the selector breaks the law.
    pub(crate) fn checked_distribution(
        &self,
        arms: &[Arm],
        row: &PredictionRow<'_>,
        eligible: &[bool],
    ) -> Result<Vec<f32>, DecideError> {
        check_prediction(arms, row)?;
        let distribution = self.selector.distribution(row, eligible);
        self.check_distribution(&distribution, eligible)?;
        Ok(distribution)
    }

    fn check_distribution(&self, distribution: &[f32], eligible: &[bool]) -> Result<(), DecideError> {
        distribution::check(distribution, eligible).map_err(|source| self.broken(source))
    }

    fn broken(&self, source: DistributionError) -> DecideError {
        DecideError::Distribution { selector: self.selector.spec().name, source }
    }
}

/// Refuses a prediction that no distribution can be made of.
fn check_prediction(arms: &[Arm], row: &PredictionRow<'_>) -> Result<(), DecideError> {
    let refuse = |what, arm: usize, value| {
        let model = arms.get(arm).map_or_else(String::new, |arm| arm.model.clone());
        Err(DecideError::Prediction { what, model, value })
    };
    for (arm, (score, cost)) in row.score.iter().zip(row.cost_usd).enumerate() {
        if !score.is_finite() {
            return refuse("score", arm, *score);
        }
        if cost.is_infinite() {
            return refuse("cost", arm, *cost);
        }
    }
    let uncertain = row.score_se.unwrap_or_default().iter().enumerate();
    // An infinite standard error says that nothing is known, NaN says nothing.
    if let Some((arm, se)) = uncertain.into_iter().find(|(_, se)| se.is_nan() || **se < 0.0) {
        return refuse("standard error of the score", arm, *se);
    }
    let members = row.members.unwrap_or_default().iter().enumerate();
    match members.into_iter().find(|(_, deviation)| !deviation.is_finite()) {
        Some((at, deviation)) => refuse("deviation of the score", at % row.score.len(), *deviation),
        None => Ok(()),
    }
}

fn exclusions(
    arms: &[Arm],
    row: &PredictionRow<'_>,
    request: &Request<'_>,
) -> Result<Vec<Option<Exclusion>>, DecideError> {
    check_candidates(arms, request)?;
    let limits = &request.constraints;
    // An unknown price or latency cannot be promised to be within a limit.
    let within =
        |value: Option<f64>, limit: Option<f64>| limit.is_none_or(|max| value.is_some_and(|v| v <= max));
    let exclude = |(arm, cost): (&Arm, &f32)| {
        let cost = (!cost.is_nan()).then(|| f64::from(*cost));
        if arm.retired {
            Some(Exclusion::Removed)
        } else if request.candidates.is_some_and(|c| !c.contains(&arm.model)) {
            Some(Exclusion::NotCandidate)
        } else if !limits.tags.iter().all(|tag| arm.tags.contains(tag)) {
            Some(Exclusion::Tags)
        } else if !within(cost, limits.max_cost_usd) {
            Some(Exclusion::MaxCost)
        } else if !within(arm.mean_latency_ms, limits.max_latency_ms) {
            Some(Exclusion::MaxLatency)
        } else {
            None
        }
    };
    Ok(arms.iter().zip(row.cost_usd).map(exclude).collect())
}

fn exclusion_summary(arms: &[Arm], excluded: &[Option<Exclusion>]) -> String {
    let say = |exclusion: &Exclusion| match exclusion {
        Exclusion::NotCandidate => "not a candidate",
        Exclusion::MaxCost => "over max_cost_usd",
        Exclusion::MaxLatency => "over max_latency_ms",
        Exclusion::Tags => "lacks a tag",
        Exclusion::Removed => "was removed",
    };
    let entries = arms.iter().zip(excluded);
    let entries = entries.filter_map(|(arm, e)| e.as_ref().map(|e| format!("`{}` {}", arm.model, say(e))));
    entries.collect::<Vec<_>>().join(", ")
}

/// Refuses candidates that are no arms.
///
/// # Errors
/// With the first name that is none.
pub(crate) fn check_candidates(arms: &[Arm], request: &Request<'_>) -> Result<(), DecideError> {
    match request
        .candidates
        .unwrap_or_default()
        .iter()
        .find(|name| arms.iter().all(|arm| arm.model != **name))
    {
        Some(model) => {
            let hint = near_names(model, arms.iter().map(|arm| arm.model.as_str()));
            Err(DecideError::UnknownCandidate { model: model.clone(), hint })
        }
        None => Ok(()),
    }
}

/// Refuses weights, prices and limits that are no numbers of their range.
///
/// # Errors
/// With the first field that is out of range.
pub(crate) fn check_numbers(request: &Request<'_>) -> Result<(), DecideError> {
    const EXPECTED: &str = "a finite number of at least 0";
    const WEIGHT: &str = "a number in [0, 1e12]";
    let objective = request.objective.unwrap_or(Objective { quality: 1.0, cost: 0.0, latency: 0.0 });
    let limits = &request.constraints;
    let weights = [
        ("objective.quality", objective.quality),
        ("objective.cost", objective.cost),
        ("objective.latency", objective.latency),
        ("price", request.price),
    ];
    // NaN is in no range.
    if let Some((field, value)) = weights.into_iter().find(|(_, value)| !(0.0..=WEIGHT_MAX).contains(value)) {
        return Err(DecideError::Number { field, value, expected: WEIGHT });
    }
    let limits = [
        ("constraints.max_cost_usd", limits.max_cost_usd.unwrap_or(0.0)),
        ("constraints.max_latency_ms", limits.max_latency_ms.unwrap_or(0.0)),
    ];
    match limits.into_iter().find(|(_, value)| !value.is_finite() || *value < 0.0) {
        Some((field, value)) => Err(DecideError::Number { field, value, expected: EXPECTED }),
        None => Ok(()),
    }
}

/// A deviation on the scale of an objective; what a weight of 0 leaves of an infinite one is 0.
fn scaled(weight: f64, deviation: f32) -> f32 {
    let most = f64::from(f32::MAX);
    if weight == 0.0 { 0.0 } else { (weight * f64::from(deviation)).clamp(-most, most) as f32 }
}

/// Least lambda above the present one at which a cheaper arm overtakes the chosen one.
fn flip(row: &PredictionRow<'_>, eligible: &[bool], chosen: usize, lambda: f64) -> Option<Flip> {
    let point = |arm: usize| (f64::from(row.cost_usd[arm]), f64::from(row.score[arm]));
    let (cost, score) = point(chosen);
    (0..row.score.len())
        .filter(|&arm| eligible[arm] && arm != chosen)
        .filter_map(|arm| {
            let (other_cost, other_score) = point(arm);
            let lambda_flip = (score - other_score) / (cost - other_cost);
            (other_cost < cost && lambda_flip >= lambda).then_some(Flip { lambda: lambda_flip, arm })
        })
        .min_by(|a, b| a.lambda.total_cmp(&b.lambda))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flip_is_where_the_cheaper_arm_has_the_same_utility() {
        let row = PredictionRow {
            score: &[0.5, 0.7, 0.8],
            score_se: None,
            cost_usd: &[0.001, 0.01, 0.11],
            members: None,
            n_updates: 0,
        };
        let flip = flip(&row, &[true; 3], 2, 0.0).unwrap();
        assert_eq!(flip.arm, 1);
        assert!((flip.lambda - 1.0).abs() < 1e-5, "{flip:?}"); // (0.8 - 0.7) / (0.11 - 0.01)
    }
}
