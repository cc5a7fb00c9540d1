//! The learner against fresh solves, in f64, of the equations it keeps up.

use super::*;
use crate::online::ArmStatistics;
use rand::RngExt as _;
use rand_distr::StandardNormal;
use routewright_data::linalg::solve_spd;
use routewright_data::{FeatureMatrix, rng};

pub(in crate::forms) const DIM: usize = 5;
pub(in crate::forms) const N_ARMS: usize = 3;

pub(in crate::forms) struct Told {
    pub(in crate::forms) features: Vec<f32>,
    pub(in crate::forms) arm: usize,
    pub(in crate::forms) reward: f64,
    pub(in crate::forms) weight: f64,
    pub(in crate::forms) time: u64,
}

impl Told {
    pub(in crate::forms) fn experience(&self) -> Experience<'_> {
        let Self { ref features, arm, reward, weight, time } = *self;
        Experience { features, source: None, arm, rival: None, reward, weight, time }
    }

    pub(in crate::forms) fn again(&self) -> Self {
        Self { features: self.features.clone(), ..*self }
    }
}

pub(in crate::forms) fn told(n: usize) -> Vec<Told> {
    let mut rng = rng::stream(3, "told");
    let tell = |time: usize| {
        let features: Vec<f32> = (0..DIM).map(|_| 0.4 * rng.sample::<f32, _>(StandardNormal)).collect();
        let (arm, weight) = (rng.random_range(0..N_ARMS), [1.0, 0.5, 0.25][time % 3]);
        let reward = f64::from(features[arm]) + 0.3 + 0.1 * rng.sample::<f64, _>(StandardNormal);
        Told { features, arm, reward, weight, time: time as u64 }
    };
    (0..n).map(tell).collect()
}

pub(in crate::forms) fn shape(discount: f64) -> RidgeShape {
    let forgetting = Forgetting::Discount(discount);
    RidgeShape { dim: DIM, intercept: true, precision: 2.5, noise: 0.5, forgetting, shared: None }
}

fn fresh(discount: f64, prior_mean: Vec<f32>) -> BayesianRidge {
    BayesianRidge::new(shape(discount), prior_mean, CostModel::constant(vec![f32::NAN; N_ARMS])).unwrap()
}

pub(in crate::forms) fn learn(form: &mut BayesianRidge, told: &[Told]) {
    told.iter().for_each(|told| form.learn(&told.experience()).unwrap());
}

/// Score and spread of an arm, by one solve of the whole system with every weight `weigh` gives.
fn solved(told: &[Told], arm: usize, prior: &[f32], x: &[f32], weigh: impl Fn(&Told) -> f64) -> (f64, f64) {
    let width = DIM + 1;
    let with_one = |x: &[f32]| -> Vec<f64> { x.iter().map(|v| f64::from(*v)).chain([1.0]).collect() };
    let (mut a, mut b) = (vec![0.0; width * width], vec![0.0; width * 2]);
    for i in 0..width {
        a[i * width + i] = 2.5;
        b[i * 2] = 2.5 * prior.get(i).map_or(0.0, |mean| f64::from(*mean));
        b[i * 2 + 1] = with_one(x)[i];
    }
    for one in told.iter().filter(|one| one.arm == arm) {
        let (features, weight) = (with_one(&one.features), weigh(one));
        for i in 0..width {
            (0..width).for_each(|j| a[i * width + j] += weight * features[i] * features[j]);
            b[i * 2] += weight * one.reward * features[i];
        }
    }
    let out = solve_spd(a, b, width, 2).unwrap();
    let x = with_one(x);
    let dot = |column: usize| (0..width).map(|i| out[i * 2 + column] * x[i]).sum::<f64>();
    (dot(0), dot(1).sqrt())
}

