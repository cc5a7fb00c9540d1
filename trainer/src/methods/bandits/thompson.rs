//! Thompson sampling with a Beta(1, 1) belief about each arm, overall, by source or by cluster.
//!
//! A reward in `[0, 1]` counts as that fraction of a success. Deviation: how often an arm is the best is computed
//! with normal beliefs of the same mean and variance, and drawn from; so the log gets the exact propensity.

use super::plain::{self, Params};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, OnlineMethod};
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use routewright_policy::forms::Rule;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Thompson>(
    "Thompson sampling with Beta beliefs, without features",
    None,
    Family::Before,
    &[],
)
.online::<Thompson>();

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Thompson;

impl Method for Thompson {
    const NAME: &'static str = "thompson";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        plain::fit(Self::start(params, context)?, params, context)
    }
}

impl OnlineMethod for Thompson {
    fn start(params: &Params, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        let settings = serde_json::json!({ "scale": 1.0 });
        let explorer = SelectorSpec { name: "thompson".to_owned(), settings };
        plain::start(Self::NAME, Rule::Beta { a: 1.0, b: 1.0 }, explorer, params, context)
    }
}
