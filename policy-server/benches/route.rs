//! CPU time and memory of `/v1/route` over a bare axum echo, each in a process of its own, same run.
//!
//! `cargo bench --bench route` prints one line a server: linear policy, and k nearest neighbors over 36,000
//! rows with 1 and 16 connections (micro-batched). CPU is user + system time of the server's process by
//! `/proc`, so it runs on Linux only; the load generator is not counted.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints its figures")]

#[path = "../tests/http/client.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod client;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use client::Client;
use rand::RngExt;
use routewright_data::features::{FeatureInput, Featurizer, Lexical, LexicalSettings};
use routewright_data::{Cells, rng};
use routewright_policy::artifact::{self, DataRecord, Draft};
use routewright_policy::forms::{CostModel, Linear, Link, Memory, Neighbors, Weighting};
use routewright_policy::search::EngineKind;
use routewright_policy::{Arm, Predictor, SelectorSpec};
use routewright_policy_server::{Server, ServerConfig};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::net::TcpListener;

const N_ARMS: usize = 11;
const N_ROWS: usize = 36_000;
/// Kernel ticks of `/proc/PID/stat` a second, on every Linux of today.
const TICKS: f64 = 100.0;
/// Least CPU time measured, so that ticks do not matter.
const SECONDS_MIN: f64 = 2.0;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--child") {
        return serve(&arguments[at + 1]);
    }
    let dir = tempfile::tempdir().unwrap();
    let texts = texts(N_ROWS);
    println!("writing two policies of {N_ARMS} arms; the text of a request has {} bytes", texts[0].len());
    write_policies(dir.path(), &texts);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    println!("machine load {}", load.trim());
    println!(
        "{:<22} {:>5} {:>9} {:>12} {:>12} {:>8}   mean us of stages",
        "server", "conns", "requests", "cpu us/req", "over echo", "rss MB"
    );
    let mut echo = [0.0; 2];
    for name in ["echo", "linear", "neighbors"] {
        for (slot, connections) in [1, 16].into_iter().enumerate() {
            let path =
                if name == "echo" { name.to_owned() } else { dir.path().join(name).display().to_string() };
            let figures = measure(&path, connections, &texts);
            if name == "echo" {
                echo[slot] = figures.cpu_us;
            }
            println!(
                "{name:<22} {connections:>5} {:>9} {:>12.1} {:>12.1} {:>8.1}   {}",
                figures.requests,
                figures.cpu_us,
                figures.cpu_us - echo[slot],
                figures.rss_mb,
                figures.stages
            );
        }
    }
}

struct Figures {
    requests: usize,
    cpu_us: f64,
    rss_mb: f64,
    /// Mean wall microseconds of each stage, as the server's own metrics have it.
    stages: String,
}

/// Loads a server until it has used [`SECONDS_MIN`] of CPU.
fn measure(policy: &str, connections: usize, texts: &[String]) -> Figures {
    let (mut child, address) = spawn(policy);
    drive(address, connections, 200, texts);
    let before = cpu_seconds(&child);
    let mut requests = 0;
    while cpu_seconds(&child) - before < SECONDS_MIN {
        drive(address, connections, 1600 / connections, texts);
        requests += 1600 / connections * connections;
    }
    let cpu_us = (cpu_seconds(&child) - before) / requests as f64 * 1e6;
    let stages = if policy == "echo" { String::new() } else { stages(address) };
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let rss = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let rss_mb = rss.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0;
    child.kill().unwrap();
    child.wait().unwrap();
    Figures { requests, cpu_us, rss_mb, stages }
}

fn stages(address: SocketAddr) -> String {
    let text = client::get(address, "/metrics").body;
    let value = |name: &str, stage: &str| -> f64 {
        let wanted = format!("routewright_decision_duration_seconds_{name}{{");
        let mut lines = text.lines().filter(|line| line.starts_with(&wanted));
        let line = lines.find(|line| line.contains(&format!("stage=\"{stage}\""))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let mean = |stage| format!("{stage} {:.0}", value("sum", stage) / value("count", stage) * 1e6);
    ["queue", "features", "score", "constraints", "total"].map(mean).join(", ")
}

fn drive(address: SocketAddr, connections: usize, each: usize, texts: &[String]) {
    std::thread::scope(|scope| {
        for connection in 0..connections {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for turn in 0..each {
                    let text = &texts[(connection * 7919 + turn) % texts.len()];
                    let body = format!("{{\"input\":\"{text}\",\"explain\":\"none\"}}");
                    let reply = client.send("POST", "/v1/route", &[], &body);
                    assert_eq!(reply.status, 200, "{}", reply.body);
                }
            });
        }
    });
}

