//! `--save`, `--max-loss`, `--budget`: what a policy is calibrated to, and how it is reported.

use super::output;
use anyhow::{Context as _, bail};
use clap::Args;
use routewright_data::{LoadOptions, OutcomeTable};
use routewright_policy::artifact::{Goal, Promise};
use routewright_policy::{Batch, Policy, Prediction};
use routewright_trainer::calibrate::{self, Always, CalibrateError, FOLDS, OutOfReach, Priced};
use routewright_trainer::evaluate::{Average, COMMON_SHARE_MIN, Decisions, KeptPromise, align};
use routewright_trainer::method::MethodRow;
use routewright_trainer::train::{FeatureChoice, Prepared, RunOptions, feature_inputs};
use std::path::Path;
use std::process::ExitCode;

/// Selectors that read no score: no price of money changes what they choose.
const SCORELESS: [&str; 2] = ["cheapest", "uniform"];

/// What is asked of a policy; see docs/saving.md.
#[derive(Debug, Clone, Copy, Default, Args)]
#[group(id = "goal", multiple = true)]
pub(crate) struct SavingArgs {
    /// Save this share of the cost of always calling the best single model, e.g. `40%`.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) save: Option<f64>,
    /// Save what can be saved while the mean score falls by at most this, e.g. `0.01` for one point of 100; with
    /// `--save` or `--budget`, meet both.
    #[arg(long, value_name = "SCORE")]
    pub(crate) max_loss: Option<f64>,
    /// Greatest mean cost of a query, US dollars.
    #[arg(long, value_name = "USD")]
    pub(crate) budget: Option<f64>,
}

/// Reads `40%` or `0.4`.
fn share(text: &str) -> Result<f64, String> {
    let expected = || format!("`{text}` is not a share, expected e.g. `40%` or `0.4`, above 0 and below 1");
    let value = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.trim().parse::<f64>(),
    };
    value.ok().filter(|share| *share > 0.0 && *share < 1.0).ok_or_else(expected)
}

impl SavingArgs {
    /// What was asked for; `None` if nothing was.
    ///
    /// # Errors
    /// If a value is out of its range.
    pub(crate) fn goal(&self) -> anyhow::Result<Option<Goal>> {
        let goal = Goal { save: self.save, max_loss: self.max_loss, budget_usd: self.budget };
        if goal == Goal::default() {
            return Ok(None);
        }
        calibrate::check(&goal)?;
        Ok(Some(goal))
    }
}

/// The outcome of a calibration.
#[derive(Debug)]
pub(crate) enum Calibrated {
    /// The goal is met.
    Met(Priced),
    /// It is not; the nearest that can be had.
    OutOfReach(Box<OutOfReach>),
}

