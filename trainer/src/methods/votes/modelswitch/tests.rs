//! On the simulated world, whose samples agree as far as is stated, and on a script.

use super::*;
use crate::evaluate::Average;
use crate::method::Device;
use crate::progress::Silent;
use crate::rollout::{Line, ReplayWorld, ScriptedWorld, episode, rollout};
use crate::train::{FeatureChoice, Prepared, RunOptions};
use routewright_data::synthetic::{AnsweredWorld, Settings, World};
use routewright_policy::program::{Budget, Reply, StepReason};
use routewright_policy::{Policy, Request, artifact};
use serde_json::{Value, json};

fn run() -> RunOptions<'static> {
    RunOptions { average: Average::Micro, seed: 1, device: Device::Cpu, progress: &Silent, checkpoint: None }
}

fn world() -> (AnsweredWorld, Prepared) {
    let settings = Settings { n_arms: 4, missing: 0.0, drift: 0.0, ..Settings::default() };
    let world = World::new(settings, 8).answered(1000, 4);
    let rows: Vec<usize> = (0..1000).filter(|row| row % 2 == 0).collect();
    let (train, answers) = (world.table.select_rows(&rows), world.answers.select_rows(&rows));
    let models = train.models.clone();
    let prepared =
        Prepared::new(train, &FeatureChoice::default(), 1).unwrap().with_answers(&answers, &models);
    (world, prepared)
}

fn policy(prepared: &Prepared, params: Value) -> Policy {
    let fitted = prepared.fit(&ROW, &params, &run()).unwrap();
    prepared.policy(&ROW, fitted, 1).unwrap()
}

/// Mean score and calls on the other half of the world.
fn played(world: &AnsweredWorld, policy: &Policy) -> (f64, f64) {
    let rows: Vec<usize> = (0..1000).filter(|row| row % 2 == 1).collect();
    let (test, answers) = (world.table.select_rows(&rows), world.answers.select_rows(&rows));
    let replay = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
    let (outcomes, _) = rollout(policy, &test, &replay, None, &[1]).unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    (mean(&outcomes.scores), mean(&outcomes.calls))
}

#[test]
fn switching_beats_as_many_samples_of_one_model_and_calls_fewer() {
    let (world, prepared) = world();
    let (both, calls) = played(&world, &policy(&prepared, json!({ "samples": 4 })));
    let (one, of_one) = played(&world, &policy(&prepared, json!({ "samples": 4, "stages": 1 })));
    assert_eq!(of_one, 4.0);
    // All samples of both would be 8 calls.
    assert!(calls > 4.0 && calls < 7.5, "{calls}");
    assert!(both > one + 0.01, "{both} with a second model, {one} without");
    // Whatever the threshold, at least one sample of the first model is drawn; with the lowest one nothing else is.
    let (_, least) = played(&world, &policy(&prepared, json!({ "samples": 4, "agreement": 0.01 })));
    assert_eq!(least, 4.0);
}

#[test]
fn the_method_knows_on_train_what_its_program_does() {
    let (world, prepared) = world();
    let fitted = prepared.fit(&ROW, &json!({ "samples": 3 }), &run()).unwrap();
    let metrics = fitted.metrics.clone();
    let policy = prepared.policy(&ROW, fitted, 1).unwrap();
    let rows: Vec<usize> = (0..1000).filter(|row| row % 2 == 0).collect();
    let answers = world.answers.select_rows(&rows);
    let train = world.table.select_rows(&rows);
    let replay = ReplayWorld::new(&train.queries, &train.models, &answers, &policy.arms);
    let (outcomes, _) = rollout(&policy, &train, &replay, None, &[1]).unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!((mean(&outcomes.calls) - metrics["calls"]).abs() < 1e-9, "{metrics:?}");
    assert!((mean(&outcomes.costs) - metrics["cost_usd"]).abs() < 1e-12, "{metrics:?}");
    // Ties that are drawn count half there.
    assert!((mean(&outcomes.scores) - metrics["train_score"]).abs() < 0.01, "{metrics:?}");
    assert!(metrics["switched"] > 0.0 && metrics["switched"] < 1.0, "{metrics:?}");
}

#[test]
fn its_artifact_plays_bit_for_bit_and_a_script_is_followed() {
    let (world, prepared) = world();
    let models: Vec<String> = prepared.train.models[..2].to_vec();
    let params = json!({ "samples": 2, "models": models, "search_weights": false });
    let mut fitted = prepared.fit(&ROW, &params, &run()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("switch");
    let about = (fitted.params.clone(), fitted.metrics.clone());
    let program = fitted.program.take().unwrap();
    prepared.program_draft("s", &ROW, program, about, "train", 1).save(&path).unwrap();
    let loaded = artifact::load(&path).unwrap();
    assert_eq!(played(&world, &loaded), played(&world, &policy(&prepared, params)));
    let line = |model: usize, answer: &str| Line {
        model: models[model].clone(),
        text: format!("The answer is {answer}."),
        answer: Some(answer.to_owned()),
        ..Line::default()
    };
    let agreed = vec![line(0, "4"), line(0, "4")];
    let script = ScriptedWorld::new(agreed, &loaded.arms);
    let found = episode(&loaded, Request::default(), Budget::default(), &script, 0).unwrap().unwrap();
    assert_eq!((found.answers.len(), found.reply()), (2, Some(&Reply::Answer(0))));
    assert_eq!(found.steps[1].reason, StepReason::Agreement);
    // 4 and 5 count a quarter each, the second model's 5 one.
    let torn = vec![line(0, "4"), line(0, "5"), line(1, "5"), line(1, "5")];
    let script = ScriptedWorld::new(torn, &loaded.arms);
    let found = episode(&loaded, Request::default(), Budget::default(), &script, 0).unwrap().unwrap();
    assert_eq!((found.answers.len(), found.reply()), (4, Some(&Reply::Answer(1))));
    assert_eq!(found.steps[1].reason, StepReason::Disagreement);
}

#[test]
fn logs_and_parameters_that_carry_no_switch_are_refused_in_words() {
    let (_, prepared) = world();
    let says = |params: Value| prepared.fit(&ROW, &params, &run()).unwrap_err().to_string();
    assert!(says(json!({ "samples": 9 })).contains("a query has at most 4"));
    assert!(says(json!({ "stages": 5 })).contains("`5` models are sampled, expected 1 to 4"));
    assert!(says(json!({ "models": ["nope"] })).contains("`nope`, which is no model of the log"));
    assert!(says(json!({ "agreement": 0.0 })).contains("`agreement` is `0`"));
    assert!(says(json!({ "normalize": "nubmer" })).contains("did you mean `number`"));
    assert_eq!(all_weights(2).len(), 16);
    assert_eq!(all_weights(2)[..3], [vec![1.0, 1.0], vec![2.0, 1.0], vec![1.0, 2.0]]);
}
