//! A decision: which arm, from which distribution, and why.

use crate::artifact::Manifest;
use crate::distribution::{self, DistributionError, draw, fitted};
use crate::selectors::{Utility, net_scores};
use crate::{Arm, Batch, Neighborhood, PredictError, Prediction, PredictionRow, Predictor, Selector};
use routewright_data::features::{FeatureError, FeatureInput, Featurizer};
use routewright_data::suggest::near_names;
use routewright_data::{FeatureMatrix, QueryText};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Greatest weight of an objective, and greatest price of money: products with any score and price stay numbers.
pub const WEIGHT_MAX: f64 = 1e12;

/// What the caller values, in units of score, each weight in [0, [`WEIGHT_MAX`]]. Replaces the policy's own selector
/// where given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Weight of the predicted score.
    #[serde(default = "one")]
    pub quality: f64,
    /// Score given up to save one US dollar.
    #[serde(default)]
    pub cost: f64,
    /// Score given up to save one second of mean latency.
    #[serde(default)]
    pub latency: f64,
}

fn one() -> f64 {
    1.0
}

impl Objective {
    /// What one US dollar is worth in score; the weight of the cost itself where quality has none.
    pub fn lambda(&self) -> f64 {
        if self.quality > 0.0 { self.cost / self.quality } else { self.cost }
    }
}

/// What the chosen arm must satisfy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// Greatest predicted price of the call, US dollars.
    #[serde(default)]
    pub max_cost_usd: Option<f64>,
    /// Greatest mean latency of the arm, milliseconds.
    #[serde(default)]
    pub max_latency_ms: Option<f64>,
    /// Tags the arm must all have.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// One query to decide on.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// Text, or precomputed vector.
    pub input: FeatureInput<'a>,
    /// Source (task) of the query, where the caller knows it.
    pub source: Option<&'a str>,
    /// Arms the caller can call; `None` means all.
    pub candidates: Option<&'a [String]>,
    /// Replaces the policy's selector by `quality * score - cost * cost_usd - latency * seconds`.
    pub objective: Option<Objective>,
    /// What the chosen arm must satisfy.
    pub constraints: Constraints,
    /// Score given up to save one US dollar, beside what the policy's selector gives up; left out where there is an
    /// objective.
    pub price: f64,
    /// Seed of the draw; the same seed and request give the same decision.
    pub seed: u64,
}

/// Why an arm could not be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// The caller did not list it.
    NotCandidate,
    /// Its predicted price is over the limit, or unknown.
    MaxCost,
    /// Its mean latency is over the limit, or unknown.
    MaxLatency,
    /// It lacks a tag asked for.
    Tags,
    /// It was removed while the policy served.
    Removed,
}

/// Why the arm was chosen; a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The policy's selector chose it.
    Selected,
    /// The objective of the request chose it.
    Objective,
    /// It was the only eligible arm.
    OnlyEligible,
    /// The deadline passed: the default arm.
    DeadlineDefault,
    /// The request has no text the policy reads, such as an image alone: the default arm.
    NoTextDefault,
}

impl Reason {
    /// Whether the default arm answered, without a prediction.
    pub fn is_default_arm(self) -> bool {
        matches!(self, Self::DeadlineDefault | Self::NoTextDefault)
    }
}

/// One arm as the decision saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Predicted score.
    pub score: f32,
    /// Standard error of the score, where known.
    pub score_se: Option<f32>,
    /// Predicted price, US dollars, where known.
    pub cost_usd: Option<f32>,
    /// Mean latency, milliseconds, where known.
    pub latency_ms: Option<f64>,
    /// Probability it had of being chosen.
    pub propensity: f32,
    /// Why it could not be chosen, if so.
    pub excluded_by: Option<Exclusion>,
}

/// The lambda at which another arm would have been chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flip {
    /// Score per US dollar above which the choice changes.
    pub lambda: f64,
    /// Index of the arm then chosen.
    pub arm: usize,
}

