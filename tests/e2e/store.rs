//! `store check` and `store repair` on a store with a damaged record.

use crate::run::{json, ok, run};
use routewright_policy_server::ledger::{DecisionRecord, Entry, SqliteStore, Store};
use serde_json::json;
use std::path::Path;

/// Three decisions, the second of which has `mark` in its record.
fn store(path: &Path) {
    let record = |id: usize| DecisionRecord {
        decision_id: format!("dec_{id}"),
        timestamp_ms: 1_000_000,
        policy: "main".to_owned(),
        candidates: vec!["small".to_owned()],
        propensities: vec![1.0],
        model: "small".to_owned(),
        propensity: 1.0,
        pass_probability: 1.0,
        reason: if id == 1 { "mark" } else { "selected" }.to_owned(),
        ..DecisionRecord::default()
    };
    let entries: Vec<Entry> = (0..3).map(|id| Entry::Decision(Box::new(record(id)))).collect();
    SqliteStore::open(path).unwrap().append(&entries).unwrap();
}

/// Overwrites bytes of a file, as many as there were.
fn overwrite(path: &Path, from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_record_is_found_left_out_and_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let file = dir.join("log.db");
    store(&file);
    let sound = ok(dir, &["store", "check", "--store", "log.db"]);
    assert!(sound.stdout.contains("read 3 decisions") && sound.stdout.contains("every record can be read"));
    overwrite(&file, b"\"reason\":\"mark\"", b"\"reason\":123456");

    let found = run(dir, &["store", "check", "--store", "log.db"]);
    assert_eq!(found.code, 1, "{}", found.stderr);
    assert!(found.stdout.contains("decisions event 2, `dec_1`: invalid type"), "{}", found.stdout);
    assert!(found.stdout.contains("1 cannot be read"), "{}", found.stdout);
    let export = ok(dir, &["data", "from-store", "--store", "log.db", "--out", "exported"]);
    assert!(export.stdout.contains("2 decisions"), "{}", export.stdout);
    assert!(export.stderr.contains("left out 1 records that cannot be read"), "{}", export.stderr);

    let repaired = json(dir, &["store", "repair", "--store", "log.db"]);
    assert_eq!((&repaired["moved"], &repaired["unreadable"][0]["id"]), (&json!(1), &json!("dec_1")));
    let after = json(dir, &["store", "check", "--store", "log.db"]);
    assert_eq!((&after["ok"], &after["decisions"]), (&json!(true), &json!(2)));

    let missing = run(dir, &["store", "check", "--store", "none.db"]);
    assert_eq!(missing.code, 2);
    assert!(
        missing.stderr.contains("none.db") && missing.stderr.contains("no such file"),
        "{}",
        missing.stderr
    );
}
