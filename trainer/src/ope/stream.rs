//! From a decision log and policies to rounds, in two passes of bounded memory.
//!
//! The first pass teaches the reward model, the second asks the policies for their distributions over the
//! logged candidates. Between them only sums stay in memory, after them a few numbers a round.

use super::calibration::{Calibration, Counting};
use super::folds::{fold, fold_key, question};
use super::segments::Labels;
use super::{
    Cross, ESTIMATED, LostMass, OpeError, OpeOptions, RewardModel, RewardSums, Round, weight_moments,
};
use rand::RngExt as _;
use routewright_data::decisions::{DecisionReader, Outcomes, Rewarded};
use routewright_data::features::FeatureInput;
use routewright_data::log::DecisionRow;
use routewright_data::{FeatureMatrix, rng, row_keys};
use routewright_policy::{Objective, Policy, Request};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;

/// A propensity from which a decision was made without chance.
const CERTAIN: f64 = 1.0 - 1e-6;

/// What became of the rows of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Decisions read.
    pub decisions: u64,
    /// Rounds evaluated.
    pub rounds: u64,
    /// Left out: no feedback of the kind asked for, and no default.
    pub without_feedback: u64,
    /// Left out: the cost counts and is not known.
    pub without_cost: u64,
    /// Left out: a policy has none of the logged candidates.
    pub without_arm: u64,
    /// Rounds evaluated though a policy lacks some of the logged candidates.
    pub with_unknown_candidates: u64,
    /// Decisions with a reward that the policy was trained on: evaluated, left out where only others are asked for,
    /// or judged by what was fitted without them.
    pub trained_on: u64,
    /// Rounds that the baseline was trained on.
    pub baseline_trained_on: u64,
    /// Rounds decided before the last row that the policy was trained on, but not among its rows.
    pub before_training_end: u64,
    /// Rounds, not among its rows, whose question is that of a row the policy was trained on.
    pub known_question: u64,
    /// Rounds whose propensities were estimated from the log.
    pub estimated: u64,
}

/// Everything the second pass leaves.
#[derive(Debug)]
pub(super) struct Rounds {
    pub(super) target: Vec<Round>,
    pub(super) baseline: Option<Vec<Round>>,
    pub(super) cross: Vec<Cross>,
    /// What shrinkage loses of the target and of the baseline.
    pub(super) lost: [LostMass; 2],
    pub(super) labels: Labels,
    pub(super) calibration: Calibration,
    pub(super) deterministic_share: f64,
    pub(super) counts: Counts,
    pub(super) alpha: f64,
}

/// The log and the policies that are asked about it.
pub(super) struct Source<'a> {
    pub(super) log: &'a Path,
    pub(super) outcomes: &'a Outcomes,
    pub(super) target: &'a Policy,
    /// The target fitted without each fold; empty where the artifact itself is judged.
    pub(super) folds: &'a [Policy],
    pub(super) baseline: Option<&'a Policy>,
    pub(super) options: &'a OpeOptions,
}

/// Which rounds are resampled together, because they are not independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClusterBy {
    /// By `session` where a row has one, else by equal question.
    #[default]
    Auto,
    /// By equal question: prompt, or features where there is none.
    Question,
    /// By the column `session`.
    Session,
    /// Every round is its own cluster.
    Nothing,
}

impl std::str::FromStr for ClusterBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "question" => Ok(Self::Question),
            "session" => Ok(Self::Session),
            "none" => Ok(Self::Nothing),
            _ => Err(format!("`{text}` is no cluster; known: `auto`, `question`, `session`, `none`")),
        }
    }
}

impl ClusterBy {
    /// The cluster of a row; 0 for a row of no cluster.
    fn of(self, row: &DecisionRow) -> u64 {
        let session = || row.session.as_deref().map(row_keys::of_session);
        let found = match self {
            Self::Auto => session().or_else(|| question(row)),
            Self::Question => question(row),
            Self::Session => session(),
            Self::Nothing => None,
        };
        found.unwrap_or(0)
    }
}

/// Numbers of models, in order of first appearance.
#[derive(Debug, Default)]
pub(super) struct ArmNumbers(HashMap<String, usize>);

impl ArmNumbers {
    fn of(&mut self, model: &str) -> usize {
        if let Some(number) = self.0.get(model) {
            return *number;
        }
        let number = self.0.len();
        self.0.insert(model.to_owned(), number);
        number
    }
}

