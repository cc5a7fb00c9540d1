//! `routewright quickstart`: the whole road on a self-made log, from rows to a served decision.

use super::evaluate::write_report;
use super::output;
use anyhow::{Context, bail};
use clap::Args;
use routewright_data::OutcomeTable;
use routewright_data::log::LoadOptions;
use routewright_data::synthetic::{Settings, World};
use routewright_policy::artifact;
use routewright_policy_server::{Server, ServerConfig};
use routewright_trainer::compare::{CompareOptions, Compared, compare};
use routewright_trainer::evaluate::Average;
use routewright_trainer::method::{Family, MethodRow};
use routewright_trainer::train::{FeatureChoice, Prepared, RunOptions};
use routewright_trainer::{Device, methods, report};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::net::TcpListener;

/// Queries of the self-made log: enough to learn from, few enough for a minute.
const QUERIES: usize = 2000;
const SEED: u64 = 1;

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
    #[arg(long, value_name = "N", default_value_t = QUERIES)]
    queries: usize,
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
            "3. exporting `{}`, the best by cross-validation on train, to {}",
            method.name,
            dir.display()
        ));
        export(method, train, &dir)?;
        output::tell("4. serving it on a free local port and asking one decision over HTTP");
        let reply = serve_and_ask(&dir, &self.prompt)?;
        if json {
            output::say_json(&serde_json::json!({"judged": compared.judged, "decision": reply}))?;
        } else {
            output::say(&report::text_table(&compared.judged));
            output::say(&compared.summary());
            output::say(&format!("\n{:?}\n  -> {}", self.prompt, describe(&reply)));
            output::say(&format!("\nreport: {}", self.dir.join("report/report.html").display()));
            output::say(&format!("serve it: routewright serve --policy {}", dir.display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn judge(log: &Path) -> anyhow::Result<(Compared, OutcomeTable)> {
    let train = OutcomeTable::load(log, &LoadOptions::split("train"))?;
    let test = OutcomeTable::load(log, &LoadOptions::split("test"))?;
    // The baselines stand in the table by themselves.
    let learned = methods::ALL.iter().filter(|row| row.family != Family::Baseline);
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
    };
    let bars = output::Bars::new("quickstart");
    Ok((compare(&train, &test, &entries, &options, &bars)?, train))
}

fn export(method: &MethodRow, train: OutcomeTable, dir: &Path) -> anyhow::Result<()> {
    let bars = output::Bars::new(method.name);
    let run = RunOptions {
        average: Average::Micro,
        seed: SEED,
        device: Device::Cpu,
        progress: &bars,
        checkpoint: None,
    };
    let prepared = Prepared::new(train, &FeatureChoice::default(), SEED)?;
    let fitted = prepared.fit(method, &serde_json::Value::Null, &run)?;
    artifact::save(&prepared.draft("quickstart", method, fitted, "train", SEED), dir)?;
    Ok(())
}

/// Serves the policy on a free port, asks for one decision, stops the server.
fn serve_and_ask(dir: &Path, prompt: &str) -> anyhow::Result<serde_json::Value> {
    let server = Server::load(ServerConfig::for_policies([dir.to_path_buf()]))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reply = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on a local port")?;
        let address = listener.local_addr()?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::task::spawn(server.run(listener, None, async {
            drop(stopped.await);
        }));
        let prompt = prompt.to_owned();
        let reply = tokio::task::spawn_blocking(move || ask(&address.to_string(), &prompt)).await;
        // A server that is gone already needs no telling.
        let _ = stop.send(());
        running.await.context("the server task was lost")??;
        reply.context("the asking task was lost")?
    });
    runtime.shutdown_background();
    reply
}

/// One `POST /v1/route`, spoken by hand: a whole HTTP client is not needed for it.
fn ask(address: &str, prompt: &str) -> anyhow::Result<serde_json::Value> {
    let body = serde_json::json!({"input": prompt, "explain": "full"}).to_string();
    let mut stream = TcpStream::connect(address)?;
    let request = format!(
        "POST /v1/route HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").context("the server sent no whole reply")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("the server answered `{}`: {body}", head.lines().next().unwrap_or_default());
    }
    serde_json::from_str(body).context("the reply of the server is not JSON")
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
