//! From a decision log and policies to rounds, in two passes of bounded memory.
//!
//! The first pass teaches the reward model, the second asks the policies for their distributions over the
//! logged candidates. Between them only sums stay in memory, after them a few numbers a round.

use super::calibration::{Calibration, Counting};
use super::segments::Labels;
use super::{LostMass, OpeError, OpeOptions, RewardModel, RewardSums, Round};
use rand::RngExt as _;
use routewright_data::decisions::{DecisionReader, Outcomes, Rewarded};
use routewright_data::features::FeatureInput;
use routewright_data::log::DecisionRow;
use routewright_data::{FeatureMatrix, rng};
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
}

/// Everything the second pass leaves.
#[derive(Debug)]
pub(super) struct Rounds {
    pub(super) target: Vec<Round>,
    pub(super) baseline: Option<Vec<Round>>,
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
    pub(super) baseline: Option<&'a Policy>,
    pub(super) options: &'a OpeOptions,
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

/// What folds are dealt by: equal prompts never stand on both sides.
pub(super) fn fold_text(row: &DecisionRow) -> &str {
    row.prompt.as_deref().unwrap_or(&row.decision_id)
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
                let fold = sums.fold(fold_text(row));
                sums.add(arms.of(&row.model), fold, features.row(at), *reward, row.weight());
            }
        }
        sums.solve()
    }

    /// The rows that have a reward, with it.
    fn rewarded(&self, rows: Vec<DecisionRow>, mut counts: Option<&mut Counts>) -> Vec<(DecisionRow, f64)> {
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            let found = self.options.reward.apply(&row, self.outcomes);
            match (found, &mut counts) {
                (Rewarded::Reward(reward), _) => kept.push((row, reward)),
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
        let target = distributions(self.target, rows, &features)?;
        let baseline = match self.baseline {
            Some(policy) => Some(distributions(policy, rows, &self::features(policy, rows)?)?),
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
            let lacks = |policy: &Policy| row.candidates.iter().any(|model| arm_of(policy, model).is_none());
            let unknown = lacks(self.target) || self.baseline.is_some_and(lacks);
            rounds.counts.with_unknown_candidates += u64::from(unknown);
            let fold = model.fold(fold_text(row));
            let numbers: Vec<usize> = row.candidates.iter().map(|name| arms.of(name)).collect();
            let q: Vec<f64> = numbers.iter().map(|arm| model.predict(*arm, fold, features.row(at))).collect();
            let round = |pi: &[f64]| self.round(row, *reward, pi, &q);
            rounds.target.push(round(own));
            rounds.lost[0].add(row.weight(), own, &row.propensities);
            if let (Some(others), Some(other)) = (&mut rounds.baseline, other) {
                others.push(round(other));
                rounds.lost[1].add(row.weight(), other, &row.propensities);
            }
            rounds.labels.add(row);
        }
        Ok(())
    }

    /// A round from the target's distribution over the logged candidates and the reward model's values.
    fn round(&self, row: &DecisionRow, reward: f64, pi: &[f64], q: &[f64]) -> Round {
        let chosen = row.chosen().unwrap_or_default();
        let floor = self.options.thresholds.support_floor;
        let never = |(_, p): &(&f64, &f32)| f64::from(**p) < floor;
        let seed = self.options.estimate.seed;
        Round {
            mass: row.weight(),
            importance: pi[chosen] / row.propensity,
            reward,
            q_logged: q[chosen],
            q_target: pi.iter().zip(q).map(|(p, q)| p * q).sum(),
            draw: rng::stream(seed, &format!("ope replay {}", row.decision_id)).random(),
            unsupported: pi.iter().zip(&row.propensities).filter(never).map(|(pi, _)| pi).sum(),
        }
    }
}

fn arm_of(policy: &Policy, model: &str) -> Option<usize> {
    policy.arms.iter().position(|arm| arm.model == model)
}

/// Features of the policy for each row: those logged, where its own featurizer made them, else of the prompt.
fn features(policy: &Policy, rows: &[(DecisionRow, f64)]) -> Result<FeatureMatrix, OpeError> {
    let digest = Some(policy.manifest.featurizer.digest.as_str());
    let dim = policy.featurizer.dim();
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
    Ok(policy.featurizer.featurize(&inputs)?)
}

/// The policy's probabilities over the logged candidates of each row; `None` where it has none of them.
fn distributions(
    policy: &Policy,
    rows: &[(DecisionRow, f64)],
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
