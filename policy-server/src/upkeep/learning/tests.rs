//! The fold of a learning policy: restarts, repeats and order change nothing.

use super::policy_learner::PolicyLearner;
use crate::ledger::{
    ArmChange, ChangeRecord, Consumer, DecisionRecord, Entry, Event, FeedbackRecord, Measure, SqliteStore,
};
use crate::ledger::{Fold, Store};
use crate::settings::LearningConfig;
use crate::settings::MetricConfig;
use routewright_data::features::Column;
use routewright_policy::artifact::{DataRecord, RouterDraft};
use routewright_policy::forms::{BayesianRidge, CostModel, DuelShape, Duels, RidgeShape};
use routewright_policy::online::Forgetting;
use routewright_policy::{Arm, Batch, Price};
use routewright_policy::{Policy, SelectorSpec};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const PRICES: [f32; 2] = [0.001, 0.01];

/// A linear bandit over two features and two arms that has learned nothing.
fn policy() -> Policy {
    let cost = CostModel::constant(PRICES.to_vec());
    policy_of(Box::new(BayesianRidge::new(ridge(), Vec::new(), cost).unwrap()))
}

/// The same over comparisons.
fn duels() -> Policy {
    let shape = DuelShape { dim: 2, intercept: true, precision: 1.0, noise: 0.5, feel_good: 0.0 };
    policy_of(Box::new(Duels::new(shape, CostModel::constant(PRICES.to_vec())).unwrap()))
}

fn ridge() -> RidgeShape {
    RidgeShape {
        dim: 2,
        intercept: true,
        precision: 1.0,
        noise: 0.5,
        forgetting: Forgetting::default(),
        shared: None,
    }
}

fn policy_of(predictor: Box<dyn routewright_policy::Predictor>) -> Policy {
    let arm = |(model, usd): (&str, f32)| Arm {
        model: model.to_owned(),
        price: Price { mean_cost_usd: Some(f64::from(usd)), ..Price::default() },
        ..Arm::default()
    };
    let draft = RouterDraft {
        name: "bandit".to_owned(),
        method: "linucb".to_owned(),
        seed: 0,
        arms: ["small", "large"].into_iter().zip(PRICES).map(arm).collect(),
        featurizer: Arc::new(Column::new("vector", 2)),
        predictor,
        selector: SelectorSpec::named("argmax"),
        query_text: routewright_data::QueryText::default(),
        params: json!({}),
        data: DataRecord::default(),
        metrics: BTreeMap::new(),
    };
    draft.into_policy().unwrap()
}

fn lessons(policy: &Policy) -> PolicyLearner {
    let config = LearningConfig { target_usd: Some(0.004), lambda: 10.0, ..LearningConfig::default() };
    PolicyLearner::new("bandit", policy, &config, &MetricConfig::default()).unwrap()
}

fn decision(policy: &Policy, at: usize) -> Entry {
    let model = ["small", "large"][at % 2];
    Entry::Decision(Box::new(DecisionRecord {
        decision_id: format!("dec_{at}"),
        timestamp_ms: at as i64 * 10,
        policy: "bandit".to_owned(),
        featurizer_digest: policy.manifest.featurizer.digest.clone(),
        candidates: vec!["small".to_owned(), "large".to_owned()],
        propensities: vec![0.5, 0.5],
        model: model.to_owned(),
        propensity: 0.5,
        pass_probability: 1.0,
        predicted_cost_usd: PRICES.map(Some).to_vec(),
        features: Some(vec![(at % 3) as f32 / 3.0, (at % 5) as f32 / 5.0]),
        ..DecisionRecord::default()
    }))
}

fn feedback(at: usize) -> Entry {
    let record = FeedbackRecord {
        key: format!("key_{at}"),
        decision_id: format!("dec_{at}"),
        metric: Some("score".to_owned()),
        measure: Some(Measure::Value((at % 7) as f64 / 7.0)),
        source: "user".to_owned(),
        weight: [1.0, 0.5][at % 2],
        occurred_at_ms: None,
        received_at_ms: at as i64 * 10 + 5,
        cost_usd: at.is_multiple_of(3).then_some(0.002),
        latency_ms: None,
        activation: false,
        tenant: None,
        late: false,
        activates: false,
        spend_change_nano: 0,
        ..FeedbackRecord::default()
    };
    Entry::Feedback(Box::new(record), i64::MAX)
}