fn agrees(
    form: &mut BayesianRidge,
    told: &[Told],
    prior: &[f32],
    weigh: impl Fn(&Told) -> f64,
    tolerance: f64,
) {
    let x = [0.3, -0.2, 0.5, 0.1, -0.4];
    let (mut score, mut se) = ([0.0; N_ARMS], [0.0; N_ARMS]);
    form.predict_into(&x, None, &mut score, &mut se);
    for arm in 0..N_ARMS {
        let prior = prior.get(arm * (DIM + 1)..(arm + 1) * (DIM + 1)).unwrap_or_default();
        let (expected, spread) = solved(told, arm, prior, &x, &weigh);
        let far = (f64::from(score[arm]) - expected).abs().max((f64::from(se[arm]) - 0.5 * spread).abs());
        assert!(far < tolerance, "arm {arm}: {score:?} {se:?}, expected {expected} {spread}");
    }
    let batch = FeatureMatrix::from_vec(1, DIM, x.to_vec());
    let prediction = form.predict(&Batch::of(&batch)).unwrap();
    assert_eq!((prediction.score, prediction.score_se), (score.to_vec(), Some(se.to_vec())));
}

#[test]
fn ten_thousand_rank_one_updates_equal_a_fresh_solve_with_a_ridge_that_is_not_one() {
    let told = told(10_000);
    let mut form = fresh(1.0, Vec::new());
    learn(&mut form, &told);
    agrees(&mut form, &told, &[], |told| told.weight, 2e-6);
    assert_eq!(form.n_updates(), 10_000);
}

#[test]
fn a_prior_mean_is_what_is_believed_before_rewards_and_weighs_as_the_ridge() {
    let prior: Vec<f32> = (0..N_ARMS * (DIM + 1)).map(|i| i as f32 / 10.0 - 0.5).collect();
    let mut form = fresh(1.0, prior.clone());
    agrees(&mut form, &[], &prior, |told| told.weight, 1e-6);
    let told = told(50);
    learn(&mut form, &told);
    agrees(&mut form, &told, &prior, |told| told.weight, 2e-6);
}

#[test]
fn any_order_of_the_same_rewards_gives_the_same_statistics_bit_for_bit() {
    let told = told(500);
    let (mut one, mut other) = (fresh(1.0, Vec::new()), fresh(1.0, Vec::new()));
    learn(&mut one, &told);
    let mut order: Vec<usize> = (0..500).collect();
    let mut rng = rng::stream(5, "order");
    (1..500).rev().for_each(|i| order.swap(i, rng.random_range(0..=i)));
    order.iter().for_each(|at| other.learn(&told[*at].experience()).unwrap());
    assert_eq!(one.state(), other.state());
}

#[test]
fn what_two_learners_heard_apart_adds_up_to_what_one_heard_bit_for_bit() {
    let told = told(600);
    let mut base = fresh(1.0, Vec::new());
    learn(&mut base, &told[..200]);
    let (mut one, mut other, mut all) = (base.clone(), base.clone(), base.clone());
    learn(&mut one, &told[200..350]);
    learn(&mut other, &told[350..]);
    learn(&mut all, &told[200..]);
    one.merge(other.state(), base.state()).unwrap();
    assert_eq!(one.state(), all.state());
    agrees(&mut one, &told, &[], |told| told.weight, 2e-6);
}

