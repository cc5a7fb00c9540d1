//! The law of distributions, for every selector, on numbers from the ends of what is legal.
//!
//! No answer here is worked out by hand: whatever the numbers, a selector gives a distribution over the eligible arms,
//! and a request gets a decision whose candidates sum to 1 or a clear error, never a log that cannot be read.

use super::selector::SETTING_MAX;
use super::*;
use crate::artifact::{DataRecord, RouterDraft};
use crate::forms::{Constant, CostModel};
use crate::{
    Batch, DecideError, FormState, Objective, Policy, PredictError, Prediction, PredictionRow, Predictor,
    Request, distribution,
};
use rand::RngExt as _;
use routewright_data::features::{Column, FeatureInput};
use routewright_data::rng::{self, Rng};
use serde_json::{Value, json};
use std::sync::Arc;

/// Every selector, most of them more than once; settings reach to the ends of their ranges.
fn specs() -> Vec<SelectorSpec> {
    let all = [
        ("argmax", json!({})),
        ("utility", json!({"lambda": 20.0})),
        ("utility", json!({"lambda": SETTING_MAX})),
        ("budget", json!({"max_cost_usd": 0.01})),
        ("cheapest-within", json!({"delta": 0.1})),
        ("threshold", json!({"strong": "a", "weak": "b", "threshold": 0.1})),
        ("cheapest", json!({})),
        ("uniform", json!({})),
        (
            "priced",
            json!({"lambda": SETTING_MAX, "selector": {"name": "softmax", "settings": {"temperature": 1e-9}}}),
        ),
        ("epsilon-greedy", json!({"epsilon": 0.05, "selector": {"name": "ucb", "settings": {"alpha": 2.0}}})),
        ("epsilon-greedy", json!({"epsilon": 1.0, "half_life": 1e-300})),
        ("softmax", json!({"temperature": 0.1})),
        ("softmax", json!({"temperature": 5e-324})),
        ("ucb", json!({"alpha": SETTING_MAX})),
        ("ucb", json!({"alpha": 0.0})),
        ("thompson", json!({})),
        ("thompson", json!({"scale": SETTING_MAX})),
        ("thompson", json!({"scale": 0.0})),
        ("squarecb", json!({})),
        ("squarecb", json!({"gamma_scale": SETTING_MAX, "gamma_exponent": SETTING_MAX})),
        ("regcb", json!({"alpha": 0.0})),
        ("regcb", json!({"alpha": 3.0})),
        ("proportional", json!({})),
        ("votes", json!({})),
        ("cover", json!({"psi": SETTING_MAX})),
        ("unsure", json!({"confidence": 0.6, "top": 3})),
        ("unsure", json!({"confidence": SETTING_MAX, "top": 2})),
    ];
    let mut specs: Vec<SelectorSpec> =
        all.into_iter().map(|(name, settings)| SelectorSpec { name: name.to_owned(), settings }).collect();
    let parts: Vec<Value> = specs.iter().map(|spec| json!({"weight": 1e-300, "selector": spec})).collect();
    specs.push(SelectorSpec { name: "mixture".to_owned(), settings: json!({ "parts": parts }) });
    for row in ALL {
        assert!(specs.iter().any(|spec| spec.name == row.name), "selector `{}` is not tried", row.name);
    }
    specs
}

/// Arms `a`, `b`, ...
fn arms(n: usize) -> Vec<Arm> {
    let name = |at| char::from_u32('a' as u32 + at as u32).unwrap().to_string();
    (0..n).map(|at| Arm { model: name(at), mean_latency_ms: Some(1e9), ..Arm::default() }).collect()
}

fn one_of(rng: &mut Rng, values: &[f32]) -> f32 {
    values[rng.random_range(0..values.len())]
}

const SCORES: &[f32] =
    &[0.0, -0.0, 0.5, 0.5, 0.7, 1.0, -1.0, 1e-45, -1e-38, 1e6, 1e30, -1e30, f32::MAX, f32::MIN];
