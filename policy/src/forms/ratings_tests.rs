//! Ratings by hand, and what a report changes.

use super::*;

fn battle(a: u32, b: u32, share: f32) -> Battle {
    Battle { a, b, share, weight: 1.0 }
}

fn shape(neighbors: usize, global: f64) -> RatingShape {
    RatingShape { dim: 2, neighbors, step: 32.0, local_step: 32.0, global, memory: 1000 }
}

/// On the first axis arm 0 beats arm 1, on the second arm 1 beats arm 0, in turn.
fn form(n: usize, shape: RatingShape) -> Ratings {
    let values = (0..n).flat_map(|i| if i % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
    let battles: Vec<Battle> = (0..n).map(|i| battle(0, 1, if i % 2 == 0 { 1.0 } else { 0.0 })).collect();
    let features = FeatureMatrix::from_vec(n, 2, values);
    let order: Vec<usize> = (0..n).collect();
    let cost = CostModel::constant(vec![0.1, f32::NAN]);
    Ratings::new(shape, features, ((0..=n).collect(), battles), &order, cost).unwrap()
}

fn scores(form: &dyn Predictor, x: [f32; 2]) -> Vec<f32> {
    form.predict(&Batch::of(&FeatureMatrix::from_vec(1, 2, x.to_vec()))).unwrap().score
}

#[test]
fn ratings_follow_the_formula() {
    // By hand: 1500 + 32 (1 - 1/2) = 1516 and 1484; then arm 0 loses where 0.546 was expected of it.
    let form = form(2, shape(1, 0.5));
    let expected = 1.0 / (1.0 + 10.0_f64.powf((1484.0 - 1516.0) / 400.0));
    let second = 1516.0 - 32.0 * expected;
    assert!((form.history.now[0] - second).abs() < 1e-9);
    let means = form.global();
    assert!((means[0] - (1516.0 + second) / 2.0).abs() < 1e-9 && (means[0] + means[1] - 3000.0).abs() < 1e-9);
    // Local: one neighbor, from the global ratings.
    let won = 1.0 / (1.0 + 10.0_f64.powf((means[1] - means[0]) / 400.0));
    let local = means[0] + 32.0 * (1.0 - won);
    let mixed = 0.5 * means[0] + 0.5 * local;
    let chance = 1.0 / (1.0 + 10.0_f64.powf((1500.0 - mixed) / 400.0));
    assert!((f64::from(scores(&form, [1.0, 0.0])[0]) - chance).abs() < 1e-6);
}

#[test]
fn the_neighborhood_decides_and_a_query_near_nothing_gets_the_global_ratings() {
    let form = form(200, shape(20, 0.5));
    let (first, second) = (scores(&form, [1.0, 0.0]), scores(&form, [0.0, 1.0]));
    assert!(first[0] > first[1] + 0.1 && second[1] > second[0] + 0.1, "{first:?} {second:?}");
    let global = scores(&form.clone().mixed(20, 32.0, 1.0), [1.0, 0.0]);
    assert_eq!(scores(&form, [0.0, 0.0]), global);
    assert_eq!(scores(&form, [-1.0, -1.0]), global);
}

#[test]
fn a_report_moves_ratings_and_survives_the_state_bit_for_bit() {
    let mut learner = form(20, shape(5, 0.0));
    let before = scores(&learner, [0.6, 0.8]);
    for _ in 0..2 * TAIL_MAX + 10 {
        let experience = Experience {
            features: &[0.6, 0.8],
            source: None,
            arm: 1,
            rival: Some(0),
            reward: 0.0,
            weight: 1.0,
            time: 0,
        };
        learner.learn(&experience).unwrap();
    }
    let after = scores(&learner, [0.6, 0.8]);
    assert!(after[0] > before[0] && after[0] > after[1], "{before:?} {after:?}");
    assert_eq!((learner.n_updates(), learner.memory.len()), (522, 542));
    let restored = crate::forms::restored(&learner).unwrap();
    for x in [[0.6, 0.8], [1.0, 0.0], [0.3, -0.2]] {
        assert_eq!(scores(restored.as_ref(), x), scores(&learner, x));
    }
    let (mut score, mut se) = ([0.0; 2], [1.0; 2]);
    learner.predict_into(&[0.6, 0.8], None, &mut score, &mut se);
    assert_eq!((score.to_vec(), se), (after, [0.0; 2]));
    learner.add_arm(&NewArm { quality: None, cost_usd: Some(0.2) }).unwrap();
    assert_eq!((learner.n_arms(), scores(&learner, [0.6, 0.8]).len()), (3, 3));
    assert!((learner.global()[2] - START).abs() < 1e-9);
}

#[test]
fn the_oldest_queries_are_forgotten_and_odd_reports_are_refused() {
    let mut learner = form(100, RatingShape { memory: 50, ..shape(5, 0.5) });
    let experience = Experience {
        features: &[1.0, 0.0],
        source: None,
        arm: 0,
        rival: Some(1),
        reward: 1.0,
        weight: 1.0,
        time: 0,
    };
    for _ in 0..3 * TAIL_MAX {
        learner.learn(&experience).unwrap();
        assert!(learner.memory.len() <= 100 + TAIL_MAX + 1);
    }
    assert!(learner.memory.len() <= 50 + TAIL_MAX);
    let refused = |experience| learner.clone().learn(&experience).unwrap_err().to_string();
    assert!(refused(Experience { rival: None, ..experience }).contains("comparisons"));
    assert!(refused(Experience { rival: Some(0), ..experience }).contains("arm 0 of 2"));
    assert!(refused(Experience { reward: 2.0, ..experience }).contains("`2`"));
}

#[test]
fn a_damaged_state_is_refused() {
    let load = |state| crate::forms::load("ratings", 1, state, 2).unwrap_err().to_string();
    let mut state = form(4, shape(1, 0.5)).state();
    state.tensors.insert_u32("arms", &[4, 2], vec![0, 1, 0, 1, 0, 0, 0, 1]);
    assert!(load(state).contains("comparison 2"));
    let mut state = form(4, shape(1, 0.5)).state();
    state.tensors.insert_u32("starts", &[5], vec![0, 3, 2, 3, 4]);
    assert!(load(state).contains("does not rise"));
    let mut state = form(4, shape(1, 0.5)).state();
    state.config["shape"]["global"] = serde_json::json!(1.5);
    assert!(load(state).contains("`global` is `1.5`"));
}
