//! Bagging: an ensemble of linear bandits on resampled rewards, each with one vote (the online bootstrap, Eckles
//! and Kaptein, arXiv 1312.6228; "bag" of Bietti et al., arXiv 1802.04064).
//!
//! Deviations:
//! 1. a member is a ridge regression of the reward, not a policy trained by a reduction;
//! 2. members start from draws of the prior (arXiv 1806.03335), so that they differ before any reward;
//! 3. resamples are hashed from the decision, so that rewards may arrive in any order, and be taken back.

use super::linear::{self, EnsembleParams, Params};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, OnlineMethod};
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Bagging>(
    "linear bandits on resampled rewards, each with one vote",
    Some("1312.6228"),
    Family::Before,
    &[Need::Features],
)
.online::<Bagging>();

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Bagging;

/// [`EnsembleParams`] with votes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::methods) struct BaggingParams(EnsembleParams);

impl Default for BaggingParams {
    fn default() -> Self {
        let linear = Params::exploring(SelectorSpec::named("votes"));
        Self(EnsembleParams { members: 10, spread: 0.3, linear })
    }
}

impl Method for Bagging {
    const NAME: &'static str = "bagging";
    type Params = BaggingParams;

    fn fit(params: &BaggingParams, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let bandit = Self::start(params, context)?;
        linear::fit_as(Self::NAME, &params.0.linear, params, bandit, context)
    }
}

impl OnlineMethod for Bagging {
    fn start(params: &BaggingParams, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        linear::start_ensemble(Self::NAME, &params.0, context)
    }
}