/// An arm, drawn from a stated distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Index of the chosen arm.
    pub arm: usize,
    /// Probability it was drawn with.
    pub propensity: f32,
    /// Every arm of the policy, in order.
    pub candidates: Vec<Candidate>,
    /// Why.
    pub reason: Reason,
    /// Where a higher price of money would change the choice, if anywhere.
    pub flip: Option<Flip>,
    /// Training rows the prediction rests on, where the form has them.
    pub neighborhood: Option<Neighborhood>,
}

/// Why no decision could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    /// No features could be made of the query.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// The predictor refused the features.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// A candidate is no arm of the policy.
    #[error("unknown candidate `{model}`; {hint}")]
    UnknownCandidate {
        /// Name given.
        model: String,
        /// Near names, or all of them.
        hint: String,
    },
    /// A number of the request is not valid.
    #[error("`{field}` is `{value}`, expected {expected}")]
    Number {
        /// Field of the request.
        field: &'static str,
        /// Value given.
        value: f64,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The predictor gave something else than numbers.
    #[error("the {what} predicted of arm `{model}` is `{value}`, expected a finite number")]
    Prediction {
        /// `score`, its standard error or cost.
        what: &'static str,
        /// The arm.
        model: String,
        /// What was predicted.
        value: f32,
    },
    /// The selector gave no distribution over the eligible arms; nothing was drawn.
    #[error("selector `{selector}` gave no distribution: {source}")]
    Distribution {
        /// Name of the selector.
        selector: String,
        /// What is wrong with it.
        source: DistributionError,
    },
    /// Every arm is excluded.
    #[error("no arm is eligible: {summary}")]
    NoEligible {
        /// Each arm and what excluded it.
        summary: String,
    },
}

/// A trained policy, ready to decide. Immutable; share it behind an `Arc`.
#[derive(Debug)]
pub struct Policy {
    /// What the artifact says about itself.
    pub manifest: Manifest,
    /// Digest of the manifest, and with it of every file: 64 hex digits.
    pub digest: String,
    /// Arms, in the order of every prediction.
    pub arms: Vec<Arm>,
    /// Makes the features.
    pub featurizer: Arc<dyn Featurizer>,
    /// Predicts outcomes.
    pub predictor: Box<dyn Predictor>,
    /// Chooses.
    pub selector: Box<dyn Selector>,
}

impl Policy {
    /// What of a request the policy reads: the rule its training texts were made by. Artifacts that name none are read
    /// as servers did before rules had names.
    pub fn query_text(&self) -> QueryText {
        self.manifest.query_text.unwrap_or(QueryText::UNNAMED)
    }

