//! The estimators: one file and one row each, pure functions of a round.

use super::{OpeError, Parameter, Parameters, Round, Terms};
use routewright_data::suggest::near_names;

mod clipped_ips;
mod dm;
mod dr;
mod dros;
mod estimator;
mod ips;
mod replay;
mod sndr;
mod snips;
mod switch_dr;

pub use estimator::Estimator;

/// Every estimator, in the order of the documentation.
pub static ALL: &[Estimator] = &[
    replay::ROW,
    dm::ROW,
    ips::ROW,
    clipped_ips::ROW,
    snips::ROW,
    dr::ROW,
    sndr::ROW,
    switch_dr::ROW,
    dros::ROW,
];

/// The estimator of that name.
///
/// # Errors
/// If there is none; near names are offered.
pub fn find(name: &str) -> Result<&'static Estimator, OpeError> {
    ALL.iter().find(|row| row.name == name).ok_or_else(|| {
        let hint = near_names(name, ALL.iter().map(|row| row.name));
        OpeError::UnknownEstimator { name: name.to_owned(), hint }
    })
}

/// The estimators of a comma-separated list, in the order of [`ALL`]; `all` for every one.
///
/// # Errors
/// If a name is unknown.
pub fn select(names: &str) -> Result<Vec<&'static Estimator>, OpeError> {
    if names == "all" {
        return Ok(ALL.iter().collect());
    }
    let wanted: Vec<&Estimator> = names.split(',').map(|name| find(name.trim())).collect::<Result<_, _>>()?;
    Ok(ALL.iter().filter(|row| wanted.iter().any(|w| w.name == row.name)).collect())
}
