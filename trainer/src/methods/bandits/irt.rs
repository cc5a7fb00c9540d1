//! Identity vectors of arms by variational item response theory (LLM Bandit, arXiv 2502.02743, stage 1).
//!
//! `P(arm k answers query x rightly) = sigmoid(f(x, I_k))` with `I_k ~ N(mu_k, sigma_k^2)` and prior `N(0, 1)`.
//! The loss is the cross-entropy of successes, plus that of `sigmoid(f_a - f_b)` against "a did better than b" on the
//! same query, plus `kl_weight` times the divergence from the prior; `I` is drawn again in every step.

use crate::neural::{AdamW, FreeParameters, Stack};
use rand::RngExt as _;
use rand_distr::StandardNormal;
use routewright_data::dense::sigmoid;
use routewright_data::rng;
use routewright_data::{Cells, FeatureMatrix};

/// `softplus(rho)` is the deviation at the start: about 0.05.
const RHO_START: f32 = -3.0;

/// Settings of stage 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct IrtSettings {
    /// Width of an identity.
    pub(super) width: usize,
    /// Width of the hidden layer of `f`.
    pub(super) hidden: usize,
    /// Steps.
    pub(super) steps: u64,
    /// Queries a step.
    pub(super) batch: usize,
    /// Learning rate.
    pub(super) rate: f32,
    /// Weight of the pairwise loss.
    pub(super) pair_weight: f32,
    /// Weight of the divergence.
    pub(super) kl_weight: f32,
}

/// What was learned.
#[derive(Debug)]
pub(super) struct Irt {
    settings: IrtSettings,
    pub(super) ability: Stack,
    /// Means `(n_arms, width)`.
    pub(super) identities: Vec<f32>,
}

/// Successes: 1 where the score is above the threshold at which the success rate is the mean score.
pub(super) fn successes(score: &Cells) -> Cells {
    let mut present: Vec<f32> = score.values().iter().copied().filter(|s| !s.is_nan()).collect();
    present.sort_by(f32::total_cmp);
    let n = present.len();
    let mean = present.iter().map(|s| f64::from(*s)).sum::<f64>() / n.max(1) as f64;
    // The value above which a share of `mean` lies.
    let at = ((1.0 - mean) * n as f64).round() as usize;
    let threshold = at.checked_sub(1).and_then(|at| present.get(at)).copied().unwrap_or(f32::NEG_INFINITY);
    // Ties at the threshold: below the best score there is always a success to be had.
    let threshold = if present.last().is_some_and(|best| *best <= threshold) {
        present.iter().rev().copied().find(|s| *s < threshold).unwrap_or(f32::NEG_INFINITY)
    } else {
        threshold
    };
    let values = score.values().iter();
    let values = values.map(|s| if s.is_nan() { f32::NAN } else { f32::from(*s > threshold) }).collect();
    Cells::from_vec(score.n_rows(), score.n_cols(), values)
}

/// Inputs `(x, I)` of queries with every arm.
fn inputs(features: &FeatureMatrix, rows: &[usize], identities: &[f32], width: usize) -> Vec<f32> {
    let with = |row: &usize| {
        let x = features.row(*row);
        identities.chunks_exact(width).flat_map(|i| x.iter().chain(i).copied()).collect::<Vec<f32>>()
    };
    rows.iter().flat_map(with).collect()
}

/// Gradient of both losses with respect to `f`, `(rows, m)`.
fn gradient(f: &[f32], labels: &Cells, scores: &Cells, rows: &[usize], pair_weight: f32) -> Vec<f32> {
    let m = labels.n_cols();
    let mut out = vec![0.0; f.len()];
    let known = |row: usize| (0..m).filter(move |k| labels.get(row, *k).is_some());
    let n_cells = rows.iter().map(|row| known(*row).count()).sum::<usize>().max(1) as f32;
    for ((row, f), g) in rows.iter().zip(f.chunks_exact(m)).zip(out.chunks_exact_mut(m)) {
        let n_pairs = known(*row).count().saturating_sub(1).max(1) as f32;
        for a in known(*row) {
            g[a] += (sigmoid(f[a]) - labels.get(*row, a).unwrap_or(0.0)) / n_cells;
            for b in known(*row).filter(|b| scores.get(*row, a) > scores.get(*row, *b)) {
                let pull = pair_weight * sigmoid(f[b] - f[a]) / (n_cells * n_pairs);
                g[a] -= pull;
                g[b] += pull;
            }
        }
    }
    out
}

