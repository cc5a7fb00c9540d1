//! LinUCB with disjoint arms (Li et al., arXiv 1003.0146, algorithm 1).
//!
//! `argmax_m theta_m . x + alpha * noise * sqrt(x' A_m^-1 x)`, `A_m = precision I + sum x x'`. Deviations:
//! 1. the ridge need not be 1, and the inverse starts from its inverse (a peer starts from the ridge itself);
//! 2. a prior mean, here the same reward for every arm through the intercept;
//! 3. forgetting, if asked for, keeps the ridge whole, see `policy::online`;
//! 4. with `shared`, coefficients that all arms have in common (algorithm 2, hybrid), of the query's features too,
//!    see `policy::online::Shared`.
//!
//! Any other explorer may take the place of the bound: `--set 'explorer={name="squarecb"}'`.

use super::linear::{self, Params};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, OnlineMethod};
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<LinUcb>(
    "linear bandit: greatest upper confidence bound",
    Some("1003.0146"),
    Family::Before,
    &[Need::Features],
)
.online::<LinUcb>();

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct LinUcb;

/// [`Params`] with the upper confidence bound.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::methods) struct LinUcbParams(Params);

impl Default for LinUcbParams {
    fn default() -> Self {
        let settings = serde_json::json!({ "alpha": 0.5 });
        Self(Params::exploring(SelectorSpec { name: "ucb".to_owned(), settings }))
    }
}

impl Method for LinUcb {
    const NAME: &'static str = "linucb";
    type Params = LinUcbParams;

    fn fit(params: &LinUcbParams, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        linear::fit(Self::NAME, &params.0, Self::start(params, context)?, context)
    }
}

impl OnlineMethod for LinUcb {
    fn start(params: &LinUcbParams, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        linear::start(Self::NAME, &params.0, None, context)
    }
}
