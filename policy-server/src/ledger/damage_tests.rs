//! Records that cannot be read are passed over, counted and set aside; older stores are read as they were written.

use crate::ledger::tests::{Dice, WINDOW_MS, decision, feedback};
use crate::ledger::{
    Checkpoint, DecisionRecord, Entry, EventBody, FeedbackRecord, Fold, Health, Measure, Receipt,
    SqliteStore, Statistics, Store, Table, check, repair,
};
use crate::ledger::{ExportOptions, export};
use std::path::Path;

/// Writes text into a store past its writer, as an older build or a hand with a database client did.
pub(super) type Scribble<'a> = dyn Fn(&str) + 'a;

fn score(key: &str, id: &str, value: f64) -> FeedbackRecord {
    FeedbackRecord {
        metric: Some("score".to_owned()),
        measure: Some(Measure::Value(value)),
        ..feedback(key, id, 10_500)
    }
}

fn report(record: FeedbackRecord) -> Entry {
    Entry::Feedback(Box::new(record), WINDOW_MS)
}

fn plain(id: usize) -> DecisionRecord {
    DecisionRecord {
        deferred: false,
        policy: "p".into(),
        model: "small".into(),
        ..decision(id, &mut Dice(1))
    }
}

/// On any store: one record that cannot be read keeps no reader from those behind it. `prefix` begins the names of its
/// tables.
pub(super) fn damage_is_passed_over_and_set_aside(
    store: &mut dyn Store,
    prefix: &str,
    scribble: &Scribble<'_>,
) {
    let decisions: Vec<Entry> = (0..5).map(|id| Entry::Decision(Box::new(plain(id)))).collect();
    store.append(&decisions).unwrap();
    let reports = (0..5).map(|id| report(score(&format!("k{id}"), &format!("d{id}"), 0.5)));
    store.append(&reports.collect::<Vec<_>>()).unwrap();
    assert_eq!(check(store).unwrap(), Health { decisions: 5, feedback: 5, ..Health::default() });

    // d1: a propensity that was NaN. d2: propensities of a selector with a fault. k3: cut off.
    let body = |table: &str, id: &str, to: &str| {
        let key = if table == "decisions" { "decision_id" } else { "outcome_id" };
        scribble(&format!("UPDATE {prefix}{table} SET body = {to} WHERE {key} = '{id}'"));
    };
    body("decisions", "d1", "replace(body, '\"propensity\":0.5', '\"propensity\":null')");
    body("decisions", "d2", "replace(body, '[0.5,0.5]', '[0.0125,0.0125]')");
    body("feedback", "k3", "substr(body, 1, 20)");

    let mut fold = Fold::new("test", Statistics::default());
    fold.catch_up(store).unwrap();
    assert_eq!((fold.high_water(), fold.unreadable()), (10, 5), "and the feedback on d1 and d2 with them");
    let small = &fold.consumer.policies["p"]["small"];
    assert_eq!((small.decisions, small.metrics["score"].count), (3, 2));
    let told = fold.take_skipped();
    assert_eq!(told.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2, 3, 7, 8, 9]);
    assert!(told[0].1.contains("null") && told[2].1.starts_with("of its decision: "), "{told:?}");
    assert!(fold.take_skipped().is_empty(), "each is reported once");

    // What is written later is judged by what can be read.
    assert_eq!(
        store.append(&[report(score("more", "d3", 0.25))]).unwrap(),
        [Receipt::Accepted { late: false }]
    );
    assert_eq!(store.silent("score", 0, i64::MAX, 10).unwrap(), []);
    let found = store.find("d3").unwrap().unwrap();
    assert_eq!((found.feedback.len(), found.unreadable), (1, 1));
    let dir = tempfile::tempdir().unwrap();
    let options = ExportOptions { config: None, rows_per_file: 100, now_ms: 20_000 };
    let summary = export(store, dir.path(), &options).unwrap();
    assert_eq!((summary.decisions, summary.feedback, summary.unreadable), (3, 3, 3));

    let health = check(store).unwrap();
    let found: Vec<(Table, &str)> = health.faults.iter().map(|f| (f.row.table, f.row.id.as_str())).collect();
    let (decisions, reports) = (Table::Decisions, Table::Feedback);
    assert_eq!(
        found,
        [(decisions, "d1"), (decisions, "d2"), (reports, "k1"), (reports, "k2"), (reports, "k3")]
    );
    assert!(health.faults[1].reason.contains("sum to 1"), "{}", health.faults[1].reason);
    assert_eq!(repair(store, &health).unwrap(), 5);
    let after = check(store).unwrap();
    assert!(after.is_sound() && (after.decisions, after.feedback) == (3, 3), "{after:?}");
    assert_eq!(repair(store, &after).unwrap(), 0);
    // A clean fold of what is left is the one that passed the rest over, and the numbers go on.
    let mut clean = Fold::new("clean", Statistics::default());
    clean.catch_up(store).unwrap();
    fold.catch_up(store).unwrap();
    assert_eq!((clean.unreadable(), &clean.consumer), (0, &fold.consumer));
    store.append(&[Entry::Decision(Box::new(plain(9)))]).unwrap();
    assert_eq!(store.last().unwrap(), 12);
}

