//! `routewright train rlae`: weights of an ensemble's members, learned on tasks or from a log of `fuse`.

use super::output;
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use routewright_data::features::{Featurizer, State};
use routewright_data::fusion::{Answer, FusionReader};
use routewright_data::log::TaskRow;
use routewright_data::split::{Fractions, prompt_key, random_split};
use routewright_data::tasks::{self, Reward};
use routewright_decoder::ensemble::EnsembleFile;
use routewright_decoder::environment::TaskEnvironment;
use routewright_decoder::fuse::System as _;
use routewright_decoder::token::rlae::Rlae;
use routewright_policy::artifact::{self, DataRecord, RouterDraft};
use routewright_policy::env::{Environment as _, SpanRule};
use routewright_policy::forms::Simplex;
use routewright_policy::{Arm, SelectorSpec};
use routewright_trainer::rlae::{self, Curve, LoggedSpan, Params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What weights are learned of and on.
#[derive(Debug, Args)]
pub(crate) struct WeightsArgs {
    /// Ensemble file whose members are to be weighed (method `rlae`).
    #[arg(long, value_name = "FILE")]
    pub(crate) ensemble: Option<PathBuf>,
    /// Task list to learn on by playing; `--log` with a log of `fuse` learns without asking a model.
    #[arg(long, value_name = "PARQUET", requires = "ensemble", conflicts_with = "log")]
    pub(crate) tasks: Option<PathBuf>,
    /// What an answer is worth: `exact`, or `lines` for the share of right lines.
    #[arg(long, value_name = "NAME", default_value = "exact", requires = "tasks")]
    pub(crate) reward: Reward,
}

/// Everything else of the command line that counts here.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    pub(crate) log: Option<&'a Path>,
    pub(crate) split: &'a str,
    pub(crate) seed: u64,
    pub(crate) params: serde_json::Value,
    pub(crate) name: Option<&'a str>,
    pub(crate) out: &'a Path,
    pub(crate) checkpoint: Option<&'a Path>,
}

/// What was learned, whichever way.
struct Weights {
    form: Simplex,
    members: Vec<String>,
    metrics: BTreeMap<String, f64>,
    data: DataRecord,
    curve: Curve,
}

