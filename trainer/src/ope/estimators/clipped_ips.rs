//! Inverse propensity scoring with weights of at most `clip` (Ionides 2008; Bottou et al. 2013).
//!
//! Biased downwards for rewards of at least 0, by the share of reward that the cut weights carried.

use super::{Estimator, Parameter, Parameters, Round, Terms};

pub(super) const ROW: Estimator = Estimator {
    name: "clipped-ips",
    title: "inverse propensity scoring with weights of at most `clip`",
    is_normalized: false,
    parameter: Some(Parameter::Clip),
    residual: Some(|round| round.reward),
    terms,
};

fn terms(round: &Round, parameters: &Parameters) -> Terms {
    Terms::mean(round.importance.min(parameters.clip) * round.reward)
}
