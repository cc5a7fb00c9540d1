//! Features that know where queries come from: another featurizer's vector with the predicted source appended.
//!
//! A log names the source of its queries (task, product, tenant), a request need not. A classifier of sources is
//! fitted on the train rows; a query `x` of unit norm becomes `y = [x, w sqrt(p)] / sqrt(1 + w^2)` with `p` the
//! posterior over sources, so that `y` has unit norm too and the cosine of two queries is a mean of how alike
//! they read and of how alike their sources are (the Bhattacharyya coefficient of the posteriors).
//!
//! Most of what routers gain on public logs is telling tasks apart; here every method gets it from its features.
//! With fewer than two sources of [`QUERIES_MIN`] queries there is nothing to append.

use super::source_posterior::Posterior;
use super::{FeatureError, FeatureInput, Featurizer, FeaturizerRow, FeaturizerSpec, restore};
use crate::{FeatureMatrix, Tensors, rng};
use rand::seq::index;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const ROW: FeaturizerRow = FeaturizerRow {
    name: "sources",
    title: "another featurizer's vector, unit norm, with the predicted source of the query appended",
    restore: |spec, tensors| Ok(Arc::new(WithSources::restore(spec, tensors)?)),
    open: None,
};

/// Queries a source must have to be told apart from the others.
const QUERIES_MIN: usize = 20;
/// Sources told apart, at most; the most frequent ones.
const SOURCES_MAX: usize = 64;
/// Queries the classifier is fitted on, at most; a seeded sample of a longer log.
const FIT_QUERIES_MAX: usize = 16_384;
/// Penalty of the classifier's squared weights. Cross-validation on the train split of five logs liked 0.1 to 1 alike.
const ALPHA: f64 = 0.3;
/// Prefix of the tensors of the other featurizer.
const INNER: &str = "inner.";

/// What an artifact stores beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Settings {
    /// `w`.
    weight: f32,
    /// Names of the sources, in the order of the posterior.
    sources: Vec<String>,
    /// The other featurizer.
    inner: FeaturizerSpec,
}

/// The featurizer of this module.
#[derive(Debug)]
pub struct WithSources {
    spec: FeaturizerSpec,
    inner: Arc<dyn Featurizer>,
    posterior: Posterior,
    weight: f32,
}

impl WithSources {
    /// Fits the classifier on `features`, shape `(n_queries, inner.dim())`, made by `inner`, and the `sources` of
    /// the same queries. `None` where there are not two sources to tell apart. `weight` must be above 0.
    ///
    /// # Errors
    /// If the weight is no positive number or the classifier cannot be fitted.
    pub fn fit(
        inner: Arc<dyn Featurizer>,
        features: &FeatureMatrix,
        sources: &[Option<&str>],
        weight: f32,
        seed: u64,
    ) -> Result<Option<Self>, FeatureError> {
        let error = |reason: String| FeatureError::Setup { name: ROW.name.to_owned(), reason };
        if !(weight > 0.0 && weight.is_finite()) {
            return Err(error(format!("the weight of the source is `{weight}`, expected a number above 0")));
        }
        let names = frequent(sources);
        if names.len() < 2 {
            return Ok(None);
        }
        let (rows, labels) = sample(sources, &names, seed);
        let mut x = features.select_rows(&rows).into_values();
        let dim = inner.dim();
        x.chunks_exact_mut(dim).for_each(|row| {
            to_unit(row);
        });
        let posterior = Posterior::fit(x, dim, &labels, names.len(), ALPHA);
        let posterior = posterior.map_err(|e| error(e.to_string()))?;
        let settings = Settings {
            weight,
            sources: names.iter().map(|name| (*name).to_owned()).collect(),
            inner: inner.spec().clone(),
        };
        let spec = FeaturizerSpec {
            name: ROW.name.to_owned(),
            dim: dim + names.len(),
            settings: serde_json::to_value(settings).map_err(|e| error(e.to_string()))?,
        };
        Ok(Some(Self { spec, inner, posterior, weight }))
    }

