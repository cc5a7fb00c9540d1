//! A bag of hashed n-grams with a trained vector for each bucket: the encoder that contrastive methods
//! train end to end, as an ordinary featurizer.
//!
//! The n-grams of [`super::ngrams`] fall into `2^bits` buckets. Words and character n-grams form a block each,
//! with weights `(1 + ln tf) * idf` that sum to one half (to one where the other block is empty); the vector
//! of a query is the weighted mean of the rows of its buckets. Buckets that fewer than two training queries
//! touched have weight zero. Rows are stored in signed bytes with one step a row.
//!
//! A text without any known n-gram has the zero vector.

use super::ngrams::NGrams;
use super::{FeatureError, FeatureInput, Featurizer, FeaturizerRow, FeaturizerSpec};
use crate::{FeatureMatrix, Tensors};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const ROW: FeaturizerRow = FeaturizerRow {
    name: "hashed-bag",
    title: "hashed word 1-2-grams and character 3-5-grams, mean of trained vectors",
    restore: |spec, tensors| Ok(Arc::new(HashedBag::restore(spec, tensors)?)),
    open: None,
};

/// Queries a bucket must occur in to count; in a log of one query, one.
const QUERIES_MIN: u32 = 2;
/// Bits of the hash, at most: 16 million rows.
pub const BITS_MAX: u32 = 24;

/// Which bucket an n-gram falls into, and what it weighs.
#[derive(Debug, Clone, PartialEq)]
pub struct BagVocabulary {
    bits: u32,
    /// `1 + ln((1 + n) / (1 + df))` of each bucket, 0 where it does not count.
    idf: Vec<f32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    bits: u32,
}

impl BagVocabulary {
    /// Counts the buckets of the training texts; `bits` is clamped to `1..=BITS_MAX`.
    pub fn fit(texts: &[&str], bits: u32) -> Self {
        let bits = bits.clamp(1, BITS_MAX);
        let mut df = vec![0_u32; 1 << bits];
        let buckets: Vec<Vec<u32>> = texts.par_iter().map(|text| distinct(text, bits)).collect();
        buckets.iter().flatten().for_each(|bucket| df[*bucket as usize] += 1);
        let least = QUERIES_MIN.min(texts.len() as u32);
        let n = 1.0 + texts.len() as f64;
        let idf = |df: u32| if df < least { 0.0 } else { (1.0 + (n / (1.0 + f64::from(df))).ln()) as f32 };
        Self { bits, idf: df.into_iter().map(idf).collect() }
    }

    /// Number of buckets.
    pub fn n_buckets(&self) -> usize {
        self.idf.len()
    }

    /// Buckets of a text with their weights, which sum to 1 (or there are none).
    pub fn grams(&self, text: &str) -> Vec<(u32, f32)> {
        let grams = NGrams::of(text);
        let mut words = self.block(&grams.words);
        let mut chars = self.block(&grams.chars);
        let share = if words.is_empty() || chars.is_empty() { 1.0 } else { 0.5 };
        for block in [&mut words, &mut chars] {
            let total: f32 = block.iter().map(|(_, weight)| weight).sum();
            block.iter_mut().for_each(|(_, weight)| *weight *= share / total);
        }
        words.append(&mut chars);
        words
    }

    fn block(&self, hashes: &[u32]) -> Vec<(u32, f32)> {
        let mask = self.idf.len() as u32 - 1;
        let mut buckets: Vec<u32> = hashes.iter().map(|hash| hash & mask).collect();
        buckets.sort_unstable();
        let weigh = |run: &[u32]| (run[0], (1.0 + (run.len() as f32).ln()) * self.idf[run[0] as usize]);
        buckets.chunk_by(|a, b| a == b).map(weigh).filter(|(_, weight)| *weight > 0.0).collect()
    }
}

fn distinct(text: &str, bits: u32) -> Vec<u32> {
    let grams = NGrams::of(text);
    let mask = (1_u32 << bits) - 1;
    let mut buckets: Vec<u32> = grams.words.iter().chain(&grams.chars).map(|hash| hash & mask).collect();
    buckets.sort_unstable();
    buckets.dedup();
    buckets
}

/// The featurizer: vocabulary and rows.
#[derive(Debug, Clone)]
pub struct HashedBag {
    spec: FeaturizerSpec,
    vocabulary: BagVocabulary,
    /// Step of the bytes of each row.
    scale: Vec<f32>,
    /// `(n_buckets, dim)`.
    rows: Vec<i8>,
}

impl HashedBag {
    /// A featurizer with trained rows `(n_buckets, dim)`; they are rounded to bytes.
    ///
    /// # Panics
    /// If the number of values is not a multiple of the number of buckets (a bug of the caller).
    pub fn new(vocabulary: BagVocabulary, table: &[f32]) -> Self {
        let n = vocabulary.n_buckets();
        assert!(!table.is_empty() && table.len().is_multiple_of(n), "bag: table (n_buckets, dim)");
        let dim = table.len() / n;
        let (mut scale, mut rows) = (Vec::with_capacity(n), Vec::with_capacity(table.len()));
        for row in table.chunks_exact(dim) {
            let greatest = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            let step = if greatest > 0.0 { greatest / 127.0 } else { 1.0 };
            scale.push(step);
            rows.extend(row.iter().map(|v| (v / step).round() as i8));
        }
        let settings = serde_json::json!({ "bits": vocabulary.bits });
        let spec = FeaturizerSpec { name: ROW.name.to_owned(), dim, settings };
        Self { spec, vocabulary, scale, rows }
    }

