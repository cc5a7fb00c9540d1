//! Explorers against their formulas, worked out by hand or by simulation.

use super::*;
use crate::PredictionRow;
use rand::RngExt as _;
use rand_distr::StandardNormal;
use routewright_data::rng;
use serde_json::json;

const ALL_OK: [bool; 3] = [true; 3];

fn explore(name: &str, settings: serde_json::Value, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
    let arms = vec![Arm::default(); row.score.len()];
    let selector = build(&SelectorSpec { name: name.to_owned(), settings }, &arms).unwrap();
    assert!(selector.explore(row, eligible).is_some(), "{name} is no explorer");
    assert_eq!(build(&selector.spec(), &arms).unwrap().spec(), selector.spec());
    selector.distribution(row, eligible)
}

fn row<'a>(score: &'a [f32], se: &'a [f32], n_updates: u64) -> PredictionRow<'a> {
    PredictionRow { score, score_se: Some(se), cost_usd: &[f32::NAN; 3], members: None, n_updates }
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let far = found.iter().zip(expected).any(|(a, b)| (f64::from(*a) - b).abs() > tolerance);
    assert!(!far, "{found:?} against {expected:?}");
}

#[test]
fn epsilon_is_shared_by_every_eligible_arm_and_halves() {
    let at = |n| row(&[0.2, 0.9, 0.4], &[0.0; 3], n);
    let settings = json!({"epsilon": 0.3, "half_life": 100.0});
    close(&explore("epsilon-greedy", settings.clone(), &at(0), &ALL_OK), &[0.1, 0.8, 0.1], 1e-6);
    close(&explore("epsilon-greedy", settings.clone(), &at(100), &ALL_OK), &[0.05, 0.9, 0.05], 1e-6);
    close(&explore("epsilon-greedy", settings, &at(0), &[true, false, true]), &[0.15, 0.0, 0.85], 1e-6);
    let floor = json!({"epsilon": 0.03, "selector": {"name": "ucb", "settings": {"alpha": 2.0}}});
    // 0.2 + 2 * 0.5 = 1.2 is the greatest bound
    close(
        &explore("epsilon-greedy", floor, &row(&[0.2, 0.9, 0.4], &[0.5, 0.0, 0.1], 0), &ALL_OK),
        &[0.98, 0.01, 0.01],
        1e-6,
    );
}

#[test]
fn squarecb_is_inverse_gap_weighting() {
    // gamma = 10 * 4^0.5 = 20: 1 / (3 + 20 * 0.5) = 1/13, 1 / (3 + 20 * 0.1) = 1/5, the rest for the best
    let found = explore("squarecb", json!({}), &row(&[0.3, 0.8, 0.7], &[0.0; 3], 4), &ALL_OK);
    close(&found, &[1.0 / 13.0, 1.0 - 1.0 / 13.0 - 0.2, 0.2], 1e-6);
    let greedy = |gamma| {
        explore("squarecb", json!({"gamma_scale": gamma}), &row(&[0.3, 0.8, 0.7], &[0.0; 3], 1), &ALL_OK)[1]
    };
    assert!(greedy(0.0) < greedy(1.0) && greedy(1.0) < greedy(100.0));
    close(
        &explore("squarecb", json!({}), &row(&[0.5, 0.5, 0.5], &[0.0; 3], 9), &ALL_OK),
        &[1.0 / 3.0; 3],
        1e-6,
    );
}

