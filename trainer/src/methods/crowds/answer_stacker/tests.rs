//! On the simulated world, where skills differ by topic; on logs that carry no stacker; on public logs.

#![expect(clippy::print_stdout, reason = "a test shows its figures")]

use super::*;
use crate::evaluate::Average;
use crate::method::Device;
use crate::progress::Silent;
use crate::rollout::{ReplayWorld, rollout};
use crate::train::{FeatureChoice, Prepared, RunOptions};
use routewright_data::answers::AnswerTable;
use routewright_data::synthetic::{AnsweredWorld, Settings, World};
use routewright_data::{LoadOptions, OutcomeTable};
use routewright_policy::{Policy, artifact};
use serde_json::{Value, json};

fn run() -> RunOptions<'static> {
    RunOptions { average: Average::Micro, seed: 1, device: Device::Cpu, progress: &Silent, checkpoint: None }
}

fn world(missing: f64) -> (AnsweredWorld, Prepared) {
    let settings = Settings { n_arms: 5, missing, drift: 0.0, ..Settings::default() };
    let world = World::new(settings, 3).answered(1200, 1);
    let rows: Vec<usize> = (0..1200).filter(|row| row % 2 == 0).collect();
    let (train, answers) = (world.table.select_rows(&rows), world.answers.select_rows(&rows));
    let models = train.models.clone();
    let prepared =
        Prepared::new(train, &FeatureChoice::default(), 1).unwrap().with_answers(&answers, &models);
    (world, prepared)
}

/// Mean score and calls on the other half of the world.
fn played(world: &AnsweredWorld, policy: &Policy) -> (f64, f64) {
    let rows: Vec<usize> = (0..1200).filter(|row| row % 2 == 1).collect();
    let (test, answers) = (world.table.select_rows(&rows), world.answers.select_rows(&rows));
    let replay = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
    let (outcomes, _) = rollout(policy, &test, &replay, None, &[1]).unwrap();
    let known: Vec<usize> = (0..600).filter(|row| !outcomes.scores[*row].is_nan()).collect();
    let mean = |values: &[f64]| known.iter().map(|row| values[*row]).sum::<f64>() / known.len() as f64;
    (mean(&outcomes.scores), mean(&outcomes.calls))
}

/// One setting, for tests that need no grid.
fn one() -> Value {
    let blocks = json!([["who", "who-by-task", "accuracy", "agreement"]]);
    json!({ "blocks": blocks, "losses": ["logistic"], "lambda": [0.01], "repeats": 1 })
}

#[test]
fn it_beats_the_best_single_model_where_skills_differ_and_says_so_beforehand() {
    let (world, prepared) = world(0.0);
    let fitted = prepared.fit(&ROW, &json!({}), &run()).unwrap();
    let metrics = fitted.metrics.clone();
    assert!(metrics["folds_gain"] > 3.0 * metrics["folds_gain_se"], "{metrics:?}");
    assert!(metrics["folds_calibration_error"] < 0.08, "{metrics:?}");
    assert_eq!(fitted.tuning.unwrap().candidates, 30);
    let (score, calls) = played(&world, &prepared.policy(&ROW, fitted, 1).unwrap());
    let test = || (0..1200).filter(|row| row % 2 == 1);
    let mean =
        |arm: usize| test().map(|row| f64::from(world.table.score.get(row, arm).unwrap())).sum::<f64>();
    let single = (0..5).map(mean).fold(0.0, f64::max) / 600.0;
    assert!(calls == 5.0 && score > single + 0.05, "{score}, single {single}");
    // What the folds promise is kept within three standard errors of a mean of 600.
    assert!((score - metrics["folds_score"]).abs() < 3.0 * 0.02, "{score}, {metrics:?}");
}

