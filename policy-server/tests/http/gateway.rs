//! Requests that models answer: routed and by name, whole and streamed.

use crate::client::{Client, get, post, send};
use crate::gate::{CHAT, Gate, ask, body, logged, model, streaming};
use crate::policies;
use crate::upstream::{
    DONE, Do, FINISH, ROLE, Received, USAGE, Upstream, chat, chat_body, delta, piece, stream, stream_end,
    stream_head, whole,
};
use routewright_policy::SelectorSpec;
use routewright_policy_server::ledger::{SqliteStore, Store};
use routewright_policy_server::{ModelConfig, Secret};
use serde_json::{Value, json};

#[test]
fn a_model_named_gets_the_body_byte_for_byte_but_for_its_name() {
    let upstream = Upstream::saying(chat("hi"));
    let gate = Gate::start(&[], |config| {
        let at = ModelConfig { model: Some("vendor-name".into()), ..model(&upstream.base_url()) };
        config.models.insert("mine".into(), ModelConfig { secret: Some(Secret::new("sk-arm")), ..at });
    });
    let raw = "{ \"zeta\":1e400,\t\"model\" : \"mi\\u006ee\", \"n\":1,\"tools\":[{\"b\":1,\"a\":2}],\n\
               \"messages\":[{\"content\":\"\\u00e9é\",\"role\":\"user\"}],\n\
               \"unknown\":{\"x\":[18446744073709551617]} }";
    let headers = [
        ("authorization", "Bearer sk-caller"),
        ("cookie", "a=b"),
        ("x-router-debug", "true"),
        ("openai-organization", "org"),
        ("openai-beta", "x=y"),
        ("x-forwarded-for", "1.2.3.4"),
    ];
    let reply = send(gate.server.address, "POST", "/v1/chat/completions?beta=true", &headers, raw);
    assert_eq!((reply.status, reply.body.as_str()), (200, chat_body("hi").as_str()));
    assert_eq!((reply.header("x-router-model"), reply.header("x-router-decision-id")), (Some("mine"), None));
    // 1000 tokens at 1 USD and 100 at 4 USD a million.
    assert_eq!(reply.header("x-router-cost-usd"), Some("0.0014"));
    let received = upstream.received();
    assert_eq!(received[0].body, raw.replace("\"mi\\u006ee\"", "\"vendor-name\""));
    let Received { head, .. } = &received[0];
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{head}");
    assert_eq!(received[0].header("authorization"), Some("Bearer sk-arm"));
    assert_eq!(received[0].header("openai-beta"), Some("x=y"));
    for kept_back in ["sk-caller", "cookie", "x-router", "organization", "x-forwarded", "beta=true"] {
        assert!(!head.contains(kept_back), "{kept_back}: {head}");
    }
}

#[test]
fn a_routed_request_is_decided_answered_and_reported() {
    let (large, small) = (Upstream::saying(chat("large")), Upstream::saying(chat("small")));
    let gate = Gate::start(&[("large", &large.base_url()), ("small", &small.base_url())], |_| {});
    let reply = ask(&gate, &body("routewright/main"));
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "large");
    let header = |name: &str| reply.header(name).map(str::to_owned);
    assert_eq!(header("x-router-model").as_deref(), Some("large"));
    assert_eq!(
        (header("x-router-policy").as_deref(), header("x-router-reason").as_deref()),
        (Some("main"), Some("selected"))
    );
    assert_eq!(
        (header("x-router-cost-usd").as_deref(), header("x-router-fallbacks")),
        (Some("0.0014"), None)
    );
    assert_eq!(ask(&gate, &body("auto")).status, 200);
    // The caller's own report goes to the same decision.
    let id = header("x-router-decision-id").unwrap();
    let told = post(
        gate.server.address,
        "/v1/feedback",
        &json!({ "decision_id": id, "metric": "score", "value": 1.0 }),
    );
    assert_eq!(told.status, 202, "{}", told.body);
    let metrics = get(gate.server.address, "/metrics").body;
    for line in [
        "routewright_upstream_requests_total{model=\"large\",outcome=\"ok\"} 2",
        "routewright_tokens_total{model=\"large\",type=\"input\"} 2000",
        "routewright_tokens_total{model=\"large\",type=\"output\"} 200",
        "routewright_cost_usd_total{model=\"large\"} 0.0028",
        "routewright_upstream_requests_total{model=\"small\",outcome=\"ok\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let (log, _dir) = gate.stop();
    let expected = ("large".to_owned(), true, Some(0.0014), Some("ok".to_owned()));
    assert_eq!(logged(&log), [expected.clone(), expected]);
}