    /// Appends the source to vectors `(n, inner.dim())` that the other featurizer made.
    #[must_use]
    pub fn append(&self, x: &FeatureMatrix) -> FeatureMatrix {
        let (dim, width) = (x.dim(), self.spec.dim);
        let mut values = vec![0.0_f32; x.n_rows() * width];
        for (row, out) in values.chunks_exact_mut(width).enumerate() {
            let (text, source) = out.split_at_mut(dim);
            text.copy_from_slice(x.row(row));
            let known = to_unit(text);
            self.posterior.of(text, source);
            source.iter_mut().for_each(|p| *p = self.weight * p.sqrt());
            // The roots of a distribution have norm 1; a text that says nothing has norm 0.
            let norm = (f32::from(known) + self.weight * self.weight).sqrt();
            out.iter_mut().for_each(|v| *v /= norm);
        }
        FeatureMatrix::from_vec(x.n_rows(), width, values)
    }

    fn restore(spec: &FeaturizerSpec, mut tensors: Tensors) -> Result<Self, FeatureError> {
        let error = |reason: String| FeatureError::Setup { name: ROW.name.to_owned(), reason };
        let settings: Settings =
            serde_json::from_value(spec.settings.clone()).map_err(|e| error(e.to_string()))?;
        let (dim, n_sources) = (settings.inner.dim, settings.sources.len());
        if spec.dim != dim + n_sources {
            let reason = format!("its width is `{}`, expected {dim} + {n_sources}", spec.dim);
            return Err(error(reason));
        }
        if !(settings.weight > 0.0 && settings.weight.is_finite()) {
            return Err(error(format!("its weight is `{}`, expected a number above 0", settings.weight)));
        }
        if settings.inner.name == ROW.name {
            return Err(error("it wraps another featurizer of its own kind".to_owned()));
        }
        let wrap = |source| FeatureError::Tensor { name: ROW.name.to_owned(), source };
        let weights = tensors.take_f32("posterior.weight", &[dim, n_sources]).map_err(wrap)?;
        let bias = tensors.take_f32("posterior.bias", &[n_sources]).map_err(wrap)?;
        let mut inner = Tensors::new();
        for (name, tensor) in tensors.iter() {
            if let Some(name) = name.strip_prefix(INNER) {
                inner.insert(name, tensor.clone());
            }
        }
        let inner = restore(&settings.inner, inner)?;
        let posterior = Posterior::new(weights, bias);
        Ok(Self { spec: spec.clone(), inner, posterior, weight: settings.weight })
    }
}

impl Featurizer for WithSources {
    fn spec(&self) -> &FeaturizerSpec {
        &self.spec
    }

    fn tensors(&self) -> Tensors {
        let (dim, n_sources) = (self.inner.dim(), self.posterior.n_sources());
        let mut tensors = Tensors::new();
        tensors.insert_f32("posterior.weight", &[dim, n_sources], self.posterior.weights().to_vec());
        tensors.insert_f32("posterior.bias", &[n_sources], self.posterior.bias().to_vec());
        for (name, tensor) in self.inner.tensors().iter() {
            tensors.insert(&format!("{INNER}{name}"), tensor.clone());
        }
        tensors
    }

    fn reads_vector(&self) -> bool {
        self.inner.reads_vector()
    }

    fn featurize(&self, inputs: &[FeatureInput<'_>]) -> Result<FeatureMatrix, FeatureError> {
        Ok(self.append(&self.inner.featurize(inputs)?))
    }
}

/// Scales a row to unit norm; `false`, and left as it is, if it is zero.
fn to_unit(row: &mut [f32]) -> bool {
    let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|v| *v /= norm);
    }
    norm > 0.0
}

/// The sources to tell apart, in the order of their names.
fn frequent<'a>(sources: &[Option<&'a str>]) -> Vec<&'a str> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for source in sources.iter().flatten() {
        *counts.entry(source).or_default() += 1;
    }
    let mut names: Vec<(&str, usize)> = counts.into_iter().filter(|(_, n)| *n >= QUERIES_MIN).collect();
    names.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    names.truncate(SOURCES_MAX);
    let mut names: Vec<&str> = names.into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names
}

