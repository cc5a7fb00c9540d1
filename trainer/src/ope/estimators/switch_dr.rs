//! Doubly robust where the weight is at most `tau`, the reward model alone elsewhere (Wang, Agarwal and Dudik
//! 2017, "Optimal and adaptive off-policy evaluation in contextual bandits").

use super::{Estimator, Parameter, Parameters, Round, Terms};

pub(super) const ROW: Estimator = Estimator {
    name: "switch-dr",
    title: "doubly robust for weights of at most `tau`, the reward model elsewhere",
    is_normalized: false,
    parameter: Some(Parameter::Tau),
    residual: Some(|round| round.reward - round.q_logged),
    terms,
};

fn terms(round: &Round, parameters: &Parameters) -> Terms {
    let weight = if round.importance <= parameters.tau { round.importance } else { 0.0 };
    Terms::mean(round.q_target + weight * (round.reward - round.q_logged))
}
