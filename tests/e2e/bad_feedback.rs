//! What is reported wrongly, too much or at a bad moment, to the real server: refused in words, nothing left behind.
//!
//! Feedback on the decision of another key is in the tests of the server (`tests/http/feedback.rs`), a clock that runs
//! backwards in those of `ledger::silence`, `upkeep::learning::decision_count` and `policy::allowance`: a process
//! cannot set the clock.

use crate::run::ok;
use crate::serving::{Connection, Serving, ask, connect};
use routewright_data::testing::skip;
use serde_json::{Value, json};
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

const DECIDE: &str = "{\"input\": \"What is the sum of 3 and 4?\"}";

fn prepare(dir: &Path, store: &str, more: &str) {
    ok(
        dir,
        &["data", "simulate", "--out", "log.parquet", "--queries", "200", "--models", "3", "--seed", "3"],
    );
    ok(dir, &["train", "linucb", "--log", "log.parquet", "--out", "policy", "--dim", "16"]);
    let config = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\nadmin_open = true\n\
         [store]\n{store}\nretention_days = 30\n\
         [metrics.score]\n[policies.main]\npath = 'policy'\n{more}"
    );
    std::fs::write(dir.join("server.toml"), config).unwrap();
}

fn decide(server: &mut Connection) -> (u16, Value) {
    ask(server, "POST /v1/route", DECIDE).unwrap()
}

fn report(server: &mut Connection, body: &Value) -> (u16, Value) {
    ask(server, "POST /v1/feedback", &body.to_string()).unwrap()
}

fn score(id: &Value, value: f64) -> Value {
    json!({ "decision_id": id, "metric": "score", "value": value })
}

/// Decisions and values of the metric in the statistics, over all models.
fn counted(server: &Serving) -> (u64, u64) {
    let mut admin = connect(&server.admin).unwrap();
    let (_, found) = ask(&mut admin, "GET /admin/v1/statistics", "").unwrap();
    let models = found["data"][0]["models"].as_array().cloned().unwrap_or_default();
    let sum = |of: &dyn Fn(&Value) -> &Value| models.iter().filter_map(|model| of(model).as_u64()).sum();
    (sum(&|model| &model["decisions"]), sum(&|model| &model["metrics"][0]["count"]))
}

/// Asks again until it is answered as expected; ten seconds are given.
fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn bad_reports_are_refused_in_words_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), "path = 'log.db'", "");
    let server = Serving::start(dir.path(), &[]);
    let mut to = connect(&server.data).unwrap();
    let id = decide(&mut to).1["id"].clone();
    let text = id.as_str().unwrap();
    let of = |id: &str, rest: &str| format!("{{\"decision_id\":\"{id}\",\"metric\":\"score\",{rest}}}");
    // 2024-01-01 by its UUIDv7.
    let old = "dec_018cc251f40070008000000000000000";
    for (name, body, status, code, said) in [
        ("unknown decision", of("dec_none", "\"value\":1"), 404, "decision_not_found", "dec_none"),
        ("expired decision", of(old, "\"value\":1"), 410, "decision_expired", "30 days"),
        ("NaN", of(text, "\"value\":NaN"), 400, "invalid_json", ""),
        ("infinite", of(text, "\"value\":1e999"), 400, "invalid_json", ""),
        ("above the range", of(text, "\"value\":1.5"), 422, "value_out_of_range", "[0, 1]"),
        ("below the range", of(text, "\"value\":-0.1"), 422, "value_out_of_range", "[0, 1]"),
        ("negative bill", of(text, "\"value\":1,\"cost_usd\":-2"), 422, "value_out_of_range", "cost_usd"),
        ("no text", String::new(), 400, "invalid_json", ""),
        (
            "a key with a control character",
            of(text, "\"value\":1,\"idempotency_key\":\"\\u0001\""),
            400,
            "invalid_request",
            "",
        ),
        (
            "a source of a kilobyte",
            of(text, &format!("\"value\":1,\"source\":\"{}\"", "x".repeat(1000))),
            400,
            "invalid_request",
            "source",
        ),
    ] {
        let (found, reply) = ask(&mut to, "POST /v1/feedback", &body).unwrap();
        assert_eq!((found, &reply["error"]["code"]), (status, &json!(code)), "{name}: {reply}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains(said) && !message.is_empty(), "{name}: {message}");
    }
    assert_eq!(counted(&server), (1, 0), "nothing was kept of them");

    // Of ten megabytes no more is read than may be.
    let mut big = connect(&server.data).unwrap();
    let head = "POST /v1/feedback HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000000\r\n\r\n";
    big.get_mut().write_all(head.as_bytes()).unwrap();
    big.get_mut().write_all(&vec![b' '; (4 << 20) + 4096]).unwrap();
    let mut line = String::new();
    big.read_line(&mut line).unwrap();
    assert!(line.contains(" 413 "), "{line}");

    let (status, reply) = report(&mut to, &score(&id, 1.0));
    assert_eq!(status, 202, "{reply}");
    // A flood of repeats, a thousand a request.
    let one = score(&id, 1.0).to_string();
    let lines = format!("{one}\n").repeat(1000);
    for _ in 0..20 {
        let head = "POST /v1/feedback HTTP/1.1\r\ncontent-type: application/x-ndjson\r\nx-rest:";
        // The reply is a line each, no JSON document: only the server's counts are read.
        let mut flood = connect(&server.data).unwrap();
        let request = format!("{head} \r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{lines}", lines.len());
        flood.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        flood.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
    }
    until("the flood is over", || counted(&server) == (1, 1));
    assert_eq!(report(&mut to, &score(&id, 0.0)).0, 409, "its key says something else already");
    assert_eq!(counted(&server), (1, 1), "twenty thousand repeats count once");
}