#[test]
fn its_artifact_chooses_bit_for_bit_and_abstains_where_it_was_asked_to() {
    let (world, prepared) = world(0.0);
    for loss in ["softmax", "logistic"] {
        let mut params = one();
        (params["losses"], params["abstain"]) = (json!([loss]), json!(0.5));
        let fit = |params: &Value| prepared.fit(&ROW, params, &run()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stacker");
        let mut fitted = fit(&params);
        let about = (fitted.params.clone(), fitted.metrics.clone());
        let program = fitted.program.take().unwrap();
        let manifest = prepared.program_draft("s", &ROW, program, about, "train", 1).save(&path).unwrap();
        assert_eq!(manifest.program.as_ref().unwrap().name, "select");
        let loaded = artifact::load(&path).unwrap();
        let memory = prepared.policy(&ROW, fit(&params), 1).unwrap();
        let sure = played(&world, &loaded);
        assert_eq!(sure, played(&world, &memory));
        // Abstentions score 0.
        params["abstain"] = json!(0.0);
        let always = played(&world, &prepared.policy(&ROW, fit(&params), 1).unwrap());
        assert!(sure.0 < always.0, "{loss}: {sure:?} {always:?}");
    }
}

#[test]
fn a_model_far_ahead_is_called_alone_and_gaps_are_no_fault() {
    let (world, prepared) = world(0.5);
    let params = |margin: f64| {
        let mut params = one();
        params["margin"] = json!(margin);
        params
    };
    let fitted = prepared.fit(&ROW, &params(1e6), &run()).unwrap();
    assert_eq!(fitted.metrics["calls"], 1.0);
    let (score, calls) = played(&world, &prepared.policy(&ROW, fitted, 1).unwrap());
    assert!(calls == 1.0 && score > 0.3, "{score}");
    let fitted = prepared.fit(&ROW, &params(-1e6), &run()).unwrap();
    assert!(fitted.program.is_some() && fitted.metrics["calls"] == 5.0);
    let alone = json!({ "members": [prepared.train.models[2]], "margin": -1e6 });
    assert!(prepared.fit(&ROW, &alone, &run()).is_ok());
}

#[test]
fn logs_and_parameters_that_carry_no_stacker_are_refused_in_words() {
    let (_, prepared) = world(0.0);
    let says = |params: Value| prepared.fit(&ROW, &params, &run()).unwrap_err().to_string();
    assert!(says(json!({ "members": ["nope"] })).contains("`members` names `nope`"));
    assert!(says(json!({ "normalize": "nubmer" })).contains("did you mean `number`"));
    assert!(says(json!({ "normalize": "json" })).contains("reads no answer"));
    assert!(says(json!({ "lambda": [0.0] })).contains("`lambda` has `0`"));
    assert!(says(json!({ "blocks": [[]] })).contains("an empty list"));
    assert!(says(json!({ "repeats": 0 })).contains("`repeats` is `0`"));
    assert!(says(json!({ "folds": 1 })).contains("`folds` is `1`"));
    assert!(says(json!({ "abstain": 1.0 })).contains("[0, 1)"));
}

#[test]
fn calibration_errors_are_those_by_hand() {
    let seen = (0..20).map(|at| (f64::from(at) / 20.0, f64::from(at / 10))).collect();
    // Bins of two: mean probabilities .025, .125, .., .925 against 0 five times and 1 five times.
    let error = expected_calibration_error(seen).unwrap();
    assert!(
        (error - (0.025 + 0.125 + 0.225 + 0.325 + 0.425 + 0.475 + 0.375 + 0.275 + 0.175 + 0.075) / 10.0)
            .abs()
            < 1e-12
    );
    assert_eq!(expected_calibration_error(Vec::new()), None);
}

/// Figures of the folds of train and valid; test is not read.
#[test]
fn on_folds_of_public_logs_it_is_as_good_as_measured() {
    let cases = [("llmbar_judges.parquet", "exact", 0.94), ("gsm8k_openai.parquet", "exact", 0.574)];
    for (name, normalize, least) in cases {
        let Some(path) = routewright_data::testing::shared(&format!("data/{name}")) else { continue };
        let table = OutcomeTable::load(&path, &LoadOptions::default()).unwrap();
        let answers = AnswerTable::load(&path, &table).unwrap();
        let is_train = |row: &usize| table.queries[*row].split.as_deref() != Some("test");
        let rows: Vec<usize> = (0..table.n_queries()).filter(is_train).collect();
        let (train, answers) = (table.select_rows(&rows), answers.select_rows(&rows));
        let models = train.models.clone();
        let prepared =
            Prepared::new(train, &FeatureChoice::default(), 1).unwrap().with_answers(&answers, &models);
        let fitted = prepared.fit(&ROW, &json!({ "normalize": normalize }), &run()).unwrap();
        println!("{name}: {} {:?}", fitted.params, fitted.metrics);
        assert!(fitted.metrics["folds_score"] > least, "{name}: {:?}", fitted.metrics);
    }
}