/// A change of arms between the two: a new one, a new price, one that is gone.
fn change() -> Entry {
    let said = |cost_usd, removed| ArmChange { cost_usd, removed, ..ArmChange::default() };
    let new = ArmChange { quality: Some(0.7), ..said(Some(0.002), None) };
    let arms = [("new", new), ("small", said(Some(0.004), None)), ("large", said(None, Some(true)))];
    Entry::Change(Box::new(ChangeRecord {
        change_id: "chg_1".to_owned(),
        policy: "bandit".to_owned(),
        who: "admin".to_owned(),
        arms: arms.map(|(model, said)| (model.to_owned(), said)).into(),
        ..ChangeRecord::default()
    }))
}

/// A store of 60 decisions and their feedback, in one of two orders, with repeats.
fn log(policy: &Policy, backwards: bool) -> (tempfile::TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&dir.path().join("log.db")).unwrap();
    let decisions: Vec<Entry> = (0..60).map(|at| decision(policy, at)).collect();
    store.append(&decisions).unwrap();
    store.append(&[change()]).unwrap();
    let mut reports: Vec<Entry> = (0..60).map(feedback).collect();
    if backwards {
        reports.reverse();
    }
    for report in reports {
        store.append(std::slice::from_ref(&report)).unwrap();
        store.append(&[report]).unwrap();
    }
    (dir, store)
}

#[test]
fn crashes_repeats_and_order_leave_the_state_of_the_clean_fold() {
    let policy = policy();
    let (_a, mut forwards) = log(&policy, false);
    let (_b, mut backwards) = log(&policy, true);
    let mut clean = Fold::new("clean", lessons(&policy));
    clean.catch_up(&mut forwards).unwrap();
    let learner = clean.consumer.learner();
    assert_eq!((learner.n_updates(), clean.consumer.refused(), clean.consumer.n_decisions()), (60, 0, 60));

    let mut other = Fold::new("other", lessons(&policy));
    other.catch_up(&mut backwards).unwrap();
    assert_eq!(other.consumer.learner().state(), learner.state(), "the order of arrival changed a bit");
    assert_eq!(other.consumer.accounts(), clean.consumer.accounts());

    let arms = &clean.consumer.arm_table().arms;
    let known: Vec<_> = arms.iter().map(|a| (a.model.as_str(), a.price.mean_cost_usd, a.retired)).collect();
    let expected = [
        ("small", Some(0.004), false),
        ("large", Some(f64::from(PRICES[1])), true),
        ("new", Some(0.002), false),
    ];
    assert_eq!(known, expected);

    // Crashes: only what was saved survives, and the log is read on from there.
    let events = forwards.read(0, 1000).unwrap();
    for stop in [1, 17, 59, 60, 61, 100, events.len()] {
        let mut fold = Fold::new("crashing", lessons(&policy));
        events[..stop].iter().for_each(|event| assert!(fold.apply(event)));
        let (name, checkpoint) = fold.checkpoint().unwrap();
        events[stop..].iter().take(20).for_each(|event| assert!(fold.apply(event)));
        forwards.save_checkpoint(&name, &checkpoint).unwrap();
        let mut fold = Fold::new("crashing", lessons(&policy));
        fold.resume(&mut forwards).unwrap();
        events[..stop].iter().for_each(|event| assert!(!fold.apply(event), "applied twice"));
        fold.catch_up(&mut forwards).unwrap();
        assert_eq!(fold.consumer.save(), clean.consumer.save(), "crash after {stop} events");
    }
}

#[test]
fn a_state_of_other_arms_is_refused_and_another_policys_events_are_not_learned() {
    let policy = policy();
    let (_dir, mut store) = log(&policy, false);
    let mut fold = Fold::new("f", lessons(&policy));
    fold.catch_up(&mut store).unwrap();
    let mut smaller = self::policy();
    smaller.arms[1].model = "huge".to_owned();
    let error = lessons(&smaller).restore(&fold.consumer.save()).unwrap_err();
    assert!(error.contains("small, large") && error.contains("small, huge"), "{error}");
    assert!(lessons(&policy).restore(b"short").is_err());
    assert!(lessons(&policy).restore(&[255; 40]).is_err());

    let config = LearningConfig::default();
    let mut foreign = PolicyLearner::new("another", &policy, &config, &MetricConfig::default()).unwrap();
    store.read(0, 1000).unwrap().iter().for_each(|event: &Event| foreign.apply(event));
    assert_eq!((foreign.n_decisions(), foreign.learner().n_updates()), (0, 0));
}

