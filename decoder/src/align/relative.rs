//! Distributions as similarities to common tokens (DeePEn, arXiv 2404.12715).
//!
//! Anchors are byte strings that are tokens of every member. A token's relative representation is the softmax of
//! 100 times the cosines of its input embedding with those of the anchors; a distribution's is the mean of its tokens'.
//! Representations of different models have the same coordinates, so they can be averaged.
//!
//! Deviations: 1. anchors are equal as bytes, so that tokens of several bytes a character match too. 2. At most `n`
//! anchors, evenly spread over their sorted order; the released code takes all, which needs a matrix of the two
//! vocabularies. 3. Of a row only entries of at least 1e-4 are kept. 4. Rows of members other than the first are made
//! when a token is first told, and of what they tell only tokens of a probability of at least 1e-6 count, scaled to sum
//! to 1: all rows of 262,144 tokens are 7e11 multiplications, which few answers need.

use super::rows::{to_unit, with_products};
use crate::backend::{Backend, Embeddings};
use crate::distribution::Distribution;
use crate::vocabulary::{Role, Vocabulary};
use routewright_data::dense::exp_within;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Entries of a representation below this are left out.
const LEAST: f32 = 1e-4;
/// Tokens less probable than this do not count where rows are made on demand.
const LEAST_P: f32 = 1e-6;
/// Logarithms below this are none of a sum of f32.
const LOG_LEAST: f32 = -80.0;
/// What cosines are multiplied by before the softmax.
const SHARPNESS: f32 = 100.0;

/// Representations of the tokens of one model, row by row: `(anchor, value)`.
#[derive(Debug, Clone)]
pub struct Relative {
    starts: Vec<u32>,
    entries: Vec<(u32, f32)>,
    n_anchors: usize,
}

/// A row: the anchors and how much of the token each is.
type Row = Box<[(u32, f32)]>;

/// Representations of the tokens of one model that were told so far.
#[derive(Debug)]
pub struct RelativeOnDemand {
    backend: Arc<dyn Backend>,
    /// Input embeddings of the anchors, of length 1, `(n_anchors, dim)`.
    anchors: Vec<f32>,
    n_anchors: usize,
    rows: Mutex<HashMap<u32, Row>>,
}

/// Byte strings that are tokens of all vocabularies, sorted; at most `n`, evenly spread.
pub fn anchors(vocabularies: &[&Vocabulary], n: usize) -> Vec<Vec<u8>> {
    let Some((first, others)) = vocabularies.split_first() else { return Vec::new() };
    let ids = 0..u32::try_from(first.len()).unwrap_or(u32::MAX);
    let mut common: Vec<Vec<u8>> = ids
        .filter(|id| first.role(*id) == Role::Text)
        .map(|id| first.bytes(id).to_vec())
        .filter(|bytes| others.iter().all(|other| !other.ids(bytes).is_empty()))
        .collect();
    common.sort_unstable();
    common.dedup();
    if common.len() <= n {
        return common;
    }
    (0..n).map(|at| common[at * common.len() / n].clone()).collect()
}

impl Relative {
    /// Representations of all tokens of a model by its input embeddings.
    pub fn new(vocabulary: &Vocabulary, embeddings: Embeddings<'_>, anchors: &[Vec<u8>]) -> Self {
        let dim = embeddings.dim;
        let mut tokens = embeddings.input[..vocabulary.len() * dim].to_vec();
        to_unit(&mut tokens, dim);
        let shared = anchor_rows(vocabulary, embeddings, anchors);
        let rows = with_products(&tokens, &shared, dim, |_, cosines| representation(cosines));
        let (mut starts, mut entries) = (vec![0], Vec::new());
        for row in rows {
            entries.extend(row);
            starts.push(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        }
        Self { starts, entries, n_anchors: anchors.len() }
    }

    /// Number of anchors.
    pub fn n_anchors(&self) -> usize {
        self.n_anchors
    }

    /// The representation of one token.
    pub fn row(&self, id: usize) -> &[(u32, f32)] {
        &self.entries[self.starts[id] as usize..self.starts[id + 1] as usize]
    }

    /// The representation of probabilities by id.
    pub fn represent(&self, p: &[f32]) -> Vec<f32> {
        let mut sums = vec![0.0; self.n_anchors];
        for (id, p) in p.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            self.row(id).iter().for_each(|(anchor, value)| sums[*anchor as usize] += p * value);
        }
        sums
    }

