//! Distributions as similarities to common tokens (DeePEn, arXiv 2404.12715).
//!
//! Anchors are byte strings that are tokens of every member. A token's relative representation is the softmax of
//! 100 times the cosines of its input embedding with those of the anchors; a distribution's is the mean of its tokens'.
//! Representations of different models have the same coordinates, so they can be averaged.
//!
//! Deviations: 1. anchors are equal as bytes, so that tokens of several bytes a character match too. 2. At most `n`
//! anchors, evenly spread over their sorted order; the released code takes all, which needs a matrix of the two
//! vocabularies. 3. Of a row only entries of at least 1e-4 are kept.

use super::rows::{to_unit, with_products};
use crate::backend::Embeddings;
use crate::distribution::Distribution;
use crate::vocabulary::{Role, Vocabulary};

/// Entries of a representation below this are left out.
const LEAST: f32 = 1e-4;
/// What cosines are multiplied by before the softmax.
const SHARPNESS: f32 = 100.0;

/// Representations of the tokens of one model, row by row: `(anchor, value)`.
#[derive(Debug, Clone)]
pub struct Relative {
    starts: Vec<u32>,
    entries: Vec<(u32, f32)>,
    n_anchors: usize,
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
        let own = |anchor: &Vec<u8>| vocabulary.ids(anchor).first().map_or(0, |id| *id as usize);
        let shared: Vec<f32> =
            anchors.iter().flat_map(|anchor| &tokens[own(anchor) * dim..][..dim]).copied().collect();
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

/// The softmax of [`SHARPNESS`] times the cosines, what is next to nothing left out.
fn representation(cosines: &[f32]) -> Vec<(u32, f32)> {
    let max = SHARPNESS * cosines.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scores: Vec<f32> = cosines.iter().map(|cosine| (SHARPNESS * cosine - max).exp()).collect();
    let sum: f32 = scores.iter().sum();
    let share = scores.iter().zip(0..).map(|(score, anchor)| (anchor, score / sum));
    share.filter(|(_, value)| *value >= LEAST).collect()
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
}
