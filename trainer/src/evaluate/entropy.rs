//! How decided a router is (RouterEval, arXiv 2503.10657).
//!
//! `E_p` is the mean entropy of the softmax of its scores, in bits: from 0 (always sure) to log2 of the
//! number of arms (no opinion). Neither direction is better in itself: a low one beside a flat arm share
//! is a decided router, beside a single arm it is classification bias.

use routewright_policy::Prediction;

/// `E_p`: mean over queries of the entropy of `softmax(score)`, in bits; `None` without queries.
pub fn score_entropy_bits(prediction: &Prediction) -> Option<f64> {
    let n = prediction.n_queries();
    let total: f64 = (0..n).map(|query| entropy_bits(prediction.row(query).score)).sum();
    (n > 0).then(|| total / n as f64)
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
}