impl Irt {
    /// Learns the identities of all arms from scores `(rows, n_arms)`.
    pub(super) fn fit(settings: IrtSettings, score: &Cells, features: &FeatureMatrix, seed: u64) -> Self {
        let (m, width, dim) = (score.n_cols(), settings.width, features.dim());
        let (n, labels) = (score.n_rows(), successes(score));
        let optimizer = AdamW { rate: settings.rate, weight_decay: 0.0, ..AdamW::default() };
        let mut rng = rng::stream(seed, "irt");
        let mut ability = Stack::new(dim + width, &[settings.hidden], 1, optimizer, seed);
        let start = (0..m * width).map(|_| 0.5 * rng.sample::<f32, _>(StandardNormal)).collect();
        let mut mean = FreeParameters::new(start, optimizer);
        let mut rho = FreeParameters::new(vec![RHO_START; m * width], optimizer);
        for _ in 0..settings.steps {
            let rows: Vec<usize> = (0..settings.batch).map(|_| rng.random_range(0..n)).collect();
            let noise: Vec<f32> = (0..m * width).map(|_| rng.sample(StandardNormal)).collect();
            let sigma: Vec<f32> = rho.values().iter().map(|rho| rho.exp().ln_1p()).collect();
            let drawn = mean.values().iter().zip(sigma.iter().zip(&noise)).map(|(m, (s, e))| m + s * e);
            let drawn: Vec<f32> = drawn.collect();
            let input = inputs(features, &rows, &drawn, width);
            let f = ability.outputs(&input);
            let below =
                ability.learn_through(&input, gradient(&f, &labels, score, &rows, settings.pair_weight));
            let mut pull = vec![0.0; m * width];
            for (at, row) in below.chunks_exact(dim + width).enumerate() {
                let own = &mut pull[at % m * width..(at % m + 1) * width];
                own.iter_mut().zip(&row[dim..]).for_each(|(pull, g)| *pull += g);
            }
            let kl = settings.kl_weight / m as f32;
            let of_rho = |i: usize| {
                let slope = sigmoid(rho.values()[i]);
                (pull[i] * noise[i] + kl * (sigma[i] - 1.0 / sigma[i].max(1e-6))) * slope
            };
            let rho_gradient: Vec<f32> = (0..m * width).map(of_rho).collect();
            pull.iter_mut().zip(mean.values()).for_each(|(pull, mean)| *pull += kl * mean);
            mean.learn(&pull);
            rho.learn(&rho_gradient);
        }
        Self { settings, ability, identities: mean.values().to_vec() }
    }

    /// `f` of queries with every arm, `(rows, n_arms)`.
    pub(super) fn strengths(&mut self, features: &FeatureMatrix, rows: &[usize]) -> Vec<f32> {
        self.ability.outputs(&inputs(features, rows, &self.identities, self.settings.width))
    }

    /// The identity of one more arm from its scores on a quiz, the network left as it is: the most likely one
    /// under the prior.
    pub(super) fn place(&mut self, features: &FeatureMatrix, quiz: &[(usize, f32)], steps: u64) -> Vec<f32> {
        let (width, dim) = (self.settings.width, features.dim());
        let optimizer = AdamW { rate: 0.05, weight_decay: 0.0, ..AdamW::default() };
        // Starts where the known arms are on average: what is known before the first answer.
        let n_arms = (self.identities.len() / width).max(1);
        let centre = |i: usize| self.identities.iter().skip(i).step_by(width).sum::<f32>() / n_arms as f32;
        let mut identity = FreeParameters::new((0..width).map(centre).collect(), optimizer);
        let rows: Vec<usize> = quiz.iter().map(|(row, _)| *row).collect();
        for _ in 0..steps {
            let input = inputs(features, &rows, identity.values(), width);
            let f = self.ability.outputs(&input);
            let error: Vec<f32> = f.iter().zip(quiz).map(|(f, (_, score))| sigmoid(*f) - score).collect();
            let below = self.ability.through(&input, error);
            let mut pull = identity.values().to_vec();
            for row in below.chunks_exact(dim + width) {
                pull.iter_mut().zip(&row[dim..]).for_each(|(pull, g)| *pull += g);
            }
            identity.learn(&pull);
        }
        identity.values().to_vec()
    }
}