    /// Predicts the outcome of every arm on every request.
    ///
    /// # Errors
    /// If features cannot be made or are refused.
    pub fn predict(&self, requests: &[Request<'_>]) -> Result<Prediction, DecideError> {
        let inputs: Vec<FeatureInput<'_>> = requests.iter().map(|request| request.input).collect();
        self.predict_on(&self.featurizer.featurize(&inputs)?, requests)
    }

    /// Predicts from features that the policy's featurizer made of the requests.
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
    pub fn decide(&self, request: &Request<'_>) -> Result<Decision, DecideError> {
        let mut prediction = self.predict(std::slice::from_ref(request))?;
        let neighborhood = prediction.neighborhoods.as_mut().and_then(Vec::pop);
        self.decide_row(&prediction.row(0), neighborhood, request)
    }

    /// Decides many queries with one prediction; each entry is that query's own result.
    ///
    /// # Errors
    /// If features cannot be made for the batch.
    pub fn decide_batch(
        &self,
        requests: &[Request<'_>],
    ) -> Result<Vec<Result<Decision, DecideError>>, DecideError> {
        Ok(self.select(self.predict(requests)?, requests))
    }

    /// Decides queries whose outcomes are predicted already: `prediction` has one row a request.
    ///
    /// [`Policy::decide_batch`] is [`Policy::predict`] and this; a host that times the stages calls both.
    pub fn select(
        &self,
        mut prediction: Prediction,
        requests: &[Request<'_>],
    ) -> Vec<Result<Decision, DecideError>> {
        let mut neighborhoods = prediction.neighborhoods.take().unwrap_or_default().into_iter();
        let decide = |(row, request)| self.decide_row(&prediction.row(row), neighborhoods.next(), request);
        requests.iter().enumerate().map(decide).collect()
    }

    fn decide_row(
        &self,
        row: &PredictionRow<'_>,
        neighborhood: Option<Neighborhood>,
        request: &Request<'_>,
    ) -> Result<Decision, DecideError> {
        check_numbers(request)?;
        let excluded = self.exclusions(row, request)?;
        let eligible: Vec<bool> = excluded.iter().map(Option::is_none).collect();
        if !eligible.contains(&true) {
            return Err(DecideError::NoEligible { summary: self.exclusion_summary(&excluded) });
        }
        self.check_prediction(row)?;
        let (distribution, lambda, reason) = self.distribution(row, &eligible, request);
        self.check_distribution(&distribution, &eligible)?;
        // What sums to 1 has mass somewhere.
        let arm = draw(&distribution, request.seed)
            .ok_or_else(|| self.broken(DistributionError::Sum { sum: 0.0 }))?;
        let candidates = (0..self.arms.len())
            .map(|i| Candidate {
                score: row.score[i],
                score_se: row.score_se.map(|se| se[i]),
                cost_usd: (!row.cost_usd[i].is_nan()).then_some(row.cost_usd[i]),
                latency_ms: self.arms[i].mean_latency_ms,
                propensity: distribution[i],
                excluded_by: excluded[i],
            })
            .collect();
        let flip = flip(row, &eligible, arm, lambda);
        Ok(Decision { arm, propensity: distribution[arm], candidates, reason, flip, neighborhood })
    }

    fn distribution(
        &self,
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
        let seconds = |arm: usize| self.arms[arm].mean_latency_ms.unwrap_or(0.0) / 1000.0;
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
        row: &PredictionRow<'_>,
        eligible: &[bool],
    ) -> Result<Vec<f32>, DecideError> {
        self.check_prediction(row)?;
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

    /// Refuses a prediction that no distribution can be made of.
    fn check_prediction(&self, row: &PredictionRow<'_>) -> Result<(), DecideError> {
        let refuse = |what, arm: usize, value| {
            let model = self.arms.get(arm).map_or_else(String::new, |arm| arm.model.clone());
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
        &self,
        row: &PredictionRow<'_>,
        request: &Request<'_>,
    ) -> Result<Vec<Option<Exclusion>>, DecideError> {
        for model in request.candidates.unwrap_or_default() {
            if !self.arms.iter().any(|arm| arm.model == *model) {
                let hint = near_names(model, self.arms.iter().map(|arm| arm.model.as_str()));
                return Err(DecideError::UnknownCandidate { model: model.clone(), hint });
            }
        }
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
        Ok(self.arms.iter().zip(row.cost_usd).map(exclude).collect())
    }

    fn exclusion_summary(&self, excluded: &[Option<Exclusion>]) -> String {
        let say = |exclusion: &Exclusion| match exclusion {
            Exclusion::NotCandidate => "not a candidate",
            Exclusion::MaxCost => "over max_cost_usd",
            Exclusion::MaxLatency => "over max_latency_ms",
            Exclusion::Tags => "lacks a tag",
            Exclusion::Removed => "was removed",
        };
        let entries = self.arms.iter().zip(excluded);
        let entries =
            entries.filter_map(|(arm, e)| e.as_ref().map(|e| format!("`{}` {}", arm.model, say(e))));
        entries.collect::<Vec<_>>().join(", ")
    }
}

fn check_numbers(request: &Request<'_>) -> Result<(), DecideError> {
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
