//! What is logged of decisions, and what becomes of feedback.

use crate::client::{Reply, get, post, send, until};
use crate::server::{Running, default_server};
use routewright_data::decisions::{DecisionReader, FeedbackReader};
use routewright_policy::{Request, artifact};
use routewright_policy_server::ledger::{EventBody, ExportOptions, SqliteStore, Store, export};
use routewright_policy_server::{Durability, MetricConfig, StoreConfig};
use routewright_policy_server::{ServerConfig, keys};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A server with a store, `change`d; its folder; the file.
fn logging(change: impl FnOnce(&mut StoreConfig)) -> (Running, tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.db");
    let mut store = StoreConfig::at(&file);
    change(&mut store);
    let (server, dir) = default_server(|config: &mut ServerConfig| config.store = Some(store));
    // The store must outlive the server.
    let kept = dir.path().join("store");
    std::fs::write(&kept, folder.keep().display().to_string()).unwrap();
    (server, dir, file)
}

fn route(server: &Running, body: &Value) -> Value {
    let reply = post(server.address, "/v1/route", body);
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

fn decide(server: &Running) -> String {
    route(server, &json!({ "vector": [1, 0] }))["id"].as_str().unwrap().to_owned()
}

fn report(server: &Running, body: &Value) -> Reply {
    post(server.address, "/v1/feedback", body)
}

fn score(id: &str, value: f64) -> Value {
    json!({ "decision_id": id, "metric": "score", "value": value })
}

fn decisions(file: &Path) -> usize {
    let events = SqliteStore::open(file).unwrap().read(0, 10_000).unwrap();
    events.iter().filter(|event| matches!(event.body, EventBody::Decision(_))).count()
}

#[test]
fn every_answer_to_feedback_has_its_status() {
    let (server, _dir, _file) = logging(|store| {
        store.retention_days = 30;
        let sources = BTreeMap::from([("judge".to_owned(), 0.5)]);
        let strict = MetricConfig { range: [-1.0, 1.0], sources, ..MetricConfig::default() };
        store.metrics.insert("grade".to_owned(), strict);
    });
    let id = decide(&server);
    let fresh = report(&server, &score(&id, 0.5));
    assert_eq!((fresh.status, fresh.json()["status"].as_str()), (202, Some("accepted")), "{}", fresh.body);
    assert_eq!(fresh.json()["late"], false);
    let again = report(&server, &score(&id, 0.5));
    assert_eq!((again.status, again.json()["status"].as_str()), (200, Some("duplicate")));
    assert_eq!(again.json()["idempotency_key"], fresh.json()["idempotency_key"]);
    // 2024-01-01 by its UUIDv7, long before the retention.
    let old = "dec_018cc251f40070008000000000000000";
    let with = |field: &str, value: Value| {
        let mut body = score(&id, 0.5);
        body[field] = value;
        body
    };
    for (body, status, code, said) in [
        (score(&id, 0.6), 409, "feedback_conflict", "another key"),
        (score("dec_none", 0.5), 404, "decision_not_found", "`dec_none`"),
        (score(old, 0.5), 410, "decision_expired", "30 days"),
        (score(&id, 1.5), 422, "value_out_of_range", "[0, 1]"),
        (with("metric", json!("scor")), 422, "unknown_metric", "did you mean `score`"),
        (with("metric", json!("grade")), 422, "unknown_source", "known: `judge`"),
        (with("cost_usd", json!(-1)), 422, "value_out_of_range", "`cost_usd` is `-1`"),
        (with("valeu", json!(1)), 400, "invalid_request", "did you mean `value`"),
        (with("ranking", json!(["a", "b"])), 400, "invalid_request", "must stand alone"),
        (json!({ "decision_id": id }), 400, "invalid_request", "`metric` is missing"),
        (json!({ "decision_id": id, "ranking": ["a", "a"] }), 400, "invalid_request", "each once"),
    ] {
        let reply = report(&server, &body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{body}: {}", reply.body);
        assert!(reply.message().contains(said), "{body}: {}", reply.body);
    }
    let nan = format!("{{\"decision_id\":\"{id}\",\"metric\":\"score\",\"value\":NaN}}");
    assert_eq!(send(server.address, "POST", "/v1/feedback", &[], &nan).code(), "invalid_json");
    let metrics = get(server.address, "/metrics").body;
    for line in [
        "routewright_feedback_total{metric=\"score\",status=\"accepted\"} 1\n",
        "routewright_feedback_total{metric=\"score\",status=\"duplicate\"} 1\n",
        "routewright_decisions_logged_total 1\n",
        "routewright_store_queue_depth 0\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[test]
fn a_batch_has_a_result_a_line_and_reports_need_no_metric() {
    let (server, _dir, _file) = logging(|_| ());
    let (a, b) = (decide(&server), decide(&server));
    let lines = [
        score(&a, 1.0),
        json!({ "decision_id": b, "cost_usd": 0.25, "latency_ms": 120.5 }),
        score(&a, 1.0),
        json!({ "decision_id": "dec_x", "metric": "score", "value": 1 }),
        json!({ "decision_id": a, "metric": "nope", "value": 1 }),
        json!({ "decision_id": a, "preference": { "winner": "large", "loser": "small" } }),
    ];
    let body = lines.map(|line| line.to_string()).join("\n") + "\n\n";
    let ndjson = [("content-type", "application/x-ndjson; charset=utf-8")];
    let reply = send(server.address, "POST", "/v1/feedback", &ndjson, &body);
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let results: Vec<Value> = reply.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<u64> = results.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 202, 200, 404, 422, 202]);
    assert_eq!(results[4]["error"]["code"], "unknown_metric");
    let statistics = get(server.admin, "/admin/v1/statistics").json();
    let model = &statistics["data"][0]["models"][0];
    // `large` was predicted at 0.01 (as f32) twice; one of them was billed at 0.25.
    assert_eq!((&model["model"], &model["decisions"]), (&json!("large"), &json!(2)), "{statistics}");
    assert_eq!((&model["predicted_usd"], &model["spend_usd"]), (&json!(0.02), &json!(0.26)));
    assert_eq!(model["latency_ms"], 120.5);
    let one = |metric: &str| json!({ "metric": metric, "count": 1, "mean": 1.0 });
    assert_eq!(model["metrics"], json!([one("preference"), one("score")]));
}

#[test]
fn without_a_store_feedback_is_told_so_and_a_tenant_reports_on_its_own_only() {
    let (server, _dir) = default_server(|_| ());
    for reply in [report(&server, &score("x", 1.0)), get(server.admin, "/admin/v1/statistics")] {
        assert_eq!((reply.status, reply.code().as_str()), (501, "no_store"));
    }
    let folder = tempfile::tempdir().unwrap();
    let (mine, other) = (keys::generate("mine").unwrap(), keys::generate("other").unwrap());
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, mine.record.to_toml() + &other.record.to_toml()).unwrap();
    let (server, _dir) = default_server(|config| {
        config.keys_file = Some(file);
        config.store = Some(StoreConfig::at(folder.path().join("log.db")));
    });
    let call = |key: &keys::NewKey, path: &str, body: &Value| {
        send(server.address, "POST", path, &[("x-api-key", key.key.reveal())], &body.to_string())
    };
    let decided = call(&mine, "/v1/route", &json!({ "vector": [1, 0] })).json();
    let body = score(decided["id"].as_str().unwrap(), 1.0);
    let foreign = call(&other, "/v1/feedback", &body);
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "foreign_decision"));
    assert_eq!(call(&mine, "/v1/feedback", &body).status, 202);
}

