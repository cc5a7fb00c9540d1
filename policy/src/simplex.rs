//! Distributions over weights: points of the simplex, drawn, with their densities and gradients.
//!
//! - Dirichlet with concentrations `a`: `ln p(w) = ln G(a_0) - sum ln G(a_i) + sum (a_i - 1) ln w_i`, `a_0 = sum a_i`.
//! - Logistic-normal: logits drawn from `N(mu, s^2 I)`, weights their softmax. Softmax forgets what all logits have in
//!   common, so with `c = ln w - mean(ln w)` and `d = mu - mean(mu)` the density of the `n` weights is
//!   `ln p(w) = -|c - d|^2 / 2 s^2 - (n - 1)/2 ln(2 pi s^2) - ln(n)/2 - sum ln w_i` (Aitchison 1982, in these terms).
//!
//! Densities are with respect to the first `n - 1` weights. Weights below 1e-6 are counted as 1e-6.

use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};

/// Weights are at least so much, so that logarithms stay finite.
pub const WEIGHT_MIN: f32 = 1e-6;
/// Concentrations and deviations are at least so much.
pub const SPREAD_MIN: f32 = 1e-3;

/// Kinds of distribution over weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Dirichlet.
    #[default]
    Dirichlet,
    /// Softmax of independent normal logits.
    Gaussian,
}

/// A distribution over weights.
#[derive(Debug, Clone, PartialEq)]
pub enum OverWeights {
    /// Concentrations, one a member.
    Dirichlet(Vec<f32>),
    /// Means of the logits and their common standard deviation.
    Gaussian(Vec<f32>, f32),
}

/// Drawn weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The weights, sum 1.
    pub weights: Vec<f32>,
    /// The logits they are the softmax of, where they were drawn so.
    pub logits: Vec<f32>,
    /// Natural logarithm of their density.
    pub log_density: f64,
}

impl OverWeights {
    /// The distribution of a network's outputs: `softplus(z)` are concentrations, or `z` the means of logits.
    pub fn of(action: Action, outputs: &[f32], sd: f32) -> Self {
        match action {
            Action::Dirichlet => Self::Dirichlet(outputs.iter().map(|z| softplus(*z) + SPREAD_MIN).collect()),
            Action::Gaussian => Self::Gaussian(outputs.to_vec(), sd.max(SPREAD_MIN)),
        }
    }

    /// The weights to use when nothing is to be explored: the mean of a Dirichlet, the softmax of mean logits.
    pub fn center(&self) -> Vec<f32> {
        match self {
            Self::Dirichlet(a) => {
                let total: f64 = a.iter().map(|a| f64::from(*a)).sum();
                a.iter().map(|a| (f64::from(*a) / total) as f32).collect()
            }
            Self::Gaussian(mu, _) => softmax(mu),
        }
    }

    /// Draws weights.
    pub fn draw(&self, rng: &mut impl Rng) -> Drawn {
        let (weights, logits) = match self {
            Self::Dirichlet(a) => {
                // Logarithms of gamma draws: those of small concentrations are too small for numbers themselves.
                let logs: Vec<f32> = a.iter().map(|a| log_gamma_draw(f64::from(*a), rng) as f32).collect();
                (softmax(&logs), Vec::new())
            }
            Self::Gaussian(mu, sd) => {
                let logits: Vec<f32> = mu.iter().map(|mu| mu + sd * normal(rng) as f32).collect();
                (softmax(&logits), logits)
            }
        };
        let weights = floored(&weights);
        let log_density = self.log_density(&weights);
        Drawn { weights, logits, log_density }
    }

    /// Natural logarithm of the density at `weights`.
    pub fn log_density(&self, weights: &[f32]) -> f64 {
        let logs = logarithms(weights);
        match self {
            Self::Dirichlet(a) => {
                let total: f64 = a.iter().map(|a| f64::from(*a)).sum();
                let one = |(a, ln): (&f32, &f64)| (f64::from(*a) - 1.0) * ln - libm::lgamma(f64::from(*a));
                libm::lgamma(total) + a.iter().zip(&logs).map(one).sum::<f64>()
            }
            Self::Gaussian(mu, sd) => {
                let (n, s) = (mu.len() as f64, f64::from(*sd));
                let square: f64 = off_center(mu, &logs).iter().map(|x| x * x).sum();
                let scale = (n - 1.0) / 2.0 * (std::f64::consts::TAU * s * s).ln() + n.ln() / 2.0;
                -square / (2.0 * s * s) - scale - logs.iter().sum::<f64>()
            }
        }
    }

