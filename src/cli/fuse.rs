//! `routewright fuse`: one answer by several models.

use super::{date, expert_rows, fuse_demo, methods, output, token_labels};
use anyhow::Context as _;
use clap::Args;
use rand::Rng as _;
use routewright_data::files;
use routewright_data::log::{FusionRow, RowWriter, TaskRow, WriteOptions};
use routewright_data::rng;
use routewright_data::tasks::{self, Reward};
use routewright_decoder::draw;
use routewright_decoder::ensemble::{Ensemble, EnsembleFile};
use routewright_decoder::generation::{Answer, Ask};
use routewright_decoder::log::{Note, rows};
use routewright_trainer::progress::Progress as _;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Write one answer with several models, token by token or span by span; the text streams to the terminal.
#[derive(Debug, Args)]
pub(crate) struct FuseCommand {
    /// Ensemble file: models, system, limits.
    #[arg(long, value_name = "FILE", required_unless_present = "demo")]
    ensemble: Option<PathBuf>,
    /// Write an ensemble of two models made of scripts, and tasks, into this new folder, and say what to try: no
    /// model is needed.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["ensemble", "prompt", "tasks"])]
    demo: Option<PathBuf>,
    /// The prompt; may be empty.
    #[arg(long, value_name = "TEXT", conflicts_with = "tasks", required_unless_present_any = ["tasks", "demo"])]
    prompt: Option<String>,
    /// Answer every task of this list instead, and report how many answers are right.
    #[arg(long, value_name = "PARQUET")]
    tasks: Option<PathBuf>,
    /// Only the tasks of this split.
    #[arg(long, value_name = "NAME", requires = "tasks")]
    split: Option<String>,
    /// What an answer is worth: `exact`, or `lines` for the share of right lines.
    #[arg(long, value_name = "NAME", default_value = "exact", requires = "tasks")]
    reward: Reward,
    /// System instead of the file's; see `routewright methods`.
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    /// Parameter of the system instead of the file's, as JSON: `--set weights=[0.3,0.7]`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    params: Vec<String>,
    /// Most units to commit.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Stop before this text; may be repeated.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Sampling temperature; 0 takes the most probable unit.
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Sample from the smallest set of units of this probability.
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Seed of every random choice.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write the trace of every unit (weights, proposals, calls) to this Parquet file.
    #[arg(long, value_name = "PARQUET")]
    trace: Option<PathBuf>,
    /// Do not answer, but write a token log of the tasks' references to this Parquet file: which members predict
    /// each token. Routers of `citer` are trained on it.
    #[arg(long, value_name = "PARQUET", requires = "tasks", conflicts_with_all = ["trace", "prompt"])]
    labels: Option<PathBuf>,
    /// Where no member is right, continue the answer by up to this many tokens to find out; 0 for never.
    #[arg(long, value_name = "N", default_value_t = 300, requires = "labels")]
    look_ahead: usize,
    /// Write the hidden state of the first member into the token log.
    #[arg(long, requires = "labels")]
    hidden: bool,
    /// Do not answer, but learn from the tasks when the first member hands over to which other, and write the rows for
    /// `expert-token` to this safetensors file.
    #[arg(long, value_name = "FILE", requires = "tasks", conflicts_with_all = ["trace", "labels", "prompt"])]
    expert_rows: Option<PathBuf>,
    /// Draw the weights over the text: a page (`.html`) or the bands alone (`.svg`).
    #[arg(long, value_name = "FILE", conflicts_with = "tasks")]
    draw: Option<PathBuf>,
}

/// What `--json` prints of one answer.
#[derive(Debug, Serialize)]
struct Said<'a> {
    text: &'a str,
    finish: routewright_decoder::generation::Finish,
    system: &'static str,
    calls: u64,
    micros: u64,
    members: &'a [routewright_decoder::trace::MemberTrace],
    dropped: &'a [routewright_decoder::trace::Dropped],
    n_steps: usize,
}

/// What `--json` prints of a task list.
#[derive(Debug, Serialize)]
struct Judged {
    system: &'static str,
    n_tasks: usize,
    n_right: usize,
    accuracy: f64,
    /// Mean, with its standard error.
    reward: f64,
    standard_error: f64,
    calls: u64,
    n_steps: usize,
    micros: u64,
}

