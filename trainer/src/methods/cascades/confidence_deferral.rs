//! When does confidence-based cascade deferral suffice? (Jitkrittum et al., NeurIPS 2023, arXiv 2307.02764): a cascade
//! that passes an answer on by confidence, or by a predicted gain of the reference.
//!
//! With `p1` the option probabilities of the answer in hand and `p2` those of the reference:
//!
//! ```text
//! chow        keep where max p1 is large                  (Chow's rule)
//! diff-01     keep where E[s1 - s2 | p1] is large         (section 4, Diff-01)
//! diff-prob   keep where E[p1(y) - p2(y) | p1] is large   (Diff-Prob; y the right option)
//! maxprob-2   keep where E[max p1 - max p2 | p1] is large (MaxProb-2; needs no labels)
//! ```
//! `p1` is read as its maximum, margin, entropy and distance to uniform. Program `cascade`; an answer without option
//! probabilities is passed on.
//!
//! # Deviations from the paper
//! 1. The estimators are ridge regressions on four numbers of `p1`; the paper trains small networks on its sorted
//!    probabilities.
//! 2. The right option is not in a log: where the model is wrong, it is taken to share what the chosen option leaves
//!    with the other wrong ones.
//! 3. Gains are those of the reference, the arm of the greatest mean score, whichever arm comes next in an order.
//! 4. The rule is chosen by the area under the deferral curve on a slice of train; orders and thresholds are searched
//!    (`chain.rs`), the paper compares rules at given deferral rates.

use super::chain::ChainParams;
use super::confidence::{self, Reading, Rule};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Reads};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<ConfidenceDeferral>(
    "a cascade: an answer is passed on by its option probabilities, or by the gain predicted from them",
    Some("2307.02764"),
    Family::After,
    &[],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct ConfidenceDeferral;

/// Parameters; a list is a grid of which a slice picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// Search, default and promise.
    #[serde(flatten)]
    chain: ChainParams,
    /// Deferral rules: `chow`, `diff-01`, `diff-prob`, `maxprob-2`.
    rule: Vec<String>,
    /// Penalty of the learned rules, above 0.
    penalty: f64,
}

impl Default for Params {
    fn default() -> Self {
        let rule = ["chow", "diff-01", "diff-prob", "maxprob-2"].map(str::to_owned).to_vec();
        Self { chain: ChainParams::default(), rule, penalty: 10.0 }
    }
}

impl Method for ConfidenceDeferral {
    const NAME: &'static str = "confidence-deferral";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let options = ["option_max", "option_margin", "option_entropy", "option_distance"];
        let all = [
            Rule::new("chow", &options[..1], Reading::Single),
            Rule::new("diff-01", &options, Reading::Diff01),
            Rule::new("diff-prob", &options, Reading::DiffProb),
            Rule::new("maxprob-2", &options, Reading::MaxProb2),
        ];
        let rules = confidence::named(Self::NAME, "rule", &params.rule, &all)?;
        let used = |rule: &str| Params { rule: vec![rule.to_owned()], ..params.clone() };
        confidence::fit(Self::NAME, &params.chain, &rules, params.penalty, context, used)
    }
}
