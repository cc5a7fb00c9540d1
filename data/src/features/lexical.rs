//! The default featurizer: n-grams, TF-IDF, truncated SVD, unit norm. No download, any language.
//!
//! Fitting counts the n-grams of [`super::ngrams`] on the train split and keeps the most frequent words
//! and the most frequent character n-grams (by number of queries). A query becomes two sparse blocks of
//! `(1 + ln tf) * idf`, `idf = 1 + ln((1 + n) / (1 + df))`; words get the share `word_share` (0.8) of the squared
//! norm, characters the rest. Their concatenation is projected on the leading right singular vectors of the training
//! rows and normalised. The projection is stored in signed bytes with one scale an n-gram, and training uses the
//! stored one, so that training and serving see the same features bit for bit.
//!
//! A text without any known n-gram has the zero vector.

use super::known::KnownHashes;
use super::ngrams::NGrams;
use super::sparse::SparseRows;
use super::svd::right_singular_vectors;
use super::{FeatureError, FeatureInput, Featurizer, FeaturizerRow, FeaturizerSpec};
use crate::{FeatureMatrix, Tensors, rng};
use rand::seq::index;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::sync::Arc;

pub(super) const ROW: FeaturizerRow = FeaturizerRow {
    name: "lexical",
    title: "hashed word 1-2-grams and character 3-5-grams, TF-IDF, truncated SVD, unit norm",
    restore: |spec, tensors| Ok(Arc::new(Lexical::restore(spec, tensors)?)),
    open: None,
};

/// Settings of [`Lexical::fit`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LexicalSettings {
    /// Width of the features; less where the log has fewer queries.
    pub dim: usize,
    /// Word n-grams kept, at most.
    pub words_max: usize,
    /// Character n-grams kept, at most.
    pub chars_max: usize,
    /// Least number of queries an n-gram must occur in.
    pub queries_min: usize,
    /// Queries the fit looks at, at most; a seeded sample of a longer log.
    pub fit_queries_max: usize,
    /// Share of the squared norm that words get, characters get the rest; from 0 to 1.
    pub word_share: f64,
}

impl Default for LexicalSettings {
    fn default() -> Self {
        Self {
            dim: 128,
            words_max: 16_384,
            chars_max: 16_384,
            queries_min: 2,
            fit_queries_max: 40_000,
            // Chosen by cross-validation on the train split of three logs, where equal shares were a little worse and
            // words alone lost texts without spaces.
            word_share: 0.8,
        }
    }
}

/// The fitted featurizer.
#[derive(Debug, Clone)]
pub struct Lexical {
    spec: FeaturizerSpec,
    word_share: f32,
    vocabulary: Vocabulary,
    /// `idf` of each n-gram, words first.
    idf: Vec<f32>,
    /// Step of the bytes of each n-gram's row.
    scale: Vec<f32>,
    /// `(n_grams, dim)`.
    projection: Vec<i8>,
}

/// Which n-grams are known: words are rows `0..n_words`, characters the rest.
#[derive(Debug, Clone)]
struct Vocabulary {
    n_words: usize,
    hashes: Vec<u32>,
    words: KnownHashes,
    chars: KnownHashes,
}

/// N-grams are counted in shards by their high bits, so that a shard's hashes fit in little memory.
const SHARD_SHIFT: u32 = 26;
/// Columns summed at once: eight vectors of eight.
const STRIP: usize = 64;
/// [`LexicalSettings::word_share`] of artifacts that name none: it was a constant when they were written.
const UNNAMED_WORD_SHARE: f64 = 0.8;

