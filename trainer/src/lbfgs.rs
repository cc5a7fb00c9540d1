//! L-BFGS (Liu and Nocedal 1989) with a backtracking line search: minimises a smooth function of many numbers.

use std::collections::VecDeque;

/// Pairs of steps and changes of the gradient that are kept.
const MEMORY: usize = 10;
/// Part of the decrease promised by the gradient that a step must reach (Armijo).
const DECREASE: f64 = 1e-4;
/// Halvings of a step.
const HALVINGS: usize = 30;

/// When it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop {
    /// Most steps.
    pub(crate) steps: usize,
    /// Greatest entry of the gradient at which it is content.
    pub(crate) gradient: f64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { steps: 200, gradient: 1e-6 }
    }
}

/// The point it reaches from `start`. `value` gives the value at a point and writes its gradient; where it is not
/// finite, the point is not taken.
pub(crate) fn minimize(
    start: Vec<f64>,
    stop: Stop,
    mut value: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Vec<f64> {
    let mut x = start;
    let mut gradient = vec![0.0; x.len()];
    let mut at = value(&x, &mut gradient);
    let mut pairs: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
    for _ in 0..stop.steps {
        if gradient.iter().all(|g| g.abs() <= stop.gradient) {
            break;
        }
        let mut direction = descent(&gradient, &pairs);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            // What is remembered is of no use: steepest descent.
            pairs.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = -dot(&gradient, &gradient);
        }
        let first = if pairs.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt().max(1.0) } else { 1.0 };
        let mut length = first;
        let mut next = None;
        for _ in 0..HALVINGS {
            let point: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x + length * d).collect();
            let mut its_gradient = vec![0.0; x.len()];
            let its_value = value(&point, &mut its_gradient);
            if its_value.is_finite() && its_value <= at + DECREASE * length * slope {
                next = Some((point, its_gradient, its_value));
                break;
            }
            length /= 2.0;
        }
        let Some((point, its_gradient, its_value)) = next else { break };
        let step: Vec<f64> = point.iter().zip(&x).map(|(a, b)| a - b).collect();
        let change: Vec<f64> = its_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        if dot(&step, &change) > 1e-12 {
            pairs.push_back((step, change));
            if pairs.len() > MEMORY {
                pairs.pop_front();
            }
        }
        (x, gradient, at) = (point, its_gradient, its_value);
    }
    x
}

/// The direction of the two-loop recursion.
fn descent(gradient: &[f64], pairs: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut factors = Vec::with_capacity(pairs.len());
    for (step, change) in pairs.iter().rev() {
        let factor = dot(step, &direction) / dot(step, change);
        direction.iter_mut().zip(change).for_each(|(d, y)| *d -= factor * y);
        factors.push(factor);
    }
    if let Some((step, change)) = pairs.back() {
        let scale = dot(step, change) / dot(change, change);
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for ((step, change), factor) in pairs.iter().zip(factors.iter().rev()) {
        let back = dot(change, &direction) / dot(step, change);
        direction.iter_mut().zip(step).for_each(|(d, s)| *d += (factor - back) * s);
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_minimum_of_the_valley_of_rosenbrock() {
        let value = |x: &[f64], gradient: &mut [f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            gradient[0] = -2.0 * a - 400.0 * x[0] * b;
            gradient[1] = 200.0 * b;
            a * a + 100.0 * b * b
        };
        let found = minimize(vec![-1.2, 1.0], Stop { steps: 500, gradient: 1e-9 }, value);
        assert!(found.iter().all(|x| (x - 1.0).abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn a_value_that_is_not_finite_is_no_step_and_no_numbers_are_a_minimum() {
        // ln x - x / 4 has its greatest value at 4 and none below 0.
        let value = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = 0.25 - 1.0 / x[0];
            x[0] / 4.0 - x[0].ln()
        };
        let found = minimize(vec![0.01], Stop::default(), value);
        assert!((found[0] - 4.0).abs() < 1e-4, "{found:?}");
        assert_eq!(minimize(Vec::new(), Stop::default(), |_, _| 0.0), [0.0; 0]);
    }
}
