//! The estimators: one file and one row each, pure functions of a round.

use super::{OpeError, Parameter, Parameters, Round, Terms};
use routewright_data::suggest::near_names;

mod clipped_ips;
mod dm;
mod dr;
mod dros;
mod ips;
mod replay;
mod sndr;
mod snips;
mod switch_dr;

/// A registered estimator.
#[derive(Debug, Clone, Copy)]
pub struct Estimator {
    /// Name on the command line and in documents.
    pub name: &'static str,
    /// What it does, in one line.
    pub title: &'static str,
    /// Whether `corrected` and `norm` of its terms are used.
    pub is_normalized: bool,
    /// The parameter it reads, where it does.
    pub parameter: Option<Parameter>,
    /// What the importance weight multiplies, where it multiplies it whole; `None` where the weight is shrunk or plays
    /// no part.
    pub residual: Option<fn(&Round) -> f64>,
    /// What it makes of a round.
    pub terms: fn(&Round, &Parameters) -> Terms,
}

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
