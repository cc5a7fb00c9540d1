//! On a world whose answers say how good they are and agree where they are right.

#![expect(clippy::print_stdout, reason = "a test shows its figures")]

use crate::evaluate::{Average, JudgeOptions};
use crate::method::Device;
use crate::methods::find;
use crate::progress::Silent;
use crate::rollout::{ReplayWorld, play, rollout};
use crate::train::{FeatureChoice, Prepared, RunOptions};
use routewright_data::OutcomeTable;
use routewright_data::answers::AnswerTable;
use routewright_data::synthetic::{Settings, World};
use routewright_policy::{Objective, artifact};
use serde_json::json;

mod noise_tests;

fn run() -> RunOptions<'static> {
    RunOptions { average: Average::Micro, seed: 1, device: Device::Cpu, progress: &Silent, checkpoint: None }
}

fn simulated(n: usize) -> (OutcomeTable, AnswerTable) {
    let settings = Settings { n_arms: 4, drift: 0.0, missing: 0.0, ..Settings::default() };
    let found = World::new(settings, 11).answered(n, 1);
    (found.table, found.answers)
}

fn sides() -> (Prepared, OutcomeTable, AnswerTable) {
    let (table, answers) = simulated(1600);
    let (train, test): (Vec<usize>, Vec<usize>) = (0..1600).partition(|row| row % 2 == 0);
    let models = table.models.clone();
    let prepared = Prepared::new(table.select_rows(&train), &FeatureChoice::default(), 1).unwrap();
    let prepared = prepared.with_answers(&answers.select_rows(&train), &models);
    (prepared, table.select_rows(&test), answers.select_rows(&test))
}

#[test]
fn it_is_above_the_line_and_plays_as_it_was_judged() {
    let (prepared, test, answers) = sides();
    let row = find("cascade-routing").unwrap();
    let fitted = prepared.fit(row, &json!({ "points": 12 }), &run()).unwrap();
    let policy = prepared.policy(row, fitted, 1).unwrap();
    let world = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
    let played = play(row.name, &policy, &test, &world, &JudgeOptions::default(), &[1]).unwrap();
    let single = |arm: usize| (test.cost_usd.column_mean(arm).unwrap(), test.score.column_mean(arm).unwrap());
    let singles: Vec<(f64, f64)> = (0..4).map(single).collect();
    let cheap = singles.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    let best = singles.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let line = |cost: f64| cheap.1 + (cost - cheap.0) / (best.0 - cheap.0) * (best.1 - cheap.1);
    let between = played.frontier.points.iter().filter(|p| p.cost_usd > cheap.0 && p.cost_usd < best.0);
    let gains: Vec<f64> = between.map(|p| p.score - line(p.cost_usd)).collect();
    let gain = gains.iter().sum::<f64>() / gains.len().max(1) as f64;
    println!("cascade-routing: mean gain over the line {gain:.4} at {} points", gains.len());
    assert!(gains.len() > 2 && gain > 0.02, "{gains:?}");
}

#[test]
fn budgets_promises_and_special_cases() {
    let (prepared, test, answers) = sides();
    let row = find("cascade-routing").unwrap();
    let usd = test.cost_usd.column_mean(0).unwrap().max(test.cost_usd.column_mean(3).unwrap()) * 0.4;
    let outcomes = |params: serde_json::Value, objective: Option<Objective>| {
        let policy = prepared.policy(row, prepared.fit(row, &params, &run()).unwrap(), 1).unwrap();
        let world = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
        let (found, _) = rollout(&policy, &test, &world, objective, &[1]).unwrap();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        (mean(&found.scores), mean(&found.costs), mean(&found.calls))
    };
    let (_, cost, _) = outcomes(json!({ "budget_usd": usd, "points": 6 }), None);
    assert!(cost < 1.3 * usd, "{cost} {usd}");
    let (_, _, calls) = outcomes(json!({ "options": "single", "points": 4 }), None);
    assert_eq!(calls, 1.0);
    let free = Some(Objective { quality: 1.0, cost: 0.0, latency: 0.0 });
    let (_, _, calls) = outcomes(json!({ "options": "prefixes", "depth": 2, "points": 4 }), free);
    assert!(calls > 1.5 && calls <= 2.0, "{calls}");
    let promised =
        prepared.fit(row, &json!({ "max_drop": 0.2, "confidence": 0.9, "points": 8 }), &run()).unwrap();
    assert!(promised.metrics["promise_bound"] <= 0.2 + 1e-9, "{:?}", promised.metrics);
    let error =
        prepared.fit(row, &json!({ "max_drop": 0.001, "points": 4 }), &run()).unwrap_err().to_string();
    assert!(error.contains("needs at least"), "{error}");
}

#[test]
fn its_artifact_plays_bit_for_bit_and_odd_logs_are_refused() {
    let (prepared, test, answers) = sides();
    let row = find("cascade-routing").unwrap();
    let params = json!({ "options": "full", "points": 3, "depth": 2 });
    let mut fitted = prepared.fit(row, &params, &run()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    let about = (fitted.params.clone(), fitted.metrics.clone());
    let program = fitted.program.take().unwrap();
    prepared.program_draft("p", row, program, about, "train", 1).save(&path).unwrap();
    let loaded = artifact::load(&path).unwrap();
    let memory = prepared.policy(row, prepared.fit(row, &params, &run()).unwrap(), 1).unwrap();
    let few: Vec<usize> = (0..60).collect();
    let (test, answers) = (test.select_rows(&few), answers.select_rows(&few));
    let outcomes = |policy: &routewright_policy::Policy| {
        let world = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
        rollout(policy, &test, &world, None, &[1]).unwrap()
    };
    assert_eq!(outcomes(&loaded), outcomes(&memory));
    for (key, value) in [
        ("depth", json!(0)),
        ("before", json!("oracle")),
        ("slices", json!([1.0, 0.0, 1.0])),
        ("retain", json!(-0.5)),
        ("own_penalty", json!(0.0)),
        ("normalize", json!("exat")),
        ("options", json!("some")),
    ] {
        let error = prepared.fit(row, &json!({ key: value }), &run()).unwrap_err().to_string();
        assert!(error.contains("cascade-routing"), "{key}: {error}");
    }
    let bare = Prepared::new(test, &FeatureChoice::default(), 1).unwrap();
    assert!(bare.fit(row, &json!({}), &run()).unwrap_err().to_string().contains("`response`"));
}
