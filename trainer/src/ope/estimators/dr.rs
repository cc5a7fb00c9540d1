//! Doubly robust: the reward model, corrected by its weighted error on the logged arm (Dudik, Langford and Li
//! 2011).
//!
//! Unbiased where the propensities are right, whatever the model, since the model has not seen the round
//! (cross-fitting); the better the model, the less its variance.

use super::{Estimator, Parameters, Round, Terms};

pub(super) const ROW: Estimator = Estimator {
    name: "dr",
    title: "doubly robust: the reward model corrected by its weighted error",
    is_normalized: false,
    parameter: None,
    residual: Some(|round| round.reward - round.q_logged),
    terms,
};

fn terms(round: &Round, _: &Parameters) -> Terms {
    Terms::mean(round.q_target + round.importance * (round.reward - round.q_logged))
}
