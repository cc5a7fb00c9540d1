//! Another predictor behind a guard: no arm is believed better than a baseline without paired evidence.
//!
//! Of each query the guard knows, per arm `m`, the posterior mean `P` and deviation `sqrt(W)` of `y_m - y_b` (see
//! [`crate::evidence`]): of the source that the request names, else of the source that a ridge classifier predicts, or
//! of the nearest training queries. Let `c_m = P - z_m sqrt(W)` and `c_b = 0`. With `f` the scores of the predictor
//! behind the guard and `g` the arm of the greatest `c`:
//!
//! ```text
//! c_m > 0:   score_m = min(f_m, f_g)     evidence clears the threshold
//! baseline:  score_b = min(f_b, f_g)
//! c_m < 0:   score_m = min(f_m, score_b)
//! ```
//!
//! Equals are kept apart by a hair in the order of `c`. So the greatest score is that of the guard's arm, among
//! whatever arms may be called; where money has a price, the scores still tell queries that a cheap arm answers as
//! well from those that it does not.
//!
//! Of features `x` the predictor behind reads `[s x_t, sqrt(p)] / sqrt(2)`, with `x_t` the leading part that is made
//! of the text, `s` its scale and `p` the posterior of the classifier; `s x_t` where there is no classifier.

use super::FormRow;
use super::mixture::{Part, restore_part, store_part};
use crate::evidence::{Basis, Differences, Evidence, Prior, UNOBSERVED};
use crate::search::{Engine, EngineKind, SearchError};
use crate::{Batch, FormState, LoadError, Neighborhood, PredictError, Prediction, Predictor, check_batch};
use routewright_data::{Cells, FeatureMatrix, Tensors};
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "guarded",
    version: 1,
    title: "another form, whose scores may not exceed a baseline's without paired evidence",
    load: Guarded::load,
};

/// Difference that keeps equal scores apart, relative to scores above 1.
const HAIR: f32 = 1e-6;
/// What is added to a squared posterior, so that no source is impossible.
const FLOOR: f32 = 1e-6;

/// A ridge classifier of sources on the text part of the features.
///
/// `p` is the regression on indicators of the sources, clipped at 0, squared, plus 1e-6, normalised.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelRidge {
    /// Names, in the order of the posterior.
    pub sources: Vec<String>,
    /// `(n_sources, text_dim + 1)`, intercept last.
    pub weights: Vec<f32>,
}

impl LabelRidge {
    /// The posterior of values of the regression, in place.
    pub fn normalize(values: &mut [f32]) {
        values.iter_mut().for_each(|v| *v = v.max(0.0) * v.max(0.0) + FLOOR);
        let sum: f32 = values.iter().sum();
        values.iter_mut().for_each(|v| *v /= sum);
    }

    /// The posterior of one text vector.
    fn posterior(&self, x: &[f32]) -> Vec<f32> {
        let value = |w: &[f32]| w[x.len()] + w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
        let mut p: Vec<f32> = self.weights.chunks_exact(x.len() + 1).map(value).collect();
        Self::normalize(&mut p);
        p
    }
}

/// What is believed of every arm in every source; tables of shape `(n_sources, n_arms)`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GuardTables {
    /// Names, sorted.
    pub sources: Vec<String>,
    /// Posterior mean of the score less that of the baseline.
    pub gain: Vec<f32>,
    /// Posterior standard deviation, [`UNOBSERVED`] where nothing was seen.
    pub sd: Vec<f32>,
}

/// Paired differences of the training queries, looked up by nearness.
#[derive(Debug)]
pub struct NearGuard {
    /// Neighbors looked at, at least 1.
    pub k: usize,
    /// What the predictor behind the guard reads, of training queries of norm above 0.
    pub index: Engine,
    /// `y_m - y_b` of those queries `(n, n_arms)`, missing cells `NaN`.
    pub difference: Cells,
    /// What is believed of each arm before the neighbors are looked at.
    pub prior: Vec<Prior>,
}

