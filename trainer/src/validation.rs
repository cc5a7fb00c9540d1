//! Slices of the train split on which hyper-parameters and checkpoints are chosen.
//!
//! Slices are cut by a hash of the prompt, so that equal prompts never stand on both sides.

use crate::evaluate::{Average, Decisions, Sources, query_scores};
use routewright_data::OutcomeTable;
use routewright_policy::Prediction;
use routewright_policy::selectors::Argmax;

/// Row numbers to learn from and to judge on, each ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Rows to learn from.
    pub fit: Vec<usize>,
    /// Rows to judge on.
    pub valid: Vec<usize>,
}

/// Cuts about `share` of the queries off as a validation slice.
///
/// A table too small to have both sides keeps every row on both, so that a method can still be fitted.
pub fn slice(table: &OutcomeTable, seed: u64, share: f64) -> Slice {
    let (valid, fit): (Vec<usize>, Vec<usize>) =
        (0..table.n_queries()).partition(|&row| unit(&table.queries[row].prompt, seed) < share);
    if valid.is_empty() || fit.is_empty() {
        let all: Vec<usize> = (0..table.n_queries()).collect();
        return Slice { fit: all.clone(), valid: all };
    }
    Slice { fit, valid }
}

/// The fold of each query, `0..k`, by prompt hash.
pub fn folds(table: &OutcomeTable, seed: u64, k: usize) -> Vec<usize> {
    let fold = |prompt: &str| ((unit(prompt, seed) * k as f64) as usize).min(k - 1);
    table.queries.iter().map(|query| fold(&query.prompt)).collect()
}

/// A number in `[0, 1)` that depends on the prompt and the seed alone.
fn unit(prompt: &str, seed: u64) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(prompt.as_bytes());
    let mut bytes = [0_u8; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Weight of each query such that every source weighs the same in total and the mean weight is 1.
///
/// Queries without a source form one source together. This is how a macro average is optimised.
pub fn source_balance(table: &OutcomeTable) -> Vec<f32> {
    let mut counts = std::collections::BTreeMap::<Option<&str>, usize>::new();
    for source in table.sources() {
        *counts.entry(source).or_default() += 1;
    }
    let (n, n_sources) = (table.n_queries() as f64, counts.len() as f64);
    table.sources().iter().map(|source| (n / (n_sources * counts[source] as f64)) as f32).collect()
}

/// Mean logged score of the arms that the greatest predicted scores choose; the criterion every
/// hyper-parameter is chosen by. `scores` has the shape of `table.score`.
pub fn chosen_score(scores: Vec<f32>, table: &OutcomeTable, average: Average) -> f64 {
    let cost_usd = vec![f32::NAN; scores.len()];
    let n_arms = table.n_arms();
    let prediction = Prediction { n_arms, score: scores, score_se: None, cost_usd, neighborhoods: None };
    let chosen = query_scores(&Decisions::of(&prediction, &Argmax), table);
    Sources::of(table).mean(&chosen, average).unwrap_or(f64::NEG_INFINITY)
}

/// The candidate of the greatest criterion; the first of equals, so order grids from plain to fancy.
pub fn best<T: Clone>(candidates: &[(T, f64)]) -> Option<(T, f64)> {
    let mut best: Option<&(T, f64)> = None;
    for candidate in candidates {
        if best.is_none_or(|b| candidate.1 > b.1) {
            best = Some(candidate);
        }
    }
    best.cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::{Cells, Query};

    fn table(prompts: &[(&str, &str)]) -> OutcomeTable {
        let query = |(i, (prompt, source)): (usize, &(&str, &str))| Query {
            id: i.to_string(),
            prompt: (*prompt).to_owned(),
            source: Some((*source).to_owned()),
            ..Query::default()
        };
        OutcomeTable {
            queries: prompts.iter().enumerate().map(query).collect(),
            models: vec!["a".to_owned()],
            score: Cells::from_vec(prompts.len(), 1, vec![1.0; prompts.len()]),
            soft_score: None,
            cost_usd: Cells::missing(prompts.len(), 1),
            latency_ms: None,
            vectors: None,
        }
    }

    #[test]
    fn equal_prompts_stay_on_one_side_and_the_share_is_met() {
        let prompts: Vec<String> = (0..2000).map(|i| format!("prompt {}", i / 2)).collect();
        let rows: Vec<(&str, &str)> = prompts.iter().map(|p| (p.as_str(), "s")).collect();
        let slice = slice(&table(&rows), 7, 0.2);
        assert_eq!(slice.fit.len() + slice.valid.len(), 2000);
        assert!((320..480).contains(&slice.valid.len()), "{}", slice.valid.len());
        assert!(slice.valid.chunks(2).all(|pair| pair[1] == pair[0] + 1 && pair[0] % 2 == 0));
    }

    #[test]
    fn every_source_weighs_the_same() {
        let weights = source_balance(&table(&[("1", "a"), ("2", "a"), ("3", "a"), ("4", "b")]));
        assert!((weights[0] * 3.0 - weights[3]).abs() < 1e-6);
        assert!((weights.iter().sum::<f32>() - 4.0).abs() < 1e-6);
    }
}
