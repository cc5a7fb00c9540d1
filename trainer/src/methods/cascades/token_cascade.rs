//! Language model cascades: token-level uncertainty and beyond (Gupta et al., ICLR 2024, arXiv 2404.10136): a cascade
//! that passes an answer on by the log-probabilities of its tokens.
//!
//! With `l_t` the log-probability of token `t`:
//!
//! ```text
//! chow-sum        keep where sum_t l_t is large
//! chow-average    keep where mean_t l_t is large
//! chow-quantile   keep where the a-quantile of l_t is large; a = 0 is the least certain token
//! post-hoc        keep where P(reference right, answer wrong | sum, mean, all quantiles, length) is small
//! ```
//! Program `cascade`; an answer without log-probabilities is passed on.
//!
//! # Deviations from the paper
//! 1. The post-hoc rule is logistic regression; the paper trains a network of a few layers. Embeddings of the two
//!    models (Post-hoc-Embed-1, Embed-1+2) are left out: a log has none.
//! 2. The length of the answer is among its features.
//! 3. Its target is "the reference is right, the answer is not" in place of "the next model is right": the reference is
//!    the arm of the greatest mean score, whichever arm comes next in an order.
//! 4. Rule and quantile are chosen by the area under the deferral curve on a slice of train; orders and thresholds are
//!    searched (`chain.rs`), the paper cascades two models.

use super::chain::ChainParams;
use super::confidence::{self, Reading, Rule};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Reads};
use routewright_data::answers::confidence::QUANTILE_LEVELS;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<TokenCascade>(
    "a cascade: an answer is passed on by the log-probabilities of its tokens",
    Some("2404.10136"),
    Family::After,
    &[],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct TokenCascade;

/// Parameters; a list is a grid of which a slice picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// Search, default and promise.
    #[serde(flatten)]
    chain: ChainParams,
    /// Deferral rules: `chow-sum`, `chow-average`, `chow-quantile`, `post-hoc`.
    rule: Vec<String>,
    /// Levels that `chow-quantile` tries, of those that a log keeps.
    quantile: Vec<f64>,
    /// Penalty of the learned rule, above 0.
    penalty: f64,
}

impl Default for Params {
    fn default() -> Self {
        let rule = ["chow-sum", "chow-average", "chow-quantile", "post-hoc"].map(str::to_owned).to_vec();
        let quantile = QUANTILE_LEVELS.to_vec();
        Self { chain: ChainParams::default(), rule, quantile, penalty: 10.0 }
    }
}

/// Separates the name of a rule from its quantile.
const AT: char = '@';

impl Params {
    /// The rules, one a quantile.
    fn rules(&self) -> Result<Vec<Rule>, FitError> {
        let method = TokenCascade::NAME;
        let all: Vec<String> = QUANTILE_LEVELS.iter().map(|level| format!("logprob_q{level}")).collect();
        let all: Vec<&str> = ["logprob_sum", "logprob_mean", "log_tokens"]
            .into_iter()
            .chain(all.iter().map(String::as_str))
            .collect();
        let known = [
            Rule::new("chow-sum", &all[..1], Reading::Single),
            Rule::new("chow-average", &all[1..2], Reading::Single),
            Rule::new("chow-quantile", &[], Reading::Single),
            Rule::new("post-hoc", &all, Reading::PostHoc),
        ];
        if let Some(level) = self.quantile.iter().find(|level| !QUANTILE_LEVELS.contains(level)) {
            let reason = format!("`quantile` has `{level}`, expected some of {QUANTILE_LEVELS:?}");
            return Err(FitError::Params { method, reason });
        }
        let levels = |rule: Rule| match rule.columns.is_empty() {
            false => vec![rule],
            true => self
                .quantile
                .iter()
                .map(|level| {
                    let column = format!("logprob_q{level}");
                    Rule { name: format!("{}{AT}{level}", rule.name), columns: vec![column], ..rule }
                })
                .collect(),
        };
        Ok(confidence::named(method, "rule", &self.rule, &known)?.into_iter().flat_map(levels).collect())
    }

    /// The parameters with the rule that was chosen.
    fn with(&self, rule: &str) -> Self {
        let (name, level) = rule.split_once(AT).unwrap_or((rule, ""));
        let quantile = level.parse().map_or_else(|_| self.quantile.clone(), |level| vec![level]);
        Self { rule: vec![name.to_owned()], quantile, ..self.clone() }
    }
}

impl Method for TokenCascade {
    const NAME: &'static str = "token-cascade";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let (rules, used) = (params.rules()?, |rule: &str| params.with(rule));
        confidence::fit(Self::NAME, &params.chain, &rules, params.penalty, context, used)
    }
}
