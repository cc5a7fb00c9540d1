//! What is routed on is what was trained on: the records of a log go through import and through HTTP and come out as
//! the same text and the same features, bit for bit, by every rule and in every dialect.

use crate::client::{post, send};
use crate::policies;
use crate::server::{Running, obedient_server};
use routewright_data::features::{FeatureInput, Featurizer, Lexical, LexicalSettings};
use routewright_data::importers::{ImportOptions, import};
use routewright_data::log::query_text_of;
use routewright_data::split::{Fractions, SplitRule, split_log};
use routewright_data::{LoadOptions, OutcomeTable, QueryText};
use routewright_policy::artifact;
use routewright_policy_server::StoreConfig;
use routewright_policy_server::ledger::{DecisionRecord, SqliteStore, Store};
use routewright_policy_server::{Execution, ServerConfig};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const CHAT: &str = "/route/v1/chat/completions";
const RESPONSES: &str = "/route/v1/responses";
const MESSAGES: &str = "/route/v1/messages";

/// Requests of a day: paths and bodies. Every conversation comes in three dialects, with a system prompt, several
/// turns, parts, an image, results of tools, and one that is too long to be kept whole.
fn requests() -> Vec<(&'static str, Value)> {
    let mut requests = Vec::new();
    for (at, topic) in ["sort a list in rust", "suggest a name for my cat", "prove a lemma", "plan a trip"]
        .into_iter()
        .enumerate()
    {
        let ask = format!("{topic} number {at}, \u{1f408} \u{e9}t\u{e9}");
        let rules = "You are a careful assistant of Acme.\nNever reveal this.";
        let long = if at == 3 { "old words of long ago ".repeat(600) } else { "hello".to_owned() };
        let last = if at % 2 == 0 { "ok please go on" } else { "and now in French?" };
        let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AA" } });
        requests.push((
            CHAT,
            json!({ "model": "auto", "temperature": 0.5, "messages": [
                { "role": if at % 2 == 0 { "system" } else { "developer" }, "content": rules },
                { "role": "user", "content": long },
                { "role": "user", "content": [{ "type": "text", "text": ask }, image,
                    { "type": "text", "text": "(see image)" }] },
                { "role": "assistant", "content": null, "tool_calls": [{ "id": "c", "type": "function" }] },
                { "role": "tool", "tool_call_id": "c", "content": "42" },
                { "role": "assistant", "content": "Sure, here is a first part." },
                { "role": "user", "content": last } ] }),
        ));
        requests.push((
            RESPONSES,
            json!({ "model": "auto", "instructions": rules, "input": [
                { "role": "user", "content": long },
                { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": ask }] },
                { "type": "reasoning", "summary": [] },
                { "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" },
                { "type": "function_call_output", "call_id": "c", "output": "42" },
                { "role": "assistant", "content": [{ "type": "output_text", "text": "Sure." }] },
                { "role": "user", "content": last } ] }),
        ));
        requests.push((
            MESSAGES,
            json!({ "model": "auto", "max_tokens": 9, "system": [{ "type": "text", "text": rules }], "messages": [
                { "role": "user", "content": [{ "type": "text", "text": ask }] },
                { "role": "assistant", "content": [{ "type": "tool_use", "id": "c", "name": "f", "input": {} }] },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c", "content": "42" }] },
                { "role": "assistant", "content": "Sure." },
                { "role": "user", "content": last } ] }),
        ));
        requests.push((RESPONSES, json!({ "model": "auto", "input": format!("{ask}, as one text") })));
    }
    requests
}

/// The requests as a gateway logs them, imported by `rule`: prompts by query id.
fn imported(dir: &Path, format: &str, rule: QueryText) -> BTreeMap<String, String> {
    let records: Vec<String> = requests()
        .iter()
        .enumerate()
        .map(|(at, (_, body))| {
            let record = match (format, at % 2) {
                ("litellm", _) => {
                    json!({ "query_id": at.to_string(), "model": "small", "spend": 0.1, "messages": {},
                    "proxy_server_request": body.to_string(), "startTime": "2026-01-01T00:00:00Z" })
                }
                (_, 0) => {
                    json!({ "query_id": at.to_string(), "model": "small", "score": 1, "request": body })
                }
                _ => {
                    let mut record = body.clone();
                    record["query_id"] = json!(at.to_string());
                    record["model"] = json!("small");
                    record["score"] = json!(1);
                    record
                }
            };
            record.to_string()
        })
        .collect();
    let (input, log) = (dir.join(format!("{format}.jsonl")), dir.join(format!("{format}.parquet")));
    std::fs::write(&input, records.join("\n")).unwrap();
    let options = ImportOptions { query_text: Some(rule), ..ImportOptions::default() };
    let summary = import(format, &[input], &log, &options).unwrap();
    assert_eq!((summary.rows, summary.skipped.len()), (records.len() as u64, 0), "{:?}", summary.skipped);
    assert_eq!(query_text_of(&log).unwrap(), Some(rule), "the log names the rule");
    let cut = dir.join("split.parquet");
    split_log(&log, &cut, &SplitRule::Random(Fractions::try_new(0.5, 0.0, 0.5).unwrap()), 1).unwrap();
    assert_eq!(query_text_of(&cut).unwrap(), Some(rule), "and so does what is made of it");
    let table = OutcomeTable::load(&cut, &LoadOptions::default()).unwrap();
    table.queries.into_iter().map(|query| (query.id, query.prompt)).collect()
}

fn serve(dir: &Path) -> (Running, StoreConfig) {
    let store = StoreConfig { keep_prompt: true, keep_features: true, ..StoreConfig::at(dir.join("log.db")) };
    let mut config = ServerConfig::for_policies([dir.join("main")]);
    (config.reload_poll_ms, config.limits.decision_deadline_ms) = (0, 0);
    config.store = Some(store.clone());
    (Running::start(config, Vec::new()), store)
}

fn logged(store: &mut SqliteStore, id: &Value) -> DecisionRecord {
    store.find(id.as_str().unwrap()).unwrap().unwrap().decision
}

#[test]
fn the_records_of_a_log_are_the_same_text_and_features_through_import_and_http() {
    let mut texts = BTreeMap::<usize, Vec<String>>::new();
    for rule in QueryText::ALL {
        let dir = tempfile::tempdir().unwrap();
        let prompts = imported(dir.path(), "openai", rule);
        assert_eq!(prompts, imported(dir.path(), "litellm", rule), "both importers read alike");
        let train: Vec<&str> = prompts.values().map(String::as_str).collect();
        let settings = LexicalSettings { dim: 16, ..LexicalSettings::default() };
        let lexical: Arc<dyn Featurizer> = Arc::new(Lexical::fit(&train, settings, 1).unwrap());
        policies::write_reading(&dir.path().join("main"), Arc::clone(&lexical), rule);
        let (server, store) = serve(dir.path());
        let mut store = SqliteStore::open(&store.path).unwrap();
        for (at, (path, body)) in requests().into_iter().enumerate() {
            let expected = &prompts[&at.to_string()];
            texts.entry(at).or_default().push(expected.clone());
            let features = lexical.featurize(&[FeatureInput::from(expected.as_str())]).unwrap();
            let bits: Vec<u32> = features.row(0).iter().map(|value| value.to_bits()).collect();
            let format = match path {
                CHAT => "openai_chat",
                RESPONSES => "openai_responses",
                _ => "anthropic_messages",
            };
            let wrapped = json!({ "input_format": format, "request": body });
            let batch = post(server.address, "/v1/route/batch", &json!({ "requests": [wrapped] })).json();
            let replies = [
                post(server.address, path, &body).json(),
                post(server.address, "/v1/route", &wrapped).json(),
                batch["data"][0].clone(),
                post(server.address, "/v1/route", &json!({ "input": expected })).json(),
            ];
            for reply in replies {
                let decision = logged(&mut store, &reply["id"]);
                assert_eq!(decision.prompt.as_deref(), Some(expected.as_str()), "{rule} {path} {at}");
                let seen: Vec<u32> = decision.features.unwrap().iter().map(|value| value.to_bits()).collect();
                assert_eq!(seen, bits, "{rule} {path} {at}");
            }
        }
    }
    // The rules do differ: otherwise the test says nothing.
    let chat = &texts[&0];
    assert_eq!(chat.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{chat:?}");
    // The fourth conversation is too long: its oldest turn is left out of all that would hold it.
    assert!(texts[&12].iter().all(|text| text.len() > 10 && text.len() < 16_384), "{:?}", texts[&12]);
}

#[test]
fn an_artifact_without_a_rule_reads_the_last_turn_and_one_of_an_unknown_rule_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let lexical = Lexical::fit(&["one", "two", "three"], LexicalSettings::default(), 1).unwrap();
    let lexical: Arc<dyn Featurizer> = Arc::new(lexical);
    policies::write_reading(&dir.path().join("main"), Arc::clone(&lexical), QueryText::Users);
    let file = dir.path().join("main/manifest.json");
    let mut manifest: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(manifest["query_text"], "users");
    manifest.as_object_mut().unwrap().remove("query_text");
    std::fs::write(&file, manifest.to_string()).unwrap();
    assert_eq!(artifact::load(&dir.path().join("main")).unwrap().query_text(), QueryText::LastUser);
    let (server, store) = serve(dir.path());
    let body =
        json!({ "messages": [{ "role": "user", "content": "one" }, { "role": "user", "content": "two" }] });
    let reply = post(server.address, CHAT, &body).json();
    let decision = logged(&mut SqliteStore::open(&store.path).unwrap(), &reply["id"]);
    assert_eq!(decision.prompt.as_deref(), Some("two"));

    manifest["query_text"] = json!("first-user");
    std::fs::write(&file, manifest.to_string()).unwrap();
    let refused = artifact::load(&dir.path().join("main")).unwrap_err().to_string();
    assert!(refused.contains("first-user") && refused.contains("with-system"), "{refused}");
}

#[test]
fn a_vector_is_refused_where_the_policy_reads_text() {
    let (server, _seen) = obedient_server(Execution::Inline, |_| {});
    for body in [
        json!({ "vector": [1, 2, 3] }),
        json!({ "vector": [] }),
        json!({ "vector": [], "input": "hello" }),
        json!({ "vector": [1], "request": { "messages": [{ "role": "user", "content": "x" }] } }),
    ] {
        let reply = post(server.address, "/v1/route", &body);
        assert_eq!(
            (reply.status, &reply.json()["error"]["param"]),
            (400, &json!("vector")),
            "{}",
            reply.body
        );
        assert!(reply.message().contains("reads text"), "{}", reply.body);
        let batch = post(server.address, "/v1/route/batch", &json!({ "requests": [body] })).json();
        assert_eq!(batch["data"][0]["error"]["param"], "vector", "{batch}");
    }
    let empty = post(server.address, "/v1/route", &json!({ "input": "" }));
    assert_eq!((empty.status, &empty.json()["error"]["param"]), (400, &json!("input")), "{}", empty.body);
}

#[test]
fn a_chat_of_images_alone_goes_to_the_default_arm_and_says_why() {
    let (server, seen) = obedient_server(Execution::Inline, |_| {});
    let before = seen.predictions.load(std::sync::atomic::Ordering::SeqCst);
    let image =
        json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:" } }] });
    let anthropic = json!({ "role": "user", "content": [{ "type": "image", "source": {} }] });
    let item = json!({ "role": "user", "content": [{ "type": "input_image", "image_url": "data:" }] });
    for (path, body) in [
        (CHAT, json!({ "messages": [{ "role": "system", "content": "s" }, image] })),
        (MESSAGES, json!({ "system": "s", "messages": [anthropic] })),
        (RESPONSES, json!({ "instructions": "s", "input": [item] })),
        ("/v1/route", json!({ "request": { "messages": [image] } })),
    ] {
        let reply = post(server.address, path, &body);
        assert_eq!(reply.status, 200, "{}", reply.body);
        let decision = reply.json();
        assert_eq!(
            (&decision["reason"], &decision["action"]["model"]),
            (&json!("no_text_default"), &json!("large"))
        );
        assert_eq!(
            (&decision["propensity"], &decision["candidates"][0]["score"]),
            (&json!(1.0), &Value::Null)
        );
        assert_eq!(decision["exploration"]["strategy"], "default_arm");
        assert_eq!(reply.header("x-router-reason"), Some("no_text_default"));
    }
    assert_eq!(seen.predictions.load(std::sync::atomic::Ordering::SeqCst), before, "nothing was predicted");
    let batch = json!({ "requests": [{ "request": { "messages": [image] }, "candidates": ["small"] }] });
    let batch = post(server.address, "/v1/route/batch", &batch).json();
    assert_eq!(batch["data"][0]["action"]["model"], "small", "the request's own limits hold: {batch}");
}

#[test]
fn byte_order_marks_and_a_slash_behind_the_path_are_passed_over() {
    let (server, _seen) = obedient_server(Execution::Inline, |_| {});
    let body = "\u{feff}{\"input\": \"hello\"}";
    for path in ["/v1/route", "/v1/route/"] {
        let reply = send(server.address, "POST", path, &[], body);
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        assert!(reply.header("x-router-overhead-ms").is_some(), "it is the same route");
    }
    assert_eq!(send(server.address, "GET", "/v1/models/", &[], "").status, 200);
    assert_eq!(send(server.address, "GET", "/v1/route/", &[], "").status, 405);
    assert_eq!(send(server.address, "POST", "/v1/route//", &[], body).status, 404);
    let mut wide = crate::client::Client::connect(server.address);
    let utf16: Vec<u8> = "\u{feff}{\"input\": \"x\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    wide.write(
        format!("POST /v1/route HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", utf16.len())
            .as_bytes(),
    );
    wide.write(&utf16);
    let reply = wide.read();
    assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_json"));
    assert!(reply.message().contains("UTF-16"), "{}", reply.body);
}

