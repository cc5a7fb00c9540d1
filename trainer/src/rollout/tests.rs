//! Episodes on a log and on a script, checked by hand.

use super::*;
use crate::evaluate::fixtures::near;
use crate::evaluate::{Contender, JudgeOptions, judge, judge_played};
use routewright_data::answers::{AnswerRow, AnswerTable, AnswerTableBuilder};
use routewright_data::features::Column;
use routewright_data::{Cells, OutcomeTable, Query};
use routewright_policy::forms::{Constant, CostModel};
use routewright_policy::programs::{Cascade, OneCall, Strategy};
use routewright_policy::selectors::Argmax;
use routewright_policy::{Arm, Price, Router};
use std::sync::Arc;

/// Two queries, two models: `a` costs 1 and takes 10 ms, `b` costs 5 and takes 30. The second query has no answer of
/// `b`.
fn log() -> (OutcomeTable, AnswerTable) {
    let mut builder = AnswerTableBuilder::new(2, 2);
    let rows = [(0, 0, "a0", 0.0), (0, 1, "b0", 1.0), (1, 0, "a1", 0.5)];
    for (query, arm, text, score) in rows {
        builder.push(
            query,
            arm,
            &AnswerRow {
                text: Some(text),
                score: Some(score),
                cost_usd: Some([1.0, 5.0][arm]),
                latency_ms: Some([10.0, 30.0][arm]),
                ..AnswerRow::default()
            },
        );
    }
    let none = f32::NAN;
    let query = |id: &str| Query { id: id.to_owned(), prompt: id.to_owned(), ..Query::default() };
    let table = OutcomeTable {
        queries: vec![query("q0"), query("q1")],
        models: vec!["a".to_owned(), "b".to_owned()],
        score: Cells::from_vec(2, 2, vec![0.0, 1.0, 0.5, none]),
        soft_score: None,
        cost_usd: Cells::from_vec(2, 2, vec![1.0, 5.0, 1.0, none]),
        latency_ms: Some(Cells::from_vec(2, 2, vec![10.0, 30.0, 10.0, none])),
        vectors: None,
    };
    (table, builder.finish())
}

fn arms() -> Vec<Arm> {
    let arm = |(model, usd): (&str, f64)| Arm {
        model: model.to_owned(),
        price: Price { mean_cost_usd: Some(usd), ..Price::default() },
        ..Arm::default()
    };
    [("a", 1.0), ("b", 5.0)].map(arm).to_vec()
}

fn router(scores: [f32; 2]) -> Router {
    let cost = CostModel::constant(vec![1.0, 5.0]);
    Router {
        featurizer: Arc::new(Column::new("vector", 0)),
        predictor: Box::new(Constant::new(scores.to_vec(), Vec::new(), Vec::new(), cost)),
        selector: Box::new(Argmax),
    }
}

fn policy(program: Box<dyn routewright_policy::program::Program>) -> Policy {
    Policy { manifest: Default::default(), digest: String::new(), arms: arms(), program }
}

fn cascade() -> Policy {
    let strategy = |order: &[&str], thresholds: &[f32], score: f64, cost_usd: f64| Strategy {
        order: order.iter().map(|model| (*model).to_owned()).collect(),
        thresholds: thresholds.to_vec(),
        score,
        cost_usd,
    };
    let strategies = vec![strategy(&["a"], &[], 0.2, 1.0), strategy(&["a", "b"], &[0.5], 0.9, 6.0)];
    policy(Box::new(Cascade::new(strategies, 1, router([0.1, 0.9]), &arms()).unwrap()))
}

#[test]
fn an_episode_pays_for_every_call_and_a_missing_answer_leaves_the_query_uncovered() {
    let (table, answers) = log();
    let policy = cascade();
    let world = ReplayWorld::new(&table.queries, &table.models, &answers, &policy.arms);
    let (outcomes, answered) = rollout(&policy, &table, &world, None, &[1, 2]).unwrap();
    assert_eq!((outcomes.scores[0], outcomes.costs[0]), (1.0, 6.0));
    assert_eq!((outcomes.latencies_ms[0], outcomes.calls[0]), (40.0, 2.0));
    assert!(outcomes.scores[1].is_nan() && outcomes.calls[1].is_nan(), "{outcomes:?}");
    assert_eq!(answered, [0.0, 0.5]);
    let cheap = Some(Objective { quality: 1.0, cost: 10.0, latency: 0.0 });
    let (outcomes, _) = rollout(&policy, &table, &world, cheap, &[1]).unwrap();
    assert_eq!(
        (outcomes.scores, outcomes.costs, outcomes.calls),
        (vec![0.0, 0.5], vec![1.0; 2], vec![1.0; 2])
    );
}

#[test]
fn settings_make_the_curve_and_figures_have_calls_and_latency() {
    let (table, answers) = log();
    let (table, answers) = (table.select_rows(&[0]), answers.select_rows(&[0]));
    let policy = cascade();
    let world = ReplayWorld::new(&table.queries, &table.models, &answers, &policy.arms);
    let options = JudgeOptions::default();
    let played = play("c", &policy, &table, &world, &options, &[1]).unwrap();
    let plane: Vec<(f64, f64)> = played.frontier.points.iter().map(|p| (p.cost_usd, p.score)).collect();
    assert_eq!(plane, [(1.0, 0.0), (6.0, 1.0)]);
    let found = judge_played(played, &table, None, &options).unwrap();
    assert_eq!((found.figures.calls, found.figures.latency_ms), (Some(2.0), Some(40.0)));
    // From (1, 0) flat to 6, past the dearest single model: the hull rises to 0.8 at 5.
    assert!(near(found.aiq.unwrap(), 0.4), "{:?}", found.aiq);
}

#[test]
fn a_rollout_of_one_call_is_what_the_exact_expectation_is() {
    let (table, answers) = log();
    let (table, answers) = (table.select_rows(&[0, 0]), answers.select_rows(&[0, 0]));
    let policy = policy(Box::new(OneCall::new(router([0.1, 0.9]))));
    let world = ReplayWorld::new(&table.queries, &table.models, &answers, &policy.arms);
    let (outcomes, _) = rollout(&policy, &table, &world, None, &[1]).unwrap();
    let request = Request::default();
    let prediction = policy.predict(&[request.clone(), request]).unwrap();
    let exact = judge(&Contender::new("p", &prediction, &Argmax), &table, None, &JudgeOptions::default());
    assert_eq!(exact.unwrap().runs, [outcomes]);
}

#[test]
fn a_script_answers_in_order_and_its_failures_are_answers() {
    let policy = cascade();
    let script = r#"[{"model": "a", "text": "no idea", "cost_usd": 1.0},
                     {"model": "b", "failed": "timed out", "latency_ms": 900}]"#;
    let world = ScriptedWorld::new(serde_json::from_str(script).unwrap(), &policy.arms);
    let played = episode(&policy, Request::default(), Budget::default(), &world, 0).unwrap().unwrap();
    assert_eq!(played.reply(), Some(&Reply::Answer(0)));
    assert_eq!((played.answers.len(), played.cost_usd, played.is_timed), (2, 1.0, false));
    assert_eq!(played.answers[1].failed.as_deref(), Some("timed out"));
    let world = ScriptedWorld::new(Vec::new(), &policy.arms);
    let missing = episode(&policy, Request::default(), Budget::default(), &world, 0).unwrap().unwrap_err();
    assert_eq!((missing.model.as_str(), missing.sample), ("a", 0));
}
