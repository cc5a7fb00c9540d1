//! The benchmarks run without a peer, say so, and are no benchmark of the test machine: no figure is judged.

use crate::run::{Ran, run};

/// Runs `bench` over few rows. Code 1 only says that a target was missed, which a test build may.
fn bench(arguments: &[&str]) -> (serde_json::Value, Ran) {
    let dir = tempfile::tempdir().unwrap();
    let fixed = ["bench", "--rows", "400", "--rounds", "1", "--json"];
    let ran = run(dir.path(), &[&fixed, arguments].concat());
    assert!(ran.code == 0 || ran.code == 1, "{arguments:?}: {}", ran.stderr);
    (serde_json::from_str(&ran.stdout).unwrap(), ran)
}

#[test]
fn search_is_measured_and_the_missing_peer_is_told() {
    let (report, ran) = bench(&["knn"]);
    assert!(ran.stderr.contains("SKIPPED: peer faiss, NumPy and hnswlib"), "{}", ran.stderr);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 17);
    for row in rows {
        assert!(row["ours"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["peer"].is_null() && row["ratio"].is_null() && row["met"].is_null(), "{row}");
    }
    // The graph finds next to all neighbors among so few rows.
    let graph = rows[7]["what"].as_str().unwrap();
    assert!(graph.contains("recall 0.99") || graph.contains("recall 1.0"), "{graph}");
}

#[test]
fn estimators_are_measured_without_the_peer() {
    let (report, ran) = bench(&["ope", "--decisions", "3000"]);
    assert!(ran.stderr.contains("SKIPPED: peer Open Bandit Pipeline"), "{}", ran.stderr);
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.len() == 1 && rows[0]["ours"].as_f64().unwrap() > 0.0, "{rows:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn servers_are_measured_beside_the_echo() {
    let (report, _) = bench(&["route"]);
    let rows = report["rows"].as_array().unwrap();
    let methods = ["ridge", "routerdc", "knn", "knn-graph"];
    // First comes what the machine takes to read memory.
    assert!(rows[0]["what"].as_str().unwrap().starts_with("memory probe"), "{}", rows[0]);
    for (rows, method) in rows[1..].chunks(3).zip(methods) {
        assert!(rows.iter().all(|row| row["what"].as_str().unwrap().contains(method)));
        // The echo of a request takes time and memory, whatever the machine.
        assert!(rows.iter().all(|row| row["peer"].as_f64().unwrap() > 0.0), "{rows:?}");
        assert!(rows[2]["ours"].as_f64().unwrap() > 1.0, "{rows:?}");
    }
    assert_eq!(rows.len(), 1 + 3 * methods.len());
}

#[test]
fn bad_data_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ref.npy"), "PAR1").unwrap();
    let ran = run(dir.path(), &["bench", "knn", "--data", "."]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no npy file") && ran.stderr.contains("ref.npy"), "{}", ran.stderr);
}

#[test]
fn the_store_is_measured_beside_a_server_without() {
    let (report, _) = bench(&["feedback"]);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 9);
    assert!(rows.iter().all(|row| row["ours"].as_f64().unwrap() > 0.0), "{rows:?}");
    assert!(rows[3..].iter().all(|row| row["peer"].as_f64().unwrap() > 0.0), "{rows:?}");
}