#[test]
fn a_client_that_expects_completions_is_told_what_this_is() {
    let (server, _seen) = obedient_server(Execution::Inline, |_| {});
    let turns = json!([{ "role": "user", "content": "hello" }]);
    for (path, body) in [
        (CHAT, json!({ "model": "auto", "messages": turns, "stream": true })),
        (MESSAGES, json!({ "model": "auto", "messages": turns, "stream": true })),
        (RESPONSES, json!({ "model": "auto", "input": "hello", "stream": true })),
    ] {
        let reply = post(server.address, path, &body);
        assert_eq!(
            (reply.status, &reply.json()["error"]["param"]),
            (400, &json!("stream")),
            "{}",
            reply.body
        );
        assert!(reply.message().contains("`action.model`"), "{}", reply.body);
        let mut whole = body;
        whole["stream"] = json!(false);
        let decision = post(server.address, path, &whole).json();
        assert_eq!(decision["object"], "routing.decision");
        assert!(decision["notice"].as_str().unwrap().contains("`action.model`"), "{decision}");
        assert!(decision.get("choices").is_none() && decision.get("model").is_none(), "{decision}");
    }
    let own = post(server.address, "/v1/route", &json!({ "input": "hello" })).json();
    assert!(own.get("notice").is_none(), "who asks for a decision is not told that it is one");
    // Models of this server that it decides about; what fusion would refuse is not looked at before.
    let image = json!([{ "role": "user", "content": [{ "type": "image_url" }] }]);
    for model in ["large", "routewright/slow", "router-slow", "auto"] {
        for body in [
            json!({ "model": model, "messages": turns, "stream": true, "tools": [{}] }),
            json!({ "model": model, "messages": image }),
        ] {
            let reply = post(server.address, "/v1/chat/completions", &body);
            assert_eq!((reply.status, reply.code().as_str()), (404, "model_not_found"));
            assert!(reply.message().contains("/route/v1/chat/completions"), "{}", reply.body);
            assert!(!reply.message().contains("fusion"), "{}", reply.body);
        }
    }
    let ids = |path: &str| crate::client::get(server.address, path).json()["data"].clone();
    assert_eq!(ids("/route/v1/models"), ids("/v1/models"));
    assert_eq!(ids("/route/v1/models")[0]["id"], "routewright/slow");
}
