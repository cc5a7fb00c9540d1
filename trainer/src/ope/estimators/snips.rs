//! Self-normalised inverse propensity scoring: `sum w r / sum w` (Swaminathan and Joachims 2015).
//!
//! Never leaves the range of the rewards, does not change when a constant is added to all of them, and is
//! consistent; its bias is of the order of one over the number of rounds.

use super::{Estimator, Parameters, Round, Terms};

pub(super) const ROW: Estimator = Estimator {
    name: "snips",
    title: "self-normalised inverse propensity scoring",
    is_normalized: true,
    parameter: None,
    residual: Some(|round| round.reward),
    terms,
};

fn terms(round: &Round, _: &Parameters) -> Terms {
    Terms::ratio(round.importance * round.reward, round.importance)
}
