use super::*;
use crate::decisions::{Combine, FeedbackReader};

/// An event in the form of VowpalWabbit's own tests, with probabilities of two actions.
const EVENT: &str = r#"{"_label_cost":-1,"_label_probability":0.75,"_label_Action":2,"_labelIndex":1,
"Timestamp":"2020-01-02T03:04:05.500Z","Version":"1","EventId":"e1","a":[2,1],"p":[0.75,0.25],
"c":{"shared_ns":{"f":1},"_multi":[{"m":{"id":"x"}},{"m":{"id":"y"}}]},"pdrop":0.5,"VWState":{"m":"v"}}"#;

fn import(dir: &Path, text: &str, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let path = dir.join("events.json");
    std::fs::write(&path, text).unwrap();
    run(&[path], dir, options)
}

fn decisions(path: &Path) -> Vec<DecisionRow> {
    DecisionReader::open(path).unwrap().flat_map(Result::unwrap).collect()
}

#[test]
fn an_event_is_read_as_it_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = ImportOptions::default();
    import(dir.path(), EVENT, &options).unwrap();
    let row = &decisions(&dir.path().join("decisions.parquet"))[0];
    assert_eq!(row.candidates[..], ["action-2", "action-1"]);
    assert_eq!((row.propensities.as_slice(), row.propensity), (&[0.75, 0.25][..], 0.75));
    assert_eq!((row.pass_probability, row.timestamp_ms), (Some(0.5), 1_577_934_245_500));
    options.map.insert("model".to_owned(), "m.id".to_owned());
    import(dir.path(), EVENT, &options).unwrap();
    assert_eq!(decisions(&dir.path().join("decisions.parquet"))[0].model, "y");
    let path = dir.path().join("feedback.parquet");
    let found: Vec<FeedbackRow> = FeedbackReader::open(&path).unwrap().flat_map(Result::unwrap).collect();
    assert_eq!((found.len(), found[0].value, found[0].decision_id.as_str()), (1, Some(1.0), "e1"));
}

/// A log has no empty names: such an event was once imported, and every reader refused the log.
#[test]
fn empty_texts_are_as_good_as_missing() {
    let dir = tempfile::tempdir().unwrap();
    let event = EVENT
        .replace("\"VWState\":{", "\"routewright\":{\"policy\":\"\",\"policy_digest\":\"\"},\"VWState\":{");
    let event = event.replace("{\"m\":{\"id\":\"y\"}}", "{\"m\":{\"model\":\"\"}}");
    import(dir.path(), &event, &ImportOptions::default()).unwrap();
    let row = &decisions(&dir.path().join("decisions.parquet"))[0];
    assert_eq!((&*row.policy, row.model.as_str()), ("dsjson", "action-2"));
    let event = EVENT.replace("\"shared_ns\"", "\"x\":[1e300],\"shared_ns\"");
    let said = import(dir.path(), &event, &ImportOptions::default()).unwrap_err().to_string();
    assert!(said.contains("`features` holds `inf`"), "{said}");
}

#[test]
fn what_is_misspelled_or_does_not_agree_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |from: &str, to: &str, words: &str| {
        assert!(EVENT.contains(from));
        let said = import(dir.path(), &EVENT.replace(from, to), &ImportOptions::default()).unwrap_err();
        let said = said.to_string();
        assert!(said.contains("item 1 of ") && said.contains(words), "{said}");
    };
    refused("_label_probability", "_label_probabilty", "did you mean `_label_probability`");
    refused("EventId", "eventId", "did you mean `EventId`");
    refused("\"pdrop\":0.5", "\"pdf\":[]", "continuous");
    refused("\"_labelIndex\":1", "\"_labelIndex\":0", "`_labelIndex` says `1`");
    refused("\"_label_Action\":2,\"_labelIndex\":1,", "\"_label_Action\":3,", "`3` is not in `a`");
    refused("[0.75,0.25]", "[0.75,0.5]", "sum to `1.25`");
    refused("[0.75,0.25]", "[0.75]", "`a` has 2 entries and `p` 1");
    refused(
        "\"VWState\":{",
        "\"routewright\":{\"cost_usd\":-1},\"VWState\":{",
        "`routewright.cost_usd` is `-1`",
    );
    let twice = format!("{EVENT}\n{EVENT}");
    let said = import(dir.path(), &twice, &ImportOptions::default()).unwrap_err().to_string();
    assert!(said.contains("item 2 of ") && said.contains("event `e1` is in an earlier record"), "{said}");
    refused("2020-01-02T", "yesterday", "`Timestamp`");
    let stranger = EVENT.replace("\"Version\"", "\"anything else\"");
    assert!(import(dir.path(), &stranger, &ImportOptions::default()).is_ok());
    let skipped = EVENT.replace("\"pdrop\":0.5", "\"_skipLearn\":true") + EVENT;
    let summary = import(dir.path(), &skipped, &ImportOptions::default()).unwrap();
    assert_eq!((summary.records, summary.rows, summary.skipped.len()), (2, 1, 1));
}