#[test]
fn damage_in_a_file_is_passed_over_and_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.db");
    let mut store = SqliteStore::open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    damage_is_passed_over_and_set_aside(&mut store, "", &|sql| other.execute_batch(sql).unwrap());
    let kept = "SELECT group_concat(kind || ' ' || id, ', ') FROM (SELECT * FROM unreadable ORDER BY seq)";
    let kept: String = other.query_row(kept, [], |row| row.get(0)).unwrap();
    assert_eq!(kept, "decisions d1, decisions d2, feedback k1, feedback k2, feedback k3", "nothing is lost");
    // Bytes that are no text, and an id that is not the record's.
    other.execute_batch("UPDATE decisions SET body = X'FF00' WHERE decision_id = 'd0'").unwrap();
    other.execute_batch("UPDATE feedback SET decision_id = 'd4' WHERE outcome_id = 'more'").unwrap();
    let health = check(&mut store).unwrap();
    let reasons: Vec<&str> = health.faults.iter().map(|fault| fault.reason.as_str()).collect();
    assert!(reasons[0].contains("Blob") && reasons[1].contains("`d0`"), "{reasons:?}");
    assert!(reasons[2].contains("belongs to decision `d4`"), "{reasons:?}");
    repair(&mut store, &health).unwrap();
    assert!(check(&mut store).unwrap().is_sound());
}

/// On any store: the checkpoint of a consumer never goes back.
pub(super) fn a_checkpoint_never_goes_back(store: &mut dyn Store) {
    let at = |high_water: u64| Checkpoint { high_water, state: high_water.to_le_bytes().to_vec() };
    for (save, kept) in [(5, 5), (3, 5), (5, 5), (8, 8), (0, 8)] {
        store.save_checkpoint("x", &at(save)).unwrap();
        assert_eq!(store.checkpoint("x").unwrap(), Some(at(kept)), "a server that is behind saved {save}");
    }
}

/// On any store: a reporter has one observation of a metric on a decision; the rest is marked.
pub(super) fn repeats_are_marked(store: &mut dyn Store) {
    store.append(&[Entry::Decision(Box::new(plain(1)))]).unwrap();
    let of = |key: &str, source: &str, declared: bool| FeedbackRecord {
        source: source.to_owned(),
        source_is_declared: declared,
        ..score(key, "d1", 0.5)
    };
    let bill = FeedbackRecord { cost_usd: Some(0.1), ..feedback("bill", "d1", 10_500) };
    let other = FeedbackRecord { metric: Some("stars".into()), ..of("stars", "user", false) };
    let default = FeedbackRecord { is_default: true, ..of("\u{1}default/score/d1", "default", false) };
    let reports = [
        (bill, false),
        (default, false),
        (of("a", "user", false), false),
        // A source that anybody may invent does not tell reporters apart.
        (of("b", "judge", false), true),
        (of("c", "judge", true), true),
        (of("d", "third", true), false),
        (of("e", "third", true), true),
        (other, false),
    ];
    for (record, repeats) in reports {
        let key = record.key.clone();
        assert_eq!(store.append(&[report(record)]).unwrap(), [Receipt::Accepted { late: false }], "{key}");
        let events = store.read(0, 100).unwrap();
        let EventBody::Feedback(stored, _) = &events.last().unwrap().body else { panic!("{key}") };
        assert_eq!((stored.key.as_str(), stored.repeats), (key.as_str(), repeats));
    }
}

#[test]
fn checkpoints_and_repeats_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    a_checkpoint_never_goes_back(&mut SqliteStore::open(&dir.path().join("a.db")).unwrap());
    repeats_are_marked(&mut SqliteStore::open(&dir.path().join("b.db")).unwrap());
}