#[test]
fn softmax_proportional_and_regcb_follow_their_formulas() {
    let temperature = json!({"temperature": 0.5});
    let found = explore("softmax", temperature, &row(&[0.0, 0.5, 1.0], &[0.0; 3], 0), &ALL_OK);
    let total = 1.0 + 1.0_f64.exp() + 2.0_f64.exp();
    close(&found, &[1.0 / total, 1.0_f64.exp() / total, 2.0_f64.exp() / total], 1e-6);
    close(
        &explore("proportional", json!({}), &row(&[0.2, 0.6, 0.0], &[0.0; 3], 0), &ALL_OK),
        &[0.25, 0.75, 0.0],
        1e-6,
    );
    close(
        &explore("proportional", json!({}), &row(&[0.0; 3], &[0.0; 3], 0), &[true, true, false]),
        &[0.5, 0.5, 0.0],
        1e-6,
    );
    // lower bounds 0.4, 0.55, -0.2; upper 0.6, 0.65, 0.8: all reach 0.55
    let unsure = row(&[0.5, 0.6, 0.3], &[0.1, 0.05, 0.5], 0);
    close(&explore("regcb", json!({"alpha": 1.0}), &unsure, &ALL_OK), &[1.0 / 3.0; 3], 1e-6);
    close(&explore("regcb", json!({"alpha": 0.4}), &unsure, &ALL_OK), &[0.0, 1.0, 0.0], 1e-6);
    close(&explore("regcb", json!({"alpha": 0.6}), &unsure, &ALL_OK), &[0.0, 0.5, 0.5], 1e-6);
}

