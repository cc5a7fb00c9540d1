use super::*;
use crate::log::{PairRow, RowWriter, WriteOptions};

fn row(query: &str, a: &str, b: &str, winner: Winner) -> PairRow {
    PairRow {
        query_id: query.to_owned(),
        split: None,
        source: None,
        prompt: format!("prompt of {query}"),
        model_a: a.to_owned(),
        model_b: b.to_owned(),
        winner,
        judge: None,
        weight: None,
        timestamp_ms: None,
        response_a: None,
        response_b: None,
    }
}

fn load(rows: &[PairRow], options: &LoadOptions) -> Result<PairTable, LogError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pairs.parquet");
    let mut writer = RowWriter::create(&path, WriteOptions::default()).unwrap();
    rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
    writer.finish().unwrap();
    PairTable::load(&path, options)
}

#[test]
fn pairs_point_to_sorted_models() {
    let rows = [row("q", "z", "m", Winner::A), row("r", "m", "k", Winner::Tie)];
    let table = load(&rows, &LoadOptions::default()).unwrap();
    assert_eq!(table.models, ["k", "m", "z"]);
    let pair = &table.pairs[0];
    assert_eq!((pair.query, pair.model_a, pair.model_b, pair.winner), (0, 2, 1, Winner::A));
    assert_eq!(table.pairs[1].winner.share_of_a(), 0.5);
    let options = LoadOptions { models: Some(vec!["m".into(), "k".into()]), ..LoadOptions::default() };
    let table = load(&rows, &options).unwrap();
    assert_eq!((table.queries.len(), table.queries[0].id.as_str(), table.pairs.len()), (1, "r", 1));
}

#[test]
fn bad_pairs_are_refused() {
    let error = load(&[row("q", "m", "m", Winner::A)], &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("row 1") && error.contains("two models"), "{error}");
    let twice = [row("q", "m", "n", Winner::A), row("q", "m", "n", Winner::B)];
    let error = load(&twice, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("row 2"), "{error}");
    let options = LoadOptions { models: Some(vec!["mm".into()]), ..LoadOptions::default() };
    assert!(matches!(load(&twice[..1], &options), Err(LogError::UnknownModel { .. })));
}

#[test]
fn a_key_repeated_in_a_split_not_asked_for_is_refused() {
    let in_split = |query: &str, split: &str| PairRow {
        split: Some(split.to_owned()),
        ..row(query, "m", "n", Winner::A)
    };
    let rows = [in_split("q", "train"), in_split("r", "test"), in_split("r", "test")];
    let error = load(&rows, &LoadOptions::split("train")).unwrap_err().to_string();
    assert!(error.contains("row 3") && error.contains("`r`"), "{error}");
    // A judgement without a judge and one of a named judge are two.
    let by =
        |judge: Option<&str>| PairRow { judge: judge.map(str::to_owned), ..row("q", "m", "n", Winner::A) };
    assert_eq!(load(&[by(None), by(Some("j"))], &LoadOptions::default()).unwrap().pairs.len(), 2);
}

#[test]
fn judges_are_chosen_and_weighted() {
    let by = |query: &str, rival: &str, judge: &str| PairRow {
        judge: Some(judge.to_owned()),
        ..row(query, "m", rival, Winner::A)
    };
    let rows =
        [by("q", "a", "kept"), by("q", "n", "left=out"), by("r", "n", "kept"), by("s", "z", "left=out")];
    let judges = |texts: &[&str]| -> Result<Judges, JudgesError> {
        let parsed: Result<Vec<Judge>, _> = texts.iter().map(|text| text.parse()).collect();
        Judges::only(&parsed?)
    };
    let table = || load(&rows, &LoadOptions::default()).unwrap();
    let kept = table().judged_by(&judges(&["kept=0.5"]).unwrap()).unwrap();
    assert_eq!(kept.models, ["a", "m", "n"]);
    assert_eq!(kept.queries.iter().map(|q| q.id.as_str()).collect::<Vec<_>>(), ["q", "r"]);
    let read: Vec<_> = kept.pairs.iter().map(|p| (p.query, p.model_a, p.model_b, p.weight)).collect();
    assert_eq!(read, [(0, 1, 0, 0.5), (1, 1, 2, 0.5)]);
    assert_eq!(table().judged_by(&Judges::default()).unwrap(), table());
    // A name may hold the sign of a weight.
    assert_eq!(table().judged_by(&judges(&["left=out"]).unwrap()).unwrap().pairs.len(), 2);
    let error = table().judged_by(&judges(&["kep"]).unwrap()).unwrap_err().to_string();
    assert!(error.contains("`kep`") && error.contains("`kept`"), "{error}");
    assert!(judges(&["kept=-1"]).unwrap_err().to_string().contains("`-1`"));
    assert_eq!(judges(&["kept", "kept=2"]), Err(JudgesError::Twice("kept".to_owned())));
}

#[test]
fn a_judgement_counts_by_its_weight_and_that_of_its_judge() {
    let of = |query: &str, weight: Option<f32>| PairRow {
        judge: Some("j".to_owned()),
        weight,
        ..row(query, "m", "n", Winner::A)
    };
    let rows = [of("q", None), of("r", Some(0.25)), of("s", Some(0.0)), of("t", Some(3.0))];
    let weights = |table: PairTable| table.pairs.iter().map(|pair| pair.weight).collect::<Vec<_>>();
    let table = || load(&rows, &LoadOptions::default()).unwrap();
    assert_eq!(weights(table()), [1.0, 0.25, 3.0]);
    assert_eq!(table().queries.len(), 3, "a judgement of weight 0 is as good as absent");
    let judges = Judges::only(&["j=2".parse().unwrap()]).unwrap();
    assert_eq!(weights(table().judged_by(&judges).unwrap()), [2.0, 0.5, 6.0]);
    for wrong in [-1.0, f32::NAN, f32::INFINITY] {
        let error =
            load(&[of("q", None), of("r", Some(wrong))], &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("row 2") && error.contains("weight"), "{error}");
    }
}

#[test]
fn lengths_are_characters_of_both_answers() {
    let mut answered = row("q", "m", "n", Winner::A);
    (answered.response_a, answered.response_b) = (Some("h\u{e9}".to_owned()), Some(String::new()));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pairs.parquet");
    let mut writer = RowWriter::create(&path, WriteOptions::default()).unwrap();
    writer.push(answered).unwrap();
    writer.push(row("r", "m", "n", Winner::A)).unwrap();
    writer.finish().unwrap();
    let lengths = |table: PairTable| table.pairs.iter().map(|pair| pair.lengths).collect::<Vec<_>>();
    let table = PairTable::load_with_lengths(&path, &LoadOptions::default()).unwrap();
    assert_eq!(lengths(table), [Some([2, 0]), None]);
    assert_eq!(lengths(PairTable::load(&path, &LoadOptions::default()).unwrap()), [None, None]);
}