#[test]
fn keys_of_two_tenants_never_meet() {
    let id = |tenant: Option<&str>, key: &str| {
        FeedbackRecord { tenant: tenant.map(str::to_owned), ..feedback(key, "d", 1) }.outcome_id()
    };
    assert_eq!(id(Some("me"), "k/1"), "me/k/1", "as it always was");
    assert_ne!(id(Some("team"), "x/1"), id(Some("team/x"), "1"));
    assert_ne!(id(Some("a%2Fb"), "1"), id(Some("a/b"), "1"));
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&dir.path().join("log.db")).unwrap();
    for (at, tenant, key) in [(1, "team", "x/1"), (2, "team/x", "1")] {
        let tenant = Some(tenant.to_owned());
        let own = DecisionRecord { tenant: tenant.clone(), ..plain(at) };
        let record = FeedbackRecord { tenant, ..score(key, &format!("d{at}"), 0.1 * at as f64) };
        let receipts = store.append(&[Entry::Decision(Box::new(own)), report(record)]).unwrap();
        assert_eq!(receipts[1], Receipt::Accepted { late: false }, "tenant {at}");
    }
}

#[test]
fn a_comparison_is_worth_a_win_on_the_scale_of_its_metric() {
    let won = |winner: &str, scale| FeedbackRecord {
        metric: Some("stars".into()),
        measure: Some(Measure::Preference {
            winner: winner.into(),
            loser: if winner == "small" { "large".into() } else { "small".into() },
        }),
        scale,
        ..feedback("k", "d", 1)
    };
    let worth = |winner, scale| won(winner, scale).value_of("small");
    assert_eq!((worth("small", None), worth("large", None)), (Some(1.0), Some(0.0)));
    assert_eq!((worth("small", Some([1.0, 5.0])), worth("large", Some([1.0, 5.0]))), (Some(5.0), Some(1.0)));
    // Where less is better a win is the least.
    assert_eq!(worth("small", Some([10.0, 0.0])), Some(0.0));
    let value = FeedbackRecord { scale: Some([1.0, 5.0]), ..score("k", "d", 0.5) };
    assert_eq!(value.value_of("small"), Some(0.5), "a number is a number");
    assert_eq!(won("small", Some([1.0, 5.0])).content(), won("small", None).content(), "said is the same");
}

/// A store as the script of an older version made it.
fn old_store(path: &Path, script: &str) -> SqliteStore {
    rusqlite::Connection::open(path).unwrap().execute_batch(script).unwrap();
    SqliteStore::open(path).unwrap()
}

#[test]
fn stores_of_every_version_are_read_checked_and_written_on() {
    let versions = [
        (include_str!("../../tests/fixtures/stores/version-1.sql"), 0),
        (include_str!("../../tests/fixtures/stores/version-2.sql"), 1),
        (include_str!("../../tests/fixtures/stores/version-3.sql"), 1),
    ];
    for (script, n_changes) in versions {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.db");
        let mut store = old_store(&path, script);
        let health = check(&mut store).unwrap();
        assert!(health.is_sound(), "{health:?}");
        assert_eq!((health.decisions, health.feedback, health.changes), (4, 7, n_changes));
        let mut whole = Fold::new("whole", Statistics::default());
        whole.catch_up(&mut store).unwrap();
        // What the old server made of it, and what this one makes of it from the start.
        let mut resumed = Fold::new(super::statistics::CHECKPOINT, Statistics::default());
        resumed.resume(&mut store).unwrap();
        assert_eq!((resumed.high_water(), &resumed.consumer), (12, &whole.consumer));
        assert_eq!(whole.unreadable(), 0);
        let id = "dec_01a22ded5e7177d4b7e4f217178c570f";
        let found = store.find(id).unwrap().unwrap();
        assert_eq!((found.decision.candidates.len(), found.feedback.len()), (3, 1));
        assert_eq!(found.feedback[0].measure, Some(Measure::Value(0.75)));
        // The same report once more is a duplicate across the versions, another one is a repeat.
        let again = FeedbackRecord { received_at_ms: 0, ..found.feedback[0].clone() };
        let more = FeedbackRecord { key: "more".into(), cost_usd: None, ..again.clone() };
        assert_eq!(store.append(&[report(again)]).unwrap(), [Receipt::Duplicate]);
        assert!(matches!(store.append(&[report(more)]).unwrap()[..], [Receipt::Accepted { .. }]));
        assert!(store.find(id).unwrap().unwrap().feedback[1].repeats);
        drop(store);
        SqliteStore::open(&path).unwrap();
        let version: i64 = rusqlite::Connection::open(&path)
            .unwrap()
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        assert_eq!(version, 4);
    }
}