    /// Gradient of [`log_density`](Self::log_density) with respect to concentrations or mean logits.
    pub fn log_density_slope(&self, weights: &[f32]) -> Vec<f64> {
        let logs = logarithms(weights);
        match self {
            Self::Dirichlet(a) => {
                let total = digamma(a.iter().map(|a| f64::from(*a)).sum());
                a.iter().zip(&logs).map(|(a, ln)| total - digamma(f64::from(*a)) + ln).collect()
            }
            Self::Gaussian(mu, sd) => {
                let variance = f64::from(*sd) * f64::from(*sd);
                off_center(mu, &logs).iter().map(|x| x / variance).collect()
            }
        }
    }

    /// Entropy, up to a constant that no parameter but the deviation moves for the Gaussian, and its gradient.
    pub fn entropy(&self) -> (f64, Vec<f64>) {
        match self {
            Self::Dirichlet(a) => {
                let n = a.len() as f64;
                let total: f64 = a.iter().map(|a| f64::from(*a)).sum();
                let each: f64 =
                    a.iter().map(|a| f64::from(*a)).map(|a| libm::lgamma(a) - (a - 1.0) * digamma(a)).sum();
                let entropy = each - libm::lgamma(total) + (total - n) * digamma(total);
                let common = (total - n) * trigamma(total);
                let slope = |a: &f32| common - (f64::from(*a) - 1.0) * trigamma(f64::from(*a));
                (entropy, a.iter().map(slope).collect())
            }
            Self::Gaussian(mu, sd) => ((mu.len() as f64 - 1.0) * f64::from(*sd).ln(), vec![0.0; mu.len()]),
        }
    }
}

/// `d softplus(z) / dz`.
pub fn softplus_slope(z: f32) -> f32 {
    1.0 / (1.0 + (-z).exp())
}

fn softplus(z: f32) -> f32 {
    if z > 20.0 { z } else { z.exp().ln_1p() }
}

/// Softmax of logits.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = logits.iter().map(|z| (z - most).exp()).collect();
    let total: f32 = exps.iter().sum();
    exps.iter().map(|e| e / total).collect()
}

/// At least [`WEIGHT_MIN`] each, sum 1.
fn floored(weights: &[f32]) -> Vec<f32> {
    let kept: Vec<f32> = weights.iter().map(|w| w.max(WEIGHT_MIN)).collect();
    let total: f32 = kept.iter().sum();
    kept.iter().map(|w| w / total).collect()
}

fn logarithms(weights: &[f32]) -> Vec<f64> {
    weights.iter().map(|w| f64::from(w.max(WEIGHT_MIN)).ln()).collect()
}

/// `c - d`: both centred.
fn off_center(mu: &[f32], logs: &[f64]) -> Vec<f64> {
    let difference: Vec<f64> = logs.iter().zip(mu).map(|(ln, mu)| ln - f64::from(*mu)).collect();
    let mean = difference.iter().sum::<f64>() / difference.len().max(1) as f64;
    difference.iter().map(|x| x - mean).collect()
}

/// A standard normal number (Box and Muller 1958).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// Logarithm of a draw of Gamma(a, 1) (Marsaglia and Tsang 2000; below 1 by `G(a) = G(a + 1) U^(1/a)`).
fn log_gamma_draw(a: f64, rng: &mut impl Rng) -> f64 {
    if a < 1.0 {
        let uniform = 1.0 - rng.random::<f64>();
        return log_gamma_draw(a + 1.0, rng) + uniform.ln() / a;
    }
    let d = a - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - rng.random::<f64>()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d.ln() + v.ln();
        }
    }
}

/// `d ln G(x) / dx`, `x > 0`: upward recurrence, then the asymptotic series.
fn digamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 10.0 {
        below -= 1.0 / x;
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    below + x.ln() - 0.5 / x - y * (1.0 / 12.0 - y * (1.0 / 120.0 - y * (1.0 / 252.0 - y / 240.0)))
}