/// Rows of a kept source and the number of that source, at most [`FIT_QUERIES_MAX`].
fn sample(sources: &[Option<&str>], names: &[&str], seed: u64) -> (Vec<usize>, Vec<u32>) {
    let label = |source: &Option<&str>| names.binary_search(&source.as_ref()?).ok();
    let mut rows: Vec<usize> = (0..sources.len()).filter(|row| label(&sources[*row]).is_some()).collect();
    if rows.len() > FIT_QUERIES_MAX {
        let mut generator = rng::stream(seed, "source-posterior");
        let kept = index::sample(&mut generator, rows.len(), FIT_QUERIES_MAX);
        rows = kept.into_iter().map(|at| rows[at]).collect();
        rows.sort_unstable();
    }
    let labels = rows.iter().filter_map(|row| label(&sources[*row]).map(|at| at as u32)).collect();
    (rows, labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Lexical, LexicalSettings};

    fn texts() -> (Vec<String>, Vec<Option<&'static str>>) {
        let sums = (0..40).map(|i| (format!("Add {i} and {} and give the sum.", i * 7 % 11), Some("sums")));
        let towns = (0..40).map(|i| (format!("Name a town in region {i} of the country."), Some("towns")));
        let rare = (0..3).map(|i| (format!("Write the {i}th verse of a poem."), Some("verse")));
        let none = (0..3).map(|i| (format!("Count to {i} in Latin."), None));
        sums.chain(towns).chain(rare).chain(none).unzip()
    }

    fn fitted(weight: f32) -> (WithSources, Vec<String>) {
        let (texts, sources) = texts();
        let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
        let settings = LexicalSettings { dim: 12, ..Default::default() };
        let inner: Arc<dyn Featurizer> = Arc::new(Lexical::fit(&borrowed, settings, 1).unwrap());
        let inputs: Vec<FeatureInput<'_>> = borrowed.iter().map(|t| FeatureInput::from(*t)).collect();
        let features = inner.featurize(&inputs).unwrap();
        (WithSources::fit(inner, &features, &sources, weight, 1).unwrap().unwrap(), texts)
    }

    #[test]
    fn the_cosine_is_the_mean_of_text_and_source() {
        let (featurizer, _) = fitted(1.0);
        assert_eq!(featurizer.dim(), 14); // `verse` is too rare
        let text =
            ["Add 3 and 8 and give the sum.", "Add 30 and 9, then give the sum.", "Name a town there."];
        let inputs: Vec<FeatureInput<'_>> = text.iter().map(|t| FeatureInput::from(*t)).collect();
        let y = featurizer.featurize(&inputs).unwrap();
        let x = featurizer.inner.featurize(&inputs).unwrap();
        let dot = |m: &FeatureMatrix, a: usize, b: usize, from: usize| {
            m.row(a)[from..].iter().zip(&m.row(b)[from..]).map(|(a, b)| a * b).sum::<f32>()
        };
        for (a, b) in [(0, 0), (0, 1), (0, 2)] {
            let expected = f32::midpoint(dot(&x, a, b, 0), 2.0 * dot(&y, a, b, 12));
            assert!((dot(&y, a, b, 0) - expected).abs() < 1e-5);
        }
        assert!((dot(&y, 2, 2, 0) - 1.0).abs() < 1e-5);
        assert!(
            dot(&y, 0, 1, 12) > 0.45 && dot(&y, 0, 2, 12) < 0.3,
            "{} {}",
            dot(&y, 0, 1, 12),
            dot(&y, 0, 2, 12)
        );
    }

    #[test]
    fn what_is_stored_makes_the_same_features_bit_for_bit() {
        let (featurizer, texts) = fitted(0.5);
        let restored = restore(featurizer.spec(), featurizer.tensors()).unwrap();
        let mut inputs: Vec<FeatureInput<'_>> =
            texts.iter().map(|t| FeatureInput::from(t.as_str())).collect();
        inputs.push(FeatureInput::from(""));
        let features = featurizer.featurize(&inputs).unwrap();
        assert_eq!(features, restored.featurize(&inputs).unwrap());
        // The empty text: no words, the share of each source.
        let empty = features.row(inputs.len() - 1);
        assert!(empty[..12].iter().all(|v| *v == 0.0));
        assert!((empty[12..].iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn one_source_is_nothing_to_tell_apart_and_a_weight_must_be_positive() {
        let (featurizer, _) = fitted(1.0);
        let inner = &featurizer.inner;
        let features = FeatureMatrix::zeros(50, 12);
        let fit = |sources: &[Option<&str>], w| WithSources::fit(Arc::clone(inner), &features, sources, w, 1);
        assert!(fit(&[Some("a"); 50], 1.0).unwrap().is_none());
        assert!(fit(&[None; 50], 1.0).unwrap().is_none());
        assert!(fit(&[Some("a"); 50], f32::NAN).unwrap_err().to_string().contains("`NaN`"));
    }
}
