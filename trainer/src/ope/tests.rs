use super::*;
use rand::RngExt as _;
use routewright_data::rng;
use routewright_data::synthetic::{Settings, World};

/// Three rounds checked by hand: weights 2, 0.5 and 0, rewards 1, 0 and 1.
fn three() -> Vec<Round> {
    let round = |importance, reward, q_logged, q_target, draw| Round {
        mass: 1.0,
        importance,
        reward,
        q_logged,
        q_target,
        draw,
        ..Round::default()
    };
    vec![round(2.0, 1.0, 0.5, 0.75, 0.9), round(0.5, 0.0, 0.25, 0.5, 0.2), round(0.0, 1.0, 0.5, 0.25, 0.0)]
}

fn fixed(clip: f64, tau: f64, lambda: f64) -> EstimateOptions {
    let [clip, tau, lambda] = [clip, tau, lambda].map(Tuned::Fixed);
    EstimateOptions { bootstrap: 0, seed: 1, clip, tau, lambda }
}

fn values(rounds: &[Round], options: &EstimateOptions) -> Vec<(&'static str, f64)> {
    let sample = Sample { target: rounds, ..Sample::default() };
    let all: Vec<&Estimator> = ALL.iter().collect();
    let (_, found) = estimate(&sample, &all, options).unwrap();
    found.iter().map(|e| (e.estimator, e.value.unwrap())).collect()
}

