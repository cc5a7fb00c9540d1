//! The row an estimator is registered by.

use crate::ope::{Parameter, Parameters, Round, Terms};

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
    /// What the importance weight, as `parameter` shrinks it, multiplies; `None` where it plays no part.
    pub residual: Option<fn(&Round) -> f64>,
    /// What it makes of a round.
    pub terms: fn(&Round, &Parameters) -> Terms,
}