    fn restore(spec: &FeaturizerSpec, mut tensors: Tensors) -> Result<Self, FeatureError> {
        let error = |reason: String| FeatureError::Setup { name: ROW.name.to_owned(), reason };
        let wrap = |source| FeatureError::Tensor { name: ROW.name.to_owned(), source };
        let Settings { bits } =
            serde_json::from_value(spec.settings.clone()).map_err(|e| error(e.to_string()))?;
        if !(1..=BITS_MAX).contains(&bits) || spec.dim == 0 {
            return Err(error(format!(
                "it has `{bits}` bits and width `{}`, expected 1 to {BITS_MAX} and at least 1",
                spec.dim
            )));
        }
        let n = 1_usize << bits;
        let idf = tensors.take_f32("idf", &[n]).map_err(wrap)?;
        let scale = tensors.take_f32("scale", &[n]).map_err(wrap)?;
        let rows = tensors.take_i8("rows", &[n, spec.dim]).map_err(wrap)?;
        Ok(Self { spec: spec.clone(), vocabulary: BagVocabulary { bits, idf }, scale, rows })
    }

    fn write_features(&self, text: &str, out: &mut [f32]) {
        let dim = self.spec.dim;
        let grams = self.vocabulary.grams(text);
        crate::simd::widest(
            #[inline(always)]
            || {
                for &(bucket, weight) in &grams {
                    let bucket = bucket as usize;
                    let weight = weight * self.scale[bucket];
                    let row = &self.rows[bucket * dim..(bucket + 1) * dim];
                    out.iter_mut().zip(row).for_each(|(out, x)| *out += weight * f32::from(*x));
                }
            },
        );
    }
}

impl Featurizer for HashedBag {
    fn spec(&self) -> &FeaturizerSpec {
        &self.spec
    }

    fn tensors(&self) -> Tensors {
        let n = self.scale.len();
        let mut tensors = Tensors::new();
        tensors.insert_f32("idf", &[n], self.vocabulary.idf.clone());
        tensors.insert_f32("scale", &[n], self.scale.clone());
        tensors.insert_i8("rows", &[n, self.spec.dim], self.rows.clone());
        tensors
    }

    fn featurize(&self, inputs: &[FeatureInput<'_>]) -> Result<FeatureMatrix, FeatureError> {
        let dim = self.spec.dim;
        let mut values = vec![0.0_f32; inputs.len() * dim];
        match inputs {
            // One request must not wake the other threads.
            [input] => self.write_features(input.text, &mut values),
            _ => values
                .par_chunks_mut(dim)
                .zip(inputs)
                .for_each(|(out, input)| self.write_features(input.text, out)),
        }
        Ok(FeatureMatrix::from_vec(inputs.len(), dim, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::restore;

    const TEXTS: &[&str] = &["the red house", "the blue house", "你好吗 世界", "你好 世界"];

    #[test]
    fn weights_sum_to_one_and_rare_buckets_do_not_count() {
        let vocabulary = BagVocabulary::fit(TEXTS, 12);
        for text in TEXTS {
            let total: f32 = vocabulary.grams(text).iter().map(|(_, w)| w).sum();
            assert!((total - 1.0).abs() < 1e-5, "{text}: {total}");
        }
        assert!(vocabulary.grams("zq").is_empty() && vocabulary.grams("").is_empty());
        // A lone query is its own vocabulary.
        assert!(!BagVocabulary::fit(&TEXTS[..1], 12).grams(TEXTS[0]).is_empty());
    }

    #[test]
    fn a_query_is_the_weighted_mean_of_its_rows_and_is_restored_bit_for_bit() {
        let vocabulary = BagVocabulary::fit(TEXTS, 10);
        let table: Vec<f32> = (0..1024 * 3).map(|i| ((i * 31 % 97) as f32 - 48.0) / 50.0).collect();
        let bag = HashedBag::new(vocabulary.clone(), &table);
        let inputs: Vec<FeatureInput<'_>> = TEXTS.iter().map(|t| FeatureInput::from(*t)).collect();
        let features = bag.featurize(&inputs).unwrap();
        for (row, text) in TEXTS.iter().enumerate() {
            for j in 0..3 {
                let mean: f32 =
                    vocabulary.grams(text).iter().map(|(b, w)| w * table[*b as usize * 3 + j]).sum();
                // Rounding to bytes moves an entry by at most half a step, 1/254 of the row's greatest.
                assert!((features.row(row)[j] - mean).abs() < 0.5 / 127.0, "{text}");
            }
        }
        let restored = restore(bag.spec(), bag.tensors()).unwrap();
        assert_eq!(restored.featurize(&inputs).unwrap(), features);
        let alone = bag.featurize(&inputs[1..2]).unwrap();
        assert_eq!(alone.row(0), features.row(1));
    }
}