const ERRORS: &[f32] = &[0.0, 0.0, 0.1, 1e-45, 1e-9, 1e6, f32::MAX, f32::INFINITY];
const COSTS: &[f32] = &[0.0, 0.001, 0.01, f32::NAN, f32::NAN, 1e6, f32::MAX, 1e-45, -0.1];
const COUNTS: &[u64] = &[0, 1, 1000, u64::MAX];

/// A prediction for one query.
fn prediction(rng: &mut Rng, n_arms: usize) -> Prediction {
    let mut take = |from: &[f32], n: usize| -> Vec<f32> { (0..n).map(|_| one_of(rng, from)).collect() };
    let (score, cost_usd) = (take(SCORES, n_arms), take(COSTS, n_arms));
    let (errors, members) = (take(ERRORS, n_arms), take(SCORES, 3 * n_arms));
    Prediction {
        n_arms,
        score,
        score_se: rng.random_bool(0.8).then_some(errors),
        cost_usd,
        neighborhoods: None,
        members: rng.random_bool(0.5).then_some(members),
        n_updates: COUNTS[rng.random_range(0..COUNTS.len())],
    }
}

#[test]
fn every_selector_keeps_the_law_on_numbers_from_the_ends_of_what_is_legal() {
    let mut rng = rng::stream(11, "law of distributions");
    for round in 0..4000 {
        let n = rng.random_range(2..7);
        let prediction = prediction(&mut rng, n);
        let mut eligible: Vec<bool> = (0..n).map(|_| rng.random_bool(0.7)).collect();
        eligible[rng.random_range(0..n)] = true;
        let row = prediction.row(0);
        for spec in specs() {
            let selector = build(&spec, &arms(n)).unwrap();
            let stated = selector.distribution(&row, &eligible);
            let explored = selector.explore(&row, &eligible);
            for found in std::iter::once(stated).chain(explored) {
                let broken = distribution::check(&found, &eligible);
                assert!(
                    broken.is_ok(),
                    "round {round}, {spec:?}: {broken:?}\n{row:?} {eligible:?}\n{found:?}"
                );
            }
        }
    }
}

#[test]
fn thousands_of_equal_arms_share_what_one_of_them_would_have() {
    let n = 3000;
    let mut se = vec![0.0; n];
    let row = |se: &[f32]| {
        let (score, cost_usd) = (vec![0.5; n], vec![f32::NAN; n]);
        let row = PredictionRow {
            score: &score,
            score_se: Some(se),
            cost_usd: &cost_usd,
            members: None,
            n_updates: 9,
        };
        Thompson { scale: 1.0 }.distribution(&row, &vec![true; n])
    };
    let sure = row(&se);
    assert!(sure.iter().all(|p| (p * n as f32 - 1.0).abs() < 1e-3), "{:?}", &sure[..3]);
    // One of them is unsure: it is better or worse than all others by an even chance.
    se[7] = 0.1;
    let found = row(&se);
    assert!((found[7] - 0.5).abs() < 1e-3, "{}", found[7]);
    assert!((found[8] * (n - 1) as f32 - 0.5).abs() < 1e-3, "{}", found[8]);
    assert_eq!(distribution::check(&found, &vec![true; n]), Ok(()));
}

#[test]
fn an_arm_of_which_nothing_is_known_is_the_best_by_an_even_chance() {
    let row = PredictionRow {
        score: &[0.9, 0.1, 0.2],
        score_se: Some(&[0.1, f32::INFINITY, 0.1]),
        cost_usd: &[f32::NAN; 3],
        members: None,
        n_updates: 5,
    };
    let found = Thompson { scale: 1.0 }.distribution(&row, &[true; 3]);
    assert!((found[1] - 0.5).abs() < 0.02 && found[0] > 0.48, "{found:?}");
    assert_eq!(Ucb { alpha: 1.0 }.distribution(&row, &[true; 3]), [0.0, 1.0, 0.0]);
    assert_eq!(Ucb { alpha: 0.0 }.distribution(&row, &[true; 3]), [1.0, 0.0, 0.0], "none of it counts");
}