#[test]
fn forgetting_weighs_by_the_distance_of_decisions_and_keeps_the_ridge() {
    let told = told(2000);
    let (mut form, mut late) = (fresh(0.99, Vec::new()), fresh(0.99, Vec::new()));
    learn(&mut form, &told);
    // Between two refreshes the weights are relative to the epoch: off by less than 1 / 0.95.
    let epoch = form.arms()[0].statistics().clone();
    let weigh = |told: &Told| told.weight * 0.99_f64.powf(epoch_of(&epoch) - told.time as f64);
    agrees(&mut form, &told, &[], weigh, 1e-4);
    // Rewards that arrive up to 40 decisions late count as much as prompt ones.
    for block in told.chunks(40) {
        block.iter().rev().for_each(|told| late.learn(&told.experience()).unwrap());
    }
    let (mut a, mut b) = ([0.0; N_ARMS], [0.0; N_ARMS]);
    let (mut se_a, mut se_b) = (a, b);
    form.predict_into(&[0.1; DIM], None, &mut a, &mut se_a);
    late.predict_into(&[0.1; DIM], None, &mut b, &mut se_b);
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-3), "{a:?} {b:?}");
    // An arm nobody called for long is as uncertain as before any reward: the ridge is back.
    let mut stale = fresh(0.99, Vec::new());
    learn(&mut stale, &told);
    let silent: Vec<Told> = (2000..6000)
        .map(|time| Told { features: vec![0.0; DIM], arm: 0, reward: 0.0, weight: 1.0, time })
        .collect();
    learn(&mut stale, &silent);
    let mut untouched = fresh(0.99, Vec::new());
    let (mut se_stale, mut se_untouched) = ([0.0; N_ARMS], [0.0; N_ARMS]);
    stale.predict_into(&[0.1; DIM], None, &mut a, &mut se_stale);
    untouched.predict_into(&[0.1; DIM], None, &mut b, &mut se_untouched);
    assert!((se_stale[1] - se_untouched[1]).abs() < 1e-4, "{se_stale:?} {se_untouched:?}");
    assert!(a[1].abs() < 1e-4, "what was learned of arm 1 is long past: {a:?}");
}

fn forgetful(forgetting: Forgetting) -> BayesianRidge {
    let shape = RidgeShape { forgetting, ..shape(1.0) };
    BayesianRidge::new(shape, Vec::new(), CostModel::constant(vec![f32::NAN; N_ARMS])).unwrap()
}

#[test]
fn a_window_is_a_fit_to_its_last_decisions_with_the_whole_ridge() {
    let told = told(2005);
    let mut form = forgetful(Forgetting::Window(80));
    let mut heard = 0;
    for n in [50, 85, 400, 2005] {
        learn(&mut form, &told[heard..n]);
        heard = n;
        // Parts of 10 decisions, the present one among the eight that count.
        let first = ((n as u64 - 1) / 10).saturating_sub(7) * 10;
        let weigh = |told: &Told| if told.time >= first { told.weight } else { 0.0 };
        agrees(&mut form, &told[..n], &[], weigh, 2e-6);
    }
    assert_eq!(form.n_updates(), 2005);
    // Late rewards find their part; those older than the window are not heard. No bit depends on the order.
    let mut late = forgetful(Forgetting::Window(80));
    for block in told.chunks(160) {
        block.iter().rev().for_each(|told| late.learn(&told.experience()).unwrap());
    }
    assert_eq!(late.state(), form.state());
    let restored = BayesianRidge::restore(form.state(), N_ARMS).unwrap();
    assert_eq!(restored.state(), form.state());
}

#[test]
fn windows_merge_by_addition_bit_for_bit() {
    let told = told(500);
    let mut base = forgetful(Forgetting::Window(240));
    learn(&mut base, &told[..200]);
    let (mut one, mut other, mut all) = (base.clone(), base.clone(), base.clone());
    learn(&mut one, &told[200..350]);
    learn(&mut other, &told[350..]);
    learn(&mut all, &told[200..]);
    one.merge(other.state(), base.state()).unwrap();
    assert_eq!(one.state(), all.state());
}

/// Rewards of one arm that jump by `by` at decision `at`; weight 1.
fn jumping(seed: u64, n: usize, at: usize, by: f64) -> Vec<Told> {
    let mut rng = rng::stream(seed, "jumping");
    let tell = |time: usize| {
        let features: Vec<f32> = (0..DIM).map(|_| 0.4 * rng.sample::<f32, _>(StandardNormal)).collect();
        let level = if time < at { 0.5 } else { 0.5 + by };
        let reward = level + 0.5 * f64::from(features[0]) + 0.2 * rng.sample::<f64, _>(StandardNormal);
        Told { features, arm: 0, reward, weight: 1.0, time: time as u64 }
    };
    (0..n).map(tell).collect()
}

