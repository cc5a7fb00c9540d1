//! The bad-input list, as a table: what is given, what must be said, and that nothing is left behind.

use crate::logs::{Rows, write};
use crate::run::{BINARY, Ran, ok, run};
use arrow_array::StringArray;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// One bad log: how it is made and the words the error must hold.
struct Case {
    name: &'static str,
    make: fn(&Path),
    says: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "misnamed column",
        make: |path| {
            let mut columns = Rows::good(12).columns();
            columns[3].0 = "modle".to_owned();
            write(path, &columns);
        },
        says: &["model", "modle"],
    },
    Case {
        name: "missing column",
        make: |path| {
            let mut columns = Rows::good(12).columns();
            columns.retain(|(name, _)| name != "score");
            write(path, &columns);
        },
        says: &["`score`", "log.parquet"],
    },
    Case {
        name: "wrong type",
        make: |path| {
            let rows = Rows::good(12);
            let mut columns = rows.columns();
            columns[4].1 = Arc::new(StringArray::from(vec!["high"; rows.score.len()]));
            write(path, &columns);
        },
        says: &["score"],
    },
    Case { name: "empty file", make: |path| fs::write(path, b"").unwrap(), says: &["log.parquet"] },
    Case { name: "no rows", make: |path| Rows::good(0).write(path), says: &["log.parquet"] },
    Case {
        name: "truncated Parquet",
        make: |path| {
            Rows::good(50).write(path);
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
        says: &["log.parquet"],
    },
    Case {
        name: "score above 1",
        make: |path| edit(path, |rows| rows.score[4] = 7.0),
        says: &["score", "7", "row 5"],
    },
    Case {
        name: "score below 0",
        make: |path| edit(path, |rows| rows.score[4] = -0.5),
        says: &["score", "-0.5", "row 5"],
    },
    Case {
        name: "score NaN",
        make: |path| edit(path, |rows| rows.score[4] = f32::NAN),
        says: &["score", "NaN", "row 5"],
    },
    Case {
        name: "negative cost",
        make: |path| edit(path, |rows| rows.cost_usd[5] = -0.25),
        says: &["cost_usd", "-0.25", "row 6"],
    },
    Case {
        name: "duplicated cell",
        make: |path| edit(path, |rows| rows.model[1] = "dear".to_owned()),
        says: &["q0", "dear"],
    },
];

fn edit(path: &Path, change: fn(&mut Rows)) {
    let mut rows = Rows::good(12);
    change(&mut rows);
    rows.write(path);
}

/// An error is one line that begins with `error:`, exit code 2, and no file but the input.
fn assert_refused(name: &str, ran: &Ran, says: &[&str], dir: &Path, left: &[&str]) {
    assert_eq!(ran.code, 2, "{name}: exit code; stderr: {}", ran.stderr);
    assert!(ran.stderr.contains("error:"), "{name}: {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{name}: {}", ran.stderr);
    for word in says {
        assert!(ran.stderr.contains(word), "{name}: `{word}` is not in: {}", ran.stderr);
    }
    let mut found: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, left, "{name}: partial output left behind");
}

#[test]
fn a_bad_log_is_refused_in_words_and_leaves_nothing() {
    for case in CASES {
        let dir = tempfile::tempdir().unwrap();
        (case.make)(&dir.path().join("log.parquet"));
        let ran = run(dir.path(), &["train", "ridge", "--log", "log.parquet", "--out", "policy"]);
        assert_refused(case.name, &ran, case.says, dir.path(), &["log.parquet"]);
    }
}

