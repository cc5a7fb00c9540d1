//! The ensemble against the bootstrap it promises.

use super::super::posterior::tests::{DIM, N_ARMS, Told, shape as ridge, told};
use super::*;
use routewright_data::FeatureMatrix;

const MEMBERS: usize = 40;
const X: [f32; DIM] = [0.3, -0.2, 0.5, 0.1, -0.4];

fn shape() -> EnsembleShape {
    EnsembleShape { members: MEMBERS, spread: 1.0, seed: 11, ridge: ridge(1.0) }
}

fn fresh() -> Ensemble {
    let prior = vec![0.5; N_ARMS * (DIM + 1)];
    Ensemble::new(shape(), &prior, CostModel::constant(vec![0.1, 0.2, f32::NAN])).unwrap()
}

fn learn<'a>(ensemble: &mut Ensemble, told: impl IntoIterator<Item = &'a Told>) {
    told.into_iter().for_each(|told| ensemble.learn(&told.experience()).unwrap());
}

fn beliefs(ensemble: &mut Ensemble) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let (mut score, mut se) = (vec![0.0; N_ARMS], vec![0.0; N_ARMS]);
    ensemble.predict_into(&X, None, &mut score, &mut se);
    (score, se, ensemble.deviations().unwrap().to_vec())
}

#[test]
fn resamples_are_poisson_and_those_of_two_members_or_decisions_are_independent() {
    let ensemble = fresh();
    let told = told(4000);
    let counts = |member: usize| -> Vec<f64> {
        told.iter().map(|told| ensemble.count(member, &told.experience())).collect()
    };
    let (one, other) = (counts(0), counts(1));
    let n = told.len() as f64;
    let share = |k: f64| one.iter().filter(|count| **count == k).count() as f64 / n;
    // e^-1 / k!, with four standard errors of a share of 0.37 over 4000
    for (k, mass) in [(0.0, 0.367_879), (1.0, 0.367_879), (2.0, 0.183_940), (3.0, 0.061_313)] {
        assert!((share(k) - mass).abs() < 0.03, "{k}: {}", share(k));
    }
    // Each has variance 1: the correlation is the mean product of what differs from 1.
    let correlation =
        |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - 1.0) * (b - 1.0)).sum::<f64>() / n;
    assert!((correlation(&one, &one) - 1.0).abs() < 0.1);
    assert!(correlation(&one, &other).abs() < 0.07, "{}", correlation(&one, &other));
    assert!(correlation(&one[1..], &one).abs() < 0.07, "{}", correlation(&one[1..], &one));
}

#[test]
fn members_are_ridges_of_their_resamples() {
    let told = told(300);
    let mut ensemble = fresh();
    let mut alone = ensemble.members()[7].clone();
    learn(&mut ensemble, &told);
    for one in &told {
        let count = ensemble.count(7, &one.experience());
        let counted = Experience { weight: one.weight * count, ..one.experience() };
        alone.learn(&counted).unwrap();
    }
    let (score, se, deviations) = beliefs(&mut ensemble);
    let (mut expected, mut unread) = (vec![0.0; N_ARMS], vec![0.0; N_ARMS]);
    alone.predict_into(&X, None, &mut expected, &mut unread);
    for arm in 0..N_ARMS {
        let of_member = score[arm] + deviations[7 * N_ARMS + arm];
        assert!((of_member - expected[arm]).abs() < 1e-4, "{of_member} {}", expected[arm]);
        let all: Vec<f32> = deviations.iter().skip(arm).step_by(N_ARMS).copied().collect();
        let variance = all.iter().map(|d| d * d).sum::<f32>() / (MEMBERS - 1) as f32;
        assert!(all.iter().sum::<f32>().abs() < 1e-4 && (variance.sqrt() - se[arm]).abs() < 1e-5);
        // What the bootstrap says of the uncertainty is what the posterior says, but for the noise of 40 draws.
        let ratio = se[arm] / unread[arm];
        assert!((0.1..1.6).contains(&ratio), "{ratio}");
    }
    let features = FeatureMatrix::from_vec(2, DIM, [X, X].concat());
    let prediction = ensemble.predict(&Batch::of(&features)).unwrap();
    let row = prediction.row(1);
    let close =
        |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close(row.score, &score) && close(row.score_se.unwrap(), &se));
    assert!(close(row.members.unwrap(), &deviations) && prediction.n_updates == 300);
}

