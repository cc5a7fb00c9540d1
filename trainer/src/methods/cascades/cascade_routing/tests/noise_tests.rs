//! The order of routing, cascades and cascade routing under the noise model of the paper, on a log of outcomes.
//!
//! Estimates are the truth plus normal noise, brought back to it by a line fitted on 5 % of the rows. Quality noise
//! before and after an answer: low 0.6 / 0.3, medium 1.6 / 0.8; cost noise 2e-4, 4e-4 US dollars (paper, section 5).
//! Judged by the area under the curve of score over price, between the cheapest and the dearest arm.

#![expect(clippy::print_stdout, reason = "a test shows its figures")]

use rand::RngExt as _;
use rand_distr::{Distribution as _, StandardNormal};
use rayon::prelude::*;
use routewright_data::{LoadOptions, OutcomeTable, rng};
use routewright_policy::lookahead::{Draws, Options, Outlook, next};

/// Most calls of an episode.
const DEPTH: usize = 5;
/// Prices of money tried, and thresholds.
const GRID: usize = 14;

struct Noisy {
    n_arms: usize,
    scores: Vec<f64>,
    costs: Vec<f64>,
    before: Vec<f64>,
    after: Vec<f64>,
    expected_usd: Vec<f64>,
    covariance: Vec<f64>,
    /// Arms by rising price.
    order: Vec<usize>,
}

/// Brings noisy values back to the truth by a line an arm, fitted on every twentieth row.
fn recalibrated(noisy: &[f64], truth: &[f64], n_arms: usize) -> Vec<f64> {
    let mut out = noisy.to_vec();
    for arm in 0..n_arms {
        let rows: Vec<usize> = (0..noisy.len() / n_arms).filter(|row| row % 20 == 0).collect();
        let of = |values: &[f64]| rows.iter().map(|row| values[row * n_arms + arm]).collect::<Vec<f64>>();
        let (x, y) = (of(noisy), of(truth));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (mx, my) = (mean(&x), mean(&y));
        let sxx: f64 = x.iter().map(|x| (x - mx).powi(2)).sum();
        let sxy: f64 = x.iter().zip(&y).map(|(x, y)| (x - mx) * (y - my)).sum();
        let slope = if sxx > 0.0 { sxy / sxx } else { 0.0 };
        out.iter_mut().skip(arm).step_by(n_arms).for_each(|value| *value = my + slope * (*value - mx));
    }
    out
}

impl Noisy {
    fn of(table: &OutcomeTable, rows: &[usize], [before, after, cost]: [f64; 3]) -> Self {
        let n_arms = table.n_arms();
        let cells = || rows.iter().flat_map(|row| (0..n_arms).map(move |arm| (*row, arm)));
        let scores: Vec<f64> =
            cells().map(|(row, arm)| f64::from(table.score.get(row, arm).unwrap())).collect();
        let costs: Vec<f64> =
            cells().map(|(row, arm)| f64::from(table.cost_usd.get(row, arm).unwrap())).collect();
        let mut rng = rng::stream(5, "cascade routing noise");
        let mut noisy = |truth: &[f64], sigma: f64| {
            let values: Vec<f64> = truth
                .iter()
                .map(|value| {
                    let z: f64 = StandardNormal.sample(&mut rng);
                    value + sigma * z
                })
                .collect();
            recalibrated(&values, truth, n_arms)
        };
        let (before, after) = (noisy(&scores, before), noisy(&scores, after));
        let expected_usd: Vec<f64> = noisy(&costs, cost).into_iter().map(|usd| usd.max(0.0)).collect();
        let n = rows.len() as f64;
        let change = |row: usize, arm: usize| before[row * n_arms + arm] - after[row * n_arms + arm];
        let covariance = (0..n_arms * n_arms)
            .map(|at| {
                (0..rows.len()).map(|row| change(row, at / n_arms) * change(row, at % n_arms)).sum::<f64>()
                    / n
            })
            .collect();
        let mean = |arm: usize| costs.iter().skip(arm).step_by(n_arms).sum::<f64>() / n;
        let mut order: Vec<usize> = (0..n_arms).collect();
        order.sort_by(|a, b| mean(*a).total_cmp(&mean(*b)));
        Self { n_arms, scores, costs, before, after, expected_usd, covariance, order }
    }