    /// The representation of the distribution of a model.
    pub fn of(&self, told: &Distribution) -> Vec<f32> {
        let mut p = vec![0.0; self.starts.len() - 1];
        match told {
            Distribution::Full(all) => p.iter_mut().zip(all).for_each(|(p, log)| *p = log.exp()),
            Distribution::Top { entries, .. } => entries.iter().for_each(|(id, log)| {
                if let Some(p) = p.get_mut(*id as usize) {
                    *p = log.exp();
                }
            }),
        }
        self.represent(&p)
    }
}

/// The tokens that count, with the logarithms of their probabilities; the most probable one always does.
fn counted(told: &Distribution) -> Vec<(u32, f32)> {
    let counts = |log: f32| log >= LEAST_P.ln();
    let listed: Vec<(u32, f32)> = match told {
        Distribution::Full(all) => (0..).zip(all.iter().copied()).filter(|(_, log)| counts(*log)).collect(),
        Distribution::Top { entries, .. } => {
            entries.iter().copied().filter(|(_, log)| counts(*log)).collect()
        }
    };
    if listed.is_empty() { vec![told.best()] } else { listed }
}

/// Input embeddings of the anchors, of length 1.
fn anchor_rows(vocabulary: &Vocabulary, embeddings: Embeddings<'_>, anchors: &[Vec<u8>]) -> Vec<f32> {
    let dim = embeddings.dim;
    let own = |anchor: &Vec<u8>| vocabulary.ids(anchor).first().map_or(0, |id| *id as usize);
    let row = |anchor: &Vec<u8>| &embeddings.input[own(anchor) * dim..][..dim];
    let mut rows: Vec<f32> = anchors.iter().flat_map(row).copied().collect();
    to_unit(&mut rows, dim);
    rows
}

impl RelativeOnDemand {
    /// Representations by the input embeddings of a model; `None` where it does not show them.
    pub fn new(backend: &Arc<dyn Backend>, anchors: &[Vec<u8>]) -> Option<Self> {
        let vocabulary = backend.tokenizer()?.vocabulary();
        let shared = anchor_rows(vocabulary, backend.embeddings()?, anchors);
        let (backend, rows) = (backend.clone(), Mutex::default());
        Some(Self { backend, anchors: shared, n_anchors: anchors.len(), rows })
    }

    /// The representation of what the model told.
    pub fn of(&self, told: &Distribution) -> Vec<f32> {
        let told = counted(told);
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<u32> = told.iter().map(|(id, _)| *id).filter(|id| !rows.contains_key(id)).collect();
        rows.extend(missing.iter().copied().zip(self.made(&missing)));
        let sum: f32 = told.iter().map(|(_, log)| log.exp()).sum();
        let mut sums = vec![0.0; self.n_anchors];
        for (id, log) in &told {
            let share = log.exp() / sum;
            let row = rows.get(id).into_iter().flat_map(|row| row.iter());
            row.for_each(|(anchor, value)| sums[*anchor as usize] += share * value);
        }
        sums
    }

    fn made(&self, ids: &[u32]) -> Vec<Row> {
        let Some(embeddings) = self.backend.embeddings().filter(|_| !ids.is_empty()) else {
            return Vec::new();
        };
        let dim = embeddings.dim;
        let row = |id: &u32| &embeddings.input[*id as usize * dim..][..dim];
        let mut tokens: Vec<f32> = ids.iter().flat_map(row).copied().collect();
        to_unit(&mut tokens, dim);
        with_products(&tokens, &self.anchors, dim, |_, cosines| representation(cosines).into_boxed_slice())
    }
}