#[test]
fn a_stream_is_passed_on_as_it_comes_without_the_usage_nobody_asked_for() {
    let upstream = Upstream::saying(stream(true));
    let gate = Gate::start(&[("large", &upstream.base_url())], |_| {});
    let reply = ask(&gate, &streaming("routewright/main"));
    assert_eq!(reply.body, [ROLE, &delta("Hello"), &delta(" world"), FINISH, DONE].concat());
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    assert!(upstream.received()[0].body.ends_with(",\"stream_options\":{\"include_usage\":true}}"));
    let mut asking = streaming("routewright/main");
    asking["stream_options"] = json!({ "include_usage": true });
    assert_eq!(
        ask(&gate, &asking).body,
        [ROLE, &delta("Hello"), &delta(" world"), FINISH, USAGE, DONE].concat()
    );
    let expected = ("large".to_owned(), true, Some(0.0014), Some("ok".to_owned()));
    let (log, _dir) = gate.stop();
    assert_eq!(logged(&log), [expected.clone(), expected]);
}

#[test]
fn a_stream_outlives_the_idle_clock_while_its_client_says_nothing() {
    let mut script = vec![stream_head()];
    for word in 0..12 {
        script.extend([piece(&delta(&word.to_string())), Do::Pause(100)]);
    }
    script.extend([piece(FINISH), piece(DONE), stream_end()]);
    let upstream = Upstream::saying(script);
    let gate = Gate::start(&[("large", &upstream.base_url())], |config| {
        config.limits.idle_timeout_ms = 150;
        config.limits.request_timeout_ms = 300;
    });
    let reply = ask(&gate, &streaming("large"));
    assert!(reply.body.contains("\"11\"") && reply.body.ends_with(DONE), "{}", reply.body);
    // Nor does the time limit of other requests cut a slow first byte.
    let slow = Upstream::saying([vec![Do::Pause(700)], chat("late")].concat());
    let gate = Gate::start(&[("large", &slow.base_url())], |config| {
        config.limits.idle_timeout_ms = 150;
        config.limits.request_timeout_ms = 300;
    });
    assert_eq!(ask(&gate, &body("large")).status, 200);
}

