//! Nothing that cannot be trusted enters the log, and what an older log holds of it stops nothing.

use crate::client::{get, post, send, until};
use crate::learner::Learner;
use crate::server::{Running, default_server};
use routewright_policy::SelectorSpec;
use routewright_policy_server::ledger::{DecisionRecord, Entry, SqliteStore, Store, check};
use routewright_policy_server::{ArmSettings, Observations, ServerConfig};
use routewright_policy_server::{Durability, MetricConfig, StoreConfig};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn learner_with(selector: Value) -> Learner {
    let selector: SelectorSpec = serde_json::from_value(selector).unwrap();
    Learner::start(|_, learning, _| learning.selector = Some(selector))
}

#[test]
fn weights_of_an_objective_are_bounded_and_the_log_stays_readable() {
    let greedy = json!({"epsilon": 0.05, "selector": {"name": "ucb", "settings": {"alpha": 1.0}}});
    for (selector, objective) in [
        (json!({"name": "thompson"}), json!({"quality": 3.5e38})),
        (json!({"name": "softmax", "settings": {"temperature": 0.1}}), json!({"quality": 0, "cost": 1e300})),
        (json!({"name": "proportional"}), json!({"quality": 1e308, "cost": 1e308})),
        (json!({"name": "epsilon-greedy", "settings": greedy}), json!({"quality": 1e308, "latency": 1e308})),
    ] {
        let learner = learner_with(selector.clone());
        let ask = |objective: &Value| learner.ask(json!({"candidates": ["small"], "objective": objective}));
        let refused = ask(&objective);
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_request"), "{selector}");
        assert!(refused.message().contains("expected a number in [0, 1e12]"), "{}", refused.body);
        // The greatest weights there are give a true distribution over the candidates.
        let greatest = learner.ask(json!({"objective": {"quality": 1e12, "cost": 1e12, "latency": 1e12}}));
        assert_eq!(greatest.status, 200, "{selector}: {}", greatest.body);
        let only = ask(&json!({"quality": 1e12}));
        assert_eq!(only.json()["action"]["model"], "small", "{}", only.body);
        let candidates = greatest.json()["candidates"].as_array().unwrap().clone();
        let sum: f64 = candidates.iter().map(|c| c["propensity"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{selector}: {candidates:?}");
        let statistics = get(learner.running.admin, "/admin/v1/statistics");
        assert_eq!((statistics.status, statistics.json()["high_water"].as_u64()), (200, Some(2)));
        let health = check(&mut SqliteStore::open(&learner.dir.path().join("log.db")).unwrap()).unwrap();
        assert!(health.is_sound() && health.decisions == 2, "{health:?}");
    }
}

#[test]
fn a_win_under_a_metric_of_any_range_and_direction_teaches_a_win() {
    use routewright_policy_server::Direction::{Higher, Lower};
    for (range, direction) in [([1.0, 5.0], Higher), ([0.0, 1.0], Lower), ([-3.0, 2.0], Lower)] {
        let learner = Learner::start(|config, learning, _| {
            let stars = MetricConfig { range, direction, ..MetricConfig::default() };
            config.store.as_mut().unwrap().metrics.insert("stars".to_owned(), stars);
            learning.metric = "stars".to_owned();
        });
        let before = learner.score("large");
        let id = learner.decide()["id"].clone();
        let won = json!({"decision_id": id, "metric": "stars", "preference": {"winner": "large", "loser": "small"}});
        assert_eq!(learner.report(won).status, 202);
        learner.wait_lessons(1);
        // x = (1, 0, 1), precision 1, s = 2: a win moves 0.6 by 0.4 s / (1 + s).
        let found = learner.score("large");
        assert!(
            (before - 0.6).abs() < 1e-4 && (found - 0.6 - 0.4 * 2.0 / 3.0).abs() < 1e-4,
            "{range:?}: {found}"
        );
        let statistics = get(learner.running.admin, "/admin/v1/statistics").json();
        let best = if direction == Lower { range[0] } else { range[1] };
        let metric = &statistics["data"][0]["models"][0]["metrics"][0];
        assert_eq!(
            (&metric["metric"], metric["mean"].as_f64()),
            (&json!("stars"), Some(best)),
            "{statistics}"
        );
    }
}

#[test]
fn many_reports_on_one_decision_are_one_observation_unless_all_are_asked_for() {
    for (observations, lessons) in [(Observations::First, 1), (Observations::All, 40)] {
        let learner = Learner::start(|_, learning, _| learning.observations = observations);
        let id = learner.decide()["id"].clone();
        let line = |at: usize| {
            let (key, source) = (format!("key {at}"), format!("source {at}"));
            json!({"decision_id": id, "metric": "score", "value": 0, "idempotency_key": key, "source": source})
        };
        let lines: Vec<String> = (0..40).map(|at| line(at).to_string()).collect();
        let ndjson = [("content-type", "application/x-ndjson")];
        let reply = send(learner.running.address, "POST", "/v1/feedback", &ndjson, &lines.join("\n"));
        assert_eq!(reply.body.matches("\"status\":202").count(), 40, "{}", reply.body);
        learner.wait_lessons(lessons);
        // All of them are in the log all the same. Another decision is another observation.
        let id = learner.decide()["id"].clone();
        assert_eq!(learner.report(json!({"decision_id": id, "value": 0})).status, 202);
        learner.wait_lessons(lessons + 1);
        let statistics = get(learner.running.admin, "/admin/v1/statistics").json();
        let models = statistics["data"][0]["models"].as_array().unwrap();
        let count = |model: &Value| model["metrics"][0]["count"].as_u64().unwrap();
        assert_eq!(models.iter().map(count).sum::<u64>(), 41, "{statistics}");
    }
}

#[test]
fn texts_models_metrics_and_times_of_feedback_are_checked() {
    let learner = Learner::start(|_, _, _| {});
    let id = learner.decide()["id"].as_str().unwrap().to_owned();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let long = "x".repeat(100_000);
    let merged = |mut body: Value, more: Value| {
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let with = |more| merged(json!({ "decision_id": id, "metric": "score", "value": 1 }), more);
    let compared = |more| merged(json!({ "decision_id": id }), more);
    for (body, status, code, says) in [
        (
            with(json!({"decision_id": "a\u{0}b"})),
            400,
            "invalid_request",
            "`decision_id` has the control character U+0000",
        ),
        (
            with(json!({"source": "a\u{0}b"})),
            400,
            "invalid_request",
            "`source` has the control character U+0000",
        ),
        (with(json!({"source": "a\nb"})), 400, "invalid_request", "U+000A"),
        (with(json!({"metric": "sc\tore"})), 400, "invalid_request", "`metric` has the control character"),
        (with(json!({"idempotency_key": ""})), 400, "invalid_request", "`idempotency_key` is empty"),
        (with(json!({"source": long})), 400, "invalid_request", "100000 bytes"),
        // Seconds, and a time that would outrank every later bill.
        (
            with(json!({"occurred_at": now / 1000})),
            422,
            "value_out_of_range",
            "expected milliseconds since 1970",
        ),
        (with(json!({"occurred_at": i64::MAX, "cost_usd": 1e6})), 422, "value_out_of_range", "`occurred_at`"),
        (
            with(json!({"occurred_at": now + 2 * 24 * 3600 * 1000})),
            422,
            "value_out_of_range",
            "a day from now",
        ),
        (
            compared(json!({"preference": {"winner": "larg", "loser": "small"}})),
            422,
            "unknown_model",
            "unknown model `larg`; did you mean `large`",
        ),
        (compared(json!({"ranking": ["large", long]})), 400, "invalid_request", "100000 bytes"),
        (compared(json!({"ranking": ["small", "no\u{0}ne"]})), 400, "invalid_request", "U+0000"),
        (
            compared(json!({"metric": "bogus", "preference": {"winner": "large", "loser": "small"}})),
            422,
            "unknown_metric",
            "unknown metric `bogus`",
        ),
    ] {
        let reply = post(learner.running.address, "/v1/feedback", &body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{says}: {:.300}", reply.body);
        assert!(reply.message().contains(says), "{says}: {:.300}", reply.body);
    }
}

#[test]
fn feedback_that_is_sound_is_taken_in() {
    let learner = Learner::start(|_, _, _| {});
    let id = learner.decide()["id"].clone();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    for mut body in [
        json!({"occurred_at": now - 1000, "metric": "score", "value": 1}),
        json!({"preference": {"winner": "large", "loser": "small"}}),
        json!({"ranking": ["small", "large"]}),
        json!({"metric": "score", "ranking": ["small", "large"], "idempotency_key": "r"}),
    ] {
        body["decision_id"] = id.clone();
        let reply = post(learner.running.address, "/v1/feedback", &body);
        assert_eq!(reply.status, 202, "{}", reply.body);
    }
}

#[test]
fn names_of_sources_arms_and_tags_are_checked() {
    let learner = Learner::start(|_, _, _| {});
    let source = learner.ask(json!({ "source": "a\u{0}b" }));
    assert_eq!((source.status, source.code().as_str()), (400, "invalid_request"), "{}", source.body);
    for (model, says) in [("a\u{0}b", "U+0000"), ("a\nb", "U+000A"), ("", "is empty")] {
        let reply = learner.change(json!({ model: { "cost_usd": 1 } }));
        assert_eq!(reply.status, 400, "{}", reply.body);
        assert!(reply.message().contains(says), "{}", reply.body);
    }
    let tags = learner.change(json!({ "small": { "tags": ["eu\r\n"] } }));
    assert!(tags.status == 400 && tags.message().contains("U+000D"), "{}", tags.body);
}

/// A server of the default artifact with a store; the file.
fn logging(durability: Durability) -> (Running, tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap().keep();
    let file = folder.join("log.db");
    let store = StoreConfig { durability, ..StoreConfig::at(&file) };
    let (server, dir) = default_server(|config: &mut ServerConfig| {
        config.store = Some(store);
        config.limits.request_timeout_ms = 60_000;
    });
    (server, dir, file)
}

#[test]
fn readiness_follows_the_store_where_decisions_wait_for_it() {
    let (server, _dir, file) = logging(Durability::BeforeAck);
    let ready = || get(server.address, "/ready");
    assert_eq!((ready().status, &ready().json()["store"]["status"]), (200, &json!("available")));
    let holder = rusqlite::Connection::open(&file).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = post(server.address, "/v1/route", &json!({ "vector": [1, 0] }));
    assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"));
    assert_eq!((ready().status, ready().code().as_str()), (503, "store_unavailable"));
    until("the log tells of it", || server.log().contains("\"store_unavailable\""));
    assert!(server.log().contains("another process holds it locked"), "{}", server.log());
    let metrics = get(server.address, "/metrics").body;
    assert!(metrics.contains("routewright_store_up 0\n"), "{metrics}");
    holder.execute_batch("ROLLBACK").unwrap();
    // No request comes while it is not ready: the server looks by itself.
    until("it is ready again", || ready().status == 200);
    until("the log tells of it", || server.log().contains("\"store_recovered\""));
    assert_eq!(post(server.address, "/v1/route", &json!({ "vector": [1, 0] })).status, 200);
}

#[test]
fn a_server_that_does_not_wait_for_the_store_stays_ready_and_says_so() {
    let (server, _dir, file) = logging(Durability::Async);
    let holder = rusqlite::Connection::open(&file).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(post(server.address, "/v1/route", &json!({ "vector": [1, 0] })).status, 200);
    until("the store is known to fail", || {
        let ready = get(server.address, "/ready");
        assert_eq!(ready.status, 200);
        ready.json()["store"]["status"] == "unavailable"
    });
    holder.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn a_log_with_a_record_that_cannot_be_read_is_served_counted_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log.db");
    let record = |id: usize| DecisionRecord {
        decision_id: format!("dec_{id}"),
        policy: "main".to_owned(),
        candidates: vec!["small".to_owned()],
        propensities: vec![1.0],
        model: "small".to_owned(),
        propensity: 1.0,
        pass_probability: 1.0,
        ..DecisionRecord::default()
    };
    let entries: Vec<Entry> = (0..3).map(|id| Entry::Decision(Box::new(record(id)))).collect();
    SqliteStore::open(&file).unwrap().append(&entries).unwrap();
    let hand = rusqlite::Connection::open(&file).unwrap();
    let null = "UPDATE decisions SET body = replace(body, '[1.0]', '[null]') WHERE decision_id = 'dec_1'";
    assert_eq!(hand.execute(null, []).unwrap(), 1);
    let store = StoreConfig::at(&file);
    let (server, _artifact) = default_server(|config: &mut ServerConfig| config.store = Some(store));
    until("it is counted", || get(server.address, "/ready").json()["store"]["unreadable_records"] == 1);
    let statistics = get(server.admin, "/admin/v1/statistics");
    assert_eq!(statistics.json()["data"][0]["models"][0]["decisions"], 2, "{}", statistics.body);
    assert!(get(server.address, "/metrics").body.contains("routewright_store_unreadable_total 1\n"));
    until("it is logged", || server.log().contains("\"store_record_unreadable\""));
    assert_eq!(post(server.address, "/v1/route", &json!({ "vector": [1, 0] })).status, 200);
}

#[test]
fn tags_of_a_policy_that_does_not_learn_come_from_the_configuration() {
    let said = |tags: &[&str]| ArmSettings {
        tags: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()),
        ..ArmSettings::default()
    };
    let (server, _dir) = default_server(|config: &mut ServerConfig| {
        let arms = [("small".to_owned(), said(&["eu", "tools"])), ("large".to_owned(), said(&["us"]))];
        config.policies[0].arms = BTreeMap::from(arms);
    });
    let ask = |constraints: Value| {
        post(server.address, "/v1/route", &json!({ "vector": [1, 0], "constraints": constraints }))
    };
    assert_eq!(ask(json!({ "residency": "eu" })).json()["action"]["model"], "small");
    assert_eq!(ask(json!({ "tags": ["us"] })).json()["action"]["model"], "large");
    assert_eq!(ask(json!({ "tags": ["eu", "us"] })).code(), "no_eligible_candidate");
}
