//! The belief against one dense solve, in f64, of all comparisons.

use super::*;
use rand::RngExt as _;
use routewright_data::linalg::solve_spd;
use routewright_data::{FeatureMatrix, rng};

const DIM: usize = 4;
const N_ARMS: usize = 3;
const WIDTH: usize = DIM + 1;
const N: usize = N_ARMS * WIDTH;
const X: [f32; DIM] = [0.3, -0.2, 0.5, 0.1];

struct Told {
    features: Vec<f32>,
    arm: usize,
    rival: usize,
    reward: f64,
    weight: f64,
    time: u64,
}

impl Told {
    fn experience(&self) -> Experience<'_> {
        let Self { ref features, arm, rival, reward, weight, time } = *self;
        Experience { features, source: None, arm, rival: Some(rival), reward, weight, time }
    }

    fn turned(&self) -> Self {
        let (arm, rival, reward) = (self.rival, self.arm, 1.0 - self.reward);
        Self { features: self.features.clone(), arm, rival, reward, ..*self }
    }
}

/// Arm 2 wins where the first feature is positive, arm 0 else; arm 1 is always between.
fn told(n: usize) -> Vec<Told> {
    let mut rng = rng::stream(3, "duels told");
    let tell = |time: usize| {
        let features: Vec<f32> = (0..DIM).map(|_| rng.random::<f32>() - 0.5).collect();
        let arm = rng.random_range(0..N_ARMS);
        let rival = (arm + rng.random_range(1..N_ARMS)) % N_ARMS;
        let strength = |arm: usize| f64::from(features[0]) * (arm as f64 - 1.0);
        let chance = 1.0 / (1.0 + (-8.0 * (strength(arm) - strength(rival))).exp());
        let reward = if rng.random::<f64>() < chance { 1.0 } else { 0.0 };
        Told { features, arm, rival, reward, weight: [1.0, 0.5][time % 2], time: time as u64 }
    };
    (0..n).map(tell).collect()
}

fn shape() -> DuelShape {
    DuelShape { dim: DIM, intercept: true, precision: 1.5, noise: 0.5, feel_good: 0.0 }
}

fn fresh(feel_good: f64) -> Duels {
    let cost = CostModel::constant(vec![0.1, 0.2, f32::NAN]);
    Duels::new(DuelShape { feel_good, ..shape() }, cost).unwrap()
}

fn learn(duels: &mut Duels, told: &[Told]) {
    told.iter().for_each(|told| duels.learn(&told.experience()).unwrap());
}

fn predicted(duels: &mut Duels, x: &[f32]) -> ([f32; N_ARMS], [f32; N_ARMS]) {
    let (mut score, mut se) = ([0.0; N_ARMS], [0.0; N_ARMS]);
    duels.predict_into(x, None, &mut score, &mut se);
    (score, se)
}

/// Score and standard error of every arm against the mean of all, by one system of all coefficients.
fn solved(told: &[Told]) -> Vec<(f64, f64)> {
    let with_one = |x: &[f32]| x.iter().map(|v| f64::from(*v)).chain([1.0]).collect::<Vec<f64>>();
    let joint = |x: &[f32], amounts: &[f64; N_ARMS]| -> Vec<f64> {
        amounts.iter().flat_map(|amount| with_one(x).into_iter().map(move |x| amount * x)).collect()
    };
    let n_right = 1 + N_ARMS;
    let (mut a, mut right) = (vec![0.0; N * N], vec![0.0; N * n_right]);
    (0..N).for_each(|i| a[i * N + i] = 1.5);
    for one in told {
        let mut amounts = [0.0; N_ARMS];
        (amounts[one.arm], amounts[one.rival]) = (1.0, -1.0);
        let phi = joint(&one.features, &amounts);
        for i in 0..N {
            (0..N).for_each(|j| a[i * N + j] += one.weight * phi[i] * phi[j]);
            right[i * n_right] += one.weight * (one.reward - 0.5) * phi[i];
        }
    }
    let against_all = |arm: usize| {
        let mut amounts = [-1.0 / N_ARMS as f64; N_ARMS];
        amounts[arm] += 1.0;
        joint(&X, &amounts)
    };
    for arm in 0..N_ARMS {
        against_all(arm).into_iter().enumerate().for_each(|(i, x)| right[i * n_right + 1 + arm] = x);
    }
    let out = solve_spd(a, right, N, n_right).unwrap();
    let dot = |arm, column| (0..N).map(|i| against_all(arm)[i] * out[i * n_right + column]).sum::<f64>();
    (0..N_ARMS).map(|arm| (0.5 + dot(arm, 0), 0.5 * dot(arm, 1 + arm).sqrt())).collect()
}

#[test]
fn rank_one_updates_equal_one_solve_of_all_comparisons() {
    let told = told(5000);
    let mut duels = fresh(0.0);
    let mut heard = 0;
    for n in [0, 1, 30, 600, 5000] {
        learn(&mut duels, &told[heard..n]);
        heard = n;
        let (score, se) = predicted(&mut duels, &X);
        for (arm, (mean, spread)) in solved(&told[..n]).into_iter().enumerate() {
            let off = (f64::from(score[arm]) - mean).abs().max((f64::from(se[arm]) - spread).abs());
            assert!(off < 1e-5, "{n} comparisons, arm {arm}: {} {mean}, {} {spread}", score[arm], se[arm]);
        }
    }
    let batch = FeatureMatrix::from_vec(1, DIM, X.to_vec());
    let prediction = duels.predict(&Batch::of(&batch)).unwrap();
    assert_eq!(prediction.score, predicted(&mut duels, &X).0);
}

