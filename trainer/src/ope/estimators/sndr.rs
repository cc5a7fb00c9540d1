//! Doubly robust with a self-normalised correction: `mean q_target + sum w (r - q) / sum w` (Thomas and
//! Brunskill 2016, section 5, for one step).

use super::{Estimator, Parameters, Round, Terms};

pub(super) const ROW: Estimator = Estimator {
    name: "sndr",
    title: "doubly robust with a self-normalised correction",
    is_normalized: true,
    parameter: None,
    residual: Some(|round| round.reward - round.q_logged),
    terms,
};

fn terms(round: &Round, _: &Parameters) -> Terms {
    Terms {
        direct: round.q_target,
        corrected: round.importance * (round.reward - round.q_logged),
        norm: round.importance,
    }
}
