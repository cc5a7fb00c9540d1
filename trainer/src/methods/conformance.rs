//! What every registered method must do; a new row inherits these tests.

mod answers;
mod routing;

use super::ALL;
use crate::evaluate::Average;
use crate::method::{Device, FitError, Fitted, MethodRow, Need, Reads};
use crate::progress::Silent;
use crate::train::{BaseFeatures, FeatureChoice, Prepared, RunOptions, SOURCE_WEIGHT, arms, feature_inputs};
use routewright_data::features::{FeatureInput, LexicalSettings};
use routewright_data::synthetic::{Settings, World};
use routewright_data::{Cells, FeatureMatrix, OutcomeTable};
use routewright_policy::{Batch, PredictError, Request, artifact, selectors};
use serde_json::{Value, json};

const DIM: usize = 48;

fn learnable() -> impl Iterator<Item = &'static MethodRow> {
    // Those that look at answers are tried where there are some, beside their code.
    ALL.iter().filter(|row| !row.needs.contains(&Need::Outcomes) && !row.looks_at_answers())
}

/// Parameters that fit within a second in a test build.
fn quick(row: &MethodRow) -> Value {
    let defaults = (row.defaults)();
    let mut quick = serde_json::Map::new();
    for (key, value) in [
        ("steps", json!(300)),
        ("every", json!(50)),
        ("restarts", json!(1)),
        ("clusters", json!([6, 12])),
        ("irt_steps", json!(300)),
        ("warm_steps", json!(200)),
        ("ppo_steps", json!(20)),
        ("entropy", json!([0.03])),
    ] {
        // A method may have one number where another has a grid.
        if defaults.get(key).is_some_and(|default| default.is_array() == value.is_array()) {
            quick.insert(key.to_owned(), value);
        }
    }
    Value::Object(quick)
}

fn world(n: usize) -> (OutcomeTable, Cells) {
    // A world without drift, so that what was learned is true of the rest.
    let settings = Settings { n_arms: 4, drift: 0.0, ..Settings::default() };
    let (table, expected, _) = World::new(settings, 5).table(n);
    (table, expected)
}

fn prepare(table: OutcomeTable) -> Prepared {
    let settings = LexicalSettings { dim: DIM, ..LexicalSettings::default() };
    let choice = FeatureChoice { base: BaseFeatures::Lexical(settings), source_weight: SOURCE_WEIGHT };
    Prepared::new(table, &choice, 1).unwrap()
}

fn fit(row: &MethodRow, prepared: &Prepared) -> Result<Fitted, FitError> {
    fit_with(row, &quick(row), prepared)
}

fn fit_with(row: &MethodRow, params: &Value, prepared: &Prepared) -> Result<Fitted, FitError> {
    let run = RunOptions {
        average: Average::Micro,
        seed: 3,
        device: Device::Cpu,
        progress: &Silent,
        checkpoint: None,
    };
    prepared.fit(row, params, &run)
}

#[test]
fn a_policy_survives_the_disk_bit_for_bit_and_one_seed_gives_one_artifact() {
    let prepared = prepare(world(300).0);
    let dir = tempfile::tempdir().unwrap();
    for row in learnable() {
        let save = |folder: &str| {
            let path = dir.path().join(format!("{}-{folder}", row.name));
            let draft = prepared.draft(row.name, row, fit(row, &prepared).unwrap(), "train", 3);
            let manifest = artifact::save(&draft, &path).unwrap();
            (path, manifest, draft.into_policy().unwrap())
        };
        let (path, first, policy) = save("a");
        let (_, second, _) = save("b");
        assert_eq!(first, second, "{}: two fits with one seed differ", row.name);
        let loaded = artifact::load(&path).unwrap();
        assert_eq!(loaded.digest, policy.digest, "{}", row.name);
        for (seed, query) in prepared.train.queries.iter().take(20).enumerate() {
            let request = Request {
                input: FeatureInput::from(query.prompt.as_str()),
                seed: seed as u64,
                ..Request::default()
            };
            let (a, b) = (policy.decide(&request).unwrap(), loaded.decide(&request).unwrap());
            assert_eq!(format!("{a:?}"), format!("{b:?}"), "{}", row.name);
            assert!(a.candidates[a.arm].propensity > 0.0, "{}: the chosen arm has no mass", row.name);
        }
    }
}