/// Second derivative of `ln G`.
fn trigamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 10.0 {
        below += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    below + 1.0 / x + 0.5 * y + y / x * (1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 - y / 30.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::rng;

    /// scipy 1.17.1: `special.digamma`, `special.polygamma(1, x)`.
    #[test]
    fn special_functions_are_those_of_the_reference() {
        let expected = [
            (0.001, -1_000.575_571_931_810_3, 1_000_001.642_533_195),
            (0.5, -1.963_510_026_021_423_5, 4.934_802_200_544_679),
            (1.0, -0.577_215_664_901_532_9, 1.644_934_066_848_226_4),
            (7.3, 1.917_820_335_637_986, 0.146_795_768_131_427),
            (50.0, 3.901_989_673_427_892, 0.020_201_333_226_697_124),
        ];
        for (x, psi, psi_1) in expected {
            assert!((digamma(x) / psi - 1.0).abs() < 1e-9, "{x} {}", digamma(x));
            assert!((trigamma(x) / psi_1 - 1.0).abs() < 1e-9, "{x} {}", trigamma(x));
        }
    }

    /// scipy 1.17.1: `stats.dirichlet([2, 3, 4]).logpdf([.2, .3, .5])` and `.entropy()`.
    #[test]
    fn the_dirichlet_is_that_of_the_reference() {
        let dirichlet = OverWeights::Dirichlet(vec![2.0, 3.0, 4.0]);
        assert!((dirichlet.log_density(&[0.2, 0.3, 0.5]) - 2.022_871_190_191_440_7).abs() < 1e-6);
        assert!((dirichlet.entropy().0 - -1.312_553_395_814_394).abs() < 1e-9, "{}", dirichlet.entropy().0);
        // Two logits of variance 1: their difference is N(mu_1 - mu_2, 2), the density over w_1 has 1 / w_1 w_2.
        let gaussian = OverWeights::Gaussian(vec![0.5, -0.5], 1.0);
        let y = (0.7_f64 / 0.3).ln();
        let by_hand =
            -(y - 1.0).powi(2) / 4.0 - (2.0 * std::f64::consts::PI * 2.0).ln() / 2.0 - (0.7_f64 * 0.3).ln();
        assert!((gaussian.log_density(&[0.7, 0.3]) - by_hand).abs() < 1e-6);
    }

    #[test]
    fn gradients_are_slopes() {
        let weights = [0.2, 0.5, 0.3];
        let parameters = [1.3_f32, 0.4, 2.2];
        let kinds: [fn(Vec<f32>) -> OverWeights; 2] =
            [OverWeights::Dirichlet, |mu| OverWeights::Gaussian(mu, 0.7)];
        for kind in kinds {
            let (slope, entropy) = (
                kind(parameters.to_vec()).log_density_slope(&weights),
                kind(parameters.to_vec()).entropy().1,
            );
            for at in 0..3 {
                let shifted = |by: f32| {
                    let mut shifted = parameters.to_vec();
                    shifted[at] += by;
                    kind(shifted)
                };
                let (more, less) = (shifted(1e-2), shifted(-1e-2));
                let found = (more.log_density(&weights) - less.log_density(&weights)) / 2e-2;
                assert!((found - slope[at]).abs() < 2e-3, "{found} {slope:?}");
                let found = (more.entropy().0 - less.entropy().0) / 2e-2;
                assert!((found - entropy[at]).abs() < 2e-2, "{found} {entropy:?}");
            }
        }
    }

    #[test]
    fn draws_have_the_mean_and_spread_they_should() {
        let mut rng = rng::stream(3, "simplex");
        let dirichlet = OverWeights::Dirichlet(vec![0.4, 1.0, 2.6]);
        let draws: Vec<Drawn> = (0..20_000).map(|_| dirichlet.draw(&mut rng)).collect();
        let mean = |at: usize| draws.iter().map(|d| f64::from(d.weights[at])).sum::<f64>() / 2e4;
        let variance = draws.iter().map(|d| (f64::from(d.weights[2]) - 0.65).powi(2)).sum::<f64>() / 2e4;
        for (at, expected) in [0.1, 0.25, 0.65].into_iter().enumerate() {
            assert!((mean(at) - expected).abs() < 0.006, "{}", mean(at));
        }
        // m (1 - m) / (a_0 + 1)
        assert!((variance - 0.65 * 0.35 / 5.0).abs() < 0.002, "{variance}");
        let gaussian = OverWeights::Gaussian(vec![1.0, 0.0], 0.5);
        let drawn = gaussian.draw(&mut rng);
        assert!((drawn.weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(softmax(&drawn.logits).len(), 2);
        assert!((gaussian.center()[0] - 0.731_058_6).abs() < 1e-6);
    }
}
