//! Shared coefficients against one dense solve of the whole model, in f64: the coefficients all arms share and
//! those of every arm stand in one vector, as in equation 6 of Li et al. (arXiv 1003.0146).

use super::tests::{DIM, N_ARMS, Told, learn, shape, told};
use super::*;
use routewright_data::linalg::solve_spd;

const WIDTH: usize = DIM + 1;
const X: [f32; DIM] = [0.3, -0.2, 0.5, 0.1, -0.4];

fn hybrid(shared: Option<f64>, discount: f64, prior_mean: Vec<f32>) -> BayesianRidge {
    let shape = RidgeShape { shared, ..shape(discount) };
    BayesianRidge::new(shape, prior_mean, CostModel::constant(vec![f32::NAN; N_ARMS])).unwrap()
}

fn with_one(x: &[f32]) -> Vec<f64> {
    x.iter().map(|value| f64::from(*value)).chain([1.0]).collect()
}

/// `x` at the shared block and at that of the arm.
fn joint(x: &[f32], arm: usize) -> Vec<f64> {
    let mut out = vec![0.0; WIDTH * (1 + N_ARMS)];
    out[..WIDTH].copy_from_slice(&with_one(x));
    out[WIDTH * (1 + arm)..WIDTH * (2 + arm)].copy_from_slice(&with_one(x));
    out
}

/// Mean and spread of every arm at `X`: one system of all coefficients.
fn solved(told: &[Told], kappa: f64, prior: &[f32]) -> Vec<(f64, f64)> {
    let n = WIDTH * (1 + N_ARMS);
    let n_right = 1 + N_ARMS;
    let (mut a, mut right) = (vec![0.0; n * n], vec![0.0; n * n_right]);
    for i in 0..n {
        a[i * n + i] = if i < WIDTH { kappa } else { 2.5 };
        if i >= WIDTH {
            right[i * n_right] = 2.5 * prior.get(i - WIDTH).map_or(0.0, |mean| f64::from(*mean));
        }
    }
    for one in told {
        let x = joint(&one.features, one.arm);
        for i in 0..n {
            (0..n).for_each(|j| a[i * n + j] += one.weight * x[i] * x[j]);
            right[i * n_right] += one.weight * one.reward * x[i];
        }
    }
    for arm in 0..N_ARMS {
        joint(&X, arm).into_iter().enumerate().for_each(|(i, x)| right[i * n_right + 1 + arm] = x);
    }
    let out = solve_spd(a, right, n, n_right).unwrap();
    let dot = |arm, column| (0..n).map(|i| joint(&X, arm)[i] * out[i * n_right + column]).sum::<f64>();
    (0..N_ARMS).map(|arm| (dot(arm, 0), dot(arm, 1 + arm).sqrt())).collect()
}

fn predicted(form: &mut BayesianRidge) -> Vec<(f64, f64)> {
    let (mut score, mut se) = ([0.0; N_ARMS], [0.0; N_ARMS]);
    form.predict_into(&X, None, &mut score, &mut se);
    score.iter().zip(se).map(|(score, se)| (f64::from(*score), f64::from(se) / 0.5)).collect()
}

fn close(found: &[(f64, f64)], expected: &[(f64, f64)], tolerance: f64) {
    let far = found.iter().zip(expected).map(|(a, b)| (a.0 - b.0).abs().max((a.1 - b.1).abs()));
    let far = far.fold(0.0, f64::max);
    assert!(far < tolerance, "off by {far}: {found:?}, expected {expected:?}");
}

#[test]
fn rank_one_updates_equal_one_solve_of_shared_and_own_coefficients() {
    let told = told(6000);
    let prior: Vec<f32> = (0..N_ARMS * WIDTH).map(|i| i as f32 / 10.0 - 0.5).collect();
    for (kappa, prior) in [(0.7, Vec::new()), (4.0, prior)] {
        let mut form = hybrid(Some(kappa), 1.0, prior.clone());
        close(&predicted(&mut form), &solved(&[], kappa, &prior), 1e-6);
        let mut heard = 0;
        for n in [1, 30, 600, 6000] {
            learn(&mut form, &told[heard..n]);
            heard = n;
            close(&predicted(&mut form), &solved(&told[..n], kappa, &prior), 5e-6);
        }
        let mut restored = BayesianRidge::restore(form.state(), N_ARMS).unwrap();
        close(&predicted(&mut restored), &solved(&told, kappa, &prior), 2e-6);
    }
}

#[test]
fn a_shared_block_of_no_freedom_is_the_disjoint_bandit() {
    let told = told(400);
    let (mut tight, mut disjoint) = (hybrid(Some(1e9), 1.0, Vec::new()), hybrid(None, 1.0, Vec::new()));
    learn(&mut tight, &told);
    learn(&mut disjoint, &told);
    close(&predicted(&mut tight), &predicted(&mut disjoint), 1e-5);
}

#[test]
fn an_arm_nobody_called_is_believed_to_be_like_the_others() {
    let others: Vec<Told> = told(900).into_iter().filter(|told| told.arm != 2).collect();
    let mut form = hybrid(Some(0.1), 1.0, Vec::new());
    let before = predicted(&mut form)[2];
    learn(&mut form, &others);
    let after = predicted(&mut form);
    let mean = f64::midpoint(after[0].0, after[1].0);
    assert!((after[2].0 - mean).abs() < 0.1 && before.0.abs() < 1e-6, "{before:?} {after:?}");
    assert!(after[2].1 < before.1, "what the others showed makes it less uncertain");
}

#[test]
fn sums_merge_and_survive_the_disk_as_those_of_disjoint_arms() {
    let told = told(300);
    let mut base = hybrid(Some(1.0), 1.0, Vec::new());
    learn(&mut base, &told[..100]);
    let (mut one, mut other, mut all) = (base.clone(), base.clone(), base.clone());
    learn(&mut one, &told[100..200]);
    learn(&mut other, &told[200..]);
    learn(&mut all, &told[100..]);
    one.merge(other.state(), base.state()).unwrap();
    assert_eq!(one.state(), all.state());
    close(&predicted(&mut one), &solved(&told, 1.0, &[]), 2e-6);
    let mut disjoint = hybrid(None, 1.0, Vec::new());
    learn(&mut disjoint, &told);
    assert_eq!(one.state().tensors, disjoint.state().tensors, "nothing more is stored");
}

#[test]
fn forgetting_reaches_what_is_shared() {
    let told = told(500);
    let mut form = hybrid(Some(1.0), 0.98, Vec::new());
    learn(&mut form, &told);
    let mut silent = form.clone();
    for time in 500..1500 {
        let nothing = Told { features: vec![0.0; DIM], arm: 0, reward: 0.0, weight: 0.0, time };
        silent.learn(&nothing.experience()).unwrap();
    }
    close(&predicted(&mut silent), &solved(&[], 1.0, &[]), 1e-4);
}
