//! `routewright evaluate`: what stored policies are worth on a log.

use super::benchmarks::{self, BenchmarkArgs};
use super::pair_log::PairArgs;
use super::{answers, compare_pairs, date, output, query_text, saving};
use anyhow::Context as _;
use clap::Args;
use routewright_data::{LoadOptions, LogError, OutcomeTable};
use routewright_policy::{Batch, Policy, Request, artifact};
use routewright_trainer::compare::reads_source;
use routewright_trainer::evaluate::{
    Average, Contender, Evaluation, JudgeOptions, Judged, Judging, align, judge, judge_played,
};
use routewright_trainer::method::Need;
use routewright_trainer::methods;
use routewright_trainer::report::{self, ReportNote};
use routewright_trainer::rollout::{self, ReplayWorld};
use routewright_trainer::train::feature_inputs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Decisions that are timed one by one for `decide_us`.
const TIMED_DECISIONS: usize = 200;

/// Judge stored policies on the outcomes of a log, beside the five baselines.
#[derive(Debug, Args)]
pub(crate) struct EvaluateCommand {
    /// Folders of the policies.
    #[arg(long = "policy", value_name = "DIR", num_args = 1.., required = true)]
    policies: Vec<PathBuf>,
    /// Outcome log: a Parquet file or a folder of them.
    #[arg(long, value_name = "PATH", required_unless_present = "pairs", conflicts_with = "pairs")]
    log: Option<PathBuf>,
    #[command(flatten)]
    pairs: PairArgs,
    /// Split to judge on.
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
    /// Split the baselines are chosen on.
    #[arg(long, value_name = "NAME", default_value = "train")]
    train_split: String,
    /// How queries are averaged: micro (over queries) or macro (over sources).
    #[arg(long, value_name = "NAME", default_value_t)]
    average: Average,
    /// Seed of the bootstrap.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Folder to write report.html, report.md, report.json and the pictures into.
    #[arg(long, value_name = "DIR", conflicts_with = "pairs")]
    report: Option<PathBuf>,
    #[command(flatten)]
    benchmarks: BenchmarkArgs,
}

