//! Folds of logged decisions: equal questions never stand on both sides.

use routewright_data::log::DecisionRow;
use routewright_data::row_keys;

pub(super) fn question(row: &DecisionRow) -> Option<u64> {
    row_keys::of_text(row.prompt.as_deref().unwrap_or_default(), row.features.as_deref())
}

/// What folds are dealt by: equal questions never stand on both sides.
pub(super) fn fold_key(row: &DecisionRow) -> u64 {
    question(row).unwrap_or_else(|| row_keys::of_row(row))
}

/// Fold of a row with that key.
pub(super) fn fold(key: u64, n_folds: usize) -> usize {
    (key % n_folds.max(1) as u64) as usize
}