impl NearGuard {
    /// An index of training queries.
    ///
    /// # Errors
    /// If they cannot be indexed.
    pub fn index(features: FeatureMatrix) -> Result<Engine, SearchError> {
        Engine::new(EngineKind::Exact, features)
    }

    /// Gain and deviation of every arm from the rows given.
    pub fn weigh(&self, rows: impl Iterator<Item = usize> + Clone) -> (Vec<f32>, Vec<f32>) {
        let of_arm = |(arm, prior): (usize, &Prior)| {
            let known = rows.clone().filter_map(|row| self.difference.get(row, arm)).map(f64::from);
            let group = Differences::of(&known.collect::<Vec<f64>>());
            let (gain, sd) = prior.posterior(&group);
            (gain as f32, if group.n > 0.0 { sd as f32 } else { UNOBSERVED })
        };
        self.prior.iter().enumerate().map(of_arm).unzip()
    }
}

/// A predictor, a baseline and the evidence against it.
#[derive(Debug)]
pub struct Guarded {
    /// Width of the features.
    pub dim: usize,
    /// Leading features that are made of the text.
    pub text_dim: usize,
    /// Factor that gives them unit norm.
    pub scale: f32,
    /// Index of the baseline arm.
    pub baseline: usize,
    /// Standard errors that each arm must clear.
    pub z: Vec<f32>,
    /// Whether the source that a request names is read; else it is predicted always.
    pub reads_source: bool,
    /// Predicts sources, where there are several.
    pub labels: Option<LabelRidge>,
    /// Evidence by source; none where evidence is by nearness.
    pub tables: GuardTables,
    /// Evidence by nearness.
    pub near: Option<NearGuard>,
    /// The predictor behind the guard.
    pub inner: Box<dyn Predictor>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    text_dim: usize,
    scale: f32,
    baseline: usize,
    reads_source: bool,
    sources: Vec<String>,
    labels: Option<Vec<String>>,
    near: Option<usize>,
    inner: Part,
}

impl Guarded {
    /// Appends `[x, sqrt(p)] / sqrt(2)`: what the predictor behind the guard reads of a text vector and a posterior.
    pub fn join(x: &[f32], p: &[f32], out: &mut Vec<f32>) {
        let half = std::f32::consts::FRAC_1_SQRT_2;
        out.extend(x.iter().map(|v| v * half));
        out.extend(p.iter().map(|p| p.sqrt() * half));
    }

    /// What the predictor behind the guard reads, and the posterior of sources of each row (empty without labels).
    pub fn expand(&self, features: &FeatureMatrix) -> (FeatureMatrix, Vec<Vec<f32>>) {
        let mut posteriors = Vec::new();
        let n_labels = self.labels.as_ref().map_or(0, |labels| labels.sources.len());
        let width = self.text_dim + n_labels;
        let mut values = Vec::with_capacity(features.n_rows() * width);
        for row in 0..features.n_rows() {
            let x: Vec<f32> = features.row(row)[..self.text_dim].iter().map(|v| v * self.scale).collect();
            match &self.labels {
                None => values.extend(x),
                Some(labels) => {
                    let p = labels.posterior(&x);
                    Self::join(&x, &p, &mut values);
                    posteriors.push(p);
                }
            }
        }
        (FeatureMatrix::from_vec(features.n_rows(), width, values), posteriors)
    }

    fn source_row(&self, source: &str) -> Option<usize> {
        self.tables.sources.iter().position(|known| known == source)
    }

