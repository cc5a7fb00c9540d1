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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{near, prediction};

    #[test]
    fn entropy_runs_from_sure_to_no_opinion() {
        assert!(near(score_entropy_bits(&prediction(4, &[0.5; 8], &[0.0; 8])).unwrap(), 2.0));
        // p = (3/4, 1/4): 0.75 * log2(4/3) + 0.25 * 2
        let found = score_entropy_bits(&prediction(2, &[3.0_f32.ln(), 0.0], &[0.0; 2])).unwrap();
        assert!((found - 0.811_278_124_459).abs() < 1e-6, "{found}");
        assert_eq!(score_entropy_bits(&prediction(2, &[1e4, 0.0], &[0.0; 2])), Some(0.0));
        assert_eq!(score_entropy_bits(&prediction(2, &[], &[])), None);
    }

    #[test]
    fn the_ratio_is_to_the_best_single_model() {
        let single = |score| SingleModel { model: String::new(), score, cost_usd: None };
        assert!(near(ratio_to_best_single(0.9, &[single(0.5), single(0.75)]).unwrap(), 1.2));
        assert_eq!(ratio_to_best_single(0.0, &[single(0.0)]), None);
    }
}
