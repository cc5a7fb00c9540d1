//! How decided a router is (RouterEval, arXiv 2503.10657).
//!
//! `E_p` is the mean entropy of the softmax of its scores, in bits: from 0 (always sure) to log2 of the
//! number of arms (no opinion). Neither direction is better in itself: a low one beside a flat arm share
//! is a decided router, beside a single arm it is classification bias. `V_B` is the policy's score over
//! that of the best single model: a ratio, higher is better, above 1 routing pays.

use super::SingleModel;
use routewright_policy::Prediction;

/// `E_p`: mean over queries of the entropy of `softmax(score)`, in bits; `None` without queries.
pub fn score_entropy_bits(prediction: &Prediction) -> Option<f64> {
    let n = prediction.n_queries();
    let total: f64 = (0..n).map(|query| entropy_bits(prediction.row(query).score)).sum();
    (n > 0).then(|| total / n as f64)
}

/// `V_B`: `score` over the greatest score of a single model; `None` where that is 0.
pub fn ratio_to_best_single(score: f64, singles: &[SingleModel]) -> Option<f64> {
    let best = singles.iter().map(|single| single.score).fold(0.0, f64::max);
    (best > 0.0).then(|| score / best)
}

fn entropy_bits(scores: &[f32]) -> f64 {
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = scores.iter().map(|s| (f64::from(*s) - f64::from(greatest)).exp()).collect();
    let total: f64 = weights.iter().sum();
    // -sum p log2 p with p = w / total; a weight that underflowed to 0 adds nothing.
    weights.iter().map(|w| w / total).filter(|p| *p > 0.0).map(|p| -p * p.log2()).sum()
}
