use super::*;
use crate::log::{DecisionRow, FeedbackRow, RowWriter, WriteOptions, validate};
use std::path::{Path, PathBuf};

fn decision(id: &str) -> DecisionRow {
    DecisionRow {
        decision_id: id.to_owned(),
        timestamp_ms: 5,
        policy: "p".into(),
        policy_version: "1".into(),
        policy_digest: "0".repeat(64).into(),
        candidates: ["a".to_owned(), "b".to_owned()].into(),
        propensities: vec![0.25, 0.75],
        model: "b".to_owned(),
        propensity: 0.75,
        seed: u64::MAX - 1,
        prompt: Some("hello".to_owned()),
        predicted_score: Some(vec![0.5, 0.25]),
        pass_probability: Some(0.5),
        ..DecisionRow::default()
    }
}

fn feedback(outcome: &str, decision: &str, time: i64, value: f64) -> FeedbackRow {
    FeedbackRow {
        outcome_id: outcome.to_owned(),
        decision_id: decision.to_owned(),
        timestamp_ms: time,
        kind: "score".to_owned(),
        value: Some(value),
        ..FeedbackRow::default()
    }
}

fn write<R: crate::log::LogRow>(dir: &Path, name: &str, rows: impl IntoIterator<Item = R>) -> PathBuf {
    let path = dir.join(name);
    let mut writer = RowWriter::create(&path, WriteOptions::default()).unwrap();
    rows.into_iter().for_each(|row| writer.push(row).unwrap());
    writer.finish().unwrap();
    path
}

fn read(path: &Path) -> Result<Vec<DecisionRow>, crate::LogError> {
    let batches: Result<Vec<_>, _> = DecisionReader::open(path)?.collect();
    Ok(batches?.concat())
}

#[test]
fn later_steps_of_episodes_are_checked_counted_and_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let step =
        |id: &str, step| DecisionRow { episode_id: Some("e".to_owned()), step: Some(step), ..decision(id) };
    let actions = ["a+b".to_owned(), "return".to_owned()];
    let last =
        DecisionRow { candidates: actions.clone().into(), model: "return".to_owned(), ..step("e.1", 1) };
    let path = write(dir.path(), "d.parquet", [step("e", 0), last.clone(), decision("other")]);
    let mut reader = DecisionReader::open(&path).unwrap();
    let rows: Vec<_> = reader.by_ref().map(Result::unwrap).collect::<Vec<_>>().concat();
    assert_eq!(rows.iter().map(|row| row.decision_id.as_str()).collect::<Vec<_>>(), ["e", "other"]);
    assert_eq!((reader.n_rows(), reader.n_later_steps()), (3, 1));
    let broken = DecisionRow { propensities: vec![0.5, 0.75], ..last };
    let error = read(&write(dir.path(), "broken.parquet", [step("e", 0), broken])).unwrap_err().to_string();
    assert!(error.contains("`e.1`") && error.contains("1.25"), "{error}");
}

#[test]
fn what_is_written_is_read_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let bare = DecisionRow {
        predicted_score: None,
        pass_probability: None,
        prompt: None,
        source: Some("gsm8k".to_owned()),
        features: Some(vec![1.5, -2.0]),
        objective: Some("{\"cost\":2.0}".to_owned()),
        constraints: Some("{\"tags\":[\"eu\"]}".to_owned()),
        ..decision("second")
    };
    let begun = DecisionRow { episode_id: Some("third".to_owned()), step: Some(0), ..decision("third") };
    let rows = vec![decision("first"), bare, begun];
    assert_eq!(read(&write(dir.path(), "d.parquet", rows.clone())).unwrap(), rows);
    let outcomes = vec![
        feedback("o1", "first", 7, 0.5),
        FeedbackRow {
            value: None,
            cost_usd: Some(0.25),
            latency_ms: Some(2.0),
            ..feedback("o2", "first", 8, 0.0)
        },
    ];
    let path = write(dir.path(), "f.parquet", outcomes.clone());
    let found: Vec<FeedbackRow> = FeedbackReader::open(&path).unwrap().flat_map(Result::unwrap).collect();
    assert_eq!(found, outcomes);
}

