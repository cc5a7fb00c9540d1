//! One version of one policy, in service.

use crate::clock::now_seconds;
use crate::live::arm_table::ArmTable;
use crate::live::exploration::{assembled, selector};
use crate::live::metrics::{Metrics, ModelCounter, PolicyMetrics};
use crate::live::query::Query;
use crate::live::stages;
use crate::serve_error::ServeError;
use crate::settings::{Execution, LearningConfig, NAME_RULE, PolicyEntry, arms, is_name};
use routewright_data::suggest::near_names;
use routewright_policy::{Arm, Policy, artifact};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A decision that takes less is made in the task of its request: handing it over would cost as much.
const INLINE_MAX: Duration = Duration::from_micros(250);
/// Hex digits of the digest that make a version.
pub(super) const VERSION_DIGITS: usize = 12;

/// One version of one policy, in service.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) name: String,
    /// Where it was loaded from; `None` for a policy handed over in memory.
    pub(crate) path: Option<PathBuf>,
    pub(crate) policy: Arc<Policy>,
    /// What the artifact holds; another than `policy` once that has learned.
    pub(crate) base: Arc<Policy>,
    /// How it learns, where it does.
    pub(crate) learning: Option<LearningConfig>,
    /// Its arms after the changes in the log; `None` before the learning loop first published it.
    pub(crate) arm_table: Option<Arc<ArmTable>>,
    /// Score that the requests of a key give up to save one US dollar, beside what all do.
    pub(crate) prices: BTreeMap<String, f64>,
    /// The first digits of the digest, `+n` after `n` rewards were learned from, `.m` after `m` changes of arms.
    pub(crate) version: String,
    /// Seconds since 1970.
    pub(crate) loaded_at: u64,
    /// Whether decisions are made in the task of the request.
    pub(crate) inline: bool,
    pub(crate) default_arm: usize,
    /// The default arm that the configuration names.
    wanted: Option<String>,
    pub(crate) metrics: Arc<PolicyMetrics>,
    /// Decision counters, one an arm.
    pub(crate) decided: Vec<Arc<ModelCounter>>,
}

impl Served {
    /// Loads the artifact of an entry and puts it to the test of one decision.
    pub(crate) fn load(entry: &PolicyEntry, metrics: &Metrics) -> Result<Self, ServeError> {
        let policy = artifact::load(&entry.path).map_err(|source| ServeError::Policy {
            path: entry.path.display().to_string(),
            source: Box::new(source),
        })?;
        Self::new(entry, Some(entry.path.clone()), policy, metrics)
    }

    pub(crate) fn new(
        entry: &PolicyEntry,
        path: Option<PathBuf>,
        policy: Policy,
        metrics: &Metrics,
    ) -> Result<Self, ServeError> {
        let name = entry.name.clone().unwrap_or_else(|| policy.manifest.name.clone());
        if !is_name(&name) {
            return Err(ServeError::PolicyName { name, expected: NAME_RULE });
        }
        let mut policy = policy;
        arms::apply(&mut policy.arms, &entry.arms)
            .map_err(|reason| ServeError::Arms { policy: name.clone(), reason })?;
        if let Some(config) = &entry.learning {
            learnable(&name, config, &mut policy)?;
        }
        let default_arm = default_arm(&name, entry, &policy)?;
        let inline = match entry.execution {
            Execution::Inline => true,
            Execution::Worker => false,
            Execution::Auto => is_cheap(&policy),
        };
        let metrics = metrics.policy(&name);
        let decided = metrics.counters(policy.arms.iter().map(|arm| arm.model.as_str()));
        let version = policy.digest.chars().take(VERSION_DIGITS).collect();
        let (policy, loaded_at) = (Arc::new(policy), now_seconds());
        Ok(Self {
            name,
            path,
            base: Arc::clone(&policy),
            policy,
            learning: entry.learning.clone(),
            arm_table: None,
            prices: BTreeMap::new(),
            version,
            loaded_at,
            inline,
            default_arm,
            wanted: entry.default_arm.clone(),
            metrics,
            decided,
        })
    }

    /// The same in service, after `n_updates` rewards and the changes of arms in `arms`.
    pub(crate) fn learned(
        &self,
        policy: Policy,
        n_updates: u64,
        arms: Arc<ArmTable>,
        prices: BTreeMap<String, f64>,
    ) -> Self {
        let digits: String = policy.digest.chars().take(VERSION_DIGITS).collect();
        let changes = if arms.n_changes > 0 { format!(".{}", arms.n_changes) } else { String::new() };
        let version = format!("{digits}+{n_updates}{changes}");
        Self { version, arm_table: Some(arms), prices, ..self.with_arms_of(policy) }
    }

