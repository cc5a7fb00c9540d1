pub(super) mod gram;
pub(super) mod logistic;
pub(super) mod mlp;
pub(super) mod ridge;
pub(super) mod routellm_mf;
pub(super) mod systems;