#[test]
fn adwin_drops_what_was_before_a_change_and_nothing_of_a_steady_stream() {
    let mut forgets = forgetful(Forgetting::Adwin(0.01));
    let told = jumping(1, 2000, 1000, -0.3);
    learn(&mut forgets, &told[..1000]);
    assert_eq!(forgets.arms()[0].statistics().weight(), 1000.0);
    learn(&mut forgets, &told[1000..1200]);
    let kept = forgets.arms()[0].statistics().weight();
    assert!(kept <= 300.0, "200 rewards after the change {kept} are kept");
    learn(&mut forgets, &told[1200..]);
    let kept = forgets.arms()[0].statistics().weight();
    assert!((900.0..=1100.0).contains(&kept), "{kept} rewards are kept of the 1000 since");
    let weigh = |told: &Told| f64::from(u8::from(told.time as f64 >= 2000.0 - kept));
    agrees(&mut forgets, &told, &[], weigh, 2e-6);
    // A stream on which only the queries change is steady.
    let mut steady = forgetful(Forgetting::Adwin(0.01));
    let moved: Vec<Told> = jumping(2, 1000, 1000, 0.0)
        .into_iter()
        .map(|mut told| {
            let by = if told.time < 500 { 1.0 } else { -1.0 };
            told.features[0] += by;
            Told { reward: told.reward + 0.5 * f64::from(by), ..told }
        })
        .collect();
    learn(&mut steady, &moved);
    assert_eq!(steady.arms()[0].statistics().weight(), 1000.0);
}

#[test]
fn adwin_gives_false_alarms_no_more_often_than_it_says() {
    let alarms = |delta: f64| {
        let heard = |seed: u64| {
            let mut form = forgetful(Forgetting::Adwin(delta));
            learn(&mut form, &jumping(seed, 1500, 0, 0.0));
            form.arms()[0].statistics().weight() < 1500.0
        };
        (10..90).filter(|seed| heard(*seed)).count()
    };
    let (often, seldom) = (alarms(0.9), alarms(0.05));
    assert!(seldom <= 4, "{seldom} of 80 streams at 0.05");
    assert!(often >= seldom, "{often} {seldom}");
}

#[test]
fn what_adwin_learned_has_an_order_and_does_not_merge() {
    let mut form = forgetful(Forgetting::Adwin(0.01));
    learn(&mut form, &told(300));
    let restored = BayesianRidge::restore(form.state(), N_ARMS).unwrap();
    assert_eq!(restored.state(), form.state());
    let error = form.merge(restored.state(), restored.state()).unwrap_err().to_string();
    assert!(error.contains("order of the rewards"), "{error}");
}

#[test]
fn what_is_declared_of_an_arm_is_forgotten_with_the_window() {
    let mut form = forgetful(Forgetting::Window(80));
    learn(&mut form, &told(200));
    form.add_arm(&NewArm { quality: Some((0.8, 10.0)), cost_usd: None }).unwrap();
    let declared = |form: &BayesianRidge| form.arms()[N_ARMS].statistics().weight();
    assert_eq!(declared(&form), 10.0);
    let restored = BayesianRidge::restore(form.state(), N_ARMS + 1).unwrap();
    assert_eq!(restored.state(), form.state());
    let later = Told { time: 400, ..jumping(1, 1, 1, 0.0).remove(0) };
    learn(&mut form, &[later]);
    assert_eq!(declared(&form), 0.0);
}

/// The epoch, by way of the stored words: the fourth number.
fn epoch_of(statistics: &ArmStatistics) -> f64 {
    let mut tensors = Tensors::new();
    statistics.store("arm", &mut tensors);
    let words = tensors.take_u32("arm", &[2 * (4 + 21 + 6)]).unwrap();
    f64::from(words[6])
}