    /// Where evidence on a query comes from, and the row of the tables.
    fn basis(&self, given: Option<&str>, posterior: Option<&Vec<f32>>) -> (Basis, Option<usize>) {
        if let Some(source) = given.filter(|_| self.reads_source) {
            return match self.source_row(source) {
                Some(row) => (Basis::Given(source.to_owned()), Some(row)),
                None => (Basis::Nothing(Some(source.to_owned())), None),
            };
        }
        let likeliest = posterior.and_then(|p| (0..p.len()).max_by(|a, b| p[*a].total_cmp(&p[*b])));
        let predicted = likeliest.zip(posterior).zip(self.labels.as_ref());
        let (source, probability) = match predicted {
            Some(((at, p), labels)) => (&labels.sources[at], p[at]),
            // One source is every query's.
            None if self.tables.sources.len() == 1 => (&self.tables.sources[0], 1.0),
            None => return (Basis::Nothing(None), None),
        };
        (Basis::Predicted { source: source.clone(), probability }, self.source_row(source))
    }

    fn evidence(&self, basis: Basis, found: Option<(Vec<f32>, Vec<f32>)>) -> Evidence {
        let n_arms = self.z.len();
        let (mut gain, mut sd) = found.unwrap_or_else(|| (vec![0.0; n_arms], vec![UNOBSERVED; n_arms]));
        (gain[self.baseline], sd[self.baseline]) = (0.0, 0.0);
        Evidence { baseline: self.baseline, basis, gain, sd, z: self.z.clone() }
    }

    /// The evidence on each query.
    fn evidences(
        &self,
        batch: &Batch<'_>,
        read: &FeatureMatrix,
        p: &[Vec<f32>],
    ) -> Result<Vec<Evidence>, PredictError> {
        if let Some(near) = &self.near {
            let found = near.index.search(read.values(), near.k);
            let found = found.map_err(|error| PredictError::Search(error.to_string()))?;
            let of_query = |(row, found): (usize, Vec<crate::search::Neighbor>)| {
                // A text that says nothing is near to nothing.
                if read.row(row).iter().all(|v| *v == 0.0) {
                    return self.evidence(Basis::Nothing(None), None);
                }
                let weighed = near.weigh(found.iter().map(|neighbor| neighbor.row as usize));
                self.evidence(Basis::Neighbors { rows: found.len() }, Some(weighed))
            };
            return Ok(found.into_iter().enumerate().map(of_query).collect());
        }
        let n_arms = self.z.len();
        let of_query = |row: usize| {
            let (basis, at) = self.basis(batch.source(row), p.get(row));
            let table = |values: &[f32], at: usize| values[at * n_arms..(at + 1) * n_arms].to_vec();
            let found = at.map(|at| (table(&self.tables.gain, at), table(&self.tables.sd, at)));
            self.evidence(basis, found)
        };
        Ok((0..batch.n_queries()).map(of_query).collect())
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let config: Config = super::config(ROW.name, state.config)?;
        check(&config, n_arms)?;
        let tensors = &mut state.tensors;
        let n = config.sources.len();
        let (gain, sd) = (tensors.take_f32("gain", &[n, n_arms])?, tensors.take_f32("sd", &[n, n_arms])?);
        let z = tensors.take_f32("z", &[n_arms])?;
        let labels = match config.labels {
            None => None,
            Some(sources) => {
                let weights = tensors.take_f32("labels.weights", &[sources.len(), config.text_dim + 1])?;
                Some(LabelRidge { sources, weights })
            }
        };
        let near = config.near.map(|k| restore_near(k, tensors, n_arms)).transpose()?;
        let width = config.text_dim + labels.as_ref().map_or(0, |labels| labels.sources.len());
        let inner = restore_part(config.inner, "inner", tensors, n_arms)?;
        let widths =
            [("the form behind it", inner.dim()), ("its index", near.as_ref().map(|n| n.index.dim()))];
        for (what, own) in widths {
            if let Some(own) = own.filter(|own| *own != width) {
                return Err(refuse(format!("{what} reads features of width {own}, expected {width}")));
            }
        }
        Ok(Box::new(Self {
            dim: config.dim,
            text_dim: config.text_dim,
            scale: config.scale,
            baseline: config.baseline,
            z,
            reads_source: config.reads_source,
            labels,
            tables: GuardTables { sources: config.sources, gain, sd },
            near,
            inner,
        }))
    }
}

