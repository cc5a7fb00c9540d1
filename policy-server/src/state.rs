//! What a running server holds. `Live` is swapped whole: a request sees one version of every policy.

use crate::ServeError;
use crate::arms;
use crate::batcher::Batcher;
use crate::body::Room;
use crate::callers::Rates;
use crate::clock::now_seconds;
use crate::config::{Execution, NAME_RULE, PolicyEntry, ServerConfig, is_name};
use crate::error::{ApiError, Code};
use crate::fusion::Fusions;
use crate::keys::Keys;
use crate::learning::{self, LearningConfig, Roster};
use crate::log::{Log, Sink};
use crate::metrics::{Metrics, ModelCounter, PolicyMetrics};
use crate::private;
use crate::query::Query;
use crate::registry::desk::Desk;
use crate::registry::slot::{self, Challengers};
use crate::reload::Memory;
use crate::stages;
use crate::store::ledger::Ledger;
use arc_swap::ArcSwap;
use routewright_data::suggest::near_names;
use routewright_policy::{Arm, Policy, artifact};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A decision that takes less is made in the task of its request: handing it over would cost as much.
const INLINE_MAX: Duration = Duration::from_micros(250);
/// Hex digits of the digest that make a version.
const VERSION_DIGITS: usize = 12;

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
    /// Its arms as the log says they are; `None` before it was first published by the learner.
    pub(crate) roster: Option<Arc<Roster>>,
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
            roster: None,
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

    /// The same in service, after `lessons` rewards and the changes of arms in `roster`.
    pub(crate) fn learned(
        &self,
        policy: Policy,
        lessons: u64,
        roster: Arc<Roster>,
        prices: BTreeMap<String, f64>,
    ) -> Self {
        let digits: String = policy.digest.chars().take(VERSION_DIGITS).collect();
        let changes = if roster.n_changes > 0 { format!(".{}", roster.n_changes) } else { String::new() };
        let version = format!("{digits}+{lessons}{changes}");
        Self { version, roster: Some(roster), prices, ..self.with_arms_of(policy) }
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
            roster: None,
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

    /// Marks this version as the one in service.
    pub(crate) fn announce(&self) {
        self.metrics.serving(&self.version, &self.policy.digest);
    }
}

/// Checks that a policy can learn as its section says, and gives it the selector it explores with.
fn learnable(name: &str, config: &LearningConfig, policy: &mut Policy) -> Result<(), ServeError> {
    let refuse = |reason: String| ServeError::Learning { policy: name.to_owned(), reason };
    if policy.predictor.learner().is_none() {
        let form = policy.predictor.form();
        return Err(refuse(format!("its form `{form}` learns nothing; train it with a method that does")));
    }
    policy.selector =
        learning::selector(policy, config, config.lambda, 0.0).map_err(|error| refuse(error.to_string()))?;
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
    let mut vector = vec![0.0; policy.featurizer.dim()];
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

/// Every policy in service.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) policies: BTreeMap<String, Arc<Served>>,
    /// Who stands beside the policy of a name, where a registry says so.
    pub(crate) challengers: BTreeMap<String, Arc<Challengers>>,
    /// Policy of requests that name none.
    pub(crate) default: Option<String>,
}

impl Live {
    /// The policy of a request: by name, by `name@version`, or the default one.
    ///
    /// # Errors
    /// If there is none of that name or version, or none was named and there is no default.
    pub(crate) fn find(&self, wanted: Option<&str>) -> Result<&Arc<Served>, ApiError> {
        let known = || self.policies.keys().map(String::as_str);
        let Some(wanted) = wanted.or(self.default.as_deref()) else {
            let names = near_names("", known());
            let message = format!("`policy` is missing and the server has no default policy; {names}");
            return Err(ApiError::new(Code::InvalidRequest, message).param("policy"));
        };
        let (name, version) = wanted.split_once('@').map_or((wanted, None), |(n, v)| (n, Some(v)));
        let not_found = |message| ApiError::new(Code::ModelNotFound, message).param("policy");
        let Some(served) = self.policies.get(name) else {
            return Err(not_found(format!("unknown policy `{name}`; {}", near_names(name, known()))));
        };
        // What was learned since is not part of the pin: it cannot be called back.
        let pinned = version.map(|v| v.split_once('+').map_or(v, |(digest, _)| digest));
        match pinned.filter(|v| v.len() < VERSION_DIGITS || !served.policy.digest.starts_with(v)) {
            Some(other) => {
                let current = &served.version;
                Err(not_found(format!("policy `{name}` has version `{current}`, not `{other}`")))
            }
            None => Ok(served),
        }
    }
}

