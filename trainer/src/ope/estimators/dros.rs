//! Doubly robust with optimistic shrinkage: weights become `lambda w / (w^2 + lambda)` (Su, Dimakopoulou,
//! Krishnamurthy and Dudik 2020).

use super::{Estimator, Parameter, Parameters, Round, Terms};

pub(super) const ROW: Estimator = Estimator {
    name: "dros",
    title: "doubly robust with weights shrunk by `lambda`",
    is_normalized: false,
    parameter: Some(Parameter::Lambda),
    residual: Some(|round| round.reward - round.q_logged),
    terms,
};

fn terms(round: &Round, parameters: &Parameters) -> Terms {
    let (w, lambda) = (round.importance, parameters.lambda);
    let weight = if lambda > 0.0 { w / (w * w / lambda + 1.0) } else { 0.0 };
    Terms::mean(round.q_target + weight * (round.reward - round.q_logged))
}
