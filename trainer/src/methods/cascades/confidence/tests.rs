//! On a simulated world whose models say how sure they are, and on one where a confident answer is not the better one.

#![expect(clippy::print_stdout, reason = "a test shows its figures")]

use super::*;
use crate::evaluate::{Average, JudgeOptions, Sources};
use crate::method::{Device, MethodRow};
use crate::methods::find;
use crate::progress::Silent;
use crate::rollout::{ReplayWorld, play, rollout};
use crate::train::{FeatureChoice, Prepared, RunOptions};
use routewright_data::answers::AnswerTableBuilder;
use routewright_data::synthetic::{Settings, World};
use routewright_data::{Cells, OutcomeTable, Query};
use serde_json::json;

fn run() -> RunOptions<'static> {
    RunOptions { average: Average::Micro, seed: 1, device: Device::Cpu, progress: &Silent, checkpoint: None }
}

fn rows() -> [&'static MethodRow; 3] {
    ["confidence-deferral", "token-cascade", "model-cascading"].map(|name| find(name).unwrap())
}

fn prepared(table: OutcomeTable, answers: &AnswerTable) -> Prepared {
    let models = table.models.clone();
    Prepared::new(table, &FeatureChoice::default(), 1).unwrap().with_answers(answers, &models)
}

fn simulated(seed: u64, n: usize) -> (OutcomeTable, AnswerTable) {
    let settings = Settings { n_arms: 3, drift: 0.0, missing: 0.0, ..Settings::default() };
    let found = World::new(settings, seed).answered(n, 1);
    (found.table, found.answers)
}

#[test]
fn areas_and_regressions_are_those_of_the_hand() {
    let table = Table {
        n_arms: 2,
        believed: vec![0.9, 0.0, 0.1, 0.0],
        scores: vec![1.0, 1.0, 0.0, 1.0],
        costs: vec![1.0; 4],
    };
    // Passed on: both 1, the less sure one 1, none 1/2.
    assert!((area(&table, 1) - 2.5 / 3.0).abs() < 1e-12);
    let xs: Vec<Vec<f32>> = (0..20_u8).map(|at| vec![f32::from(at), f32::from(at * 3 % 7)]).collect();
    let ys: Vec<f64> = xs.iter().map(|x| 2.0 * f64::from(x[0]) - f64::from(x[1]) + 3.0).collect();
    let weights = regress(&xs, &ys, 1e-9, false).unwrap();
    assert!(weights.iter().zip([2.0, -1.0, 3.0]).all(|(a, b)| (a - b).abs() < 1e-4), "{weights:?}");
    // A constant feature weighs nothing; what is lost where x is large is kept where it is small.
    let xs: Vec<Vec<f32>> = (0..40_u8).map(|at| vec![f32::from(at), 5.0]).collect();
    let ys: Vec<f64> = (0..40).map(|at| f64::from(u8::from(at >= 20))).collect();
    let weights = regress(&xs, &ys, 1.0, true).unwrap();
    assert!(weights[0] < 0.0 && weights[1] == 0.0, "{weights:?}");
}

