mod chain;
mod confidence;
pub(super) mod confidence_deferral;
pub(super) mod frugalgpt;
mod logistic_scorer;
pub(super) mod model_cascading;
mod orders;
pub(super) mod token_cascade;
#[cfg(test)]
mod toy;
