//! The losses and their gradients, by hand. One function a loss; `n` queries, `m` arms, width `d`.
//!
//! Each adds its gradient to a buffer and returns its value. The burn versions, from which gradients
//! follow by themselves, stand in `autodiff.rs`; the tests there hold one against the other.

use super::targets::{ClusterTargets, ContrastTargets, Duel, ScoreLoss};
use routewright_data::dense::{exp, sigmoid};

/// The sample-LLM loss of RouterDC (arXiv 2409.19886, section 3) on cosines `(n, m)`:
///
/// `1/n sum_i sum_{p in P_i} w_ip ln(1 + sum_{q in N_i} exp((c_iq - c_ip) / T))`,
///
/// which is `-log softmax` of each positive among itself and the negatives (not the other positives).
/// A query without a counting positive contributes nothing.
pub(super) fn sample_llm(cosines: &[f32], m: usize, t: &ContrastTargets, grad: &mut [f32]) -> f32 {
    let n = cosines.len() / m;
    let (kp, kn) = (t.n_positives, t.n_negatives);
    let scale = 1.0 / n as f32;
    let mut loss = 0.0;
    let mut odds = vec![0.0_f32; kn];
    for i in 0..n {
        let (c, g) = (&cosines[i * m..(i + 1) * m], &mut grad[i * m..(i + 1) * m]);
        let negatives = &t.negatives[i * kn..(i + 1) * kn];
        let counts = &t.negative_weight[i * kn..(i + 1) * kn];
        for p in i * kp..(i + 1) * kp {
            let weight = t.positive_weight[p] * scale;
            if weight == 0.0 {
                continue;
            }
            let positive = t.positives[p] as usize;
            for ((odd, &q), count) in odds.iter_mut().zip(negatives).zip(counts) {
                *odd = count * exp((c[q as usize] - c[positive]) / t.temperature);
            }
            let total = 1.0 + odds.iter().sum::<f32>();
            loss += weight * total.ln();
            let pull = weight / (total * t.temperature);
            for (odd, &q) in odds.iter().zip(negatives) {
                g[q as usize] += pull * odd;
                g[positive] -= pull * odd;
            }
        }
    }
    loss
}

/// The sample-sample loss of RouterDC (same section) on unit vectors `u` `(n, d)`:
///
/// `lambda / |A| sum_{i in A} ln(1 + sum_{h} exp((u_i . u_h - u_i . u_mate) / T))` over the anchors `A` that
/// have a mate and enough outsiders.
pub(super) fn sample_sample(units: &[f32], d: usize, t: &ClusterTargets, grad: &mut [f32]) -> f32 {
    let n = units.len() / d;
    let width = 1 + t.n_outsiders;
    let n_anchors = t.weight.iter().sum::<f32>().max(1.0);
    let unit = |i: u32| &units[i as usize * d..(i as usize + 1) * d];
    let mut loss = 0.0;
    let mut odds = vec![0.0_f32; width];
    for i in 0..n {
        let weight = t.weight[i] * t.scale / n_anchors;
        if weight == 0.0 {
            continue;
        }
        let members = &t.members[i * width..(i + 1) * width];
        for (odd, &member) in odds.iter_mut().zip(members) {
            *odd = dot(unit(i as u32), unit(member)) / t.temperature;
        }
        let mate = odds[0];
        odds[1..].iter_mut().for_each(|odd| *odd = exp(*odd - mate));
        let outside = odds[1..].iter().sum::<f32>();
        let total = 1.0 + outside;
        loss += weight * total.ln();
        odds[0] = -outside;
        let pull = weight / (total * t.temperature);
        for (odd, &member) in odds.iter().zip(members) {
            add_scaled(&mut grad[i * d..(i + 1) * d], pull * odd, unit(member));
            let member = member as usize;
            add_scaled(&mut grad[member * d..(member + 1) * d], pull * odd, unit(i as u32));
        }
    }
    loss
}

