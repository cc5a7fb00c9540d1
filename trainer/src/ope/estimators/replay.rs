//! Replay: the mean reward of rounds that might as well have been the target's own (Li, Chu, Langford and
//! Wang 2011), accepted by rejection sampling.
//!
//! A round is kept with probability `w / max w`, by a number drawn for it once; the kept rounds are
//! distributed as if the target policy had decided them. Where logging was uniform and the target is
//! deterministic this keeps exactly the rounds in which both agree.
//!
//! Deviation: 1. Li et al. ask for uniform logging; plain agreement under other propensities would be biased,
//! hence the acceptance by weight.

use super::{Estimator, Parameters, Round, Terms};

pub(super) const ROW: Estimator = Estimator {
    name: "replay",
    title: "rejection sampling: rounds the target might as well have decided",
    is_normalized: true,
    parameter: None,
    residual: None,
    terms,
};

fn terms(round: &Round, parameters: &Parameters) -> Terms {
    let is_accepted = round.draw * parameters.weight_max < round.importance;
    if is_accepted { Terms::ratio(round.reward, 1.0) } else { Terms::default() }
}
