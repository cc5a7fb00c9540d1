//! Inverse propensity scoring: the mean of `w r` (Horvitz and Thompson 1952).
//!
//! Unbiased where the logging policy gives every arm of the target a probability; its variance grows with
//! the weights.

use super::{Estimator, Parameters, Round, Terms};

pub(super) const ROW: Estimator = Estimator {
    name: "ips",
    title: "inverse propensity scoring: unbiased, of great variance",
    is_normalized: false,
    parameter: None,
    residual: Some(|round| round.reward),
    terms,
};

fn terms(round: &Round, _: &Parameters) -> Terms {
    Terms::mean(round.importance * round.reward)
}