impl Source<'_> {
    /// Both passes.
    pub(super) fn rounds(&self) -> Result<Rounds, OpeError> {
        let mut arms = ArmNumbers::default();
        let model = self.reward_model(&mut arms)?;
        let mut counting = Counting::default();
        let mut rounds = Rounds {
            target: Vec::new(),
            baseline: self.baseline.map(|_| Vec::new()),
            cross: Vec::new(),
            lost: Default::default(),
            labels: Labels::new(),
            calibration: Calibration::default(),
            deterministic_share: 0.0,
            counts: Counts::default(),
            alpha: model.alpha,
        };
        let mut deterministic = 0_u64;
        for rows in DecisionReader::open(self.log)? {
            let rows = rows?;
            for row in &rows {
                counting.add(row);
                deterministic += u64::from(row.propensity >= CERTAIN && row.candidates.len() > 1);
            }
            rounds.counts.decisions += rows.len() as u64;
            let rewarded = self.rewarded(rows, Some(&mut rounds.counts));
            self.decide(&rewarded, &model, &mut arms, &mut rounds)?;
        }
        rounds.calibration = counting.finish();
        rounds.deterministic_share = deterministic as f64 / rounds.counts.decisions.max(1) as f64;
        rounds.counts.rounds = rounds.target.len() as u64;
        Ok(rounds)
    }

    fn reward_model(&self, arms: &mut ArmNumbers) -> Result<RewardModel, OpeError> {
        let mut sums = RewardSums::new(self.options.folds);
        for rows in DecisionReader::open(self.log)? {
            let rewarded = self.rewarded(rows?, None);
            let features = features(self.target, &rewarded)?;
            for (at, (row, reward)) in rewarded.iter().enumerate() {
                let fold = sums.fold(fold_key(row));
                sums.add(arms.of(&row.model), fold, features.row(at), *reward, row.weight());
            }
        }
        sums.solve()
    }

    /// The rows that have a reward, with it; without those the policy was trained on, where that is asked for.
    fn rewarded(&self, rows: Vec<DecisionRow>, mut counts: Option<&mut Counts>) -> Vec<(DecisionRow, f64)> {
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            let found = self.options.reward.apply(&row, self.outcomes);
            match (found, &mut counts) {
                (Rewarded::Reward(reward), counts) => {
                    let is_known = trained_on(self.target, &row);
                    if let Some(counts) = counts {
                        counts.trained_on += u64::from(is_known);
                    }
                    if !(is_known && self.options.unseen) {
                        kept.push((row, reward));
                    }
                }
                (Rewarded::NoFeedback, Some(counts)) => counts.without_feedback += 1,
                (Rewarded::NoCost, Some(counts)) => counts.without_cost += 1,
                _ => {}
            }
        }
        kept
    }

    fn decide(
        &self,
        rows: &[(DecisionRow, f64)],
        model: &RewardModel,
        arms: &mut ArmNumbers,
        rounds: &mut Rounds,
    ) -> Result<(), OpeError> {
        let features = features(self.target, rows)?;
        let target = self.target_distributions(rows, &features)?;
        let baseline = match self.baseline {
            Some(policy) => {
                let rows: Vec<&(DecisionRow, f64)> = rows.iter().collect();
                Some(distributions(policy, &rows, &features_of(policy, &rows)?)?)
            }
            None => None,
        };
        for (at, (row, reward)) in rows.iter().enumerate() {
            let own = target[at].as_deref();
            let other = baseline.as_ref().map(|b| b[at].as_deref());
            let (Some(own), other) = (own, other.flatten()) else {
                rounds.counts.without_arm += 1;
                continue;
            };
            if baseline.is_some() && other.is_none() {
                rounds.counts.without_arm += 1;
                continue;
            }
            self.count(row, &mut rounds.counts);
            let fold = model.fold(fold_key(row));
            let numbers: Vec<usize> = row.candidates.iter().map(|name| arms.of(name)).collect();
            let q: Vec<f64> = numbers.iter().map(|arm| model.predict(*arm, fold, features.row(at))).collect();
            let round = |pi: &[f64]| self.round(row, *reward, pi, &q);
            rounds.target.push(round(own));
            rounds.lost[0].add(row.weight(), own, &row.propensities);
            if let (Some(others), Some(other)) = (&mut rounds.baseline, other) {
                others.push(round(other));
                rounds.cross.push(Cross::of(own, other, &row.propensities));
                rounds.lost[1].add(row.weight(), other, &row.propensities);
            }
            rounds.labels.add(row);
        }
        Ok(())
    }

    /// Counts what an evaluated row is to the policies.
    fn count(&self, row: &DecisionRow, counts: &mut Counts) {
        let lacks = |policy: &Policy| row.candidates.iter().any(|model| arm_of(policy, model).is_none());
        let unknown = lacks(self.target) || self.baseline.is_some_and(lacks);
        counts.with_unknown_candidates += u64::from(unknown);
        counts.estimated += u64::from(*row.policy_version == *ESTIMATED);
        counts.baseline_trained_on += u64::from(self.baseline.is_some_and(|policy| trained_on(policy, row)));
        if self.folds.is_empty() && !trained_on(self.target, row) {
            let data = &self.target.manifest.data;
            let is_earlier = data.last_ms.is_some_and(|last| row.timestamp_ms < last);
            counts.before_training_end += u64::from(is_earlier);
            let is_known = data.rows.as_ref().is_some_and(|rows| rows.has_text(row));
            counts.known_question += u64::from(is_known);
        }
    }

    /// Distributions of the target, each row by what was fitted without its fold.
    fn target_distributions(
        &self,
        rows: &[(DecisionRow, f64)],
        features: &FeatureMatrix,
    ) -> Result<Vec<Option<Vec<f64>>>, OpeError> {
        if self.folds.is_empty() {
            return distributions(self.target, &rows.iter().collect::<Vec<_>>(), features);
        }
        let mut out = vec![None; rows.len()];
        for (held, policy) in self.folds.iter().enumerate() {
            let is_held = |at: &usize| fold(fold_key(&rows[*at].0), self.folds.len()) == held;
            let at: Vec<usize> = (0..rows.len()).filter(is_held).collect();
            let part: Vec<&(DecisionRow, f64)> = at.iter().map(|at| &rows[*at]).collect();
            let found = distributions(policy, &part, &features_of(policy, &part)?)?;
            at.into_iter().zip(found).for_each(|(at, found)| out[at] = found);
        }
        Ok(out)
    }

    /// A round from the target's distribution over the logged candidates and the reward model's values.
    fn round(&self, row: &DecisionRow, reward: f64, pi: &[f64], q: &[f64]) -> Round {
        let chosen = row.chosen().unwrap_or_default();
        let floor = self.options.thresholds.support_floor;
        let never = |(_, p): &(&f64, &f32)| f64::from(**p) < floor;
        let seed = self.options.estimate.seed;
        let (square, cube) = weight_moments(pi, &row.propensities);
        Round {
            mass: row.weight(),
            importance: pi[chosen] / row.propensity,
            reward,
            q_logged: q[chosen],
            q_target: pi.iter().zip(q).map(|(p, q)| p * q).sum(),
            draw: rng::stream(seed, &format!("ope replay {}", row.decision_id)).random(),
            unsupported: pi.iter().zip(&row.propensities).filter(never).map(|(pi, _)| pi).sum(),
            square,
            cube,
            cluster: self.options.cluster.of(row),
        }
    }
}

