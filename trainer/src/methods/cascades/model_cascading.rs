//! Model cascading (Varshney and Baral, EMNLP 2022, arXiv 2210.05528): return the first answer whose model is sure of
//! it.
//!
//! The certainty of an answer to a question with options is the greatest probability of an option (`maxprob`) or the
//! distance of the probabilities to uniform (`dtu`). Program `cascade`; an answer without option probabilities is
//! passed on.
//!
//! # Deviations from the paper
//! 1. Orders and thresholds are searched (`chain.rs`); the paper goes from the smallest model to the largest and tries
//!    thresholds by hand.
//! 2. The measure is chosen by the area under the deferral curve on a slice of train.
//! 3. The baselines `random` and `heuristic` (the length of the input) are left out.

use super::chain::ChainParams;
use super::confidence::{self, Reading, Rule};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Reads};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<ModelCascading>(
    "a cascade: the first answer whose model is sure of its option",
    Some("2210.05528"),
    Family::After,
    &[],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct ModelCascading;

/// Parameters; a list is a grid of which a slice picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// Search, default and promise.
    #[serde(flatten)]
    chain: ChainParams,
    /// What certainty is: `maxprob`, `dtu`.
    measure: Vec<String>,
}

impl Default for Params {
    fn default() -> Self {
        let chain = ChainParams { slices: [0.1, 0.55, 0.35], ..ChainParams::default() };
        Self { chain, measure: ["maxprob", "dtu"].map(str::to_owned).to_vec() }
    }
}

impl Method for ModelCascading {
    const NAME: &'static str = "model-cascading";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let all = [
            Rule::new("maxprob", &["option_max"], Reading::Single),
            Rule::new("dtu", &["option_distance"], Reading::Single),
        ];
        let rules = confidence::named(Self::NAME, "measure", &params.measure, &all)?;
        let used = |rule: &str| Params { measure: vec![rule.to_owned()], ..params.clone() };
        confidence::fit(Self::NAME, &params.chain, &rules, 1.0, context, used)
    }
}
