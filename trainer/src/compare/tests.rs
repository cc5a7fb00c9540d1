//! Comparisons of whole methods on small simulated logs.

use super::*;
use crate::evaluate::{Average, Rule};
use crate::methods;
use crate::train::BaseFeatures;
use routewright_data::features::LexicalSettings;
use routewright_data::synthetic::{Settings, World};
use routewright_data::{Cells, Query};
use serde_json::{Value, json};

fn options(seeds: &[u64], folds: usize) -> CompareOptions {
    let settings = LexicalSettings { dim: 24, ..LexicalSettings::default() };
    CompareOptions {
        features: FeatureChoice { base: BaseFeatures::Lexical(settings), source_weight: 1.0 },
        average: Average::Micro,
        seeds: seeds.to_vec(),
        folds,
        device: Device::Cpu,
        log: "log".to_owned(),
        split: "test".to_owned(),
        answers: None,
    }
}

/// Train and test rows of a simulated world without gaps.
fn world(n: usize) -> (OutcomeTable, OutcomeTable) {
    let settings = Settings { n_arms: 4, drift: 0.0, missing: 0.0, ..Settings::default() };
    let (table, _, _) = World::new(settings, 7).table(n);
    let (train, test): (Vec<usize>, Vec<usize>) = (0..n).partition(|row| row % 3 != 0);
    (table.select_rows(&train), table.select_rows(&test))
}

fn entries(names: &[(&str, Value)]) -> Vec<(&'static MethodRow, Value)> {
    names.iter().map(|(name, params)| (methods::find(name).unwrap(), params.clone())).collect()
}

fn run(
    names: &[(&str, Value)],
    options: &CompareOptions,
    (train, test): &(OutcomeTable, OutcomeTable),
) -> Judged {
    compare(train, test, &entries(names), options, &Silent).unwrap().judged
}

#[test]
fn a_method_that_cannot_carry_the_log_is_a_row_that_says_so() {
    let names = [("ridge", Value::Null), ("mlp", json!({"steps": 0})), ("source-best", Value::Null)];
    let judged = run(&names, &options(&[1], 2), &world(300));
    let kept: Vec<&str> = judged.policies.iter().map(Evaluation::name).collect();
    assert_eq!(kept, ["ridge", "source-best"]);
    assert_eq!(judged.failed[0].method, "mlp");
    assert!(judged.failed[0].error.contains("steps"), "{:?}", judged.failed);
    assert!(judged.picked.is_some());
    let (train, test) = world(300);
    let error = compare(&train, &test, &entries(&names[1..2]), &options(&[1], 2), &Silent).unwrap_err();
    assert!(error.to_string().contains("steps"), "{error}");
}

#[test]
fn fgts_cdb_names_the_limit_that_its_log_exceeds() {
    let n_arms = 90;
    let queries = |n: usize| {
        (0..n).map(|i| Query { id: i.to_string(), prompt: format!("word {i}"), ..Query::default() })
    };
    let table = |n: usize| OutcomeTable {
        queries: queries(n).collect(),
        models: (0..n_arms).map(|arm| format!("m{arm:02}")).collect(),
        score: Cells::from_vec(n, n_arms, (0..n * n_arms).map(|i| (i % 3) as f32 / 2.0).collect()),
        soft_score: None,
        cost_usd: Cells::missing(n, n_arms),
        latency_ms: None,
        vectors: None,
    };
    let judged = run(
        &[("fgts-cdb", Value::Null), ("best-single", Value::Null)],
        &options(&[1], 0),
        &(table(40), table(9)),
    );
    let error = &judged.failed[0].error;
    assert!(
        error.contains("at most 2048") && error.contains("90 models") && !error.contains("solve"),
        "{error}"
    );
}

