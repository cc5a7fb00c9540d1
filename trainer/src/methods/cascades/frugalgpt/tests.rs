//! On a world whose answers say how good they are, and on logs that no cascade can be learned from.

use super::*;
use crate::evaluate::{Average, JudgeOptions, Sources};
use crate::method::Device;
use crate::progress::Silent;
use crate::rollout::{ReplayWorld, play, rollout};
use crate::train::{FeatureChoice, Prepared, RunOptions};
use rand::RngExt as _;
use routewright_data::answers::{AnswerRow, AnswerTable, AnswerTableBuilder};
use routewright_data::{Cells, OutcomeTable, Query, rng};
use routewright_policy::artifact;

const ARMS: [(&str, f64, f32); 3] = [("large", 0.9, 0.03), ("middle", 0.7, 0.004), ("small", 0.5, 0.001)];

/// An arm is right by chance, and a wrong answer hedges four times of five.
fn world(n: usize, seed: u64) -> (OutcomeTable, AnswerTable) {
    let mut rng = rng::stream(seed, "frugalgpt test");
    let mut builder = AnswerTableBuilder::new(n, ARMS.len());
    let (mut scores, mut costs) = (Vec::new(), Vec::new());
    let query = |at: usize| Query {
        id: format!("q{seed}-{at}"),
        prompt: format!("question {seed} number {at} of the {} kind", ["first", "second"][at % 2]),
        ..Query::default()
    };
    for row in 0..n {
        for (arm, (_, right, cost)) in ARMS.iter().enumerate() {
            let is_right = rng.random::<f64>() < *right;
            let hedges = !is_right && rng.random::<f64>() < 0.8;
            let text =
                if hedges { "I am not sure about this at all" } else { "The answer is clear, it holds" };
            builder.push(
                row,
                arm,
                &AnswerRow {
                    text: Some(text),
                    score: Some(if is_right { 1.0 } else { 0.0 }),
                    cost_usd: Some(f64::from(*cost)),
                    latency_ms: Some(100.0),
                    ..AnswerRow::default()
                },
            );
            scores.push(if is_right { 1.0 } else { 0.0 });
            costs.push(*cost);
        }
    }
    let table = OutcomeTable {
        queries: (0..n).map(query).collect(),
        models: ARMS.iter().map(|(model, ..)| (*model).to_owned()).collect(),
        score: Cells::from_vec(n, ARMS.len(), scores),
        soft_score: None,
        cost_usd: Cells::from_vec(n, ARMS.len(), costs),
        latency_ms: None,
        vectors: None,
    };
    (table, builder.finish())
}

fn run() -> RunOptions<'static> {
    RunOptions { average: Average::Micro, seed: 1, device: Device::Cpu, progress: &Silent, checkpoint: None }
}

fn prepared(n: usize) -> Prepared {
    let (table, answers) = world(n, 1);
    let models = table.models.clone();
    Prepared::new(table, &FeatureChoice::default(), 1).unwrap().with_answers(&answers, &models)
}

#[test]
fn it_is_above_the_line_between_its_cheapest_and_its_dearest_model() {
    let prepared = prepared(500);
    let fitted = prepared.fit(&ROW, &serde_json::json!({ "own_penalty": [30.0] }), &run()).unwrap();
    let policy = prepared.policy(&ROW, fitted, 1).unwrap();
    let (test, answers) = world(600, 2);
    let world = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
    let played = play("frugalgpt", &policy, &test, &world, &JudgeOptions::default(), &[1]).unwrap();
    let (small, large) = ((0.001, 0.5), (0.03, 0.9));
    let line = |cost: f64| small.1 + (cost - small.0) / (large.0 - small.0) * (large.1 - small.1);
    let between = played.frontier.points.iter().filter(|p| p.cost_usd > 0.002 && p.cost_usd < 0.025);
    let gains: Vec<f64> = between.map(|p| p.score - line(p.cost_usd)).collect();
    assert!(gains.len() >= 2, "{:?}", played.frontier.points);
    // A hedge is wrong: asking again there alone reaches 0.5 + 0.5 * 0.8 * 0.9 = 0.86 at 0.001 + 0.4 * 0.03 = 0.013,
    // where the line is at 0.67.
    assert!(gains.iter().copied().fold(0.0, f64::max) > 0.12, "{gains:?}");
    assert!(gains.iter().all(|gain| *gain > -0.03), "{gains:?}");
    // The default keeps the score of the best single model for less.
    let sources = Sources::of(&test);
    let mean = |values: &[f64]| sources.mean(values, Average::Micro).unwrap();
    let outcomes = &played.outcomes;
    assert!(mean(&outcomes.scores) > 0.85 && mean(&outcomes.costs) < 0.025, "{}", mean(&outcomes.costs));
    assert!(mean(&outcomes.calls) > 1.1 && mean(&outcomes.calls) < 3.0, "{}", mean(&outcomes.calls));
    // Every call takes 100 ms, one after the other.
    assert!((mean(&outcomes.latencies_ms) - 100.0 * mean(&outcomes.calls)).abs() < 1e-9);
}