#[test]
fn each_method_is_above_the_line_between_its_models_and_plays_as_it_was_judged() {
    let prepared = {
        let (table, answers) = simulated(7, 1500);
        prepared(table, &answers)
    };
    let (test, answers) = simulated(7, 2400);
    let later: Vec<usize> = (1500..2400).collect();
    let (test, answers) = (test.select_rows(&later), answers.select_rows(&later));
    let sources = Sources::of(&test);
    let mean = |values: &[f64]| sources.mean(values, Average::Micro).unwrap();
    for row in rows() {
        let fitted = prepared.fit(row, &json!({ "stages": 2 }), &run()).unwrap();
        let policy = prepared.policy(row, fitted, 1).unwrap();
        assert_eq!(policy.program.name(), "cascade");
        assert!(!policy.program.needs().is_empty(), "{}", row.name);
        let world = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
        let played = play(row.name, &policy, &test, &world, &JudgeOptions::default(), &[1]).unwrap();
        assert!(played.outcomes.scores.iter().all(|score| score.is_finite()), "{}", row.name);
        let single = |arm: usize| {
            let of = |cells: &Cells| f64::from(cells.column_mean(arm).unwrap() as f32);
            (of(&test.cost_usd), of(&test.score))
        };
        let singles: Vec<(f64, f64)> = (0..3).map(single).collect();
        let cheap = singles.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        let best = singles.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        let line = |cost: f64| cheap.1 + (cost - cheap.0) / (best.0 - cheap.0) * (best.1 - cheap.1);
        let between = played.frontier.points.iter().filter(|p| p.cost_usd > cheap.0 && p.cost_usd < best.0);
        let gains: Vec<f64> = between.map(|p| p.score - line(p.cost_usd)).collect();
        let gain = gains.iter().sum::<f64>() / gains.len().max(1) as f64;
        println!(
            "{}: mean gain over the line {gain:.4} at {} points; {:?}",
            row.name,
            gains.len(),
            policy.manifest.metrics
        );
        assert!(gain > 0.0, "{}: {gains:?}", row.name);
        assert!(mean(&played.outcomes.calls) >= 1.0);
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_passed_on() {
    let (table, answers) = simulated(3, 900);
    let prepared = prepared(table.clone(), &answers);
    let row = find("model-cascading").unwrap();
    let fitted = prepared.fit(row, &json!({ "stages": 2, "measure": "maxprob" }), &run()).unwrap();
    let policy = prepared.policy(row, fitted, 1).unwrap();
    let strategies = policy.program.config()["strategies"].as_array().unwrap().clone();
    let long = strategies.iter().position(|one| one["order"].as_array().unwrap().len() == 2).unwrap();
    let mut config = policy.program.config();
    config["default"] = json!(long);
    let parts = policy.program.parts()[0].router;
    let restored = routewright_policy::Router {
        featurizer: Arc::clone(&parts.featurizer),
        predictor: Box::new(Linear::new(
            1,
            Link::Identity,
            [1.0, 0.0].repeat(3),
            CostModel::constant(vec![f32::NAN; 3]),
        )),
        selector: Box::new(Argmax),
    };
    let state = routewright_policy::programs::ProgramState {
        config,
        parts: [("scorer".to_owned(), restored)].into(),
        ..Default::default()
    };
    let program = routewright_policy::programs::load("cascade", 2, state, &policy.arms).unwrap();
    let policy = routewright_policy::Policy { program, ..policy };
    let world = ReplayWorld::new(&table.queries, &table.models, &answers, &policy.arms);
    let (outcomes, _) = rollout(&policy, &table, &world, None, &[1]).unwrap();
    let first = strategies[long]["order"][0].as_str().unwrap();
    let arm = table.models.iter().position(|model| model == first).unwrap();
    let mut kept = 0;
    for query in 0..table.n_queries() {
        let is_read = answers.get(query, arm, 0).unwrap().option_probs.is_some();
        assert!(is_read || outcomes.calls[query] == 2.0, "{query}");
        kept += usize::from(outcomes.calls[query] == 1.0);
    }
    assert!(kept > 0);
}

/// `large` is right 95 of 100 times where the margin of `small` is small, and half as often as `small` where it is
/// large; the greatest probability is the same everywhere.
fn specialist(n: usize) -> (OutcomeTable, AnswerTable) {
    let mut builder = AnswerTableBuilder::new(n, 2);
    let (mut scores, mut costs) = (Vec::new(), Vec::new());
    for row in 0..n {
        let is_close = row % 2 == 0;
        let probs: [f32; 4] = if is_close { [0.6, 0.4, 0.0, 0.0] } else { [0.6, 0.14, 0.13, 0.13] };
        let right = [(row / 2) % 10 < 6, if is_close { (row / 2) % 20 != 7 } else { (row / 2) % 10 < 3 }];
        for (arm, usd) in [(0, 1.0_f32), (1, 10.0)] {
            let score = f32::from(u8::from(right[arm]));
            let said = AnswerRow {
                answer: Some("A"),
                score: Some(score),
                cost_usd: Some(f64::from(usd)),
                option_probs: Some(&probs),
                ..AnswerRow::default()
            };
            builder.push(row, arm, &said);
            scores.push(score);
            costs.push(usd);
        }
    }
    let query = |at: usize| Query {
        id: format!("q{at}"),
        prompt: format!("question number {at}"),
        ..Query::default()
    };
    let table = OutcomeTable {
        queries: (0..n).map(query).collect(),
        models: ["small", "large"].map(str::to_owned).to_vec(),
        score: Cells::from_vec(n, 2, scores),
        soft_score: None,
        cost_usd: Cells::from_vec(n, 2, costs),
        latency_ms: None,
        vectors: None,
    };
    (table, builder.finish())
}

#[test]
fn where_the_large_model_is_a_specialist_gains_are_learned_and_chow_fails() {
    let (table, answers) = specialist(800);
    let prepared = prepared(table, &answers);
    let row = find("confidence-deferral").unwrap();
    let area = |rule: serde_json::Value| {
        let fitted = prepared.fit(row, &json!({ "rule": rule, "stages": 2 }), &run()).unwrap();
        (fitted.metrics["deferral_area"], fitted.params["rule"][0].as_str().unwrap().to_owned())
    };
    let (chow, _) = area(json!("chow"));
    let (learned, _) = area(json!("diff-01"));
    assert!(learned > chow + 0.05, "{learned} {chow}");
    let (best, rule) = area(json!(["chow", "diff-01", "diff-prob", "maxprob-2"]));
    assert!(best >= learned && rule != "chow", "{rule} {best}");
}

#[test]
fn logs_and_parameters_that_carry_no_rule_are_refused_in_words() {
    let (table, _) = specialist(100);
    let mut builder = AnswerTableBuilder::new(100, 2);
    for (row, arm) in (0..100).flat_map(|row| [(row, 0), (row, 1)]) {
        builder.push(row, arm, &AnswerRow { text: Some("four"), ..AnswerRow::default() });
    }
    let mute = prepared(table.clone(), &builder.finish());
    let bare = Prepared::new(table, &FeatureChoice::default(), 1).unwrap();
    for row in rows() {
        let says = |prepared: &Prepared, params: serde_json::Value| {
            prepared.fit(row, &params, &run()).unwrap_err().to_string()
        };
        let column = if row.name == "token-cascade" { "logprob_mean" } else { "option_probs" };
        assert!(says(&mute, json!({})).contains(column), "{}", says(&mute, json!({})));
        assert!(says(&bare, json!({})).contains("expected a column `response`"));
        let (key, known) =
            if row.name == "model-cascading" { ("measure", "maxprob, dtu") } else { ("rule", "chow") };
        assert!(says(&mute, json!({ key: ["chou"] })).contains(known));
        assert!(says(&mute, json!({ key: [] })).contains("is empty"));
        assert!(says(&mute, json!({ "stages": 9 })).contains("`stages` is `9`"));
        assert!(
            says(&mute, json!({ "stagse": 2 })).contains("`stages`"),
            "{}",
            says(&mute, json!({ "stagse": 2 }))
        );
    }
    let row = find("token-cascade").unwrap();
    let error = mute.fit(row, &json!({ "quantile": 0.33 }), &run()).unwrap_err().to_string();
    assert!(error.contains("`0.33`"), "{error}");
    let row = find("confidence-deferral").unwrap();
    let error = mute.fit(row, &json!({ "penalty": 0 }), &run()).unwrap_err().to_string();
    assert!(error.contains("`penalty` is `0`"), "{error}");
}