fn refuse(reason: String) -> LoadError {
    LoadError::Config { form: ROW.name, reason }
}

fn check(config: &Config, n_arms: usize) -> Result<(), LoadError> {
    let Config { dim, text_dim, scale, baseline, near, labels, .. } = config;
    if *baseline >= n_arms {
        return Err(refuse(format!("its baseline is arm `{baseline}` of {n_arms}")));
    }
    if text_dim > dim {
        return Err(refuse(format!("`text_dim` is `{text_dim}`, expected at most {dim}")));
    }
    if !(scale.is_finite() && *scale > 0.0) {
        return Err(refuse(format!("`scale` is `{scale}`, expected a number above 0")));
    }
    if near.is_some_and(|k| k == 0) {
        return Err(refuse("`near` is `0`, expected at least 1 neighbor".to_owned()));
    }
    match labels {
        Some(labels) if labels.is_empty() => Err(refuse("it predicts no source".to_owned())),
        _ => Ok(()),
    }
}

fn restore_near(k: usize, tensors: &mut Tensors, n_arms: usize) -> Result<NearGuard, LoadError> {
    let mut own = tensors.take_nested("near");
    let index = Engine::restore(EngineKind::Exact, &mut own, ROW.name)?;
    let n = index.len();
    let difference = Cells::from_vec(n, n_arms, own.take_f32_any("difference", &[n, n_arms])?);
    let prior = own.take_f32("prior", &[n_arms, 3])?;
    let prior: Vec<Prior> = prior
        .chunks_exact(3)
        .map(|p| Prior { pooled: f64::from(p[0]), mean: f64::from(p[1]), tau2: f64::from(p[2]) })
        .collect();
    match prior.iter().find(|prior| !(prior.tau2 > 0.0 && prior.pooled >= 0.0)) {
        Some(prior) => Err(refuse(format!("a prior is `{prior:?}`, expected variances above 0"))),
        None => Ok(NearGuard { k, index, difference, prior }),
    }
}

/// Arms in the order of `bounds`: of equals the baseline, then the cheaper, then the first.
fn order(bounds: &[f32], baseline: usize, cost: &[f32]) -> Vec<usize> {
    let usd = |arm: usize| if cost[arm].is_nan() { f32::INFINITY } else { cost[arm] };
    let mut arms: Vec<usize> = (0..bounds.len()).collect();
    arms.sort_by(|&a, &b| {
        let by_bound = bounds[b].total_cmp(&bounds[a]);
        by_bound.then((b == baseline).cmp(&(a == baseline))).then(usd(a).total_cmp(&usd(b)))
    });
    arms
}

/// Holds scores to what the bounds allow.
fn hold(score: &mut [f32], bounds: &[f32], baseline: usize, cost: &[f32]) {
    let order = order(bounds, baseline, cost);
    let Some(&first) = order.first() else { return };
    let mut limit = score[first];
    for (rank, &arm) in order.iter().enumerate().skip(1) {
        let hair = HAIR * limit.abs().max(1.0);
        score[arm] = score[arm].min(limit - hair * rank as f32);
        if arm == baseline {
            limit = score[arm];
        }
    }
}