#[test]
fn what_is_logged_is_what_was_replied_and_repeats_the_decision_bit_for_bit() {
    let (server, dir, file) = logging(|store| (store.keep_prompt, store.keep_features) = (true, true));
    let ask =
        json!({ "vector": [1, 0.5], "input": "hello", "candidates": ["small", "other"], "source": "code" });
    let reply = route(&server, &ask);
    assert!(route(&server, &json!({ "vector": [1, 0], "dry_run": true }))["id"].is_string());
    let batch = json!({ "requests": [ask, { "vector": [1, 0] }, { "vector": [1, 0], "dry_run": true }] });
    assert_eq!(post(server.address, "/v1/route/batch", &batch).status, 200);
    let plain = json!({ "messages": [{ "role": "user", "content": "x" }] });
    // This policy reads a vector, which a plain body has not: nothing is decided, nothing logged.
    assert_eq!(post(server.address, "/route/v1/chat/completions", &plain).status, 400);
    assert_eq!(decisions(&file), 3);

    let mut store = SqliteStore::open(&file).unwrap();
    let logged = store.find(reply["id"].as_str().unwrap()).unwrap().unwrap().decision;
    assert_eq!(logged.candidates, ["small", "other"]);
    assert_eq!(json!(logged.seed), reply["seed"]);
    assert_eq!(json!(logged.model), reply["action"]["model"]);
    let eligible = reply["candidates"].as_array().unwrap().iter().filter(|c| c["eligible"] == true);
    let replied: Vec<f32> = eligible.map(|c| c["propensity"].as_f64().unwrap() as f32).collect();
    assert_eq!(logged.propensities, replied);
    assert_eq!(
        (logged.prompt.as_deref(), logged.features.as_deref()),
        (Some("hello"), Some(&[1.0, 0.5][..]))
    );

    let policy = artifact::load(&dir.path().join("main")).unwrap();
    assert_eq!(policy.digest, logged.policy_digest);
    let request = Request {
        input: routewright_data::features::FeatureInput { text: "hello", vector: logged.features.as_deref() },
        source: logged.source.as_deref(),
        candidates: Some(&logged.candidates),
        seed: logged.seed,
        ..Request::default()
    };
    let again = policy.decide(&request).unwrap();
    assert_eq!(policy.arms[again.arm].model, logged.model);
    assert_eq!(again.propensity.to_bits(), logged.propensity.to_bits());
    let scores = again.candidates.iter().filter(|c| c.excluded_by.is_none()).map(|c| c.score.to_bits());
    let logged_scores = logged.predicted_score.iter().map(|score| score.unwrap().to_bits());
    assert!(scores.eq(logged_scores));
}