#[test]
fn validate_counts_what_is_wrong_and_exits_1() {
    for case in
        CASES.iter().filter(|case| !["empty file", "truncated Parquet", "no rows"].contains(&case.name))
    {
        let dir = tempfile::tempdir().unwrap();
        (case.make)(&dir.path().join("log.parquet"));
        let ran = run(dir.path(), &["data", "validate", "log.parquet"]);
        assert!(ran.code == 1 || ran.code == 2, "{}: {} {}", case.name, ran.code, ran.stderr);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        for word in case.says.iter().filter(|word| !word.starts_with("row")) {
            assert!(said.contains(word), "{}: `{word}` is not in: {said}", case.name);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    Rows::good(12).write(&dir.path().join("log.parquet"));
    ok(dir.path(), &["data", "validate", "log.parquet"]);
}

#[test]
fn odd_but_legitimate_logs_train() {
    let logs: [(&str, Rows); 5] = [
        ("one arm", Rows::good(40).retain(|rows, i| rows.model[i] == "math")),
        ("one query", Rows::good(1)),
        ("missing cells", Rows::good(60).retain(|_, i| i % 7 != 2)),
        (
            "an arm not observed in train",
            Rows::good(60).retain(|r, i| r.model[i] != "dear" || r.split[i] == "test"),
        ),
        ("all scores equal", {
            let mut rows = Rows::good(40);
            rows.score.iter_mut().for_each(|s| *s = 0.5);
            rows
        }),
    ];
    for (name, rows) in logs {
        for method in ["knn", "ridge", "kmeans", "best-single"] {
            let dir = tempfile::tempdir().unwrap();
            rows.write(&dir.path().join("log.parquet"));
            let ran = run(dir.path(), &["train", method, "--log", "log.parquet", "--out", "policy"]);
            assert_eq!(ran.code, 0, "{name}, {method}: {}", ran.stderr);
            ok(dir.path(), &["route", "--policy", "policy", "What is 2 plus 5?"]);
        }
    }
}

#[test]
fn a_prompt_of_a_megabyte_is_learned_from_decided_on_and_routed() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = Rows::good(30);
    let megabyte = "sum ".repeat(1 << 18);
    // Query 0 is in train, query 3 in test; three models each.
    (0..3).chain(9..12).for_each(|row| rows.prompt[row].clone_from(&megabyte));
    rows.write(&dir.path().join("log.parquet"));
    ok(dir.path(), &["train", "knn", "--log", "log.parquet", "--out", "policy"]);
    ok(dir.path(), &["evaluate", "--policy", "policy", "--log", "log.parquet"]);
    // An argument of a process is at most 128 KiB on Linux.
    let long = "sum ".repeat(20_000);
    ok(dir.path(), &["route", "--policy", "policy", &long]);
}

#[test]
fn wrong_names_are_answered_with_near_ones() {
    let dir = tempfile::tempdir().unwrap();
    Rows::good(30).write(&dir.path().join("log.parquet"));
    let train = |rest: &[&str]| {
        let arguments: Vec<&str> = ["train"].into_iter().chain(rest.iter().copied()).collect();
        run(dir.path(), &[&arguments[..], &["--log", "log.parquet", "--out", "policy"]].concat())
    };
    let left = &["log.parquet"];
    assert_refused("method", &train(&["ridgee"]), &["ridgee", "`ridge`"], dir.path(), left);
    assert_refused(
        "parameter",
        &train(&["ridge", "--set", "alhpa=3"]),
        &["alhpa", "`alpha`"],
        dir.path(),
        left,
    );
    assert_refused(
        "value",
        &train(&["ridge", "--set", "alpha=[-1.0]"]),
        &["alpha", "above 0"],
        dir.path(),
        left,
    );
    assert_refused("split", &train(&["ridge", "--split", "trian"]), &["trian", "train"], dir.path(), left);
    assert_refused(
        "type of a parameter",
        &train(&["routerdc", "--set", "steps=\"many\""]),
        &["`steps`", "many"],
        dir.path(),
        left,
    );
    assert_refused(
        "test split of compare",
        &run(dir.path(), &["compare", "--log", "log.parquet", "--methods", "knn", "--test-split", "tset"]),
        &["tset", "test"],
        dir.path(),
        left,
    );
    assert_refused(
        "parameter of compare",
        &run(dir.path(), &["compare", "--log", "log.parquet", "--methods", "mlp", "--set", "mlp.stpes=3"]),
        &["stpes", "`steps`"],
        dir.path(),
        left,
    );
    assert_refused(
        "selector",
        &train(&["ridge", "--selector", "argmx"]),
        &["argmx", "`argmax`"],
        dir.path(),
        left,
    );
    assert_refused(
        "features",
        &train(&["ridge", "--features", "lexial"]),
        &["lexial", "lexical"],
        dir.path(),
        left,
    );
    assert_refused(
        "method of compare",
        &run(dir.path(), &["compare", "--log", "log.parquet", "--methods", "knn,rigde"]),
        &["rigde", "`ridge`"],
        dir.path(),
        left,
    );
}

#[test]
fn a_device_that_is_not_there_is_named_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    Rows::good(30).write(&dir.path().join("log.parquet"));
    let ran = run(
        dir.path(),
        &["train", "routerdc", "--log", "log.parquet", "--out", "policy", "--device", "cuda"],
    );
    if ran.code == 0 {
        return println!("a CUDA device is here: the refusal is not tested");
    }
    assert_refused("device", &ran, &["cuda"], dir.path(), &["log.parquet"]);
    assert_eq!(ran.stderr.trim().lines().count(), 1, "{}", ran.stderr);
}

