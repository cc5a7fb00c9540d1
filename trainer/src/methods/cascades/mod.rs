pub(super) mod frugalgpt;
mod logistic_scorer;
mod orders;
#[cfg(test)]
mod toy;