    fn n(&self) -> usize {
        self.scores.len() / self.n_arms
    }

    fn row<'a>(&self, values: &'a [f64], row: usize) -> &'a [f64] {
        &values[row * self.n_arms..(row + 1) * self.n_arms]
    }

    /// Mean score and price over all rows.
    fn mean(&self, play: impl Fn(usize) -> (f64, f64) + Sync + Send) -> (f64, f64) {
        let all: Vec<(f64, f64)> = (0..self.n()).into_par_iter().map(play).collect();
        let n = all.len() as f64;
        (all.iter().map(|one| one.0).sum::<f64>() / n, all.iter().map(|one| one.1).sum::<f64>() / n)
    }

    fn play(&self, row: usize, lambda: f64, options: Options, draws: &Draws) -> (f64, f64) {
        let n = self.n_arms;
        // A cascade goes by mean prices, over all arms and never back.
        let mut rank = vec![0; n];
        self.order.iter().enumerate().for_each(|(at, arm)| rank[*arm] = at);
        let depth = if options == Options::Prefixes { n } else { DEPTH };
        let (mut scores, mut called, mut cost, mut last) =
            (self.row(&self.before, row).to_vec(), vec![false; n], 0.0, None);
        loop {
            let room = called.iter().filter(|called| **called).count() < depth;
            let open: Vec<bool> = (0..n)
                .map(|arm| {
                    let is_behind = last.is_none_or(|last: usize| rank[arm] > rank[last]);
                    !called[arm] && (options != Options::Prefixes || is_behind)
                })
                .collect();
            let outlook = Outlook {
                scores: &scores,
                costs: self.row(&self.expected_usd, row),
                called: &called,
                open: &open,
                order: Some(&self.order),
                covariance: Some(&self.covariance),
            };
            let found = if room { next(&outlook, lambda, options, depth, draws).cheap } else { None };
            let Some(arm) = found else {
                let best = (0..n).filter(|arm| called[*arm]).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
                return (best.map_or(0.0, |arm| self.row(&self.scores, row)[arm]), cost);
            };
            called[arm] = true;
            last = Some(arm);
            scores[arm] = self.row(&self.after, row)[arm];
            cost += self.row(&self.costs, row)[arm];
        }
    }

    fn thresholds(&self, row: usize, threshold: f64) -> (f64, f64) {
        let mut cost = 0.0;
        for (at, &arm) in self.order.iter().enumerate() {
            cost += self.row(&self.costs, row)[arm];
            if at + 1 == self.n_arms || self.row(&self.after, row)[arm] >= threshold {
                return (self.row(&self.scores, row)[arm], cost);
            }
        }
        (0.0, cost)
    }

    /// Area under the best score at each price, 100 for a score of 1 at every price.
    fn area(&self, mut points: Vec<(f64, f64)>) -> f64 {
        for arm in [self.order[0], self.order[self.n_arms - 1]] {
            points.push(self.mean(|row| (self.row(&self.scores, row)[arm], self.row(&self.costs, row)[arm])));
        }
        let usd = |arm: usize| self.mean(|row| (0.0, self.row(&self.costs, row)[arm])).1;
        let (low, high) = (usd(self.order[0]), usd(self.order[self.n_arms - 1]));
        points.sort_by(|a, b| a.1.total_cmp(&b.1));
        let best = |budget: f64| {
            let mut most: f64 = 0.0;
            // A mixture of two points is a point between them.
            for a in &points {
                for b in &points {
                    if a.1 <= budget && b.1 > budget {
                        most = most.max(a.0 + (budget - a.1) / (b.1 - a.1) * (b.0 - a.0));
                    }
                }
                if a.1 <= budget {
                    most = most.max(a.0);
                }
            }
            most
        };
        (0..200).map(|at| best(low + (f64::from(at) + 0.5) / 200.0 * (high - low))).sum::<f64>() / 2.0
    }

    fn areas(&self) -> [f64; 4] {
        let draws = Draws::new(self.n_arms);
        let usd = self.mean(|row| (0.0, self.row(&self.costs, row)[self.order[self.n_arms - 1]])).1;
        let lambdas: Vec<f64> =
            (0..GRID).map(|at| 10.0 / usd * 1e-4_f64.powf(at as f64 / (GRID - 1) as f64)).collect();
        let curve = |options: Options| {
            let points =
                lambdas.iter().map(|lambda| self.mean(|row| self.play(row, *lambda, options, &draws)));
            self.area(points.collect())
        };
        let mut believed = self.after.clone();
        believed.sort_by(f64::total_cmp);
        let threshold = |at: usize| believed[(believed.len() - 1) * at / (2 * GRID)];
        let points = (0..=2 * GRID).map(|at| self.mean(|row| self.thresholds(row, threshold(at))));
        [curve(Options::Full), curve(Options::Prefixes), self.area(points.collect()), curve(Options::Single)]
    }
}