impl Predictor for Guarded {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.z.len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.dim)?;
        let (read, posteriors) = self.expand(batch.features);
        let mut found = self.inner.predict(&Batch { features: &read, ..*batch })?;
        let evidences = self.evidences(batch, &read, &posteriors)?;
        let n_arms = self.n_arms();
        let mut near = found.neighborhoods.take().unwrap_or_default().into_iter();
        let mut neighborhoods = Vec::with_capacity(evidences.len());
        for (row, evidence) in evidences.into_iter().enumerate() {
            let cells = row * n_arms..(row + 1) * n_arms;
            let (score, cost) = (&mut found.score[cells.clone()], &found.cost_usd[cells]);
            hold(score, &evidence.bounds(), self.baseline, cost);
            let rests_on = near.next().unwrap_or_default();
            neighborhoods.push(Neighborhood { evidence: Some(evidence), ..rests_on });
        }
        Ok(Prediction { score_se: None, neighborhoods: Some(neighborhoods), members: None, ..found })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        let (n, n_arms) = (self.tables.sources.len(), self.n_arms());
        tensors.insert_f32("gain", &[n, n_arms], self.tables.gain.clone());
        tensors.insert_f32("sd", &[n, n_arms], self.tables.sd.clone());
        tensors.insert_f32("z", &[n_arms], self.z.clone());
        if let Some(labels) = &self.labels {
            let shape = [labels.sources.len(), self.text_dim + 1];
            tensors.insert_f32("labels.weights", &shape, labels.weights.clone());
        }
        if let Some(near) = &self.near {
            let mut own = Tensors::new();
            near.index.store(&mut own);
            own.insert_f32("difference", &[near.index.len(), n_arms], near.difference.values().to_vec());
            let prior = near.prior.iter().flat_map(|p| [p.pooled as f32, p.mean as f32, p.tau2 as f32]);
            own.insert_f32("prior", &[n_arms, 3], prior.collect());
            tensors.nest("near", own);
        }
        let inner = store_part(self.inner.as_ref(), "inner", &mut tensors);
        let config = Config {
            dim: self.dim,
            text_dim: self.text_dim,
            scale: self.scale,
            baseline: self.baseline,
            reads_source: self.reads_source,
            sources: self.tables.sources.clone(),
            labels: self.labels.as_ref().map(|labels| labels.sources.clone()),
            near: self.near.as_ref().map(|near| near.k),
            inner,
        };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }

    fn is_conditioned(&self) -> bool {
        self.inner.is_conditioned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::{Constant, CostModel};

    /// Three arms; arm 0 is the baseline, arm 1 clears the guard in `math`, arm 2 nowhere.
    fn guarded(labels: Option<LabelRidge>) -> Guarded {
        let cost = CostModel::constant(vec![0.02, 0.03, 0.01]);
        let inner = Constant::new(vec![0.6, 0.7, 0.9], Vec::new(), Vec::new(), cost);
        Guarded {
            dim: 1,
            text_dim: 1,
            scale: 1.0,
            baseline: 0,
            z: vec![1.5, 3.0, 1.5],
            reads_source: true,
            labels,
            tables: GuardTables {
                sources: vec!["law".to_owned(), "math".to_owned()],
                gain: vec![0.0, 0.05, 0.04, 0.0, 0.08, 0.01],
                sd: vec![0.0, 0.02, 0.04, 0.0, 0.02, 0.02],
            },
            near: None,
            inner: Box::new(inner),
        }
    }

    fn predicted(form: &dyn Predictor, source: Option<&str>, x: f32) -> Prediction {
        let features = FeatureMatrix::from_vec(1, 1, vec![x]);
        form.predict(&Batch { sources: &[source], ..Batch::of(&features) }).unwrap()
    }

    fn best(score: &[f32]) -> usize {
        (0..score.len()).max_by(|a, b| score[*a].total_cmp(&score[*b])).unwrap()
    }

    #[test]
    fn the_baseline_is_left_where_evidence_clears_the_threshold_alone() {
        let form = guarded(None);
        let law = predicted(&form, Some("law"), 0.0).score;
        // 0.05 - 3 * 0.02 < 0: both others are held to the baseline, in the order of their bounds.
        assert!(best(&law) == 0 && law[0] == 0.6 && law[1] > law[2] && law[2] > 0.599, "{law:?}");
        let math = predicted(&form, Some("math"), 0.0).score;
        // 0.08 - 0.06 > 0: arm 1 leads at its own score; without it the baseline does, not arm 2.
        assert!(best(&math) == 1 && math[1] == 0.7 && math[0] == 0.6 && math[2] < 0.6, "{math:?}");
        for unknown in [Some("new"), None] {
            let prediction = predicted(&form, unknown, 0.0);
            assert_eq!(best(&prediction.score), 0);
            let basis = &prediction.neighborhoods.as_ref().unwrap()[0].evidence.as_ref().unwrap().basis;
            assert_eq!(*basis, Basis::Nothing(unknown.map(str::to_owned)));
        }
    }

    #[test]
    fn a_source_that_is_not_named_is_predicted() {
        // Indicator of `math` is x, that of `law` 1 - x.
        let sources = vec!["law".to_owned(), "math".to_owned()];
        let labels = LabelRidge { sources, weights: vec![-1.0, 1.0, 1.0, 0.0] };
        let form = guarded(Some(labels));
        let at = |x: f32, named| best(&predicted(&form, named, x).score);
        assert_eq!((at(0.9, None), at(0.1, None)), (1, 0));
        // What the request names is believed, whatever the text looks like.
        assert_eq!((at(0.1, Some("math")), at(0.9, Some("law")), at(0.9, Some("new"))), (1, 0, 0));
        let prediction = predicted(&form, None, 0.9);
        let evidence = prediction.neighborhoods.unwrap().remove(0).evidence.unwrap();
        let Basis::Predicted { source, probability } = evidence.basis else { panic!("{evidence:?}") };
        // 0.81 / (0.81 + 0.01)
        assert!(source == "math" && (probability - 0.9878).abs() < 1e-3, "{probability}");
        let deaf = Guarded { reads_source: false, ..form };
        assert_eq!(best(&predicted(&deaf, Some("law"), 0.9).score), 1);
        let restored = crate::forms::restored(&deaf).unwrap();
        assert_eq!(predicted(restored.as_ref(), None, 0.9), predicted(&deaf, None, 0.9));
    }

    #[test]
    fn evidence_of_the_nearest_queries_counts_where_there_are_no_sources() {
        let features =
            FeatureMatrix::from_vec(20, 1, (0..20).map(|i| if i < 10 { 1.0 } else { -1.0 }).collect());
        // Arm 1 is better on the right, worse on the left; arm 2 was never seen beside the baseline.
        let difference = (0..20).flat_map(|i| [0.0, if i < 10 { 0.5 } else { -0.5 }, f32::NAN]).collect();
        let prior = Prior { pooled: 0.01, mean: 0.0, tau2: 0.25 };
        let near = NearGuard {
            k: 8,
            index: NearGuard::index(features).unwrap(),
            difference: Cells::from_vec(20, 3, difference),
            prior: vec![prior; 3],
        };
        let form = Guarded { near: Some(near), tables: GuardTables::default(), ..guarded(None) };
        let at = |x: f32| best(&predicted(&form, None, x).score);
        assert_eq!((at(0.7), at(-0.7), at(0.0)), (1, 0, 0));
        let restored = crate::forms::restored(&form).unwrap();
        assert_eq!(predicted(restored.as_ref(), None, 0.7), predicted(&form, None, 0.7));
    }

    #[test]
    fn a_state_that_cannot_be_is_refused_in_words() {
        let refused = |change: fn(&mut FormState), expected: &str| {
            let mut state = guarded(None).state();
            change(&mut state);
            let error = crate::forms::load("guarded", 1, state, 3).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(|state| state.config["baseline"] = 3.into(), "arm `3` of 3");
        refused(|state| state.config["text_dim"] = 2.into(), "`text_dim` is `2`");
        refused(|state| state.config["scale"] = 0.into(), "`scale` is `0`");
        refused(|state| state.config["near"] = 0.into(), "at least 1 neighbor");
        refused(|state| state.config["sources"] = serde_json::json!(["law"]), "gain");
        refused(|state| state.config["inner"]["form"] = "none".into(), "none");
    }
}