/// Mean squared error, or mean binary cross-entropy of `sigmoid(z)`, over the cells of `labels` `(n, m)`
/// that are present; `z` are the sums of the head.
pub(super) fn scores(z: &[f32], labels: &[f32], kind: ScoreLoss, grad: &mut [f32]) -> f32 {
    let present = labels.iter().filter(|y| !y.is_nan()).count().max(1) as f32;
    let mut loss = 0.0;
    for ((&z, &y), g) in z.iter().zip(labels).zip(grad) {
        if y.is_nan() {
            continue;
        }
        match kind {
            ScoreLoss::Mse => {
                loss += (z - y) * (z - y) / present;
                *g += 2.0 * (z - y) / present;
            }
            ScoreLoss::Bce => {
                loss += softplus(z) / present - y * z / present;
                *g += (sigmoid(z) - y) / present;
            }
        }
    }
    loss
}

/// Mean over the queries with a target of `KL(q || softmax(z))`, the softmax taken over the arms that have a target.
///
/// With `q` from rewards it is the loss of ZOOTER (arXiv 2311.08692); the cross-entropy with soft labels
/// of TO-Router (arXiv 2408.12320) is the same plus the entropy of `q`, so both have the gradient `softmax(z) - q`.
pub(super) fn divergence(z: &[f32], targets: &[f32], m: usize, grad: &mut [f32]) -> f32 {
    let rows = || z.chunks_exact(m).zip(targets.chunks_exact(m));
    let is_judged = |q: &[f32]| q.iter().any(|q| !q.is_nan());
    let scale = 1.0 / rows().filter(|(_, q)| is_judged(q)).count().max(1) as f32;
    let mut loss = 0.0;
    for ((z, q), grad) in rows().zip(grad.chunks_exact_mut(m)) {
        if !is_judged(q) {
            continue;
        }
        let present = || z.iter().zip(q).filter(|(_, q)| !q.is_nan());
        let greatest = present().fold(f32::NEG_INFINITY, |greatest, (z, _)| greatest.max(*z));
        let total: f32 = present().map(|(z, _)| exp(z - greatest)).sum();
        let log_total = total.ln();
        for ((z, &q), grad) in z.iter().zip(q).zip(grad).filter(|((_, q), _)| !q.is_nan()) {
            let log_p = z - greatest - log_total;
            let entropy = if q > 0.0 { q * q.ln() } else { 0.0 };
            loss += scale * (entropy - q * log_p);
            *grad += scale * (exp(log_p) - q);
        }
    }
    loss
}

/// The pairwise logistic loss of RouteLLM's matrix factorization (arXiv 2406.18665, its Bradley-Terry form)
/// on strengths `z` `(n, m)`: the mean of `ln(1 + exp(z_loser - z_winner))` over all two arms of a query whose logged
/// scores differ.
pub(super) fn preferences(z: &[f32], labels: &[f32], m: usize, grad: &mut [f32]) -> f32 {
    let pairs = || {
        labels.chunks_exact(m).enumerate().flat_map(move |(i, row)| {
            let arms = (0..m).flat_map(move |a| (0..m).map(move |b| (a, b)));
            arms.filter(move |&(a, b)| row[a] > row[b]).map(move |(a, b)| (i * m + a, i * m + b))
        })
    };
    let scale = 1.0 / pairs().count().max(1) as f32;
    let mut loss = 0.0;
    for (winner, loser) in pairs() {
        let margin = z[loser] - z[winner];
        loss += scale * softplus(margin);
        let pull = scale * sigmoid(margin);
        grad[loser] += pull;
        grad[winner] -= pull;
    }
    loss
}

