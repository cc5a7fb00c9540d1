//! The log against random histories: duplicates, any order of arrival, crashes, restarts.

use crate::ledger::{
    DecisionRecord, Entry, Event, EventBody, FeedbackRecord, Fold, Measure, Receipt, SqliteStore, Statistics,
    Store,
};
use routewright_policy::{Constraints, Objective};
use std::path::Path;

pub(super) const WINDOW_MS: i64 = 1000;

/// A small generator (splitmix64), so that a failing seed repeats.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.roll(at + 1));
        }
    }
}

pub(super) fn decision(id: usize, dice: &mut Dice) -> DecisionRecord {
    let model = ["small", "large"][dice.roll(2)];
    DecisionRecord {
        decision_id: format!("d{id}"),
        timestamp_ms: 10_000 + id as i64,
        policy: ["p", "q"][dice.roll(2)].to_owned(),
        candidates: vec!["small".to_owned(), "large".to_owned()],
        propensities: vec![0.5, 0.5],
        model: model.to_owned(),
        propensity: 0.5,
        pass_probability: 1.0,
        seed: u64::MAX - id as u64,
        predicted_score: vec![None, Some(0.1)],
        predicted_cost_usd: vec![Some(0.001), if dice.roll(3) == 0 { None } else { Some(0.3) }],
        deferred: dice.roll(4) == 0,
        objective: id.is_multiple_of(3).then_some(Objective { quality: 1.0, cost: 0.25, latency: 0.0 }),
        constraints: id.is_multiple_of(4).then(|| Constraints {
            max_cost_usd: Some(0.5),
            tags: vec!["eu".to_owned()],
            ..Constraints::default()
        }),
        ..DecisionRecord::default()
    }
}

pub(super) fn feedback(key: &str, decision_id: &str, at_ms: i64) -> FeedbackRecord {
    FeedbackRecord {
        key: key.to_owned(),
        decision_id: decision_id.to_owned(),
        metric: None,
        measure: None,
        source: "user".to_owned(),
        weight: 1.0,
        occurred_at_ms: None,
        received_at_ms: at_ms,
        cost_usd: None,
        latency_ms: None,
        activation: false,
        tenant: None,
        late: false,
        activates: false,
        spend_change_nano: 0,
        ..FeedbackRecord::default()
    }
}

pub(super) fn random_feedback(key: usize, of: usize, dice: &mut Dice) -> FeedbackRecord {
    let mut record = feedback(&format!("k{key}"), &format!("d{of}"), 10_000 + dice.roll(4000) as i64);
    match dice.roll(4) {
        0 => record.cost_usd = Some(dice.roll(1000) as f64 * 1.1e-4),
        1 => record.latency_ms = Some(dice.roll(1000) as f64 / 3.0),
        2 => record.activation = true,
        _ => {
            record.metric = Some("score".to_owned());
            record.measure = Some(Measure::Value(dice.roll(1000) as f64 / 999.0));
        }
    }
    record
}

fn events(store: &mut SqliteStore) -> Vec<Event> {
    store.read(0, usize::MAX >> 1).unwrap()
}

/// Delivers everything once, in order, to a store of its own.
pub(super) fn clean(path: &Path, decisions: &[DecisionRecord], outcomes: &[FeedbackRecord]) -> Statistics {
    let mut store = SqliteStore::open(path).unwrap();
    let decisions = decisions.iter().map(|d| Entry::Decision(Box::new(d.clone())));
    let outcomes = outcomes.iter().map(|f| Entry::Feedback(Box::new(f.clone()), WINDOW_MS));
    store.append(&decisions.chain(outcomes).collect::<Vec<_>>()).unwrap();
    let mut fold = Fold::new("clean", Statistics::default());
    fold.catch_up(&mut store).unwrap();
    fold.consumer
}