fn value(of: &[(&'static str, f64)], name: &str) -> f64 {
    of.iter().find(|(found, _)| *found == name).unwrap().1
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
}

#[test]
fn every_estimator_checked_by_hand() {
    let found = values(&three(), &fixed(1.5, 1.0, 4.0));
    assert_eq!(found.len(), ALL.len());
    // w r = 2, 0, 0
    near(value(&found, "ips"), 2.0 / 3.0);
    near(value(&found, "clipped-ips"), 1.5 / 3.0);
    near(value(&found, "snips"), 2.0 / 2.5);
    near(value(&found, "dm"), 1.5 / 3.0);
    // w (r - q) = 1, -0.125, 0
    near(value(&found, "dr"), (1.5 + 0.875) / 3.0);
    near(value(&found, "sndr"), 0.5 + 0.875 / 2.5);
    // Only the second weight is at most 1.
    near(value(&found, "switch-dr"), (1.5 - 0.125) / 3.0);
    // 4 w / (w^2 + 4) = 1 and 8/17: 0.5 - 0.25 * 8/17
    near(value(&found, "dros"), (1.5 + 0.5 - 2.0 / 17.0) / 3.0);
    // Accepted: 0.9 * 2 < 2 yes; 0.2 * 2 < 0.5 yes; 0 < 0 no. Rewards 1 and 0.
    near(value(&found, "replay"), 0.5);
}

#[test]
fn a_row_that_counts_twice_is_two_rows() {
    let mut heavy = three();
    heavy[0].mass = 2.0;
    let mut twice = three();
    twice.push(twice[0]);
    let options = fixed(1.5, 1.0, 4.0);
    for ((name, a), (_, b)) in values(&heavy, &options).into_iter().zip(values(&twice, &options)) {
        assert!((a - b).abs() < 1e-12, "{name}: {a} {b}");
    }
    let (a, b) = (Overlap::of(&heavy), Overlap::of(&three()));
    // (2 + 0.5)^2 / (4 + 0.25) and (4 + 0.5)^2 / (16 + 0.25)
    near(b.ess, 6.25 / 4.25);
    near(a.ess, 20.25 / 16.25);
    near(a.weight_mean, 4.5 / 4.0);
}

/// A log drawn at random: distributions of both policies, actions, rewards and a reward model, row-major.
struct Drawn {
    n_arms: usize,
    logging: Vec<f64>,
    target: Vec<f64>,
    action: Vec<usize>,
    reward: Vec<f64>,
    q: Vec<f64>,
}

fn drawn(n: usize, n_arms: usize) -> Drawn {
    let mut rng = rng::stream(5, "ope reference");
    let mut distribution = |power: f64| -> Vec<f64> {
        let raw: Vec<f64> = (0..n_arms).map(|_| rng.random::<f64>().powf(power) + 0.01).collect();
        let total: f64 = raw.iter().sum();
        raw.iter().map(|x| x / total).collect()
    };
    let logging: Vec<f64> = (0..n).flat_map(|_| distribution(2.0)).collect();
    let target: Vec<f64> = (0..n).flat_map(|_| distribution(6.0)).collect();
    let action = (0..n).map(|_| rng.random_range(0..n_arms)).collect();
    let reward = (0..n).map(|_| rng.random()).collect();
    let q = (0..n * n_arms).map(|_| rng.random()).collect();
    Drawn { n_arms, logging, target, action, reward, q }
}

impl Drawn {
    fn rounds(&self) -> Vec<Round> {
        let round = |i: usize| {
            let at = i * self.n_arms + self.action[i];
            let row = i * self.n_arms..(i + 1) * self.n_arms;
            Round {
                mass: 1.0,
                importance: self.target[at] / self.logging[at],
                reward: self.reward[i],
                q_logged: self.q[at],
                q_target: self.target[row.clone()].iter().zip(&self.q[row]).map(|(p, q)| p * q).sum(),
                draw: 0.5,
                ..Round::default()
            }
        };
        (0..self.action.len()).map(round).collect()
    }

    /// Importance weight, reward, reward model of the logged arm and value of the target, by the arrays.
    fn columns(&self, i: usize) -> (f64, f64, f64, f64) {
        let at = i * self.n_arms + self.action[i];
        let v =
            (0..self.n_arms).map(|a| self.target[i * self.n_arms + a] * self.q[i * self.n_arms + a]).sum();
        (self.target[at] / self.logging[at], self.reward[i], self.q[at], v)
    }

    fn mean(&self, of: impl Fn((f64, f64, f64, f64)) -> f64) -> f64 {
        let n = self.action.len();
        (0..n).map(|i| of(self.columns(i))).sum::<f64>() / n as f64
    }
}

/// The formulas are those of the Open Bandit Pipeline (obp 0.4.1), written out over whole columns.
#[test]
fn a_bigger_log_agrees_with_the_plain_formulas() {
    let log = drawn(20_000, 7);
    let found = values(&log.rounds(), &fixed(8.0, 5.0, 10.0));
    let weight = log.mean(|(w, ..)| w);
    let expected = [
        ("dm", log.mean(|(_, _, _, v)| v)),
        ("ips", log.mean(|(w, r, ..)| w * r)),
        ("clipped-ips", log.mean(|(w, r, ..)| w.min(8.0) * r)),
        ("snips", log.mean(|(w, r, ..)| w * r / weight)),
        ("dr", log.mean(|(w, r, q, v)| v + w * (r - q))),
        ("sndr", log.mean(|(w, r, q, v)| v + w * (r - q) / weight)),
        ("switch-dr", log.mean(|(w, r, q, v)| v + if w <= 5.0 { w * (r - q) } else { 0.0 })),
        ("dros", log.mean(|(w, r, q, v)| v + 10.0 * w / (w * w + 10.0) * (r - q))),
    ];
    for (name, expected) in expected {
        let found = value(&found, name);
        assert!((found - expected).abs() < 1e-9, "{name}: {found} {expected}");
    }
}

#[test]
fn replay_under_uniform_logging_is_agreement() {
    // A deterministic target under uniform logging of four arms: weights are 0 or 4.
    let mut rng = rng::stream(3, "ope replay test");
    let mut rounds = Vec::new();
    let (mut agreed, mut total) = (0.0, 0.0);
    for _ in 0..1000 {
        let (agrees, reward) = (rng.random_range(0..4) == 0, f64::from(rng.random_range(0..2_u8)));
        if agrees {
            agreed += 1.0;
            total += reward;
        }
        let importance = if agrees { 4.0 } else { 0.0 };
        rounds.push(Round { mass: 1.0, importance, reward, draw: rng.random(), ..Round::default() });
    }
    near(value(&values(&rounds, &fixed(9.0, 9.0, 9.0)), "replay"), total / agreed);
}

#[test]
fn intervals_are_those_of_the_mean_and_differences_are_paired() {
    let mut rng = rng::stream(4, "ope intervals");
    let target: Vec<Round> = (0..5000)
        .map(|_| Round {
            mass: 1.0,
            importance: 1.0,
            reward: f64::from(u8::from(rng.random_bool(0.5))),
            ..Round::default()
        })
        .collect();
    // The baseline earns 0.125 less in every round.
    let baseline: Vec<Round> = target.iter().map(|r| Round { reward: r.reward - 0.125, ..*r }).collect();
    let sample = Sample { target: &target, baseline: Some(&baseline), ..Sample::default() };
    let options = EstimateOptions { bootstrap: 500, ..fixed(9.0, 9.0, 9.0) };
    let (logged, found) = estimate(&sample, &[find("ips").unwrap()], &options).unwrap();
    // Deviation 0.5 over the square root of 5000.
    assert!((found[0].standard_error.unwrap() - 0.00707).abs() < 0.0007, "{found:?}");
    let [low, high] = found[0].interval.unwrap();
    assert!(low < logged.value && logged.value < high && (high - low - 0.0277).abs() < 0.004);
    assert_eq!(found[0].lower_bound, Some(low));
    let gain = found[0].vs_baseline.unwrap();
    near(gain.difference, 0.125);
    assert!(gain.standard_error.unwrap() < 1e-12 && (gain.lower_bound.unwrap() - 0.125).abs() < 1e-12);
    // Every weight is 1: the target is the logging policy.
    let own = found[0].vs_logged.unwrap();
    assert!(own.difference.abs() < 1e-12 && own.standard_error.unwrap() < 1e-12);
    assert_eq!(found, estimate(&sample, &[find("ips").unwrap()], &options).unwrap().1);
}

#[test]
fn parameters_left_to_the_data_shrink_only_what_hurts() {
    let chosen = |rounds: &[Round], lost: &LostMass| {
        let options = EstimateOptions { bootstrap: 0, ..EstimateOptions::default() };
        let sample = Sample { target: rounds, lost: [Some(lost), None], ..Sample::default() };
        let all: Vec<&Estimator> = ALL.iter().collect();
        let found = estimate(&sample, &all, &options).unwrap().1;
        ["clipped-ips", "switch-dr", "dros"]
            .map(|name| found.iter().find(|e| e.estimator == name).unwrap().parameter.unwrap())
    };
    // One round in a hundred has an arm of weight 500 on which the target has little: noise for nothing.
    let mut rng = rng::stream(8, "ope tuning");
    let (mut rounds, mut lost) = (Vec::new(), LostMass::default());
    for i in 0..5000 {
        let heavy = i % 1000 == 0;
        let importance = if heavy { 500.0 } else { 0.995 };
        rounds.push(Round {
            mass: 1.0,
            importance,
            reward: rng.random(),
            q_logged: 0.5,
            q_target: 0.5,
            ..Round::default()
        });
        let (pi, p) = if i % 100 == 0 { (0.005, 0.000_01) } else { (0.0, 0.0) };
        lost.add(1.0, &[1.0 - pi, pi], &[1.0 - p, p]);
    }
    let [clip, tau, lambda] = chosen(&rounds, &lost);
    assert!(clip < 500.0 && tau < 500.0 && lambda < 1e5, "{clip} {tau} {lambda}");
    // All of the target is on arms of weight 3: nothing may be cut.
    let steady =
        vec![Round { mass: 1.0, importance: 3.0, reward: 1.0, q_logged: 0.5, ..Round::default() }; 1000];
    let mut lost = LostMass::default();
    (0..1000).for_each(|_| lost.add(1.0, &[0.9, 0.1], &[0.3, 0.7]));
    let [clip, tau, lambda] = chosen(&steady, &lost);
    assert_eq!((clip, tau, lambda), (5.0, 5.0, 1e9));
    let dr = find("dr").unwrap();
    let sample = Sample { target: &steady, ..Sample::default() };
    assert!(estimate(&sample, &[dr], &fixed(-1.0, 1.0, 1.0)).is_err());
}

#[test]
fn names_are_found_or_corrected() {
    let names = |text: &str| select(text).unwrap().iter().map(|e| e.name).collect::<Vec<_>>();
    assert_eq!(names("dr, ips"), ["ips", "dr"]);
    assert_eq!(names("all").len(), ALL.len());
    let said = select("dr,snip").unwrap_err().to_string();
    assert!(said.contains("`snip`") && said.contains("`snips`"), "{said}");
}

/// A population of queries whose expected scores are known: logs are drawn from it with replacement.
struct Population {
    n_arms: usize,
    expected: Vec<f64>,
    features: Vec<Vec<f32>>,
    target: Vec<f64>,
    logging: Vec<f64>,
}

impl Population {
    fn new(n: usize) -> Self {
        let settings = Settings { n_arms: 4, missing: 0.0, drift: 0.0, repeats: 0.0, ..Settings::default() };
        let (table, expected, _) = World::new(settings, 11).table(n);
        let n_arms = table.n_arms();
        let mut sources: Vec<&str> = table.sources().into_iter().flatten().collect();
        sources.sort_unstable();
        sources.dedup();
        let features: Vec<Vec<f32>> = (0..n)
            .map(|row| {
                let is_it = |s: &&str| table.queries[row].source.as_deref() == Some(*s);
                sources.iter().map(|s| f32::from(u8::from(is_it(s)))).collect()
            })
            .collect();
        let expected: Vec<f64> = expected.values().iter().map(|v| f64::from(*v)).collect();
        let softmax = |row: &[f64], sharpness: f64| -> Vec<f64> {
            let raw: Vec<f64> = row.iter().map(|v| (sharpness * v).exp()).collect();
            let total: f64 = raw.iter().sum();
            raw.iter().map(|x| x / total).collect()
        };
        let target = expected.chunks_exact(n_arms).flat_map(|row| softmax(row, 8.0)).collect();
        // The logging policy prefers bad arms a little.
        let logging = expected.chunks_exact(n_arms).flat_map(|row| softmax(row, -1.0)).collect();
        Self { n_arms, expected, features, target, logging }
    }

    fn row<'a>(&self, of: &'a [f64], query: usize) -> &'a [f64] {
        &of[query * self.n_arms..(query + 1) * self.n_arms]
    }

    fn truth(&self) -> f64 {
        let total: f64 = self.target.iter().zip(&self.expected).map(|(p, s)| p * s).sum();
        total / self.features.len() as f64
    }

    /// A log of `n` rounds, its reward model cross-fitted on itself.
    fn draw(&self, n: usize, seed: u64) -> Vec<Round> {
        let mut rng = rng::stream(seed, "ope coverage");
        let mut sums = RewardSums::new(3);
        let logged: Vec<(usize, usize, f64)> = (0..n)
            .map(|i| {
                let query = rng.random_range(0..self.features.len());
                let mut left: f64 = rng.random();
                let probabilities = self.row(&self.logging, query).iter();
                let arm = probabilities.take_while(|p| {
                    left -= *p;
                    left >= 0.0
                });
                let arm = arm.count().min(self.n_arms - 1);
                let reward = f64::from(u8::from(rng.random_bool(self.row(&self.expected, query)[arm])));
                sums.add(arm, i % 3, &self.features[query], reward, 1.0);
                (query, arm, reward)
            })
            .collect();
        let model = sums.solve().unwrap();
        let round = |(i, &(query, arm, reward)): (usize, &(usize, usize, f64))| {
            let q = |arm: usize| model.predict(arm, i % 3, &self.features[query]);
            let pi = self.row(&self.target, query);
            let logging: Vec<f32> = self.row(&self.logging, query).iter().map(|p| *p as f32).collect();
            let (square, cube) = weight_moments(pi, &logging);
            Round {
                mass: 1.0,
                importance: pi[arm] / self.row(&self.logging, query)[arm],
                reward,
                q_logged: q(arm),
                q_target: pi.iter().enumerate().map(|(arm, p)| p * q(arm)).sum(),
                draw: rng.random(),
                square,
                cube,
                ..Round::default()
            }
        };
        logged.iter().enumerate().map(round).collect()
    }
}

