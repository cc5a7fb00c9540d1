//! Linear Thompson sampling with disjoint arms (Agrawal and Goyal, arXiv 1209.3352).
//!
//! Each arm as often as `theta_m . x` is the greatest under `theta_m ~ N(mean, (scale noise)^2 A_m^-1)`.
//! Deviation: the probabilities are computed and drawn from, instead of drawing coefficients; with disjoint
//! arms the scores are independent normals, so nothing is lost, and the log gets the exact propensity.

use super::linear::{self, Params};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, OnlineMethod};
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<LinTs>(
    "linear bandit: Thompson sampling with stated propensities",
    Some("1209.3352"),
    Family::Before,
    &[Need::Features],
)
.online::<LinTs>();

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct LinTs;

/// [`Params`] with Thompson sampling.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::methods) struct LinTsParams(Params);

impl Default for LinTsParams {
    fn default() -> Self {
        let settings = serde_json::json!({ "scale": 0.3 });
        Self(Params::exploring(SelectorSpec { name: "thompson".to_owned(), settings }))
    }
}

impl Method for LinTs {
    const NAME: &'static str = "lints";
    type Params = LinTsParams;

    fn fit(params: &LinTsParams, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        linear::fit(Self::NAME, &params.0, Self::start(params, context)?, context)
    }
}

impl OnlineMethod for LinTs {
    fn start(params: &LinTsParams, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        linear::start(Self::NAME, &params.0, None, context)
    }
}