#[test]
fn cascade_routing_beats_the_optimal_cascade_beats_thresholds_and_routing() {
    let Some(log) = routewright_data::testing::shared("data/routerbench_small.parquet") else { return };
    let table = OutcomeTable::load(&log, &LoadOptions::default()).unwrap();
    let mut rng = rng::stream(1, "cascade routing rows");
    let mut rows: Vec<usize> = (0..table.n_queries()).collect();
    rows.sort_by_cached_key(|_| rng.random::<u64>());
    rows.truncate(1400);
    for (noise, sigmas) in [("low", [0.6, 0.3, 2e-4]), ("medium", [1.6, 0.8, 4e-4])] {
        let [full, optimal, thresholds, routing] = Noisy::of(&table, &rows, sigmas).areas();
        println!(
            "{noise} noise: cascade routing {full:.2}, optimal cascade {optimal:.2}, thresholds {thresholds:.2}, \
             routing {routing:.2}"
        );
        assert!(full > optimal && optimal > thresholds && thresholds > routing, "{noise}");
    }
}

/// Eleven arms with a covariance: one arm ahead within 50 us, over all sets within 1 ms, on a core of its own.
#[test]
fn a_decision_is_quick() {
    let n = 11;
    let mut rng = rng::stream(2, "lookahead speed");
    let draws = Draws::new(n);
    let costs: Vec<f64> = (0..n).map(|at| 1e-4 * 1.6_f64.powi(at as i32)).collect();
    let covariance: Vec<f64> = (0..n * n).map(|at| if at / n == at % n { 0.05 } else { 0.02 }).collect();
    let mut time = |options: Options| {
        let mut spent = Vec::new();
        for _ in 0..60 {
            let scores: Vec<f64> = (0..n).map(|_| rng.random()).collect();
            let (called, open) = (vec![false; n], vec![true; n]);
            let covariance = Some(&covariance[..]);
            let outlook = Outlook {
                scores: &scores,
                costs: &costs,
                called: &called,
                open: &open,
                order: None,
                covariance,
            };
            let started = std::time::Instant::now();
            std::hint::black_box(next(&outlook, 20.0, options, n, &draws));
            spent.push(started.elapsed().as_secs_f64() * 1e6);
        }
        spent.sort_by(f64::total_cmp);
        spent[spent.len() / 2]
    };
    let (greedy, full) = (time(Options::Greedy), time(Options::Full));
    println!("11 arms, median: greedy {greedy:.1} us, full with covariance {full:.1} us");
    // Test builds share their cores: ten times the marks.
    assert!(greedy < 500.0 && full < 10_000.0, "{greedy} {full}");
}
