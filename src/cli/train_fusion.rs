//! Which systems of fusion `train` trains, and what of: they are systems of the decoder, under the same front door.

use super::{expert_rows, output};
use anyhow::Context as _;
use routewright_data::tasks;
use routewright_decoder::ensemble::{Ensemble, EnsembleFile};
use routewright_decoder::fuse::System as _;
use routewright_decoder::token::citer::Citer;
use routewright_decoder::token::expert_token::ExpertToken;
use routewright_decoder::token::rlae::Rlae;
use routewright_trainer::method::Reads;
use routewright_trainer::{MethodRow, methods};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How a system is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trained {
    /// Weights of the members, by play or from a log of `fuse`.
    Weights,
    /// A router of tokens, by a method that reads token labels.
    Router,
    /// Rows of the first member's output projection, from tasks.
    Rows,
}

/// The systems that are trained, and what each learns from.
const ALL: [(&str, Trained, &[Reads]); 3] = [
    (Rlae::NAME, Trained::Weights, &[Reads::Tasks, Reads::FusionLog]),
    (Citer::NAME, Trained::Router, &[Reads::TokenLabels]),
    (ExpertToken::NAME, Trained::Rows, &[Reads::Tasks]),
];

/// How a system of fusion is trained; `None` for one that is not, and for every other name.
pub(crate) fn find(name: &str) -> Option<Trained> {
    ALL.iter().find(|(known, ..)| *known == name).map(|(_, trained, _)| *trained)
}

/// What a system of fusion learns from; nothing where it is not trained.
pub(crate) fn reads(name: &str) -> &'static [Reads] {
    ALL.iter().find(|(known, ..)| *known == name).map_or(&[], |(.., reads)| reads)
}

/// The method that learns routers of tokens.
pub(crate) fn router_of_tokens() -> anyhow::Result<&'static MethodRow> {
    methods::ALL
        .iter()
        .find(|row| row.reads(Reads::TokenLabels))
        .context("no method of this build reads token labels")
}

/// Limits of the answers that rows are learned from.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AnswerLimits {
    /// Units of an answer, at most.
    steps: Option<usize>,
    /// Texts that end an answer.
    stop: Vec<String>,
}

/// Where rows are learned and what from.
#[derive(Debug)]
pub(crate) struct RowsOptions<'a> {
    pub(crate) ensemble: Option<&'a Path>,
    pub(crate) tasks: Option<&'a PathBuf>,
    pub(crate) split: &'a str,
    pub(crate) seed: u64,
    pub(crate) params: serde_json::Value,
    pub(crate) out: &'a Path,
}

/// Learns the rows of `expert-token`, as `fuse --expert-rows` does.
pub(crate) fn rows(options: &RowsOptions<'_>, json: bool) -> anyhow::Result<ExitCode> {
    let path = options.ensemble.context("`--ensemble` is missing, expected the file of an ensemble")?;
    let listed = options.tasks.context("`--tasks` is missing, expected a task list")?;
    let limits: AnswerLimits = serde_json::from_value(options.params.clone())
        .with_context(|| format!("cannot read the parameters of `{}`", ExpertToken::NAME))?;
    let mut file = EnsembleFile::read(path)?;
    // The system itself needs the rows that are learned here; one without parameters opens the members.
    Citer::NAME.clone_into(&mut file.system);
    file.params.clear();
    let ensemble = Ensemble::load(file, path.parent().unwrap_or(Path::new("")))?;
    let tasks = tasks::read(listed, Some(options.split))?;
    let ask = |prompt: &str| {
        let mut ask = ensemble.ask(prompt.as_bytes());
        ask.seed = options.seed;
        ask.limits.steps = limits.steps.unwrap_or(ask.limits.steps);
        ask.limits.stop.extend(limits.stop.iter().cloned());
        ask
    };
    let code = expert_rows::write(&ensemble, &tasks, ask, options.out, json)?;
    output::tell(&format!("use them by `rows = \"{}\"` in the ensemble file", options.out.display()));
    Ok(code)
}
