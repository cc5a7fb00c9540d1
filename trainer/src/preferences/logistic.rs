//! Weighted logistic regression without intercept on few columns, by Newton's method.

use routewright_data::linalg::{LinalgError, solve_spd};

/// Steps of Newton's method, at most.
const STEPS: usize = 50;

/// One observation: `P(y = 1) = sigmoid(x . theta)`; `y` may lie between.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observation {
    pub(super) x: Vec<f64>,
    pub(super) y: f64,
    pub(super) weight: f64,
}

pub(super) fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }
}

/// `ln(1 + exp(z))`, stable.
pub(super) fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

pub(super) fn product(theta: &[f64], x: &[f64]) -> f64 {
    theta.iter().zip(x).map(|(t, x)| t * x).sum()
}

/// Minus the log posterior under `theta_j ~ N(0, 1 / penalty_j)`.
fn loss(observations: &[Observation], penalty: &[f64], theta: &[f64]) -> f64 {
    let of = |o: &Observation| {
        let z = product(theta, &o.x);
        o.weight * (softplus(z) - o.y * z)
    };
    let prior: f64 = theta.iter().zip(penalty).map(|(t, p)| 0.5 * p * t * t).sum();
    observations.iter().map(of).sum::<f64>() + prior
}

/// The mode of the posterior; `penalty` has one entry a column, each above 0.
///
/// # Errors
/// If the system is singular in numbers (columns of very unlike size).
pub(super) fn fit(observations: &[Observation], penalty: &[f64]) -> Result<Vec<f64>, LinalgError> {
    let k = penalty.len();
    let mut theta = vec![0.0; k];
    let mut now = loss(observations, penalty, &theta);
    for _ in 0..STEPS {
        let mut gradient: Vec<f64> = theta.iter().zip(penalty).map(|(t, p)| t * p).collect();
        let mut hessian = vec![0.0; k * k];
        penalty.iter().enumerate().for_each(|(j, p)| hessian[j * k + j] = *p);
        for o in observations {
            let p = sigmoid(product(&theta, &o.x));
            let (error, curvature) = (o.weight * (p - o.y), o.weight * p * (1.0 - p));
            for (i, xi) in o.x.iter().enumerate().filter(|(_, xi)| **xi != 0.0) {
                gradient[i] += error * xi;
                hessian[i * k..(i + 1) * k]
                    .iter_mut()
                    .zip(&o.x)
                    .for_each(|(h, xj)| *h += curvature * xi * xj);
            }
        }
        let step = solve_spd(hessian, gradient, k, 1)?;
        // Newton overshoots far from the mode: the step is halved until it helps.
        let mut size = 1.0;
        let next = loop {
            let next: Vec<f64> = theta.iter().zip(&step).map(|(t, s)| t - size * s).collect();
            let value = loss(observations, penalty, &next);
            if value <= now {
                break Some((next, value));
            }
            size /= 2.0;
            if size < 1e-6 {
                break None;
            }
        };
        let Some((next, value)) = next else { break };
        let gained = now - value;
        (theta, now) = (next, value);
        if gained <= 1e-12 * (1.0 + now.abs()) {
            break;
        }
    }
    Ok(theta)
}