/// Two seeds of a network: every figure is the mean of those of the seeds alone.
#[test]
fn a_row_of_two_seeds_is_the_mean_of_two_rows() {
    let log = world(300);
    let names = [("mlp", json!({"steps": 40, "every": 20}))];
    let one = |seed: u64| run(&names, &options(&[seed], 0), &log).policies.remove(0);
    let (first, second) = (one(1), one(2));
    let both = run(&names, &options(&[1, 2], 0), &log).policies.remove(0);
    let arm = first.shares[0].model.clone();
    let figures: [&dyn Fn(&Evaluation) -> f64; 7] = [
        &|e| e.figures.score.unwrap(),
        &|e| e.figures.vs_best_single.unwrap().difference,
        &|e| e.figures.vs_source_best.unwrap().difference,
        &|e| e.figures.cost_usd.unwrap(),
        &|e| e.figures.saving.unwrap(),
        &|e| e.aiq.unwrap(),
        &|e| e.shares.iter().find(|share| share.model == arm).unwrap().share,
    ];
    assert_ne!(first.figures.score, second.figures.score);
    for figure in figures {
        let mean = f64::midpoint(figure(&first), figure(&second));
        assert!((figure(&both) - mean).abs() < 1e-9, "{} {mean}", figure(&both));
    }
    let sd = (first.figures.score.unwrap() - second.figures.score.unwrap()).abs() / 2.0_f64.sqrt();
    assert!((both.figures.seed_sd.unwrap() - sd).abs() < 1e-12);
}

#[test]
fn policies_that_are_told_the_source_are_marked_and_budgets_are_told() {
    let names = [
        ("pickllm-q", Value::Null),
        ("source-best", Value::Null),
        ("ridge", json!({"alpha": [10.0, 100.0], "folds": 3})),
    ];
    let judged = run(&names, &options(&[1], 0), &world(300));
    let marked: Vec<bool> = judged.policies.iter().map(|policy| policy.reads_source).collect();
    assert_eq!(marked, [true, true, false]);
    let tuning = judged.policies[2].tuning.unwrap();
    assert_eq!((tuning.candidates, tuning.slices), (2, 3));
    assert!(judged.policies[0].tuning.is_none());
}

/// Outcomes that depend on nothing: whatever a method does is noise.
#[test]
fn nothing_is_picked_but_the_best_single_model_where_nothing_can_be_learned() {
    let (mut train, test) = world(600);
    let mut rng = routewright_data::rng::stream(9, "noise");
    for row in 0..train.n_queries() {
        for arm in 0..train.n_arms() {
            let right = rand::RngExt::random_bool(&mut rng, if arm == 1 { 0.75 } else { 0.6 });
            train.score.set(row, arm, if right { 1.0 } else { 0.0 });
            train.cost_usd.set(row, arm, 0.01);
        }
    }
    let names = [("ridge", Value::Null), ("knn", Value::Null), ("source-best", Value::Null)];
    let judged = run(&names, &options(&[1], 3), &(train, test));
    let picked = judged.picked.unwrap();
    assert_eq!((picked.methods[0].as_str(), picked.reasons[0].rule), ("best-single", Rule::BestSingle));
}

#[test]
fn a_learnable_world_is_gained_on_and_the_pick_is_judged_as_a_row() {
    let names = [("ridge", Value::Null), ("guarded", Value::Null)];
    let judged = run(&names, &options(&[1], 3), &world(900));
    let picked = judged.picked.as_ref().unwrap();
    assert!(matches!(picked.reasons[0].rule, Rule::Gain | Rule::CheaperGain), "{picked:?}");
    let row = judged.policies.iter().find(|policy| policy.name() == picked.methods[0]).unwrap();
    assert_eq!(picked.figures, row.figures);
    let validation = row.validation.unwrap();
    assert!(validation.vs_best_single.unwrap().standard_error > 0.0 && validation.score_se.unwrap() > 0.0);
}

/// One outcome a query on train, all on test.
#[test]
fn nothing_is_picked_on_a_log_of_decisions() {
    let (mut train, test) = world(300);
    for row in 0..train.n_queries() {
        (0..train.n_arms()).filter(|arm| *arm != row % 4).for_each(|arm| train.score.set(row, arm, f32::NAN));
    }
    let judged = run(&[("ridge", Value::Null)], &options(&[1], 3), &(train, test));
    assert!(judged.picked.is_none() && judged.policies[0].figures.score.is_some());
    assert!(judged.notices.iter().any(|notice| notice.contains("log of decisions")));
}