#[test]
fn what_cannot_be_asked_is_refused_with_the_field() {
    let upstream = Upstream::saying(chat("hi"));
    let gate = Gate::start(&[("large", &upstream.base_url())], |config| {
        config.limits.answer_body_bytes_max = 100_000;
        config.limits.body_bytes_max = 1000;
    });
    for (body, status, code, says) in [
        (r#"{"messages":[]}"#, 400, "invalid_request", "`model` is missing"),
        (r#"{"model":"large","model":"small","messages":[]}"#, 400, "invalid_request", "`model` twice"),
        (r#"{"model":"larg","messages":[]}"#, 404, "model_not_found", "did you mean `large`"),
        (r#"{"model":"small","messages":[]}"#, 404, "model_not_found", "[models.\"small\"]"),
        (
            r#"{"model":"routewright/no","messages":[{"role":"user","content":"x"}]}"#,
            404,
            "model_not_found",
            "no",
        ),
        (r#"{"model":"routewright/main","messages":[]}"#, 400, "invalid_request", "`messages`"),
        (r#"{"model":"routewright/main"}"#, 400, "invalid_request", "`messages`"),
        (r#"{"model":"#, 400, "invalid_json", "JSON"),
        (r#"["large"]"#, 400, "invalid_request", "object"),
    ] {
        let reply = send(gate.server.address, "POST", CHAT, &[], body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{body}: {}", reply.body);
        assert!(reply.message().contains(says), "{says}: {}", reply.message());
    }
    // Bodies of answers may be longer than others.
    let mut long = body_of("x".repeat(50_000));
    assert_eq!(ask(&gate, &long).status, 200);
    long = body_of("x".repeat(150_000));
    assert_eq!(ask(&gate, &long).code(), "body_too_large");
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn requests_go_to_models_that_can_and_are_refused_in_words_where_none_can() {
    let (large, small) = (Upstream::saying(chat("large")), Upstream::saying(chat("small")));
    let gate = Gate::start(&[("large", &large.base_url()), ("small", &small.base_url())], |config| {
        use routewright_policy_server::Capability::{Images, JsonSchema, Tools};
        config.models.get_mut("small").unwrap().capabilities = Some(vec![Tools, Images]);
        config.models.get_mut("large").unwrap().capabilities = Some(vec![JsonSchema]);
    });
    let with = |model: &str, field: &str, value: Value| {
        let mut body = body(model);
        body[field] = value;
        body
    };
    let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
    let schema = json!({ "type": "json_schema", "json_schema": { "name": "s", "schema": {} } });
    let image = json!([{ "role": "user", "content": [{ "type": "text", "text": "what is it?" },
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }] }]);
    for (field, value, by) in [
        ("tools", tools.clone(), "small"),
        ("messages", image, "small"),
        ("response_format", schema, "large"),
    ] {
        let reply = ask(&gate, &with("routewright/main", field, value.clone()));
        assert_eq!(
            (reply.status, reply.header("x-router-model")),
            (200, Some(by)),
            "{field}: {}",
            reply.body
        );
        let other = if by == "small" { "large" } else { "small" };
        let reply = ask(&gate, &with(other, field, value));
        assert_eq!((reply.status, reply.code().as_str()), (422, "no_eligible_candidate"), "{field}");
    }
    for (field, value, says) in
        [("n", json!(2), "`n` by large, small"), ("logprobs", json!(true), "`logprobs` by large, small")]
    {
        let reply = ask(&gate, &with("routewright/main", field, value));
        assert_eq!((reply.status, reply.code().as_str()), (422, "no_eligible_candidate"), "{field}");
        assert!(reply.message().contains(says), "{}", reply.message());
    }
    // A model that says nothing of what it can is named at the caller's own risk, and sent plain text by policies.
    let gate = Gate::start(&[("large", &large.base_url())], |_| {});
    assert_eq!(ask(&gate, &with("large", "tools", tools.clone())).status, 200);
    assert_eq!(ask(&gate, &with("routewright/main", "tools", tools)).status, 422);
}

#[test]
fn a_request_longer_than_a_window_goes_to_a_larger_one() {
    let too_long = r#"{"error":{"message":"This model's maximum context length is 4096 tokens"}}"#;
    let (large, small) = (Upstream::saying(whole(400, &[], too_long)), Upstream::saying(chat("small")));
    let start = |windows: [Option<u64>; 2]| {
        Gate::start(&[("large", &large.base_url()), ("small", &small.base_url())], |config| {
            for (model, window) in ["large", "small"].into_iter().zip(windows) {
                config.models.get_mut(model).unwrap().context_tokens = window;
            }
        })
    };
    // By its own words.
    let gate = start([Some(4096), Some(8192)]);
    let reply = ask(&gate, &body("routewright/main"));
    assert_eq!((reply.status, reply.header("x-router-fallbacks")), (200, Some("large")));
    // No other window is larger.
    let gate = start([Some(4096), Some(4096)]);
    let reply = ask(&gate, &body("routewright/main"));
    assert_eq!((reply.status, reply.code().as_str()), (400, "context_length_exceeded"));
    // By our count, before anything is sent.
    let calls = large.received().len();
    let gate = start([Some(1000), Some(100_000)]);
    let mut long = body_of("word ".repeat(20_000));
    long["model"] = json!("routewright/main");
    let reply = ask(&gate, &long);
    assert_eq!(
        (reply.status, reply.header("x-router-model"), large.received().len()),
        (200, Some("small"), calls)
    );
    let gate = start([Some(1000), Some(1000)]);
    let reply = ask(&gate, &long);
    assert_eq!((reply.status, reply.code().as_str()), (400, "context_length_exceeded"));
    assert!(reply.message().contains("largest window that could hold it has 1000"), "{}", reply.message());
}

fn body_of(text: String) -> Value {
    json!({ "model": "large", "messages": [{ "role": "user", "content": text }] })
}

#[test]
fn two_hundred_streams_at_the_same_time_are_all_whole() {
    let upstream = Upstream::saying(stream(true));
    let gate = Gate::start(&[("large", &upstream.base_url())], |_| {});
    let address = gate.server.address;
    let expected = [ROLE, &delta("Hello"), &delta(" world"), FINISH, DONE].concat();
    let threads: Vec<_> = (0..20)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                (0..10)
                    .map(|_| client.send("POST", CHAT, &[], &streaming("large").to_string()).body)
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    for thread in threads {
        assert!(thread.join().unwrap().iter().all(|body| *body == expected));
    }
    assert!(upstream.connections() <= 20, "{}", upstream.connections());
}

#[test]
fn an_explorer_is_logged_with_its_distribution_also_where_a_model_failed() {
    let (bad, good) = (Upstream::saying(whole(500, &[], "{}")), Upstream::saying(chat("good")));
    let gate = Gate::start(&[("large", &bad.base_url()), ("small", &good.base_url())], |config| {
        let path = &config.policies[0].path;
        std::fs::remove_dir_all(path).unwrap();
        policies::write_text(path, SelectorSpec::named("uniform"));
    });
    for _ in 0..4 {
        assert_eq!(ask(&gate, &body("routewright/main")).status, 200);
    }
    let (log, _dir) = gate.stop();
    let mut store = SqliteStore::open(&log).unwrap();
    let day = store.days().unwrap()[0];
    for (_, found) in store.of_day(day, 0, 100).unwrap() {
        let decision = found.unwrap().decision;
        assert!(
            decision.deferred && !decision.candidates.contains(&"other".to_owned()),
            "no section names it"
        );
        let sum: f32 = decision.propensities.iter().sum();
        assert!((sum - 1.0).abs() < 1e-5 && decision.propensity > 0.0);
    }
}
