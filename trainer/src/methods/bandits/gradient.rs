//! Policy gradients of a softmax over the arms of each query, by hand.
//!
//! Arms a query cannot call are masked: their probability is 0 and they have no gradient.

use rand::RngExt as _;
use routewright_data::rng::Rng;

/// Probabilities `(n, m)` of outputs `(n, m)`; 0 where `allowed` is false.
pub(super) fn softmax(outputs: &[f32], allowed: &[bool], m: usize) -> Vec<f32> {
    let mut out = vec![0.0; outputs.len()];
    for ((z, ok), p) in outputs.chunks_exact(m).zip(allowed.chunks_exact(m)).zip(out.chunks_exact_mut(m)) {
        let most = (0..m).filter(|k| ok[*k]).map(|k| z[k]).fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0;
        for k in (0..m).filter(|k| ok[*k]) {
            p[k] = (z[k] - most).exp();
            total += p[k];
        }
        p.iter_mut().for_each(|p| *p /= total.max(f32::MIN_POSITIVE));
    }
    out
}

/// Draws an arm of each row.
pub(super) fn sample(probabilities: &[f32], m: usize, rng: &mut Rng) -> Vec<usize> {
    let draw = |row: &[f32]| {
        let mut left: f32 = rng.random();
        let mut last = 0;
        for (arm, p) in row.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            last = arm;
            left -= p;
            if left < 0.0 {
                break;
            }
        }
        last
    };
    probabilities.chunks_exact(m).map(draw).collect()
}

/// What was done and how it went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Actions<'a> {
    /// Arm of each query.
    pub(super) arms: &'a [usize],
    /// Its advantage.
    pub(super) advantages: &'a [f32],
    /// Probability it was drawn with.
    pub(super) drawn_with: &'a [f32],
}

/// Gradient `(n, m)`, with respect to the outputs, of the clipped surrogate with an entropy bonus:
///
/// `-1/n sum_i min(r_i A_i, clip(r_i, 1 - c, 1 + c) A_i) - beta/n sum_i H(p_i)`, `r_i = p_i(a_i) / drawn_with_i`
/// (PPO, arXiv 1707.06347, equation 7). With `clip` infinite and `drawn_with` the present probabilities it is
/// REINFORCE.
pub(super) fn surrogate(
    probabilities: &[f32],
    m: usize,
    actions: Actions<'_>,
    clip: f32,
    entropy: f32,
) -> Vec<f32> {
    let n = actions.arms.len();
    let mut out = vec![0.0; n * m];
    for (i, (p, g)) in probabilities.chunks_exact(m).zip(out.chunks_exact_mut(m)).enumerate() {
        let (arm, advantage) = (actions.arms[i], actions.advantages[i]);
        let ratio = p[arm] / actions.drawn_with[i].max(f32::MIN_POSITIVE);
        let beyond = if advantage >= 0.0 { ratio > 1.0 + clip } else { ratio < 1.0 - clip };
        let push = if beyond { 0.0 } else { ratio * advantage };
        let own_entropy: f32 = -p.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f32>();
        for (k, (p, g)) in p.iter().zip(g).enumerate() {
            if *p > 0.0 {
                let chosen = f32::from(k == arm);
                // d log p_a / d z_k = [k = a] - p_k; d H / d z_k = -p_k (ln p_k + H)
                *g = (-push * (chosen - p) + entropy * p * (p.ln() + own_entropy)) / n as f32;
            }
        }
    }
    out
}

/// Moves the numbers to mean 0 and standard deviation 1.
pub(super) fn standardize(values: &mut [f32]) {
    let n = values.len().max(1) as f32;
    let mean = values.iter().sum::<f32>() / n;
    let sd = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n).sqrt().max(1e-6);
    values.iter_mut().for_each(|v| *v = (*v - mean) / sd);
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::rng;

    /// The loss of which [`surrogate`] is the gradient.
    fn loss(z: &[f32], allowed: &[bool], actions: Actions<'_>, clip: f32, entropy: f32) -> f64 {
        let p = softmax(z, allowed, 3);
        let n = actions.arms.len();
        let one = |i: usize| {
            let (p, a) = (&p[i * 3..i * 3 + 3], f64::from(actions.advantages[i]));
            let r = f64::from(p[actions.arms[i]] / actions.drawn_with[i]);
            let clipped = r.clamp(1.0 - f64::from(clip), 1.0 + f64::from(clip));
            let h: f64 = -p.iter().filter(|p| **p > 0.0).map(|p| f64::from(p * p.ln())).sum::<f64>();
            -(r * a).min(clipped * a) - f64::from(entropy) * h
        };
        (0..n).map(one).sum::<f64>() / n as f64
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let z = [0.3, -0.5, 0.9, 1.2, 0.1, -0.4, 0.0, 0.2, 0.4];
        let allowed = [true, true, true, true, false, true, true, true, true];
        let actions =
            Actions { arms: &[2, 0, 1], advantages: &[0.7, -1.1, 0.4], drawn_with: &[0.4, 0.9, 0.1] };
        for (clip, entropy) in [(0.2, 0.0), (0.2, 0.05), (f32::INFINITY, 0.01)] {
            let gradient = surrogate(&softmax(&z, &allowed, 3), 3, actions, clip, entropy);
            for at in 0..9 {
                let shifted = |by: f32| {
                    let mut z = z;
                    z[at] += by;
                    loss(&z, &allowed, actions, clip, entropy)
                };
                let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
                assert!((f64::from(gradient[at]) - slope).abs() < 1e-3, "{gradient:?}: {slope} at {at}");
            }
        }
    }

    #[test]
    fn masked_arms_are_never_drawn_and_draws_follow_the_probabilities() {
        let p = softmax(&[5.0, 0.0, 3.0_f32.ln()], &[false, true, true], 3);
        assert!(p[0] == 0.0 && (p[1] - 0.25).abs() < 1e-6 && (p[2] - 0.75).abs() < 1e-6);
        let mut rng = rng::stream(1, "sample");
        let second = (0..2000).filter(|_| sample(&p, 3, &mut rng)[0] == 1).count();
        assert!((430..570).contains(&second), "{second}");
        let mut values = [1.0, 2.0, 3.0];
        standardize(&mut values);
        assert!((values[2] - 1.224_744_9).abs() < 1e-5 && values[1].abs() < 1e-6);
    }
}
