//! The target policy fitted again for each fold, on the decisions of the others: what is judged on a decision has never
//! seen it (cross-fitting, Chernozhukov et al. 2018, applied to the policy as it is to the reward model).
//!
//! What is then estimated is the value of the *method* trained on `1 - 1/K` of the log, a little less than that of
//! the artifact at hand. The featurizer is the artifact's: it may have read the prompts of the fold, never its rewards.

use super::{LoggedTable, OpeError, TargetKind, folds};
use crate::evaluate::Average;
use crate::method::Device;
use crate::methods;
use crate::progress::Silent;
use crate::train::{Prepared, RunOptions, feature_inputs};
use routewright_data::decisions::{Combine, Outcomes};
use routewright_policy::Policy;
use routewright_policy::artifact::DecisionsRecord;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// One policy a fold, fitted without its decisions.
///
/// # Errors
/// If the policy was not trained on decisions, a log cannot be read, or a fit is refused.
pub(super) fn refit(
    log: &Path,
    feedback: &Path,
    target: &Policy,
    n_folds: usize,
) -> Result<Vec<Policy>, OpeError> {
    let refuse = |reason: String| OpeError::CrossFit { policy: target.manifest.name.clone(), reason };
    let record = target.manifest.data.decisions.as_ref().ok_or_else(|| {
        refuse(
            "its artifact does not say that it was trained on decisions; expected one made by \
             `train --decisions` of this version"
                .to_owned(),
        )
    })?;
    let combine: Combine = read(&record.combine, "combine").map_err(refuse)?;
    let outcomes = Outcomes::load(feedback, &record.metric, combine)?;
    let logged = LoggedTable::load(log, &outcomes, record.default_reward)?;
    (0..n_folds)
        .map(|held| {
            let rows: Vec<usize> = (0..logged.n_rows())
                .filter(|row| folds::fold(logged.fold_key(*row), n_folds) != held)
                .collect();
            if rows.is_empty() || rows.len() == logged.n_rows() {
                return Err(refuse(format!(
                    "fold {held} of {n_folds} has {} of {} decisions, expected some in every fold",
                    logged.n_rows() - rows.len(),
                    logged.n_rows()
                )));
            }
            fit(&logged.select_rows(&rows), target, record)
        })
        .collect()
}

fn fit(logged: &LoggedTable, target: &Policy, record: &DecisionsRecord) -> Result<Policy, OpeError> {
    let refuse = |reason: String| OpeError::CrossFit { policy: target.manifest.name.clone(), reason };
    let kind: TargetKind = read(&record.targets, "targets").map_err(refuse)?;
    let average: Average = read(&record.average, "average").map_err(refuse)?;
    let manifest = &target.manifest;
    let method = methods::find(&manifest.method).map_err(|error| refuse(error.to_string()))?;
    let featurizer = &target.router()?.featurizer;
    let vectors = featurizer.featurize(&feature_inputs(&logged.table))?;
    let seed = manifest.seed;
    let prepared = Prepared::on(logged.table.clone(), Arc::clone(featurizer), vectors, 0.0, seed);
    let mut prepared = prepared.map_err(|error| refuse(error.to_string()))?;
    logged.fill(kind, &mut prepared.train, &prepared.features)?;
    let run = RunOptions { average, seed, device: Device::Cpu, progress: &Silent, checkpoint: None };
    let fitted = prepared.fit(method, &record.params, &run).map_err(|error| refuse(error.to_string()))?;
    if fitted.featurizer.is_some() {
        let reason = "its method trains the featurizer, which has seen every fold already; judge it on other decisions";
        return Err(refuse(reason.to_owned()));
    }
    let mut draft = prepared.draft(&manifest.name, method, fitted, "fold", seed);
    draft.selector = manifest.selector.clone();
    draft.into_policy().map_err(|error| refuse(error.to_string()))
}

/// Reads a word of the manifest.
fn read<T: FromStr>(text: &str, key: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("its manifest has `data.decisions.{key}` = `{text}`, which is not known"))
}
