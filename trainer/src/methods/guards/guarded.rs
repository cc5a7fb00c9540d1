//! The best single model, left only where paired evidence clears a threshold; the method of those who name none.
//!
//! The guard is the empirical-Bayes one of [`crate::source_guard`]: by the source that a request names, else by that
//! which a ridge classifier predicts, or, in a log without sources, by the nearest training queries. What it lets
//! through is decided by `c = P - z sqrt(W)`; scores are those of the mean of a ridge regression and of nearest
//! neighbors, held to what the guard allows ([`routewright_policy::forms::Guarded`]). So where money has no price the
//! decision is the guard's, and where it has, queries that a cheap arm answers as well go first.
//!
//! Ridge and neighbors read the text and the square roots of the predicted posterior, for training rows the one
//! without themselves ([`super::labels`]); their settings are chosen by the centred error.
//!
//! There is no paper: measured for this project, `docs/methods/guarded.md`.

use super::labels::Labels;
use super::nearness;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow};
use crate::methods::baselines::means;
use crate::methods::costs;
use crate::methods::neighbors::knn::{self, Knn};
use crate::methods::scorers::ridge::{self, Ridge};
use crate::source_guard::{GuardSettings, SourceGuard};
use crate::validation::Criterion;
use routewright_data::FeatureMatrix;
use routewright_data::suggest::near_names;
use routewright_policy::evidence::UNOBSERVED;
use routewright_policy::forms::{Constant, GuardTables, Guarded, Mixture};
use routewright_policy::{Predictor, SelectorSpec};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Guard>(
    "the best single model, left only where paired evidence clears a threshold; the default",
    None,
    Family::Before,
    &[],
);
pub(super) const NAME: &str = Guard::NAME;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Guard;

/// What speaks for leaving the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EvidenceKind {
    /// The source where the log has two at least, else neighbors.
    Auto,
    /// The rows of the query's source.
    Source,
    /// The nearest training queries.
    Neighbors,
}

/// Whose word is taken for the source of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LabelKind {
    /// The request's; predicted where it names none.
    Given,
    /// Predicted always.
    Predicted,
}

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Standard errors by which an arm must be better in a source, at least 0.
    z: f64,
    /// Factor of `z` and `z_neighbors` for arms dearer than the baseline, at least 0.
    dear: f64,
    /// The arm that is kept without evidence; empty for the best single model on train under the average.
    baseline: String,
    /// What counts as evidence: `auto`, `source` or `neighbors`.
    evidence: EvidenceKind,
    /// Training queries that are a neighborhood, at least 1.
    neighbors: usize,
    /// Standard errors by which an arm must be better in a neighborhood, at least 0.
    z_neighbors: f64,
    /// Whose word is taken for the source of a query: `given`, or `predicted` always.
    labels: LabelKind,
}

impl Default for Params {
    fn default() -> Self {
        let GuardSettings { z, dear } = GuardSettings::default();
        Self {
            z,
            dear,
            baseline: String::new(),
            evidence: EvidenceKind::Auto,
            neighbors: 100,
            z_neighbors: 2.0,
            labels: LabelKind::Given,
        }
    }
}

fn refuse(reason: String) -> FitError {
    FitError::Params { method: NAME, reason }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        for (name, value) in [("z", self.z), ("dear", self.dear), ("z_neighbors", self.z_neighbors)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(refuse(format!("`{name}` is `{value}`, expected a finite number of at least 0")));
            }
        }
        if self.neighbors == 0 {
            return Err(refuse("`neighbors` is `0`, expected at least 1".to_owned()));
        }
        Ok(())
    }

    /// Column of the baseline.
    fn baseline(&self, context: &FitContext<'_>) -> Result<usize, FitError> {
        let models = &context.train.models;
        if self.baseline.is_empty() {
            let reason = "it has no model with a score".to_owned();
            return means::best_single(context.train, context.average)
                .ok_or(FitError::Log { method: NAME, reason });
        }
        models.iter().position(|model| *model == self.baseline).ok_or_else(|| {
            let hint = near_names(&self.baseline, models.iter().map(String::as_str));
            refuse(format!(
                "`baseline` is `{}`, which is no model with a score in the log; {hint}",
                self.baseline
            ))
        })
    }
}