#[test]
fn thompson_states_the_frequencies_that_sampling_has() {
    let cases: [(&[f32], &[f32]); 4] = [
        (&[0.5, 0.6, 0.55], &[0.1, 0.1, 0.2]),
        (&[0.5, 0.6, 0.2], &[0.1, 0.01, 0.01]),
        (&[0.5, 0.5, 0.5], &[0.001, 0.1, 0.3]),
        (&[0.9, 0.1, 0.2], &[0.05, 0.05, 0.05]),
    ];
    for (score, se) in cases {
        let found = explore("thompson", json!({"scale": 1.5}), &row(score, se, 0), &ALL_OK);
        let mut rng = rng::stream(7, "thompson by sampling");
        let mut wins = [0.0; 3];
        for _ in 0..40_000 {
            let draw = |arm: usize, z: f64| f64::from(score[arm]) + 1.5 * f64::from(se[arm]) * z;
            let draws = [0, 1, 2].map(|arm| draw(arm, rng.sample(StandardNormal)));
            let best = (0..3).max_by(|a, b| draws[*a].total_cmp(&draws[*b])).unwrap();
            wins[best] += 1.0 / 40_000.0;
        }
        close(&found, &wins, 0.02);
        assert!((found.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
    let sure = explore("thompson", json!({}), &row(&[0.1, 0.2, 0.15], &[0.0; 3], 0), &ALL_OK);
    assert_eq!(sure, [0.0, 1.0, 0.0]);
    let masked = explore("thompson", json!({}), &row(&[0.1, 0.2, 0.15], &[0.1; 3], 0), &[true, false, true]);
    assert_eq!(masked[1], 0.0);
}

#[test]
fn a_price_is_taken_off_before_exploring_and_unknown_prices_drop_out() {
    let softmax = json!({"name": "softmax", "settings": {"temperature": 0.1}});
    let priced = |lambda: f64| json!({"lambda": lambda, "selector": softmax});
    let row = PredictionRow {
        score: &[0.9, 0.5, 0.9],
        score_se: None,
        cost_usd: &[0.1, 0.0, f32::NAN],
        members: None,
        n_updates: 0,
    };
    let free = explore("priced", priced(0.0), &row, &ALL_OK);
    assert!(free[2] > 0.4 && free[0] == free[2]);
    // 0.9 - 4 * 0.1 = 0.5: the two priced arms are worth the same
    close(&explore("priced", priced(4.0), &row, &ALL_OK), &[0.5, 0.5, 0.0], 1e-6);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    for (name, settings, word) in [
        ("epsilon-greedy", json!({"epsilon": 1.5}), "epsilon"),
        ("epsilon-greedy", json!({"epsilon": 0.1, "selector": {"name": "ubc"}}), "`ucb`"),
        ("softmax", json!({"temperature": 0.0}), "temperature"),
        ("ucb", json!({"alpha": -1.0}), "alpha"),
        ("thompson", json!({"scale": f64::MAX, "scal": 1.0}), "scal"),
        ("squarecb", json!({"gamma_scale": -2.0}), "gamma_scale"),
        ("cover", json!({"psi": -0.1}), "psi"),
        ("votes", json!({"psi": 0.1}), "psi"),
        ("priced", json!({"lambda": -1.0, "selector": {"name": "argmax"}}), "lambda"),
    ] {
        let spec = SelectorSpec { name: name.to_owned(), settings };
        let error = build(&spec, &[Arm::default()]).unwrap_err().to_string();
        assert!(error.contains(word), "{name}: {error}");
    }
}

/// Three members: by deviation from (0.5, 0.5, 0.4).
const MEMBERS: [f32; 9] = [0.1, 0.0, 0.0, 0.0, 0.2, 0.1, 0.3, 0.0, 0.35];

#[test]
fn votes_count_the_arms_that_members_hold_for_the_best() {
    let row = PredictionRow { members: Some(&MEMBERS), ..row(&[0.5, 0.5, 0.4], &[0.0; 3], 0) };
    // 0.6 0.5 0.4; 0.5 0.7 0.5; 0.8 0.5 0.75
    close(&explore("votes", json!({}), &row, &ALL_OK), &[2.0 / 3.0, 1.0 / 3.0, 0.0], 1e-6);
    close(&explore("votes", json!({}), &row, &[false, true, true]), &[0.0, 2.0 / 3.0, 1.0 / 3.0], 1e-6);
    let alone = PredictionRow { members: None, ..row };
    close(&explore("votes", json!({}), &alone, &ALL_OK), &[0.5, 0.5, 0.0], 1e-6);
}

#[test]
fn a_price_is_taken_off_what_every_member_believes() {
    let priced = json!({"lambda": 1.0, "selector": {"name": "votes"}});
    let cost = [0.25, 0.0, 0.0];
    let row =
        PredictionRow { members: Some(&MEMBERS), cost_usd: &cost, ..row(&[0.5, 0.5, 0.4], &[0.0; 3], 0) };
    // 0.35 0.5 0.4; 0.25 0.7 0.5; 0.55 0.5 0.75
    close(&explore("priced", priced, &row, &ALL_OK), &[0.0, 2.0 / 3.0, 1.0 / 3.0], 1e-6);
}

#[test]
fn cover_gives_a_vote_to_arms_within_psi_of_the_best() {
    let settings = |psi: f64| json!({ "psi": psi });
    let at = |score, n| PredictionRow { members: Some(&[0.0; 9]), ..row(score, &[0.0; 3], n) };
    // Nothing is known: uniform, whatever the votes.
    close(&explore("cover", settings(1.0), &at(&[0.9, 0.5, 0.1], 0), &ALL_OK), &[1.0 / 3.0; 3], 1e-6);
    // e = 1 / sqrt(3 * 30000) = 1/300. First arm 0; then arm 1 gains 0.3, which passes 0.2; then arm 2 gains 0.3
    // and stays behind; arm 0, with half the votes, gains 0.3 e / (e + 0.99 / 2) = 0.002.
    let e = 1.0 / 300.0;
    let shared = [e + 0.99 * 2.0 / 3.0, e + 0.99 / 3.0, e];
    close(&explore("cover", settings(0.3), &at(&[0.9, 0.7, 0.1], 30_000), &ALL_OK), &shared, 1e-6);
    close(
        &explore("cover", settings(0.1), &at(&[0.9, 0.7, 0.1], 30_000), &ALL_OK),
        &[1.0 - 2.0 * e, e, e],
        1e-6,
    );
    // Eight votes of one belief, e = 1 / sqrt(2 * 20000) = 1/200: the second for arm 1, the rest for arm 0.
    let alone = row(&[0.9, 0.7, 0.1], &[0.0; 3], 20_000);
    let found = explore("cover", settings(0.3), &alone, &[true, true, false]);
    close(&found, &[0.005 + 0.99 * 7.0 / 8.0, 0.005 + 0.99 / 8.0, 0.0], 1e-6);
}