#[test]
fn the_arm_that_wins_is_found_on_either_side() {
    let mut duels = fresh(0.0);
    learn(&mut duels, &told(3000));
    let (right, _) = predicted(&mut duels, &[0.4, 0.0, 0.0, 0.0]);
    let (left, _) = predicted(&mut duels, &[-0.4, 0.0, 0.0, 0.0]);
    assert!(right[2] > right[1] + 0.1 && right[1] > right[0] + 0.1, "{right:?}");
    assert!(left[0] > left[1] + 0.1 && left[1] > left[2] + 0.1, "{left:?}");
    assert!((right.iter().sum::<f32>() - 1.5).abs() < 1e-5, "scores are against the mean arm");
}

#[test]
fn sides_order_restarts_parts_and_what_is_taken_back_change_no_bit() {
    let told = told(300);
    let mut all = fresh(0.0);
    learn(&mut all, &told);
    let mut other_side = fresh(0.0);
    let turned: Vec<Told> = told.iter().rev().map(Told::turned).collect();
    learn(&mut other_side, &turned);
    assert_eq!(all.state(), other_side.state());

    let mut base = fresh(0.0);
    learn(&mut base, &told[..100]);
    let (mut one, mut other) = (base.clone(), base.clone());
    learn(&mut one, &told[100..200]);
    learn(&mut other, &told[200..]);
    one.merge(other.state(), base.state()).unwrap();
    assert_eq!(one.state(), all.state());
    assert_eq!(one.n_updates(), 300);

    for told in &told[200..] {
        all.unlearn(&told.experience()).unwrap();
    }
    let mut begun = fresh(0.0);
    learn(&mut begun, &told[..200]);
    assert_eq!(all.state(), begun.state());
    let restored = super::super::load(ROW.name, 1, all.state(), N_ARMS).unwrap();
    assert_eq!(restored.state(), all.state());
}

#[test]
fn feeling_good_speaks_for_the_best_arm_and_depends_on_the_order() {
    let told = told(400);
    let (mut plain, mut good) = (fresh(0.0), fresh(0.1));
    learn(&mut plain, &told);
    learn(&mut good, &told);
    let x = [0.4, 0.0, 0.0, 0.0];
    assert!(predicted(&mut good, &x).0[2] > predicted(&mut plain, &x).0[2] + 0.01);
    // What was added step by step is what the sums give.
    let restored = super::super::load(ROW.name, 1, good.state(), N_ARMS).unwrap();
    let batch = FeatureMatrix::from_vec(1, DIM, x.to_vec());
    let restored = restored.predict(&Batch::of(&batch)).unwrap().score;
    let found = predicted(&mut good, &x).0;
    assert!(found.iter().zip(&restored).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} {restored:?}");
    assert!(!good.can_unlearn());
    assert!(
        good.unlearn(&told[0].experience()).is_err()
            && good.clone().merge(good.state(), good.state()).is_err()
    );
}

#[test]
fn an_arm_can_be_added_and_is_as_good_as_the_mean_until_it_is_compared() {
    let mut duels = fresh(0.0);
    learn(&mut duels, &told(300));
    duels.add_arm(&NewArm { quality: None, cost_usd: Some(0.4) }).unwrap();
    let (mut score, mut se) = ([0.0; N_ARMS + 1], [0.0; N_ARMS + 1]);
    duels.predict_into(&X, None, &mut score, &mut se);
    assert!((score[N_ARMS] - 0.5).abs() < 0.02 && se[N_ARMS] > 1.5 * se[0], "{score:?} {se:?}");
    let won = Told { features: X.to_vec(), arm: N_ARMS, rival: 0, reward: 1.0, weight: 1.0, time: 900 };
    duels.learn(&won.experience()).unwrap();
    let before = score[N_ARMS];
    duels.predict_into(&X, None, &mut score, &mut se);
    assert!(score[N_ARMS] > before + 0.02);
    let declared = duels.add_arm(&NewArm { quality: Some((0.5, 10.0)), cost_usd: None });
    assert!(matches!(declared, Err(LearnError::Quality { .. })));
}

#[test]
fn what_is_no_comparison_is_refused_and_changes_nothing() {
    let mut duels = fresh(0.0);
    let told = told(1).remove(0);
    let before = duels.state();
    for (wrong, word) in [
        (Experience { rival: None, ..told.experience() }, "comparisons"),
        (Experience { rival: Some(told.arm), ..told.experience() }, "arm"),
        (Experience { rival: Some(9), ..told.experience() }, "arm 9 of 3"),
        (Experience { reward: 1.5, ..told.experience() }, "reward"),
        (Experience { features: &[0.0; 2], ..told.experience() }, "width"),
    ] {
        let error = duels.learn(&wrong).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(duels.state(), before);
    let cost = CostModel::constant(vec![0.1; 20]);
    let wide = Duels::new(DuelShape { dim: 200, ..shape() }, cost).unwrap_err().to_string();
    assert!(wide.contains("`dim`") && wide.contains("4020"), "{wide}");
}
