//! Baseline: the arm of the best mean score on train, for every query.

use super::means;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow};
use routewright_policy::SelectorSpec;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow =
    MethodRow::of::<BestSingle>("the arm of the best mean score on train", None, Family::Baseline, &[]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct BestSingle;

/// It has no parameters.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::methods) struct Params {}

impl Method for BestSingle {
    const NAME: &'static str = "best-single";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let mut fitted = Fitted::new(Box::new(means::overall(context.train, context.average)), params);
        fitted.selector = SelectorSpec::named("argmax");
        Ok(fitted)
    }
}
