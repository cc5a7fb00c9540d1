//! Baseline: the arm of the best mean score on train within the query's source.

use super::means;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use routewright_policy::SelectorSpec;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<SourceBest>(
    "the best arm of each source on train",
    None,
    Family::Baseline,
    &[Need::Source],
);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct SourceBest;

/// It has no parameters.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::methods) struct Params {}

impl Method for SourceBest {
    const NAME: &'static str = "source-best";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let mut fitted = Fitted::new(Box::new(means::by_source(context.train, context.average)), params);
        fitted.selector = SelectorSpec::named("argmax");
        Ok(fitted)
    }
}
