//! `routewright quickstart`: the whole road on a self-made log, from rows to a served decision that feedback
//! changes.

mod gateway;
mod serving;

use super::evaluate::write_report;
use super::{output, saving};
use anyhow::Context;
use clap::Args;
use routewright_data::OutcomeTable;
use routewright_data::log::LoadOptions;
use routewright_data::synthetic::{Settings, World};
use routewright_policy::artifact::{self, Goal};
use routewright_policy_server::StoreConfig;
use routewright_policy_server::{LearningConfig, PolicyEntry, ServerConfig};
use routewright_trainer::compare::{CompareOptions, Compared, compare};
use routewright_trainer::evaluate::Average;
use routewright_trainer::method::{Family, MethodRow, Need};
use routewright_trainer::train::{FeatureChoice, Prepared, RunOptions};
use routewright_trainer::{Device, methods, report};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Queries of the self-made log: enough to learn from, few enough for a minute.
const QUERIES: usize = 1500;
/// With fewer, folds and splits are too small to fit every method.
const QUERIES_MIN: usize = 200;
const SEED: u64 = 1;
/// Share of the cost of the best single model that the served policy is to save.
const SAVE: f64 = 0.4;
/// What answers in the place of real models.
const FUSED: &str = "a tiny language model made of the log";
/// The method that learns from feedback at the end.
const BANDIT: &str = "linucb";

/// Arguments of `quickstart`.
#[derive(Debug, Args)]
pub(crate) struct QuickstartCommand {
    /// Folder for the log, the report and the policy.
    #[arg(long, value_name = "DIR", default_value = "quickstart")]
    dir: PathBuf,
    /// Prompt to decide on at the end.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "Write a function that sorts a list of words by length."
    )]
    prompt: String,
    /// Queries of the self-made log.
    #[arg(long, value_name = "N", default_value_t = QUERIES, value_parser = queries)]
    queries: usize,
}

fn queries(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| *n >= QUERIES_MIN);
    number.ok_or_else(|| format!("`{text}` is too few or no number, expected at least {QUERIES_MIN}"))
}