#[test]
fn a_full_disk_refuses_what_must_be_durable_and_room_is_enough_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), "path = 'log.db'", "");
    let server = Serving::start_on_full_disk(dir.path(), 600);
    let mut to = connect(&server.data).unwrap();
    let mut known = Vec::new();
    let refused = loop {
        let (status, reply) = decide(&mut to);
        if status != 200 {
            break (status, reply);
        }
        known.push(reply["id"].clone());
        assert!(known.len() < 5000, "the disk never filled");
    };
    assert_eq!((refused.0, &refused.1["error"]["code"]), (503, &json!("store_unavailable")), "{}", refused.1);
    // A report is smaller than a decision, so that a few may still find room.
    let mut acknowledged = 0;
    let refused = loop {
        match report(&mut to, &score(&known[acknowledged], 1.0)).0 {
            202 => acknowledged += 1,
            status => break status,
        }
        assert!(acknowledged < known.len(), "the disk took all reports");
    };
    assert_eq!(refused, 503);
    if !server.give_room() {
        skip("prlimit", "the disk is not emptied again");
        return;
    }
    until("there is room", || decide(&mut to).0 == 200);
    for id in &known[acknowledged..] {
        assert_eq!(report(&mut to, &score(id, 1.0)).0, 202, "what was acknowledged is there");
    }
    let (decisions, reports) = counted(&server);
    assert_eq!((decisions, reports), (known.len() as u64 + 1, known.len() as u64));
}

#[test]
#[cfg(feature = "postgres")]
fn a_database_that_goes_and_comes_back_loses_nothing() {
    use crate::postgres::{Database, skipped};
    let database = match Database::start("gone") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), "postgres = 'env::ROUTEWRIGHT_LOG'", "");
    let server = Serving::start(dir.path(), &[("ROUTEWRIGHT_LOG", database.url())]);
    let mut to = connect(&server.data).unwrap();
    let id = decide(&mut to).1["id"].clone();
    let Some(again) = database.interrupt() else { return skipped("the database is another one's") };
    let (status, reply) = decide(&mut to);
    assert_eq!((status, &reply["error"]["code"]), (503, &json!("store_unavailable")), "{reply}");
    assert_eq!(report(&mut to, &score(&id, 1.0)).0, 503);
    again().unwrap();
    until("decisions are logged again", || decide(&mut to).0 == 200);
    assert_eq!(report(&mut to, &score(&id, 1.0)).0, 202, "the decision of before is there");
    // The connection that reads finds out at its next use.
    until("the statistics are read again", || counted(&server) == (2, 1));
}

#[test]
fn two_servers_that_are_the_same_count_each_report_once() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), "path = 'log.db'", "[policies.main.learning]\n");
    // The same configuration, policy, folder and file: two of one server.
    let servers = [Serving::start(dir.path(), &[]), Serving::start(dir.path(), &[])];
    let mut to = servers.each_ref().map(|server| connect(&server.data).unwrap());
    let ids: Vec<Value> = (0..40).map(|at| decide(&mut to[at % 2]).1["id"].clone()).collect();
    for (at, id) in ids.iter().enumerate() {
        let [first, again] =
            [at / 2 % 2, 1 - at / 2 % 2].map(|server| report(&mut to[server], &score(id, 1.0)).0);
        assert_eq!((first, again), (202, 200), "{at}");
    }
    for server in &servers {
        assert_eq!(counted(server), (40, 40));
        let learned = || {
            let mut admin = connect(&server.admin).unwrap();
            ask(&mut admin, "GET /admin/v1/learning", "").unwrap().1["data"][0].take()
        };
        until("both have learned all of it", || learned()["decisions"] == 40 && learned()["refused"] == 0);
    }
    let version = |to: &mut Connection| decide(to).1["policy"]["version"].clone();
    until("both serve the same", || version(&mut to[0]) == version(&mut to[1]));
}

#[test]
fn an_artifact_of_other_arms_starts_anew_and_reports_of_those_that_are_gone_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    prepare(at, "path = 'log.db'", "[policies.main.learning]\n");
    let mut server = Serving::start(at, &[]);
    let id = decide(&mut connect(&server.data).unwrap()).1["id"].clone();
    server.kill();
    ok(
        at,
        &["data", "simulate", "--out", "other.parquet", "--queries", "200", "--models", "5", "--seed", "8"],
    );
    ok(at, &["train", "linucb", "--log", "other.parquet", "--out", "other", "--dim", "16"]);
    std::fs::remove_dir_all(at.join("policy")).unwrap();
    std::fs::rename(at.join("other"), at.join("policy")).unwrap();
    let server = Serving::start(at, &[]);
    let mut to = connect(&server.data).unwrap();
    let learning = || {
        let mut admin = connect(&server.admin).unwrap();
        ask(&mut admin, "GET /admin/v1/learning", "").unwrap().1["data"][0].take()
    };
    let base = learning()["updates"].clone();
    assert_eq!(report(&mut to, &score(&id, 1.0)).0, 202, "it is kept");
    until("it is refused by the learner", || learning()["refused"] == 1);
    assert_eq!(learning()["updates"], base, "and not learned");
    let fresh = decide(&mut to).1["id"].clone();
    assert_eq!(report(&mut to, &score(&fresh, 1.0)).0, 202);
    until("what is its own is learned", || learning()["updates"].as_u64() > base.as_u64());
}