#[test]
fn its_artifact_plays_bit_for_bit() {
    let prepared = prepared(200);
    let fit =
        || prepared.fit(&ROW, &serde_json::json!({ "stages": 2, "own_penalty": [30.0] }), &run()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cascade");
    let mut fitted = fit();
    let about = (fitted.params.clone(), fitted.metrics.clone());
    let program = fitted.program.take().unwrap();
    let manifest = prepared.program_draft("c", &ROW, program, about, "train", 1).save(&path).unwrap();
    assert_eq!((manifest.format, manifest.program.as_ref().unwrap().name.as_str()), (2, "cascade"));
    let loaded = artifact::load(&path).unwrap();
    let memory = prepared.policy(&ROW, fit(), 1).unwrap();
    let (test, answers) = world(60, 3);
    let outcomes = |policy: &routewright_policy::Policy| {
        let world = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
        rollout(policy, &test, &world, None, &[1]).unwrap()
    };
    assert_eq!(outcomes(&loaded), outcomes(&memory));
    assert!(loaded.decide(&routewright_policy::Request::default()).is_err(), "it takes steps");
}

#[test]
fn logs_and_parameters_that_carry_no_cascade_are_refused() {
    let (table, answers) = world(40, 1);
    let models = table.models.clone();
    let says = |prepared: &Prepared, params: serde_json::Value| {
        prepared.fit(&ROW, &params, &run()).unwrap_err().to_string()
    };
    let bare = Prepared::new(table.clone(), &FeatureChoice::default(), 1).unwrap();
    assert!(says(&bare, serde_json::json!({})).contains("`response`"));
    let unpriced = OutcomeTable { cost_usd: Cells::missing(40, 3), ..table };
    let unpriced =
        Prepared::new(unpriced, &FeatureChoice::default(), 1).unwrap().with_answers(&answers, &models);
    assert!(says(&unpriced, serde_json::json!({})).contains("0 queries have score, price and answer"));
    let whole = prepared(40);
    for (key, value) in [
        ("stages", serde_json::json!(9)),
        ("retain", serde_json::json!(1.5)),
        ("slices", serde_json::json!([0.5, 0.5, 0.0])),
        ("own_penalty", serde_json::json!([-1.0])),
        ("margin", serde_json::json!(-1.0)),
        ("max_drop", serde_json::json!(1.5)),
    ] {
        let error = says(&whole, serde_json::json!({ key: value }));
        assert!(error.contains(FrugalGpt::NAME), "{key}: {error}");
    }
}

#[test]
fn a_promise_is_made_on_enough_rows_and_refused_on_few() {
    let params = serde_json::json!({ "own_penalty": [30.0], "max_drop": 0.1, "confidence": 0.9 });
    let fitted = prepared(500).fit(&ROW, &params, &run()).unwrap();
    let of = |name: &str| fitted.metrics[name];
    assert!(of("promise_bound") <= 0.1 && of("promise_loss") <= of("promise_bound"), "{:?}", fitted.metrics);
    assert!(of("slice_cost_usd") < 0.03, "{:?}", fitted.metrics);
    let params = serde_json::json!({ "own_penalty": [30.0], "max_drop": 0.001 });
    let error = prepared(500).fit(&ROW, &params, &run()).unwrap_err().to_string();
    assert!(error.contains("at least 2995 rows") && error.contains("could carry"), "{error}");
}