impl Calibrated {
    fn of(found: Result<Priced, CalibrateError>) -> anyhow::Result<Self> {
        match found {
            Ok(priced) => Ok(Self::Met(priced)),
            Err(CalibrateError::OutOfReach(reason)) => Ok(Self::OutOfReach(reason)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Prints a goal that is out of reach: a negative result, not an error.
pub(crate) fn refuse(reason: &OutOfReach, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::say_json(
            &serde_json::json!({ "reached": false, "reason": reason.to_string(), "detail": reason }),
        )?;
    } else {
        output::say(&reason.to_string());
    }
    Ok(ExitCode::from(1))
}

/// The price at which `method` meets `goal`, on predictions of the train rows out of fold.
pub(crate) fn on_folds(
    prepared: &Prepared,
    method: &MethodRow,
    params: &serde_json::Value,
    choice: &FeatureChoice,
    run: &RunOptions<'_>,
    goal: &Goal,
) -> anyhow::Result<Calibrated> {
    if let Some(thin) = routewright_data::stats::Coverage::of(&prepared.train).thin() {
        return Err(CalibrateError::Thin(thin).into());
    }
    let held = calibrate::out_of_fold(&prepared.train, method, params, choice, run)
        .with_context(|| format!("cannot calibrate `{}` on folds of the log", method.name))?;
    check_steerable(method.name, &held.selector, held.is_conditioned)?;
    Calibrated::of(calibrate::price(&held.prediction, &held.table, goal, run.average))
}

/// The price at which a stored policy meets `goal` on `table`, which it was not trained on.
pub(crate) fn on_rows(
    policy: &Policy,
    prediction: &Prediction,
    table: &OutcomeTable,
    goal: &Goal,
    average: Average,
) -> anyhow::Result<Calibrated> {
    let manifest = &policy.manifest;
    check_steerable(&manifest.name, &manifest.selector.name, policy.router()?.predictor.is_conditioned())?;
    Calibrated::of(calibrate::price(prediction, table, goal, average))
}

/// Refuses policies that a price of money in the selector does not steer.
fn check_steerable(name: &str, selector: &str, is_conditioned: bool) -> anyhow::Result<()> {
    if is_conditioned {
        bail!(
            "cannot calibrate `{name}`: its form reads the price of money of each request, and a price in the selector \
             would count twice; send an `objective` with the requests, or take another method"
        );
    }
    if SCORELESS.contains(&selector) {
        bail!(
            "cannot calibrate `{name}`: its selector `{selector}` reads no score; expected a method that predicts"
        );
    }
    if !["argmax", "utility"].contains(&selector) {
        output::tell(&format!(
            "note: selector `{selector}` is replaced by `utility`, which does not explore"
        ));
    }
    Ok(())
}

/// What is stored and printed.
pub(crate) fn promise(
    priced: &Priced,
    goal: Goal,
    average: Average,
    split: &str,
    is_out_of_fold: bool,
) -> Promise {
    Promise {
        goal,
        lambda: priced.lambda,
        expected: priced.expected.clone(),
        average: average.to_string(),
        split: split.to_owned(),
        folds: is_out_of_fold.then_some(FOLDS),
    }
}

/// A promise in two lines: the sentence, and what it rests on.
pub(crate) fn lines(promise: &Promise) -> String {
    format!(
        "{promise}\n  asked to {}; measured on {}; score per US dollar {:.4}",
        promise.goal,
        promise.evidence(),
        promise.lambda
    )
}

/// One split of a log, with the vectors that the policy reads.
pub(crate) fn rows(policy: &Policy, log: &Path, split: &str) -> anyhow::Result<OutcomeTable> {
    let column = policy.manifest.featurizer.spec.settings.get("column").and_then(|name| name.as_str());
    let options = LoadOptions { vector_column: column.map(str::to_owned), ..LoadOptions::split(split) };
    Ok(OutcomeTable::load(log, &options)?)
}

/// What a policy predicts of every query of `rows`.
pub(crate) fn predict(policy: &Policy, rows: &OutcomeTable) -> anyhow::Result<Prediction> {
    let router = policy.router()?;
    let features = router.featurizer.featurize(&feature_inputs(rows))?;
    Ok(router.predictor.predict(&Batch { sources: &rows.sources(), ..Batch::of(&features) })?)
}

/// What the promises of `policies` became on a split; policies without one are left out.
pub(crate) fn kept(
    policies: &[(String, Policy)],
    log: &Path,
    split: &str,
) -> anyhow::Result<Vec<KeptPromise>> {
    let mut all = Vec::new();
    for (name, policy) in policies {
        let Some(promise) = policy.manifest.promise.clone() else { continue };
        let rows = rows(policy, log, split)?;
        let average: Average = promise.average.parse()?;
        let outcomes = align(&rows, &policy.arms)?;
        let decisions = Decisions::of(&predict(policy, &rows)?, policy.router()?.selector.as_ref());
        let always = Always::of(&outcomes, &promise.expected.against, average);
        let found = always.and_then(|always| always.saving(&decisions, &outcomes, average));
        let least = COMMON_SHARE_MIN * rows.n_queries() as f64;
        let found = found.filter(|found| found.n_queries as f64 >= least);
        let verdict = found.as_ref().map(|found| promise.goal.verdict(found));
        all.push(KeptPromise { policy: name.clone(), promise, split: split.to_owned(), found, verdict });
    }
    Ok(all)
}