/// Memory of a thread, kept between texts.
#[derive(Debug, Default)]
struct Scratch {
    /// Rows of the known n-grams of a text, with repetitions.
    rows: Vec<u32>,
    /// Occurrences of each row in the text at hand; all 0 between texts.
    counts: Vec<u16>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Vocabulary {
    fn new(hashes: Vec<u32>, n_words: usize) -> Self {
        let (words, chars) = hashes.split_at(n_words);
        let (words, chars) = (KnownHashes::new(words, 0), KnownHashes::new(chars, n_words as u32));
        Self { n_words, hashes, words, chars }
    }

    /// Known n-grams of a text with their counts, each at its first occurrence, words before characters.
    fn counts(&self, grams: &NGrams) -> Vec<(u32, u16)> {
        SCRATCH.with_borrow_mut(|Scratch { rows, counts }| {
            rows.clear();
            self.words.rows(&grams.words, rows);
            self.chars.rows(&grams.chars, rows);
            if counts.len() < self.hashes.len() {
                counts.resize(self.hashes.len(), 0);
            }
            let mut n = 0;
            for at in 0..rows.len() {
                let row = rows[at];
                let count = &mut counts[row as usize];
                rows[n] = row;
                n += usize::from(*count == 0);
                *count = count.saturating_add(1);
            }
            rows[..n].iter().map(|&row| (row, std::mem::take(&mut counts[row as usize]))).collect()
        })
    }
}

impl Lexical {
    /// Fits on the texts of the train split.
    ///
    /// # Errors
    /// If the share of words is not one, no n-gram occurs at all, or the SVD does not converge.
    pub fn fit(texts: &[&str], settings: LexicalSettings, seed: u64) -> Result<Self, FeatureError> {
        let error = |reason: String| FeatureError::Setup { name: ROW.name.to_owned(), reason };
        let word_share = checked_share(settings.word_share)?;
        let sample = sample(texts, settings.fit_queries_max, seed);
        let grams: Vec<NGrams> = sample.par_iter().map(|text| NGrams::of(text)).collect();
        let words = frequent(&distinct(&grams, |g| &g.words), settings.words_max, settings.queries_min);
        let chars = frequent(&distinct(&grams, |g| &g.chars), settings.chars_max, settings.queries_min);
        if words.is_empty() && chars.is_empty() {
            return Err(error(format!(
                "the {} training texts hold no n-gram; are the prompts empty?",
                texts.len()
            )));
        }
        let idf = |df: u32| (1.0 + ((1.0 + sample.len() as f64) / (1.0 + f64::from(df))).ln()) as f32;
        let idf: Vec<f32> = words.iter().chain(&chars).map(|(_, df)| idf(*df)).collect();
        let hashes = words.iter().chain(&chars).map(|(hash, _)| *hash).collect();
        let vocabulary = Vocabulary::new(hashes, words.len());
        let rows: Vec<Vec<(u32, f32)>> =
            grams.par_iter().map(|g| weigh(&vocabulary, &idf, word_share, g)).collect();
        let matrix = SparseRows::from_rows(idf.len(), &rows);
        let dim = settings.dim.min(matrix.n_rows()).min(matrix.n_cols).max(1);
        let vectors = right_singular_vectors(&matrix, dim, seed).map_err(|e| error(e.to_string()))?;
        let (scale, projection) = quantize(&vectors, dim);
        let settings = serde_json::to_value(settings).map_err(|e| error(e.to_string()))?;
        let spec = FeaturizerSpec { name: ROW.name.to_owned(), dim, settings };
        Ok(Self { spec, word_share, vocabulary, idf, scale, projection })
    }

    fn restore(spec: &FeaturizerSpec, mut tensors: Tensors) -> Result<Self, FeatureError> {
        let wrap = |source| FeatureError::Tensor { name: ROW.name.to_owned(), source };
        let word_share = stored_share(&spec.settings)?;
        let n = tensors.shape("idf").map_err(wrap)?.first().copied().unwrap_or(0);
        let idf = tensors.take_f32("idf", &[n]).map_err(wrap)?;
        let scale = tensors.take_f32("scale", &[n]).map_err(wrap)?;
        let hashes = tensors.take_u32("hashes", &[n]).map_err(wrap)?;
        let projection = tensors.take_i8("projection", &[n, spec.dim]).map_err(wrap)?;
        let n_words = tensors.take_u32("n_words", &[1]).map_err(wrap)?[0] as usize;
        let vocabulary = Vocabulary::new(hashes, n_words.min(n));
        Ok(Self { spec: spec.clone(), word_share, vocabulary, idf, scale, projection })
    }

    /// Sums the weighted rows, a strip of columns at a time, so that its sums stay in registers.
    ///
    /// Each sum adds its rows in order and is never fused or split, whatever vectors the machine has:
    /// the features are the same to the last bit everywhere.
    #[inline(always)]
    fn project(&self, weights: &[(u32, f32)], out: &mut [f32]) {
        let dim = self.spec.dim;
        let mut strips = out.chunks_exact_mut(STRIP);
        for (strip, out) in strips.by_ref().enumerate() {
            let mut sums = [0.0_f32; STRIP];
            for (row, weight) in weights {
                let at = *row as usize * dim + strip * STRIP;
                for (sum, p) in sums.iter_mut().zip(&self.projection[at..at + STRIP]) {
                    *sum += *weight * f32::from(*p);
                }
            }
            out.copy_from_slice(&sums);
        }
        let rest = strips.into_remainder();
        rest.fill(0.0);
        for (row, weight) in weights {
            let end = (*row as usize + 1) * dim;
            for (sum, p) in rest.iter_mut().zip(&self.projection[end - dim % STRIP..end]) {
                *sum += *weight * f32::from(*p);
            }
        }
    }

