//! Baseline: a uniformly random arm for every query.

use super::means;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow};
use routewright_policy::SelectorSpec;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow =
    MethodRow::of::<Random>("a uniformly random arm", None, Family::Baseline, &[]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Random;

/// It has no parameters.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::methods) struct Params {}

impl Method for Random {
    const NAME: &'static str = "random";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let mut fitted = Fitted::new(Box::new(means::overall(context.train, context.average)), params);
        fitted.selector = SelectorSpec::named("uniform");
        Ok(fitted)
    }
}