/// `n` queries of `among` that tell arms apart and differ from each other: of each cluster of features the one whose
/// predicted successes spread most over the known arms.
pub(super) fn discriminative(
    strengths: &[f32],
    m: usize,
    features: &FeatureMatrix,
    among: &[usize],
    n: usize,
    seed: u64,
) -> Vec<usize> {
    let spread = |row: usize| {
        let p: Vec<f32> = strengths[row * m..(row + 1) * m].iter().map(|f| sigmoid(*f)).collect();
        let mean = p.iter().sum::<f32>() / m as f32;
        p.iter().map(|p| (p - mean) * (p - mean)).sum::<f32>()
    };
    let (_, cluster) = crate::clustering::kmeans(&features.select_rows(among), n, 10, seed);
    let mut best: std::collections::BTreeMap<u32, usize> = std::collections::BTreeMap::new();
    for (row, cluster) in among.iter().zip(cluster) {
        let entry = best.entry(cluster).or_insert(*row);
        if spread(*row) > spread(*entry) {
            *entry = *row;
        }
    }
    best.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_success_rate_is_the_mean_score() {
        let graded = Cells::from_vec(2, 4, vec![0.0, 0.25, 0.5, 1.0, f32::NAN, 0.75, 0.9, 0.1]);
        // Mean 0.5 of seven scores: 3.5 successes, rounded down.
        let labels = successes(&graded);
        assert_eq!(labels.values().iter().filter(|l| **l == 1.0).count(), 3);
        assert!(labels.get(1, 0).is_none());
        let binary = Cells::from_vec(1, 4, vec![0.0, 1.0, 0.0, 1.0]);
        assert_eq!(successes(&binary).values(), binary.values());
        let all_right = Cells::from_vec(1, 2, vec![1.0, 1.0]);
        assert_eq!(successes(&all_right).values(), [1.0, 1.0]);
    }

    #[test]
    fn identities_tell_arms_apart_and_a_new_arm_is_placed_by_a_quiz() {
        // Two kinds of queries; arm 0 knows the first, arm 1 the second, arm 2 both.
        let n = 200;
        let kind = |row: usize| row % 2;
        let x: Vec<f32> = (0..n).flat_map(|row| [1.0 - kind(row) as f32, kind(row) as f32]).collect();
        let features = FeatureMatrix::from_vec(n, 2, x);
        let right = |row: usize, arm: usize| f32::from(arm == 2 || arm == kind(row));
        let scores = (0..n).flat_map(|row| (0..3).map(move |arm| right(row, arm))).collect();
        let settings = IrtSettings {
            width: 4,
            hidden: 16,
            steps: 600,
            batch: 32,
            rate: 0.01,
            pair_weight: 1.0,
            kl_weight: 1e-3,
        };
        let score = Cells::from_vec(n, 3, scores);
        let mut irt = Irt::fit(settings, &score, &features, 1);
        let f = irt.strengths(&features, &[0, 1]);
        assert!(f[0] > 1.0 && f[1] < -1.0 && f[2] > 1.0, "{f:?}");
        assert!(f[3] < -1.0 && f[4] > 1.0 && f[5] > 1.0, "{f:?}");
        let quiz: Vec<(usize, f32)> = (0..20).map(|row| (row, right(row, 1))).collect();
        irt.identities = irt.place(&features, &quiz, 300);
        let placed = irt.strengths(&features, &[0, 1]);
        assert!(placed[0] < 0.0 && placed[1] > 0.0, "{placed:?}");
    }
}
