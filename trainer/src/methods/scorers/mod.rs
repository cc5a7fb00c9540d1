mod gram;
pub(super) mod logistic;
pub(super) mod ridge;