/// One history: what was sent arrives in any order (a decision before its feedback, as clients can only
/// know it then), some of it twice, in groups of any size; between groups the process may die: the fold
/// falls back to its checkpoint, and a group whose acknowledgement was lost is sent again.
fn history(seed: u64) {
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    let n = 2 + dice.roll(12);
    let decisions: Vec<DecisionRecord> = (0..n).map(|id| decision(id, &mut dice)).collect();
    let outcomes: Vec<FeedbackRecord> = (0..3 * n)
        .map(|key| {
            let of = dice.roll(n);
            random_feedback(key, of, &mut dice)
        })
        .collect();
    let expected = clean(&dir.path().join("clean.db"), &decisions, &outcomes);

    let mut order: Vec<(usize, Entry)> = Vec::new();
    for (id, decision) in decisions.iter().enumerate() {
        let known = dice.roll(100);
        for _ in 0..1 + dice.roll(2) {
            order.push((known, Entry::Decision(Box::new(decision.clone()))));
        }
        for outcome in outcomes.iter().filter(|outcome| outcome.decision_id == format!("d{id}")) {
            for _ in 0..1 + dice.roll(3) {
                let at = known + 1 + dice.roll(100);
                order.push((at, Entry::Feedback(Box::new(outcome.clone()), WINDOW_MS)));
            }
        }
    }
    dice.shuffle(&mut order);
    order.sort_by_key(|(at, _)| *at);
    let mut entries: Vec<Entry> = order.into_iter().map(|(_, entry)| entry).collect();

    let path = dir.path().join("log.db");
    let mut store = SqliteStore::open(&path).unwrap();
    let mut fold = Fold::new("statistics", Statistics::default());
    while !entries.is_empty() {
        let take = (1 + dice.roll(9)).min(entries.len());
        store.append(&entries[..take]).unwrap();
        let lost = dice.roll(5) == 0;
        if !lost {
            entries.drain(..take);
        }
        match dice.roll(4) {
            0 => {
                fold.catch_up(&mut store).unwrap();
            }
            1 => {
                fold.catch_up(&mut store).unwrap();
                if let Some((name, checkpoint)) = fold.checkpoint() {
                    store.save_checkpoint(&name, &checkpoint).unwrap();
                }
            }
            2 => {
                drop(store);
                store = SqliteStore::open(&path).unwrap();
                fold = Fold::new("statistics", Statistics::default());
                fold.resume(&mut store).unwrap();
            }
            // What is delivered to the fold again changes nothing.
            _ => events(&mut store).iter().filter(|event| event.seq <= fold.high_water()).for_each(|event| {
                assert!(!fold.clone().apply(event));
            }),
        }
    }
    fold.catch_up(&mut store).unwrap();
    assert_eq!(fold.consumer, expected, "seed {seed}");
    let events = events(&mut store);
    assert_eq!(events.len(), decisions.len() + outcomes.len(), "each exactly once, seed {seed}");
    assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
}

#[test]
fn duplicates_order_and_crashes_change_no_bit() {
    (0..60).for_each(history);
}

fn one(store: &mut SqliteStore, entry: Entry) -> Receipt {
    store.append(&[entry]).unwrap()[0]
}

fn deliver(store: &mut SqliteStore, record: &FeedbackRecord) -> Receipt {
    one(store, Entry::Feedback(Box::new(record.clone()), WINDOW_MS))
}

