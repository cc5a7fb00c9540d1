use super::*;
use crate::{Arm, PredictionRow};
use serde_json::json;

fn arms() -> Vec<Arm> {
    ["weak", "middle", "strong"].map(|model| Arm { model: model.to_owned(), ..Arm::default() }).to_vec()
}

fn pick(name: &str, settings: serde_json::Value, score: &[f32], cost: &[f32], eligible: &[bool]) -> Vec<f32> {
    let spec = SelectorSpec { name: name.to_owned(), settings };
    let row = PredictionRow { score, score_se: None, cost_usd: cost, members: None, n_updates: 0 };
    build(&spec, &arms()).unwrap().distribution(&row, eligible)
}

const SCORE: &[f32] = &[0.5, 0.7, 0.8];
const COST: &[f32] = &[0.001, 0.01, 0.1];
const ALL_OK: &[bool] = &[true, true, true];

#[test]
fn each_selector_follows_its_definition() {
    assert_eq!(pick("argmax", json!({}), SCORE, COST, ALL_OK), [0.0, 0.0, 1.0]);
    // 0.7 - 5 * 0.01 = 0.65 beats 0.495 and 0.3
    assert_eq!(pick("utility", json!({"lambda": 5.0}), SCORE, COST, ALL_OK), [0.0, 1.0, 0.0]);
    assert_eq!(pick("utility", json!({"lambda": 100.0}), SCORE, COST, ALL_OK), [1.0, 0.0, 0.0]);
    assert_eq!(pick("budget", json!({"max_cost_usd": 0.05}), SCORE, COST, ALL_OK), [0.0, 1.0, 0.0]);
    assert_eq!(pick("budget", json!({"max_cost_usd": 0.0}), SCORE, COST, ALL_OK), [1.0, 0.0, 0.0]);
    assert_eq!(pick("cheapest-within", json!({"delta": 0.15}), SCORE, COST, ALL_OK), [0.0, 1.0, 0.0]);
    assert_eq!(pick("cheapest", json!({}), SCORE, COST, ALL_OK), [1.0, 0.0, 0.0]);
    assert_eq!(pick("uniform", json!({}), SCORE, COST, &[true, false, true]), [0.5, 0.0, 0.5]);
    let two = |threshold: f64| json!({"strong": "strong", "weak": "weak", "threshold": threshold});
    assert_eq!(pick("threshold", two(0.25), SCORE, COST, ALL_OK), [0.0, 0.0, 1.0]);
    assert_eq!(pick("threshold", two(0.35), SCORE, COST, ALL_OK), [1.0, 0.0, 0.0]);
    assert_eq!(pick("threshold", two(0.25), SCORE, COST, &[true, true, false]), [1.0, 0.0, 0.0]);
    let parts = json!({"parts": [
        {"weight": 3.0, "selector": {"name": "argmax"}},
        {"weight": 1.0, "selector": {"name": "cheapest"}}
    ]});
    assert_eq!(pick("mixture", parts, SCORE, COST, ALL_OK), [0.25, 0.0, 0.75]);
}

#[test]
fn an_unsure_choice_is_drawn_among_the_best() {
    let unsure = |confidence: f64, top: usize, score: &[f32], eligible: &[bool]| {
        pick("unsure", json!({"confidence": confidence, "top": top}), score, COST, eligible)
    };
    assert_eq!(unsure(0.75, 2, SCORE, ALL_OK), [0.0, 0.0, 1.0]);
    assert_eq!(unsure(0.85, 2, SCORE, ALL_OK), [0.0, 0.5, 0.5]);
    assert_eq!(unsure(0.8, 9, SCORE, &[true, true, false]), [0.5, 0.5, 0.0]);
    // Two arms tie for the second of two places.
    assert_eq!(unsure(0.9, 2, &[0.5, 0.5, 0.8], ALL_OK), [0.25, 0.25, 0.5]);
}

#[test]
fn exact_ties_go_to_the_cheaper_arm_and_equal_arms_share() {
    assert_eq!(pick("argmax", json!({}), &[0.5, 0.5, 0.1], &[0.2, 0.1, 0.1], ALL_OK), [0.0, 1.0, 0.0]);
    assert_eq!(pick("argmax", json!({}), &[0.5, 0.5, 0.1], &[0.1, 0.1, 0.1], ALL_OK), [0.5, 0.5, 0.0]);
    let unknown = &[f32::NAN; 3];
    assert_eq!(pick("argmax", json!({}), &[0.5, 0.5, 0.1], unknown, ALL_OK), [0.5, 0.5, 0.0]);
}

#[test]
fn an_unknown_cost_never_wins_where_money_matters() {
    let cost = &[f32::NAN, 0.01, 0.1];
    assert_eq!(pick("utility", json!({"lambda": 1.0}), &[0.9, 0.5, 0.5], cost, ALL_OK), [0.0, 1.0, 0.0]);
    assert_eq!(pick("utility", json!({"lambda": 0.0}), &[0.9, 0.5, 0.5], cost, ALL_OK), [1.0, 0.0, 0.0]);
    assert_eq!(pick("cheapest", json!({}), &[0.9, 0.5, 0.5], cost, ALL_OK), [0.0, 1.0, 0.0]);
    assert_eq!(
        pick("utility", json!({"lambda": 1.0}), &[0.9, 0.5, 0.5], cost, &[true, false, false]),
        [1.0, 0.0, 0.0]
    );
}

#[test]
fn wrong_settings_are_refused_with_the_reason() {
    let message = |name: &str, settings| {
        let spec = SelectorSpec { name: name.to_owned(), settings };
        build(&spec, &arms()).unwrap_err().to_string()
    };
    assert!(message("argmin", json!({})).contains("`argmax`"));
    assert!(message("utility", json!({"lamda": 1.0})).contains("unknown field `lamda`"));
    assert!(message("utility", json!({"lambda": -1.0})).contains("at least 0"));
    assert!(
        message("threshold", json!({"strong": "strnog", "weak": "weak", "threshold": 0.1}))
            .contains("`strong`")
    );
    assert!(message("mixture", json!({"parts": []})).contains("at least one entry"));
}

#[test]
fn a_selector_is_rebuilt_from_its_own_spec() {
    let arms = arms();
    let specs = [
        SelectorSpec { name: "utility".into(), settings: json!({"lambda": 2.0}) },
        SelectorSpec {
            name: "threshold".into(),
            settings: json!({"strong": "strong", "weak": "weak", "threshold": 0.5}),
        },
    ];
    for spec in specs {
        let built = build(&spec, &arms).unwrap();
        assert_eq!(built.spec(), spec);
    }
}
