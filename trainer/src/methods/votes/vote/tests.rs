//! On the simulated world, where who is right is known, and on logs that carry no vote.

use super::*;
use crate::evaluate::Average;
use crate::method::Device;
use crate::progress::Silent;
use crate::rollout::{ReplayWorld, rollout};
use crate::train::{FeatureChoice, Prepared, RunOptions};
use routewright_data::synthetic::{AnsweredWorld, Settings, World};
use routewright_policy::{Policy, artifact};
use serde_json::{Value, json};

pub(super) fn run() -> RunOptions<'static> {
    RunOptions { average: Average::Micro, seed: 1, device: Device::Cpu, progress: &Silent, checkpoint: None }
}

fn world() -> (AnsweredWorld, Prepared) {
    let settings = Settings { n_arms: 5, missing: 0.0, drift: 0.0, ..Settings::default() };
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
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    (mean(&outcomes.scores), mean(&outcomes.calls))
}

#[test]
fn weights_by_task_beat_plurality_and_the_best_single_model_where_skills_differ() {
    let (world, prepared) = world();
    let score = |params: Value| {
        let fitted = prepared.fit(&ROW, &params, &run()).unwrap();
        assert_eq!(fitted.metrics["calls"], 5.0);
        played(&world, &prepared.policy(&ROW, fitted, 1).unwrap())
    };
    let (weighted, calls) = score(json!({}));
    let (plurality, _) = score(json!({ "weights": "plurality" }));
    let test = (0..1200).filter(|row| row % 2 == 1);
    let mean = |arm: usize| {
        test.clone().map(|row| f64::from(world.table.score.get(row, arm).unwrap())).sum::<f64>() / 600.0
    };
    let single = (0..5).map(mean).fold(0.0, f64::max);
    assert_eq!(calls, 5.0);
    assert!(
        weighted > single + 0.05 && weighted > plurality + 0.01,
        "{weighted}, plurality {plurality}, single {single}"
    );
}

#[test]
fn metrics_say_what_it_costs_and_whether_it_pays() {
    let (_, prepared) = world();
    let fitted = prepared.fit(&ROW, &json!({}), &run()).unwrap();
    let metrics = &fitted.metrics;
    let prices: f64 = (0..5).map(|arm| prepared.train.cost_usd.column_mean(arm).unwrap()).sum();
    assert!((metrics["cost_usd"] - prices).abs() < 1e-12);
    assert!((metrics["folds_gain"] - (metrics["folds_score"] - metrics["folds_best_single"])).abs() < 1e-12);
    assert!(
        metrics["folds_gain"] > 2.0 * metrics["folds_gain_se"] && metrics["folds_gain_se"] > 0.0,
        "{metrics:?}"
    );
    assert_eq!(fitted.params["answers"], "open");
    assert_eq!(fitted.params["voters"].as_array().map(Vec::len), Some(5));
}

#[test]
fn its_artifact_votes_bit_for_bit() {
    let (world, prepared) = world();
    let fit = || {
        prepared
            .fit(&ROW, &json!({ "voters": [prepared.train.models[0], prepared.train.models[3]] }), &run())
            .unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vote");
    let mut fitted = fit();
    let about = (fitted.params.clone(), fitted.metrics.clone());
    let program = fitted.program.take().unwrap();
    let manifest = prepared.program_draft("v", &ROW, program, about, "train", 1).save(&path).unwrap();
    assert_eq!(manifest.program.as_ref().unwrap().name, "vote");
    let loaded = artifact::load(&path).unwrap();
    let memory = prepared.policy(&ROW, fit(), 1).unwrap();
    assert_eq!(played(&world, &loaded), played(&world, &memory));
    assert_eq!(played(&world, &loaded).1, 2.0);
}

#[test]
fn logs_and_parameters_that_carry_no_vote_are_refused_in_words() {
    let (_, prepared) = world();
    let says = |params: Value| prepared.fit(&ROW, &params, &run()).unwrap_err().to_string();
    assert!(says(json!({ "voters": ["nope"] })).contains("`nope`, which is no model of the log"));
    assert!(says(json!({ "normalize": "nubmer" })).contains("did you mean `number`"));
    assert!(says(json!({ "twins": "/swapped" })).contains("`/swapped`"));
    assert!(says(json!({ "weights": "many" })).contains("`weights` is `\"many\"`"));
    assert!(says(json!({ "normalize": "json" })).contains("reads no answer"));
    let settings = Settings { n_arms: 2, ..Settings::default() };
    let plain = Prepared::new(World::new(settings, 1).table(60).0, &FeatureChoice::default(), 1).unwrap();
    let error = plain.fit(&ROW, &json!({}), &run()).unwrap_err().to_string();
    assert!(error.contains("it has no answers"), "{error}");
}