/// The server, shared by every request.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: ServerConfig,
    /// The one place the live policies are held; only [`crate::reload`] stores into it.
    pub(crate) live: ArcSwap<Live>,
    pub(crate) keys: ArcSwap<Keys>,
    pub(crate) metrics: Metrics,
    pub(crate) batcher: Batcher,
    /// How often each caller may call.
    pub(crate) rates: Rates,
    /// Memory of the bodies being received.
    pub(crate) bodies: Room,
    /// Work that is too long for the threads that serve connections, so much at a time.
    pub(crate) aside: Arc<Semaphore>,
    /// Fused models in service.
    pub(crate) fusions: Fusions,
    /// What its registries need.
    pub(crate) desk: Desk,
    /// The log of decisions and feedback, where one is configured.
    pub(crate) ledger: Option<Ledger>,
    pub(crate) log: Log,
    /// The server is about to stop, and `/ready` says so; requests are still answered.
    pub(crate) draining: AtomicBool,
    pub(crate) stopping: AtomicBool,
    /// What the last look at each artifact saw; held for the length of a reload, so there is one at a time.
    pub(crate) memory: tokio::sync::Mutex<Memory>,
}

impl App {
    /// Loads every policy; `extra` are policies handed over in memory.
    pub(crate) fn new(
        config: ServerConfig,
        extra: Vec<(PolicyEntry, Policy)>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, ServeError> {
        let metrics = Metrics::default();
        let desk = Desk::start().map_err(ServeError::Threads)?;
        let mut challengers = BTreeMap::new();
        let enter = |entry| slot::enter(entry, &metrics, &desk, &mut challengers);
        let loaded = config.policies.iter().map(enter);
        let handed = extra.into_iter();
        let handed = handed.map(|(entry, policy)| Served::new(&entry, None, policy, &metrics).map(Arc::new));
        let mut policies = BTreeMap::new();
        for served in loaded.chain(handed).collect::<Result<Vec<_>, _>>()? {
            served.announce();
            if let Some(double) = policies.insert(served.name.clone(), served) {
                return Err(ServeError::DoubleName { name: double.name.clone() });
            }
        }
        let default = match (&config.default_policy, policies.len()) {
            (Some(name), _) if !policies.contains_key(name) => {
                let hint = near_names(name, policies.keys().map(String::as_str));
                return Err(ServeError::DefaultPolicy { name: name.clone(), hint });
            }
            (Some(name), _) => Some(name.clone()),
            (None, 1) => policies.keys().next().cloned(),
            (None, _) => None,
        };
        let keys = Keys::load(config.keys_file.as_deref(), &config.api_keys)?;
        let batcher = Batcher::start(&config.limits).map_err(ServeError::Threads)?;
        let fusions = Fusions::open(&config)?;
        let limits = &config.limits;
        let rates = Rates::new(limits.rate_per_second, limits.rate_burst);
        let (bodies, aside) = (Room::new(limits), Arc::new(Semaphore::new(limits.worker_count())));
        let log = Log(sink);
        private::keep(&config, &log);
        let ledger = config.store.as_ref().map(|store| Ledger::open(store, log.clone())).transpose()?;
        Ok(Self {
            live: ArcSwap::from_pointee(Live { policies, challengers, default }),
            keys: ArcSwap::from_pointee(keys),
            metrics,
            batcher,
            rates,
            bodies,
            aside,
            fusions,
            desk,
            log,
            ledger,
            draining: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            memory: tokio::sync::Mutex::default(),
            config,
        })
    }
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

    #[test]
    fn a_policy_is_found_by_name_by_version_and_by_default() {
        let served = Arc::new(Served::new(&entry(None), None, policy("p"), &Metrics::default()).unwrap());
        let pinned = format!("p@{}", served.version);
        let mut live = Live {
            policies: BTreeMap::from([("p".to_owned(), served)]),
            challengers: BTreeMap::new(),
            default: None,
        };
        assert!(live.find(Some("p")).is_ok() && live.find(Some(&pinned)).is_ok());
        assert_eq!(live.find(Some("p@000000000000")).unwrap_err().code, Code::ModelNotFound);
        assert_eq!(live.find(Some("p@")).unwrap_err().code, Code::ModelNotFound);
        assert_eq!(live.find(None).unwrap_err().code, Code::InvalidRequest);
        live.default = Some("p".to_owned());
        assert!(live.find(None).is_ok());
    }
}