/// Whether the artifact lists the row among those it was trained on.
fn trained_on(policy: &Policy, row: &DecisionRow) -> bool {
    policy.manifest.data.rows.as_ref().is_some_and(|rows| rows.has(row))
}

fn arm_of(policy: &Policy, model: &str) -> Option<usize> {
    policy.arms.iter().position(|arm| arm.model == model)
}

fn features(policy: &Policy, rows: &[(DecisionRow, f64)]) -> Result<FeatureMatrix, OpeError> {
    features_of(policy, &rows.iter().collect::<Vec<_>>())
}

/// Features of the policy for each row: those logged, where its own featurizer made them, else of the prompt.
fn features_of(policy: &Policy, rows: &[&(DecisionRow, f64)]) -> Result<FeatureMatrix, OpeError> {
    let digest = Some(policy.manifest.featurizer.digest.as_str());
    let featurizer = &policy.router()?.featurizer;
    let dim = featurizer.dim();
    let logged = |row: &DecisionRow| {
        row.featurizer_digest.as_deref() == digest && row.features.as_ref().is_some_and(|x| x.len() == dim)
    };
    if rows.iter().all(|(row, _)| logged(row)) {
        let values: Vec<f32> =
            rows.iter().flat_map(|(row, _)| row.features.iter().flatten().copied()).collect();
        return Ok(FeatureMatrix::from_vec(rows.len(), dim, values));
    }
    let reads_vector = policy.manifest.featurizer.spec.name == "column";
    if !reads_vector && let Some((row, _)) = rows.iter().find(|(row, _)| row.prompt.is_none()) {
        return Err(OpeError::NoInput { decision_id: row.decision_id.clone() });
    }
    let inputs: Vec<FeatureInput<'_>> = rows
        .iter()
        .map(|(row, _)| FeatureInput {
            text: row.prompt.as_deref().unwrap_or_default(),
            vector: row.features.as_deref(),
        })
        .collect();
    Ok(featurizer.featurize(&inputs)?)
}

