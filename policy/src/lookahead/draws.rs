//! Fixed normal draws that fill space evenly: what expectations are taken over.

use rand::seq::SliceRandom as _;
use routewright_data::rng;

/// Draws.
const N: usize = 128;
/// Bases of the coordinates that are of the Halton sequence; greater ones go along with each other for too long.
const BASES: [u32; 4] = [2, 3, 5, 7];
/// Most coordinates.
const WIDTH_MAX: usize = 24;
/// Seed of the permutations, the same for every policy.
const SEED: u64 = 128;

/// Standard normal numbers: the first coordinates are points of the Halton sequence (1960), the others a Latin
/// hypercube, the middles of equal parts in an order of their own. The same for every policy.
#[derive(Debug, Clone)]
pub struct Draws {
    /// `(N, width)`, row-major.
    values: Vec<f64>,
    width: usize,
}

impl Draws {
    /// Draws for so many arms, at most 24; for more the width is 24, and larger sets have no covariance.
    pub fn new(n_arms: usize) -> Self {
        let width = n_arms.clamp(1, WIDTH_MAX);
        let mut values = vec![0.0; N * width];
        for column in 0..width {
            let uniform: Vec<f64> = match BASES.get(column) {
                Some(base) => (0..N).map(|at| radical_inverse(at as u32 + 1, *base)).collect(),
                None => {
                    let mut own: Vec<f64> = (0..N).map(|at| (at as f64 + 0.5) / N as f64).collect();
                    own.shuffle(&mut rng::stream(SEED, &format!("lookahead coordinate {column}")));
                    own
                }
            };
            uniform.into_iter().enumerate().for_each(|(at, p)| values[at * width + column] = normal(p));
        }
        // Centred and scaled, so that the mean and the variance of each coordinate are exact.
        for column in 0..width {
            let of =
                |values: &[f64]| values.iter().skip(column).step_by(width).copied().collect::<Vec<f64>>();
            let own = of(&values);
            let mean = own.iter().sum::<f64>() / N as f64;
            let deviation = (own.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / N as f64).sqrt();
            values.iter_mut().skip(column).step_by(width).for_each(|x| *x = (*x - mean) / deviation);
        }
        Self { values, width }
    }

    /// Coordinates of a draw.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The draws.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }
}

/// The digits of a number in a base, mirrored behind the point.
fn radical_inverse(mut number: u32, base: u32) -> f64 {
    let (mut value, mut place) = (0.0, 1.0 / f64::from(base));
    while number > 0 {
        value += f64::from(number % base) * place;
        number /= base;
        place /= f64::from(base);
    }
    value
}

/// The standard normal quantile of `p` in (0, 1): the logistic start of Tocher, then Newton steps on the distribution
/// function by its series.
fn normal(p: f64) -> f64 {
    let p = p.clamp(1e-9, 1.0 - 1e-9);
    let mut x = (p / (1.0 - p)).ln() / 1.702;
    for _ in 0..8 {
        let (value, density) = distribution(x);
        x -= ((value - p) / density).clamp(-1.0, 1.0);
    }
    x
}

/// Distribution function and density of a standard normal number: `1/2 + density (x + x^3/3 + x^5/15 + ..)` (Marsaglia
/// 2004).
fn distribution(x: f64) -> (f64, f64) {
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs().max(1e-300) && odd < 400.0 {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    (0.5 + density * sum, density)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        // R 4.3 qnorm.
        for (p, x) in [(0.5, 0.0), (0.975, 1.959_964), (0.01, -2.326_348), (0.999_9, 3.719_016)] {
            assert!((normal(p) - x).abs() < 1e-5, "{p}: {}", normal(p));
        }
        assert!(radical_inverse(6, 2) == 0.375 && (radical_inverse(5, 3) - 7.0 / 9.0).abs() < 1e-12);
    }

    #[test]
    fn draws_are_nearly_independent_standard_normal_numbers() {
        let draws = Draws::new(11);
        assert_eq!((draws.width(), draws.rows().count()), (11, N));
        let mean = |value: &dyn Fn(&[f64]) -> f64| draws.rows().map(value).sum::<f64>() / N as f64;
        for a in 0..11 {
            assert!(mean(&|row| row[a]).abs() < 1e-9 && (mean(&|row| row[a] * row[a]) - 1.0).abs() < 1e-9);
            for b in 0..a {
                assert!(
                    mean(&|row| row[a] * row[b]).abs() < 0.3,
                    "{a} {b}: {}",
                    mean(&|row| row[a] * row[b])
                );
            }
        }
        // E[max] of two and of three: 1 / sqrt(pi) and 3 / (2 sqrt(pi)).
        assert!((mean(&|row| row[0].max(row[1])) - 0.5642).abs() < 0.02);
        assert!((mean(&|row| row[0].max(row[1]).max(row[2])) - 0.8463).abs() < 0.03);
        assert_eq!(Draws::new(99).width(), 24);
    }
}