#[test]
fn a_reward_is_the_metric_on_its_range() {
    let policy = policy();
    let told = |direction, range, value: f64, cost_usd| {
        // What a dollar is worth is taken off when an arm is chosen.
        let config = LearningConfig { lambda: 10.0, ..LearningConfig::default() };
        let metric = MetricConfig { direction, range, ..MetricConfig::default() };
        let mut lessons = PolicyLearner::new("bandit", &policy, &config, &metric).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&dir.path().join("log.db")).unwrap();
        let Entry::Feedback(mut record, window) = feedback(1) else { unreachable!() };
        (record.measure, record.cost_usd, record.weight) = (Some(Measure::Value(value)), cost_usd, 1.0);
        store.append(&[decision(&policy, 1), Entry::Feedback(record, window)]).unwrap();
        store.read(0, 10).unwrap().iter().for_each(|event| lessons.apply(event));
        let x = routewright_data::FeatureMatrix::from_vec(1, 2, vec![1.0 / 3.0, 1.0 / 5.0]);
        let score = lessons.learner().snapshot().predict(&Batch::of(&x)).unwrap().score[1];
        // One observation: theta . x = r s / (1 + s) with s = x . x, the intercept included
        let s = 1.0 / 9.0 + 1.0 / 25.0 + 1.0;
        f64::from(score) * (1.0 + s) / s
    };
    use crate::settings::Direction::{Higher, Lower};
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    close(told(Higher, [0.0, 1.0], 0.8, None), 0.8);
    close(told(Higher, [-1.0, 1.0], 0.8, Some(0.02)), 0.9);
    close(told(Lower, [0.0, 10.0], 2.0, None), 0.8);
}

#[test]
fn preferences_and_rankings_teach_a_policy_that_compares_and_numbers_do_not() {
    let policy = duels();
    let measured = |at: usize| match at % 4 {
        0 | 1 => Measure::Preference { winner: "small".to_owned(), loser: "large".to_owned() },
        2 => Measure::Ranking(["small", "large"].map(str::to_owned).to_vec()),
        _ => Measure::Value(0.3),
    };
    let report = |at: usize| {
        let Entry::Feedback(mut record, window) = feedback(at) else { unreachable!() };
        record.measure = Some(measured(at));
        Entry::Feedback(record, window)
    };
    let learned = |reports: Vec<Entry>| {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&dir.path().join("log.db")).unwrap();
        store.append(&(0..20).map(|at| decision(&policy, at)).collect::<Vec<_>>()).unwrap();
        for report in reports {
            store.append(std::slice::from_ref(&report)).unwrap();
            store.append(&[report]).unwrap();
        }
        let mut fold = Fold::new("duels", lessons(&policy));
        fold.catch_up(&mut store).unwrap();
        fold.consumer
    };
    let forwards = learned((0..20).map(report).collect());
    let backwards = learned((0..20).rev().map(report).collect());
    assert_eq!(forwards.learner().state(), backwards.learner().state(), "the order of arrival changed a bit");
    assert_eq!((forwards.learner().n_updates(), forwards.refused()), (15, 5));
    let x = routewright_data::FeatureMatrix::from_vec(1, 2, vec![0.3, 0.4]);
    let score = forwards.learner().snapshot().predict(&Batch::of(&x)).unwrap().score;
    assert!(score[0] > 0.6 && (score[0] + score[1] - 1.0).abs() < 1e-5, "{score:?}");

    let ranking = Measure::Ranking(["a", "b", "c"].map(str::to_owned).to_vec());
    assert_eq!(ranking.against_others("b"), [("a", 0.0), ("c", 1.0)]);
    assert!(ranking.against_others("d").is_empty() && Measure::Value(1.0).against_others("a").is_empty());
}