    /// The same with the arms and beliefs of `policy`.
    pub(crate) fn with_arms_of(&self, policy: Policy) -> Self {
        let stands = |arm: &Arm| self.wanted.as_ref() == Some(&arm.model) && !arm.retired;
        let default_arm = policy.arms.iter().position(stands).unwrap_or_else(|| cheapest(&policy));
        let decided = self.metrics.counters(policy.arms.iter().map(|arm| arm.model.as_str()));
        Self {
            name: self.name.clone(),
            path: self.path.clone(),
            policy: Arc::new(policy),
            base: Arc::clone(&self.base),
            learning: self.learning.clone(),
            arm_table: None,
            prices: self.prices.clone(),
            version: self.version.clone(),
            loaded_at: self.loaded_at,
            inline: self.inline,
            default_arm,
            wanted: self.wanted.clone(),
            metrics: Arc::clone(&self.metrics),
            decided,
        }
    }

    /// This new version of a policy, without the arms that `old` no longer chose: other changes of its arms are in
    /// force once the learning loop has read them, but a removed arm may be gone.
    pub(crate) fn without_arms_removed_from(self, old: &Self) -> Self {
        let (Some(config), Some(table)) = (&self.learning, &old.arm_table) else { return self };
        let gone = |arm: &Arm| table.find(&arm.model).is_some_and(|at| table.arms[at].retired);
        let retire = |arm: &Arm| Arm { retired: arm.retired || gone(arm), ..arm.clone() };
        let arms: Vec<Arm> = self.base.arms.iter().map(retire).collect();
        // Where no arm would be left, the new one is served as it is.
        if arms == self.base.arms || arms.iter().all(|arm| arm.retired) {
            return self;
        }
        let router = self.base.router().ok();
        let Some(learner) = router.and_then(|router| router.predictor.learner()) else { return self };
        match assembled(&self.base, config, [config.lambda, 0.0], arms, learner.snapshot()) {
            Some(policy) => self.with_arms_of(policy),
            None => self,
        }
    }

    /// Marks this version as the one in service.
    pub(crate) fn announce(&self) {
        self.metrics.serving(&self.version, &self.policy.digest);
    }
}

/// Checks that a policy can learn as its section says, and gives it the selector it explores with.
fn learnable(name: &str, config: &LearningConfig, policy: &mut Policy) -> Result<(), ServeError> {
    let refuse = |reason: String| ServeError::Learning { policy: name.to_owned(), reason };
    let router = policy.router().map_err(|error| refuse(error.to_string()))?;
    if router.predictor.learner().is_none() {
        let form = router.predictor.form();
        return Err(refuse(format!("its form `{form}` learns nothing; train it with a method that does")));
    }
    let selector = selector(policy, config, config.lambda, 0.0).map_err(|error| refuse(error.to_string()))?;
    policy.router_mut().map_err(|error| refuse(error.to_string()))?.selector = selector;
    Ok(())
}

fn default_arm(name: &str, entry: &PolicyEntry, policy: &Policy) -> Result<usize, ServeError> {
    let Some(wanted) = &entry.default_arm else {
        return Ok(cheapest(policy));
    };
    policy.arms.iter().position(|arm| arm.model == *wanted).ok_or_else(|| ServeError::DefaultArm {
        policy: name.to_owned(),
        arm: wanted.clone(),
        hint: near_names(wanted, policy.arms.iter().map(|arm| arm.model.as_str())),
    })
}

/// The cheapest arm by mean price, of those that may be chosen.
fn cheapest(policy: &Policy) -> usize {
    let price = |arm: usize| policy.arms[arm].price.mean_cost_usd.unwrap_or(f64::INFINITY);
    let standing = (0..policy.arms.len()).filter(|&arm| !policy.arms[arm].retired);
    standing.min_by(|&a, &b| price(a).total_cmp(&price(b))).unwrap_or(0)
}

/// Times a decision on an ordinary query: the best of three, the first of which warms the caches.
fn is_cheap(policy: &Policy) -> bool {
    let Ok(router) = policy.router() else { return false };
    let mut vector = vec![0.0; router.featurizer.dim()];
    if let Some(first) = vector.first_mut() {
        *first = 1.0;
    }
    let probe = Arc::new(Query {
        text: "How many days does it take to cross the ocean by ship when the wind is fair? ".repeat(3),
        vector: Some(vector),
        dry_run: true,
        ..Query::default()
    });
    let time = |_| {
        let start = Instant::now();
        let decided = stages::decide(policy, std::slice::from_ref(&probe)).iter().all(Result::is_ok);
        // A policy that fails its probe may do anything: it goes to the workers.
        if decided { start.elapsed() } else { Duration::MAX }
    };
    (0..3).map(time).min().is_some_and(|best| best <= INLINE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::policy;

    fn entry(default_arm: Option<&str>) -> PolicyEntry {
        PolicyEntry { default_arm: default_arm.map(str::to_owned), ..PolicyEntry::at("unused") }
    }

    #[test]
    fn the_default_arm_is_the_named_one_or_the_cheapest() {
        let load = |arm| Served::new(&entry(arm), None, policy("p"), &Metrics::default());
        assert_eq!(load(None).unwrap().default_arm, 0);
        assert_eq!(load(Some("other")).unwrap().default_arm, 2);
        let error = load(Some("smal")).unwrap_err().to_string();
        assert!(error.contains("did you mean `small`"), "{error}");
    }
}