fn cpu_seconds(child: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    // Fields 14 and 15, counted after the name in parentheses.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}

fn spawn(policy: &str) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--child", policy])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

/// The child: an echo, or a server of one policy, until it is killed.
fn serve(policy: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        if policy == "echo" {
            let router = Router::new().route("/v1/route", post(|body: Bytes| async { body }));
            return axum::serve(listener, router).await.unwrap();
        }
        let mut config = ServerConfig::for_policies([policy.into()]);
        config.limits.decision_deadline_ms = 0;
        Server::load(config).unwrap().run(listener, None, std::future::pending()).await.unwrap();
    });
}

/// Sentences of about 200 characters from a vocabulary of 4,000 made-up words, commoner words first.
fn texts(n: usize) -> Vec<String> {
    let mut rng = rng::stream(7, "bench texts");
    let syllables =
        ["ka", "lo", "mi", "ten", "ra", "su", "vel", "no", "pri", "da", "gu", "shi", "fa", "or", "em", "qu"];
    let mut text = || {
        let mut out = String::new();
        while out.len() < 200 {
            let uniform: f64 = rng.random();
            let mut word = (uniform * uniform * 4096.0) as usize;
            for _ in 0..3 {
                out.push_str(syllables[word % syllables.len()]);
                word /= syllables.len();
            }
            out.push(' ');
        }
        out.truncate(200);
        out
    };
    (0..n).map(|_| text()).collect()
}

fn write_policies(dir: &Path, texts: &[String]) {
    let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
    let settings = LexicalSettings { fit_queries_max: 4000, ..LexicalSettings::default() };
    let lexical: Arc<dyn Featurizer> = Arc::new(Lexical::fit(&borrowed, settings, 1).unwrap());
    let inputs: Vec<FeatureInput<'_>> = borrowed.iter().map(|text| FeatureInput::from(*text)).collect();
    let features = lexical.featurize(&inputs).unwrap();
    let mut rng = rng::stream(8, "bench scores");
    let mut uniform = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random()).collect() };
    let dim = lexical.dim();
    let cost = CostModel::constant((1..=N_ARMS).map(|arm| arm as f32 * 1e-4).collect());
    let linear = Linear::new(dim, Link::Identity, uniform(N_ARMS * (dim + 1)), cost);
    save(dir, "linear", &lexical, Box::new(linear));
    let memory = Memory {
        query_ids: (0..N_ROWS).map(|row| format!("q{row}")).collect(),
        score: Cells::from_vec(N_ROWS, N_ARMS, uniform(N_ROWS * N_ARMS)),
        cost_usd: Cells::from_vec(N_ROWS, N_ARMS, uniform(N_ROWS * N_ARMS)),
    };
    let weighting = Weighting { k: 20, power: 1.0, prior: 1.0, gate: -1.0, engine: EngineKind::Exact };
    save(dir, "neighbors", &lexical, Box::new(Neighbors::new(weighting, features, memory).unwrap()));
}

fn save(dir: &Path, name: &str, featurizer: &Arc<dyn Featurizer>, predictor: Box<dyn Predictor>) {
    let draft = Draft {
        name: name.to_owned(),
        method: "bench".to_owned(),
        seed: 0,
        arms: (0..N_ARMS).map(|arm| Arm { model: format!("model-{arm}"), ..Arm::default() }).collect(),
        featurizer: Arc::clone(featurizer),
        predictor,
        selector: SelectorSpec::named("argmax"),
        params: serde_json::json!({}),
        data: DataRecord::default(),
        metrics: Default::default(),
    };
    artifact::save(&draft, &dir.join(name)).unwrap();
}
