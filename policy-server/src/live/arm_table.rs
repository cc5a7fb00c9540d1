//! The arms of a learning policy: those of its artifact, and what was said of them since.
//!
//! The artifact never changes. What an operator says of its arms while it serves is an event of the log, and the
//! roster is a part of the fold: after a crash it is what the log says. An arm is never taken out, only no longer
//! chosen, so that what was learned of it stays and its place in every tensor too.

use crate::ledger::{ArmChange, ChangeRecord};
use routewright_data::names;
use routewright_data::suggest::near_names;
use routewright_policy::artifact::arms::{self, COST_USD_MAX, LATENCY_MS_MAX};
use routewright_policy::online::{LearnError, Learner, NewArm};
use routewright_policy::{Arm, Price};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Ids of changes that are remembered, so that those who asked hear of it.
const RECENT: usize = 32;
/// Reports that a declared quality counts as where nothing else is said.
const QUALITY_WEIGHT: f64 = 10.0;
/// Heaviest declaration that is believed.
const WEIGHT_MAX: f64 = 1e6;

/// Arms in the order of every prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ArmTable {
    pub(crate) arms: Vec<Arm>,
    /// Changes applied.
    pub(crate) n_changes: u64,
    recent: VecDeque<String>,
    /// Digest of the file that was applied last.
    pub(crate) file: Option<String>,
}

impl ArmTable {
    /// The arms of an artifact.
    pub(crate) fn new(arms: &[Arm]) -> Self {
        Self { arms: arms.to_vec(), n_changes: 0, recent: VecDeque::new(), file: None }
    }

    /// Position of a model.
    pub(crate) fn find(&self, model: &str) -> Option<usize> {
        self.arms.iter().position(|arm| arm.model == model)
    }

    /// Whether a change is in force.
    pub(crate) fn has_seen(&self, change_id: &str) -> bool {
        self.recent.iter().any(|seen| seen == change_id)
    }

    /// Applies a change: new arms to the learner, new prices to both. Returns how many arms could not be taken in.
    ///
    /// `reward` puts a value of the metric on the scale of the rewards.
    pub(crate) fn apply(
        &mut self,
        change: &ChangeRecord,
        learner: &mut dyn Learner,
        reward: &dyn Fn(f64) -> f64,
    ) -> u64 {
        let new: Vec<&String> = change.arms.keys().filter(|model| self.find(model).is_none()).collect();
        let newcomers: Vec<NewArm> = new.iter().map(|model| newcomer(&change.arms[*model], reward)).collect();
        let before = learner.n_arms();
        // Those that were taken in count; the failure is counted below, by arm.
        let _counted = learner.add_arms(&newcomers);
        let added = learner.n_arms() - before;
        self.arms.extend(new[..added].iter().map(|model| Arm { model: (*model).clone(), ..Arm::default() }));
        let mut failures = (new.len() - added) as u64;
        for (model, said) in &change.arms {
            if let Some(at) = self.find(model) {
                failures += u64::from(self.say(at, said, learner).is_err());
            }
        }
        self.n_changes += 1;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(change.change_id.clone());
        if let Some(digest) = change.who.strip_prefix(FILE) {
            self.file = Some(digest.to_owned());
        }
        failures
    }

    /// Takes in what is said of an arm.
    fn say(&mut self, at: usize, said: &ArmChange, learner: &mut dyn Learner) -> Result<(), LearnError> {
        let arm = &mut self.arms[at];
        if let Some(usd) = said.cost_usd {
            learner.reprice(at, usd)?;
            // List prices of another time would contradict the mean.
            arm.price = Price { mean_cost_usd: Some(usd), ..Price::default() };
        }
        arm.mean_latency_ms = said.latency_ms.or(arm.mean_latency_ms);
        if let Some(tags) = &said.tags {
            arm.tags.clone_from(tags);
        }
        arm.retired = said.removed.unwrap_or(arm.retired);
        Ok(())
    }

    /// Refuses what the fold could not apply. `strict` also refuses a quality of an arm that is known already;
    /// `range` is that of the metric.
    ///
    /// # Errors
    /// If a value is not accepted, in words that name the model.
    pub(crate) fn check(
        &self,
        arms: &BTreeMap<String, ArmChange>,
        mut learner: Box<dyn Learner>,
        range: [f64; 2],
        strict: bool,
    ) -> Result<(), String> {
        if arms.is_empty() {
            return Err("no arm is named, expected at least one model".to_owned());
        }
        let mut new = Vec::new();
        for (model, said) in arms {
            numbers(model, said, range)?;
            let known = self.find(model);
            if known.is_none() && said.removed == Some(true) {
                let hint = near_names(model, self.arms.iter().map(|arm| arm.model.as_str()));
                return Err(format!("`{model}` cannot be removed, it is no arm; {hint}"));
            }
            if strict && known.is_some() && said.quality.is_some() {
                return Err(format!(
                    "`quality` of `{model}` is declared, but it is an arm already and what was learned of it is kept"
                ));
            }
            if known.is_none() {
                // The scale does not matter here, only whether the form takes the arm.
                new.push((model, newcomer(said, &|value| value)));
            }
        }
        let (before, newcomers) = (learner.n_arms(), new.iter().map(|(_, arm)| *arm).collect::<Vec<_>>());
        if let Err(error) = learner.add_arms(&newcomers) {
            let declares = |(_, arm): &&(&String, NewArm)| arm.quality.is_some();
            let refused = match error {
                LearnError::Quality { .. } => new.iter().find(declares),
                _ => new.get(learner.n_arms() - before),
            };
            return Err(format!("`{}`: {error}", refused.map_or("", |(model, _)| model)));
        }
        let stays = |arm: &&Arm| !arms.get(&arm.model).and_then(|said| said.removed).unwrap_or(arm.retired);
        let comes =
            |(model, said): (&String, &ArmChange)| self.find(model).is_none() && said.removed != Some(true);
        if !self.arms.iter().any(|arm| stays(&arm)) && !arms.iter().any(comes) {
            return Err("no arm would be left to choose, expected at least one".to_owned());
        }
        Ok(())
    }
}

/// What a change says that comes from a file; its digest follows.
pub(crate) const FILE: &str = "file ";

fn newcomer(said: &ArmChange, reward: &dyn Fn(f64) -> f64) -> NewArm {
    let weight = said.weight.unwrap_or(QUALITY_WEIGHT);
    NewArm { quality: said.quality.map(|quality| (reward(quality), weight)), cost_usd: said.cost_usd }
}

fn numbers(model: &str, said: &ArmChange, [lo, hi]: [f64; 2]) -> Result<(), String> {
    names::check(model).map_err(|why| format!("the name `{}` {why}", model.escape_debug()))?;
    arms::tags(said.tags.as_deref().unwrap_or_default()).map_err(|why| format!("`{model}`: {why}"))?;
    for (key, value, [least, most]) in [
        ("cost_usd", said.cost_usd, [0.0, COST_USD_MAX]),
        ("latency_ms", said.latency_ms, [0.0, LATENCY_MS_MAX]),
        ("quality", said.quality, [lo, hi]),
        ("weight", said.weight, [1e-3, WEIGHT_MAX]),
    ] {
        // NaN fails this test too.
        if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
            return Err(format!("`{key}` of `{model}` is `{value}`, expected a number in [{least}, {most}]"));
        }
    }
    Ok(())
}
