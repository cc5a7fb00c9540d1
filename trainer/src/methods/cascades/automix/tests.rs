//! On the simulated world, whose answers have checks.

#![expect(clippy::print_stdout, reason = "a test shows its figures")]

use super::*;
use crate::evaluate::{Average, JudgeOptions};
use crate::method::Device;
use crate::methods::find;
use crate::progress::Silent;
use crate::rollout::{ReplayWorld, play, rollout};
use crate::train::{FeatureChoice, Prepared, RunOptions};
use routewright_data::OutcomeTable;
use routewright_data::answers::{AnswerRow, AnswerTableBuilder};
use routewright_data::synthetic::{Settings, World};
use routewright_policy::artifact;
use serde_json::json;

fn run() -> RunOptions<'static> {
    RunOptions { average: Average::Micro, seed: 1, device: Device::Cpu, progress: &Silent, checkpoint: None }
}

fn sides() -> (Prepared, OutcomeTable, AnswerTable) {
    let settings = Settings { n_arms: 3, drift: 0.0, missing: 0.0, ..Settings::default() };
    let found = World::new(settings, 9).answered(2000, 1);
    let (train, test): (Vec<usize>, Vec<usize>) = (0..2000).partition(|row| row % 2 == 0);
    let models = found.table.models.clone();
    let prepared = Prepared::new(found.table.select_rows(&train), &FeatureChoice::default(), 1).unwrap();
    let prepared = prepared.with_answers(&found.answers.select_rows(&train), &models);
    (prepared, found.table.select_rows(&test), found.answers.select_rows(&test))
}

#[test]
fn a_model_that_checks_itself_is_worth_its_checks() {
    let (prepared, test, answers) = sides();
    let row = find("automix").unwrap();
    let params = json!({ "samples": 1, "retain": 0.97 });
    let fitted = prepared.fit(row, &params, &run()).unwrap();
    let metrics = fitted.metrics.clone();
    let policy = prepared.policy(row, fitted, 1).unwrap();
    let world = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
    let played = play(row.name, &policy, &test, &world, &JudgeOptions::default(), &[1]).unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (score, cost) = (mean(&played.outcomes.scores), mean(&played.outcomes.costs));
    println!("automix: {score:.4} at {cost:.3e}; {metrics:?}");
    // Every answer is checked: two calls or three.
    let calls = mean(&played.outcomes.calls);
    assert!(calls > 2.0 && calls < 3.0, "{calls}");
    assert!((score - metrics["slice_score"]).abs() < 0.05, "{score} {metrics:?}");
    assert!((cost / metrics["slice_cost_usd"] - 1.0).abs() < 0.15, "{cost} {metrics:?}");
    // On the line from the small to the large model or above it.
    let share = (cost - metrics["small_cost_usd"]) / (metrics["large_cost_usd"] - metrics["small_cost_usd"]);
    let line = metrics["small_score"] + share * (metrics["large_score"] - metrics["small_score"]);
    assert!(share >= 1.0 || score > line, "{score} {line}");
    assert!(played.frontier.points.len() >= 2);
}

#[test]
fn objectives_and_promises_choose_tables() {
    let (prepared, ..) = sides();
    let row = find("automix").unwrap();
    let of = |params: serde_json::Value| prepared.fit(row, &params, &run()).unwrap().metrics;
    let lift = of(json!({ "objective": "lift", "samples": 1 }));
    let kept = of(json!({ "retain": 0.99, "samples": 1 }));
    assert!(
        lift["ibc_lift"] >= kept["ibc_lift"] - 0.1 && lift["slice_cost_usd"] <= kept["slice_cost_usd"],
        "{lift:?} {kept:?}"
    );
    let usd = 0.5 * kept["large_cost_usd"];
    let cheap = of(json!({ "objective": "budget", "budget_usd": usd, "samples": 1 }));
    assert!(cheap["slice_cost_usd"] < 1.2 * usd, "{cheap:?}");
    let promised = of(json!({ "max_drop": 0.1, "confidence": 0.9, "samples": 1 }));
    assert!(promised["promise_bound"] <= 0.1 + 1e-9 && promised["escalated"] < 1.0, "{promised:?}");
    let error = prepared.fit(row, &json!({ "max_drop": 0.001 }), &run()).unwrap_err().to_string();
    assert!(error.contains("needs at least 2995 rows"), "{error}");
}

#[test]
fn the_prompt_is_a_file_of_the_artifact() {
    let (prepared, test, answers) = sides();
    let row = find("automix").unwrap();
    let prompt = "Q: {query} A: {answer} Say whether it is correct or incorrect.";
    let mut fitted = prepared.fit(row, &json!({ "prompt": prompt }), &run()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    let about = (fitted.params.clone(), fitted.metrics.clone());
    let program = fitted.program.take().unwrap();
    prepared.program_draft("p", row, program, about, "train", 1).save(&path).unwrap();
    assert_eq!(std::fs::read_to_string(path.join("verify.prompt.txt")).unwrap(), prompt);
    let loaded = artifact::load(&path).unwrap();
    let memory =
        prepared.policy(row, prepared.fit(row, &json!({ "prompt": prompt }), &run()).unwrap(), 1).unwrap();
    let outcomes = |policy: &routewright_policy::Policy| {
        let world = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
        rollout(policy, &test, &world, None, &[1]).unwrap()
    };
    assert_eq!(outcomes(&loaded), outcomes(&memory));
}

#[test]
fn logs_and_parameters_without_checks_are_refused() {
    let (prepared, test, _) = sides();
    let row = find("automix").unwrap();
    let mut builder = AnswerTableBuilder::new(test.n_queries(), test.n_arms());
    builder.push(0, 0, &AnswerRow { text: Some("four"), ..AnswerRow::default() });
    let models = test.models.clone();
    let mute = Prepared::new(test.clone(), &FeatureChoice::default(), 1)
        .unwrap()
        .with_answers(&builder.finish(), &models);
    let bare = Prepared::new(test, &FeatureChoice::default(), 1).unwrap();
    let says = |prepared: &Prepared, params: serde_json::Value| {
        prepared.fit(row, &params, &run()).unwrap_err().to_string()
    };
    assert!(
        says(&mute, json!({})).contains("`verifier_rate`")
            && says(&bare, json!({})).contains("`verifier_rate`")
    );
    for (key, value) in [
        ("bins", json!(0)),
        ("samples", json!(100)),
        ("tables", json!(["treshold"])),
        ("tables", json!([])),
        ("small", json!("nobody")),
        ("prompt", json!("is it?")),
        ("retain", json!(2.0)),
        ("objective", json!("joy")),
    ] {
        let error = says(&prepared, json!({ key: value }));
        assert!(error.contains("automix"), "{key}: {error}");
    }
    let best = prepared.train.models[0].clone();
    assert!(says(&prepared, json!({ "small": best, "large": best })).contains("are both"));
}
