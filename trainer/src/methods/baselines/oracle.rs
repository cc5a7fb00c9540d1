//! Baseline: the best arm of every query, known only after the fact. Evaluation computes it.

use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Oracle>(
    "the best arm of every query, known only after the fact",
    None,
    Family::Baseline,
    &[Need::Outcomes],
);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Oracle;

/// It has no parameters.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::methods) struct Params {}

impl Method for Oracle {
    const NAME: &'static str = "oracle";
    type Params = Params;

    fn fit(_: &Params, _: &FitContext<'_>) -> Result<Fitted, FitError> {
        let reason = "it needs the outcomes of the queries it decides on; `evaluate` and `compare` print it"
            .to_owned();
        Err(FitError::Log { method: Self::NAME, reason })
    }
}