#[test]
fn intervals_cover_the_known_truth_as_often_as_they_say() {
    let population = Population::new(2000);
    let truth = population.truth();
    let names = ["ips", "snips", "dr", "sndr", "dm", "replay"];
    let estimators: Vec<&Estimator> = names.iter().map(|name| find(name).unwrap()).collect();
    let mut covered = vec![0; estimators.len()];
    let mut values = vec![Vec::new(); estimators.len()];
    let mut widths = vec![0.0; estimators.len()];
    for seed in 0..200 {
        let rounds = population.draw(1000, seed);
        let sample = Sample { target: &rounds, ..Sample::default() };
        let (_, found) = estimate(&sample, &estimators, &EstimateOptions::default()).unwrap();
        for (i, e) in found.iter().enumerate() {
            let ([low, high], found) = (e.interval.unwrap(), e.value.unwrap());
            covered[i] += usize::from(low <= truth && truth <= high);
            values[i].push(found);
            widths[i] += (high - low) / 200.0;
        }
    }
    let at = |name: &str| estimators.iter().position(|e| e.name == name).unwrap();
    for name in ["ips", "snips", "dr", "sndr", "replay"] {
        let i = at(name);
        let mean = values[i].iter().sum::<f64>() / 200.0;
        let sd = (values[i].iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 199.0).sqrt();
        assert!(covered[i] >= 184, "{name} covers {} of 200", covered[i]);
        // Not by being wide: a perfect interval has 3.92 standard deviations.
        assert!(widths[i] < 1.5 * 3.92 * sd, "{name}: {} for {sd}", widths[i]);
        assert!((mean - truth).abs() < 3.0 * sd / 200_f64.sqrt(), "{name} is unbiased: {mean} for {truth}");
    }
    // The model pays off, and alone it is not to be believed.
    assert!(widths[at("dr")] < widths[at("ips")] && widths[at("dr")] < widths[at("replay")], "{widths:?}");
    assert!(covered[at("dm")] < 180, "dm covers {} of 200", covered[at("dm")]);
}