#[test]
fn bad_text_in_an_import_is_named_by_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv = b"query_id,prompt,model,score\nq1,hello,a,1\nq2,".to_vec();
    csv.extend([0xff, 0xfe]);
    csv.extend(b",a,0\n");
    fs::write(dir.path().join("log.csv"), csv).unwrap();
    let ran = run(dir.path(), &["data", "import", "long", "log.csv", "--out", "log.parquet"]);
    assert_refused("UTF-8", &ran, &["log.csv", "3"], dir.path(), &["log.csv"]);
}

/// Runs where no file can grow beyond a few blocks: how a full disk looks to a process, without one.
#[cfg(unix)]
fn run_on_full_disk(dir: &Path, arguments: &[&str]) -> Ran {
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    Command::new("sh").args(["-c", script, BINARY]).args(arguments).current_dir(dir).output().unwrap().into()
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_half_policy() {
    let dir = tempfile::tempdir().unwrap();
    Rows::good(400).write(&dir.path().join("log.parquet"));
    let train = ["train", "knn", "--log", "log.parquet", "--out", "policy"];
    let ran = run_on_full_disk(dir.path(), &train);
    assert_refused("full disk", &ran, &["cannot write"], dir.path(), &["log.parquet"]);
    ok(dir.path(), &train);
    let before = fs::read(dir.path().join("policy/manifest.json")).unwrap();
    let ran = run_on_full_disk(dir.path(), &train);
    assert_refused(
        "full disk over an older policy",
        &ran,
        &["cannot write"],
        dir.path(),
        &["log.parquet", "policy"],
    );
    assert_eq!(fs::read(dir.path().join("policy/manifest.json")).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_half_log_nor_report() {
    let dir = tempfile::tempdir().unwrap();
    Rows::good(60).write(&dir.path().join("log.parquet"));
    let left = &["log.parquet"];
    let commands: [(&str, &[&str]); 4] = [
        ("simulated log", &["data", "simulate", "--out", "new.parquet", "--queries", "2000"]),
        ("log with splits", &["data", "split", "big.parquet", "--out", "new.parquet"]),
        ("imported log", &["data", "import", "long", "big.parquet", "--out", "new.parquet"]),
        (
            "report",
            &["compare", "--log", "log.parquet", "--methods", "knn", "--folds", "0", "--report", "report"],
        ),
    ];
    for (name, arguments) in commands {
        let big = dir.path().join("big.parquet");
        if arguments.contains(&"big.parquet") {
            ok(dir.path(), &["data", "simulate", "--out", "big.parquet", "--queries", "2000"]);
        }
        let ran = run_on_full_disk(dir.path(), arguments);
        drop(fs::remove_file(big));
        assert_refused(name, &ran, &["cannot write"], dir.path(), left);
    }
}
