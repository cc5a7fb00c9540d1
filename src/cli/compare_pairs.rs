//! `compare --pairs PAIRS`: methods that learn from a pair log, judged on its held-out judgements, and where `--log`
//! is given on outcomes of the same models too. `evaluate --pairs`: stored policies on the same judgements.

use super::pair_log::PairArgs;
use super::{fitting, output};
use anyhow::{Context as _, bail, ensure};
use routewright_data::{OutcomeTable, PairTable};
use routewright_policy::{Batch, Policy, selectors};
use routewright_trainer::evaluate::{Contender, JudgeOptions, Judged, Judging, align, judge};
use routewright_trainer::method::MethodRow;
use routewright_trainer::method::Reads;
use routewright_trainer::methods;
use routewright_trainer::preferences::{
    FittedOnPairs, PairsCompared, PairsOptions, compare_pairs, judge_prediction, of_pairs,
};
use routewright_trainer::report;
use routewright_trainer::train::{BaseFeatures, Prepared, arms, feature_inputs};
use std::path::Path;
use std::process::ExitCode;

/// What `compare` was asked for.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) pairs: &'a PairArgs,
    pub(crate) fitting: &'a fitting::FittingArgs,
    pub(crate) log: Option<&'a Path>,
    pub(crate) methods: &'a [String],
    pub(crate) settings: &'a [String],
    pub(crate) test_split: &'a str,
    pub(crate) folds: usize,
}

type Entry = (&'static MethodRow, serde_json::Value);

impl Request<'_> {
    /// Fits, judges, prints.
    pub(crate) fn run(&self, path: &Path, json: bool) -> anyhow::Result<ExitCode> {
        let entries = self.entries()?;
        let features = self.fitting.feature_choice()?;
        let is_column = matches!(features.base, BaseFeatures::Column(_));
        ensure!(
            !is_column,
            "`--features {}` reads a column that a pair log does not have",
            self.fitting.features
        );
        let train = self.pairs.read_with_lengths(path, &self.fitting.split)?;
        let test = self.pairs.read_with_lengths(path, self.test_split)?;
        let options = PairsOptions {
            features,
            average: self.fitting.average,
            seed: self.fitting.seed,
            folds: self.folds,
            device: self.fitting.device()?,
        };
        let bars = output::Bars::new("compare");
        let (compared, prepared, fitted) = compare_pairs(&train, &test, &entries, &options, &bars)?;
        drop(bars);
        let outcomes = self.log.map(|log| self.on_outcomes(log, &prepared, &fitted)).transpose()?;
        if json {
            output::say_json(&serde_json::json!({ "pairs": compared, "outcomes": outcomes }))?;
        } else {
            output::say(&compared.text());
            outcomes.iter().for_each(|judged| output::say(&format!("\n{}", report::text_table(judged))));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        fitting::check_settings(self.settings)?;
        let rows: Vec<&'static MethodRow> = match self.methods {
            [all] if all == "all" => methods::reading_pairs().collect(),
            named => named.iter().map(|name| super::methods::find(name)).collect::<Result<_, _>>()?,
        };
        if let Some(row) = rows.iter().find(|row| !row.reads(Reads::Pairs)) {
            let known: Vec<String> = methods::reading_pairs().map(|row| format!("`{}`", row.name)).collect();
            bail!("method `{}` does not learn from a pair log; these do: {}", row.name, known.join(", "));
        }
        if self.methods != ["all"] {
            let device = self.fitting.device()?;
            rows.iter().try_for_each(|row| super::methods::check_device(row, device))?;
        }
        let params = |row: &'static MethodRow| {
            Ok((row, fitting::params(None, &fitting::settings_of(row.name, self.settings))?))
        };
        rows.into_iter().map(params).collect()
    }

    /// The same policies on the outcomes of a log.
    fn on_outcomes(
        &self,
        log: &Path,
        prepared: &Prepared,
        fitted: &[FittedOnPairs],
    ) -> anyhow::Result<Judged> {
        let test: OutcomeTable = self.fitting.read(log, self.test_split)?;
        let options = JudgeOptions {
            average: self.fitting.average,
            seed: self.fitting.seed,
            ..JudgeOptions::default()
        };
        let known = arms(&prepared.train);
        let outcomes = align(&test, &known).context("`--log` lacks models of the pair log")?;
        let name = log.display().to_string();
        let mut judging = Judging::new(&name, self.test_split, None, &test, &options)?;
        let features = prepared.featurizer.featurize(&feature_inputs(&outcomes))?;
        for FittedOnPairs { name, fitted } in fitted {
            let prediction = prepared.predict(fitted, &outcomes, &features)?;
            let selector = selectors::build(&fitted.selector, &known)?;
            let contender = Contender::new(name, &prediction, selector.as_ref());
            judging.add(judge(&contender, &outcomes, None, &options)?);
        }
        Ok(judging.finish())
    }
}

/// Judges stored policies on the judgements of split `test`, log-odds scaled on split `train` where the log has it.
pub(crate) fn evaluate(
    policies: &[(String, Policy)],
    args: &PairArgs,
    path: &Path,
    (train, test): (&str, &str),
    json: bool,
) -> anyhow::Result<ExitCode> {
    let judged = args.read_with_lengths(path, test)?;
    let train = args.read_with_lengths(path, train).with_context(|| {
        format!("cannot fit strengths and log-odds on split `{train}`, another by `--train-split`")
    })?;
    let (mut compared, rival) = PairsCompared::yardsticks(&train, &judged)?;
    for (name, policy) in policies {
        let models: Vec<String> = policy.arms.iter().map(|arm| arm.model.clone()).collect();
        let (of_test, of_train) = (scores(policy, &judged)?, scores(policy, &train)?);
        let scored = Some((&train, of_train.as_slice()));
        let row = judge_prediction(name, &models, (&judged, &of_test), scored, rival.as_ref())?;
        compared.rows.push(row);
    }
    if json {
        output::say_json(&compared)?;
    } else {
        output::say(&compared.text());
    }
    Ok(ExitCode::SUCCESS)
}

/// Predicted scores of a policy for the queries of a pair log.
fn scores(policy: &Policy, pairs: &PairTable) -> anyhow::Result<Vec<f32>> {
    let table = of_pairs(pairs.clone()).table;
    let router = policy.router()?;
    let features = router.featurizer.featurize(&feature_inputs(&table))?;
    let batch = Batch { sources: &table.sources(), ..Batch::of(&features) };
    Ok(router.predictor.predict(&batch)?.score)
}