impl Method for Guard {
    const NAME: &'static str = "guarded";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let baseline = params.baseline(context)?;
        let text = Text::of(context);
        let failed = |reason: String| FitError::Numeric { method: NAME, reason };
        let labels = Labels::fit(&text.features, context.train).map_err(|e| failed(e.to_string()))?;
        let read = text.with_posteriors(labels.as_ref());
        let inner = behind(&read, context)?;
        let by_source = match params.evidence {
            EvidenceKind::Auto => means::rows_by_source(context.train).len() > 1,
            kind => kind == EvidenceKind::Source,
        };
        let z = if by_source { params.z } else { params.z_neighbors };
        let settings = GuardSettings { z, dear: params.dear };
        let guard = SourceGuard::against(baseline, context.train, settings);
        let near = match by_source || read.dim() == 0 {
            true => None,
            false => Some(nearness::fit(&read, context.train, baseline, params.neighbors)?),
        };
        let accuracy = labels.as_ref().map(|labels| labels.accuracy);
        let thresholds = settings.thresholds(&means::mean_costs(context.train), baseline);
        let form = Guarded {
            dim: context.features.dim(),
            text_dim: text.features.dim(),
            scale: text.scale,
            baseline,
            z: thresholds.into_iter().map(|z| z as f32).collect(),
            reads_source: params.labels == LabelKind::Given,
            labels: labels.map(|labels| labels.ridge),
            tables: if by_source { tables(&guard, context) } else { GuardTables::default() },
            near,
            inner,
        };
        let used = Params { baseline: context.train.models[baseline].clone(), ..params.clone() };
        let mut fitted = Fitted::new(Box::new(form), &used);
        fitted.selector = SelectorSpec::named("argmax");
        if by_source {
            fitted.metrics.insert("sources_changed".to_owned(), guard.n_changed() as f64);
        }
        if let Some(accuracy) = accuracy {
            fitted.metrics.insert("source_accuracy".to_owned(), accuracy);
        }
        Ok(fitted)
    }
}

/// The part of the features that is made of the text, at unit norm.
struct Text {
    features: FeatureMatrix,
    /// What its columns were multiplied by.
    scale: f32,
}

impl Text {
    /// Features with the predicted source appended are `[x, w sqrt(p)] / sqrt(1 + w^2)`, see
    /// [`routewright_data::features::WithSources`]: their posterior knows the labels of the train rows.
    fn of(context: &FitContext<'_>) -> Self {
        let spec = context.featurizer.spec();
        let number = |key: &str| spec.settings.get(key).and_then(serde_json::Value::as_f64);
        let inner = spec.settings.get("inner").and_then(|inner| inner.get("dim"));
        let inner = inner.and_then(serde_json::Value::as_u64).map(|dim| dim as usize);
        let appended = inner.zip(number("weight")).filter(|(dim, _)| *dim <= context.features.dim());
        match appended {
            Some((dim, weight)) => {
                let scale = (1.0 + weight * weight).sqrt() as f32;
                let rows = (0..context.features.n_rows()).flat_map(|row| &context.features.row(row)[..dim]);
                let values = rows.map(|v| v * scale).collect();
                Self { features: FeatureMatrix::from_vec(context.features.n_rows(), dim, values), scale }
            }
            None => Self { features: context.features.clone(), scale: 1.0 },
        }
    }

    /// What the predictor behind the guard reads of the training rows: posteriors are those without the row itself.
    fn with_posteriors(&self, labels: Option<&Labels>) -> FeatureMatrix {
        let Some(labels) = labels else { return self.features.clone() };
        let k = labels.ridge.sources.len();
        let mut values = Vec::with_capacity(self.features.n_rows() * (self.features.dim() + k));
        for row in 0..self.features.n_rows() {
            let p = &labels.left_out[row * k..(row + 1) * k];
            Guarded::join(self.features.row(row), p, &mut values);
        }
        FeatureMatrix::from_vec(self.features.n_rows(), self.features.dim() + k, values)
    }
}

/// The mean of a ridge regression and of nearest neighbors; the means of arms where there is nothing to read.
fn behind(read: &FeatureMatrix, context: &FitContext<'_>) -> Result<Box<dyn Predictor>, FitError> {
    let context = &FitContext { features: read, ..*context };
    if read.dim() == 0 {
        let (scores, cost) = (means::mean_scores(context.train), costs::fit(NAME, context)?);
        return Ok(Box::new(Constant::new(scores, Vec::new(), Vec::new(), cost)));
    }
    let ridge = Ridge::fit_by(Criterion::CentredError, &ridge::Params::default(), context)?;
    let knn = Knn::fit_by(Criterion::CentredError, &knn::Params::default(), context)?;
    let cost = costs::fit(NAME, context)?;
    let constant = vec![0.0; context.train.n_arms()];
    let parts = vec![ridge.predictor, knn.predictor];
    Ok(Box::new(Mixture::new(read.dim(), parts, vec![0.5; 2], constant, cost)))
}