#[test]
fn scores_beyond_an_f32_still_tell_the_arms_apart() {
    let far = PredictionRow {
        score: &[0.9, 0.5, 0.1],
        score_se: None,
        cost_usd: &[1e6, 1.0, 2.0],
        members: None,
        n_updates: 0,
    };
    let priced = json!({"lambda": 1e90, "selector": {"name": "softmax", "settings": {"temperature": 1.0}}});
    let priced = build(&SelectorSpec { name: "priced".into(), settings: priced }, &arms(3)).unwrap();
    assert_eq!(
        priced.distribution(&far, &[true; 3]),
        [0.0, 1.0, 0.0],
        "the cheapest, however dear a dollar is"
    );
}

/// Predicts one fixed row.
#[derive(Debug)]
struct Fixed(Prediction);

impl Predictor for Fixed {
    fn form(&self) -> &'static str {
        "constant"
    }
    fn n_arms(&self) -> usize {
        self.0.n_arms
    }
    fn dim(&self) -> Option<usize> {
        None
    }
    fn predict(&self, _: &Batch<'_>) -> Result<Prediction, PredictError> {
        Ok(self.0.clone())
    }
    fn state(&self) -> FormState {
        FormState::default()
    }
}

fn policy(spec: SelectorSpec, prediction: Prediction) -> Policy {
    let n = prediction.n_arms;
    let cost = CostModel::constant(vec![f32::NAN; n]);
    let draft = RouterDraft {
        name: "p".to_owned(),
        method: "best-single".to_owned(),
        seed: 0,
        arms: arms(n),
        featurizer: Arc::new(Column::new("vector", 0)),
        predictor: Box::new(Constant::new(vec![0.5; n], Vec::new(), Vec::new(), cost)),
        selector: spec,
        params: json!({}),
        data: DataRecord::default(),
        query_text: routewright_data::QueryText::default(),
        metrics: std::collections::BTreeMap::new(),
    };
    let mut policy = draft.into_policy().unwrap();
    policy.router_mut().unwrap().predictor = Box::new(Fixed(prediction));
    policy
}

fn request(objective: Option<Objective>, seed: u64) -> Request<'static> {
    Request { input: FeatureInput { text: "", vector: Some(&[]) }, objective, seed, ..Request::default() }
}

#[test]
fn a_decision_keeps_the_law_under_extreme_objectives_or_says_why_there_is_none() {
    const WEIGHTS: &[f64] =
        &[0.0, 1.0, 1e-300, 1e12, 1e11, 1e13, 3.5e38, 1e300, 1e308, f64::NAN, f64::INFINITY];
    let mut rng = rng::stream(12, "law of decisions");
    let (mut decided, mut refused) = (0, 0);
    for seed in 0..1500 {
        let n = rng.random_range(2..5);
        let drawn = prediction(&mut rng, n);
        let mut weight = || WEIGHTS[rng.random_range(0..WEIGHTS.len())];
        let objective = Objective { quality: weight(), cost: weight(), latency: weight() };
        let specs = specs();
        let spec = specs[seed as usize % specs.len()].clone();
        match policy(spec.clone(), drawn).decide(&request(Some(objective), seed)) {
            Ok(decision) => {
                decided += 1;
                let stated: Vec<f32> = decision.candidates.iter().map(|c| c.propensity).collect();
                let eligible: Vec<bool> =
                    decision.candidates.iter().map(|c| c.excluded_by.is_none()).collect();
                assert_eq!(distribution::check(&stated, &eligible), Ok(()), "{spec:?} {objective:?}");
                assert!(decision.propensity > 0.0 && decision.propensity == stated[decision.arm]);
            }
            Err(DecideError::Number { field, .. }) => {
                refused += 1;
                assert!(field.starts_with("objective."), "{field}");
            }
            Err(other) => panic!("{spec:?} {objective:?}: {other}"),
        }
    }
    assert!(decided > 100 && refused > 100, "{decided} decided, {refused} refused");
}

