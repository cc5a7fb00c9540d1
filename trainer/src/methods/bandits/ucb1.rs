//! UCB1 (Auer, Cesa-Bianchi and Fischer 2002): mean plus `sqrt(2 ln t / n)`, overall, by source or by cluster.

use super::plain::{self, Params};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, OnlineMethod};
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use routewright_policy::forms::Rule;

pub(in crate::methods) const ROW: MethodRow =
    MethodRow::of::<Ucb1>("greatest upper confidence bound without features", None, Family::Before, &[])
        .online::<Ucb1>();

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Ucb1;

impl Method for Ucb1 {
    const NAME: &'static str = "ucb1";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        plain::fit(Self::start(params, context)?, params, context)
    }
}

impl OnlineMethod for Ucb1 {
    fn start(params: &Params, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        let settings = serde_json::json!({ "alpha": 1.0 });
        let explorer = SelectorSpec { name: "ucb".to_owned(), settings };
        plain::start(Self::NAME, Rule::Ucb1, explorer, params, context)
    }
}
