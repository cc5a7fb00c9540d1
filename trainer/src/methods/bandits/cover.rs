//! Online cover: an ensemble of linear bandits whose votes are drawn to arms that few have voted for (Agarwal et
//! al., arXiv 1402.0555; algorithm 5 of Bietti et al., arXiv 1802.04064).
//!
//! Deviations:
//! 1. the bonus of an arm that few voted for is added when a member votes, not to the rewards it is trained on;
//! 2. members differ by resampled rewards and prior means besides, see `bagging`;
//! 3. a member is a ridge regression of the reward, not a policy trained by a reduction.

use super::linear::{self, EnsembleParams, Params};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, OnlineMethod};
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Cover>(
    "linear bandits whose votes are drawn to arms that few have voted for",
    Some("1402.0555"),
    Family::Before,
    &[Need::Features],
)
.online::<Cover>();

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Cover;

/// [`EnsembleParams`] with the cover.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::methods) struct CoverParams(EnsembleParams);

impl Default for CoverParams {
    fn default() -> Self {
        let settings = serde_json::json!({ "psi": 0.02 });
        let linear = Params::exploring(SelectorSpec { name: "cover".to_owned(), settings });
        Self(EnsembleParams { members: 10, spread: 0.3, linear })
    }
}

impl Method for Cover {
    const NAME: &'static str = "cover";
    type Params = CoverParams;

    fn fit(params: &CoverParams, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let bandit = Self::start(params, context)?;
        linear::fit_as(Self::NAME, &params.0.linear, params, bandit, context)
    }
}

impl OnlineMethod for Cover {
    fn start(params: &CoverParams, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        linear::start_ensemble(Self::NAME, &params.0, context)
    }
}