/// The policy's probabilities over the logged candidates of each row; `None` where it has none of them.
fn distributions(
    policy: &Policy,
    rows: &[&(DecisionRow, f64)],
    features: &FeatureMatrix,
) -> Result<Vec<Option<Vec<f64>>>, OpeError> {
    let known: Vec<Vec<String>> = rows
        .iter()
        .map(|(row, _)| {
            row.candidates.iter().filter(|model| arm_of(policy, model).is_some()).cloned().collect()
        })
        .collect();
    let requests: Vec<Request<'_>> = rows
        .iter()
        .zip(&known)
        .map(|((row, _), known)| {
            Ok(Request {
                source: row.source.as_deref(),
                candidates: Some(known),
                objective: objective(row)?,
                seed: row.seed,
                ..Request::default()
            })
        })
        .collect::<Result<_, OpeError>>()?;
    let prediction = policy.predict_on(features, &requests)?;
    let mut out = Vec::with_capacity(rows.len());
    for ((decision, (row, _)), known) in
        policy.select(prediction, &requests).into_iter().zip(rows).zip(&known)
    {
        if known.is_empty() {
            out.push(None);
            continue;
        }
        let decision =
            decision.map_err(|source| OpeError::Decide { decision_id: row.decision_id.clone(), source })?;
        let mass = |model: &String| {
            arm_of(policy, model).map_or(0.0, |arm| f64::from(decision.candidates[arm].propensity))
        };
        out.push(Some(row.candidates.iter().map(mass).collect()));
    }
    Ok(out)
}

/// What the logged request valued. Its constraints are in the candidates already.
fn objective(row: &DecisionRow) -> Result<Option<Objective>, OpeError> {
    let Some(text) = &row.objective else { return Ok(None) };
    let refuse = |error: serde_json::Error| OpeError::Objective {
        decision_id: row.decision_id.clone(),
        objective: text.clone(),
        reason: error.to_string(),
    };
    serde_json::from_str(text).map(Some).map_err(refuse)
}

/// What to say when nothing is left.
pub(super) fn no_rounds(counts: &Counts) -> OpeError {
    let reasons = [
        (counts.without_feedback, "had no feedback of the kind asked for"),
        (counts.without_cost, "had no cost"),
        (counts.without_arm, "had no candidate that is an arm of the policy"),
        (counts.trained_on, "are rows the policy was trained on"),
    ];
    let reasons: Vec<String> =
        reasons.iter().filter(|(n, _)| *n > 0).map(|(n, reason)| format!("{n} {reason}")).collect();
    OpeError::NoRounds { decisions: counts.decisions, reasons: reasons.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_objective_is_read_or_refused_by_its_decision() {
        let row = |text: Option<&str>| DecisionRow {
            decision_id: "d".to_owned(),
            objective: text.map(str::to_owned),
            ..DecisionRow::default()
        };
        assert_eq!(objective(&row(None)).unwrap(), None);
        let read = objective(&row(Some("{\"cost\":2.5}"))).unwrap().unwrap();
        assert_eq!((read.quality, read.cost, read.latency), (1.0, 2.5, 0.0));
        let error = objective(&row(Some("{\"speed\":1}"))).unwrap_err().to_string();
        assert!(error.contains("decision `d`") && error.contains("`speed`"), "{error}");
    }
}
