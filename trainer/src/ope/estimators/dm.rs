//! The direct method: what the reward model says of the target policy (Beygelzimer and Langford 2009).
//!
//! As wrong as the model, with an interval that does not show it: never to be read alone.

use super::{Estimator, Parameters, Round, Terms};

pub(super) const ROW: Estimator = Estimator {
    name: "dm",
    title: "direct method: the reward model alone, as biased as it is",
    is_normalized: false,
    parameter: None,
    residual: None,
    terms,
};

fn terms(round: &Round, _: &Parameters) -> Terms {
    Terms::mean(round.q_target)
}