impl WeightsArgs {
    pub(crate) fn run(&self, options: &Options<'_>, json: bool) -> anyhow::Result<ExitCode> {
        let params = self.params(options)?;
        let learned = match (&self.tasks, options.log) {
            (Some(tasks), None) => self.play(tasks, &params, options)?,
            (None, Some(log)) => self.read(log, &params, options)?,
            _ => bail!("method `{}` learns on `--tasks` with `--ensemble`, or from `--log`", Rlae::NAME),
        };
        let name = options.name.unwrap_or(Rlae::NAME);
        let curve = learned.curve.clone();
        let manifest = artifact::save(&draft(learned, &params, name, options.seed)?, options.out)?;
        if json {
            let summary = serde_json::json!({ "policy": options.out, "manifest": manifest, "curve": curve });
            output::say_json(&summary)?;
        } else {
            for point in &curve {
                let (round, played, valid) = (point.round, point.played, point.valid);
                output::say(&format!("round {round:>5}  played {played:.4}  valid {valid:.4}"));
            }
            output::say(&format!("trained `{name}` on {} answers", manifest.data.n_queries));
            for (metric, value) in &manifest.metrics {
                output::say(&format!("  {metric} {value:.4}"));
            }
            output::say(&format!("written to {}", options.out.display()));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Parameters; without any for spans, those of the ensemble file.
    fn params(&self, options: &Options<'_>) -> anyhow::Result<Params> {
        let mut given = options.params.clone();
        let of_file = self.ensemble.as_deref().map(file_rule).transpose()?.flatten();
        if let (Some(rule), Some(given)) = (of_file, given.as_object_mut())
            && !given.contains_key("span")
        {
            given.insert("span".to_owned(), serde_json::to_value(rule)?);
        }
        Ok(Params::read(&given)?)
    }

    fn play(&self, path: &Path, params: &Params, options: &Options<'_>) -> anyhow::Result<Weights> {
        let ensemble = self.ensemble.as_deref().context("`--ensemble` is missing")?;
        let all = tasks::read(path, Some(options.split))?;
        let [train, valid] = slices(path, &all, options)?;
        let tasks: Vec<TaskRow> = train.into_iter().chain(valid.iter().cloned()).collect();
        let cut = tasks.len() - valid.len();
        let environment = TaskEnvironment::open(ensemble, Some(params.span.clone()), tasks, self.reward)?;
        let (train, valid): (Vec<usize>, Vec<usize>) =
            ((0..cut).collect(), (cut..environment.n_tasks()).collect());
        let bars = output::Bars::new(Rlae::NAME);
        let lists = [&train[..], &valid[..]];
        let learned = rlae::train(params, &environment, lists, options.seed, &bars, options.checkpoint)?;
        let best = learned.curve.iter().map(|point| f64::from(point.valid)).fold(0.0, f64::max);
        // Rewards are in [0, 1]: a mean of either is that of every answer.
        let is_all = |reward: &f32| {
            learned.curve.iter().all(|point| point.played == *reward && point.valid == *reward)
        };
        if let Some(reward) = [0.0, 1.0].into_iter().find(is_all) {
            warn_of_one_reward(reward, "of the rounds judged");
        }
        let metrics = [("valid_reward", best), ("calls", learned.calls as f64)];
        Ok(Weights {
            form: learned.form,
            members: environment.members(),
            metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
            data: record(options.split, cut, environment.tasks().iter().map(|task| task.prompt.as_str())),
            curve: learned.curve,
        })
    }

    fn read(&self, log: &Path, params: &Params, options: &Options<'_>) -> anyhow::Result<Weights> {
        let (mut answers, mut prompts) = (Vec::new(), Vec::new());
        let mut members: Option<Vec<String>> = None;
        let mut unusable = 0;
        for answer in FusionReader::open(log)? {
            let answer = answer?;
            let Some(lesson) = lesson(&answer)? else {
                unusable += 1;
                continue;
            };
            let models = &answer.rows[0].models;
            let known = members.get_or_insert_with(|| models.clone());
            ensure!(
                known == models,
                "answer `{}` is of the models {models:?}, those before it of {known:?}; expected one ensemble",
                answer.rows[0].answer_id
            );
            prompts.push(answer.prompt().unwrap_or_default().to_owned());
            answers.push(lesson);
        }
        if unusable > 0 {
            output::tell(&format!("left out {unusable} answers without a reward or without drawn weights"));
        }
        let members = members.context(
            "no answer of the log has a reward and drawn weights; write one by \
             `routewright fuse --system rlae --set explore=true --tasks ... --trace ...`",
        )?;
        if let Some((_, first)) = answers.first()
            && answers.iter().all(|(_, reward)| reward == first)
        {
            warn_of_one_reward(*first, "of the log");
        }
        let bars = output::Bars::new(Rlae::NAME);
        let lesson = rlae::learn_from_log(params, &answers, members.len(), options.seed, &bars)?;
        let metrics = [
            ("logged_reward", lesson.logged),
            ("estimated_reward", lesson.estimated),
            ("effective_sample_size", lesson.effective),
        ];
        Ok(Weights {
            form: lesson.form,
            members,
            metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
            data: record("log", answers.len(), prompts.iter().map(String::as_str)),
            curve: Curve::new(),
        })
    }
}

/// Weights are learned from what one answer earns more than another.
fn warn_of_one_reward(reward: f32, of: &str) {
    output::tell(&format!(
        "warning: every answer {of} has reward {reward}, so there was nothing to learn from; look at the prompts, the \
         references and `--reward` of the tasks, and at the answers of `fuse --tasks`"
    ));
}

/// Where spans end by the ensemble file, if it says so.
fn file_rule(path: &Path) -> anyhow::Result<Option<SpanRule>> {
    let file = EnsembleFile::read(path)?;
    let Some(rule) = file.params.get("span").filter(|_| file.system == Rlae::NAME) else { return Ok(None) };
    let rule = serde_json::from_value(rule.clone());
    Ok(Some(rule.with_context(|| format!("cannot read `span` of ensemble `{}`", path.display()))?))
}

/// Tasks to learn on and tasks to judge on: those of split `valid`, or a share by prompt where there is none.
fn slices(path: &Path, all: &[TaskRow], options: &Options<'_>) -> anyhow::Result<[Vec<TaskRow>; 2]> {
    if let Ok(valid) = tasks::read(path, Some("valid")) {
        return Ok([all.to_vec(), valid]);
    }
    let fractions = Fractions::try_new(0.8, 0.2, 0.0)?;
    let part = |name: &str| {
        let of = |task: &&TaskRow| random_split(prompt_key(&task.prompt), options.seed, &fractions) == name;
        all.iter().filter(of).cloned().collect::<Vec<TaskRow>>()
    };
    Ok([part("train"), part("valid")])
}

/// The spans and the reward of an answer; `None` where it has no reward, or weights that were not drawn.
fn lesson(answer: &Answer) -> anyhow::Result<Option<(Vec<LoggedSpan>, f32)>> {
    let (Some(prompt), Some(reward)) = (answer.prompt(), answer.reward()) else { return Ok(None) };
    let mut spans = Vec::new();
    let mut last = None;
    for (at, row) in answer.rows.iter().enumerate() {
        let (Some(span), Some(log_density), Some(weights)) = (row.span, row.log_density, &row.weights) else {
            return Ok(None);
        };
        if last.replace(span) == Some(span) {
            continue;
        }
        let text = answer.text_before(at).unwrap_or_default();
        let number = usize::try_from(span).with_context(|| {
            format!("answer `{}`, step {}: `span` is `{span}`, expected at least 0", row.answer_id, row.step)
        })?;
        let state = State { prompt, text, span: number }.to_text();
        spans.push(LoggedSpan { state, weights: weights.clone(), log_density });
    }
    Ok(Some((spans, reward)))
}

fn record<'a>(split: &str, n: usize, prompts: impl Iterator<Item = &'a str>) -> DataRecord {
    let mut hasher = blake3::Hasher::new();
    for prompt in prompts {
        hasher.update(&(prompt.len() as u64).to_le_bytes());
        hasher.update(prompt.as_bytes());
    }
    let digest = hasher.finalize().to_hex().to_string();
    DataRecord { digest, split: split.to_owned(), n_queries: n, n_cells: n, ..DataRecord::default() }
}

fn draft(learned: Weights, params: &Params, name: &str, seed: u64) -> anyhow::Result<RouterDraft> {
    let featurizer: Arc<dyn Featurizer> = Arc::new(params.featurizer()?);
    Ok(RouterDraft {
        name: name.to_owned(),
        method: Rlae::NAME.to_owned(),
        seed,
        arms: learned.members.into_iter().map(|model| Arm { model, ..Arm::default() }).collect(),
        featurizer,
        predictor: Box::new(learned.form),
        selector: SelectorSpec::named("proportional"),
        query_text: routewright_data::QueryText::default(),
        params: serde_json::to_value(params)?,
        data: learned.data,
        metrics: learned.metrics,
    })
}