    fn write_features(&self, text: &str, out: &mut [f32]) {
        let mut weights = weigh(&self.vocabulary, &self.idf, self.word_share, &NGrams::of(text));
        weights.iter_mut().for_each(|(row, weight)| *weight *= self.scale[*row as usize]);
        crate::simd::widest(
            #[inline(always)]
            || self.project(&weights, out),
        );
        let norm = out.iter().map(|x| x * x).sum::<f32>().sqrt();
        if norm > 0.0 {
            out.iter_mut().for_each(|x| *x /= norm);
        }
    }
}

impl Featurizer for Lexical {
    fn spec(&self) -> &FeaturizerSpec {
        &self.spec
    }

    fn tensors(&self) -> Tensors {
        let n = self.idf.len();
        let mut tensors = Tensors::new();
        tensors.insert_f32("idf", &[n], self.idf.clone());
        tensors.insert_f32("scale", &[n], self.scale.clone());
        tensors.insert_u32("hashes", &[n], self.vocabulary.hashes.clone());
        tensors.insert_u32("n_words", &[1], vec![self.vocabulary.n_words as u32]);
        tensors.insert_i8("projection", &[n, self.spec.dim], self.projection.clone());
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

/// The share of words that an artifact states.
fn stored_share(settings: &serde_json::Value) -> Result<f32, FeatureError> {
    let Some(stored) = settings.get("word_share") else { return checked_share(UNNAMED_WORD_SHARE) };
    let number = stored.as_f64().ok_or_else(|| {
        let reason = format!("`word_share` is `{stored}`, expected a number from 0 to 1");
        FeatureError::Setup { name: ROW.name.to_owned(), reason }
    })?;
    checked_share(number)
}

fn checked_share(share: f64) -> Result<f32, FeatureError> {
    // NaN fails this test too.
    if (0.0..=1.0).contains(&share) {
        return Ok(share as f32);
    }
    let reason = format!("`word_share` is `{share}`, expected a number from 0 to 1");
    Err(FeatureError::Setup { name: ROW.name.to_owned(), reason })
}

/// The texts the fit looks at: all, or a seeded sample in log order.
fn sample<'a>(texts: &[&'a str], limit: usize, seed: u64) -> Vec<&'a str> {
    if texts.len() <= limit {
        return texts.to_vec();
    }
    let mut rows = index::sample(&mut rng::stream(seed, "lexical-sample"), texts.len(), limit).into_vec();
    rows.sort_unstable();
    rows.into_iter().map(|row| texts[row]).collect()
}

/// The `limit` n-grams that occur in most queries, at least in `queries_min` (in one where that leaves
/// none), with their number of queries; by frequency, then hash. `texts` are the n-grams of each query,
/// ascending and distinct.
fn frequent(texts: &[Vec<u32>], limit: usize, queries_min: usize) -> Vec<(u32, u32)> {
    let count = |shard: u32| -> Vec<(u32, u32)> {
        let of_shard = |hash: &u32| hash >> SHARD_SHIFT;
        let mut hashes: Vec<u32> = Vec::new();
        for text in texts {
            let start = text.partition_point(|hash| of_shard(hash) < shard);
            let own = text[start..].iter().take_while(|hash| of_shard(hash) == shard);
            hashes.extend(own);
        }
        hashes.sort_unstable();
        hashes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).collect()
    };
    let shards: Vec<Vec<(u32, u32)>> = (0..=u32::MAX >> SHARD_SHIFT).into_par_iter().map(count).collect();
    let mut ranked = shards.concat();
    if ranked.iter().any(|(_, df)| *df as usize >= queries_min) {
        ranked.retain(|(_, df)| *df as usize >= queries_min);
    }
    ranked.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.truncate(limit);
    ranked
}

/// The hashes of each text, ascending and distinct.
fn distinct<'a>(grams: &'a [NGrams], part: impl Fn(&'a NGrams) -> &'a [u32] + Sync) -> Vec<Vec<u32>> {
    let distinct = |grams: &'a NGrams| {
        let mut hashes = part(grams).to_vec();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    };
    grams.par_iter().map(distinct).collect()
}

/// The two TF-IDF blocks of a text, words of squared norm `word_share`, characters the rest; in the order of the text.
fn weigh(vocabulary: &Vocabulary, idf: &[f32], word_share: f32, grams: &NGrams) -> Vec<(u32, f32)> {
    let counts = vocabulary.counts(grams);
    let weight = |(row, count): (u32, u16)| (row, (1.0 + f32::from(count).ln()) * idf[row as usize]);
    let mut weights: Vec<(u32, f32)> = counts.into_iter().map(weight).collect();
    let boundary = weights.partition_point(|(row, _)| (*row as usize) < vocabulary.n_words);
    let (words, chars) = weights.split_at_mut(boundary);
    for (block, share) in [(words, word_share), (chars, 1.0 - word_share)] {
        let norm = (block.iter().map(|(_, w)| w * w).sum::<f32>() / share).sqrt();
        block.iter_mut().for_each(|(_, w)| *w /= norm);
    }
    weights
}