#[test]
fn predictions_that_are_no_numbers_are_refused_by_arm() {
    let mut good = prediction(&mut rng::stream(1, "good"), 2);
    good = Prediction { score: vec![0.5; 2], cost_usd: vec![0.1; 2], score_se: None, members: None, ..good };
    let decide = |prediction: Prediction| {
        policy(SelectorSpec::named("argmax"), prediction).decide(&request(None, 1)).unwrap_err().to_string()
    };
    let nan = Prediction { score: vec![0.5, f32::NAN], ..good.clone() };
    assert_eq!(decide(nan), "the score predicted of arm `b` is `NaN`, expected a finite number");
    let dear = Prediction { cost_usd: vec![f32::INFINITY, 0.1], ..good.clone() };
    assert!(decide(dear).contains("cost predicted of arm `a` is `inf`"));
    let unsure = Prediction { score_se: Some(vec![0.1, -1.0]), ..good };
    assert!(decide(unsure).contains("standard error of the score predicted of arm `b` is `-1`"));
}

/// A selector that breaks the law, as one with a fault would.
#[derive(Debug)]
struct Broken(Vec<f32>);

impl Selector for Broken {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec::named("broken")
    }
    fn distribution(&self, _: &PredictionRow<'_>, _: &[bool]) -> Vec<f32> {
        self.0.clone()
    }
}

#[test]
fn nothing_is_drawn_from_what_is_no_distribution() {
    let good = Prediction {
        score: vec![0.5; 2],
        cost_usd: vec![f32::NAN; 2],
        score_se: None,
        members: None,
        ..prediction(&mut rng::stream(1, "good"), 2)
    };
    for broken in [vec![f32::NAN; 2], vec![0.0; 2], vec![0.0125; 2], vec![1.5, -0.5], vec![1.0]] {
        let mut policy = policy(SelectorSpec::named("argmax"), good.clone());
        policy.router_mut().unwrap().selector = Box::new(Broken(broken.clone()));
        let error = policy.decide(&request(None, 1)).unwrap_err().to_string();
        assert!(error.starts_with("selector `broken` gave no distribution: "), "{broken:?}: {error}");
    }
    let mut policy = policy(SelectorSpec::named("argmax"), good);
    policy.router_mut().unwrap().selector = Box::new(Broken(vec![0.5, 0.5]));
    let only = ["a".to_owned()];
    let error = policy.decide(&Request { candidates: Some(&only), ..request(None, 1) }).unwrap_err();
    assert!(error.to_string().contains("arm 1 is not eligible"), "{error}");
}

#[test]
fn what_explores_goes_on_exploring_under_an_objective() {
    let good = Prediction {
        n_arms: 3,
        score: vec![0.9, 0.5, 0.4],
        cost_usd: vec![1.0, 0.0, 0.0],
        score_se: None,
        members: None,
        neighborhoods: None,
        n_updates: 0,
    };
    let stated = |name: &str, settings: Value, objective: Objective| -> Vec<f32> {
        let policy = policy(SelectorSpec { name: name.to_owned(), settings }, good.clone());
        policy.decide(&request(Some(objective), 1)).unwrap().candidates.iter().map(|c| c.propensity).collect()
    };
    let close = |found: Vec<f32>, expected: [f32; 3]| {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");
    };
    let dear = Objective { quality: 1.0, cost: 1.0, latency: 0.0 };
    // 0.9 - 1, 0.5 and 0.4: the second is the best; a fifth of the calls is uniform.
    let mixture = json!({"parts": [
        {"weight": 4.0, "selector": {"name": "argmax"}},
        {"weight": 1.0, "selector": {"name": "uniform"}}
    ]});
    close(stated("mixture", mixture, dear), [0.2 / 3.0, 0.8 + 0.2 / 3.0, 0.2 / 3.0]);
    // What only trades score for money follows the objective alone.
    let hull = json!({"parts": [
        {"weight": 1.0, "selector": {"name": "argmax"}},
        {"weight": 1.0, "selector": {"name": "cheapest"}}
    ]});
    close(stated("mixture", hull, Objective { cost: 0.1, ..dear }), [1.0, 0.0, 0.0]);
    // A price within is not taken off a second time: 0.9 - 0.3 is still the best.
    let greedy = json!({"epsilon": 0.3, "selector": {"name": "utility", "settings": {"lambda": 0.3}}});
    close(stated("epsilon-greedy", greedy, Objective { cost: 0.3, ..dear }), [0.8, 0.1, 0.1]);
    close(stated("uniform", json!({}), dear), [1.0 / 3.0; 3]);
}
