//! The real server under load, killed at random moments: what it acknowledged is in the log exactly once.
//!
//! A kill loses what the process held in memory, not what the system holds: that a commit reaches the disk is
//! SQLite's `synchronous = FULL`. `ROUTEWRIGHT_KILLS=200` sets the number of kills.

use crate::run::{BINARY, ok};
use routewright_policy_server::store::{Entry, Event, EventBody, Fold, SqliteStore, Statistics, Store};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

const KILLS: u64 = 12;
const CLIENTS: u64 = 3;

/// A server with its two addresses.
pub(crate) struct Serving {
    child: Child,
    pub(crate) data: String,
    pub(crate) admin: String,
}

impl Serving {
    pub(crate) fn start(dir: &Path) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--config", "server.toml"]).current_dir(dir).stderr(Stdio::piped());
        let mut serving = Self { child: command.spawn().unwrap(), data: String::new(), admin: String::new() };
        let mut said = String::new();
        for line in BufReader::new(serving.child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event["event"] == "listening" {
                let address = |name: &str| event[name].as_str().unwrap().to_owned();
                (serving.data, serving.admin) = (address("listen"), address("admin_listen"));
                return serving;
            }
            said.push_str(&line);
        }
        serving.kill();
        unreachable!("the server ended before it listened: {said}")
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One request on a kept connection; `None` once the server is gone.
pub(crate) fn ask(stream: &mut BufReader<TcpStream>, head: &str, body: &str) -> Option<(u16, Value)> {
    let request = format!("{head} HTTP/1.1\r\nhost: e2e\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.get_mut().write_all(request.as_bytes()).ok()?;
    let mut length = 0;
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    loop {
        line.clear();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((status, serde_json::from_slice(&body).ok()?))
}

pub(crate) fn connect(address: &str) -> Option<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    Some(BufReader::new(stream))
}

/// What the clients know.
#[derive(Default)]
struct Known {
    /// Decisions acknowledged, and their models.
    decided: BTreeMap<String, String>,
    /// Feedback acknowledged: key and value.
    accepted: BTreeMap<String, f64>,
    /// Feedback sent and not yet acknowledged: a client sends it again.
    unsure: Vec<(String, Value)>,
    n_sent: u64,
}

/// Decides and reports until the server is gone; every third report is sent twice.
fn client(address: &str, known: &Mutex<Known>) {
    let Some(mut stream) = connect(address) else { return };
    loop {
        let retry = known.lock().unwrap().unsure.pop();
        let (key, report) = match retry {
            Some(again) => again,
            None => {
                let Some((200, decision)) =
                    ask(&mut stream, "POST /v1/route", "{\"input\": \"What is the sum of 3 and 4?\"}")
                else {
                    return;
                };
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let id = text(&decision["id"]);
                let mut known = known.lock().unwrap();
                known.decided.insert(id.clone(), text(&decision["action"]["model"]));
                known.n_sent += 1;
                let n = known.n_sent;
                let report = json!({
                    "decision_id": id, "metric": "score", "value": (n % 8) as f64 / 8.0, "cost_usd": 0.5,
                    "idempotency_key": format!("k{n}"),
                });
                (format!("k{n}"), report)
            }
        };
        let times = if key.ends_with('3') { 2 } else { 1 };
        for _ in 0..times {
            let Some((status, reply)) = ask(&mut stream, "POST /v1/feedback", &report.to_string()) else {
                known.lock().unwrap().unsure.push((key, report));
                return;
            };
            assert!(status == 202 || status == 200, "{status}: {reply}");
        }
        known.lock().unwrap().accepted.insert(key, report["value"].as_f64().unwrap());
    }
}

fn prepare(dir: &Path) {
    ok(
        dir,
        &["data", "simulate", "--out", "log.parquet", "--queries", "200", "--models", "3", "--seed", "3"],
    );
    ok(dir, &["train", "kmeans", "--log", "log.parquet", "--out", "policy"]);
    let config = "[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\n\
                  [store]\npath = 'log.db'\n[metrics.score]\n[policies.main]\npath = 'policy'\n";
    std::fs::write(dir.join("server.toml"), config).unwrap();
}

pub(crate) fn events(path: &Path) -> Vec<Event> {
    let mut store = SqliteStore::open_existing(path).unwrap();
    let mut events = Vec::new();
    loop {
        let page = store.read(events.last().map_or(0, |event: &Event| event.seq), 1000).unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// The statistics of a store that was fed the same entries once, in one go, by nobody who was killed.
fn clean_fold(dir: &Path, events: &[Event]) -> Statistics {
    let entry = |event: &Event| match &event.body {
        EventBody::Decision(decision) => Entry::Decision(decision.clone()),
        EventBody::Feedback(feedback, _) => Entry::Feedback(feedback.clone(), i64::MAX),
    };
    let mut store = SqliteStore::open(&dir.join("clean.db")).unwrap();
    store.append(&events.iter().map(entry).collect::<Vec<_>>()).unwrap();
    let mut fold = Fold::new("clean", Statistics::default());
    fold.catch_up(&mut store).unwrap();
    fold.consumer
}

/// Everything acknowledged is there, nothing twice, nothing that was not sent.
fn check(dir: &Path, known: &Known) -> Vec<Event> {
    let events = events(&dir.join("log.db"));
    let (mut decided, mut reported) = (BTreeMap::new(), BTreeMap::new());
    for event in &events {
        let before = match &event.body {
            EventBody::Decision(d) => decided.insert(d.decision_id.clone(), d.model.clone()).map(|_| ()),
            EventBody::Feedback(f, _) => {
                let value = f.measure.as_ref().and_then(|m| m.value_of("")).unwrap();
                reported.insert(f.key.clone(), value).map(|_| ())
            }
        };
        assert!(before.is_none(), "twice in the log: {event:?}");
    }
    for (id, model) in &known.decided {
        assert_eq!(decided.get(id), Some(model), "decision {id} was acknowledged");
    }
    assert_eq!(reported, known.accepted, "all feedback was acknowledged in the end, each value once");
    events
}

#[test]
fn what_a_killed_server_acknowledged_is_there_exactly_once() {
    let kills = std::env::var("ROUTEWRIGHT_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let known = Mutex::new(Known::default());
    for round in 0..kills {
        let mut server = Serving::start(dir.path());
        let (data, known) = (server.data.clone(), &known);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| client(&data, known));
            }
            // Anywhere between the first requests and a few group commits.
            std::thread::sleep(Duration::from_millis(5 + (round * 7919) % 113));
            server.child.kill().unwrap();
        });
        server.child.wait().unwrap();
    }
    let server = Serving::start(dir.path());
    // The last retries; then nothing is unsure any more.
    let mut stream = connect(&server.data).unwrap();
    let mut known = known.into_inner().unwrap();
    for (key, report) in std::mem::take(&mut known.unsure) {
        let (status, reply) = ask(&mut stream, "POST /v1/feedback", &report.to_string()).unwrap();
        assert!(status == 202 || status == 200, "{status}: {reply}");
        known.accepted.insert(key, report["value"].as_f64().unwrap());
    }
    let mut admin = connect(&server.admin).unwrap();
    let (_, served) = ask(&mut admin, "GET /admin/v1/statistics", "").unwrap();
    server.kill();

    let events = check(dir.path(), &known);
    let (decided, accepted) = (known.decided.len(), known.accepted.len());
    assert!(decided as u64 > kills && accepted as u64 > kills, "{decided} decisions, {accepted} reports");
    let clean = clean_fold(dir.path(), &events);
    let models = served["data"][0]["models"].as_array().unwrap();
    assert_eq!(served["high_water"], events.last().unwrap().seq);
    assert_eq!(models.len(), clean.policies["main"].len());
    for model in models {
        let arm = &clean.policies["main"][model["model"].as_str().unwrap()];
        assert_eq!(model["decisions"], arm.decisions);
        assert_eq!(model["spend_usd"], arm.spend_usd());
        assert_eq!(model["metrics"][0]["count"], arm.metrics["score"].count);
        assert_eq!(model["metrics"][0]["mean"].as_f64(), arm.metrics["score"].mean());
    }
    println!("{kills} kills: {decided} decisions, {accepted} reports, all exactly once");
}
