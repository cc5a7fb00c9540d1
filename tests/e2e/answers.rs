//! Logs with answers and samples: simulated, checked, summed up, imported back.

use crate::run::{json, ok, run};

#[test]
fn a_simulated_log_of_answers_is_checked_summed_up_split_and_imported_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let simulate = ["data", "simulate", "--out", "log.parquet", "--queries", "120", "--models", "3"];
    let made = json(at, &[&simulate[..], &["--answers", "--samples", "4"]].concat());
    let rows = made["rows"].as_u64().unwrap();
    assert_eq!((made["samples"].as_u64(), rows % 4), (Some(4), 0));
    let checked = json(at, &["data", "validate", "log.parquet"]);
    assert_eq!((checked["rows"].as_u64(), checked["n_errors"].as_u64()), (Some(rows), Some(0)), "{checked}");
    let stats = json(at, &["data", "stats", "log.parquet"]);
    assert_eq!(
        (stats["samples"].as_u64(), stats["answers"]["finish"].as_u64()),
        (Some(4), Some(rows)),
        "{stats}"
    );
    assert_eq!(
        4 * stats["models"].as_array().unwrap().iter().map(|m| m["scored"].as_u64().unwrap()).sum::<u64>(),
        rows
    );
    // Every column of an answer survives a split and an import under its own name.
    ok(at, &["data", "split", "log.parquet", "--out", "split.parquet"]);
    let again = json(at, &["data", "import", "long", "split.parquet", "--out", "again.parquet"]);
    assert_eq!(again["import"]["filled"]["logprob_quantiles"].as_u64(), Some(rows), "{again}");
    assert_eq!(again["import"]["unread"].as_array().map(Vec::len), Some(0), "{again}");
    assert_eq!(json(at, &["data", "stats", "again.parquet"])["models"], stats["models"]);
    // Methods that see outcomes only train on the mean of the samples.
    ok(at, &["train", "knn", "--log", "log.parquet", "--out", "policy"]);
    let ran = run(at, &[&simulate[..], &["--samples", "4"]].concat());
    assert!(ran.code == 2 && ran.stderr.contains("--answers"), "{}", ran.stderr);
}