impl EvaluateCommand {
    /// Judges every policy, then prints and writes what was asked for.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let policies = self
            .policies
            .iter()
            .map(|dir| Ok((dir.display().to_string(), artifact::load(dir)?)))
            .collect::<anyhow::Result<Vec<(String, Policy)>>>()?;
        let log = self.pairs.pairs.as_ref().or(self.log.as_ref());
        let log = log.context("`--log` is missing, expected an outcome log, or a pair log as `--pairs`")?;
        for (_, policy) in &policies {
            query_text::check(policy, log)?;
        }
        if let Some(pairs) = &self.pairs.pairs {
            let splits = (self.train_split.as_str(), self.split.as_str());
            return compare_pairs::evaluate(&policies, &self.pairs, pairs, splits, json);
        }
        let test = OutcomeTable::load(log, &LoadOptions::split(&self.split))?;
        let train = self.train_rows(log, &test)?;
        let options = JudgeOptions { average: self.average, seed: self.seed, ..JudgeOptions::default() };
        let name = log.display().to_string();
        let mut judging = Judging::new(&name, &self.split, train.as_ref(), &test, &options)?;
        for (name, policy) in &policies {
            let evaluation = self
                .judge(policy, log, &test, train.as_ref(), &options)
                .with_context(|| format!("cannot evaluate policy `{name}`"))?;
            judging.add(Evaluation { policy: Some(name.clone()), ..evaluation });
        }
        let mut judged = judging.finish();
        judged.promises = saving::kept(&policies, log, &self.split)?;
        self.tell(&judged, &test, json)
    }

    /// Rows the baselines are chosen on, where the log has them.
    fn train_rows(&self, log: &Path, test: &OutcomeTable) -> anyhow::Result<Option<OutcomeTable>> {
        let options =
            LoadOptions { models: Some(test.models.clone()), ..LoadOptions::split(&self.train_split) };
        match OutcomeTable::load(log, &options) {
            Ok(train) => Ok(Some(train)),
            Err(error @ LogError::UnknownSplit { .. }) => {
                output::tell(&format!("note: {error}; baselines chosen on train are left out"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn judge(
        &self,
        policy: &Policy,
        log: &Path,
        test: &OutcomeTable,
        train: Option<&OutcomeTable>,
        options: &JudgeOptions,
    ) -> anyhow::Result<Evaluation> {
        let column = policy.manifest.featurizer.spec.settings.get("column").and_then(|name| name.as_str());
        let with_vectors = match column {
            Some(column) => Some(self.load_vectors(log, column, test)?),
            None => None,
        };
        let test = with_vectors.as_ref().unwrap_or(test);
        let outcomes = align(test, &policy.arms)?;
        let train = train.map(|train| align(train, &policy.arms)).transpose()?;
        if policy.program.router().is_none() {
            return self.play(policy, log, test, [Some(&outcomes), train.as_ref()], options);
        }
        let router = policy.router()?;
        let features = router.featurizer.featurize(&feature_inputs(test))?;
        let sources = test.sources();
        let prediction = router.predictor.predict(&Batch { sources: &sources, ..Batch::of(&features) })?;
        let at = |lambda: f64| {
            let lambdas = vec![Some(lambda); sources.len()];
            router.predictor.predict(&Batch { features: &features, sources: &sources, lambdas: &lambdas })
        };
        let contender = Contender {
            repredict: if router.predictor.is_conditioned() { Some(&at) } else { None },
            ..Contender::new(&policy.manifest.method, &prediction, router.selector.as_ref())
        };
        let mut evaluation = judge(&contender, &outcomes, train.as_ref(), options)?;
        evaluation.reads_source = reads_source(router.predictor.as_ref(), &features, &sources)?;
        evaluation.fit_seconds = policy.manifest.metrics.get("fit_seconds").copied();
        evaluation.decide_us = decide_us(policy, test)?;
        Ok(evaluation)
    }

    /// Plays a policy of several steps on the answers of the log.
    fn play(
        &self,
        policy: &Policy,
        log: &Path,
        test: &OutcomeTable,
        [outcomes, train]: [Option<&OutcomeTable>; 2],
        options: &JudgeOptions,
    ) -> anyhow::Result<Evaluation> {
        let outcomes = outcomes.unwrap_or(test);
        let answers = answers::of(log, test)?;
        let world = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
        let method = &policy.manifest.method;
        let started = Instant::now();
        let played = rollout::play(method, policy, outcomes, &world, options, &[self.seed])?;
        // Every setting was played on every query.
        let episodes = (policy.program.lambdas().len() + 1) * test.n_queries().max(1);
        let decide_us = started.elapsed().as_secs_f64() * 1e6 / episodes as f64;
        let evaluation = judge_played(played, outcomes, train, options)?;
        let fit_seconds = policy.manifest.metrics.get("fit_seconds").copied();
        // A policy of a method that is registered no more is taken as reading no source.
        let reads_source = methods::find(method).is_ok_and(|row| row.needs.contains(&Need::Source));
        Ok(Evaluation { fit_seconds, decide_us: Some(decide_us), reads_source, ..evaluation })
    }

    /// The rows of `test` with the vectors of a column.
    fn load_vectors(&self, log: &Path, column: &str, test: &OutcomeTable) -> Result<OutcomeTable, LogError> {
        let options = LoadOptions {
            models: Some(test.models.clone()),
            vector_column: Some(column.to_owned()),
            ..LoadOptions::split(&self.split)
        };
        OutcomeTable::load(log, &options)
    }

    fn tell(&self, judged: &Judged, test: &OutcomeTable, json: bool) -> anyhow::Result<ExitCode> {
        let figures = self.benchmarks.figures(judged, test)?;
        if let Some(dir) = &self.report {
            write_report(judged, &format!("Policies on {}", judged.log), dir)?;
        }
        if json {
            let mut document = serde_json::to_value(judged)?;
            document["promises"] = serde_json::to_value(&judged.promises)?;
            if let Some(figures) = figures {
                document["benchmarks"] = serde_json::to_value(figures)?;
            }
            output::say_json(&document)?;
        } else {
            output::say(&report::text_table(judged));
            figures.iter().for_each(|figures| benchmarks::say(figures));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the report and says where it lies.
pub(crate) fn write_report(judged: &Judged, title: &str, dir: &Path) -> anyhow::Result<()> {
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let note = ReportNote { title: title.to_owned(), date: date::today(), command: Some(command) };
    for path in report::write(judged, &note, dir)? {
        output::tell(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// Median time of one decision, features included, microseconds.
fn decide_us(policy: &Policy, test: &OutcomeTable) -> anyhow::Result<Option<f64>> {
    let mut times = Vec::new();
    for (row, input) in feature_inputs(test).into_iter().enumerate().take(TIMED_DECISIONS) {
        let source = test.queries[row].source.as_deref();
        let request = Request { input, source, seed: row as u64, ..Request::default() };
        let start = Instant::now();
        policy.decide(&request)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied())
}