/// The pairwise logistic loss of judged duels on strengths `z`: the mean by weight of
/// `share ln(1 + exp(z_b - z_a)) + (1 - share) ln(1 + exp(z_a - z_b))`.
pub(super) fn duels(z: &[f32], duels: &[Duel], grad: &mut [f32]) -> f32 {
    let total: f32 = duels.iter().map(|duel| duel.weight).sum();
    if total <= 0.0 {
        return 0.0;
    }
    let mut loss = 0.0;
    for duel in duels {
        let (a, b) = (duel.a as usize, duel.b as usize);
        let (margin, scale) = (z[b] - z[a], duel.weight / total);
        loss += scale * (softplus(margin) - (1.0 - duel.share) * margin);
        let pull = scale * (sigmoid(margin) - (1.0 - duel.share));
        grad[b] += pull;
        grad[a] -= pull;
    }
    loss
}

/// `ln(1 + exp(x))`, stable.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Eight running sums, so that the loop vectorises.
    let mut sums = [0.0_f32; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (a, b) in a8.iter().zip(b8) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

pub(super) fn add_scaled(out: &mut [f32], factor: f32, x: &[f32]) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out += factor * x);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference: torch 2.15.0 (`logsumexp`, autograd) on the inputs below.
    #[test]
    fn sample_llm_equals_pytorch() {
        let cosines = [0.1, -0.2, 0.5, 0.3, 0.9, 0.0, -0.4, 0.2];
        let t = ContrastTargets {
            n_positives: 2,
            n_negatives: 2,
            positives: vec![2, 0, 1, 0],
            positive_weight: vec![1.0, 1.0, 1.0, 0.0],
            negatives: vec![1, 3, 2, 3],
            negative_weight: vec![1.0, 1.0, 1.0, 0.0],
            temperature: 0.5,
            cluster: None,
        };
        let mut grad = vec![0.0; 8];
        let loss = sample_llm(&cosines, 4, &t, &mut grad);
        assert_near(&[loss], &SAMPLE_LLM_LOSS);
        assert_near(&grad, &SAMPLE_LLM_GRAD);
    }

    /// Reference: torch 2.15.0, as above.
    #[test]
    fn sample_sample_equals_pytorch() {
        let units = [0.6, 0.8, 1.0, 0.0, 0.0, 1.0, -0.8, 0.6];
        let t = ClusterTargets {
            n_outsiders: 2,
            members: vec![1, 2, 3, 0, 2, 3, 3, 0, 1, 0, 0, 0],
            weight: vec![1.0, 1.0, 1.0, 0.0],
            temperature: 0.5,
            scale: 0.7,
        };
        let mut grad = vec![0.0; 8];
        let loss = sample_sample(&units, 2, &t, &mut grad);
        assert_near(&[loss], &SAMPLE_SAMPLE_LOSS);
        assert_near(&grad, &SAMPLE_SAMPLE_GRAD);
    }

    /// Reference: torch 2.15.0, `mse_loss` and `binary_cross_entropy_with_logits` on the present cells.
    #[test]
    fn score_losses_equal_pytorch_and_skip_holes() {
        let (z, y) = ([0.5, -1.0, 2.0, 0.25], [1.0, 0.0, f32::NAN, 0.5]);
        let mut grad = vec![0.0; 4];
        // ((0.5)^2 + 1 + 0.25^2) / 3; 2 (z - y) / 3
        assert_near(&[scores(&z, &y, ScoreLoss::Mse, &mut grad)], &[1.3125 / 3.0]);
        assert_near(&grad, &[-1.0 / 3.0, -2.0 / 3.0, 0.0, -0.5 / 3.0]);
        let mut grad = vec![0.0; 4];
        assert_near(&[scores(&z, &y, ScoreLoss::Bce, &mut grad)], &BCE_LOSS);
        assert_near(&grad, &BCE_GRAD);
    }

    /// Reference: the formula in double precision, Python 3 `math`.
    #[test]
    fn divergence_equals_the_formula_and_skips_holes() {
        let nan = f32::NAN;
        let z = [0.5, -1.0, 2.0, 0.3, 0.1, 9.0, 1.0, 1.0, 1.0];
        let q = [0.2, 0.5, 0.3, 0.75, 0.25, nan, nan, nan, nan];
        let mut grad = vec![0.0; 9];
        assert_near(&[divergence(&z, &q, 3, &mut grad)], &DIVERGENCE_LOSS);
        assert_near(&grad, &DIVERGENCE_GRAD);
        // A target that is met has no gradient, and a divergence of 0.
        let mut grad = vec![0.0; 2];
        assert_near(&[divergence(&[3.0, 3.0], &[0.5, 0.5], 2, &mut grad)], &[0.0]);
        assert_near(&grad, &[0.0, 0.0]);
    }

    /// Reference: torch 2.15.0, `softplus(z_loser - z_winner).mean()` over the pairs (0, 1), (2, 1) and (4, 3).
    #[test]
    fn preferences_equal_pytorch_and_skip_ties_and_holes() {
        let z = [0.2, -0.1, 0.4, 0.3, -0.5, 1.0];
        let y = [1.0, 0.0, 1.0, 0.1, 0.9, f32::NAN];
        let mut grad = vec![0.0; 6];
        assert_near(&[preferences(&z, &y, 3, &mut grad)], &PREFERENCE_LOSS);
        assert_near(&grad, &PREFERENCE_GRAD);
    }

    #[test]
    fn duels_of_weight_one_are_preferences_and_a_tie_is_half_a_win_of_either() {
        let (z, y) = ([0.2, -0.1, 0.4], [1.0, 0.0, 0.5]);
        let duel = |a, b, share, weight| Duel { a, b, share, weight };
        let (mut grad, mut want) = (vec![0.0; 3], vec![0.0; 3]);
        let loss = duels(&z, &[duel(0, 1, 1.0, 1.0), duel(1, 2, 0.0, 1.0), duel(0, 2, 1.0, 1.0)], &mut grad);
        assert_near(&[loss], &[preferences(&z, &y, 3, &mut want)]);
        assert_near(&grad, &want);
        let (mut tie, mut both) = (vec![0.0; 3], vec![0.0; 3]);
        let halves = [duel(0, 1, 1.0, 0.5), duel(1, 0, 1.0, 0.5), duel(1, 2, 1.0, 3.0)];
        let loss = duels(&z, &[duel(0, 1, 0.5, 1.0), duel(2, 1, 0.0, 3.0)], &mut tie);
        assert_near(&[loss], &[duels(&z, &halves, &mut both)]);
        assert_near(&tie, &both);
        assert_near(&[duels(&z, &[], &mut tie)], &[0.0]);
    }

    fn assert_near(found: &[f32], want: &[f32]) {
        assert_eq!(found.len(), want.len());
        for (found, want) in found.iter().zip(want) {
            assert!((found - want).abs() < 2e-6, "{found} is not {want}");
        }
    }

    const SAMPLE_LLM_LOSS: [f32; 1] = [1.0669428];
    const SAMPLE_LLM_GRAD: [f32; 8] =
        [-0.6711215, 0.3091348, -0.478_329, 0.8403157, 0.0000000, -0.3100255, 0.3100255, 0.0000000];
    const SAMPLE_SAMPLE_LOSS: [f32; 1] = [0.5514141];
    const SAMPLE_SAMPLE_GRAD: [f32; 8] =
        [-0.4638774, 0.5287126, -0.2708391, -0.1728695, 0.6923009, 0.2190642, 0.0510302, -0.2593238];
    const BCE_LOSS: [f32; 1] = [0.4960927];
    const BCE_GRAD: [f32; 4] = [-0.1258469, 0.0896471, 0.0000000, 0.0207255];
    const DIVERGENCE_LOSS: [f32; 1] = [0.548_731];
    const DIVERGENCE_GRAD: [f32; 9] =
        [-0.0123548, -0.2304437, 0.2427985, -0.100_083, 0.100_083, 0.0, 0.0, 0.0, 0.0];
    const PREFERENCE_LOSS: [f32; 1] = [0.7331777];
    const PREFERENCE_GRAD: [f32; 6] = [-0.1418525, 0.2676994, -0.1258469, 0.2299915, -0.2299915, 0.0000000];
}