#[test]
fn before_any_reward_members_differ_as_the_prior_says() {
    let (score, se, _) = beliefs(&mut fresh());
    // sd of theta . [x, 1] = noise / sqrt(precision) * |[x, 1]|, and 0.5 is the prior mean of every coefficient
    let length = (X.iter().map(|x| x * x).sum::<f32>() + 1.0).sqrt();
    let sd = 0.5 / 2.5_f32.sqrt() * length;
    let mean = 0.5 * (X.iter().sum::<f32>() + 1.0);
    for arm in 0..N_ARMS {
        assert!((se[arm] / sd - 1.0).abs() < 0.35, "{} {sd}", se[arm]);
        assert!((score[arm] - mean).abs() < 4.0 * sd / (MEMBERS as f32).sqrt());
    }
}

#[test]
fn order_restarts_parts_and_what_is_taken_back_change_no_bit() {
    let told = told(400);
    let mut all = fresh();
    learn(&mut all, &told);
    let mut reversed = fresh();
    learn(&mut reversed, told.iter().rev());
    assert_eq!(all.state(), reversed.state());

    let mut base = fresh();
    learn(&mut base, &told[..100]);
    let (mut one, mut other) = (base.clone(), base.clone());
    learn(&mut one, &told[100..250]);
    learn(&mut other, &told[250..]);
    one.merge(other.state(), base.state()).unwrap();
    assert_eq!(one.state(), all.state());

    let mut more = all.clone();
    let wrong = Told { reward: 0.9, time: 1000, ..told[5].again() };
    more.learn(&wrong.experience()).unwrap();
    assert_ne!(more.state(), all.state());
    more.unlearn(&wrong.experience()).unwrap();
    assert_eq!(more.state(), all.state());

    let restored = super::super::load(ROW.name, 1, all.state(), N_ARMS).unwrap();
    assert_eq!(restored.state(), all.state());
}

#[test]
fn an_arm_is_added_to_every_member() {
    let mut ensemble = fresh();
    learn(&mut ensemble, &told(200));
    ensemble.add_arm(&NewArm { quality: Some((0.9, 50.0)), cost_usd: Some(0.3) }).unwrap();
    let (mut score, mut se) = (vec![0.0; N_ARMS + 1], vec![0.0; N_ARMS + 1]);
    ensemble.predict_into(&X, None, &mut score, &mut se);
    assert!((score[N_ARMS] - 0.9).abs() < 0.05, "{score:?}");
    assert_eq!(ensemble.deviations().unwrap().len(), MEMBERS * (N_ARMS + 1));
    ensemble.reprice(N_ARMS, 0.5).unwrap();
    assert_eq!(
        ensemble.state(),
        super::super::load(ROW.name, 1, ensemble.state(), N_ARMS + 1).unwrap().state()
    );
}

#[test]
fn sizes_out_of_range_are_refused() {
    for (shape, word) in [
        (EnsembleShape { members: 1, ..shape() }, "members"),
        (EnsembleShape { spread: -1.0, ..shape() }, "spread"),
        (EnsembleShape { ridge: RidgeShape { precision: 0.0, ..ridge(1.0) }, ..shape() }, "precision"),
    ] {
        let error = Ensemble::new(shape, &[0.0; N_ARMS * (DIM + 1)], CostModel::constant(vec![0.1; N_ARMS]));
        assert!(error.unwrap_err().to_string().contains(word));
    }
}