impl FuseCommand {
    /// Writes the answers: 0 also where one is wrong.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        if let Some(folder) = &self.demo {
            return fuse_demo::write(folder);
        }
        let ensemble = self.load()?;
        let Some(path) = &self.tasks else { return self.one(&ensemble, json) };
        let tasks = tasks::read(path, self.split.as_deref())?;
        let ask = |prompt: &str| self.ask(&ensemble, prompt);
        match (&self.labels, &self.expert_rows) {
            (Some(labels), _) => {
                let how = token_labels::How { look_ahead: self.look_ahead, hidden: self.hidden };
                token_labels::write(&ensemble, &tasks, how, ask, labels, json)
            }
            (None, Some(rows)) => expert_rows::write(&ensemble, &tasks, ask, rows, json),
            (None, None) => self.judge(&ensemble, &tasks, json),
        }
    }

    fn load(&self) -> anyhow::Result<Ensemble> {
        let path = self.ensemble.as_deref().unwrap_or(Path::new(""));
        let mut file = EnsembleFile::read(path)?;
        if let Some(system) = &self.system {
            methods::check_system(system)?;
            if *system != file.system {
                file.params.clear();
            }
            file.system.clone_from(system);
        }
        for pair in &self.params {
            let (key, value) =
                pair.split_once('=').with_context(|| format!("`--set {pair}`: expected KEY=VALUE"))?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::json!(value));
            file.params.insert(key.to_owned(), value);
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(Ensemble::load(file, folder)?)
    }

    fn ask(&self, ensemble: &Ensemble, prompt: &str) -> Ask {
        let mut ask = ensemble.ask(prompt.as_bytes());
        ask.seed = self.seed;
        ask.limits.steps = self.steps.unwrap_or(ask.limits.steps);
        ask.limits.stop.extend(self.stop.iter().cloned());
        ask.pick.temperature = self.temperature.unwrap_or(ask.pick.temperature);
        ask.pick.top_p = self.top_p.unwrap_or(ask.pick.top_p);
        ask
    }

    fn one(&self, ensemble: &Ensemble, json: bool) -> anyhow::Result<ExitCode> {
        let prompt = self.prompt.clone().unwrap_or_default();
        let listener: Box<dyn FnMut(&str) + Send> =
            if json { Box::new(|_| {}) } else { Box::new(output::stream) };
        let answer = ensemble.answer(self.ask(ensemble, &prompt), listener)?;
        if json {
            output::say_json(&said(ensemble, &answer))?;
        } else {
            output::say("");
            for drop in answer.trace.drops() {
                let name = &answer.trace.members()[drop.member].name;
                output::tell(&format!("after {} units `{name}` was left out: {}", drop.step, drop.reason));
            }
        }
        if let Some(path) = &self.trace {
            let note = self.note(ensemble, "0".to_owned());
            self.write_trace(path, rows(&answer, &note))?;
        }
        if let Some(path) = &self.draw {
            let page = match path.extension().and_then(|extension| extension.to_str()) {
                Some("svg") => draw::svg(&answer.trace),
                Some("html") => draw::html(&answer, &format!("{} by {}", prompt, ensemble.system().name)),
                _ => anyhow::bail!("`--draw {}`: expected a name ending in .html or .svg", path.display()),
            };
            files::write_file(path, page.as_bytes())?;
            output::tell(&format!("wrote {}", path.display()));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn judge(&self, ensemble: &Ensemble, tasks: &[TaskRow], json: bool) -> anyhow::Result<ExitCode> {
        let bars = output::Bars::new("fuse");
        bars.start("tasks", tasks.len() as u64);
        let (mut log, mut rewards) = (Vec::new(), Vec::new());
        let mut judged = Judged {
            system: ensemble.system().name,
            n_tasks: tasks.len(),
            n_right: 0,
            accuracy: 0.0,
            reward: 0.0,
            standard_error: 0.0,
            calls: 0,
            n_steps: 0,
            micros: 0,
        };
        for (at, task) in tasks.iter().enumerate() {
            let mut ask = self.ask(ensemble, &task.prompt);
            // Each answer has draws of its own, the same whatever else is in the list before it.
            ask.seed = rng::stream(self.seed, &task.task_id).next_u64();
            let answer = ensemble.answer(ask, Box::new(|_| {}))?;
            let reward = self.reward.of(task, &answer.text);
            judged.n_right += usize::from(Reward::Exact.of(task, &answer.text) >= 1.0);
            rewards.push(f64::from(reward));
            judged.calls += answer.calls;
            judged.n_steps += answer.trace.steps().len();
            judged.micros += answer.micros;
            if self.trace.is_some() {
                let mut note = self.note(ensemble, task.task_id.clone());
                note.reward = Some(reward);
                log.extend(rows(&answer, &note));
            }
            bars.step(at as u64 + 1, &format!("{} right", judged.n_right));
        }
        drop(bars);
        let n = judged.n_tasks as f64;
        judged.accuracy = judged.n_right as f64 / n;
        judged.reward = rewards.iter().sum::<f64>() / n;
        let spread = rewards.iter().map(|reward| (reward - judged.reward).powi(2)).sum::<f64>();
        judged.standard_error = (spread / n / n).sqrt();
        if json {
            output::say_json(&judged)?;
        } else {
            let Judged { n_right, n_tasks, reward, standard_error, calls, .. } = &judged;
            output::say(&format!(
                "{n_right} of {n_tasks} right; reward {reward:.4} +- {standard_error:.4}, {calls} calls"
            ));
        }
        match &self.trace {
            Some(path) => self.write_trace(path, log).map(|()| ExitCode::SUCCESS),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    fn note(&self, ensemble: &Ensemble, answer_id: String) -> Note {
        let system = ensemble.system().name.to_owned();
        Note { answer_id, system, timestamp_ms: Some(date::now_ms()), reward: None }
    }

    fn write_trace(&self, path: &Path, rows: Vec<FusionRow>) -> anyhow::Result<()> {
        let mut writer = RowWriter::create(path, WriteOptions::default())?;
        for row in rows {
            writer.push(row)?;
        }
        writer.finish()?;
        output::tell(&format!("wrote {}", path.display()));
        Ok(())
    }
}

fn said<'a>(ensemble: &Ensemble, answer: &'a Answer) -> Said<'a> {
    Said {
        text: &answer.text,
        finish: answer.finish,
        system: ensemble.system().name,
        calls: answer.calls,
        micros: answer.micros,
        members: answer.trace.members(),
        dropped: answer.trace.drops(),
        n_steps: answer.trace.steps().len(),
    }
}
