//! Baseline: the arm of the least mean logged cost, for every query.

use super::means;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow};
use routewright_policy::SelectorSpec;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow =
    MethodRow::of::<Cheapest>("the arm of the least mean cost on train", None, Family::Baseline, &[]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Cheapest;

/// It has no parameters.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::methods) struct Params {}

impl Method for Cheapest {
    const NAME: &'static str = "cheapest";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let mut fitted = Fitted::new(Box::new(means::overall(context.train, context.average)), params);
        fitted.selector = SelectorSpec::named("cheapest");
        Ok(fitted)
    }
}
