pub(super) mod automix;
mod bin_tables;
pub(super) mod cascade_routing;
mod chain;
mod confidence;
pub(super) mod confidence_deferral;
pub(super) mod frugalgpt;
pub(super) mod gain_gate;
mod gate_rows;
mod logistic_scorer;
pub(super) mod model_cascading;
pub(super) mod mot_cascade;
mod orders;
mod routing_rows;
mod text_scorer;
pub(super) mod token_cascade;
#[cfg(test)]
mod toy;