#[test]
fn snapshots_stay_and_the_disk_keeps_every_bit() {
    let told = told(300);
    let mut form = fresh(0.999, vec![0.1; N_ARMS * (DIM + 1)]);
    learn(&mut form, &told[..200]);
    let (snapshot, before) = (form.snapshot(), form.state());
    learn(&mut form, &told[200..]);
    assert_eq!(snapshot.state(), before);
    assert_ne!(form.state(), before);
    let restored = BayesianRidge::load(form.state(), N_ARMS).unwrap();
    assert_eq!(restored.state(), form.state());
    assert!(restored.learner().is_some());
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut form = fresh(1.0, Vec::new());
    let before = form.state();
    let fits = Experience {
        features: &[0.1; DIM],
        source: None,
        arm: 0,
        rival: None,
        reward: 1.0,
        weight: 1.0,
        time: 0,
    };
    for (bad, word) in [
        (Experience { features: &[0.1; 2], ..fits }, "width 2"),
        (Experience { features: &[f32::NAN; DIM], ..fits }, "features"),
        (Experience { arm: 3, ..fits }, "arm 3 of 3"),
        (Experience { reward: f64::NAN, ..fits }, "reward"),
        (Experience { weight: -1.0, ..fits }, "weight"),
    ] {
        let error = form.learn(&bad).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(form.state(), before);
}

#[test]
fn an_added_arm_is_the_average_or_what_is_declared_and_survives_the_disk() {
    let mut form = fresh(1.0, Vec::new());
    learn(&mut form, &told(200));
    let restored = BayesianRidge::restore(form.state(), N_ARMS).unwrap();
    let mut pooled = form.clone();
    pooled.add_arm(&NewArm { quality: None, cost_usd: Some(0.5) }).unwrap();
    let (x, n) = ([0.3, -0.2, 0.1, 0.4, 0.0], N_ARMS + 1);
    let read = |form: &mut BayesianRidge| {
        let (mut score, mut se) = (vec![0.0; n], vec![0.0; n]);
        form.predict_into(&x, None, &mut score, &mut se);
        (score, se)
    };
    let (score, se) = read(&mut pooled);
    let mean = score[..N_ARMS].iter().sum::<f32>() / N_ARMS as f32;
    assert!((score[N_ARMS] - mean).abs() < 1e-3, "{score:?}");
    // noise * sqrt(x' x / precision), the intercept included
    let widest = 0.5 * ((0.3_f32 + 1.0) / 2.5).sqrt();
    assert!((se[N_ARMS] - widest).abs() < 1e-6, "{se:?}");
    let mut again = restored;
    again.add_arm(&NewArm { quality: None, cost_usd: Some(0.5) }).unwrap();
    assert_eq!(again.state(), pooled.state(), "a restart before changed a bit of the new arm");

    let mut declared = form.clone();
    declared.add_arm(&NewArm { quality: Some((0.8, 10.0)), cost_usd: None }).unwrap();
    let (score, se) = read(&mut declared);
    assert!((score[N_ARMS] - 0.8).abs() < 1e-6 && se[N_ARMS] < widest, "{score:?} {se:?}");
    assert_eq!(declared.n_updates(), 200, "a declaration is no reward");
    let kept = BayesianRidge::restore(declared.state(), n).unwrap();
    assert_eq!(kept.state(), declared.state());
    assert!((read(&mut kept.clone()).0[N_ARMS] - 0.8).abs() < 1e-6);

    let plain = RidgeShape { intercept: false, ..shape(1.0) };
    let cost = CostModel::constant(vec![0.1; N_ARMS]);
    let mut plain = BayesianRidge::new(plain, Vec::new(), cost).unwrap();
    let error = plain.add_arm(&NewArm { quality: Some((0.8, 1.0)), cost_usd: None }).unwrap_err();
    assert!(error.to_string().contains("without `intercept`"), "{error}");
    assert!(plain.reprice(N_ARMS, 0.1).is_err());
}

#[test]
fn what_is_unlearned_was_never_learned() {
    use Forgetting::{Discount, Window};
    for forgetting in [Discount(1.0), Discount(0.995), Window(80)] {
        let told = told(120);
        let (mut form, mut plain) = (forgetful(forgetting), forgetful(forgetting));
        for (at, one) in told.iter().enumerate() {
            let silent = Experience { reward: 0.0, weight: 1.0, ..one.experience() };
            form.learn(&silent).unwrap();
            if at >= 30 {
                // The report of a decision thirty before comes now.
                let then = told[at - 30].experience();
                form.unlearn(&Experience { reward: 0.0, weight: 1.0, ..then }).unwrap();
                form.learn(&then).unwrap();
            }
        }
        for one in &told[90..] {
            form.unlearn(&Experience { reward: 0.0, weight: 1.0, ..one.experience() }).unwrap();
        }
        learn(&mut plain, &told[..90]);
        // Far enough ahead that both bring their sums to the same decision, and that a window has forgotten some.
        form.forget(140).unwrap();
        plain.forget(140).unwrap();
        assert_eq!(form.n_updates(), 90);
        if forgetting == Discount(1.0) {
            assert_eq!(form.state(), plain.state(), "the sums keep no trace");
        }
        let (mut a, mut b) = ([0.0; N_ARMS], [0.0; N_ARMS]);
        let (mut se_a, mut se_b) = (a, b);
        form.predict_into(&[0.1; DIM], None, &mut a, &mut se_a);
        plain.predict_into(&[0.1; DIM], None, &mut b, &mut se_b);
        let far = |a: &[f32], b: &[f32]| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 2e-3);
        assert!(!far(&a, &b) && !far(&se_a, &se_b), "{forgetting:?}: {a:?} {b:?} {se_a:?} {se_b:?}");
    }
}

