pub(super) mod best_single;
pub(super) mod cheapest;
pub(crate) mod means;
pub(super) mod oracle;
pub(super) mod random;
pub(super) mod source_best;
