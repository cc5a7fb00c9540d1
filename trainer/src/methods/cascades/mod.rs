pub(super) mod frugalgpt;
mod logistic_scorer;
mod orders;