#[test]
fn arms_added_together_start_from_what_was_known_before_them() {
    let mut one = fresh(0.9, Vec::new());
    learn(&mut one, &told(200));
    let mut many = one.clone();
    let mean_of_known = one.pooled().unwrap();
    let declared = NewArm { quality: Some((0.9, 10.0)), cost_usd: None };
    let unknown = NewArm { quality: None, cost_usd: Some(0.25) };
    many.add_arms(&[unknown, declared, unknown]).unwrap();
    assert_eq!(Predictor::n_arms(&many), N_ARMS + 3);
    for arm in [N_ARMS, N_ARMS + 2] {
        assert_eq!(many.arms()[arm].mean(), mean_of_known, "the declared arm between them changes nothing");
    }
    one.add_arm(&unknown).unwrap();
    assert_eq!(one.arms()[N_ARMS], many.arms()[N_ARMS], "one alone starts the same");
    assert!((many.arms()[N_ARMS + 1].mean()[DIM] - 0.9).abs() < 1e-6);
    // It is known by its declaration only: precision 2.5, and 10 rewards that see the intercept alone.
    let known = many.arms()[N_ARMS + 1].covariance();
    assert!((known.get(0, 0) - 0.4).abs() < 1e-7 && (known.get(DIM, DIM) - 0.08).abs() < 1e-7);
    assert!((known.get(DIM, 0)).abs() < 1e-12);
    // A reload makes the same beliefs of what was stored.
    let loaded = BayesianRidge::restore(many.state(), N_ARMS + 3).unwrap();
    assert_eq!(loaded.arms()[N_ARMS..], many.arms()[N_ARMS..]);
}

#[test]
fn the_mean_alone_is_the_mean_of_the_whole_belief() {
    let mut form = fresh(1.0, vec![0.25; N_ARMS * (DIM + 1)]);
    assert_eq!(form.arms()[0].mean_of_sums().unwrap(), [0.25; DIM + 1], "before any reward");
    learn(&mut form, &told(300));
    for arm in form.arms() {
        let whole = Posterior::new(arm.history().clone(), arm.prior().clone()).unwrap();
        assert_eq!(arm.mean_of_sums().unwrap(), whole.mean());
    }
}