/// Rounds each row of a `(n, dim)` matrix to signed bytes of its own step.
fn quantize(vectors: &[f32], dim: usize) -> (Vec<f32>, Vec<i8>) {
    let mut scale = Vec::with_capacity(vectors.len() / dim);
    let mut bytes = Vec::with_capacity(vectors.len());
    for row in vectors.chunks_exact(dim) {
        let greatest = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let step = if greatest > 0.0 { greatest / 127.0 } else { 1.0 };
        scale.push(step);
        bytes.extend(row.iter().map(|v| (v / step).round() as i8));
    }
    (scale, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::restore;

    const TEXTS: &[&str] = &[
        "What is the capital of France?",
        "What is the capital of Spain?",
        "Write a function that adds two numbers.",
        "Write a function that sorts a list of numbers.",
        "法国的首都是哪里？",
        "西班牙的首都是哪里？",
        "Solve the equation x + 3 = 7 for x.",
        "Solve the equation 2 x = 8 for x.",
    ];

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn like_texts_are_near_and_unlike_ones_far_in_any_language() {
        let featurizer = Lexical::fit(TEXTS, LexicalSettings { dim: 6, ..Default::default() }, 1).unwrap();
        let inputs: Vec<FeatureInput<'_>> = TEXTS.iter().map(|t| FeatureInput::from(*t)).collect();
        let features = featurizer.featurize(&inputs).unwrap();
        for pair in [0, 2, 4, 6] {
            let own = cosine(features.row(pair), features.row(pair + 1));
            let other = cosine(features.row(pair), features.row((pair + 2) % 8));
            assert!(own > 0.5 && own > other + 0.3, "{pair}: {own} {other}");
            assert!((cosine(features.row(pair), features.row(pair)) - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn what_is_stored_makes_the_same_features_bit_for_bit() {
        let fitted = Lexical::fit(TEXTS, LexicalSettings { dim: 4, ..Default::default() }, 1).unwrap();
        let restored = restore(fitted.spec(), fitted.tensors()).unwrap();
        let inputs = [FeatureInput::from("What is the sum of numbers?"), FeatureInput::from("")];
        assert_eq!(fitted.featurize(&inputs).unwrap(), restored.featurize(&inputs).unwrap());
        assert!(fitted.featurize(&inputs).unwrap().row(1).iter().all(|v| *v == 0.0));
    }

    #[test]
    fn the_share_of_words_is_stored_and_an_artifact_without_one_has_the_constant_of_its_time() {
        let inputs = [FeatureInput::from("What is the sum of numbers?")];
        let features = |featurizer: &dyn Featurizer| featurizer.featurize(&inputs).unwrap();
        let fit = |word_share: f64| {
            Lexical::fit(TEXTS, LexicalSettings { dim: 4, word_share, ..Default::default() }, 1)
        };
        let (equal, usual) = (fit(0.5).unwrap(), fit(0.8).unwrap());
        let restored = restore(equal.spec(), equal.tensors()).unwrap();
        assert_eq!(features(restored.as_ref()), features(&equal));
        assert_ne!(features(&equal), features(&usual));
        let mut spec = usual.spec().clone();
        assert_eq!(spec.settings.as_object_mut().unwrap().remove("word_share").unwrap(), 0.8);
        let old = restore(&spec, usual.tensors()).unwrap();
        assert_eq!(features(old.as_ref()), features(&usual));
        assert_eq!(old.spec(), &spec, "an old artifact keeps its digest");
        spec.settings["word_share"] = "much".into();
        assert!(
            restore(&spec, usual.tensors()).unwrap_err().to_string().contains("`word_share` is `\"much\"`")
        );
        assert!(fit(1.5).unwrap_err().to_string().contains("`word_share` is `1.5`"));
        assert!(fit(1.0).is_ok() && fit(0.0).is_ok());
    }

    #[test]
    fn the_same_seed_gives_the_same_tensors_and_one_text_is_enough() {
        let settings = LexicalSettings { dim: 4, fit_queries_max: 5, ..Default::default() };
        let fit = |seed| Lexical::fit(TEXTS, settings, seed).unwrap().tensors();
        assert_eq!(fit(3), fit(3));
        assert_ne!(fit(3), fit(4));
        assert_eq!(Lexical::fit(&TEXTS[..1], settings, 1).unwrap().dim(), 1);
        assert!(Lexical::fit(&["", " "], settings, 1).is_err());
    }
}