impl QuickstartCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let log = self.dir.join("log.parquet");
        output::tell(&format!("1. simulating {} queries into {}", self.queries, log.display()));
        World::new(Settings::default(), SEED).write_log(self.queries, &log)?;
        output::tell("2. training every method and judging it on the test split");
        let (compared, train) = judge(&log)?;
        write_report(&compared.judged, "Quickstart: routers on a self-made log", &self.dir.join("report"))?;
        let picked = compared.judged.picked.as_ref().and_then(|picked| picked.methods.first());
        let method = methods::find(picked.context("no method was picked")?)?;
        let dir = self.dir.join("policy");
        output::tell(&format!(
            "3. training `{}`, the best by cross-validation on train, to save {:.0} %: train {} --save {:.0}%",
            method.name,
            100.0 * SAVE,
            method.name,
            100.0 * SAVE
        ));
        let gateway = gateway::write(train.prompts(), &train.models, &dir, &self.dir.join("gateway"))?;
        let promise = export(method, train, Some(SAVE), &dir)?;
        output::tell("4. serving it on a free local port and asking one decision over HTTP");
        let body = serde_json::json!({"input": self.prompt, "explain": "full"});
        let config = ServerConfig::for_policies([dir.clone()]);
        let reply = serving::serve(config, move |address| serving::post(address, "/v1/route", &body))?;
        output::tell("5. training a bandit, serving it, and telling it that its choice was bad");
        let moved = self.learn()?;
        output::tell(
            "6. serving a gateway whose models are a tiny one made of the log, and asking it a chat",
        );
        let chat = self.chat();
        let answer = serving::serve(ServerConfig::load(&gateway)?, {
            let chat = chat.clone();
            move |address| serving::post(address, "/v1/chat/completions", &chat)
        })?;
        if json {
            output::say_json(&serde_json::json!({
                "judged": compared.judged,
                "promise": promise,
                "decision": reply,
                "feedback": {"before": moved.before, "reports": moved.reports, "after": moved.after},
                "answer": answer,
            }))?;
        } else {
            output::say(&report::text_table(&compared.judged));
            output::say(&format!("\n`{}`, trained to save {:.0} %: {promise}", method.name, 100.0 * SAVE));
            output::say(&format!("\n{:?}\n  -> {}", self.prompt, describe(&reply)));
            output::say(&format!(
                "a bandit said {}; after {} reports that this was bad it says {}",
                moved.before, moved.reports, moved.after
            ));
            let said = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
            output::say(&format!("through the gateway {FUSED} answers {said:?}"));
            output::say(&format!("\nreport: {}", self.dir.join("report/report.html").display()));
            output::say(&format!("serve decisions: routewright serve --policy {}", dir.display()));
            output::say(&format!("serve answers:   routewright serve --config {}", gateway.display()));
            output::say(&format!(
                "and ask for one: curl -s localhost:8080/v1/chat/completions -d '{}'",
                chat.to_string().replace('\'', "'\\''")
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The prompt as a chat for the policy.
    fn chat(&self) -> serde_json::Value {
        let turn = serde_json::json!({"role": "user", "content": self.prompt});
        serde_json::json!({"model": "routewright/quickstart", "messages": [turn]})
    }

    /// Trains a bandit on the log, serves it, and reports bad scores until it chooses another model.
    fn learn(&self) -> anyhow::Result<serving::Moved> {
        let train = OutcomeTable::load(&self.dir.join("log.parquet"), &LoadOptions::split("train"))?;
        let dir = self.dir.join("bandit");
        export(methods::find(BANDIT)?, train, None, &dir)?;
        // A log of an earlier quickstart would go on where that ended.
        let log = tempfile::tempdir().context("cannot make a temporary folder for the decision log")?;
        let entry = PolicyEntry { learning: Some(LearningConfig::default()), ..PolicyEntry::at(dir) };
        let config = ServerConfig {
            policies: vec![entry],
            store: Some(StoreConfig::at(log.path().join("decisions.db"))),
            ..ServerConfig::default()
        };
        let prompt = self.prompt.clone();
        serving::serve(config, move |address| serving::disagree(address, &prompt))
    }
}

fn judge(log: &Path) -> anyhow::Result<(Compared, OutcomeTable)> {
    let train = OutcomeTable::load(log, &LoadOptions::split("train"))?;
    let test = OutcomeTable::load(log, &LoadOptions::split("test"))?;
    // The baselines stand in the table by themselves; bandits are for `simulate`, and the prompt that is asked
    // in the end has no source.
    let for_logs = |row: &&MethodRow| {
        row.start.is_none() && !row.needs.contains(&Need::Source) && !row.looks_at_answers()
    };
    let learned = methods::ALL.iter().filter(|row| row.family != Family::Baseline).filter(for_logs);
    let entries: Vec<(&MethodRow, serde_json::Value)> =
        learned.map(|row| (row, serde_json::Value::Null)).collect();
    let options = CompareOptions {
        features: FeatureChoice::default(),
        average: Average::Micro,
        seeds: vec![SEED],
        folds: 2,
        device: Device::Cpu,
        log: log.display().to_string(),
        split: "test".to_owned(),
        answers: None,
    };
    let bars = output::Bars::with_lines("quickstart");
    Ok((compare(&train, &test, &entries, &options, &bars)?, train))
}

/// Trains and stores a policy; returns what it promises to save, or why it cannot.
fn export(method: &MethodRow, train: OutcomeTable, save: Option<f64>, dir: &Path) -> anyhow::Result<String> {
    let bars = output::Bars::new(method.name);
    let run = RunOptions {
        average: Average::Micro,
        seed: SEED,
        device: Device::Cpu,
        progress: &bars,
        checkpoint: None,
    };
    let (params, choice) = (serde_json::Value::Null, FeatureChoice::default());
    let prepared = Prepared::new(train, &choice, SEED)?;
    let mut fitted = prepared.fit(method, &params, &run)?;
    let (mut promise, mut said) = (None, String::new());
    if save.is_some() {
        let goal = Goal { save, ..Goal::default() };
        match saving::on_folds(&prepared, method, &params, &choice, &run, &goal)? {
            saving::Calibrated::Met(priced) => {
                fitted.selector = priced.selector();
                let found = saving::promise(&priced, goal, run.average, "train", true);
                said = found.to_string();
                promise = Some(found);
            }
            saving::Calibrated::OutOfReach(reason) => said = reason.to_string(),
        }
    }
    let draft = prepared.draft("quickstart", method, fitted, "train", SEED);
    artifact::save_promised(&draft, promise, dir)?;
    Ok(said)
}

fn describe(reply: &serde_json::Value) -> String {
    let candidates = reply["candidates"].as_array().map(Vec::as_slice).unwrap_or_default();
    let chosen = &reply["action"]["model"];
    let of_chosen = candidates.iter().find(|c| c["model"] == *chosen);
    let number = |key: &str| of_chosen.and_then(|c| c[key].as_f64());
    let score = number("score").map_or_else(String::new, |s| format!(", predicted score {s:.3}"));
    let cost = number("cost_usd").map_or_else(String::new, |c| format!(", predicted cost {c:.6} USD"));
    format!("{}{score}{cost}", chosen.as_str().unwrap_or("?"))
}