#[test]
fn a_receipt_says_what_became_of_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let store = &mut SqliteStore::open(&dir.path().join("log.db")).unwrap();
    let tenant = Some("me".to_owned());
    let decided = DecisionRecord { deferred: false, tenant: tenant.clone(), ..decision(1, &mut Dice(1)) };
    assert_eq!(one(store, Entry::Decision(Box::new(decided.clone()))), Receipt::Accepted { late: false });
    assert_eq!(one(store, Entry::Decision(Box::new(decided.clone()))), Receipt::Duplicate);
    let own = FeedbackRecord { tenant, cost_usd: Some(1.0), ..feedback("a", "d1", 11_001) };
    assert_eq!(deliver(store, &FeedbackRecord { tenant: None, ..own.clone() }), Receipt::Foreign);
    assert_eq!(
        deliver(store, &FeedbackRecord { decision_id: "d2".into(), ..own.clone() }),
        Receipt::UnknownDecision
    );
    assert_eq!(deliver(store, &own), Receipt::Accepted { late: false }, "the window ends with its last ms");
    let again = FeedbackRecord { received_at_ms: 99_999, ..own.clone() };
    assert_eq!(deliver(store, &again), Receipt::Duplicate, "a repetition may come at any time");
    assert_eq!(deliver(store, &FeedbackRecord { cost_usd: Some(2.0), ..own.clone() }), Receipt::Conflict);
    let late = FeedbackRecord { key: "b".into(), received_at_ms: 11_002, ..own };
    assert_eq!(deliver(store, &late), Receipt::Accepted { late: true });
    let found = store.find("d1").unwrap().unwrap();
    assert_eq!(found.decision, decided, "what is read is what was written, to the bit");
    assert_eq!(found.feedback.iter().map(|f| f.late).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn the_latest_bill_corrects_the_prediction_and_a_deferred_decision_waits_for_its_act() {
    let dir = tempfile::tempdir().unwrap();
    let store = &mut SqliteStore::open(&dir.path().join("log.db")).unwrap();
    let base = DecisionRecord { policy: "p".into(), ..decision(1, &mut Dice(1)) };
    let chosen = |id: &str, deferred| {
        Entry::Decision(Box::new(DecisionRecord {
            decision_id: id.to_owned(),
            model: "small".to_owned(),
            deferred,
            ..base.clone()
        }))
    };
    store.append(&[chosen("now", false), chosen("then", true)]).unwrap();
    let mut fold = Fold::new("s", Statistics::default());
    let mut figures = |store: &mut SqliteStore| {
        fold.catch_up(store).unwrap();
        let arm = fold.consumer.policies["p"]["small"].clone();
        (arm.decisions, arm.predicted_nano, arm.spend_nano)
    };
    assert_eq!(figures(store), (1, 1_000_000, 1_000_000));
    let bill = |key: &str, id: &str, at_ms, usd| FeedbackRecord {
        cost_usd: Some(usd),
        occurred_at_ms: Some(at_ms),
        ..feedback(key, id, 10_500)
    };
    deliver(store, &bill("b2", "now", 20, 0.004));
    assert_eq!(figures(store), (1, 1_000_000, 4_000_000));
    deliver(store, &bill("b1", "now", 10, 0.009));
    assert_eq!(figures(store), (1, 1_000_000, 4_000_000), "an older bill arrived later");
    deliver(store, &FeedbackRecord { activation: true, ..feedback("act", "then", 10_500) });
    assert_eq!(figures(store), (2, 2_000_000, 5_000_000));
    deliver(store, &bill("b3", "then", 10, 0.002));
    assert_eq!(figures(store), (2, 2_000_000, 6_000_000));
}

#[test]
fn expiry_takes_whole_decisions_and_spares_what_a_consumer_has_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = &mut SqliteStore::open(&dir.path().join("log.db")).unwrap();
    for id in 0..4 {
        one(store, Entry::Decision(Box::new(decision(id, &mut Dice(1)))));
    }
    deliver(store, &FeedbackRecord { latency_ms: Some(1.0), ..feedback("a", "d0", 10_500) });
    store.save_checkpoint("slow", &super::Checkpoint { high_water: 3, state: Vec::new() }).unwrap();
    // d0 has feedback that the slow consumer has not seen, d3 it has not seen itself.
    assert_eq!(store.expire(20_000).unwrap(), 2);
    let left = |store: &mut SqliteStore| -> Vec<String> {
        let name = |event: Event| match event.body {
            EventBody::Decision(decision) => decision.decision_id,
            EventBody::Feedback(feedback, _) => feedback.key,
            EventBody::Change(change) => change.change_id,
            EventBody::Unreadable(reason) => panic!("{reason}"),
        };
        events(store).into_iter().map(name).collect()
    };
    assert_eq!(left(store), ["d0", "d3", "a"]);
    store.save_checkpoint("slow", &super::Checkpoint { high_water: 5, state: Vec::new() }).unwrap();
    assert_eq!(store.expire(10_003).unwrap(), 1);
    assert_eq!(left(store), ["d3"]);
    one(store, Entry::Decision(Box::new(decision(9, &mut Dice(1)))));
    assert_eq!(events(store)[1].seq, 6, "a number is never used again");
}

