//! Decisions without HTTP: the same steps in the same order for one query, a batch and weights.

use super::*;
use crate::ledger::TrialRecord;
use crate::ledger::{EventBody, SqliteStore, Store};
use crate::live::metrics::Metrics;
use crate::live::shadow::Shadow;
use crate::live::slot::{Canary, Challengers};
use crate::log::{Log, Sink};
use crate::settings::{Execution, PolicyEntry, StoreConfig};
use crate::testing::{policy, query};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(Debug)]
struct Silent;

impl Sink for Silent {
    fn line(&self, _: &str) {}
}

fn served(name: &str, metrics: &Metrics) -> Arc<Served> {
    let entry = PolicyEntry { execution: Execution::Inline, ..PolicyEntry::at("unused") };
    Arc::new(Served::new(&entry, None, policy(name), metrics).unwrap())
}

/// A service of the policies `p` and `q`, `p` by default, that logs to a file in `dir`.
fn service(dir: &Path, metrics: &Metrics, limits: Limits) -> Service {
    let policies = ["p", "q"].map(|name| served(name, metrics));
    let live = Live::of(policies.to_vec(), BTreeMap::new(), Some(&"p".to_owned())).unwrap();
    let store = StoreConfig { keep_prompt: true, ..StoreConfig::at(dir.join("log.db")) };
    Service {
        live: Arc::new(InService::new(live)),
        batcher: Batcher::start(&limits).unwrap(),
        rollouts: Arc::new(Rollouts::start().unwrap()),
        ledger: Some(Arc::new(Ledger::open(&store, Log(Arc::new(Silent))).unwrap())),
        limits,
    }
}

fn ask(policy: Option<&str>, text: &str) -> Ask {
    let id = DecisionId { id: format!("dec_{text}"), seed: 1 };
    Ask { policy: policy.map(str::to_owned), query: Ok(Query::clone(&query(text))), id }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

fn decide(service: &Service, ask: Ask) -> Result<Decided, Failure> {
    run(service.decide(ask, &Caller::default(), Instant::now()))
}

/// Ids in the log of decisions, in order.
fn logged(dir: &Path) -> Vec<String> {
    let mut store = SqliteStore::open(&dir.join("log.db")).unwrap();
    let decision = |event: crate::ledger::Event| match event.body {
        EventBody::Decision(record) => Some(record.decision_id),
        _ => None,
    };
    store.read(0, 100).unwrap().into_iter().filter_map(decision).collect()
}

/// Decisions counted for a policy, by the text of the metrics.
fn counted(metrics: &Metrics, policy: &str) -> u64 {
    let line = format!("routewright_decisions_total{{policy=\"{policy}\",");
    let text = metrics.render();
    let counts = text.lines().filter(|found| found.starts_with(&line));
    counts.map(|found| found.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_decision_is_made_logged_as_replied_and_counted() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::default());
    let service = service(dir.path(), &metrics, Limits::default());
    let decided = decide(&service, ask(None, "one")).unwrap();
    assert_eq!(
        (decided.model(), decided.served().name.as_str(), decided.id.as_str()),
        ("large", "p", "dec_one")
    );
    let mut store = SqliteStore::open(&dir.path().join("log.db")).unwrap();
    let found = store.find("dec_one").unwrap().unwrap().decision;
    assert_eq!((found.model.as_str(), found.prompt.as_deref()), ("large", Some("one")));
    assert!((found.propensity - decided.computed.decision.propensity).abs() < f32::EPSILON);
    assert_eq!((counted(&metrics, "p"), counted(&metrics, "q")), (1, 0));
}

#[test]
fn a_batch_is_one_group_of_the_log_and_a_bad_entry_fails_alone() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::default());
    let service = service(dir.path(), &metrics, Limits::default());
    let bad = Ask { query: Err(ApiError::new(Code::InvalidRequest, "unreadable")), ..ask(Some("q"), "bad") };
    let asks = vec![ask(Some("p"), "a"), bad, ask(Some("none"), "b"), ask(Some("q"), "c")];
    let outcomes = run(service.decide_batch(asks, &Caller::default(), Instant::now(), |_| Ok(()))).unwrap();
    let booked = |at: usize| {
        let failure = outcomes[at].as_ref().unwrap_err();
        (failure.error.code, failure.policy.as_ref().map(|policy| policy.name().to_owned()))
    };
    assert!(outcomes[0].is_ok() && outcomes[3].is_ok());
    assert_eq!(booked(1), (Code::InvalidRequest, Some("q".to_owned())));
    assert_eq!(booked(2), (Code::ModelNotFound, None));
    assert_eq!(logged(dir.path()), ["dec_a", "dec_c"]);
}