#[test]
fn out_and_in_again_is_the_same_log() {
    let dir = tempfile::tempdir().unwrap();
    let row = |id: &str, model: &str, p: f64| DecisionRow {
        decision_id: id.to_owned(),
        timestamp_ms: 951_868_800_123,
        policy: "p".into(),
        policy_version: "v".into(),
        policy_digest: "d".into(),
        candidates: ["a".to_owned(), "b".to_owned(), "c".to_owned()].into(),
        propensities: vec![0.1, 0.2, 0.7],
        model: model.to_owned(),
        propensity: p,
        pass_probability: Some(0.25),
        seed: u64::MAX,
        source: Some("s".to_owned()),
        prompt: Some("say \"hi\"\n".to_owned()),
        features: Some(vec![0.1, -2.5]),
        objective: Some("{\"cost\":2.0}".to_owned()),
        constraints: Some("{\"max_cost_usd\":0.5}".to_owned()),
        ..DecisionRow::default()
    };
    let rows = [row("one", "a", f64::from(0.1_f32)), row("two", "c", f64::from(0.7_f32))];
    let path = dir.path().join("in.parquet");
    let mut writer = RowWriter::create(&path, WriteOptions::default()).unwrap();
    rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
    writer.finish().unwrap();
    let feedback = FeedbackRow {
        outcome_id: "o".to_owned(),
        decision_id: "two".to_owned(),
        kind: "score".to_owned(),
        value: Some(0.3),
        cost_usd: Some(0.01),
        ..FeedbackRow::default()
    };
    let outcomes = Outcomes::of_rows([&feedback], "score", Combine::Latest);
    let events = dir.path().join("events.jsonl");
    assert_eq!(write_dsjson(&path, &outcomes, &RewardRule::default(), &events).unwrap(), 2);
    run(&[events], dir.path(), &ImportOptions::default()).unwrap();
    let found = decisions(&dir.path().join("decisions.parquet"));
    for (found, row) in found.iter().zip(&rows) {
        // The chosen candidate comes first in an event; the rest is as it was.
        assert_eq!(found.candidates[0], row.model);
        let place = |name: &String| row.candidates.iter().position(|c| c == name).unwrap();
        assert!(
            found
                .candidates
                .iter()
                .zip(&found.propensities)
                .all(|(name, p)| row.propensities[place(name)] == *p)
        );
        let same = DecisionRow {
            candidates: row.candidates.clone(),
            propensities: row.propensities.clone(),
            ..found.clone()
        };
        assert_eq!(same, *row);
    }
    let again = Outcomes::load(&dir.path().join("feedback.parquet"), "score", Combine::Latest).unwrap();
    assert_eq!(
        (again.value("two"), again.cost_usd("two"), again.value("one")),
        (Some(0.3), Some(0.01), None)
    );
}

#[test]
fn what_events_lack_is_made_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let bare = r#"{"_label_cost":-1.0,"_label_probability":0.5,"_label_Action":2,"a":[2,1],"p":[0.5,0.5]}"#;
    let summary = import(dir.path(), &format!("{bare}\n{bare}"), &ImportOptions::default()).unwrap();
    assert_eq!(summary.changed.values().copied().collect::<Vec<_>>(), [2, 2]);
    let rows = decisions(&dir.path().join("decisions.parquet"));
    assert_ne!(rows[0].decision_id, rows[1].decision_id, "equal events are two decisions");
    assert!(rows[0].timestamp_ms < rows[1].timestamp_ms);
    let id = rows[0].decision_id.clone();
    import(dir.path(), bare, &ImportOptions::default()).unwrap();
    assert_eq!(decisions(&dir.path().join("decisions.parquet"))[0].decision_id, id, "made the same again");
}

#[test]
fn rounded_probabilities_are_divided_by_their_sum() {
    let dir = tempfile::tempdir().unwrap();
    let event = |p: &str, labelled: &str| {
        format!(
            r#"{{"EventId":"e","Timestamp":1577934245,"_label_probability":{labelled},"a":[1,2,3],"p":{p}}}"#
        )
    };
    let summary = import(dir.path(), &event("[0.33,0.33,0.33]", "0.33"), &ImportOptions::default()).unwrap();
    assert_eq!(summary.changed.len(), 1);
    let row = &decisions(&dir.path().join("decisions.parquet"))[0];
    assert_eq!(row.propensities[2], 1.0 / 3.0);
    assert!((row.propensity - 1.0 / 3.0).abs() < 1e-15, "{}", row.propensity);
    assert_eq!(row.timestamp_ms, 1_577_934_245_000);
    let exact = import(dir.path(), &event("[0.5,0.25,0.25]", "0.5"), &ImportOptions::default()).unwrap();
    assert!(exact.changed.is_empty());
    for wrong in ["[0.33,0.33,0.3]", "[1,1,0]", "[0.5,0.5,0.1]"] {
        let error = import(dir.path(), &event(wrong, "0.33"), &ImportOptions::default()).unwrap_err();
        assert!(error.to_string().contains("sum to"), "{error}");
    }
}

#[test]
fn events_that_are_never_kept_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let dropped = EVENT.replace("\"pdrop\":0.5", "\"pdrop\":1.0");
    let both = dropped.clone() + &EVENT.replace("\"e1\"", "\"e2\"");
    let summary = import(dir.path(), &both, &ImportOptions::default()).unwrap();
    assert_eq!((summary.rows, summary.skipped.values().sum::<u64>()), (1, 1));
    let error = import(dir.path(), &dropped, &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("`pdrop` 1"), "{error}");
}
