//! Whose judgements count, and how much.

use super::{Pair, PairTable};
use crate::suggest::near_names;
use std::collections::BTreeMap;
use std::str::FromStr;

/// Judges by name with their weights; empty stands for all judges, each of weight 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judges(Vec<(String, f32)>);

/// Why judges could not be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JudgesError {
    /// No judgement of the log is by this judge.
    #[error("no judgement is by `{judge}`; {hint}")]
    Unknown {
        /// Name asked for.
        judge: String,
        /// Near names, or all of them.
        hint: String,
    },
    /// A weight out of range.
    #[error("judge `{judge}` has weight `{weight}`, expected a finite number above 0")]
    Weight {
        /// Name of the judge.
        judge: String,
        /// As given.
        weight: String,
    },
    /// A judge named twice.
    #[error("judge `{0}` is named twice, expected one weight a judge")]
    Twice(String),
}

/// One judge, `NAME` or `NAME=WEIGHT`.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge(String, f32);

impl FromStr for Judge {
    type Err = JudgesError;

    fn from_str(text: &str) -> Result<Self, JudgesError> {
        // A name may hold `=` itself: what follows the last one is a weight only if it is a number.
        let parsed = text.rsplit_once('=').and_then(|(name, w)| Some((name, w, w.parse::<f32>().ok()?)));
        match parsed {
            Some((name, _, weight)) if weight.is_finite() && weight > 0.0 => {
                Ok(Self(name.to_owned(), weight))
            }
            Some((name, weight, _)) => {
                Err(JudgesError::Weight { judge: name.to_owned(), weight: weight.to_owned() })
            }
            None => Ok(Self(text.to_owned(), 1.0)),
        }
    }
}

impl Judges {
    /// These judges and no others; all where there is none.
    ///
    /// # Errors
    /// If one is named twice.
    pub fn only(judges: &[Judge]) -> Result<Self, JudgesError> {
        let mut named = BTreeMap::new();
        for Judge(name, weight) in judges {
            if named.insert(name.clone(), *weight).is_some() {
                return Err(JudgesError::Twice(name.clone()));
            }
        }
        Ok(Self(named.into_iter().collect()))
    }

    fn weight(&self, judge: Option<&str>) -> Option<f32> {
        if self.0.is_empty() {
            return Some(1.0);
        }
        self.0.iter().find(|(name, _)| Some(name.as_str()) == judge).map(|(_, weight)| *weight)
    }
}

impl PairTable {
    /// The judgements of these judges, weighted; queries and models without one are left out.
    ///
    /// # Errors
    /// If a judge has no judgement in the table.
    pub fn judged_by(self, judges: &Judges) -> Result<Self, JudgesError> {
        for (judge, _) in &judges.0 {
            if !self.pairs.iter().any(|pair| pair.judge.as_ref() == Some(judge)) {
                let mut known: Vec<&str> = self.pairs.iter().filter_map(|p| p.judge.as_deref()).collect();
                known.sort_unstable();
                known.dedup();
                let hint = near_names(judge, known);
                return Err(JudgesError::Unknown { judge: judge.clone(), hint });
            }
        }
        let mut kept: Vec<Pair> = Vec::new();
        for mut pair in self.pairs {
            if let Some(weight) = judges.weight(pair.judge.as_deref()) {
                pair.weight *= weight;
                kept.push(pair);
            }
        }
        let queries = renumber(self.queries.len(), kept.iter().map(|pair| pair.query));
        let models = renumber(self.models.len(), kept.iter().flat_map(|pair| [pair.model_a, pair.model_b]));
        for pair in &mut kept {
            pair.query = queries[pair.query].unwrap_or_default();
            pair.model_a = models[pair.model_a].unwrap_or_default();
            pair.model_b = models[pair.model_b].unwrap_or_default();
        }
        let used = |numbers: &[Option<usize>], at: usize| numbers[at].is_some();
        let with = |(at, query)| used(&queries, at).then_some(query);
        let named = |(at, model)| used(&models, at).then_some(model);
        Ok(Self {
            queries: self.queries.into_iter().enumerate().filter_map(with).collect(),
            models: self.models.into_iter().enumerate().filter_map(named).collect(),
            pairs: kept,
        })
    }
}

/// New numbers of those that are used, in the old order.
fn renumber(n: usize, used: impl Iterator<Item = usize>) -> Vec<Option<usize>> {
    let mut is_used = vec![false; n];
    used.for_each(|at| is_used[at] = true);
    let mut next = 0;
    let number = |used: bool| {
        next += usize::from(used);
        used.then(|| next - 1)
    };
    is_used.into_iter().map(number).collect()
}