#[test]
fn a_row_that_cannot_be_right_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut DecisionRow)| {
        let mut bad = decision("bad");
        change(&mut bad);
        let path = write(dir.path(), "bad.parquet", [decision("good"), bad]);
        let said = read(&path).unwrap_err().to_string();
        assert!(said.starts_with("row 2 of "), "{said}");
        let found = validate(&path, &crate::log::ValidateOptions::default()).unwrap();
        assert!(!found.is_valid(), "{found:?}");
        said
    };
    assert!(refused(&|r| r.candidates = [].into()).contains("at least one model"));
    let first = DecisionRow { candidates: [].into(), propensities: vec![], ..decision("first") };
    let said = read(&write(dir.path(), "first.parquet", [first])).unwrap_err().to_string();
    assert!(said.starts_with("row 1 of ") && said.contains("at least one model"), "{said}");
    assert!(refused(&|r| r.candidates = ["b".to_owned(), "b".to_owned()].into()).contains("names `b` twice"));
    assert!(refused(&|r| r.propensities = vec![1.0]).contains("`1` entries"));
    assert!(refused(&|r| r.predicted_score = Some(vec![])).contains("`predicted_score` has `0`"));
    assert!(refused(&|r| r.propensities = vec![0.25, 0.5]).contains("sum to `0.75`"));
    assert!(refused(&|r| r.propensities = vec![f32::NAN, 0.75]).contains("`NaN`"));
    assert!(refused(&|r| r.propensity = 0.0).contains("in (0, 1]"));
    assert!(refused(&|r| r.propensity = 0.5).contains("`propensities` says `0.75`"));
    assert!(refused(&|r| r.model = "c".to_owned()).contains("`c` is none of the candidates"));
    assert!(refused(&|r| r.pass_probability = Some(0.0)).contains("pass_probability"));
    assert!(refused(&|r| r.decision_id = "good".to_owned()).contains("`good` is in"));
    let path = write(dir.path(), "f.parquet", [feedback("o", "d", 1, f64::NAN)]);
    let said = Outcomes::load(&path, "score", Combine::Latest).unwrap_err().to_string();
    assert!(said.starts_with("row 1 of ") && said.contains("value `NaN`"), "{said}");
}

/// Three outcomes of one decision, at times 1, 2 and 3.
fn three() -> Vec<FeedbackRow> {
    vec![feedback("x", "d", 1, 0.5), feedback("y", "d", 2, 0.1), feedback("z", "d", 3, 0.6)]
}

#[test]
fn the_rules_are_what_their_names_say() {
    let value = |rule| Outcomes::of_rows(&three(), "score", rule).value("d").unwrap();
    assert_eq!(value(Combine::Earliest), 0.5);
    assert_eq!(value(Combine::Latest), 0.6);
    assert!((value(Combine::Mean) - 0.4).abs() < 1e-15);
    assert!((value(Combine::Sum) - 1.2).abs() < 1e-15);
    assert_eq!(value(Combine::Min), 0.1);
    assert_eq!(value(Combine::Max), 0.6);
    assert_eq!("mean".parse(), Ok(Combine::Mean));
    assert!("median".parse::<Combine>().unwrap_err().contains("`earliest`"));
}

#[test]
fn delivery_in_any_order_and_twice_changes_nothing() {
    let rows = three();
    let clean = Outcomes::of_rows(&rows, "score", Combine::Sum);
    for order in [[2, 0, 1, 0], [1, 2, 2, 0], [0, 2, 1, 1]] {
        let delivered: Vec<FeedbackRow> = order.iter().map(|i| rows[*i].clone()).collect();
        let found = Outcomes::of_rows(&delivered, "score", Combine::Sum);
        assert_eq!(found.value("d").unwrap().to_bits(), clean.value("d").unwrap().to_bits());
        assert_eq!((found.counts.outcomes, found.counts.repeated, found.counts.conflicting), (3, 1, 0));
    }
    // The same outcome with another value: the earliest counts, wherever it is in the file.
    let late = feedback("x", "d", 9, 0.9);
    for delivered in [[late.clone(), rows[0].clone()], [rows[0].clone(), late]] {
        let found = Outcomes::of_rows(&delivered, "score", Combine::Latest);
        assert_eq!((found.value("d"), found.counts.conflicting), (Some(0.5), 1));
    }
}

#[test]
fn kinds_are_apart_and_costs_come_from_all() {
    let mut rows = three();
    rows.push(FeedbackRow {
        kind: "usage".to_owned(),
        cost_usd: Some(0.01),
        value: Some(7.0),
        ..feedback("u", "d", 0, 0.0)
    });
    let outcomes = Outcomes::of_rows(&rows, "score", Combine::Latest);
    assert_eq!((outcomes.value("d"), outcomes.cost_usd("d")), (Some(0.6), Some(0.01)));
    assert_eq!(outcomes.counts.other_kinds["usage"], 1);
    let rule = RewardRule { default: None, cost_weight: 10.0 };
    assert_eq!(rule.apply(&decision("d"), &outcomes), Rewarded::Reward(0.5));
    assert_eq!(rule.apply(&decision("e"), &outcomes), Rewarded::NoFeedback);
    let lenient = RewardRule { default: Some(0.0), ..rule };
    assert_eq!(lenient.apply(&decision("e"), &outcomes), Rewarded::NoCost);
    let blind = RewardRule { cost_weight: 0.0, ..lenient };
    assert_eq!(blind.apply(&decision("e"), &outcomes), Rewarded::Reward(0.0));
}
