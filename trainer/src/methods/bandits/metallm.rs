//! MetaLLM (Nguyen et al., arXiv 2407.10834): LinUCB on `score - p * price / dearest price`, warm-started on
//! fully labelled queries.
//!
//! Written from the paper and the description of its released script. Deviations:
//! 1. the price of a call is the one logged, over the mean price of the dearest arm, not a list price;
//! 2. rank-one updates instead of an inverse per step;
//! 3. forgetting keeps the ridge (the script lets `A` decay to singular);
//! 4. the released defaults `alpha = 0`, `lambda = 12.94`, frozen after the warm start, are ridge regression:
//!    that is what `train` makes. In `simulate` the queries held out before the stream are the warm start, and
//!    learning goes on with `alpha = 0.5`. `p` is `cost`;
//! 5. a constant feature and an expected reward of 0.5 before any, neither of which the script has.

use super::linear::{self, Params};
use super::replay::{self, Told};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, OnlineMethod};
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<MetaLlm>(
    "LinUCB on score less relative price, warm-started on labelled queries",
    Some("2407.10834"),
    Family::Before,
    &[Need::Features],
)
.online::<MetaLlm>();

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct MetaLlm;

/// [`Params`] with the paper's ridge, fed every outcome of the train rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::methods) struct MetaLlmParams(Params);

impl Default for MetaLlmParams {
    fn default() -> Self {
        let settings = serde_json::json!({ "alpha": 0.5 });
        let explorer = SelectorSpec { name: "ucb".to_owned(), settings };
        let params = Params::exploring(explorer);
        Self(Params { precision: 12.94, feedback: Told::Full, ..params })
    }
}

impl Method for MetaLlm {
    const NAME: &'static str = "metallm";
    type Params = MetaLlmParams;

    fn fit(params: &MetaLlmParams, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let cold = linear::start(Self::NAME, &params.0, None, context)?;
        linear::fit(Self::NAME, &params.0, cold, context)
    }
}

impl OnlineMethod for MetaLlm {
    fn start(params: &MetaLlmParams, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        let mut bandit = linear::start(Self::NAME, &params.0, None, context)?;
        if params.0.feedback == Told::Full {
            let rows: Vec<usize> = (0..context.train.n_queries()).collect();
            replay::full(&mut bandit, &rows, context)?;
        }
        Ok(bandit)
    }
}
