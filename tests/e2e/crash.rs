//! Real servers under load, killed at random moments: what they acknowledged is in the log exactly once.
//!
//! One server on SQLite, and two servers on one PostgreSQL database, where a report of a decision of one server
//! is often sent to the other. The reward window is so short that some decisions are given the default value first. A
//! kill loses what the process held in memory, not what the system holds: that
//! a commit reaches the disk is SQLite's `synchronous = FULL` and PostgreSQL's `synchronous_commit`.
//! `ROUTEWRIGHT_KILLS=200` sets the number of kills.

use crate::run::ok;
use crate::serving::{Connection, Serving, ask, connect};
use rand::RngExt as _;
use routewright_data::rng;
use routewright_policy_server::ledger::{Entry, Event, EventBody, Fold, SqliteStore, Statistics, Store};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const KILLS: u64 = 12;
const CLIENTS: u64 = 3;
const WINDOW_MS: u64 = 40;
const DECIDE: (&str, &str) = ("POST /v1/route", "{\"input\": \"What is the sum of 3 and 4?\"}");

/// What is to be said of a decision, and which server made it.
struct Report {
    key: String,
    body: Value,
    decided_by: usize,
}

/// What the clients know.
#[derive(Default)]
struct Known {
    /// Decisions acknowledged, and their models.
    decided: BTreeMap<String, String>,
    /// Feedback acknowledged: key and value.
    accepted: BTreeMap<String, f64>,
    /// Feedback sent and not yet acknowledged: a client sends it again.
    unsure: Vec<Report>,
    /// Feedback held back until windows have closed.
    held: Vec<Report>,
    n_sent: u64,
    /// Decisions asked for and never answered: they may be in the log.
    n_unanswered: u64,
    /// Reports acknowledged by another server than the one that decided.
    n_crossed: u64,
}

impl Known {
    fn accept(&mut self, report: Report) {
        self.accepted.insert(report.key, report.body["value"].as_f64().unwrap());
    }

    /// Whether what happened says something of `kills` kills: enough was accepted and held back, and where there
    /// are several servers enough was reported to another one than decided.
    fn is_enough_for(&self, kills: u64, n_servers: usize) -> bool {
        let is_enough = |n: usize| n as u64 > kills;
        is_enough(self.accepted.len())
            && is_enough(self.held.len())
            && (n_servers == 1 || self.n_crossed > kills)
    }
}

/// Clients that go on until they are told to stop, whichever process dies meanwhile.
struct Traffic {
    /// Where the servers listen now.
    addresses: Vec<Mutex<String>>,
    known: Mutex<Known>,
    stop: AtomicBool,
}

