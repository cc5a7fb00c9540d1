//! How well held-out judgements are foretold: accuracy and log-loss by prompt, ties apart.

use super::logistic::softplus;
use routewright_data::{PairTable, Winner};
use serde::Serialize;
use std::collections::BTreeMap;

/// What something says of each judgement of a table, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Above 0 where the first answer is expected to win; only the sign counts.
    pub margins: Vec<f64>,
    /// Log-odds that it wins, where they could be fitted.
    pub logits: Option<Vec<f64>>,
}

/// A mean and its standard error over prompts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// The mean over judgements, by weight.
    pub mean: f64,
    /// Standard error of it with whole prompts resampled, to first order.
    pub se: f64,
}

/// Figures of one forecast.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairScore {
    /// What foretold.
    pub name: String,
    /// Share of decided judgements whose winner it named; a margin of 0 counts half.
    pub accuracy: Option<Mean>,
    /// Mean log-loss of decided judgements, nats; ln 2 is a coin.
    pub log_loss: Option<Mean>,
    /// Mean log-loss of ties, half a win of either, nats; ln 2 is the least possible.
    pub tie_log_loss: Option<Mean>,
    /// Accuracy less that of strengths and length together (of strengths where answers are not logged).
    pub lead: Option<Mean>,
}

/// What a judgement counts for: its prompt, weight and value.
struct Term<'a> {
    prompt: &'a str,
    weight: f64,
    value: f64,
}

/// Weighted mean with the standard error of a ratio of sums over prompts.
fn mean(terms: &[Term<'_>]) -> Option<Mean> {
    let total: f64 = terms.iter().map(|t| t.weight).sum();
    if total <= 0.0 {
        return None;
    }
    let mean = terms.iter().map(|t| t.weight * t.value).sum::<f64>() / total;
    let mut by_prompt: BTreeMap<&str, f64> = BTreeMap::new();
    for term in terms {
        *by_prompt.entry(term.prompt).or_default() += term.weight * (term.value - mean);
    }
    let n = by_prompt.len() as f64;
    let squares: f64 = by_prompt.values().map(|r| r * r).sum();
    let se = if n > 1.0 { (squares * n / (n - 1.0)).sqrt() / total } else { f64::NAN };
    Some(Mean { mean, se })
}

/// 1 where the margin names the winner, one half where it names none.
fn hit(margin: f64, winner: Winner) -> f64 {
    let towards = if winner == Winner::A { margin } else { -margin };
    match towards.total_cmp(&0.0) {
        _ if margin == 0.0 => 0.5,
        std::cmp::Ordering::Greater => 1.0,
        _ => 0.0,
    }
}

fn terms<'a>(test: &'a PairTable, ties: bool, value: impl Fn(usize) -> f64) -> Vec<Term<'a>> {
    let is_kept = |at: &usize| (test.pairs[*at].winner == Winner::Tie) == ties;
    let term = |at: usize| {
        let pair = &test.pairs[at];
        let prompt = test.queries[pair.query].prompt.as_str();
        Term { prompt, weight: f64::from(pair.weight), value: value(at) }
    };
    (0..test.pairs.len()).filter(is_kept).map(term).collect()
}

/// Judges a forecast by the judgements of `test`; `rival` is what it is to beat.
pub fn judge(name: &str, forecast: &Forecast, test: &PairTable, rival: Option<&Forecast>) -> PairScore {
    let winner = |at: usize| test.pairs[at].winner;
    let accuracy = mean(&terms(test, false, |at| hit(forecast.margins[at], winner(at))));
    let lead = rival.and_then(|rival| {
        let gain = |at: usize| hit(forecast.margins[at], winner(at)) - hit(rival.margins[at], winner(at));
        mean(&terms(test, false, gain))
    });
    let loss = |ties: bool| {
        let logits = forecast.logits.as_ref()?;
        let of = |at: usize| softplus(logits[at]) - f64::from(winner(at).share_of_a()) * logits[at];
        mean(&terms(test, ties, of))
    };
    PairScore { name: name.to_owned(), accuracy, log_loss: loss(false), tie_log_loss: loss(true), lead }
}