/// The softmax of [`SHARPNESS`] times the cosines, what is next to nothing left out.
fn representation(cosines: &[f32]) -> Vec<(u32, f32)> {
    let max = SHARPNESS * cosines.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut scores = vec![0.0_f32; cosines.len()];
    routewright_data::simd::widest(
        #[inline(always)]
        || {
            for (score, cosine) in scores.iter_mut().zip(cosines) {
                let log = SHARPNESS * cosine - max;
                // None is above 0.
                *score = if log > LOG_LEAST { exp_within(log) } else { 0.0 };
            }
        },
    );
    let sum: f32 = scores.iter().sum();
    let least = LEAST * sum;
    let kept = scores.iter().zip(0..).filter(|(score, _)| **score >= least);
    kept.map(|(score, anchor)| (anchor, score / sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_an_anchor_is_represented_by_itself() {
        let vocabulary =
            |words: &[&str]| Vocabulary::new(words.iter().map(|word| (word.as_bytes().to_vec(), Role::Text)));
        let (a, b) = (vocabulary(&["x", "y", "z"]), vocabulary(&["z", "q", "x"]));
        let anchors = anchors(&[&a, &b], 10);
        assert_eq!(anchors, [b"x".to_vec(), b"z".to_vec()]);
        let input = [1.0, 0.0, 0.6, 0.8, 0.0, 2.0];
        let embeddings = Embeddings { input: &input, output: &input, dim: 2 };
        let relative = Relative::new(&a, embeddings, &anchors);
        assert_eq!(relative.row(0), [(0, 1.0)]);
        assert_eq!(relative.row(2), [(1, 1.0)]);
        // Cosines 0.6 and 0.8: softmax of 60 and 80.
        assert_eq!(relative.row(1).len(), 1);
        assert_eq!(relative.represent(&[0.25, 0.0, 0.75]), [0.25, 0.75]);
        assert_eq!(super::anchors(&[&a, &a], 2), [b"x".to_vec(), b"y".to_vec()]);
    }

    #[test]
    fn a_representation_is_the_softmax_without_what_is_next_to_nothing() {
        let cosines: Vec<f32> = (0..500).map(|at| (at as f32 * 0.37).sin()).collect();
        let scores: Vec<f64> = cosines.iter().map(|cosine| f64::from(100.0 * cosine).exp()).collect();
        let sum: f64 = scores.iter().sum();
        let expected: Vec<(u32, f64)> =
            (0..).zip(scores.iter().map(|score| score / sum)).filter(|(_, share)| *share >= 1e-4).collect();
        let found = representation(&cosines);
        assert_eq!(found.len(), expected.len());
        for ((anchor, found), (at, expected)) in found.into_iter().zip(expected) {
            assert_eq!(anchor, at);
            assert!((f64::from(found) / expected - 1.0).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn rows_made_on_demand_are_the_rows() {
        let tokenizer = crate::vocabulary::Tokenizer::seen();
        let script = serde_json::json!([{"after": "", "next": {"a": 1.0}}]);
        let member =
            serde_json::json!({"name": "m", "backend": "scripted", "script": script, "embeddings": true});
        let member: crate::ensemble::MemberFile = serde_json::from_value(member).unwrap();
        let backend = crate::backends::open(&member, std::path::Path::new("")).unwrap();
        let vocabulary = backend.tokenizer().unwrap().vocabulary();
        let anchors = anchors(&[vocabulary, tokenizer.vocabulary()], 64);
        let whole = Relative::new(vocabulary, backend.embeddings().unwrap(), &anchors);
        let on_demand = RelativeOnDemand::new(&backend, &anchors).unwrap();
        let mut logits = vec![-30.0_f32; vocabulary.len()];
        for (at, id) in [b"a", b"q", b"7"].iter().enumerate() {
            logits[vocabulary.ids(*id)[0] as usize] = -(at as f32);
        }
        let told = Distribution::from_logits(logits).unwrap();
        for _ in 0..2 {
            for (a, b) in whole.of(&told).iter().zip(on_demand.of(&told)) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
        assert_eq!(on_demand.rows.lock().unwrap().len(), 3);
    }
}