#[test]
fn a_masked_arm_is_never_chosen_and_bad_features_are_refused() {
    let prepared = prepare(world(200).0);
    let candidates = vec![prepared.train.models[1].clone(), prepared.train.models[2].clone()];
    for row in learnable() {
        let policy =
            prepared.draft(row.name, row, fit(row, &prepared).unwrap(), "train", 3).into_policy().unwrap();
        for seed in 0..20 {
            let input = FeatureInput::from(prepared.train.queries[seed as usize].prompt.as_str());
            let request = Request { input, candidates: Some(&candidates), seed, ..Request::default() };
            let arm = policy.decide(&request).unwrap().arm;
            assert!(arm == 1 || arm == 2, "{}: masked arm {arm} was chosen", row.name);
        }
        let predictor = &policy.router().unwrap().predictor;
        let Some(dim) = predictor.dim() else { continue };
        let narrow = FeatureMatrix::zeros(1, dim + 1);
        let refused = predictor.predict(&Batch::of(&narrow));
        assert!(matches!(refused, Err(PredictError::Width { .. })), "{}", row.name);
        let nan = FeatureMatrix::from_vec(1, dim, vec![f32::NAN; dim]);
        let refused = predictor.predict(&Batch::of(&nan));
        assert!(matches!(refused, Err(PredictError::NotFinite { .. })), "{}", row.name);
    }
}

#[test]
fn odd_but_honest_logs_are_fitted_or_refused_in_words() {
    let (table, _) = world(120);
    let all: Vec<usize> = (0..120).collect();
    let mut unobserved = table.clone();
    (0..120).for_each(|row| unobserved.score.set(row, 2, f32::NAN));
    let mut equal = table.clone();
    equal.score = Cells::from_vec(120, 4, vec![0.5; 480]);
    let odd = [
        ("one arm", table.select_arms(&[1])),
        ("one query", table.select_rows(&[7])),
        ("an arm never observed", unobserved),
        ("all scores equal", equal),
        ("one prompt repeated", table.select_rows(&[3; 40])),
        ("as it is", table.select_rows(&all)),
    ];
    for (what, table) in odd {
        let prepared = prepare(table);
        for row in learnable() {
            match fit(row, &prepared) {
                Ok(fitted) => {
                    let prediction = prepared.predict(&fitted, &prepared.train, &prepared.features).unwrap();
                    assert!(prediction.score.iter().all(|s| s.is_finite()), "{} on {what}", row.name);
                    if what == "an arm never observed" {
                        assert_eq!(prediction.n_arms, 3, "{}: an arm nobody observed is offered", row.name);
                    }
                }
                Err(error @ (FitError::Log { .. } | FitError::Params { .. })) => {
                    assert!(error.to_string().len() > 30, "{} on {what}: {error}", row.name);
                }
                Err(error) => panic!("{} on {what}: {error}", row.name),
            }
        }
    }
}

#[test]
fn an_unknown_method_or_parameter_is_answered_with_near_names() {
    assert!(super::find("routerdz").unwrap_err().to_string().contains("`routerdc`"));
    let prepared = prepare(world(40).0);
    for row in learnable() {
        let run = RunOptions {
            average: Average::Micro,
            seed: 3,
            device: Device::Cpu,
            progress: &Silent,
            checkpoint: None,
        };
        let error = prepared.fit(row, &json!({"no_such_parameter": 1}), &run).unwrap_err().to_string();
        assert!(error.contains("no_such_parameter") && error.contains(row.name), "{error}");
    }
}
