//! On a world where cheap models that agree are right, with and without its texts.

use super::*;
use crate::evaluate::Average;
use crate::method::Device;
use crate::methods::find;
use crate::progress::Silent;
use crate::rollout::{ReplayWorld, rollout};
use crate::train::{FeatureChoice, Prepared, RunOptions};
use rand::RngExt as _;
use routewright_data::answers::{AnswerRow, AnswerTable, AnswerTableBuilder};
use routewright_data::{Cells as Matrix, OutcomeTable, Query, rng};
use serde_json::json;

const ARMS: [(&str, f64, f32); 3] = [("large", 0.9, 10.0), ("middle", 0.7, 1.0), ("small", 0.6, 0.5)];

fn run() -> RunOptions<'static> {
    RunOptions { average: Average::Micro, seed: 1, device: Device::Cpu, progress: &Silent, checkpoint: None }
}

/// Wrong answers are any of 20, so that two models that agree are right 95 of 100 times; on easy queries, which say so,
/// `small` is always right.
fn world(n: usize, seed: u64, has_texts: bool) -> (OutcomeTable, AnswerTable) {
    let mut rng = rng::stream(seed, "gain gate test");
    let mut builder = AnswerTableBuilder::new(n, ARMS.len());
    let (mut scores, mut costs, mut queries) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..n {
        let is_easy = row % 3 == 0;
        for (arm, (_, right, usd)) in ARMS.iter().enumerate() {
            let is_right = rng.random::<f64>() < *right || (is_easy && arm == 2);
            let answer = if is_right { "17".to_owned() } else { rng.random_range(20..40).to_string() };
            let score = f32::from(u8::from(is_right));
            let said = AnswerRow {
                text: has_texts.then_some(answer.as_str()),
                score: Some(score),
                cost_usd: Some(f64::from(*usd)),
                ..AnswerRow::default()
            };
            builder.push(row, arm, &said);
            scores.push(score);
            costs.push(*usd);
        }
        let kind =
            if is_easy { "an easy addition of small numbers" } else { "a hard integral over the plane" };
        queries.push(Query {
            id: format!("q{seed}-{row}"),
            prompt: format!("{kind}, number {row}"),
            ..Query::default()
        });
    }
    let table = OutcomeTable {
        queries,
        models: ARMS.iter().map(|(model, ..)| (*model).to_owned()).collect(),
        score: Matrix::from_vec(n, ARMS.len(), scores),
        soft_score: None,
        cost_usd: Matrix::from_vec(n, ARMS.len(), costs),
        latency_ms: None,
        vectors: None,
    };
    (table, builder.finish())
}

fn prepared(n: usize, has_texts: bool) -> Prepared {
    let (table, answers) = world(n, 1, has_texts);
    let models = table.models.clone();
    Prepared::new(table, &FeatureChoice::default(), 1).unwrap().with_answers(&answers, &models)
}

/// Mean score, price and calls of a fit on other queries of the same world.
fn judged(prepared: &Prepared, params: serde_json::Value, has_texts: bool) -> ([f64; 3], Fitted) {
    let row = find("gain-gate").unwrap();
    let fit = || prepared.fit(row, &params, &run()).unwrap();
    let policy = prepared.policy(row, fit(), 1).unwrap();
    let (test, answers) = world(1500, 2, has_texts);
    let world = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
    let (outcomes, _) = rollout(&policy, &test, &world, None, &[1]).unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    ([mean(&outcomes.scores), mean(&outcomes.costs), mean(&outcomes.calls)], fit())
}

#[test]
fn a_bundle_keeps_the_score_of_the_strongest_for_less() {
    let prepared = prepared(900, true);
    let ([score, cost, calls], fitted) = judged(&prepared, json!({}), true);
    // Always `large`: 0.9 at 10.
    assert!(score > 0.88 && cost < 7.0, "{score} {cost} {calls}; {:?}", fitted.metrics);
    assert!(calls > 1.0 && calls < 3.0, "{calls}");
    let program = fitted.program.unwrap();
    let gates = program.config()["gates"].as_array().unwrap().clone();
    assert!(gates.len() > 4, "{gates:?}");
    assert!((fitted.metrics["folds_score"] - score).abs() < 0.04, "{score} {:?}", fitted.metrics);
    assert!((fitted.metrics["folds_cost_usd"] - cost).abs() < 1.5, "{cost} {:?}", fitted.metrics);
    let ([_, cheaper, _], _) = judged(&prepared, json!({ "budget_usd": 2.0 }), true);
    assert!(cheaper < 2.3, "{cheaper}");
    let ([_, wary, _], _) = judged(&prepared, json!({ "margin": 3.0 }), true);
    assert!(wary >= cost - 0.3, "{wary} {cost}");
}

#[test]
fn without_answers_the_query_alone_decides() {
    let ([score, cost, calls], _) = judged(&prepared(900, false), json!({}), false);
    // Easy queries are told by their words: a third of them is free of `large`.
    assert!(score > 0.89 && cost < 8.0, "{score} {cost}");
    assert!((calls - 1.0).abs() < 1e-9, "{calls}");
}

#[test]
fn a_promise_is_kept_by_a_gate_before_the_strongest() {
    let prepared = prepared(1500, true);
    let params = json!({ "max_drop": 0.05, "confidence": 0.9 });
    let ([score, cost, _], fitted) = judged(&prepared, params, true);
    assert!(score > 0.85 && cost < 9.5, "{score} {cost}");
    let metrics = &fitted.metrics;
    assert!(metrics["promise_bound"] <= 0.05 + 1e-9 && metrics["promise_rows"] > 300.0, "{metrics:?}");
    let row = find("gain-gate").unwrap();
    let error = prepared.fit(row, &json!({ "max_drop": 0.001 }), &run()).unwrap_err().to_string();
    assert!(error.contains("needs at least 2995 rows"), "{error}");
}

#[test]
fn logs_and_parameters_that_carry_no_gate_are_refused() {
    let row = find("gain-gate").unwrap();
    let whole = prepared(60, true);
    for (key, value) in [
        ("bundle", json!(5)),
        ("candidates", json!(0)),
        ("cheap", json!(0.0)),
        ("retain", json!(1.5)),
        ("margin", json!(-1.0)),
        ("penalty", json!(0.0)),
        ("before", json!("oracle")),
        ("normalize", json!("exat")),
        ("folds", json!(1)),
        ("max_drop", json!(2.0)),
    ] {
        let error = whole.fit(row, &json!({ key: value }), &run()).unwrap_err().to_string();
        assert!(error.contains("gain-gate"), "{key}: {error}");
    }
    let (table, answers) = world(60, 1, true);
    let one = Prepared::new(table.select_arms(&[1]), &FeatureChoice::default(), 1).unwrap();
    assert!(one.fit(row, &json!({}), &run()).unwrap_err().to_string().contains("one model"));
    let unpriced = OutcomeTable { cost_usd: Matrix::missing(60, 3), ..table };
    let unpriced = Prepared::new(unpriced, &FeatureChoice::default(), 1).unwrap();
    let error = unpriced.fit(row, &json!({}), &run()).unwrap_err().to_string();
    assert!(error.contains("0 queries have a score and a price"), "{error}");
    drop(answers);
}