#[test]
fn a_store_that_fails_refuses_what_must_be_durable_and_counts_the_rest() {
    for (durability, status) in [(Durability::BeforeAck, 503), (Durability::Async, 200)] {
        let (server, _dir, file) = logging(|store| store.durability = durability);
        let id = decide(&server);
        until("the decision is logged", || decisions(&file) == 1);
        let damage = rusqlite::Connection::open(&file).unwrap();
        damage.execute_batch("ALTER TABLE decisions RENAME TO gone").unwrap();
        let reply = post(server.address, "/v1/route", &json!({ "vector": [1, 0] }));
        assert_eq!(reply.status, status, "{}", reply.body);
        let refused = report(&server, &score(&id, 1.0));
        assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"));
        assert_eq!(refused.header("retry-after"), Some("1"));
        until("it is counted", || {
            get(server.address, "/metrics").body.contains("routewright_decisions_not_logged_total 1\n")
        });
        damage.execute_batch("ALTER TABLE gone RENAME TO decisions").unwrap();
        assert_eq!(report(&server, &score(&id, 1.0)).status, 202, "it recovers by itself");
    }
    let (server, _dir, file) = logging(|store| store.durability = Durability::Off);
    let id = decide(&server);
    assert_eq!(report(&server, &score(&id, 1.0)).code(), "decision_not_found");
    assert_eq!(decisions(&file), 0);
}

#[test]
fn an_export_is_read_back_with_defaults_late_feedback_and_no_inactive_decision() {
    let (server, _dir, file) = logging(|store| {
        store.reward_window_ms = 0;
        store.keep_prompt = true;
        store.metrics.get_mut("score").unwrap().default = Some(0.25);
    });
    let ask = |deferred| {
        let mut body = json!({ "vector": [1, 0], "input": "hi", "deferred": deferred });
        if deferred {
            body["objective"] = json!({ "cost": 0.5 });
            body["constraints"] = json!({ "max_cost_usd": 1000 });
        }
        route(&server, &body)["id"].as_str().unwrap().to_owned()
    };
    let (judged, silent, _inactive, active) = (ask(false), ask(false), ask(true), ask(true));
    std::thread::sleep(std::time::Duration::from_millis(3));
    assert_eq!(report(&server, &score(&judged, 1.0)).json()["late"], true);
    assert_eq!(report(&server, &json!({ "decision_id": active, "activation": true })).status, 202);
    report(&server, &json!({ "decision_id": judged, "ranking": ["large", "other", "small"] }));

    let out = tempfile::tempdir().unwrap();
    let mut config = StoreConfig { reward_window_ms: 0, ..StoreConfig::at(&file) };
    config.metrics.get_mut("score").unwrap().default = Some(0.25);
    let options = ExportOptions { config: Some(config), rows_per_file: 2, now_ms: i64::MAX };
    let mut store = SqliteStore::open_existing(&file).unwrap();
    let summary = export(&mut store, out.path(), &options).unwrap();
    assert_eq!((summary.decisions, summary.defaults, summary.inactive, summary.pairs), (3, 2, 1, 3));
    let rows: Vec<_> =
        DecisionReader::open(&out.path().join("decisions")).unwrap().flat_map(Result::unwrap).collect();
    let ids: Vec<&str> = rows.iter().map(|row| row.decision_id.as_str()).collect();
    assert_eq!(ids, [&judged, &silent, &active]);
    let asked =
        |text: &Option<String>| text.as_ref().map(|text| serde_json::from_str::<Value>(text).unwrap());
    assert_eq!((&rows[0].objective, &rows[0].constraints), (&None, &None));
    assert_eq!(asked(&rows[2].objective), Some(json!({ "quality": 1.0, "cost": 0.5, "latency": 0.0 })));
    assert_eq!(asked(&rows[2].constraints).unwrap()["max_cost_usd"], 1000.0);
    let feedback: Vec<_> =
        FeedbackReader::open(&out.path().join("feedback")).unwrap().flat_map(Result::unwrap).collect();
    let of = |id: &str, kind: &str| {
        feedback.iter().find(|row| row.decision_id == id && row.kind == kind).and_then(|row| row.value)
    };
    assert_eq!(of(&judged, "score"), Some(1.0), "late feedback counts, not the default");
    assert_eq!((of(&silent, "score"), of(&active, "score")), (Some(0.25), Some(0.25)));
    assert_eq!(of(&judged, "ranking"), Some(1.0), "`large` was chosen and ranked first");
    let again = export(&mut store, out.path(), &options).unwrap();
    assert_eq!(again, summary, "the same files, nothing beside them");
    assert_eq!(std::fs::read_dir(out.path().join("decisions")).unwrap().count(), 2, "two rows a file");
}