/// Ends the clients when the killer is done, or has failed: they are waited for.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl Traffic {
    fn to(servers: &[Serving]) -> Self {
        let addresses = servers.iter().map(|server| Mutex::new(server.data.clone())).collect();
        Self { addresses, known: Mutex::default(), stop: AtomicBool::new(false) }
    }

    /// Asks server `at` on a connection that is made where there is none; `None` if it dies or is dead.
    fn ask(&self, to: &mut [Option<Connection>], at: usize, request: (&str, &str)) -> Option<(u16, Value)> {
        let mut connection = match to[at].take() {
            Some(connection) => connection,
            None => connect(&self.addresses[at].lock().unwrap().clone())?,
        };
        let answer = ask(&mut connection, request.0, request.1)?;
        to[at] = Some(connection);
        Some(answer)
    }

    /// Decides at any server and reports to any; every tenth report is sent twice, to two where there are two.
    fn client(&self, number: u64) {
        let mut dice = rng::stream(number, "client");
        let n = self.addresses.len();
        let mut to: Vec<Option<Connection>> = (0..n).map(|_| None).collect();
        while !self.stop.load(Relaxed) {
            let at = dice.random_range(0..n);
            let retry = self.known.lock().unwrap().unsure.pop();
            let Some(report) = retry.or_else(|| self.decide(&mut to, at)) else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            let first = dice.random_range(0..n);
            let times = if report.key.ends_with('3') { 2 } else { 1 };
            let all = (first..first + times).all(|at| self.report(&mut to, at % n, &report));
            let mut known = self.known.lock().unwrap();
            if all {
                known.n_crossed += u64::from(first != report.decided_by);
                known.accept(report);
            } else {
                known.unsure.push(report);
            }
        }
    }

    /// A decision of server `at`, and what is to be reported of it.
    fn decide(&self, to: &mut [Option<Connection>], at: usize) -> Option<Report> {
        let answer = self.ask(to, at, DECIDE);
        let mut known = self.known.lock().unwrap();
        let Some((status, decision)) = answer else {
            known.n_unanswered += 1;
            return None;
        };
        assert_eq!(status, 200, "{decision}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let id = text(&decision["id"]);
        known.decided.insert(id.clone(), text(&decision["action"]["model"]));
        known.n_sent += 1;
        let n = known.n_sent;
        let key = format!("k{n}");
        let body = json!({
            "decision_id": id, "metric": "score", "value": (n % 8) as f64 / 8.0, "cost_usd": 0.5,
            "idempotency_key": &key,
        });
        let report = Report { key, body, decided_by: at };
        if n.is_multiple_of(7) {
            known.held.push(report);
            return None;
        }
        Some(report)
    }

    /// Whether server `at` acknowledged the report.
    fn report(&self, to: &mut [Option<Connection>], at: usize, report: &Report) -> bool {
        let Some((status, reply)) = self.ask(to, at, ("POST /v1/feedback", &report.body.to_string())) else {
            return false;
        };
        assert!(status == 202 || status == 200, "{status}: {reply}");
        true
    }

    /// Kills one server after the other, at random moments under load, and starts it again.
    fn kill_under(&self, servers: &mut [Serving], kills: u64, start: impl Fn() -> Serving) {
        let mut dice = rng::stream(kills, "kills");
        std::thread::scope(|scope| {
            let _stop = StopAtEnd(&self.stop);
            for number in 0..CLIENTS {
                scope.spawn(move || self.client(number));
            }
            for _ in 0..kills {
                // Anywhere between the first requests and a few group commits.
                std::thread::sleep(Duration::from_millis(dice.random_range(5..120)));
                let at = dice.random_range(0..servers.len());
                servers[at].kill();
                servers[at] = start();
                self.addresses[at].lock().unwrap().clone_from(&servers[at].data);
            }
            // A slow machine may have served little between two kills.
            let began = Instant::now();
            while !self.known.lock().unwrap().is_enough_for(kills, servers.len()) {
                assert!(
                    began.elapsed() < Duration::from_secs(60),
                    "servers that nobody kills serve too little"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }

    /// The last retries, after which nothing is unsure any more.
    fn settle(self) -> Known {
        let mut to: Vec<Option<Connection>> = self.addresses.iter().map(|_| None).collect();
        let left: Vec<_> = {
            let Known { unsure, held, .. } = &mut *self.known.lock().unwrap();
            unsure.drain(..).chain(held.drain(..)).collect()
        };
        for report in left {
            assert!(self.report(&mut to, 0, &report), "a server died that nobody killed");
            self.known.lock().unwrap().accept(report);
        }
        self.known.into_inner().unwrap()
    }
}

/// A folder with a policy and `server.toml`, whose section `[store]` holds the line `store`.
fn prepare(dir: &Path, store: &str) {
    ok(
        dir,
        &["data", "simulate", "--out", "log.parquet", "--queries", "200", "--models", "3", "--seed", "3"],
    );
    ok(dir, &["train", "kmeans", "--log", "log.parquet", "--out", "policy"]);
    let config = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\nadmin_open = true\n\
         [store]\n{store}\nreward_window_ms = {WINDOW_MS}\n\
         [metrics.score]\ndefault = 0.25\n[policies.main]\npath = 'policy'\n"
    );
    std::fs::write(dir.join("server.toml"), config).unwrap();
}

fn kills() -> u64 {
    std::env::var("ROUTEWRIGHT_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

pub(crate) fn events(store: &mut dyn Store) -> Vec<Event> {
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
        EventBody::Change(change) => Entry::Change(change.clone()),
        EventBody::Unreadable(_) => unreachable!("a store that this build wrote"),
    };
    let mut store = SqliteStore::open(&dir.join("clean.db")).unwrap();
    store.append(&events.iter().map(entry).collect::<Vec<_>>()).unwrap();
    let mut fold = Fold::new("clean", Statistics::default());
    fold.catch_up(&mut store).unwrap();
    fold.consumer
}

/// Waits until every decision has a report or the default value: from then on the log does not grow.
fn settled(log: &impl Fn() -> Vec<Event>) -> Vec<Event> {
    let began = Instant::now();
    loop {
        let events = log();
        let (mut decided, mut heard) = (BTreeSet::new(), BTreeSet::new());
        for event in &events {
            match &event.body {
                EventBody::Decision(decision) => decided.insert(decision.decision_id.clone()),
                EventBody::Feedback(feedback, _) => heard.insert(feedback.decision_id.clone()),
                EventBody::Change(_) | EventBody::Unreadable(_) => false,
            };
        }
        if decided == heard {
            return events;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "a decision has neither a report nor the default");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A silent decision has one default, and the first report after it says that it replaces it.
/// Returns how many defaults there are, and how many were replaced.
fn check_defaults(events: &[Event]) -> (usize, usize) {
    let mut defaults: BTreeMap<&str, Option<u64>> = BTreeMap::new();
    let (mut n_defaults, mut n_replaced) = (0, 0);
    for event in events {
        let EventBody::Feedback(feedback, _) = &event.body else { continue };
        let id = feedback.decision_id.as_str();
        if feedback.is_default {
            n_defaults += 1;
            let before = defaults.insert(id, Some(event.seq));
            assert_eq!(before, None, "a default after something was heard: {event:?}");
        } else {
            let standing = defaults.insert(id, None).flatten();
            assert_eq!(feedback.replaces.map(|default| default.seq), standing, "{event:?}");
            n_replaced += usize::from(standing.is_some());
        }
    }
    (n_defaults, n_replaced)
}

/// Everything acknowledged is there, nothing twice, nothing that was not sent.
fn check(events: &[Event], known: &Known) {
    let (mut decided, mut reported) = (BTreeMap::new(), BTreeMap::new());
    for event in events {
        let before = match &event.body {
            EventBody::Decision(d) => decided.insert(d.decision_id.clone(), d.model.clone()).map(|_| ()),
            EventBody::Feedback(f, _) if f.is_default => None,
            EventBody::Feedback(f, _) => {
                let value = f.measure.as_ref().and_then(|m| m.value_of("")).unwrap();
                reported.insert(f.key.clone(), value).map(|_| ())
            }
            EventBody::Change(_) | EventBody::Unreadable(_) => None,
        };
        assert!(before.is_none(), "twice in the log: {event:?}");
    }
    for (id, model) in &known.decided {
        assert_eq!(decided.get(id), Some(model), "decision {id} was acknowledged");
    }
    let unknown = (decided.len() - known.decided.len()) as u64;
    assert!(unknown <= known.n_unanswered, "{unknown} decisions that nobody asked for");
    assert_eq!(reported, known.accepted, "all feedback was acknowledged in the end, each value once");
}

/// What a server serves as statistics is what a clean fold over the log gives.
fn compare(server: &Serving, events: &[Event], clean: &Statistics) {
    let mut admin = connect(&server.admin).unwrap();
    let (_, served) = ask(&mut admin, "GET /admin/v1/statistics", "").unwrap();
    assert_eq!(served["high_water"], events.last().unwrap().seq);
    let models = served["data"][0]["models"].as_array().unwrap();
    assert_eq!(models.len(), clean.policies["main"].len());
    for model in models {
        let arm = &clean.policies["main"][model["model"].as_str().unwrap()];
        assert_eq!(model["decisions"], arm.decisions);
        assert_eq!(model["spend_usd"], arm.spend_usd());
        assert_eq!(model["metrics"][0]["count"], arm.metrics["score"].count);
        assert_eq!(model["metrics"][0]["mean"].as_f64(), arm.metrics["score"].mean());
    }
}

/// Kills the servers under load, then holds the log and what they serve against what the clients know.
fn crash(
    dir: &Path,
    mut servers: Vec<Serving>,
    start: impl Fn() -> Serving,
    log: impl Fn() -> Vec<Event>,
) -> Known {
    let kills = kills();
    let traffic = Traffic::to(&servers);
    traffic.kill_under(&mut servers, kills, start);
    settled(&log);
    let known = traffic.settle();
    let events = settled(&log);
    check(&events, &known);
    let (n_defaults, n_replaced) = check_defaults(&events);
    let clean = clean_fold(dir, &events);
    servers.iter().for_each(|server| compare(server, &events, &clean));
    let (decided, accepted) = (known.decided.len(), known.accepted.len());
    assert!(decided as u64 > kills && accepted as u64 > kills, "{decided} decisions, {accepted} reports");
    assert!(n_replaced as u64 > kills, "{n_replaced} of {n_defaults} defaults were replaced");
    println!(
        "{kills} kills: {decided} decisions, {accepted} reports, {n_defaults} defaults, {n_replaced} replaced"
    );
    known
}

#[test]
fn what_a_killed_server_acknowledged_is_there_exactly_once() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), "path = 'log.db'");
    let start = || Serving::start(dir.path(), &[]);
    let log = || events(&mut SqliteStore::open_existing(&dir.path().join("log.db")).unwrap());
    crash(dir.path(), vec![start()], start, log);
}

#[test]
#[cfg(not(feature = "postgres"))]
fn two_killed_servers_on_one_log_lose_nothing_and_agree() {
    crate::postgres::skipped("this build lacks the feature `postgres`");
}

#[test]
#[cfg(feature = "postgres")]
fn two_killed_servers_on_one_log_lose_nothing_and_agree() {
    use crate::postgres::{Database, skipped};
    use routewright_policy_server::{Secret, ledger::PostgresStore};

    let database = match Database::start("crash") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), "postgres = 'env::ROUTEWRIGHT_LOG'");
    let start = || Serving::start(dir.path(), &[("ROUTEWRIGHT_LOG", database.url())]);
    let log = || events(&mut PostgresStore::open(Secret::new(database.url())).unwrap());
    let known = crash(dir.path(), vec![start(), start()], start, log);
    println!("{} of {} reports went to the other server", known.n_crossed, known.accepted.len());
}