/// On any store: what a replaced artifact learned goes once it holds something back, what is served stays.
pub(super) fn replaced_are_forgotten(store: &mut dyn Store) {
    let first: Vec<Entry> = (0..3).map(|id| Entry::Decision(Box::new(decision(id, &mut Dice(1))))).collect();
    store.append(&first).unwrap();
    for (name, high_water) in
        [("learning/p/old", 1), ("learning/p/new", 1), ("learning/q/old", 3), ("other", 1)]
    {
        store.save_checkpoint(name, &super::Checkpoint { high_water, state: Vec::new() }).unwrap();
    }
    let live = ["learning/p/new".to_owned()];
    assert_eq!(store.forget("learning/", &live, 10_001).unwrap(), 0, "all that is due was seen");
    assert_eq!(store.expire(20_000).unwrap(), 1, "it holds back what it has not seen");
    assert_eq!(store.forget("learning/", &live, 20_000).unwrap(), 1);
    let kept = ["learning/p/old", "learning/p/new", "learning/q/old", "other"]
        .map(|name| store.checkpoint(name).unwrap().is_some());
    assert_eq!(kept, [false, true, true, true]);
}

#[test]
fn what_a_replaced_artifact_learned_is_forgotten_once_it_holds_something_back() {
    let dir = tempfile::tempdir().unwrap();
    replaced_are_forgotten(&mut SqliteStore::open(&dir.path().join("log.db")).unwrap());
}

#[test]
fn a_file_of_version_1_gets_what_it_lacks_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.db");
    one(&mut SqliteStore::open(&path).unwrap(), Entry::Decision(Box::new(decision(1, &mut Dice(1)))));
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP TABLE changes; DROP TABLE unreadable; DROP INDEX decisions_by_activation;
         ALTER TABLE decisions DROP COLUMN active_ms; PRAGMA user_version = 1",
    )
    .unwrap();
    let store = &mut SqliteStore::open(&path).unwrap();
    let change = super::ChangeRecord {
        change_id: "c".to_owned(),
        policy: "p".to_owned(),
        ..super::ChangeRecord::default()
    };
    let entry = Entry::Change(Box::new(change.clone()));
    assert_eq!(one(store, entry.clone()), Receipt::Accepted { late: false });
    assert_eq!(one(store, entry), Receipt::Duplicate);
    let said = [Event { seq: 2, body: EventBody::Change(Box::new(change.clone())) }];
    assert_eq!(store.changes("p").unwrap(), said);
    assert_eq!((events(store).len(), store.changes("q").unwrap().len()), (2, 0));
    assert_eq!(store.expire(i64::MAX).unwrap(), 1);
    assert_eq!(store.changes("p").unwrap(), said, "changes never expire");
    old.execute_batch("PRAGMA user_version = 9").unwrap();
    assert!(SqliteStore::open(&path).unwrap_err().to_string().contains("version `9`"));
}

#[test]
fn a_foreign_a_damaged_and_a_missing_file_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let said = |path: &Path| SqliteStore::open(path).unwrap_err().to_string();
    let text = dir.path().join("text");
    std::fs::write(&text, "this is no database, and long enough to be looked at".repeat(40)).unwrap();
    assert!(said(&text).contains("damaged or no SQLite file"), "{}", said(&text));
    let foreign = dir.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(said(&foreign).contains("another program"), "{}", said(&foreign));
    let missing = SqliteStore::open_existing(&dir.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("no such file") && missing.contains("none"), "{missing}");
    let locked = dir.path().join("locked.db");
    let mut store = SqliteStore::open(&locked).unwrap();
    store.patience(std::time::Duration::from_millis(10)).unwrap();
    let holder = rusqlite::Connection::open(&locked).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let entry = Entry::Decision(Box::new(decision(1, &mut Dice(1))));
    let error = store.append(std::slice::from_ref(&entry)).unwrap_err().to_string();
    assert!(error.contains("locked"), "{error}");
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(one(&mut store, entry), Receipt::Accepted { late: false }, "nothing was kept of the failure");
}