#[test]
fn what_is_refused_before_the_log_is_neither_logged_nor_counted() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::default());
    let service = service(dir.path(), &metrics, Limits::default());
    let refuse = |_: &[Result<Decided, Failure>]| Err(ApiError::new(Code::Overloaded, "late"));
    let asks = vec![ask(None, "a"), ask(None, "b")];
    let failure = run(service.decide_batch(asks, &Caller::default(), Instant::now(), refuse)).unwrap_err();
    assert_eq!(failure.policy.unwrap().name(), "p");
    assert_eq!((logged(dir.path()).len(), counted(&metrics, "p")), (0, 0));
}

#[test]
fn weights_go_the_same_way_but_enter_no_log_and_have_no_default() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::default());
    // Without workers nothing on the queue is ever decided.
    let limits = Limits { inline_text_bytes_max: 4, decision_deadline_ms: 20, ..Limits::default() };
    let mut service = service(dir.path(), &metrics, limits);
    let weights = |text: &str| {
        let mut ask = ask(None, text);
        ask.query.as_mut().unwrap().dry_run = true;
        ask
    };
    let weigh = |service: &Service, ask| run(service.weigh(ask, &Caller::default(), Instant::now()));
    let decided = weigh(&service, weights("fast")).unwrap();
    let total: f32 = decided.computed.decision.candidates.iter().map(|arm| arm.propensity).sum();
    assert!((total - 1.0).abs() < 1e-6);
    assert_eq!((logged(dir.path()).len(), counted(&metrics, "p")), (0, 0));
    service.batcher = Batcher::without_workers(&limits);
    let failure = weigh(&service, weights("too long to be decided at once")).unwrap_err();
    assert_eq!(failure.error.code, Code::Overloaded);
    let late = decide(&service, ask(None, "too long to be decided at once")).unwrap();
    assert!(late.is_late() && late.model() == "small", "a decision has a default");
}

#[test]
fn a_canary_decides_its_share_and_shadows_see_what_was_served() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::default());
    let service = service(dir.path(), &metrics, Limits::default());
    let (decisions, counts) = (Arc::new(AtomicU64::new(0)), Arc::default());
    let record = TrialRecord { canary: "c".to_owned(), active: "a".to_owned(), since_ms: 1, share: 1.0 };
    let canary =
        Canary { served: served("p", &metrics), trial: record.clone(), decisions: Arc::clone(&decisions) };
    let shadow = Shadow { served: served("p", &metrics), counts: Arc::clone(&counts) };
    let beside = Challengers { canary: Some(canary), shadows: vec![shadow], ..Challengers::default() };
    service
        .live
        .swap(|live| live.challengers.insert("p".to_owned(), Arc::new(beside)).is_none().then_some(()))
        .unwrap();
    let decided = decide(&service, ask(None, "one")).unwrap();
    assert_eq!((decided.assignment.state, decided.assignment.trial.clone()), (Some("canary"), Some(record)));
    assert_eq!(decisions.load(Relaxed), 1);
    let began = Instant::now();
    while counts.agreed.load(Relaxed) == 0 && began.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    assert_eq!((counts.agreed.load(Relaxed), counts.differed.load(Relaxed)), (1, 0));
}