fn tables(guard: &SourceGuard, context: &FitContext<'_>) -> GuardTables {
    let mut tables = GuardTables::default();
    for source in means::rows_by_source(context.train).into_keys() {
        for gain in guard.gains(source).unwrap_or_default() {
            tables.gain.push(gain.mean as f32);
            tables.sd.push(if gain.bound == f64::NEG_INFINITY { UNOBSERVED } else { gain.sd as f32 });
        }
        tables.sources.push(source.to_owned());
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Average;
    use crate::method::Device;
    use crate::methods::find;
    use crate::progress::Silent;
    use crate::train::{FeatureChoice, Prepared, RunOptions};
    use routewright_data::OutcomeTable;
    use routewright_data::synthetic::{Settings, World};
    use routewright_policy::evidence::Basis;
    use routewright_policy::{Policy, Request};
    use serde_json::json;

    fn world(n: usize) -> OutcomeTable {
        World::new(Settings { n_arms: 4, drift: 0.0, ..Settings::default() }, 5).table(n).0
    }

    fn policy(table: &OutcomeTable, params: &serde_json::Value) -> Result<Policy, FitError> {
        let prepared = Prepared::new(table.clone(), &FeatureChoice::default(), 1).unwrap();
        let run = RunOptions {
            average: Average::Micro,
            seed: 1,
            device: Device::Cpu,
            progress: &Silent,
            checkpoint: None,
        };
        let row = find(NAME)?;
        Ok(prepared.policy(row, prepared.fit(row, params, &run)?, 1).unwrap())
    }

    /// Arm and basis of the decision on a query of the table.
    fn decide(policy: &Policy, table: &OutcomeTable, row: usize, source: Option<&str>) -> (usize, Basis) {
        let input = table.queries[row].prompt.as_str().into();
        let decision = policy.decide(&Request { input, source, ..Request::default() }).unwrap();
        (decision.arm, decision.neighborhood.unwrap().evidence.unwrap().basis)
    }

    #[test]
    fn decisions_are_those_of_the_rule_with_the_source_named_and_mostly_without() {
        let table = world(600);
        let policy = policy(&table, &json!({})).unwrap();
        let guard = SourceGuard::fit(&table, Average::Micro, GuardSettings::default()).unwrap();
        assert!(guard.n_changed() > 0, "the world has nothing to find");
        let mut same = 0;
        for row in 0..100 {
            let source = table.queries[row].source.as_deref();
            let (arm, basis) = decide(&policy, &table, row, source);
            assert_eq!((arm, basis), (guard.arm(source), Basis::Given(source.unwrap().to_owned())));
            let (arm, basis) = decide(&policy, &table, row, None);
            assert!(matches!(basis, Basis::Predicted { .. }), "{basis:?}");
            same += usize::from(arm == guard.arm(source));
        }
        assert!(same >= 90, "{same} of 100 decisions without a source are those with it");
        let (arm, basis) = decide(&policy, &table, 0, Some("never seen"));
        assert_eq!((arm, basis), (guard.baseline(), Basis::Nothing(Some("never seen".to_owned()))));
        assert!(policy.manifest.metrics["source_accuracy"] > 0.8, "{:?}", policy.manifest.metrics);
    }

    #[test]
    fn a_baseline_that_is_named_is_kept_and_an_unknown_one_is_refused() {
        let mut table = world(300);
        // Nothing can be told apart: whatever is named is kept.
        (0..300).for_each(|row| (0..4).for_each(|arm| table.score.set(row, arm, (row % 2) as f32)));
        for (at, model) in table.models.iter().enumerate() {
            let policy = policy(&table, &json!({"baseline": model})).unwrap();
            assert!((0..20).all(|row| decide(&policy, &table, row, None).0 == at), "{model}");
        }
        let error = policy(&table, &json!({"baseline": "kestral"})).unwrap_err().to_string();
        assert!(error.contains("`baseline` is `kestral`"), "{error}");
        for (name, value) in [("z", json!(-1.0)), ("neighbors", json!(0)), ("evidence", json!("tea-leaves"))]
        {
            let error = policy(&table, &json!({name: value})).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_log_without_sources_goes_by_nearness_and_a_deaf_policy_by_the_text() {
        let mut table = world(600);
        let deaf = policy(&table, &json!({"labels": "predicted"})).unwrap();
        let source = table.queries[0].source.clone();
        assert!(matches!(decide(&deaf, &table, 0, source.as_deref()).1, Basis::Predicted { .. }));
        table.queries.iter_mut().for_each(|query| query.source = None);
        // Six hundred rows are few for two standard errors, doubled for dearer arms.
        let near = policy(&table, &json!({"z_neighbors": 0.3, "neighbors": 60, "dear": 1.0})).unwrap();
        let (arms, bases): (Vec<usize>, Vec<Basis>) =
            (0..100).map(|row| decide(&near, &table, row, None)).unzip();
        assert!(bases.iter().all(|basis| *basis == Basis::Neighbors { rows: 60 }), "{:?}", bases[0]);
        assert!(arms.iter().any(|arm| *arm != arms[0]), "nearness finds nothing in a world of tasks");
    }
}
